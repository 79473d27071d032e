//! What a program says about the other workers of its server.

use std::sync::Arc;

use bytes::Bytes;

use super::App;
use crate::dispatch::Hub;

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
