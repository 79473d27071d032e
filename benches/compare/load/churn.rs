//! Churn: connect, one request, close.
//!
//! The side that closes first keeps the port for a minute, and that is this
//! one: connections come from a hundred addresses in turn, each of which has
//! 28,000 ports, and choose their port when they connect, so that one port can
//! serve towards several servers.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket,
};

use super::reply::Replies;
use super::ring::first;
use super::{Tally, Target, index, wait};
use crate::Failure;

/// Source addresses, from 127.0.0.2 on.
const SOURCES: u8 = 100;

/// Clients that come and go.
pub(crate) struct Churn {
    address: SockaddrIn,
    epoll: Epoll,
    events: Vec<EpollEvent>,
    clients: Vec<Client>,
    /// Whose turn it is.
    source: u8,
}

struct Client {
    /// `None` between two connections.
    stream: Option<TcpStream>,
    request: Vec<u8>,
    replies: Replies,
    reply: Vec<u8>,
    /// Bytes of the reply that came.
    received: usize,
}

impl Churn {
    /// Clients that are not connected yet.
    ///
    /// # Errors
    ///
    /// When the server is not on IPv4, or epoll fails.
    pub(super) fn new(target: &Target, at_once: usize) -> Result<Self, Failure> {
        let SocketAddr::V4(address) = target.address else {
            return Err(format!("{} is no IPv4 address", target.address).into());
        };
        let client = |name| {
            let (request, replies) = first(target, name)?;
            Ok(Client {
                stream: None,
                reply: vec![0; replies.len],
                request,
                replies,
                received: 0,
            })
        };
        Ok(Self {
            address: SockaddrIn::from(address),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); at_once],
            clients: (0..at_once).map(client).collect::<Result<_, Failure>>()?,
            source: 0,
        })
    }

    /// Comes and goes for `time`; in the end nobody is connected.
    ///
    /// # Errors
    ///
    /// A connection was refused, or a reply was wrong or did not come.
    pub(super) fn run_for(&mut self, time: Duration, tally: &mut Tally) -> Result<(), Failure> {
        let end = Instant::now() + time;
        for index in 0..self.clients.len() {
            self.begin(index)?;
        }
        let mut connected = self.clients.len();
        while connected > 0 {
            let ready = wait(&self.epoll, &mut self.events)?;
            let more = Instant::now() < end;
            for at in 0..ready {
                let index = index(&self.events[at]);
                if !self.clients[index].receive()? {
                    continue;
                }
                tally.replies += 1;
                connected -= 1;
                if more {
                    self.begin(index)?;
                    connected += 1;
                }
            }
        }
        Ok(())
    }

    /// Connects and asks. The kernel answers the handshake by itself, so this
    /// does not wait for the server.
    fn begin(&mut self, index: usize) -> Result<(), Failure> {
        self.source = (self.source + 1) % SOURCES;
        let source = Ipv4Addr::new(127, 0, 0, 2 + self.source);
        let stream = connect_from(source, &self.address)
            .map_err(|error| format!("connect from {source}: {error}"))?;
        let client = &mut self.clients[index];
        (&stream).write_all(&client.request)?;
        stream.set_nonblocking(true)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        self.epoll.add(&stream, event)?;
        client.stream = Some(stream);
        client.received = 0;
        Ok(())
    }
}

fn connect_from(source: Ipv4Addr, address: &SockaddrIn) -> nix::Result<TcpStream> {
    let descriptor = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    setsockopt(&descriptor, IpBindAddressNoPort, &true)?;
    let source = SockaddrIn::from(SocketAddrV4::new(source, 0));
    bind(descriptor.as_raw_fd(), &source)?;
    connect(descriptor.as_raw_fd(), address)?;
    Ok(TcpStream::from(descriptor))
}

impl Client {
    /// Reads once; true when the reply was whole and right, and the connection
    /// is closed.
    fn receive(&mut self) -> Result<bool, Failure> {
        let Some(mut stream) = self.stream.as_ref() else {
            return Ok(false);
        };
        match stream.read(&mut self.reply[self.received..]) {
            Ok(0) => return Err("closed by the server before it answered".into()),
            Ok(count) => self.received += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let whole = self.received == self.reply.len();
        if whole {
            self.replies.check(&self.reply, 0)?;
            // Closing the only descriptor removes it from epoll.
            self.stream = None;
        }
        Ok(whole)
    }
}
