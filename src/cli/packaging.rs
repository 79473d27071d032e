//! What packages ship beside the binary, made from the command line itself: a
//! manual page, and completions for shells. Pure.

use clap::ValueEnum;
use clap_complete::Shell;

use super::args::described;

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
    pub fn write(self, program: &str) -> String {
        let shell = match self {
            Self::Man => return man(program),
            Self::Bash => Shell::Bash,
            Self::Zsh => Shell::Zsh,
            Self::Fish => Shell::Fish,
        };
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut described(program), program, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// One page for all commands: a page for each would say little.
fn man(program: &str) -> String {
    // clap wants a name for ever; the process ends once this is printed.
    let name = String::leak(program.to_owned());
    let command = described(program)
        .name(&*name)
        .version(env!("CARGO_PKG_VERSION"));
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
            let text = artifact.write("chat");
            for part in parts {
                assert!(text.contains(part), "{artifact:?}: {part}\n{text}");
            }
        }
    }

    #[test]
    fn the_manual_tells_users_nothing_of_packaging() {
        assert!(!Artifact::Man.write("chat").contains("generate"));
    }
}
