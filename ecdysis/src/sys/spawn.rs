//! Starting a program with an exact set of descriptors, at a cost that does
//! not grow with our memory.
//!
//! `fork` copies the page tables of the whole process and stops every thread
//! while it does. `clone(CLONE_VM | CLONE_VFORK)` borrows our memory instead
//! and stops only the calling thread, until the new process has called exec or
//! ended (clone(2)). It is what `posix_spawn` does inside; we call it ourselves
//! because two things are needed that `posix_spawn` cannot say: ignore chosen
//! signals across exec, and close all but an exact list of descriptors on a
//! kernel whose C library has no word for it.
//!
//! The child runs in our memory until exec, so it allocates nothing, takes no
//! lock and calls only async-signal-safe functions; everything it needs is
//! prepared in a [`Job`] before.

#![allow(clippy::disallowed_types, reason = "the child maps numbers to numbers")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

use super::child::{Child, Kin};
use super::closing::close_range;

/// The number of the first descriptor that crosses exec, after stdio.
pub(crate) const FIRST: RawFd = 3;

/// The child's stack: its frames are few and bounded, exec needs none of it.
const STACK: usize = 64 * 1024;

/// A program to start.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// Its path; PATH is not searched.
    pub(crate) path: CString,
    /// Its arguments, the zeroth included.
    pub(crate) arguments: Vec<CString>,
    /// Its environment, `NAME=value`.
    pub(crate) environment: Vec<CString>,
    /// Its working directory, if not ours.
    pub(crate) directory: Option<CString>,
    /// What it gets as descriptors 3, 4, 5, …; it gets no other but stdio.
    pub(crate) descriptors: Vec<BorrowedFd<'a>>,
    /// Signals that are ignored in it until it installs a handler, so that one
    /// sent too early does not kill it. All others are as they were at our own
    /// start, and none is blocked.
    pub(crate) ignored: Vec<c_int>,
    /// Whose child it becomes.
    pub(crate) kin: Kin,
}

/// What the child was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Clone,
    Descriptors,
    Signals,
    Directory,
    Exec,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clone => "create the process",
            Self::Descriptors => "pass the descriptors",
            Self::Signals => "set the signals",
            Self::Directory => "change to the working directory",
            Self::Exec => "execute the program",
        })
    }
}

/// Why a program could not be started.
#[derive(Debug)]
pub(crate) struct SpawnError {
    pub(crate) step: Step,
    pub(crate) source: io::Error,
}

/// Starts `program`. When this returns, it has called exec or it has failed,
/// and then the error is exec's own.
pub(crate) fn spawn(program: &Program<'_>) -> Result<Child, SpawnError> {
    let fail = |step, source| SpawnError { step, source };
    let arguments = pointers(&program.arguments);
    let environment = pointers(&program.environment);
    let sources: Vec<RawFd> = program.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let count = RawFd::try_from(sources.len())
        .map_err(|_| fail(Step::Descriptors, Errno::EMFILE.into()))?;
    let mut kept = sources.clone();
    kept.sort_unstable();
    let mut job = Job {
        path: program.path.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        directory: program.directory.as_ref().map_or(ptr::null(), |path| path.as_ptr()),
        kept: &kept,
        end: FIRST + count,
        sources,
        limit: getrlimit(Resource::RLIMIT_NOFILE)
            .map_or(1 << 20, |(soft, _)| RawFd::try_from(soft).unwrap_or(1 << 20)),
        ignored: &program.ignored,
        failure: None,
    };

    // A handler of ours that ran in the child would run in our memory. So no
    // signal is let in before the child has none of our handlers left. (On Linux
    // sigprocmask(2) is of the calling thread, and unlike `nix`'s pthread_sigmask it
    // says when it has failed: a child that cannot unblock its signals would be deaf
    // to every request for the rest of its life.)
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))
        .map_err(|errno| fail(Step::Signals, errno.into()))?;
    // The init of a PID namespace has no parent in it to give a child to
    // (EINVAL, clone(2)), and is its own manager then.
    let started = match clone_into(&mut job, program.kin) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) && program.kin == Kin::Sibling => {
            clone_into(&mut job, Kin::Child)
        }
        started => started,
    };
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)
        .map_err(|errno| fail(Step::Signals, errno.into()))?;

    let child = started.map_err(|source| fail(Step::Clone, source))?;
    match job.failure {
        // Dropping the child reaps it: it has ended already.
        Some((step, errno)) => Err(fail(step, io::Error::from_raw_os_error(errno))),
        None => Ok(child),
    }
}

/// Everything the child needs, prepared by the parent. The child writes to
/// `sources` and `failure`.
struct Job<'a> {
    path: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    /// Null if it is ours.
    directory: *const c_char,
    /// The numbers to be passed on, sorted.
    kept: &'a [RawFd],
    /// The numbers to be passed on, in order; they become `FIRST..end`.
    sources: Vec<RawFd>,
    end: RawFd,
    /// No descriptor of ours has a number above this.
    limit: RawFd,
    ignored: &'a [c_int],
    failure: Option<(Step, c_int)>,
}

fn clone_into(job: &mut Job<'_>, kin: Kin) -> io::Result<Child> {
    point!(PROGRAM_IS_STARTED?);
    let mut stack = vec![0_u8; STACK];
    let range = stack.as_mut_ptr_range();
    // The stack grows down; both our architectures want it aligned to 16.
    let top = range.end.map_addr(|address| address & !15);
    let mut pidfd: c_int = -1;
    let parent = match kin {
        Kin::Child => 0,
        Kin::Sibling => libc::CLONE_PARENT,
    };
    let flags = parent | libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: `run` gets a pointer to the job, which nobody else touches until
    // this call returns: the calling thread is stopped (CLONE_VFORK) until the
    // child has called exec or ended. The stack outlives the child's use of it
    // for the same reason. With CLONE_PIDFD the kernel writes to `pidfd`.
    let pid = Errno::result(unsafe {
        libc::clone(run, top.cast(), flags, ptr::from_mut(job).cast(), &raw mut pidfd)
    })?;
    // SAFETY: the kernel has just made this descriptor for us alone; it is
    // close-on-exec from birth.
    Ok(Child::new(pid, unsafe { OwnedFd::from_raw_fd(pidfd) }, kin))
}

/// The child, until exec.
extern "C" fn run(argument: *mut c_void) -> c_int {
    // SAFETY: `clone_into` passes a job that it does not touch meanwhile.
    let job = unsafe { &mut *argument.cast::<Job<'_>>() };
    let failure = match prepare(job) {
        Err(failure) => failure,
        Ok(()) => {
            // SAFETY: path, arguments and environment are null-terminated and
            // outlive the call: the parent holds them and is stopped.
            unsafe { libc::execve(job.path, job.arguments, job.environment) };
            (Step::Exec, Errno::last_raw())
        }
    };
    job.failure = Some(failure);
    // SAFETY: ends the child and nothing else; no handler of ours is run.
    unsafe { libc::_exit(127) }
}

fn prepare(job: &mut Job<'_>) -> Result<(), (Step, c_int)> {
    pass_descriptors(job).map_err(|errno| (Step::Descriptors, errno as c_int))?;
    reset_signals(job.ignored).map_err(|errno| (Step::Signals, errno as c_int))?;
    if !job.directory.is_null() {
        // SAFETY: the path is null-terminated and outlives the call. The child
        // has a working directory of its own (no CLONE_FS).
        Errno::result(unsafe { libc::chdir(job.directory) })
            .map_err(|errno| (Step::Directory, errno as c_int))?;
    }
    Ok(())
}

/// Leaves the child with stdio, with the sources as `FIRST..end`, and with
/// nothing else. The descriptor table is the child's own (no CLONE_FILES).
fn pass_descriptors(job: &mut Job<'_>) -> Result<(), Errno> {
    // First close what is not passed on: a process at its descriptor limit
    // has then room for the moves below.
    let mut next = FIRST;
    for &kept in job.kept {
        close_range(next, kept - 1, job.limit)?;
        next = next.max(kept + 1);
    }
    close_range(next, RawFd::MAX, job.limit)?;
    // Then move those away that stand where another has to go.
    for source in &mut job.sources {
        if *source < job.end {
            // SAFETY: a call on numbers; it touches no memory.
            let moved = unsafe { libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, job.end) };
            let from = std::mem::replace(source, Errno::result(moved)?);
            if from < FIRST {
                // A listener that sat in the place of stdio would leak into
                // the child's standard input or output.
                null_stdio(from)?;
            }
        }
    }
    // The source is never the target, so dup2 always clears close-on-exec.
    for (target, source) in (FIRST..job.end).zip(&job.sources) {
        // SAFETY: a call on numbers; it touches no memory.
        Errno::result(unsafe { libc::dup2(*source, target) })?;
    }
    close_range(job.end, RawFd::MAX, job.limit)
}

fn null_stdio(number: RawFd) -> Result<(), Errno> {
    // SAFETY: the path is a literal with its null byte.
    let null = Errno::result(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) })?;
    if null == number {
        return Ok(());
    }
    // SAFETY: a call on numbers; it touches no memory.
    Errno::result(unsafe { libc::dup2(null, number) })?;
    // SAFETY: `null` was opened above and is used no more.
    Errno::result(unsafe { libc::close(null) })?;
    Ok(())
}

/// Removes our handlers, ignores what is to be ignored, and only then lets
/// signals in. What we ourselves ignore stays ignored, as exec would have it,
/// but for SIGPIPE, which the Rust runtime ignores on its own account.
fn reset_signals(ignored: &[c_int]) -> Result<(), Errno> {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: all zeroes is a valid `sigaction`: SIG_DFL, no flags.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: writes to `action` only. Numbers the C library keeps for
        // itself give EINVAL and are left alone.
        if unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) } != 0 {
            continue;
        }
        let wanted = if ignored.contains(&signal) {
            libc::SIG_IGN
        } else if action.sa_sigaction == libc::SIG_IGN && signal != libc::SIGPIPE {
            continue;
        } else {
            libc::SIG_DFL
        };
        if action.sa_sigaction == wanted {
            continue;
        }
        // SAFETY: as above.
        action = unsafe { std::mem::zeroed() };
        action.sa_sigaction = wanted;
        // SAFETY: reads `action` only; handlers are per process here, because
        // CLONE_SIGHAND is not among the flags.
        Errno::result(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) })?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// The strings as exec wants them: pointers, the last one null.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// Held by a test for as long as a child it starts has not called exec. Until
/// then the child has a copy of every descriptor of all the tests that run
/// beside it, and keeps open what they close.
#[cfg(test)]
pub(crate) static STARTING: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Returns when no child that a test has started keeps open what the caller has
/// closed before.
#[cfg(test)]
pub(crate) fn no_copy_is_left() {
    drop(STARTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs::File;
    use std::io::{BufRead, BufReader, Read, pipe};
    use std::os::fd::AsFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::process::ExitStatusExt;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::resource::{UsageWho, getrusage};

    use super::super::child::watch_starter;
    use super::*;

    fn spawn(program: &Program<'_>) -> Result<Child, SpawnError> {
        let _starting = STARTING.lock().unwrap();
        super::spawn(program)
    }

    fn shell<'a>(script: &str, descriptors: Vec<BorrowedFd<'a>>) -> Program<'a> {
        let text = |text: &str| CString::new(text).unwrap();
        Program {
            path: text("/bin/sh"),
            arguments: vec![text("sh"), text("-c"), text(script)],
            environment: vec![text("MARK=seen")],
            directory: None,
            descriptors,
            ignored: Vec::new(),
            kin: Kin::Child,
        }
    }

    /// What `script` writes to its descriptor 3.
    fn said(script: &str, rest: &[File]) -> String {
        let (mut reader, writer) = pipe().unwrap();
        let listed = [writer.as_fd()].into_iter().chain(rest.iter().map(AsFd::as_fd)).collect();
        let child = spawn(&shell(script, listed)).unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        drop(child);
        text
    }

    #[test]
    fn the_child_has_stdio_and_what_was_listed_and_nothing_else() {
        // Open on purpose without close-on-exec, below and above the listed.
        let stray = File::open("/dev/null").unwrap();
        // SAFETY: a call on numbers; the copy is owned by the line below.
        let number = unsafe { libc::fcntl(stray.as_raw_fd(), libc::F_DUPFD, 500) };
        // SAFETY: just made, owned by nobody else.
        let _above = unsafe { OwnedFd::from_raw_fd(number) };
        let listed = File::open("/dev/zero").unwrap();
        let (mut reader, writer) = pipe().unwrap();
        let program = shell("exec sleep 1000 3>&-", vec![writer.as_fd(), listed.as_fd()]);
        let child = spawn(&program).unwrap();
        let open = || -> Vec<(String, String)> {
            let entries = std::fs::read_dir(format!("/proc/{}/fd", child.pid())).unwrap();
            let mut open: Vec<_> = entries
                .map(|entry| entry.unwrap())
                .filter_map(|entry| {
                    let target = std::fs::read_link(entry.path()).ok()?;
                    Some((entry.file_name().into_string().unwrap(), target.display().to_string()))
                })
                .collect();
            open.sort();
            open
        };
        // It holds the pipe until the shell has become `sleep`; then all that is
        // left is what was passed on, less the pipe.
        drop(writer);
        reader.read_to_end(&mut Vec::new()).unwrap();
        let numbers: Vec<_> = open().into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, ["0", "1", "2", "4"], "{:?}", open());
        assert_eq!(open()[3].1, "/dev/zero");
    }

    #[test]
    fn descriptors_may_be_listed_in_any_order_and_stand_anywhere() {
        // Sources that sit exactly where others have to go, in reverse.
        let names = ["/dev/zero", "/dev/null", "/dev/full"];
        let mut files: Vec<File> = names.iter().map(|name| File::open(name).unwrap()).collect();
        files.reverse();
        let text = said("readlink /proc/self/fd/4 /proc/self/fd/5 /proc/self/fd/6 >&3", &files);
        assert_eq!(text, "/dev/full\n/dev/null\n/dev/zero\n");
    }

    #[test]
    fn a_missing_program_is_the_execs_own_error() {
        let mut program = shell("", Vec::new());
        program.path = CString::new("/nonexistent/program").unwrap();
        let error = spawn(&program).unwrap_err();
        assert_eq!(error.step, Step::Exec);
        assert_eq!(error.source.raw_os_error(), Some(libc::ENOENT));
    }

    /// Page faults that a write to each page costs after `start`: a page that was
    /// shared with a child by copying the tables has to be copied.
    fn faults_after(memory: &mut [u8], start: impl FnOnce()) -> i64 {
        let faults = || getrusage(UsageWho::RUSAGE_THREAD).unwrap().minor_page_faults();
        start();
        let before = faults();
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = byte.wrapping_add(1));
        std::hint::black_box(memory);
        faults() - before
    }

    /// With fork(2) it did: a process of 16 GiB stood still for 0.6 s.
    #[test]
    fn what_a_start_costs_does_not_grow_with_our_memory() {
        let mut memory = vec![1; 64 << 20];
        let program = shell("exec sleep 1000", Vec::new());
        let mut child = None;
        let ours = faults_after(&mut memory, || child = Some(spawn(&program).unwrap()));
        drop(child);
        let mut forked = 0;
        let starting = STARTING.lock().unwrap();
        let copied = faults_after(&mut memory, || {
            // SAFETY: the child does nothing but wait for its end.
            forked = unsafe { libc::fork() };
            if forked == 0 {
                loop {
                    // SAFETY: touches no memory.
                    unsafe { libc::pause() };
                }
            }
        });
        let pid = nix::unistd::Pid::from_raw(forked);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        nix::sys::wait::waitpid(pid, None).unwrap();
        drop(starting);
        // Huge pages are copied two megabytes at a time.
        assert!(copied >= 32, "a fork costs {copied}, so this sees something");
        assert!(ours < copied / 4, "{ours} faults, where a fork costs {copied}");
    }

    #[test]
    fn the_environment_is_exactly_what_was_given() {
        assert_eq!(said("echo $MARK $HOME >&3", &[]), "seen\n");
    }

    #[test]
    fn the_working_directory_is_the_one_given_or_the_error_says_so() {
        let (mut reader, writer) = pipe().unwrap();
        let mut program = shell("pwd >&3", vec![writer.as_fd()]);
        program.directory = Some(CString::new("/usr").unwrap());
        let child = spawn(&program).unwrap();
        program.directory = Some(CString::new("/nonexistent").unwrap());
        assert_eq!(spawn(&program).unwrap_err().step, Step::Directory);
        drop(program);
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        drop(child);
        assert_eq!(text, "/usr\n");
    }

    #[test]
    fn ignored_signals_do_not_kill_and_none_is_blocked() {
        let mut program = shell("kill -HUP $$; kill -USR1 $$; exit 7", Vec::new());
        program.ignored = vec![libc::SIGHUP];
        let mut child = spawn(&program).unwrap();
        let mut ended = [PollFd::new(child.as_fd(), PollFlags::POLLIN)];
        poll(&mut ended, PollTimeout::NONE).unwrap();
        let status = child.try_reap().unwrap().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGUSR1));
    }

    /// The test's parent is whoever runs the tests, and does the reaping.
    #[test]
    fn a_sibling_is_a_child_of_our_parent_and_is_ours_to_end() {
        let (reader, writer) = pipe().unwrap();
        let mut program = shell("echo $PPID >&3; exec sleep 1000", vec![writer.as_fd()]);
        program.kin = Kin::Sibling;
        let mut sibling = spawn(&program).unwrap();
        drop(program);
        drop(writer);
        let mut parent = String::new();
        BufReader::new(reader).read_line(&mut parent).unwrap();
        assert_eq!(parent.trim().parse(), Ok(nix::unistd::getppid().as_raw()));
        assert_eq!(sibling.try_reap().unwrap(), None);
        // From there we are its sibling, which has started it.
        assert!(watch_starter(sibling.pid()).unwrap().is_some());
        sibling.kill().unwrap();
        let mut pidfd = [PollFd::new(sibling.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut pidfd, PollTimeout::ZERO).unwrap(), 1);
    }

    /// Whether the kernel tells the status of a process that somebody else has
    /// reaped.
    fn kernel_tells() -> bool {
        let release = nix::sys::utsname::uname().unwrap();
        let release = release.release().to_str().unwrap().to_owned();
        let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
        [numbers.next(), numbers.next()] >= [Some(6), Some(15)]
    }

    #[test]
    fn the_status_of_a_child_that_somebody_else_reaped_is_the_kernels_to_tell() {
        let mut child = spawn(&shell("exit 7", Vec::new())).unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.pid()).unwrap());
        nix::sys::wait::waitpid(pid, None).unwrap();
        let code = child.try_reap().unwrap().unwrap().code();
        assert_eq!(code, Some(if kernel_tells() { 7 } else { 0 }));
    }

    /// It was reported as 0 where the name was no UTF-8.
    #[test]
    fn the_status_of_a_sibling_is_known_whatever_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join(OsStr::from_bytes(b"\xff) Z 1 (\xfe"));
        symlink("/bin/sh", &name).unwrap();
        let mut program = shell("exit 7", Vec::new());
        program.path = CString::new(name.as_os_str().as_bytes()).unwrap();
        program.kin = Kin::Sibling;
        let mut sibling = spawn(&program).unwrap();
        let mut ended = [PollFd::new(sibling.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut ended, PollTimeout::from(60_000_u16)), Ok(1));
        let code = sibling.try_reap().unwrap().unwrap().code();
        // Whoever runs the tests may reap what they leave.
        assert!(code == Some(7) || code == Some(0) && !kernel_tells(), "{code:?}");
    }

    #[test]
    fn what_we_have_started_ourselves_has_not_started_us() {
        let child = spawn(&shell("exec sleep 1000", Vec::new())).unwrap();
        assert!(watch_starter(child.pid()).unwrap().is_none());
        assert!(watch_starter(nix::unistd::getppid().as_raw().unsigned_abs()).unwrap().is_some());
    }

    #[test]
    fn a_child_that_is_dropped_is_killed_and_reaped() {
        let (mut reader, writer) = pipe().unwrap();
        let child = spawn(&shell("exec sleep 1000", vec![writer.as_fd()])).unwrap();
        drop(writer);
        let pid = child.pid();
        drop(child);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
