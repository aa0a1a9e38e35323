//! `harness completions` and `harness man`: the command line, described.

use clap::CommandFactory;
use clap_complete::Shell;

use super::terminal::say;
use super::trouble::Trouble;
use crate::cli::Cli;
use crate::exit::Exit;

const NAME: &str = "harness";

pub(super) fn completions(shell: Shell) -> Result<Exit, Trouble> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    say(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Pass)
}

/// One page for all: the command itself, then each sub-command.
pub(super) fn man() -> Result<Exit, Trouble> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let man = clap_mangen::Man::new(sub.clone());
        page.extend(format!(".SH HARNESS {}\n", sub.get_name().to_uppercase()).bytes());
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    say(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Pass)
}
