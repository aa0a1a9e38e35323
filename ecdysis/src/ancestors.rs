//! The generations before this one that have not ended yet.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use crate::manifest::Ancestor;
use crate::sys::child;

/// This process, as its successors will know it. `signal` makes it end its
/// drain at once.
pub(crate) fn this_process(generation: u64, signal: i32) -> io::Result<Ancestor> {
    let pid = std::process::id();
    Ok(Ancestor { generation, pid, started: started(pid)?, signal })
}

/// Those of them that still live, as far as can be told.
pub(crate) fn living(ancestors: &[Ancestor]) -> Vec<Ancestor> {
    let lives = |ancestor: &&Ancestor| match started(ancestor.pid) {
        Ok(started) => started == ancestor.started,
        Err(error) => {
            // One that we cannot look at, for want of a descriptor, is not gone.
            let ended = error.raw_os_error() == Some(libc::ESRCH);
            !ended && error.kind() != io::ErrorKind::NotFound
        }
    };
    ancestors.iter().filter(lives).copied().collect()
}

/// Ends the oldest of those that still drain, until at most `most` are left.
pub(crate) fn bound(ancestors: &[Ancestor], most: usize) {
    let living = living(ancestors);
    for ancestor in &living[..living.len().saturating_sub(most)] {
        match end(ancestor) {
            Ok(()) => {
                tracing::warn!(
                    generation = ancestor.generation,
                    pid = ancestor.pid,
                    "too many generations drain: ended the oldest"
                );
            }
            Err(error) => {
                tracing::warn!(generation = ancestor.generation, pid = ancestor.pid, %error, "cannot end a generation that drains");
            }
        }
    }
}

/// Signals the very process that is meant: the number is looked at again when
/// the pidfd holds it.
fn end(ancestor: &Ancestor) -> io::Result<()> {
    let Some(pidfd) = child::open(ancestor.pid)? else { return Ok(()) };
    if started(ancestor.pid)? != ancestor.started {
        return Ok(());
    }
    child::send_signal(pidfd.as_fd(), ancestor.signal)
}

/// When a process was started: the 22nd field of proc_pid_stat(5). The second,
/// the name, is in parentheses and may hold anything; cut to 15 bytes, it need not
/// be UTF-8 even where the program's name is. A zombie has ended.
fn started(pid: u32) -> io::Result<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    let stat = String::from_utf8_lossy(&stat);
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
    let mut fields = fields.split(' ');
    let (state, rest) = (fields.next(), fields.nth(18));
    if matches!(state, Some("Z" | "X")) {
        return Err(io::ErrorKind::NotFound.into());
    }
    rest.and_then(|field| field.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::sys::spawn::STARTING;

    fn sleeper(generation: u64) -> (Child, Ancestor) {
        sleeping(&mut Command::new("cat"), generation)
    }

    /// `cat` lives until its standard input, which we hold, is closed.
    fn sleeping(command: &mut Command, generation: u64) -> (Child, Ancestor) {
        let _starting = STARTING.lock().unwrap();
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let (pid, signal) = (child.id(), libc::SIGTERM);
        (child, Ancestor { generation, pid, started: started(pid).unwrap(), signal })
    }

    #[test]
    fn this_process_lives_and_another_with_its_number_is_not_it() {
        let this = this_process(3, libc::SIGTERM).unwrap();
        assert_eq!(living(&[this, Ancestor { started: this.started - 1, ..this }]), [this]);
    }

    #[test]
    fn a_process_of_any_name_lives_until_it_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        for name in [&b"a) Z 1 (b"[..], "vierzehn_bytesé".as_bytes(), b"\xff\xfe"] {
            let program = directory.path().join(OsStr::from_bytes(name));
            symlink("/bin/cat", &program).unwrap();
            let mut command = Command::new(program);
            let (mut child, ancestor) = sleeping(&mut command, 1);
            assert_eq!(living(&[ancestor]), [ancestor]);
            drop(child.stdin.take());
            child.wait().unwrap();
            assert_eq!(living(&[ancestor]), []);
        }
    }

    #[test]
    fn the_oldest_are_ended_and_the_others_live() {
        let (mut children, ancestors): (Vec<_>, Vec<_>) = (0..3).map(sleeper).unzip();
        bound(&ancestors, 1);
        for child in &mut children[..2] {
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        }
        assert_eq!(living(&ancestors), ancestors[2..]);
        drop(children[2].stdin.take());
        children[2].wait().unwrap();
        assert_eq!(living(&ancestors), []);
    }
}
