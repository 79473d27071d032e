//! What operators ask, on a listener of its own: who reaches that may do everything.

use purlin::prelude::*;

use crate::counts::Counts;
use crate::{HALL, KICKED, NOTICE, rooms};

/// The close code of who was kicked, over WebSocket.
const BY_ADMIN: u16 = 4001;

pub(crate) fn web() -> Web<()> {
    Web::<()>::new()
        .get("/counts", |c, (): ()| Json(c.data::<Counts>().all()))
        .get("/rooms", |c, (): ()| Json(rooms::list(c.hub())))
        .post("/notice", |c, text: String| {
            c.hub().room(HALL).send(NOTICE, text).to_string()
        })
        .post("/kick/:user", kick)
}

/// The body is what the player is told.
fn kick(c: &mut Http<()>, why: String) -> Result<String, Error> {
    let user = c.param("user");
    let player = c.hub().user(&user);
    player.send(KICKED, why.clone());
    match player.close_with(BY_ADMIN, &why) {
        0 => Err(Error::new(404, format!("{user} is not here"))),
        closed => Ok(closed.to_string()),
    }
}
