//! What a program says about the other workers of its server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::App;
use crate::dispatch::{Ctx, Hub, Periodic};

impl<S: 'static> App<S> {
    /// Runs `f` in every worker when one says [`Hub::tell`] under this topic: on the
    /// business pool, one after the other, in the order of the one who tells. Of two
    /// that are registered under a topic both run.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// #[derive(Default)]
    /// struct Motd(std::sync::Mutex<String>);
    ///
    /// let app = App::<()>::new()
    ///     .data(|| Ok::<_, String>(Motd::default()))
    ///     .on_tell("motd", |hub, text| {
    ///         *hub.data::<Motd>().0.lock().unwrap() = String::from_utf8_lossy(text).into();
    ///     })
    ///     .on(1, |c, text: String| c.hub().tell("motd", text))
    ///     .on(2, |c, (): ()| c.data::<Motd>().0.lock().unwrap().clone());
    /// let mut test = app.test();
    /// let ann = test.connect();
    /// test.send(ann, 1, "welcome");
    /// assert_eq!(test.call(ann, 2, ()).unwrap(), "welcome");
    /// ```
    #[must_use]
    pub fn on_tell(
        mut self,
        topic: &str,
        f: impl Fn(&Hub, &Bytes) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.told.push((topic.to_owned(), Arc::new(f)));
        self
    }

    /// Says that the program keeps in one worker what would be wrong in two, such as a
    /// table in its [data](App::data). A configuration with more is refused with this
    /// reason, `workers = "auto"` means one, and `purlin workers 2` is refused as well.
    /// Over a reload or an upgrade the old worker and the new one live side by side
    /// until the old one has drained.
    ///
    /// ```
    /// use purlin::{Server, prelude::*};
    ///
    /// let app = App::<()>::new().single_worker();
    /// let error = Server::configured(app, &[("workers", "2")]).unwrap_err();
    /// assert!(error.to_string().contains("workers is 2, must be 1 or auto"));
    /// ```
    #[must_use]
    pub fn single_worker(mut self) -> Self {
        self.own.claims.single_worker();
        self
    }

    /// Runs `f` every `period` in one worker of the server, whichever is free: on the
    /// business pool, with a number that rises from each run to the next, over
    /// restarts too.
    ///
    /// A run may be late by a quarter of the period; none is missing for longer than
    /// one, whatever worker dies, reloads or hangs. While one runs no other does,
    /// unless its worker is stopped for longer than a period: then the next begins
    /// elsewhere, and the late one may still be at work. What must not be done by both
    /// should be guarded by the number, as in `UPDATE … WHERE fence < ?`. Workers know
    /// the job by its name, the same over reloads and upgrades.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new()
    ///     .on(1, |c, (): ()| c.join("score"))
    ///     .every_once("score", Duration::from_secs(10), |hub, _fence| {
    ///         hub.room("score").send(9, "3:2");
    ///     });
    /// let mut test = app.test();
    /// let ann = test.connect();
    /// test.send(ann, 1, ());
    /// test.advance(Duration::from_secs(10));
    /// assert_eq!(test.received(ann), [(9, Bytes::from("3:2"))]);
    /// ```
    ///
    /// # Panics
    ///
    /// When `period` is shorter than 4 ms, the name was given before, or there are more
    /// than 64 such jobs.
    #[must_use]
    #[track_caller]
    pub fn every_once(
        mut self,
        name: &str,
        period: Duration,
        f: impl Fn(&Hub, u64) + Send + Sync + 'static,
    ) -> Self {
        assert!(
            period >= Duration::from_millis(4),
            "{period:?} is too short a period for a job that one worker runs for all"
        );
        let known = self
            .hooks
            .every
            .iter()
            .filter_map(|job| job.name.as_deref());
        assert!(
            known.clone().all(|known| known != name),
            "job `{name}` was registered before"
        );
        assert!(
            known.count() < 64,
            "more than 64 jobs for one worker of all"
        );
        self.hooks.every.push(Periodic {
            period,
            name: Some(name.to_owned()),
            run: Arc::new(f),
        });
        self
    }

    /// Runs `f` when a connection goes on in this worker that was another's, over a
    /// reload or an upgrade: before its first message here, on a business thread and in
    /// its turn, as [`App::opened`], which does not run for it. Its state, user and rooms
    /// are there. What a worker keeps of connections in its [data](App::data) it puts
    /// there again here; what `f` returns is dropped.
    ///
    /// It runs once in each worker that the connection comes to, and never where it was
    /// accepted. If it panics the connection is closed, served nothing more, and its
    /// `closed` runs.
    ///
    /// ```
    /// use std::collections::BTreeSet;
    /// use std::sync::Mutex;
    ///
    /// use purlin::prelude::*;
    ///
    /// #[derive(Default)]
    /// struct Here(Mutex<BTreeSet<String>>);
    ///
    /// fn enter(c: &Ctx<()>) {
    ///     let here = c.data::<Here>();
    ///     here.0.lock().unwrap().extend(c.user());
    /// }
    ///
    /// let app = App::<()>::new()
    ///     .data(|| Ok::<_, String>(Here::default()))
    ///     .on(1, |c, user: String| {
    ///         c.bind(&user);
    ///         enter(c);
    ///     })
    ///     .on(2, |c, (): ()| Json(c.data::<Here>().0.lock().unwrap().clone()))
    ///     .arrived(|c| enter(c));
    /// let mut test = app.test();
    /// let ann = test.connect();
    /// test.send(ann, 1, "ann");
    /// assert_eq!(test.call(ann, 2, ()).unwrap(), r#"["ann"]"#);
    /// ```
    ///
    /// # Panics
    ///
    /// When it was registered before.
    #[must_use]
    #[track_caller]
    pub fn arrived<R>(mut self, f: impl Fn(&mut Ctx<'_, S>) -> R + Send + Sync + 'static) -> Self {
        assert!(
            self.hooks.arrived.is_none(),
            "`arrived` was registered before"
        );
        self.hooks.arrived = Some(Arc::new(move |ctx| drop(f(ctx))));
        self
    }

    /// Runs `f` in a worker that did not get messages of another one, because it read
    /// too slowly and `bus.backlog` was full: with all rooms that have members or
    /// streams here, sorted. What was lost may have been for any of them: have the
    /// clients ask again for what they show. On the business pool; counted as
    /// `bus_gaps`.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new().missed(|hub, rooms| {
    ///     for room in rooms {
    ///         hub.room(room).send(9, "look again");
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn missed(mut self, f: impl Fn(&Hub, &[String]) + Send + Sync + 'static) -> Self {
        self.hooks.missed.push(Arc::new(f));
        self
    }
}
