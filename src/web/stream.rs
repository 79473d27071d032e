//! Streams from what Rust has anyway: iterators and readers.

use std::fmt::Display;
use std::io::{ErrorKind, Read};

use bytes::{Buf, Bytes};

use crate::body::{Answer, IntoReply};
use crate::protocol::http::{ChunkBuf, Content, Fill, Source, Stream};

impl Stream {
    /// Of the items of an iterator, each asked for when there is room for it.
    /// `std::iter::from_fn` makes one of a closure.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let web = Web::<()>::new().get("/count", |_, (): ()| {
    ///     Stream::iter((1..=3).map(|n| format!("{n}\n")))
    /// });
    /// let mut test = App::<()>::new().web(web).test();
    /// assert_eq!(test.http("GET", "/count", "").text(), "1\n2\n3\n");
    /// ```
    pub fn iter<I>(items: I) -> Self
    where
        I: IntoIterator,
        I::IntoIter: Send + 'static,
        I::Item: Into<Bytes>,
    {
        let items = items.into_iter().map(|item| Ok::<_, String>(item.into()));
        Self::try_iter(items)
    }

    /// As [`Self::iter`], of items that may fail: the first failure resets the
    /// connection, counted and logged.
    pub fn try_iter<I, B, E>(items: I) -> Self
    where
        I: IntoIterator<Item = Result<B, E>>,
        I::IntoIter: Send + 'static,
        B: Into<Bytes>,
        E: Display,
    {
        let items = items.into_iter();
        let items = items.map(|item| item.map(Into::into).map_err(|error| error.to_string()));
        Self::new(Items {
            items,
            rest: Bytes::new(),
        })
    }

    /// Of what a reader gives until its end. An error resets the connection,
    /// counted and logged. A reader that waits for long holds a business thread.
    pub fn read(reader: impl Read + Send + 'static) -> Self {
        Self::new(Reader(reader))
    }
}

impl IntoReply for Stream {
    fn into_reply(self) -> Answer {
        Answer::Content(Box::new(Content::Stream(self)))
    }
}

struct Items<I> {
    items: I,
    /// What there was no room for.
    rest: Bytes,
}

impl<I: Iterator<Item = Result<Bytes, String>> + Send> Source for Items<I> {
    fn fill(&mut self, room: &mut ChunkBuf<'_>) -> Fill {
        loop {
            let put = room.put(&self.rest);
            self.rest.advance(put);
            if room.left() == 0 {
                return Fill::More;
            }
            match self.items.next() {
                Some(Ok(item)) => self.rest = item,
                Some(Err(reason)) => return Fill::Failed(reason),
                None => return Fill::End,
            }
        }
    }
}

struct Reader<R>(R);

impl<R: Read + Send> Source for Reader<R> {
    fn fill(&mut self, room: &mut ChunkBuf<'_>) -> Fill {
        match room.read(&mut self.0) {
            Ok(0) => Fill::End,
            Ok(_) => Fill::More,
            Err(error) if error.kind() == ErrorKind::Interrupted => Fill::More,
            Err(error) => Fill::Failed(error.to_string()),
        }
    }
}
