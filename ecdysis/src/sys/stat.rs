//! What proc_pid_stat(5) says of a process.

use std::fs;
use std::io;

/// Its fields.
#[derive(Debug)]
pub(crate) struct Stat(String);

impl Stat {
    /// Of the process that has this number now.
    ///
    /// # Errors
    /// `NotFound` or `ESRCH` if none has; those of reading a file.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat"))?;
        // The name, cut to 15 bytes, need not be UTF-8 even where the program's is.
        Ok(Self(String::from_utf8_lossy(&stat).into_owned()))
    }

    /// The field with this number in the manual page, from 3 on. The second, the
    /// name, is in parentheses and may hold anything.
    pub(crate) fn field(&self, number: usize) -> Option<&str> {
        let (_, fields) = self.0.rsplit_once(") ")?;
        fields.split_whitespace().nth(number.checked_sub(3)?)
    }

    /// Whether it has ended. A zombie has.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.field(3), Some("Z" | "X"))
    }
}
