//! Bodies that are yet to come: what a head alone decides is answered before them.

use matchit::Params;

use super::{Goal, Routes, below, nobody};
use crate::body::{Answer, Error};
use crate::dispatch::Visit;
use crate::protocol::http::{Incoming, Request, Response, Served, Trailers, Wanted};
use crate::protocol::{Lane, Units};
use crate::scoreboard::activity::{self, Work};
use crate::web::http::Http;
use crate::web::method::Method;

/// What files say to a request whose body is yet to come.
enum FilesSay {
    /// There is nothing: ask others.
    Nothing,
    /// It will be answered when it is whole.
    Serve,
    /// The response says why not.
    Refuse,
}

impl<S: Default + Send + 'static> Routes<S> {
    /// Asks the files where no route is. They want no body, so what they answer
    /// now is what they would answer then.
    fn files_say(
        &self,
        visit: &mut Visit<'_, S>,
        request: &Request<'_>,
        response: &mut Response,
    ) -> FilesSay {
        let path = request.head.path;
        let served = match (self.mount(path), request.root) {
            // Middleware may want the body, and so may what is behind it.
            (Some(mount), _) if mount.wrapped.is_some() => Some(Served::Later(0)),
            (Some(mount), _) => {
                let below = below(path, mount.path.len());
                let files = &mount.files;
                files.serve(Lane::Pool, request, below, visit.row(), response)
            }
            (None, Some(root)) => root.serve(Lane::Pool, request, visit.row(), response),
            (None, None) => None,
        };
        match served {
            None => FilesSay::Nothing,
            Some(Served::Done) if response.sent_status() >= 400 => FilesSay::Refuse,
            Some(_) => {
                response.restart();
                FilesSay::Serve
            }
        }
    }

    /// Says what to do with a body that is yet to come.
    pub(super) fn wants(
        &self,
        mut visit: Visit<'_, S>,
        incoming: &Incoming<'_>,
        response: &mut Response,
    ) -> Wanted {
        let head = incoming.head;
        let method = Method::of(head.method);
        let request = Request {
            head,
            body: Units::borrowed(b""),
            trailers: Trailers::NONE,
            taken: None,
            client: incoming.client,
            root: incoming.root,
            successors: None,
            upgrades: false,
        };
        let goal = self.find(method, head.path);
        if let Goal::Elsewhere = goal {
            match self.files_say(&mut visit, &request, response) {
                FilesSay::Nothing => {}
                FilesSay::Serve => return Wanted::Whole { max: incoming.max },
                FilesSay::Refuse => return Wanted::Refused,
            }
        }
        let (found, params) = match (goal, &self.otherwise) {
            (Goal::Handler(found, params), _) => (found, params),
            (Goal::Elsewhere, Some(otherwise)) => (otherwise, Params::new()),
            (goal @ (Goal::Methods(_) | Goal::Elsewhere), _) => {
                return match nobody(&goal, method, &head, response) {
                    Served::NoSuchMethod => Wanted::NoSuchMethod,
                    Served::Done | Served::Later(_) | Served::NotInline => Wanted::Refused,
                };
            }
        };
        let max = found.body_max.unwrap_or(incoming.max);
        let is_over = incoming.length.is_some_and(|length| length > max);
        let Some(before) = found.before.as_ref().filter(|_| !is_over) else {
            return Wanted::Whole { max };
        };
        let (mut state, mut answer) = (S::default(), Answer::None);
        let mut http = Http {
            ctx: visit.ctx(&mut state),
            request: &request,
            params,
            response,
            begun: None,
            user: None,
            #[cfg(feature = "session")]
            session: crate::web::session::Lookup::default(),
        };
        activity::begin(Work::Route(found.number));
        before(&mut http, request.body, &mut answer);
        match (http.begun.take(), answer) {
            (Some(intake), Answer::None) => Wanted::Pieces { max, intake },
            (None, Answer::None) if !found.in_pieces => {
                response.restart();
                Wanted::Whole { max }
            }
            (_, answer) => {
                if let Served::Later(_) = response.take(answer) {
                    let why = "a reply that comes later cannot refuse a body";
                    response.error(&Error::new(500, why));
                }
                Wanted::Refused
            }
        }
    }
}
