//! From one generation to the next: the listening sockets go by `SCM_RIGHTS` through
//! the successor's standard input, and one byte comes back when it is ready.

use std::env;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{self, MaybeUninit};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Channel;
use std::process::Command;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use crate::Arguments;
use crate::doors::Doors;
use crate::fault::Fault;

/// The argument by which a generation is told its number. It comes last.
const GENERATION: &str = "--generation";

/// Starts the successor and waits until it is ready.
pub(crate) async fn start(arguments: &Arguments, doors: &Doors) -> io::Result<()> {
    if arguments.has(Fault::LeakDescriptor) {
        // It is not closed on exec, and so is the successor's, too.
        mem::forget(rustix::io::dup(io::stderr())?);
    }
    let (ours, theirs) = Channel::pair()?;
    let mut successor = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1).take_while(|argument| argument != GENERATION))
        .arg(GENERATION)
        .arg((arguments.generation + 1).to_string())
        .stdin(OwnedFd::from(theirs))
        .spawn()?;
    send(&ours, doors, arguments)?;
    ours.set_nonblocking(true)?;
    let ready = UnixStream::from_std(ours)?.read_u8().await;
    if let Err(error) = ready {
        successor.wait()?;
        return Err(error);
    }
    Ok(())
}

fn send(to: &Channel, doors: &Doors, arguments: &Arguments) -> io::Result<()> {
    let sockets = doors.to_hand_over(arguments);
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(to, &[IoSlice::new(b"s")], &mut rights, SendFlags::empty())?;
    Ok(())
}

/// Takes the listening sockets from the predecessor.
pub(crate) fn receive() -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let (mut byte, flags) = ([0], RecvFlags::CMSG_CLOEXEC);
    recvmsg(io::stdin(), &mut [IoSliceMut::new(&mut byte)], &mut rights, flags)?;
    let mut sockets = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            sockets.extend(received);
        }
    }
    Ok(sockets)
}

/// Tells the predecessor that it is not needed any more.
pub(crate) fn say_ready() -> io::Result<()> {
    rustix::io::write(io::stdin(), b"r")?;
    Ok(())
}
