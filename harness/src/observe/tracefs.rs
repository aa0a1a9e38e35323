//! Every RST that the kernel sends, with its reason and the process in whose
//! context it was sent: the event `tcp/tcp_send_reset` of the kernel's tracing.
//!
//! Tracing is the whole machine's, so a run has an instance of its own there,
//! and takes from it what concerns its server's address. The instance is busy
//! for as long as its owner lives, and cannot be removed then; whatever can be
//! was left behind by a run that was killed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::libc::O_NONBLOCK;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use thiserror::Error;

use super::procfs;
use super::reset_line::{self, Line};
use crate::clock::Clock;
use crate::event::{Reset, Resets};

/// Where it may be mounted.
const MOUNTED: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// What instances of ours are called, and nobody else's.
const PREFIX: &str = "harness-run-";

const EVENT: &str = "events/tcp/tcp_send_reset";

/// KiB for each processor: a hundred thousand resets between two looks.
const BUFFER_KIB: &str = "8192";

/// Between two looks into the buffer.
const LOOK: Duration = Duration::from_millis(20);

/// Why resets cannot be named.
#[derive(Debug, Error)]
pub enum TraceError {
    /// There is no way to the kernel's tracing.
    #[error("the kernel's tracing is out of reach: {0}; run as root")]
    Mount(io::Error),
    /// The kernel does not know the event.
    #[error("this kernel has no event tcp/tcp_send_reset")]
    Event,
    /// The event does not say what is needed.
    #[error("this kernel's event tcp/tcp_send_reset names no {0}")]
    Format(&'static str),
    /// Something was refused.
    #[error("cannot {what}: {source}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl TraceError {
    fn refused(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Refused { what, source }
    }
}

/// The kernel's tracing, wherever it is.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// A mount of our own, at no place in the file system: nobody else sees it,
    /// and it is gone with us.
    _mount: Option<OwnedFd>,
}

impl Root {
    fn find() -> Result<Self, TraceError> {
        let mounted = MOUNTED.iter().map(Path::new).find(|path| path.join("instances").is_dir());
        if let Some(path) = mounted {
            return Ok(Self { path: path.to_owned(), _mount: None });
        }
        let mount = (|| {
            let filesystem = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(&filesystem)?;
            fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        })();
        let mount = mount.map_err(|errno| TraceError::Mount(errno.into()))?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        Ok(Self { path, _mount: Some(mount) })
    }

    /// What the event says, or why it says too little.
    fn probe(&self) -> Result<Fields, TraceError> {
        let format = fs::read_to_string(self.path.join(EVENT).join("format"));
        let format = format.map_err(|source| {
            if source.kind() == ErrorKind::NotFound {
                TraceError::Event
            } else {
                TraceError::Refused { what: "read the form of tcp/tcp_send_reset", source }
            }
        })?;
        fields(&format)
    }

    /// Removes what runs that were killed have left behind.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.path.join("instances")) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                // Busy: its owner lives.
                drop(fs::remove_dir(entry.path()));
            }
        }
    }
}

/// What the event of this kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Why the RST was sent; kernels before 6.10 do not say.
    pub reason: bool,
}

/// The form of an event lists its fields, then how they are printed.
fn fields(format: &str) -> Result<Fields, TraceError> {
    let (_, printed) = format.split_once("print fmt:").ok_or(TraceError::Format("fields"))?;
    let named = |name: &str| printed.contains(name);
    if !named("src=") || !named("dest=") {
        return Err(TraceError::Format("addresses"));
    }
    Ok(Fields { reason: named("reason=") })
}

/// Whether the kernel's tracing can be reached, and what its event says.
///
/// # Errors
///
/// It cannot, or the event is of no use.
pub fn probe() -> Result<Fields, TraceError> {
    Root::find()?.probe()
}

/// Whether the pids that the kernel traces are those that this process sees:
/// not so in a pid namespace of a container.
#[must_use]
pub fn pids_are_ours() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    pids.is_some_and(|pids| pids.split_whitespace().count() == 1)
        && fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link == Path::new(INITIAL_PIDS))
}

/// The first pid namespace has this number on every kernel.
const INITIAL_PIDS: &str = "pid:[4026531836]";

/// Collects resets, until it is finished or dropped.
#[derive(Debug)]
pub struct Tracing {
    instance: Instance,
    fields: Fields,
    stop: Option<Sender<()>>,
    reader: Option<JoinHandle<Vec<Line>>>,
}

impl Tracing {
    /// Begins. From here on no reset is missed.
    ///
    /// # Errors
    ///
    /// When resets cannot be traced here; that is no fault of the run's.
    pub fn start() -> Result<Self, TraceError> {
        let root = Root::find()?;
        let fields = root.probe()?;
        root.sweep();
        let (instance, mut pipe) = Instance::create(root)?;
        instance.set("trace_clock", "mono")?;
        instance.set("buffer_size_kb", BUFFER_KIB)?;
        // Without it the pid is the thread's.
        drop(instance.set("options/record-tgid", "1"));
        instance.set(&format!("{EVENT}/enable"), "1")?;
        let (stop, stopped) = channel::<()>();
        let reader = move || {
            let (mut text, mut lines) = (Vec::new(), Vec::new());
            loop {
                let last = stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout);
                drain(&mut pipe, &mut text);
                lines.extend(
                    whole_lines(&mut text).filter_map(|line| reset_line::parse(&line)).map(whose),
                );
                if last {
                    return lines;
                }
            }
        };
        let reader = thread::Builder::new()
            .name("resets".to_owned())
            .spawn(reader)
            .map_err(TraceError::refused("start a thread"))?;
        Ok(Self { instance, fields, stop: Some(stop), reader: Some(reader) })
    }

    /// Ends, and tells every reset between `server` and anybody else.
    #[must_use]
    pub fn finish(mut self, server: SocketAddr, clock: Clock) -> Resets {
        // What is being sent now is in the buffer before the event is disabled.
        drop(self.instance.set(&format!("{EVENT}/enable"), "0"));
        let lines = self.stop();
        let lost = self.instance.lost();
        let about =
            |line: &Line| [line.source, line.destination].into_iter().any(|end| same(end, server));
        let reset = |line: Line| Reset {
            at: clock.at_monotonic(line.nanos),
            pid: line.process.unwrap_or(line.thread),
            command: line.command,
            source: line.source,
            destination: line.destination,
            reason: line.reason,
        };
        let resets = lines.into_iter().filter(about).map(reset).collect();
        Resets::Traced { resets, lost, reasons: self.fields.reason, pids: pids_are_ours() }
    }

    fn stop(&mut self) -> Vec<Line> {
        self.stop = None;
        self.reader.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        // The reader holds the pipe, and the instance is busy until it lets go.
        drop(self.stop());
    }
}

/// Asks for the process of a thread while that may still be there, where the
/// kernel's tracing has not seen it run yet.
fn whose(mut line: Line) -> Line {
    line.process = line.process.or_else(|| procfs::process_of(line.thread));
    line
}

/// An address as IPv4, whichever way it is written, and its port.
fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}

/// A directory of the kernel's tracing; removed when it is dropped.
#[derive(Debug)]
struct Instance {
    root: Root,
    name: String,
}

impl Instance {
    /// Makes one, and opens its pipe at once: that makes it busy, so that nobody
    /// takes it for abandoned. Somebody may have done so just before.
    fn create(root: Root) -> Result<(Self, File), TraceError> {
        let instances = root.path.join("instances");
        let mut instance = Self { root, name: String::new() };
        for attempt in 0..16 {
            instance.name = format!("{PREFIX}{}-{attempt}", process::id());
            match fs::create_dir(instances.join(&instance.name)) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                other => other.map_err(TraceError::refused("make a tracing instance"))?,
            }
            let pipe = OpenOptions::new()
                .read(true)
                .custom_flags(O_NONBLOCK)
                .open(instance.path("trace_pipe"));
            match pipe {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => {
                    let pipe = other.map_err(TraceError::refused("open a tracing instance"))?;
                    return Ok((instance, pipe));
                }
            }
        }
        let source = io::Error::from(ErrorKind::AlreadyExists);
        Err(TraceError::Refused { what: "make a tracing instance", source })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path.join("instances").join(&self.name).join(file)
    }

    fn set(&self, file: &str, value: &str) -> Result<(), TraceError> {
        fs::write(self.path(file), value).map_err(TraceError::refused("set up a tracing instance"))
    }

    /// Events that found no room. `None`: the kernel does not tell.
    fn lost(&self) -> Option<u64> {
        let mut lost = 0;
        for cpu in fs::read_dir(self.path("per_cpu")).ok()?.flatten() {
            lost += overrun(&fs::read_to_string(cpu.path().join("stats")).ok()?)?;
        }
        Some(lost)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(fs::remove_dir(self.path("")));
    }
}

/// The events lost, in `per_cpu/cpuN/stats`.
fn overrun(stats: &str) -> Option<u64> {
    let value = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim_start_matches(':').trim().parse::<u64>().ok())
    };
    Some(value("overrun")? + value("dropped events")?)
}

/// Reads what there is, without waiting for more. The end of the pipe, and any
/// error, is where there is no more.
fn drain(pipe: &mut File, into: &mut Vec<u8>) {
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut piece) {
        into.extend_from_slice(piece.get(..length).unwrap_or_default());
    }
}

/// Takes the lines that are complete.
fn whole_lines(text: &mut Vec<u8>) -> impl Iterator<Item = String> + use<> {
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let whole: Vec<u8> = text.drain(..end).collect();
    let lines: Vec<String> = String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect();
    lines.into_iter()
}

#[cfg(test)]
mod tests;
