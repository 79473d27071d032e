//! One connection a user: who binds himself so has the others closed, in all workers.
//!
//! Each bond has a ticket, drawn within the lock of the directory that takes note of
//! it. What says whom to close has the ticket of the one who stays: of two who do it
//! at once, in different workers, each obeys the larger, and one is left.

use bytes::Bytes;

use super::arrivals::Pushing;
use super::hub::Hub;
use super::target::{Target, Who, form, media};
use crate::bus::{Deed, Message, Origin};

/// Bytes of the ticket before the body of a push.
const TICKET: usize = 8;

/// What the log says of those that are closed.
const WHY: &str = "their user has come in another one";

impl Hub {
    /// Pushes something to all who are `user` with an older ticket, and closes them;
    /// returns how many those are.
    pub(super) fn supplant(&self, user: &str, ticket: u64, push: Pushing) -> usize {
        let older = self.older(user, ticket);
        let (id, body, media) = push;
        let mut bytes = Vec::with_capacity(TICKET + body.len());
        bytes.extend_from_slice(&ticket.to_le_bytes());
        bytes.extend_from_slice(&body);
        older.everywhere(Deed::Supplant, (id, &bytes, form(media)), |sent| {
            older.supplanted((id, body, media), sent.origin)
        })
    }

    /// As another worker says it; how many are closed here.
    pub(super) fn hear_supplant(&self, message: &Message) -> usize {
        let Some((ticket, _)) = message.body.split_first_chunk::<TICKET>() else {
            return 0;
        };
        let body: Bytes = message.body.slice(TICKET..);
        let older = self.older(message.name(), u64::from_le_bytes(*ticket));
        let push = (message.id, body, media(message.form));
        older.supplanted(push, message.origin)
    }

    const fn older<'a>(&'a self, user: &'a str, ticket: u64) -> Target<'a> {
        Target {
            hub: self,
            who: Who::Older(user, ticket),
            except: None,
        }
    }
}

impl Target<'_> {
    fn supplanted(&self, push: Pushing, origin: Origin) -> usize {
        self.push(push, origin);
        self.close_here(0, WHY, origin)
    }
}
