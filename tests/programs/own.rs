//! The program that the tests of what is a program's own start: it has a table in
//! the configuration, flags, a command, handlers of one listener that others do not reach,
//! metrics and a check.

use std::io::Write;

use purlin::Within;
use purlin::prelude::*;

/// Answers with the message of the day.
const MOTD: Id = 1;
/// Answers with the seats that there are.
const SEATS: Id = 2;
/// Says who one is.
const LOGIN: Id = 3;
/// Answers with the name of the listener.
const WHERE: Id = 4;
/// What who is kicked is told.
const KICKED: Id = 5;
/// Of the internal listener: answers how many connections a user has.
const COUNT: Id = 100;

/// What `[app]` says.
#[derive(Deserialize, Serialize)]
#[serde(default)]
struct Own {
    motd: String,
    seats: Within<2, 64>,
    idle: Duration,
    users: Option<std::path::PathBuf>,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            motd: "welcome".into(),
            seats: Within::new(8),
            idle: Duration::from_secs(30),
            users: None,
        }
    }
}

/// Let somebody log in
#[derive(clap::Args)]
struct AddUser {
    /// Who that is
    name: String,
    /// May kick others
    #[arg(long)]
    admin: bool,
}

fn add_user(args: AddUser, settings: &purlin::dispatch::Settings) -> Result<(), String> {
    let users = settings.get::<Own>().users.as_ref();
    let users = users.ok_or("app.users is empty: it names the file of users")?;
    let file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(users);
    let written = file.and_then(|mut file| writeln!(file, "{} {}", args.name, args.admin));
    written.map_err(|error| format!("write {}: {error}", users.display()))
}

/// The message of the day, as it was when the worker started.
struct Motd(String);

/// The program, as another release of it would be where there is a file `more`.
fn program() -> App<()> {
    let app = App::<()>::new()
        .counter("own_greetings", "Messages of the day that were read.")
        .gauge("own_seats", "Seats that there are.")
        .histogram("own_name_length", "Bytes of names.", &[2.0, 4.0, 8.0])
        .ready("files", |_| {
            if std::path::Path::new("broken").exists() {
                return Err("there is a file `broken`");
            }
            Ok(())
        });
    if std::path::Path::new("more").exists() {
        app.counter("own_more", "What only another release counts.")
    } else {
        app
    }
}

fn main() -> ExitCode {
    program()
        .version("7.8.9")
        .about("A place to meet")
        .settings::<Own>("app")
        .flag("-m, --motd <TEXT>", "app.motd", "What newcomers read")
        .command("adduser", add_user)
        .data_with(|settings| Ok::<_, String>(Motd(settings.get::<Own>().motd.clone())))
        .started(|hub| hub.gauge("own_seats").set(4.0))
        .on(MOTD, |c, (): ()| {
            c.hub().counter("own_greetings").add(1);
            c.data::<Motd>().0.clone()
        })
        .on(SEATS, |c, (): ()| c.settings::<Own>().seats.to_string())
        .on(LOGIN, |c, name: String| {
            c.bind(&name);
            let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
            let lengths = c.hub().histogram("own_name_length");
            lengths.observe(length.into());
            if name == "bob" {
                c.join("zoo");
                c.join("hall");
            }
        })
        .on(WHERE, |c, (): ()| {
            c.listener().unwrap_or_default().to_owned()
        })
        .listener("internal", |l| {
            l.on(COUNT, |c, user: String| {
                c.hub().user(&user).count().to_string()
            })
            .web(
                Web::<()>::new()
                    .get("/health", |_, (): ()| "fine")
                    .websocket("/ws", |c| c.bind("ann")),
            )
        })
        .kicked(|c, why| c.send(KICKED, why.to_owned()))
        .main()
}
