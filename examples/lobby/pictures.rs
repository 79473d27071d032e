//! Pictures of players, over HTTP: who has the secret may send one, all may see it.

use std::fs::{self, File};
use std::path::PathBuf;

use purlin::body::Spooled;
use purlin::prelude::*;

use crate::players::Players;
use crate::{Lobby, counts};

/// Bytes of a picture.
const MAX: usize = 1 << 20;

pub(crate) fn web() -> Web<()> {
    Web::new()
        .get("/pictures/:user", |c, (): ()| {
            File::open(path(c)?).map_err(|_| Error::new(404, "no picture"))
        })
        .put("/pictures/:user", save)
        .body_max(MAX)
        .need_last(401, "X-Secret is the player's secret", |c| {
            let secret = c.header("x-secret").unwrap_or_default();
            c.data::<Players>().know(&c.param("user"), secret)
        })
}

/// Where the picture of the player is whom the request names.
fn path(c: &Http<()>) -> Result<PathBuf, Error> {
    let user = c.param("user");
    if !c.data::<Players>().has(&user) {
        return Err(Error::new(404, "no such player"));
    }
    Ok(c.settings::<Lobby>().pictures.join(&*user))
}

/// The folder is the operator's, and the workers' user may write there.
fn save(c: &mut Http<()>, mut picture: Spooled) -> Result<(), Error> {
    let path = path(c)?;
    // Nobody sees half of it, and two that come at once have a file each.
    let part = path.with_extension(c.request_id());
    picture.copy_to(&mut File::create(&part)?)?;
    fs::rename(&part, &path)?;
    counts::count(c.hub(), "pictures");
    c.status(201);
    Ok(())
}
