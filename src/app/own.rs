//! Registering what is the program's own beside its handlers: settings, flags,
//! commands, its version.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{App, Verdict};
use crate::config::{Config, ConfigError};
use crate::dispatch::Settings;

impl<S: Default + Send + 'static> App<S> {
    /// Claims table `[table]` of the configuration for the program: the fields of
    /// `T` are its keys. It is checked as strictly as purlin's own tables. A key that
    /// is no field is refused with the nearest one, a value that the type does not
    /// take with its place, by `-t`, at the start and at a reload, which then changes
    /// nothing. `-T` prints it, and environment (`PURLIN__APP__MOTD`) and command line
    /// (`--set app.motd=hello`) give its keys other values. Names in capitals cannot
    /// be reached from the environment.
    ///
    /// Workers read it with [`Hub::settings`](crate::dispatch::Hub::settings). A key
    /// without a value needs a default, by `#[serde(default)]`, or is refused as
    /// missing. The type of a field is its range: `u16`, an `enum`, a [`Duration`]
    /// (written `"30s"`), [`Size`](crate::Size), [`Within`](crate::Within), or your
    /// own by `#[serde(try_from = "…")]`, whose error is what the operator reads; one
    /// that begins with "must be" continues the sentence "app.motd is …". Rules
    /// between keys are a `try_from` of the whole. Fields below `#[serde(flatten)]`
    /// are the exception: serde does not say which there are, so that a key that
    /// nobody wants is ignored there.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// #[derive(Deserialize, Serialize)]
    /// #[serde(default)]
    /// struct Lobby { motd: String, idle: Duration }
    ///
    /// impl Default for Lobby {
    ///     fn default() -> Self {
    ///         Self { motd: "welcome".into(), idle: Duration::from_secs(30) }
    ///     }
    /// }
    ///
    /// let app = App::<()>::new()
    ///     .settings::<Lobby>("app")
    ///     .on(1, |c, (): ()| c.hub().settings::<Lobby>().motd.clone());
    /// let mut test = app.test_with(&[("app.motd", "hello")]);
    /// let ann = test.connect();
    /// assert_eq!(test.call(ann, 1, ()).unwrap(), "hello");
    /// ```
    ///
    /// # Panics
    ///
    /// When `table` is one of purlin's own, or is no name of small letters, digits
    /// and `_`, or it or `T` is claimed already. `app` will never be purlin's.
    ///
    /// [`Duration`]: std::time::Duration
    #[must_use]
    pub fn settings<T>(mut self, table: &str) -> Self
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        self.own.claims.add::<T>(table);
        self
    }

    /// As [`Self::data`], made of the program's settings.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// #[derive(Deserialize, Serialize)]
    /// struct Files { folder: String }
    /// struct Names(Vec<String>);
    ///
    /// let app = App::<()>::new()
    ///     .settings::<Files>("app")
    ///     .data_with(|settings| {
    ///         let names = std::fs::read_dir(&settings.get::<Files>().folder)?;
    ///         let name = |file: std::io::Result<std::fs::DirEntry>| {
    ///             Ok(file?.file_name().to_string_lossy().into_owned())
    ///         };
    ///         names.map(name).collect::<std::io::Result<_>>().map(Names)
    ///     })
    ///     .on(1, |c, (): ()| c.data::<Names>().0.len().to_string());
    /// # let mut test = app.test_with(&[("app.folder", "src/app")]);
    /// # let ann = test.connect();
    /// # assert!(test.call(ann, 1, ()).unwrap().len() > 0);
    /// ```
    #[must_use]
    pub fn data_with<T, E>(
        mut self,
        make: impl Fn(&Settings) -> Result<T, E> + Send + Sync + 'static,
    ) -> Self
    where
        T: Send + Sync + 'static,
        E: std::fmt::Display,
    {
        self.data.push(Box::new(move |data, worker| {
            data.insert(make(&worker.settings).map_err(|error| error.to_string())?);
            Ok(())
        }));
        self
    }

    /// A flag that stands for a key of the configuration, of the program's own or of
    /// purlin's: `text` is `--motd <TEXT>`, or `-m, --motd <TEXT>`. Without a value,
    /// as in `--quiet`, it gives the key the value `true`. Every command takes it; it
    /// wins over the file, the environment and `--set`.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// let app = App::<()>::new().flag("--port <PORT>", "listener.0.address", "Where to listen");
    /// # drop(app);
    /// ```
    ///
    /// # Panics
    ///
    /// When `text` is no flag, or one of purlin's, or registered already.
    #[must_use]
    pub fn flag(mut self, text: &str, key: &str, help: &str) -> Self {
        self.own.flag(text, key, help);
        self
    }

    /// A command of the program's own, beside `start`, `reload` and the like: `A` says
    /// which arguments it has, by clap's `Args`: the program depends on `clap` 4 with its
    /// feature `derive`. Its first line of documentation is
    /// what `--help` says of the command. `f` runs in the foreground, once the
    /// configuration was read, in a process that serves nobody; an error ends it with
    /// exit code 1 and its text.
    ///
    /// ```
    /// use purlin::prelude::*;
    ///
    /// /// Let somebody log in
    /// #[derive(clap::Args)]
    /// struct AddUser {
    ///     /// Who that is
    ///     name: String,
    ///     /// May kick others
    ///     #[arg(long)]
    ///     admin: bool,
    /// }
    ///
    /// #[derive(Deserialize, Serialize)]
    /// struct Users { file: String }
    ///
    /// let app = App::<()>::new().settings::<Users>("app").command(
    ///     "adduser",
    ///     |args: AddUser, settings| -> std::io::Result<()> {
    ///         let users = &settings.get::<Users>().file;
    ///         std::fs::write(users, format!("{} {}\n", args.name, args.admin))
    ///     },
    /// );
    /// # drop(app);
    /// ```
    ///
    /// # Panics
    ///
    /// When there is such a command already, of purlin's or of the program's, or `A`
    /// has one of `-c`, `--conf`, `--set`, `-h`, `--help`, which every command has.
    #[must_use]
    pub fn command<A: clap::Args, V: Verdict>(
        mut self,
        name: &str,
        f: impl Fn(A, &Settings) -> V + Send + Sync + 'static,
    ) -> Self {
        self.own.command(name, move |args: A, config| {
            let settings = Settings::from(config.own_values());
            f(args, &settings).verdict()
        });
        self
    }

    /// The program's version, for `-v`, `-V` and the manual page. Most programs
    /// give `env!("CARGO_PKG_VERSION")`.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.own.version = Some(version.to_owned());
        self
    }

    /// What the program is, in a sentence, for `--help` and the manual page.
    #[must_use]
    pub fn about(mut self, text: &str) -> Self {
        self.own.about = Some(text.to_owned());
        self
    }

    /// The configuration of a test: a free port for each listener that is needed, and
    /// `keys` over the defaults.
    pub(super) fn configured(&self, keys: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let any_port = |n: usize| (format!("listener.{n}.address"), "127.0.0.1:0".to_owned());
        let named = (1..).zip(self.own.claims.listeners());
        let named = named.flat_map(|(n, name)| {
            let name = (format!("listener.{n}.name"), name.clone());
            [any_port(n), name]
        });
        let own = keys.iter().copied().map(pair);
        let keys: Vec<_> = std::iter::once(any_port(0))
            .chain(named)
            .chain(own)
            .collect();
        Config::load_for(&self.own.claims, None, [], &keys)
    }
}
