//! What a process was given across exec, whatever the numbers are.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::AcceptConn;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// An inherited descriptor: its number, and one of our own for the same open file.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) number: i32,
    pub(crate) own: OwnedFd,
}

/// Every pipe that was inherited beyond the three standard descriptors.
pub(crate) fn pipes() -> io::Result<Vec<Inherited>> {
    inherited(|link| link.starts_with("pipe:"))
}

/// Those of them that can be written to.
pub(crate) fn writable_pipes() -> io::Result<Vec<Inherited>> {
    with_access(OFlag::O_WRONLY)
}

/// Those of them that can be read.
pub(crate) fn readable_pipes() -> io::Result<Vec<Inherited>> {
    with_access(OFlag::O_RDONLY)
}

/// Every listening socket that was inherited.
pub(crate) fn listeners() -> io::Result<Vec<Inherited>> {
    let mut sockets = inherited(|link| link.starts_with("socket:"))?;
    sockets.retain(|socket| getsockopt(&socket.own, AcceptConn).unwrap_or(false));
    Ok(sockets)
}

/// The flags of an open file, which whoever else has it shares.
pub(crate) fn flags(file: impl AsFd) -> io::Result<OFlag> {
    Ok(OFlag::from_bits_truncate(fcntl(file, FcntlArg::F_GETFL)?))
}

fn with_access(mode: OFlag) -> io::Result<Vec<Inherited>> {
    let mut pipes = pipes()?;
    pipes.retain(|pipe| flags(&pipe.own).is_ok_and(|flags| flags & OFlag::O_ACCMODE == mode));
    Ok(pipes)
}

/// The kernel gives us a descriptor of our own for each: a number alone is nothing
/// that can be used safely.
fn inherited(is_wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Inherited>> {
    let ourselves = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // The one that lists the directory is there only while it does.
        let link = fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
        if number > 2 && is_wanted(&link.to_string_lossy()) {
            let own = pidfd_getfd(&ourselves, number, PidfdGetfdFlags::empty())?;
            found.push(Inherited { number, own });
        }
    }
    Ok(found)
}
