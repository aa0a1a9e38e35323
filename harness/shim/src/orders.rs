//! What is to be done: a line each, a word and its value.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file, beside the program.
const FILE: &str = "orders";

/// What the harness wants.
#[derive(Debug)]
pub(crate) struct Orders {
    /// The real program.
    pub(crate) program: PathBuf,
    /// The name of what is to be done.
    pub(crate) misdeed: String,
    /// How long to wait before.
    pub(crate) after: Duration,
}

impl Orders {
    pub(crate) fn beside_our_program() -> io::Result<Self> {
        let path = beside(FILE)?;
        let at = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
        };
        Self::parse(&fs::read_to_string(&path).map_err(at)?)
    }

    fn parse(text: &str) -> io::Result<Self> {
        let value = |word: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
            line.ok_or_else(|| invalid(format!("the orders do not name the {word}")))
        };
        let after = value("after-us")?;
        let after = after.parse().map_err(|_| invalid(format!("`{after}` is no number")))?;
        Ok(Self {
            program: value("program")?.into(),
            misdeed: value("misdeed")?.to_owned(),
            after: Duration::from_micros(after),
        })
    }
}

/// A path beside this program, wherever the link was that led to it.
pub(crate) fn beside(name: &str) -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let directory = program.parent().unwrap_or_else(|| Path::new("/"));
    Ok(directory.join(name))
}

pub(crate) fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_name_all_three() {
        let orders = Orders::parse("program /a b\nmisdeed die\nafter-us 5\n").unwrap();
        assert_eq!((orders.program, orders.misdeed), ("/a b".into(), "die".to_owned()));
        assert_eq!(orders.after, Duration::from_micros(5));
        for bad in ["program /a\nmisdeed die\n", "program /a\nafter-us 1\n", "after-us x\n"] {
            assert!(Orders::parse(bad).is_err(), "{bad}");
        }
    }
}
