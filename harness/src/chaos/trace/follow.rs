//! What the tracing thread does at each stop of a thread that it follows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use nix::errno::Errno;
use nix::libc::{PTRACE_EVENT_CLONE, PTRACE_EVENT_EXEC, PTRACE_EVENT_FORK, PTRACE_EVENT_VFORK};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use syscalls::Sysno;

use super::call::{self, Entry};
use super::orders::{Deed, Orders};
use super::tracer::{POKE, Shared};
use crate::event::{Exit, Hit, Phase, Whom};
use crate::observe::procfs::{self, Opened};

/// What stands for a read or write that is not of a file or a pipe.
const ELSEWHERE: &str = "read or write elsewhere";

/// What is asked of the kernel for every thread that is followed.
pub(super) fn options() -> ptrace::Options {
    ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_TRACEFORK
        | ptrace::Options::PTRACE_O_TRACEVFORK
        | ptrace::Options::PTRACE_O_TRACEVFORKDONE
        | ptrace::Options::PTRACE_O_TRACEEXEC
}

/// A thread that is followed.
#[derive(Clone, Copy, Debug)]
struct Task {
    process: u32,
    /// The call that it is in, if its process is watched.
    inside: Option<Inside>,
    /// It waits until its child has called exec, and cannot be stopped before.
    lent: bool,
}

#[derive(Clone, Copy, Debug)]
struct Inside {
    entry: Entry,
    /// The descriptor is a pipe's, and not standard output.
    pipe: bool,
    /// The call is not made, and is to seem to have failed so.
    fails: Option<Errno>,
}

/// A process of which every thread is being stopped, so that what it holds can be
/// written down before it is killed.
#[derive(Debug)]
struct Doomed {
    hit: Hit,
    held: HashSet<Pid>,
}

/// The tracing thread's memory.
#[derive(Debug)]
pub(super) struct Follower<'a> {
    shared: &'a Shared,
    tasks: HashMap<Pid, Task>,
    /// Threads that have stopped for the first time before their maker has told of them.
    early: HashSet<Pid>,
    /// The orders that are followed now, and which they are.
    orders: Option<Orders>,
    number: u64,
    /// The process that they are about, once it is there.
    target: Option<u32>,
    /// The trigger has come, so its calls count.
    counts: bool,
    turns: BTreeMap<Sysno, u64>,
    doomed: Option<Doomed>,
}

impl<'a> Follower<'a> {
    pub(super) fn new(shared: &'a Shared, threads: impl Iterator<Item = (Pid, u32)>) -> Self {
        let task = |(thread, process)| (thread, Task { process, inside: None, lent: false });
        Self {
            shared,
            tasks: threads.map(task).collect(),
            early: HashSet::new(),
            orders: None,
            number: 0,
            target: None,
            counts: false,
            turns: BTreeMap::new(),
            doomed: None,
        }
    }

    /// Follows until there is nobody left to follow.
    pub(super) fn run(mut self) {
        loop {
            // Only this thread's: others wait for the processes that they have started.
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(status) => self.stopped(status),
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    fn stopped(&mut self, status: WaitStatus) {
        if let Some(task) = status.pid().and_then(|thread| self.tasks.get_mut(&thread)) {
            task.lent = false;
        }
        let outcome = match status {
            WaitStatus::Exited(thread, code) => {
                self.ended(thread, Exit::Code(code));
                Ok(())
            }
            WaitStatus::Signaled(thread, signal, _) => {
                self.ended(thread, Exit::Signal(signal as i32));
                Ok(())
            }
            WaitStatus::PtraceSyscall(thread) => self.at_call(thread),
            WaitStatus::PtraceEvent(thread, _, event) => self.at_event(thread, event),
            WaitStatus::Stopped(thread, signal) => self.at_signal(thread, signal),
            WaitStatus::Continued(_) | WaitStatus::StillAlive => Ok(()),
        };
        match outcome {
            // It was killed while it was stopped; its end will be told.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => {
                self.shared.account(|account| {
                    account.trouble.get_or_insert_with(|| format!("ptrace: {errno}"));
                });
                // Whatever went wrong, the server is not to stand still because of it.
                let _ = status.pid().map(|thread| ptrace::cont(thread, None));
            }
        }
    }

    /// A thread is gone, and its process with it, if it was the first.
    fn ended(&mut self, thread: Pid, exit: Exit) {
        let task = self.tasks.remove(&thread);
        self.early.remove(&thread);
        let pid = thread.as_raw().unsigned_abs();
        if task.is_some_and(|task| task.process == pid) {
            self.tasks.retain(|_, task| task.process != pid);
            if self.doomed.as_ref().is_some_and(|doomed| doomed.hit.pid == pid) {
                self.doomed = None;
            }
            self.shared.account(|account| {
                account.ended.insert(pid, exit);
                if let Some(hit) = account.hit.as_mut().filter(|hit| hit.pid == pid) {
                    hit.ended = Some(exit);
                }
            });
        }
        self.strike();
    }

    fn at_event(&mut self, thread: Pid, event: i32) -> nix::Result<()> {
        self.obey();
        match event {
            PTRACE_EVENT_CLONE | PTRACE_EVENT_FORK | PTRACE_EVENT_VFORK => {
                let born = i32::try_from(ptrace::getevent(thread)?).map_err(|_| Errno::ERANGE)?;
                if event == PTRACE_EVENT_VFORK
                    && let Some(task) = self.tasks.get_mut(&thread)
                {
                    task.lent = true;
                }
                self.born(thread, Pid::from_raw(born))?;
            }
            PTRACE_EVENT_EXEC => self.executed(thread),
            // The first stop of a thread that nobody has told of yet.
            _ if !self.tasks.contains_key(&thread) => {
                self.early.insert(thread);
                return Ok(());
            }
            _ => {}
        }
        self.go_on(thread, None)
    }

    /// A thread was started: another one of the same process, or the first of a new one.
    fn born(&mut self, maker: Pid, thread: Pid) -> nix::Result<()> {
        let maker = self.tasks.get(&maker).map_or(0, |task| task.process);
        let pid = thread.as_raw().unsigned_abs();
        let process = procfs::process_of(pid).unwrap_or(pid);
        self.tasks.insert(thread, Task { process, inside: None, lent: false });
        if process != maker
            && let Some(orders) = self.orders.filter(|orders| orders.old == maker)
        {
            let first = self.shared.account(|account| {
                let first = account.successor.is_none();
                account.successor.get_or_insert(process);
                account.phase = account.phase.max(Phase::Born);
                first
            });
            if first && orders.whom == Whom::Successor {
                (self.target, self.counts) = (Some(process), true);
            }
        }
        if self.early.remove(&thread) { self.go_on(thread, None) } else { Ok(()) }
    }

    /// A process runs another program; its other threads are gone without a word.
    fn executed(&mut self, thread: Pid) {
        let pid = thread.as_raw().unsigned_abs();
        self.tasks.retain(|other, task| task.process != pid || *other == thread);
        self.shared.account(|account| {
            if account.successor == Some(pid) {
                account.phase = account.phase.max(Phase::Started);
            }
        });
    }

    fn at_signal(&mut self, thread: Pid, signal: Signal) -> nix::Result<()> {
        if signal == POKE && self.shared.was_poked() {
            self.obey();
            return self.go_on(thread, None);
        }
        let process = self.tasks.get(&thread).map(|task| task.process);
        let orders = self.orders.filter(|orders| orders.trigger == Some(signal));
        if orders.is_some_and(|orders| Some(orders.old) == process) && self.target == process {
            self.counts = true;
        }
        self.go_on(thread, Some(signal))
    }

    /// Takes new orders, if there are any.
    fn obey(&mut self) {
        let (number, orders) = self.shared.orders();
        if number == self.number {
            return;
        }
        (self.number, self.orders, self.target) = (number, orders, None);
        (self.counts, self.turns) = (false, BTreeMap::new());
        if let Some(orders) = orders.filter(|orders| orders.whom == Whom::Predecessor) {
            self.target = Some(orders.old);
            self.counts = orders.trigger.is_none();
            // Where they are now, they would pass by their next calls.
            for (thread, _) in self.threads(orders.old) {
                // One that ends just now makes no more calls.
                let _ = ptrace::interrupt(thread);
            }
        }
        self.shared.obeyed(number);
    }

    fn threads(&self, process: u32) -> Vec<(Pid, Task)> {
        let tasks = self.tasks.iter().map(|(thread, task)| (*thread, *task));
        tasks.filter(|(_, task)| task.process == process).collect()
    }

    /// Before or after a call.
    fn at_call(&mut self, thread: Pid) -> nix::Result<()> {
        self.obey();
        let process = self.tasks.get(&thread).map(|task| task.process);
        if self.target.is_none() || process != self.target {
            return self.go_on(thread, None);
        }
        if call::is_entry(thread)? {
            self.before(thread)?;
        } else {
            self.after(thread)?;
        }
        self.go_on(thread, None)
    }

    fn before(&mut self, thread: Pid) -> nix::Result<()> {
        let (Some(pid), Some(orders)) = (self.target, self.orders) else { return Ok(()) };
        let entry = call::entry(thread)?;
        let moves = matches!(entry.call, Some(Sysno::read | Sysno::write));
        let opened = (moves && entry.descriptor > 2)
            .then(|| procfs::opened(pid, entry.descriptor))
            .flatten();
        let pipe = opened == Some(Opened::Pipe);
        // Of an event loop's own descriptors, an upgrade knows nothing.
        let its = !moves || opened.is_some();
        let mut inside = Inside { entry, pipe, fails: None };
        if self.counts && self.doomed.is_none() {
            let turn = entry.call.filter(|_| its).map_or(0, |call| {
                let turn = self.turns.entry(call).or_default();
                *turn += 1;
                *turn
            });
            let hit = self.shared.account(|account| {
                account.calls.push(if its { entry.name() } else { ELSEWHERE });
                let number = u64::try_from(account.calls.len()).unwrap_or(u64::MAX);
                let due = match orders.deed {
                    Deed::Watch => false,
                    Deed::KillAt(wanted) => wanted == number,
                    Deed::Fail { call, turn: wanted, .. } => {
                        its && entry.call == Some(call) && wanted == turn
                    }
                };
                (due && account.hit.is_none()).then(|| Hit {
                    pid,
                    number,
                    call: entry.name(),
                    phase: account.phase,
                    accepted: account.accepted,
                    clients: BTreeSet::new(),
                    ended: None,
                })
            });
            match (hit, orders.deed) {
                (Some(hit), Deed::Fail { errno, .. }) => {
                    // A descriptor is closed whatever close(2) says.
                    if entry.call != Some(Sysno::close) {
                        call::skip(thread)?;
                    }
                    inside.fails = Some(errno);
                    self.shared.account(|account| account.hit = Some(hit));
                }
                (Some(hit), Deed::KillAt(_)) => self.condemn(hit),
                (Some(_), Deed::Watch) | (None, _) => {}
            }
        }
        if let Some(task) = self.tasks.get_mut(&thread) {
            task.inside = Some(inside);
        }
        Ok(())
    }

    fn after(&mut self, thread: Pid) -> nix::Result<()> {
        let inside = self.tasks.get_mut(&thread).and_then(|task| task.inside.take());
        let (Some(inside), Some(orders)) = (inside, self.orders) else { return Ok(()) };
        if let Some(errno) = inside.fails {
            // What comes after it need not be seen.
            self.target = None;
            return call::fail(thread, errno);
        }
        let result = call::result(thread)?;
        let accepts = matches!(inside.entry.call, Some(Sysno::accept | Sysno::accept4));
        let reads = inside.entry.call == Some(Sysno::read);
        let passes = reads == (orders.whom == Whom::Successor);
        self.shared.account(|account| {
            if accepts && result >= 0 && self.counts {
                account.accepted += 1;
            }
            if inside.pipe && result > 0 {
                account.phase = match (account.phase, passes) {
                    (Phase::Started, true) => Phase::Passed,
                    (Phase::Passed, false) => Phase::Ready,
                    (phase, _) => phase,
                };
            }
        });
        Ok(())
    }

    /// Stops every thread of a process; it is killed when the last has stopped.
    fn condemn(&mut self, hit: Hit) {
        for (thread, _) in self.threads(hit.pid) {
            // One that ends just now needs no stopping.
            let _ = ptrace::interrupt(thread);
        }
        self.shared.account(|account| account.condemned = Some(hit.clone()));
        self.doomed = Some(Doomed { hit, held: HashSet::new() });
    }

    /// Kills the process that is to be killed, if none of its threads runs any more.
    fn strike(&mut self) {
        let Some(doomed) = &self.doomed else { return };
        let threads = self.threads(doomed.hit.pid);
        if threads.iter().any(|(thread, task)| !task.lent && !doomed.held.contains(thread)) {
            return;
        }
        let Some(Doomed { mut hit, .. }) = self.doomed.take() else { return };
        let Ok(pid) = i32::try_from(hit.pid) else { return };
        hit.clients = procfs::peers(hit.pid).unwrap_or_default();
        // At once for whoever reads: none sees it ended before it sees why.
        self.shared.account(|account| match kill(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) => account.hit = Some(hit),
            Err(errno) => account.trouble = Some(format!("SIGKILL: {errno}")),
        });
    }

    /// Lets a stopped thread go on, to its next call if its process is watched; or
    /// keeps it, if it is about to die.
    fn go_on(&mut self, thread: Pid, signal: Option<Signal>) -> nix::Result<()> {
        let process = self.tasks.get(&thread).map(|task| task.process);
        if let Some(doomed) = &mut self.doomed
            && Some(doomed.hit.pid) == process
        {
            doomed.held.insert(thread);
            self.strike();
            return Ok(());
        }
        if process.is_some() && process == self.target {
            ptrace::syscall(thread, signal)
        } else {
            ptrace::cont(thread, signal)
        }
    }
}
