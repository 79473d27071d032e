//! What packages ship beside the binary, made from the command line itself: a
//! manual page, and completions for shells. Pure.

use clap::ValueEnum;
use clap_complete::Shell;

use super::args::described;
use super::extensions::Extensions;

/// A file for packages.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Artifact {
    /// The manual page, section 8.
    Man,
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
}

impl Artifact {
    /// The whole text, for `program`.
    #[must_use]
    pub fn write(self, program: &str, own: &Extensions) -> String {
        let shell = match self {
            Self::Man => return man(program, own),
            Self::Bash => Shell::Bash,
            Self::Zsh => Shell::Zsh,
            Self::Fish => Shell::Fish,
        };
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut described(program, own), program, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// One page for all commands: a page for each would say little.
fn man(program: &str, own: &Extensions) -> String {
    // clap wants a name for ever; the process ends once this is printed.
    let name = String::leak(program.to_owned());
    let version = own.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    let version = String::leak(version.to_owned());
    let command = described(program, own).name(&*name).version(&*version);
    let mut text = Vec::new();
    clap_mangen::Man::new(command)
        .section("8")
        .render(&mut text)
        .expect("a vector takes everything");
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_paper_knows_the_program_and_its_commands() {
        for (artifact, parts) in [
            (Artifact::Man, [".TH chat 8", "reload", "PURLIN_CONF"]),
            (Artifact::Bash, ["complete -F", "chat", "reload"]),
            (Artifact::Zsh, ["#compdef chat", "reload", "reopen"]),
            (Artifact::Fish, ["complete -c chat", "reload", "reopen"]),
        ] {
            let text = artifact.write("chat", &Extensions::default());
            for part in parts {
                assert!(text.contains(part), "{artifact:?}: {part}\n{text}");
            }
        }
    }

    #[derive(clap::Args)]
    /// Let somebody log in
    struct AddUser {
        /// Who that is
        #[arg(long)]
        name: String,
    }

    #[test]
    fn what_is_the_programs_is_in_each_of_them() {
        let mut own = Extensions::default();
        own.version = Some("7.8.9".into());
        own.about = Some("A place to talk".into());
        own.flag("-m, --motd <TEXT>", "app.motd", "What newcomers read");
        own.command("adduser", |args: AddUser, _| Err(args.name));
        for (artifact, parts) in [
            (
                Artifact::Man,
                &["adduser", "7.8.9", "A place to talk", "motd", "app.motd"][..],
            ),
            (Artifact::Bash, &["adduser", "--motd", "--name"]),
            (
                Artifact::Zsh,
                &[
                    "adduser",
                    "Let somebody log in",
                    "--motd",
                    "What newcomers read",
                ],
            ),
            (
                Artifact::Fish,
                &["adduser", "Let somebody log in", "-l motd", "-l name"],
            ),
        ] {
            let text = artifact.write("chat", &own);
            for part in parts {
                assert!(text.contains(part), "{artifact:?}: {part}\n{text}");
            }
        }
        let help = described("chat", &own).render_help().to_string();
        for part in [
            "A place to talk",
            "adduser      Let somebody log in",
            "-m, --motd <TEXT>",
        ] {
            assert!(help.contains(part), "{part}: {help}");
        }
    }

    #[test]
    fn the_manual_tells_users_nothing_of_packaging() {
        assert!(
            !Artifact::Man
                .write("chat", &Extensions::default())
                .contains("generate")
        );
    }
}
