//! What is measured, and the values of one contestant in one round.

/// One figure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Figure {
    /// Messages a second.
    Rate,
    /// Messages a second of CPU time of the server.
    PerCpu,
    /// Cores that the server used.
    Cores,
    /// 99 of 100 replies came within so many microseconds.
    P99,
    /// Private memory of the server that each connection added, in bytes.
    Bytes,
    /// Threads that the connections added to the server.
    Threads,
    /// System calls of the server a message.
    Calls,
    /// Cores used by neither the server nor the client.
    Others,
}

impl Figure {
    /// All, in the order of their declaration.
    pub(crate) const ALL: [Self; 8] = [
        Self::Rate,
        Self::PerCpu,
        Self::Cores,
        Self::P99,
        Self::Bytes,
        Self::Threads,
        Self::Calls,
        Self::Others,
    ];

    /// Its name in the tables, with the unit.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rate => "messages/s",
            Self::PerCpu => "messages per server-CPU-second",
            Self::Cores => "cores used by the server",
            Self::P99 => "p99, µs",
            Self::Bytes => "bytes of private memory a connection",
            Self::Threads => "threads added",
            Self::Calls => "system calls a message",
            Self::Others => "cores used by others",
        }
    }

    /// Digits behind the point.
    pub(crate) const fn digits(self) -> usize {
        match self {
            Self::Rate | Self::PerCpu | Self::P99 | Self::Bytes | Self::Threads => 0,
            Self::Cores | Self::Others => 2,
            Self::Calls => 3,
        }
    }
}

/// The figures of one contestant in one round; not each is measured each time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample([Option<f64>; Figure::ALL.len()]);

impl Sample {
    /// With one figure more.
    #[must_use]
    pub(crate) const fn with(mut self, figure: Figure, value: f64) -> Self {
        self.0[figure as usize] = Some(value);
        self
    }

    /// The figure, if it was measured.
    pub(crate) const fn get(&self, figure: Figure) -> Option<f64> {
        self.0[figure as usize]
    }
}
