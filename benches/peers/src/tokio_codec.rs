//! tokio on one thread, with the codec that its users take for such frames.
//!
//! One task a connection. The default buffers of 8 KiB hold more than a read
//! of this load. A reply is the request's own buffer, so nothing is allocated
//! and nothing is copied but into the write buffer.

use std::io::{self, ErrorKind};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, SinkExt, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::frame::Layout;

/// When replies are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flush {
    /// After each: what `send` does.
    Each,
    /// When no further frame is there: `feed`, then one `flush`.
    WhenIdle,
}

/// Serves until a signal.
///
/// # Errors
///
/// When the port or the runtime cannot be had; there is nothing to measure.
pub(crate) fn run(layout: Layout, flush: Flush) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(accept(layout, flush))
}

async fn accept(layout: Layout, flush: Flush) -> io::Result<()> {
    let listener = TcpListener::from_std(crate::listen()?)?;
    crate::announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        // A connection's error is its end and nothing else.
        tokio::spawn(async move { echo(stream, layout, flush).await });
    }
}

async fn echo(stream: TcpStream, layout: Layout, flush: Flush) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut framed = Framed::new(stream, codec(layout));
    while let Some(frame) = framed.next().await {
        let reply = answer(frame?, layout)?;
        if flush == Flush::Each {
            framed.send(reply).await?;
            continue;
        }
        framed.feed(reply).await?;
        // A read that did not fill the buffer has cleared the readiness: the
        // last of these asks costs no system call.
        while let Some(Some(frame)) = framed.next().now_or_never() {
            let reply = answer(frame?, layout)?;
            framed.feed(reply).await?;
        }
        SinkExt::<Bytes>::flush(&mut framed).await?;
    }
    Ok(())
}

/// Frames without their length field, which the codec adds again.
fn codec(layout: Layout) -> LengthDelimitedCodec {
    let mut builder = LengthDelimitedCodec::builder();
    builder.max_frame_length(layout.max());
    match layout {
        Layout::Comm => builder.length_field_length(2).length_adjustment(-2),
        Layout::Rpc => builder.length_field_length(4).length_adjustment(12),
    };
    builder.new_codec()
}

/// Verifies the checksum and computes the reply's, in place.
fn answer(mut frame: BytesMut, layout: Layout) -> io::Result<Bytes> {
    let checksum = match layout {
        Layout::Comm => 2..6,
        Layout::Rpc => 8..12,
    };
    let Some(body) = frame.get(checksum.end..) else {
        return Err(ErrorKind::InvalidData.into());
    };
    if crc32fast::hash(body).to_be_bytes() != frame[checksum.clone()] {
        return Err(ErrorKind::InvalidData.into());
    }
    let computed = crc32fast::hash(&frame[checksum.end..]);
    frame[checksum].copy_from_slice(&computed.to_be_bytes());
    Ok(frame.freeze())
}
