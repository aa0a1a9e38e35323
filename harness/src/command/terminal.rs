//! What is said, and to whom.

use std::io::{self, Write};

/// To standard output. Whoever reads it may stop reading; that is no reason to
/// stop judging.
pub(super) fn say(text: &str) -> io::Result<()> {
    say_bytes(text.as_bytes())
}

/// [`say`], of what need not be a text.
pub(super) fn say_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// To standard error, for the reader's eyes only: if there is nobody to read
/// it, nothing is lost.
pub(super) fn complain(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}
