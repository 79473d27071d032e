//! Several workers on shared listeners: who accepts, in each of the modes.
//!
//! The workers are threads of the test; it is the same code as after a fork.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::harness::{Client, wait_until};
use purlin::config::Config;
use purlin::listener::Codecs;
use purlin::net::accept_mutex::AcceptMutex;
use purlin::prelude::*;
use purlin::scoreboard::{Counter, Scoreboard};
use purlin::sys::epoll::duplicate;
use purlin::sys::eventfd::Bell;
use purlin::sys::socket::{self, Address};
use purlin::worker::{self, Accept, Control, Failure, Farewell, Limits, Listening, Order, Setup};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    Mutex,
    Exclusive,
    ReusePort,
}

struct Orders(Mutex<Vec<Order>>, Bell);

struct Obeys(Arc<Orders>);

impl Control for Obeys {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.1.as_fd()
    }

    fn order(&mut self) -> Option<Order> {
        self.0.1.hush();
        self.0.0.lock().unwrap().pop()
    }
}

/// A worker on a thread of the test.
pub(crate) struct Worker {
    orders: Arc<Orders>,
    thread: Option<JoinHandle<Result<Farewell, Failure>>>,
}

impl Worker {
    pub(crate) fn drain(&mut self) {
        self.orders
            .0
            .lock()
            .unwrap()
            .push(Order::Drain(Some(Duration::ZERO)));
        self.orders.1.ring();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

struct Crew {
    at: SocketAddr,
    board: Scoreboard,
    workers: Vec<Worker>,
}

impl Crew {
    fn start(mode: Mode, workers: usize, connections_max: usize) -> Self {
        let keys = [
            ("listener.0.address", "127.0.0.1:0".to_owned()),
            ("worker.connections_max", connections_max.to_string()),
        ];
        let keys = keys.map(|(key, value)| (key.to_owned(), value));
        let config = Config::load(None, std::iter::empty(), &keys).unwrap();
        let share = matches!(mode, Mode::ReusePort);
        let any = "127.0.0.1:0".parse().unwrap();
        let first = socket::listen(&any, 511, share).unwrap();
        let address = socket::local_address(&first).unwrap();
        let Address::Tcp(at) = address else {
            panic!("TCP")
        };
        let board = Scoreboard::new(workers).unwrap();
        let workers = (0..workers).map(|n| {
            let mut listeners = worker::bind(
                &config,
                purlin::listener::protocols(&config, Codecs::NONE).unwrap(),
            )
            .unwrap();
            listeners[0] = Listening {
                socket: match mode {
                    Mode::ReusePort if n > 0 => socket::listen(&Address::Tcp(at), 511, true),
                    Mode::Mutex | Mode::Exclusive | Mode::ReusePort => duplicate(&first),
                }
                .unwrap(),
                address: Address::Tcp(at),
                protocol: Arc::clone(&listeners[0].protocol),
                origin: listeners[0].origin,
                name: None,
                entrance: Arc::clone(&listeners[0].entrance),
                is_lent: false,
            };
            begin(mode, &board, n, listeners, Limits::from(&config))
        });
        let workers = workers.collect();
        Self { at, board, workers }
    }

    fn read(&self, counter: Counter) -> Vec<u64> {
        (0..self.board.rows())
            .map(|n| self.board.row(n).read(counter))
            .collect()
    }

    fn sum(&self, counter: Counter) -> u64 {
        self.read(counter).iter().sum()
    }

    fn holder(&self) -> Option<usize> {
        let holder = AcceptMutex::new(self.board.clone()).holder();
        holder.map(|holder| holder.row.into())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            if worker.thread.is_some() && !thread::panicking() {
                worker.drain();
            }
        }
    }
}

/// Starts one that answers messages 1 and 2 with their bodies.
pub(crate) fn begin(
    mode: Mode,
    board: &Scoreboard,
    n: usize,
    listeners: Vec<Listening>,
    limits: Limits,
) -> Worker {
    let number = u8::try_from(n).unwrap();
    let owner = AcceptMutex::new(board.clone()).admit(number);
    let setup = Setup {
        settings: Vec::new().into(),
        listeners,
        accept: match mode {
            Mode::Mutex => Accept::Mutex(board.clone()),
            Mode::Exclusive => Accept::Exclusive,
            Mode::ReusePort => Accept::ReusePort,
        },
        limits,
        row: board.row(n),
        bus: None,
        number,
        epoch: owner.epoch,
    };
    let orders = Arc::new(Orders(Mutex::default(), Bell::new().unwrap()));
    let mut control = Obeys(Arc::clone(&orders));
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let app = App::<()>::new()
            .on(1, |_, body: Bytes| body)
            .on_inline(2, |_, body: Bytes| body);
        worker::run(setup, &app, &mut control, || tell.send(()).unwrap())
    });
    told.recv().unwrap();
    Worker {
        orders,
        thread: Some(thread),
    }
}

#[test]
fn idle_connections_are_spread_evenly_and_no_accept_is_in_vain() {
    let crew = Crew::start(Mode::Mutex, 4, 1024);
    let clients: Vec<Client> = (0..800).map(|_| Client::connect(crew.at)).collect();
    wait_until("all are accepted", || crew.sum(Counter::Live) == 800);
    let live = crew.read(Counter::Live);
    assert!(live.iter().all(|&live| live <= 220), "{live:?}");
    assert_eq!(crew.sum(Counter::Accepted), 800);
    assert_eq!(crew.sum(Counter::AcceptsEmpty), 0);
    assert!(crew.sum(Counter::TurnsTaken) <= crew.sum(Counter::TurnsHandedOver) + 1);
    drop(clients);
}

#[test]
fn churn_is_spread_over_the_workers() {
    let crew = Crew::start(Mode::Mutex, 4, 1024);
    for n in 0..800_u32 {
        let mut client = Client::connect(crew.at);
        assert_eq!(client.call(1, &n.to_be_bytes()).1, n.to_be_bytes());
    }
    let accepted = crew.read(Counter::Accepted);
    assert_eq!(accepted.iter().sum::<u64>(), 800);
    // Rounds of at most 64: three of each worker, and one that is unfinished.
    assert!(
        accepted.iter().all(|&count| count >= 2 * 64),
        "{accepted:?}"
    );
}

#[test]
fn a_full_worker_parks_and_the_others_go_on() {
    let crew = Crew::start(Mode::Mutex, 2, 16);
    let mut clients: Vec<Client> = (0..32).map(|_| Client::connect(crew.at)).collect();
    wait_until("both are full", || crew.sum(Counter::Live) == 32);
    let mut waits = Client::connect(crew.at);
    waits.send(&crate::harness::comm(2, b"patience"));
    wait_until("the accept mutex is parked", || crew.holder().is_none());
    assert_eq!(crew.sum(Counter::Accepted), 32);
    drop(clients.pop());
    assert_eq!(waits.comm().1, b"patience");
    assert_eq!(crew.sum(Counter::Accepted), 33);
}

#[test]
fn a_holder_that_drains_hands_the_turn_on() {
    let mut crew = Crew::start(Mode::Mutex, 3, 64);
    for left in (1..3).rev() {
        let holder = crew.holder().unwrap();
        crew.workers[holder].drain();
        let next = crew.holder().unwrap();
        assert_ne!(next, holder);
        let mut client = Client::connect(crew.at);
        assert_eq!(client.call(2, b"next").1, b"next", "{left} are left");
    }
    let last = crew.holder().unwrap();
    crew.workers[last].drain();
    assert_eq!(crew.holder(), None);
}

#[test]
fn every_mode_serves_every_client() {
    for mode in [Mode::Mutex, Mode::Exclusive, Mode::ReusePort] {
        let crew = Crew::start(mode, 4, 1024);
        let mut clients: Vec<Client> = (0..200).map(|_| Client::connect(crew.at)).collect();
        for client in &mut clients {
            assert_eq!(client.call(1, b"pool").1, b"pool", "{mode:?}");
            assert_eq!(client.call(2, b"inline").1, b"inline", "{mode:?}");
        }
        assert_eq!(crew.sum(Counter::Accepted), 200, "{mode:?}");
        drop(clients);
        wait_until("all are gone", || crew.sum(Counter::Live) == 0);
        let totals = crew.board.totals();
        let handled = totals
            .iter()
            .find(|(counter, _)| *counter == Counter::Handled);
        assert_eq!(handled, Some(&(Counter::Handled, 400)), "{mode:?}");
    }
}
