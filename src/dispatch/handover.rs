//! What of a program's goes along when a connection changes its worker: the
//! state, the user, the rooms. Runs on the event loop of either worker.

use std::fmt;

/// A connection's state that can go to another process.
///
/// Over a reload, and over an upgrade to another binary, the connections of a
/// worker that leaves go on in one that stays. Their state has to go along as
/// bytes, which the program writes and reads here and says so with
/// [`App::handover`](crate::App::handover). A state without bytes, such as
/// `()`, needs none of this; any other that is not registered keeps its
/// connections where they are, and they are closed as the old worker drains.
///
/// Both functions run on the event loop and must be quick. A panic in them
/// keeps the connection where it is.
///
/// ```
/// use purlin::prelude::*;
///
/// #[derive(Default)]
/// struct Guest { said: u32 }
///
/// impl Handover for Guest {
///     const VERSION: u32 = 1;
///
///     fn hand_over(&self) -> Option<Vec<u8>> {
///         Some(self.said.to_be_bytes().to_vec())
///     }
///
///     fn take_over(version: u32, bytes: &[u8]) -> Option<Self> {
///         let said = <[u8; 4]>::try_from(bytes).ok().filter(|_| version == 1)?;
///         Some(Self { said: u32::from_be_bytes(said) })
///     }
/// }
///
/// let app = App::<Guest>::new().handover();
/// ```
pub trait Handover: Sized {
    /// Names the form of the bytes. Raise it when an older binary could not
    /// read them any more, or would read them wrong.
    const VERSION: u32;

    /// The state as bytes, at most 64 KiB. Changes nothing: the connection may
    /// still stay. `None` keeps it where it is, as long as this one wants.
    fn hand_over(&self) -> Option<Vec<u8>>;

    /// The state again, from bytes that a worker wrote as `version`, which may
    /// be an older or a newer one. `None` when they cannot be read: then the
    /// connection stays with the worker that drains.
    fn take_over(version: u32, bytes: &[u8]) -> Option<Self>;
}

/// The two functions of a [`Handover`], for a program that has registered it.
pub struct HandoverFns<S> {
    pub(super) version: u32,
    pub(super) hand_over: fn(&S) -> Option<Vec<u8>>,
    pub(super) take_over: fn(u32, &[u8]) -> Option<S>,
}

impl<S: Handover> Default for HandoverFns<S> {
    fn default() -> Self {
        Self {
            version: S::VERSION,
            hand_over: S::hand_over,
            take_over: S::take_over,
        }
    }
}

impl<S> Clone for HandoverFns<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for HandoverFns<S> {}

impl<S> fmt::Debug for HandoverFns<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandoverFns(version {})", self.version)
    }
}

/// The state of a connection on its way.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum State {
    /// There is none yet, or it has no bytes.
    #[default]
    Empty,
    /// As the program wrote it.
    Bytes {
        /// In which form.
        version: u32,
        /// What it wrote.
        bytes: Vec<u8>,
    },
}

/// What goes along with a connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MovedState {
    /// Its state.
    pub state: State,
    /// Whom it is bound to.
    pub user: Option<String>,
    /// And with which ticket.
    pub ticket: u64,
    /// Where it has joined.
    pub rooms: Vec<String>,
    /// Its timers, by name, and when each is due on the machine's clock.
    pub timers: Vec<(String, u64)>,
}

/// Why a connection stays with the program that it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CannotMove {
    /// Its state cannot go along.
    State,
    /// A function of the program waits for its time.
    Timer,
}
