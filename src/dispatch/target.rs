//! Whom the hub reaches, here and in the other workers, and what it does to them.

use bytes::Bytes;

use super::arrivals::{Pushing, Said};
use super::directory::Ear;
use super::hub::Hub;
use super::own_turn;
use crate::body::{Answer, Id, IntoReply};
use crate::bus::{Deed, Interest, Kind, Origin, Outgoing, Sent, Whom};
use crate::net::ConnId;
use crate::protocol::{CloseMode, Media};
use crate::scoreboard::Counter;

/// Some connections, chosen by [`Hub`].
#[derive(Clone, Copy, Debug)]
#[must_use = "a target does nothing until something is sent to it"]
pub struct Target<'a> {
    pub(super) hub: &'a Hub,
    pub(super) who: Who<'a>,
    pub(super) except: Option<ConnId>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Who<'a> {
    Conn(ConnId),
    User(&'a str),
    Room(&'a str),
    All,
    /// Who is this user with an older ticket.
    Older(&'a str, u64),
}

/// How many connections there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Count {
    /// As far as is known.
    pub n: usize,
    /// Whether that is all. If not, another worker has more names of rooms, users
    /// and connections than `bus.names`.
    pub is_exact: bool,
}

impl Hub {
    /// One connection. When it is gone nobody is reached, whoever has its slot
    /// by then.
    pub fn conn(&self, conn: ConnId) -> Target<'_> {
        self.target(Who::Conn(conn))
    }

    /// Every connection bound to this user.
    pub fn user<'a>(&'a self, name: &'a str) -> Target<'a> {
        self.target(Who::User(name))
    }

    /// Everybody in this room.
    pub fn room<'a>(&'a self, name: &'a str) -> Target<'a> {
        self.target(Who::Room(name))
    }

    /// Everybody.
    pub fn all(&self) -> Target<'_> {
        self.target(Who::All)
    }

    const fn target<'a>(&'a self, who: Who<'a>) -> Target<'a> {
        Target {
            hub: self,
            who,
            except: None,
        }
    }
}

impl<'a> Target<'a> {
    /// All of them but this one.
    pub const fn except(self, conn: ConnId) -> Self {
        Self {
            except: Some(conn),
            ..self
        }
    }

    /// Those of this worker.
    pub(super) fn names(&self) -> Vec<ConnId> {
        self.audience().0
    }

    /// Connections, and who listens in the room, of this worker.
    fn audience(&self) -> (Vec<ConnId>, Vec<Ear>) {
        let (mut names, mut ears) = match self.who {
            Who::Conn(name) => (vec![self.hub.directory().slot_of(name)], Vec::new()),
            Who::User(name) => (self.hub.directory().user(name), Vec::new()),
            Who::Older(user, than) => (self.hub.directory().older(user, than), Vec::new()),
            Who::Room(name) => self.hub.directory().room(name),
            Who::All => (self.hub.worker().everybody(), Vec::new()),
        };
        if matches!(self.who, Who::All) && !self.hub.arrivals().is_empty() {
            names.extend(self.hub.arrivals().waiting());
        }
        if let Some(except) = self.except {
            let except = self.hub.directory().slot_of(except);
            names.retain(|name| *name != except);
            ears.retain(|ear| ear.conn != except);
        }
        (names, ears)
    }

    const fn whom(&self) -> (Whom, Interest<'a>) {
        match self.who {
            Who::Conn(conn) => (Whom::Conn, Interest::Conn(conn)),
            Who::User(name) | Who::Older(name, _) => (Whom::User, Interest::User(name)),
            Who::Room(name) => (Whom::Room, Interest::Room(name)),
            Who::All => (Whom::All, Interest::Everybody),
        }
    }

    /// Does something to them here, and has the other workers do it to theirs;
    /// returns how many that are. `here` gets what became of the message.
    pub(super) fn everywhere(
        &self,
        deed: Deed,
        (id, body, form): (Id, &[u8], u8),
        here: impl FnOnce(Sent) -> usize,
    ) -> usize {
        let Some(bus) = self.hub.bus() else {
            return here(Sent::default());
        };
        bus.saying(|| {
            let sent = match self.who {
                // It is here, and nowhere else.
                Who::Conn(name) if self.is_here(name) => Sent::default(),
                Who::Conn(_) | Who::User(_) | Who::Older(..) | Who::Room(_) | Who::All => {
                    let (whom, to) = self.whom();
                    bus.publish(&Outgoing {
                        kind: Kind::Do(deed, whom),
                        to,
                        topic: "",
                        except: self.except,
                        id,
                        form,
                        body,
                    })
                }
            };
            sent.reached.saturating_add(here(sent))
        })
    }

    /// Pushes `body` to each of them under `id`, and to the streams that listen
    /// to the room ([`Http::events_of`](crate::web::Http::events_of)); returns
    /// to how many it is on its way. Never waits: a peer with too many unsent
    /// bytes (`limits.outbound_max`) loses the push or its connection, as
    /// configured. That is counted, and not counted here, and neither is a body
    /// that the receiver's format cannot carry: 0 means that nobody gets it.
    ///
    /// Those of other workers are counted as they are known here, without a look at
    /// [`except`](Self::except), their formats and their unsent bytes. A worker that
    /// reads too slowly loses the push (`bus.backlog`), and its program is told so
    /// ([`App::missed`](crate::App::missed)); nobody waits for it. A body over 4 MiB
    /// stays in this worker.
    ///
    /// # Order
    ///
    /// What one handler, job or thread of yours sends reaches each receiver in
    /// the order in which it was sent, whatever the targets were. Between two who
    /// send there is no order: an answer may come before its question at a third
    /// party. A push to the connection whose handler runs is sent in its place
    /// among `c.send`, the reply and a close.
    pub fn send(self, id: Id, body: impl IntoReply) -> usize {
        let Some((id, body, media)) = push(id, body) else {
            return 0;
        };
        let all = (id, &body[..], form(media));
        self.everywhere(Deed::Send, all, |sent| {
            self.push((id, body.clone(), media), sent.origin)
        })
    }

    /// To those of this worker.
    pub(super) fn push(&self, push: Pushing, origin: Origin) -> usize {
        let (mut names, ears) = self.audience();
        let kept = self.keep(&mut names, origin, || Said::Push(push.clone()));
        let (id, body, media) = push;
        let heard = self.hub.tell_ears(&ears, id, &body);
        let pushed = (self.hub.worker()).send(&names, own_turn::held(), (id, body, media));
        if let Some(own) = pushed.own {
            own_turn::push(own);
        }
        heard + kept + pushed.reached
    }

    /// Keeps what is said for those who are not wholly here; returns for how many.
    fn keep(&self, names: &mut Vec<ConnId>, origin: Origin, said: impl FnOnce() -> Said) -> usize {
        let arrivals = self.hub.arrivals();
        if arrivals.is_empty() {
            return 0;
        }
        arrivals.keep(names, origin, &said())
    }

    fn is_here(&self, name: ConnId) -> bool {
        let worker = self.hub.worker();
        worker.knows(self.hub.directory().slot_of(name))
    }

    /// Closes each of them, and says `why` in the log; returns how many that
    /// were.
    ///
    /// Each closes behind everything that the caller has sent before, and behind
    /// what others have: it is out, or was given up after `limits.linger`. Pushes
    /// that come later are not sent and not counted by [`send`](Self::send). The
    /// caller's own connection closes behind the reply of its handler.
    pub fn close(self, why: &str) -> usize {
        self.close_saying(0, why)
    }

    /// As [`close`](Self::close), with a close code for those over WebSocket: 1001
    /// (the server goes away), 1013 (it has too much to do: try again later), or
    /// 4000 to 4999, whose meaning is the program's. Others close as ever.
    ///
    /// # Panics
    ///
    /// When `code` is another one, which a program may not say: no run could be
    /// right.
    pub fn close_with(self, code: u16, why: &str) -> usize {
        assert!(
            matches!(code, 1001 | 1013 | 4000..5000),
            "{code} is no close code of a program, which are 1001, 1013 and 4000 to 4999"
        );
        self.close_saying(code.into(), why)
    }

    /// `code`: in the place of an id, 0 for none.
    fn close_saying(self, code: Id, why: &str) -> usize {
        self.everywhere(Deed::Close, (code, why.as_bytes(), 0), |sent| {
            self.close_here(code, why, sent.origin)
        })
    }

    pub(super) fn close_here(&self, code: Id, why: &str, origin: Origin) -> usize {
        let code = u16::try_from(code).ok().filter(|code| *code != 0);
        let mut names = self.names();
        let kept = self.keep(&mut names, origin, || Said::Close(code));
        let all = names.len();
        let own = own_turn::held().map(|(own, _)| own);
        names.retain(|name| Some(*name) != own);
        let is_own = names.len() < all;
        if is_own {
            own_turn::close(code);
            self.hub.row().count(Counter::ClosedByHandler);
        }
        let closed = self.hub.worker().close(&names, CloseMode::Flush, code);
        let closed = closed + usize::from(is_own) + kept;
        if closed > 0 {
            ::log::info!("close {closed} connections: {why}");
        }
        closed
    }

    /// How many there are, streams that listen to the room included.
    #[must_use]
    pub fn count(self) -> usize {
        self.counted().n
    }

    /// As [`Self::count`], and whether that is exact.
    ///
    /// A worker that died counts until the master has seen it. Who is
    /// [left out](Self::except) in another worker is counted.
    #[must_use]
    pub fn counted(self) -> Count {
        let (_, interest) = self.whom();
        let elsewhere = self.hub.bus().map(|bus| bus.elsewhere(interest));
        let (count, is_exact) = elsewhere.map_or((0, true), |there| (there.count, there.is_exact));
        let here = self.count_here();
        let there = match self.who {
            // Until its worker has let it go, it is in both.
            Who::Conn(_) if here > 0 => 0,
            Who::Conn(conn) if Some(conn) == self.except => 0,
            Who::Conn(_) => count.min(1),
            Who::User(_) | Who::Older(..) | Who::Room(_) | Who::All => count,
        };
        Count {
            n: usize::try_from(there).map_or(usize::MAX, |there| here.saturating_add(there)),
            is_exact,
        }
    }

    fn count_here(&self) -> usize {
        let (mut names, ears) = self.audience();
        // Whose `closed` has not run yet is a member, and reached by nobody: what
        // is counted is what `send` would reach.
        let (worker, arrivals) = (self.hub.worker(), self.hub.arrivals());
        names.retain(|name| worker.knows(*name) || arrivals.has(*name));
        names.len() + ears.len()
    }
}

/// What a body is, on the bus.
pub(super) const fn form(media: Media) -> u8 {
    match media {
        Media::Bytes => 0,
        Media::Text => 1,
        Media::Html => 2,
        Media::Json => 3,
    }
}

/// What [`form`] says.
pub(super) const fn media(form: u8) -> Media {
    match form {
        1 => Media::Text,
        2 => Media::Html,
        3 => Media::Json,
        _ => Media::Bytes,
    }
}

/// The id and bytes of a push; `None`: there is nothing to send.
pub(super) fn push(id: Id, body: impl IntoReply) -> Option<(Id, Bytes, Media)> {
    match body.into_reply() {
        Answer::Reply {
            id: other,
            body,
            media,
        } => Some((other.unwrap_or(id), body, media)),
        Answer::Error(error) => {
            // Nobody but the log is told.
            ::log::warn!("push message {id}: {}; not sent", error.show());
            None
        }
        // "No reply" as a push is a message without a body.
        Answer::None => Some((id, Bytes::new(), Media::Bytes)),
        Answer::Content(_) => {
            ::log::warn!("push message {id}: its body goes over HTTP alone; not sent");
            None
        }
        Answer::Later(_) => None,
    }
}
