//! With what system calls can fail: `errors.toml`, which follows the manual pages.

use std::collections::BTreeMap;

use nix::errno::Errno;
use serde::Deserialize;
use syscalls::Sysno;

use crate::event::Whom;

const TABLE: &str = include_str!("errors.toml");

/// With what each call can fail.
#[derive(Clone, Debug)]
pub struct Errors {
    calls: BTreeMap<Sysno, Ways>,
}

/// With what one call can fail.
#[derive(Clone, Debug)]
struct Ways {
    errors: Vec<Errno>,
    defects: Vec<Errno>,
    only: Option<Whom>,
}

/// What is wrong with the table.
#[derive(Debug, thiserror::Error)]
#[error("errors.toml: {0}")]
pub struct TableError(String);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// The manual page that lists them.
    #[serde(rename = "page")]
    _page: String,
    errors: Vec<String>,
    /// Those that only a defect of the program itself can bring: of a successor's.
    #[serde(default)]
    defects: Vec<String>,
    /// The only process in which it may be made to fail.
    only: Option<Only>,
    /// Why only there, or why not with all that the page lists.
    #[serde(rename = "why")]
    _why: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Only {
    Successor,
}

impl Errors {
    /// The table.
    ///
    /// # Errors
    /// It has what is no call, or no error, of this machine's.
    pub fn load() -> Result<Self, TableError> {
        let rows: BTreeMap<String, Row> =
            toml::from_str(TABLE).map_err(|error| TableError(error.to_string()))?;
        let mut calls = BTreeMap::new();
        for (name, row) in rows {
            // What a machine does not have, no program on it can call.
            let Ok(call) = name.parse::<Sysno>() else { continue };
            let parsed = |names: &[String]| -> Result<Vec<Errno>, TableError> {
                let all = names.iter().map(|error| parse(error)).collect::<Result<_, _>>();
                all.map_err(|error| TableError(format!("{name}: {error}")))
            };
            let (errors, defects) = (parsed(&row.errors)?, parsed(&row.defects)?);
            let only = row.only.map(|Only::Successor| Whom::Successor);
            calls.insert(call, Ways { errors, defects, only });
        }
        Ok(Self { calls })
    }

    /// Whether it is the runtime's of the program's language, which ends the process in
    /// which it fails.
    pub fn is_runtimes(&self, call: Sysno) -> bool {
        self.calls.get(&call).is_some_and(|ways| ways.only.is_some())
    }

    /// With what a call of `whom` can be made to fail, as the manual names it. Nothing:
    /// it is not in the table.
    pub fn of(&self, whom: Whom, call: Sysno) -> impl Iterator<Item = Errno> {
        let ways = self.calls.get(&call);
        let ways = ways.filter(|ways| ways.only.is_none_or(|only| only == whom));
        ways.into_iter().flat_map(move |ways| {
            let defects = ways.defects.iter().filter(move |_| whom == Whom::Successor);
            ways.errors.iter().chain(defects).copied()
        })
    }
}

/// Every error of Linux that nix knows by name.
fn parse(name: &str) -> Result<Errno, String> {
    let known = (1..134).map(Errno::from_raw).find(|errno| format!("{errno:?}") == name);
    known.ok_or_else(|| format!("there is no error {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_understood() {
        let table: BTreeMap<String, toml::Value> = toml::from_str(TABLE).unwrap();
        let errors = Errors::load().unwrap();
        if cfg!(target_arch = "x86_64") {
            let known: Vec<&str> = errors.calls.keys().map(Sysno::name).collect();
            let mut written: Vec<&str> = table.keys().map(String::as_str).collect();
            written.retain(|name| !known.contains(name));
            assert!(written.is_empty(), "no calls of x86_64: {written:?}");
        }
        let of = |whom, call| errors.of(whom, call).collect::<Vec<_>>();
        assert!(of(Whom::Predecessor, Sysno::pipe2).contains(&Errno::EMFILE));
        assert!(of(Whom::Successor, Sysno::execve).contains(&Errno::ETXTBSY));
        assert!(!of(Whom::Successor, Sysno::mmap).is_empty());
        assert!(of(Whom::Predecessor, Sysno::mmap).is_empty());
        assert!(errors.is_runtimes(Sysno::mmap) && !errors.is_runtimes(Sysno::pipe2));
        assert!(parse("EWHAT").is_err());
    }
}
