//! The classic scaffold: a task for each frame, a send for each reply.
//!
//! ```text
//! reactor --frame--> queue of a pool thread --reply--> queue of the sender
//!          post              wait, post                  wait, one send each
//! ```
//!
//! Repaired where it would not even be right: the scaffolds it stands for let
//! any pool thread take any frame, so that pipelined replies overtake each
//! other. Here a connection's frames all go to one thread of the pool.
//! Everything is woken by counting semaphores, once a task and once a reply.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::decode::Decoded;
use crate::frame::Layout;
use crate::semaphore::Semaphore;

/// Threads of the pool.
const THREADS: usize = 4;

/// The token of the listener; connections have their descriptor.
const LISTENER: u64 = u64::MAX;

/// Events of one wait.
const EVENTS: usize = 512;

/// Bytes of one read.
const READ_SIZE: usize = 256 * 1024;

/// One frame for the pool, or one reply for the sender.
struct Task {
    /// Closed when the reactor and the last task of it are done with it.
    to: Arc<TcpStream>,
    bytes: Vec<u8>,
}

/// Tasks, and a semaphore that counts them.
#[derive(Default)]
struct Queue {
    tasks: Mutex<VecDeque<Task>>,
    waiting: Semaphore,
}

impl Queue {
    fn push(&self, task: Task) {
        self.lock().push_back(task);
        self.waiting.post();
    }

    fn pop(&self) -> Task {
        self.waiting.wait();
        self.lock()
            .pop_front()
            .expect("the semaphore counts the tasks")
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Task>> {
        // Nothing under this lock panics.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until a signal.
///
/// # Errors
///
/// When the port, a thread or epoll cannot be had; there is nothing to measure.
pub(crate) fn run(layout: Layout) -> io::Result<()> {
    let replies = Arc::new(Queue::default());
    let mut pool = Vec::new();
    for n in 0..THREADS {
        let tasks = Arc::new(Queue::default());
        pool.push(Arc::clone(&tasks));
        let replies = Arc::clone(&replies);
        spawn(&format!("pool-{n}"), move || {
            work(&tasks, &replies, layout);
        })?;
    }
    spawn("sender", move || send(&replies))?;
    let mut reactor = Reactor::new(layout, pool)?;
    crate::announce(reactor.listener.local_addr()?);
    reactor.run()
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run)?;
    Ok(())
}

fn work(tasks: &Queue, replies: &Queue, layout: Layout) {
    loop {
        let Task { to, bytes } = tasks.pop();
        let Decoded::Frame(frame) = layout.decode(&bytes) else {
            // The reactor has cut it, so the checksum is wrong.
            let _ = to.shutdown(std::net::Shutdown::Both);
            continue;
        };
        let mut reply = Vec::with_capacity(frame.total);
        layout.encode(frame.id, frame.sequence, frame.body, &mut reply);
        replies.push(Task { to, bytes: reply });
    }
}

fn send(replies: &Queue) {
    loop {
        let Task { to, bytes } = replies.pop();
        // An error is the connection's; the reactor will see its end.
        let _ = send_all(&to, &bytes);
    }
}

/// One send; while the kernel has no room, everybody waits. This load reads
/// its replies, so it always has.
fn send_all(mut to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll(
                    &mut [PollFd::new(to.as_fd(), PollFlags::POLLOUT)],
                    PollTimeout::NONE,
                )?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

struct Reactor {
    epoll: Epoll,
    listener: TcpListener,
    layout: Layout,
    pool: Vec<Arc<Queue>>,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    scratch: Box<[u8]>,
}

struct Connection {
    stream: Arc<TcpStream>,
    /// The beginning of a frame whose end has not arrived.
    partial: Vec<u8>,
}

impl Reactor {
    fn new(layout: Layout, pool: Vec<Arc<Queue>>) -> io::Result<Self> {
        let listener = crate::listen()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Self {
            epoll,
            listener,
            layout,
            pool,
            connections: Vec::new(),
            scratch: vec![0; READ_SIZE].into_boxed_slice(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = vec![EpollEvent::empty(); EVENTS];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..count] {
                match event.data() {
                    LISTENER => self.accept()?,
                    token => self.serve(token),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let slot = usize::try_from(stream.as_raw_fd()).expect("an open descriptor is >= 0");
            let event = EpollEvent::new(EpollFlags::EPOLLIN, slot as u64);
            self.epoll.add(&stream, event)?;
            if self.connections.len() <= slot {
                self.connections.resize_with(slot + 1, || None);
            }
            self.connections[slot] = Some(Connection {
                stream: Arc::new(stream),
                partial: Vec::new(),
            });
        }
    }

    fn serve(&mut self, token: u64) {
        let slot = usize::try_from(token).expect("tokens are descriptors");
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        let tasks = &self.pool[slot % THREADS];
        let read = connection.read(&mut self.scratch, self.layout, tasks);
        if read.is_err()
            && let Some(connection) = self.connections[slot].take()
        {
            // A task may hold the descriptor open, which would keep it here.
            let _ = self.epoll.delete(&*connection.stream);
        }
    }
}

impl Connection {
    /// Reads once and makes a task of each whole frame.
    ///
    /// An error, the peer's end-of-file included, means that the connection
    /// is over.
    fn read(&mut self, scratch: &mut [u8], layout: Layout, tasks: &Queue) -> io::Result<()> {
        let kept = self.partial.len();
        scratch[..kept].copy_from_slice(&self.partial);
        let count = match (&*self.stream).read(&mut scratch[kept..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut rest = &scratch[..kept + count];
        while rest.len() >= layout.header() {
            let total = layout.total(rest).ok_or(ErrorKind::InvalidData)?;
            let Some((frame, behind)) = rest.split_at_checked(total) else {
                break;
            };
            tasks.push(Task {
                to: Arc::clone(&self.stream),
                bytes: frame.to_vec(),
            });
            rest = behind;
        }
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        Ok(())
    }
}
