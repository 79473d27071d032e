//! A platform for vehicles that speak JT/T 808. Run it with
//! `--set listener.0.frame=jt808`.

mod codec;

use codec::Jt808;
use purlin::prelude::*;

/// Messages of a terminal, and the platform's general answer.
const HEARTBEAT: Id = 0x0002;
const LOGIN: Id = 0x0102;
const POSITION: Id = 0x0200;
const ANSWER: Id = 0x8001;

/// The serials that the platform has used with a vehicle.
type Serial = u16;

/// The serial and the id of what is answered, and that it went well.
fn well(serial: &mut Serial, id: Id, message: &[u8]) -> Reply {
    let mut body = serial.to_be_bytes().to_vec();
    *serial = serial.wrapping_add(1);
    body.extend(message.iter().take(2));
    body.extend(&id.to_be_bytes()[2..]);
    body.push(0);
    Reply::with(ANSWER, body)
}

fn main() -> ExitCode {
    App::<Serial>::new()
        .codec("jt808", Jt808)
        .on(HEARTBEAT, |c, message: Bytes| well(c, HEARTBEAT, &message))
        .on(LOGIN, |c, message: Bytes| {
            log::info!("{}: a login with {} bytes", c.conn(), message.len());
            well(c, LOGIN, &message)
        })
        .on(POSITION, |c, message: Bytes| {
            log::info!("{}: {} bytes of a position", c.conn(), message.len());
            well(c, POSITION, &message)
        })
        .main()
}
