//! What was done, for the harness to read.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::orders::beside;

/// The file, beside the program.
const FILE: &str = "note";

/// The file that is written to. It is open from the start: later there may be no
/// descriptor for it, or no right.
#[derive(Debug)]
pub(crate) struct Note {
    file: File,
}

impl Note {
    pub(crate) fn beside_our_program() -> io::Result<Self> {
        let path = beside(FILE)?;
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        opened.map(|file| Self { file }).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot open {}: {error}", path.display()))
        })
    }

    /// Appends a line: the moment on the monotonic clock, the process, what it is about
    /// to do, and particulars of it. One write, so that lines of several processes do
    /// not mix. What cannot be written was not done, as far as the harness can tell.
    pub(crate) fn write(&self, what: &str, particulars: &str) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        let now = now.unwrap_or_default().as_nanos();
        let line = format!("{now} {} {what} {particulars}\n", std::process::id());
        let _ = (&self.file).write_all(line.as_bytes());
    }
}
