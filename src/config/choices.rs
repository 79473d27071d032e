//! The values of keys that are one of a few names. Pure.

use super::value::choice;

choice! {
    /// How workers share the listeners.
    pub enum Accept {
        /// One worker at a time accepts; the mutex goes to the least loaded.
        Mutex = "mutex",
        /// All wait, the kernel wakes one.
        Exclusive = "exclusive",
        /// Each has a queue of its own.
        Reuseport = "reuseport",
    }
}

choice! {
    /// Whether each worker keeps to a core of its own.
    pub enum Affinity {
        /// Worker N keeps to allowed core N, modulo their number.
        Auto = "auto",
        /// The kernel decides.
        Off = "off",
    }
}

choice! {
    /// Whether an IPv6 address leaves IPv4 to others.
    pub enum Ipv6Only {
        /// Where another listener has IPv4 on that port.
        Auto = "auto",
        /// Always.
        True = "true",
        /// Never.
        False = "false",
    }
}

choice! {
    /// What is spoken on a listener.
    pub enum Protocol {
        /// Frames with a binary header.
        Frame = "frame",
        /// HTTP/1.1.
        Http = "http",
        /// Whichever of the two the first bytes of a connection are.
        Auto = "auto",
    }
}

choice! {
    /// What happens to a message whose id has no handler.
    pub enum UnknownId {
        /// It is answered with an error frame, or the connection is closed
        /// where the layout has none.
        Error = "error",
        /// It is dropped.
        Ignore = "ignore",
        /// The connection is closed.
        Close = "close",
    }
}

choice! {
    /// Whether a proxy says whom it speaks for, in front of each connection.
    pub enum ProxyProtocol {
        /// It says nothing.
        Off = "off",
        /// Every connection comes from a proxy in `trusted` and begins so.
        Required = "required",
        /// Those from `trusted` begin so, others come without a proxy.
        Mixed = "mixed",
    }
}

choice! {
    /// How the kernel tells that a connection can be read.
    pub enum Trigger {
        /// As long as something is there.
        Level = "level",
        /// Once for each arrival.
        Edge = "edge",
    }
}

choice! {
    /// Whether the event loop yields its core after it handed work over.
    pub enum Yield {
        /// When a sleeping thread was woken.
        Auto = "auto",
        /// After each hand-over.
        Always = "always",
        /// Not at all.
        Never = "never",
    }
}

choice! {
    /// What happens to a push for a connection that holds too much already.
    pub enum Overflow {
        /// The push is dropped and counted.
        Drop = "drop",
        /// The connection is closed.
        Close = "close",
    }
}

choice! {
    /// What proves that a peer lives.
    pub enum Proof {
        /// Any whole message.
        Any = "any",
        /// The protocol's heartbeat message alone.
        Ping = "ping",
    }
}

choice! {
    /// Who sends heartbeats.
    pub enum Pinging {
        /// The client; the server answers.
        Client = "client",
        /// The server; the client answers.
        Server = "server",
        /// Each, when it likes; each answers.
        Both = "both",
    }
}

choice! {
    /// Which field of a request names its client, behind a proxy.
    pub enum ClientFrom {
        /// None: the client is the peer.
        Off = "off",
        /// A list of addresses.
        XForwardedFor = "x-forwarded-for",
        /// A list of elements with `for=`.
        Forwarded = "forwarded",
        /// One address.
        XRealIp = "x-real-ip",
    }
}

choice! {
    /// How a line of the access log looks.
    pub enum AccessFormat {
        /// As Apache and nginx write it.
        Combined = "combined",
        /// One object a line.
        Json = "json",
    }
}

choice! {
    /// Whether the cookie of a session is for TLS alone.
    pub enum CookieSecure {
        /// Where a trusted proxy says that its client speaks TLS, and on this machine.
        Auto = "auto",
        /// Always.
        Always = "always",
        /// Never.
        Never = "never",
    }
}

choice! {
    /// Where sessions are kept.
    pub enum SessionStore {
        /// In a file of the data folder.
        Sqlite = "sqlite",
        /// In the server of `[redis]`.
        Redis = "redis",
    }
}

choice! {
    /// How a log line looks.
    pub enum LogFormat {
        /// For people.
        Human = "human",
        /// For machines: one object a line.
        Json = "json",
    }
}
