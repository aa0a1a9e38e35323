//! What a successor can do wrong before it is itself.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::socket::{Shutdown, SockFlag, accept4, shutdown};
use nix::unistd::{Gid, Uid, close, getpid, pause, read, setgid, setgroups, setsid, setuid, write};

use crate::descriptors::{self, Inherited, flags};
use crate::note::Note;
use crate::orders::{Orders, invalid};
use crate::pass::{self, ROLE};

/// How long to wait for something to read, or for a client.
const PATIENCE_MS: u16 = 2000;

/// More than a pipe takes by itself.
const FLOOD: usize = 1024 * 1024;

/// Too little for any program: the loader cannot map it.
const NO_MEMORY: u64 = 1024 * 1024;

/// The descriptors below this are taken.
const FEW_FILES: u64 = 3;

/// Nobody.
const NOBODY: u32 = 65_534;

/// Does what is ordered. Returns only if the process is to end with a status.
pub(crate) fn commit(orders: &Orders, note: &Note) -> io::Result<ExitCode> {
    match std::env::var(ROLE).ok().as_deref() {
        None => {}
        Some("hold") => return hang(note, "holds what it was given"),
        Some("daemon") => return daemon(orders, note),
        Some(_) => return Err(pass::become_real_after_shell(&orders.program)),
    }
    sleep(orders.after);
    let program = orders.program.as_path();
    match orders.misdeed.as_str() {
        "die" => die(note, Signal::SIGKILL),
        "abort" => die(note, Signal::SIGABRT),
        "crash" => die(note, Signal::SIGSEGV),
        "read-and-die" => read_and_die(note),
        "bind-and-die" => bind_and_die(note),
        "accept-and-die" => accept_and_die(note),
        "exit" => exit(note, 0),
        "fail" => exit(note, 3),
        "hang" => hang(note, "hangs"),
        "hang-on" => {
            SigSet::from_iter([Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT]).thread_block()?;
            hang(note, "hangs, with SIGTERM blocked")
        }
        "freeze" => {
            note.write("did", "stops itself by SIGSTOP");
            raise(Signal::SIGSTOP)?;
            Ok(ExitCode::FAILURE)
        }
        "babble" => say(note, &[0xff; 64]),
        "mumble" => say(note, b"O"),
        "flood" => say(note, &vec![b'x'; FLOOD]),
        "close-pipes" => close_pipes(note),
        "leave-child" => {
            let child = pass::start_child("hold")?;
            note.write("did", &format!("leaves pid {child} with what it was given, and dies"));
            kill_ourselves(Signal::SIGKILL)
        }
        "daemonise" => {
            let child = pass::start_child("daemon")?;
            note.write("did", &format!("goes into the background as pid {child}"));
            Ok(ExitCode::SUCCESS)
        }
        "shut-listeners" => shut_listeners(note),
        "slow" => go_on(note, program, &format!("was late by {:?}", orders.after)),
        "little-memory" => limited(note, program, Resource::RLIMIT_AS, NO_MEMORY),
        "few-files" => limited(note, program, Resource::RLIMIT_NOFILE, FEW_FILES),
        "chain" => {
            note.write("did", "goes on through a shell and a second exec");
            Err(pass::become_shell("", "real")?)
        }
        "ignore-hangup" => {
            note.write("did", "goes on through a shell that ignores SIGHUP");
            Err(pass::become_shell("trap '' HUP; ", "real")?)
        }
        "block-signals" => {
            SigSet::all().thread_block()?;
            note.write("did", "goes on with every signal blocked");
            Err(pass::become_real_as_we_are(program)?)
        }
        "drop-privileges" => drop_privileges(note, program),
        "make-blocking" => {
            let made = make_blocking()?;
            go_on(note, program, &format!("took O_NONBLOCK from {made} listeners"))
        }
        "make-blocking-and-die" => {
            let made = make_blocking()?;
            note.write("did", &format!("took O_NONBLOCK from {made} listeners, and dies"));
            kill_ourselves(Signal::SIGKILL)
        }
        unknown => Err(invalid(format!("`{unknown}` is nothing that can be done here"))),
    }
}

fn die(note: &Note, signal: Signal) -> io::Result<ExitCode> {
    note.write("did", &format!("dies by {signal}"));
    kill_ourselves(signal)
}

/// SIGKILL is obeyed before the call returns. Others kill by their default action: of
/// SIGSEGV the first meets the handler that our own runtime has, which sets that again.
fn kill_ourselves(signal: Signal) -> io::Result<ExitCode> {
    SigSet::from(signal).thread_unblock()?;
    kill(getpid(), signal)?;
    kill(getpid(), signal)?;
    Err(io::Error::other(format!("{signal} was not obeyed")))
}

fn exit(note: &Note, code: u8) -> io::Result<ExitCode> {
    note.write("did", &format!("exits with status {code}"));
    Ok(ExitCode::from(code))
}

fn hang(note: &Note, how: &str) -> io::Result<ExitCode> {
    note.write("did", how);
    loop {
        pause();
    }
}

/// What it was told on every pipe, as far as it is there, is lost with it.
fn read_and_die(note: &Note) -> io::Result<ExitCode> {
    let mut got = Vec::new();
    for pipe in descriptors::readable_pipes()? {
        let mut buffer = vec![0; FLOOD];
        await_input(&pipe)?;
        let length = read(&pipe.own, &mut buffer)?;
        got.push(format!("{length} B from descriptor {}", pipe.number));
    }
    if got.is_empty() {
        return Err(invalid("no pipe to read from was inherited".to_owned()));
    }
    note.write("did", &format!("read {}, and dies", got.join(", ")));
    kill_ourselves(Signal::SIGKILL)
}

fn await_input(from: &Inherited) -> io::Result<()> {
    let mut waiting = [PollFd::new(from.own.as_fd(), PollFlags::POLLIN)];
    poll(&mut waiting, PollTimeout::from(PATIENCE_MS))?;
    Ok(())
}

fn bind_and_die(note: &Note) -> io::Result<ExitCode> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    note.write("did", &format!("dies, listening on {}", listener.local_addr()?));
    kill_ourselves(Signal::SIGKILL)
}

/// The first client of any listener is never answered.
fn accept_and_die(note: &Note) -> io::Result<ExitCode> {
    let listeners = descriptors::listeners()?;
    let mut waiting: Vec<PollFd<'_>> = listeners
        .iter()
        .map(|listener| PollFd::new(listener.own.as_fd(), PollFlags::POLLIN))
        .collect();
    // Whoever serves accepts as well, and may be faster.
    while poll(&mut waiting, PollTimeout::from(PATIENCE_MS))? > 0 {
        for listener in &listeners {
            if accept4(listener.own.as_raw_fd(), SockFlag::SOCK_CLOEXEC).is_ok() {
                note.write(
                    "did",
                    &format!("accepted a client of descriptor {}, and dies", listener.number),
                );
                return kill_ourselves(Signal::SIGKILL);
            }
        }
    }
    Err(invalid("no client came to any inherited listener".to_owned()))
}

/// Every pipe that can be written to is told this; what it takes no more is left out.
/// Written down before, for whoever hears it may end us at once.
fn say(note: &Note, words: &[u8]) -> io::Result<ExitCode> {
    let pipes = descriptors::writable_pipes()?;
    if pipes.is_empty() {
        return Err(invalid("no pipe to write to was inherited".to_owned()));
    }
    let numbers: Vec<_> = pipes.iter().map(|pipe| pipe.number).collect();
    let length = words.len();
    note.write("did", &format!("writes up to {length} B to descriptors {numbers:?}, and hangs"));
    for pipe in &pipes {
        let before = flags(&pipe.own)?;
        fcntl(&pipe.own, FcntlArg::F_SETFL(before | OFlag::O_NONBLOCK))?;
        let mut left = words;
        while let Ok(length @ 1..) = write(&pipe.own, left) {
            left = left.get(length..).unwrap_or_default();
        }
    }
    loop {
        pause();
    }
}

fn close_pipes(note: &Note) -> io::Result<ExitCode> {
    let pipes = descriptors::pipes()?;
    let numbers: Vec<_> = pipes.iter().map(|pipe| pipe.number).collect();
    note.write("did", &format!("closes the pipes {numbers:?}, and hangs"));
    drop(pipes);
    for number in numbers {
        close(number)?;
    }
    loop {
        pause();
    }
}

fn daemon(orders: &Orders, note: &Note) -> io::Result<ExitCode> {
    setsid()?;
    note.write("did", "goes on in the background, in a session of its own");
    Err(pass::become_real(&orders.program))
}

/// For whoever has the listener, not for us alone.
fn shut_listeners(note: &Note) -> io::Result<ExitCode> {
    use std::os::fd::AsRawFd;
    let listeners = descriptors::listeners()?;
    for listener in &listeners {
        shutdown(listener.own.as_raw_fd(), Shutdown::Both)?;
    }
    note.write("did", &format!("shut {} listeners down, and dies", listeners.len()));
    kill_ourselves(Signal::SIGKILL)
}

fn limited(note: &Note, program: &Path, what: Resource, to: u64) -> io::Result<ExitCode> {
    setrlimit(what, to, to)?;
    go_on(note, program, &format!("limited {what:?} to {to}"))
}

fn make_blocking() -> io::Result<usize> {
    let listeners = descriptors::listeners()?;
    for listener in &listeners {
        let before = flags(&listener.own)?;
        fcntl(&listener.own, FcntlArg::F_SETFL(before - OFlag::O_NONBLOCK))?;
    }
    Ok(listeners.len())
}

fn drop_privileges(note: &Note, program: &Path) -> io::Result<ExitCode> {
    setgroups(&[])?;
    setgid(Gid::from_raw(NOBODY))?;
    setuid(Uid::from_raw(NOBODY))?;
    go_on(note, program, &format!("became user {NOBODY}"))
}

/// The real program takes over, after something was done to this process.
fn go_on(note: &Note, program: &Path, what: &str) -> io::Result<ExitCode> {
    note.write("did", &format!("{what}, and goes on"));
    Err(pass::become_real(program))
}
