//! What the machine says of itself.

use std::{fs, io, thread};

use crate::event::Machine;

/// This machine.
///
/// # Errors
///
/// When it does not say.
pub fn read() -> io::Result<Machine> {
    let line = |path| fs::read_to_string(path).map(|text| text.trim().to_owned());
    Ok(Machine {
        kernel: line("/proc/sys/kernel/osrelease")?,
        cpus: thread::available_parallelism()?.get(),
        boot: line("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
    })
}
