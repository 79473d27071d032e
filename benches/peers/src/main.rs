//! What purlin is compared with: `peers DESIGN comm|rpc|http`.
//!
//! Each design is an echo server on a free port of 127.0.0.1, named on stderr,
//! that verifies and computes the checksum of each frame (`raw` apart) and
//! serves until a signal. Each is written as its users would tune it, and
//! small enough to be read whole:
//!
//! | design | what it is |
//! |---|---|
//! | `raw` | one epoll loop that returns what it read: the limit of the kernel |
//! | `loop` | the same with frames, replies coalesced: the limit of a frame server |
//! | `tokio-batched` | tokio, `LengthDelimitedCodec`, flushes when no frame is left |
//! | `tokio-flush` | the same, flushes each reply |
//! | `http-loop` | the epoll loop again; looks for the ends of heads only |
//! | `hyper` | tokio and hyper 1, on one thread |
//! | `classic` | one task a frame for a pool, one send a frame by a send thread |

mod classic;
mod decode;
mod epoll_loop;
#[path = "../../compare/frame.rs"]
mod frame;
mod hyper_peer;
mod semaphore;
mod tokio_codec;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use nix::sys::prctl;
use nix::sys::signal::Signal;

use epoll_loop::Speech;
use frame::Layout;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let served = match &arguments[..] {
        [design, layout] => serve(design, layout),
        _ => Err(io::Error::other("usage: peers DESIGN comm|rpc|http")),
    };
    if let Err(error) = served {
        eprintln!("peers: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn serve(design: &str, layout: &str) -> io::Result<()> {
    // The bench ends its servers itself, unless somebody kills the bench.
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    if layout == "http" {
        return match design {
            "http-loop" => epoll_loop::run(Speech::Http),
            "hyper" => hyper_peer::run(),
            other => Err(io::Error::other(format!("{other} does not speak HTTP"))),
        };
    }
    let layout = Layout::named(layout)
        .ok_or_else(|| io::Error::other(format!("{layout} is none of comm, rpc and http")))?;
    match design {
        "raw" => epoll_loop::run(Speech::Bytes),
        "loop" => epoll_loop::run(Speech::Frames(layout)),
        "tokio-batched" => tokio_codec::run(layout, tokio_codec::Flush::WhenIdle),
        "tokio-flush" => tokio_codec::run(layout, tokio_codec::Flush::Each),
        "classic" => classic::run(layout),
        other => Err(io::Error::other(format!("no design is called {other}"))),
    }
}

/// A free port of 127.0.0.1, not blocking.
fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Tells the bench where, once clients are served.
fn announce(address: SocketAddr) {
    eprintln!("listening on {address}");
}
