//! `ecdysis-ctl`: asks a service something over its control socket.
//!
//! It needs nothing of the library but [`ecdysis::control`], so it is built
//! with any set of features.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ecdysis::control::{self, Answer, Command, Outcome};

const USAGE: &str = "usage: ecdysis-ctl SOCKET status|upgrade|stop|drain [--patience SECONDS]";

const HELP: &str = "\
Asks a service that is built on ecdysis something, over its control socket.

usage: ecdysis-ctl SOCKET COMMAND [--patience SECONDS]

Commands:
  status    say how the service is: process id, generation, phase, connections
  upgrade   start a new generation from the program as it is on disk now, and
            wait until it is certain that it serves, or why it does not
  stop      stop the whole service: accept no more, finish what is under way
  drain     the same, but only on those sockets that are to stop on it

Options:
  --patience SECONDS  how long to wait for the answer [default: 90]
                      An upgrade may take as long as the service allows its next
                      generation to get ready (a minute, unless it says otherwise).
  --help, --version

The answer is one line of JSON, printed as it came. If it is a no, a sentence
on standard error says why.

Exit codes:
  0  done; an upgrade: the new generation serves
  1  not done: refused, failed, or rolled back, and the service runs as before;
     or it stops, or another generation serves already: the answer says so
  2  usage: the command line cannot be meant
  3  no answer: the socket cannot be reached, or nothing came in time
     (what was asked may have happened, or happen yet)

Try it:
  ecdysis-ctl /run/my.sock status
  ecdysis-ctl /run/my.sock upgrade --patience 120 && echo 'the new one serves'

Only root, the user the service runs as, and users it allows may ask. On a
socket of a service built on the published crate `ecdysis` 1.x, to connect is
the command, whichever is asked here, even status; it never answers (exit code 3).
";

/// How long to wait, unless told.
const PATIENCE: Duration = Duration::from_secs(90);

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Done,
    NotDone,
    Usage,
    NoAnswer,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::NotDone => 1,
            Exit::Usage => 2,
            Exit::NoAnswer => 3,
        })
    }
}

/// What the command line means.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Help,
    Version,
    Request { socket: PathBuf, command: Command, patience: Duration },
}

/// Why it means nothing.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    NoSocket,
    NoCommand,
    Command(OsString),
    NoPatience,
    Patience(OsString),
    Option(OsString),
    TooMuch(OsString),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSocket => f.write_str("the path of a control socket is missing"),
            Self::NoCommand => f.write_str("a command is missing"),
            Self::Command(word) => write!(f, "no such command: {}", word.display()),
            Self::NoPatience => f.write_str("--patience needs a number of seconds"),
            Self::Patience(word) => {
                write!(f, "no number of seconds above zero, like 90 or 0.5: {}", word.display())
            }
            Self::Option(word) => write!(f, "no such option: {}", word.display()),
            Self::TooMuch(word) => write!(f, "one word too many: {}", word.display()),
        }
    }
}

fn main() -> ExitCode {
    let exit = match read(std::env::args_os().skip(1)) {
        Ok(Wanted::Help) => {
            say(HELP);
            Exit::Done
        }
        Ok(Wanted::Version) => {
            say(concat!("ecdysis-ctl ", env!("CARGO_PKG_VERSION"), "\n"));
            Exit::Done
        }
        Ok(Wanted::Request { socket, command, patience }) => {
            match control::request_line(&socket, command, patience) {
                Ok(line) => judge(&socket, command, &line),
                Err(error) => {
                    complain(&error);
                    Exit::NoAnswer
                }
            }
        }
        Err(wrong) => {
            complain(&format_args!("{wrong}\n{USAGE}\n`ecdysis-ctl --help` explains"));
            Exit::Usage
        }
    };
    exit.into()
}

/// Reads the command line, without the program's name.
fn read(words: impl Iterator<Item = OsString>) -> Result<Wanted, Wrong> {
    let (mut words, mut positions, mut patience) = (words, Vec::new(), PATIENCE);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--help" | "-h") => return Ok(Wanted::Help),
            Some("--version" | "-V") => return Ok(Wanted::Version),
            Some("--patience") => patience = seconds(words.next().ok_or(Wrong::NoPatience)?)?,
            Some(option) if option.starts_with('-') => {
                let Some(value) = option.strip_prefix("--patience=") else {
                    return Err(Wrong::Option(word));
                };
                patience = seconds(value.into())?;
            }
            _ => positions.push(word),
        }
    }
    let mut positions = positions.into_iter();
    let socket = positions.next().ok_or(Wrong::NoSocket)?.into();
    let word = positions.next().ok_or(Wrong::NoCommand)?;
    let command = Command::ALL.into_iter().find(|command| word == command.name());
    let command = command.ok_or(Wrong::Command(word))?;
    match positions.next() {
        Some(word) => Err(Wrong::TooMuch(word)),
        None => Ok(Wanted::Request { socket, command, patience }),
    }
}

fn seconds(word: OsString) -> Result<Duration, Wrong> {
    let number = word.to_str().and_then(|word| word.parse().ok());
    let span = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    span.filter(|span| !span.is_zero()).ok_or(Wrong::Patience(word))
}

/// Prints an answer, and says why it is a no if it is one.
fn judge(socket: &Path, command: Command, line: &str) -> Exit {
    let answer = match serde_json::from_str(line) {
        Ok(answer) => answer,
        Err(error) => {
            let socket = socket.display();
            complain(&format_args!("control socket {socket} sent no answer but this: {line}"));
            complain(&format_args!("{error}"));
            return Exit::NoAnswer;
        }
    };
    say(&format!("{line}\n"));
    match objection(command, &answer) {
        Some(why) => {
            complain(&format_args!("{command}: {why}"));
            Exit::NotDone
        }
        None => Exit::Done,
    }
}

/// Why an answer is not the one that was hoped for.
fn objection(command: Command, answer: &Answer) -> Option<String> {
    if !answer.ok {
        let error = answer.error.clone();
        return Some(error.unwrap_or_else(|| "not done, for no reason given".to_owned()));
    }
    let outcome = answer.upgrade.as_ref().map(|upgrade| upgrade.outcome);
    // A yes is not enough: it has to be said that the successor serves.
    if command == Command::Upgrade && outcome != Some(Outcome::Completed) {
        return Some("the service does not say that the upgrade completed".to_owned());
    }
    None
}

fn say(text: &str) {
    // Nobody may be there to read it; the exit code says the same.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn complain(what: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "ecdysis-ctl: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Wanted, Wrong> {
        read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_command_line_means_one_thing() {
        let request = |command, seconds| {
            let patience = Duration::from_secs_f64(seconds);
            Ok(Wanted::Request { socket: "/run/x".into(), command, patience })
        };
        assert_eq!(words("/run/x status"), request(Command::Status, 90.0));
        assert_eq!(words("--patience 2 /run/x stop"), request(Command::Stop, 2.0));
        assert_eq!(words("/run/x --patience=0.5 drain"), request(Command::Drain, 0.5));
        assert_eq!(words("/run/x upgrade --help"), Ok(Wanted::Help));
        assert_eq!(words("-V"), Ok(Wanted::Version));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert_eq!(words(""), Err(Wrong::NoSocket));
        assert_eq!(words("/run/x"), Err(Wrong::NoCommand));
        assert_eq!(words("/run/x reload"), Err(Wrong::Command("reload".into())));
        assert_eq!(words("/run/x stop now"), Err(Wrong::TooMuch("now".into())));
        assert_eq!(words("/run/x stop --force"), Err(Wrong::Option("--force".into())));
        assert_eq!(words("/run/x stop --patience"), Err(Wrong::NoPatience));
        for patience in ["0", "-1", "soon", "NaN", "inf", "1e400"] {
            let line = format!("/run/x stop --patience {patience}");
            assert_eq!(words(&line), Err(Wrong::Patience(patience.into())));
        }
    }

    #[test]
    fn only_a_completed_upgrade_is_a_yes() {
        let objection = |command, line| objection(command, &serde_json::from_str(line).unwrap());
        let completed = r#"{"ok":true,"upgrade":{"outcome":"completed"}}"#;
        assert_eq!(objection(Command::Upgrade, completed), None);
        assert_eq!(objection(Command::Stop, r#"{"ok":true}"#), None);
        for no in [
            r#"{"ok":true}"#,
            r#"{"ok":true,"upgrade":{"outcome":"passed_on"}}"#,
            r#"{"ok":true,"upgrade":{"outcome":"unheard_of"}}"#,
            r#"{"ok":false,"upgrade":{"outcome":"completed"}}"#,
        ] {
            assert!(objection(Command::Upgrade, no).is_some(), "{no}");
        }
        let why = objection(Command::Drain, r#"{"ok":false,"error":"too early"}"#);
        assert_eq!(why.as_deref(), Some("too early"));
    }
}
