//! What the harness puts where a server expects its own program, to see what becomes
//! of an upgrade whose successor goes wrong before it is itself.
//!
//! It is executed by the real predecessor, with the real descriptors, arguments and
//! environment. What it is to do stands in a file beside its program (not in the
//! environment, which a server may clear), and what it does it writes into another,
//! before it does it. It then misbehaves, or executes the real program in its place:
//! the same process, with what it was given.

#![forbid(unsafe_code)]

mod descriptors;
mod misdeeds;
mod note;
mod orders;
mod pass;

use std::io::{self, Write};
use std::process::ExitCode;

use note::Note;
use orders::Orders;

/// How a process ends that could not do what it was to do. No server's own status.
const AT_A_LOSS: u8 = 113;

fn main() -> ExitCode {
    let note = match Note::beside_our_program() {
        Ok(note) => note,
        Err(error) => return lost(&error.to_string()),
    };
    let done = Orders::beside_our_program().and_then(|orders| {
        note.write("began", "");
        misdeeds::commit(&orders, &note)
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            note.write("lost", &error.to_string());
            lost(&error.to_string())
        }
    }
}

fn lost(why: &str) -> ExitCode {
    // Without a place to say it, the status has to do.
    let _ = writeln!(io::stderr(), "harness-shim: {why}");
    ExitCode::from(AT_A_LOSS)
}
