//! The PID file: whole or not at all, and never removed by a process that was
//! succeeded.
//!
//! It is written in two steps. Everything that is likely to fail (a directory
//! that is gone or not ours, a full disk) fails in [`PidFile::prepare`], while
//! the process can still refuse to take over. [`Prepared::commit`] then puts the
//! file in its place with one rename, so a reader sees the old or the new one.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use crate::error::at_path;

/// Everybody may read it: monitors seldom run as the user of the service.
const MODE: u32 = 0o644;

/// A PID has at most ten digits; a file that begins with more is no PID file.
const LONGEST: u64 = 16;

/// How many names are tried. They are random, so the second will do.
const TRIES: u32 = 8;

/// The PID file of a service.
#[derive(Clone, Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// A PID file at `path`. A relative one is looked up from the working
    /// directory of the moment, each time.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Writes the file that is to hold `pid`, beside the place where it will
    /// stand, with mode 0644 whatever the umask.
    ///
    /// # Errors
    /// `InvalidInput` if the path names no file; `IsADirectory` if a directory
    /// is in its place; else what the system call said.
    pub(crate) fn prepare(&self, pid: u32) -> io::Result<Prepared> {
        let failed = |error| at_path("write a PID file for", &self.path, error);
        let name =
            self.path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        // The rename would fail, but that would be too late.
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let target = self.path.with_file_name(name);
        let (mut file, prepared) = create(target, pid).map_err(failed)?;
        // Only now: the bits given to `open` are cut by the umask.
        file.set_permissions(Permissions::from_mode(MODE)).map_err(failed)?;
        file.write_all(format!("{pid}\n").as_bytes()).map_err(failed)?;
        Ok(prepared)
    }

    /// Removes the file if it holds `pid`, and says whether it did. For a full
    /// stop: after an upgrade it holds the successor's, and stays.
    ///
    /// A successor that commits between the look and the removal would lose its
    /// file, so a process that may be succeeded at this moment must not call it.
    ///
    /// # Errors
    /// What the system call said; a file that is gone is no error.
    pub(crate) fn remove_if_ours(&self, pid: u32) -> io::Result<bool> {
        match self.holds(pid) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(at_path("read the PID file", &self.path, error)),
        }
        fs::remove_file(&self.path)
            .map(|()| true)
            .map_err(|error| at_path("remove the PID file", &self.path, error))
    }

    /// Removes what the process with this pid has prepared and could not put in its
    /// place, because it was killed.
    ///
    /// # Errors
    /// What the system call said.
    pub(crate) fn clean_up_after(&self, pid: u32) -> io::Result<()> {
        let failed = |error| at_path("clean up beside the PID file", &self.path, error);
        let Some(name) = self.path.file_name() else { return Ok(()) };
        let begin = beginning(name, pid);
        for entry in fs::read_dir(self.path.with_file_name(".")).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().as_bytes().starts_with(begin.as_bytes()) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Whether the file holds `pid`. One that is not there, or cannot be read, holds
    /// none.
    pub(crate) fn names(&self, pid: u32) -> bool {
        self.holds(pid).unwrap_or(false)
    }

    fn holds(&self, pid: u32) -> io::Result<bool> {
        // Without waiting: there may be a named pipe by now.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&self.path)?;
        let mut content = Vec::new();
        file.take(LONGEST).read_to_end(&mut content)?;
        // The published crate wrote no newline.
        let content = content.strip_suffix(b"\n").unwrap_or(&content);
        Ok(content == pid.to_string().as_bytes())
    }
}

/// A PID file that is whole but not yet in its place. Dropped there, it is
/// removed.
#[derive(Debug)]
pub(crate) struct Prepared {
    temporary: PathBuf,
    target: PathBuf,
}

impl Prepared {
    /// Puts the file in its place, over whatever file or link is there.
    ///
    /// # Errors
    /// What rename(2) said. After a successful `prepare` that takes a change in
    /// between, or a directory with the sticky bit (/tmp) where the old file is
    /// another user's.
    pub(crate) fn commit(self) -> io::Result<()> {
        // Once renamed, the temporary name is gone, and dropping finds nothing.
        fs::rename(&self.temporary, &self.target)
            .map_err(|error| at_path("put the PID file in place at", &self.target, error))
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // There is nobody to tell; a file that is left does no harm.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// How the names begin of what a process prepares for the file with this name. They
/// tell whose it is, of which service, so that another process can remove it; in
/// another namespace another process may have the same PID, and its file beside
/// ours. (FNV-1a: other builds have to come to the same.)
fn beginning(name: &OsStr, pid: u32) -> String {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let hash = name.as_bytes().iter().fold(0x811c_9dc5_u32, step);
    format!(".pid-{pid}-{hash:08x}")
}

/// A new, empty file beside `target`. Its name ends at random, so that one left by a
/// process that was killed is not in the way; and it is short, so that it fits
/// wherever the name of the target does.
fn create(target: PathBuf, pid: u32) -> io::Result<(File, Prepared)> {
    let mut tries = 0;
    loop {
        let random = RandomState::new().hash_one(pid);
        let begin = beginning(target.file_name().unwrap_or_default(), pid);
        let temporary = target.with_file_name(format!("{begin}-{random:016x}"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary) {
            Ok(file) => return Ok((file, Prepared { temporary, target })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => {
                tries += 1
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs::hard_link;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    use tempfile::{TempDir, tempdir};

    use super::*;

    fn names(directory: &TempDir) -> Vec<OsString> {
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn it_holds_the_pid_and_a_newline_and_everybody_may_read_it() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("service.pid");
        PidFile::new(&path).prepare(4_194_304).unwrap().commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"4194304\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
        assert_eq!(names(&directory), ["service.pid"]);
    }

    #[test]
    fn the_old_file_stays_as_it_is_until_the_new_one_is_in_its_place() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("service.pid");
        // A second name shows what becomes of the old file itself.
        let old = directory.path().join("old");
        fs::write(&path, "1\n").unwrap();
        hard_link(&path, &old).unwrap();
        let prepared = PidFile::new(&path).prepare(2).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1\n");
        prepared.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2\n");
        assert_eq!(fs::read(&old).unwrap(), b"1\n");
    }

    #[test]
    fn the_new_file_is_whole_before_it_is_in_its_place() {
        let directory = tempdir().unwrap();
        let prepared = PidFile::new(directory.path().join("service.pid")).prepare(2).unwrap();
        assert_eq!(fs::read(&prepared.temporary).unwrap(), b"2\n");
        assert_eq!(fs::metadata(&prepared.temporary).unwrap().mode() & 0o7777, 0o644);
    }

    #[test]
    fn one_that_is_not_committed_leaves_nothing() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("service.pid");
        fs::write(&path, "1\n").unwrap();
        drop(PidFile::new(&path).prepare(2).unwrap());
        assert_eq!(names(&directory), ["service.pid"]);
        assert_eq!(fs::read(&path).unwrap(), b"1\n");
    }

    #[test]
    fn what_was_prepared_by_one_that_was_killed_is_removed_and_nothing_else() {
        let directory = tempdir().unwrap();
        let ours = PidFile::new(directory.path().join("service.pid"));
        let another = PidFile::new(directory.path().join("other.pid"));
        ours.prepare(1).unwrap().commit().unwrap();
        let prepared = [ours.prepare(7), ours.prepare(7), ours.prepare(77), another.prepare(7)]
            .map(Result::unwrap);
        ours.clean_up_after(7).unwrap();
        let left = prepared.each_ref().map(|prepared| prepared.temporary.exists());
        assert_eq!(left, [false, false, true, true]);
        assert!(ours.names(1));
        drop(directory);
        assert_eq!(ours.clean_up_after(7).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_cannot_be_written_fails_before_the_commit_and_names_the_path() {
        let directory = tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let below_file = file.join("x.pid");
        let below_nothing = directory.path().join("none/x.pid");
        for (path, kind) in [
            (below_nothing.as_path(), io::ErrorKind::NotFound),
            (&below_file, io::ErrorKind::NotADirectory),
            (directory.path(), io::ErrorKind::IsADirectory),
            (Path::new("/proc/x.pid"), io::ErrorKind::NotFound),
            (Path::new("/"), io::ErrorKind::InvalidInput),
            (Path::new(""), io::ErrorKind::InvalidInput),
        ] {
            let error = PidFile::new(path).prepare(1).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(&format!("{path:?}")), "{error}");
        }
        assert_eq!(names(&directory), ["file"]);
    }

    #[test]
    fn a_failed_commit_is_an_error_and_leaves_nothing() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("x.pid");
        let prepared = PidFile::new(&path).prepare(1).unwrap();
        fs::create_dir(&path).unwrap();
        let error = prepared.commit().unwrap_err();
        assert!(error.to_string().contains("x.pid"), "{error}");
        assert_eq!(names(&directory), ["x.pid"]);
    }

    #[test]
    fn the_longest_name_and_one_that_is_not_utf8_work() {
        let directory = tempdir().unwrap();
        for name in [vec![b'a'; 255], vec![0xff, b'.', 0xfe]] {
            let path = directory.path().join(OsString::from_vec(name));
            PidFile::new(&path).prepare(1).unwrap().commit().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"1\n");
        }
    }

    #[test]
    fn a_slash_at_the_end_does_not_surprise_the_commit() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("x.pid/");
        PidFile::new(&path).prepare(1).unwrap().commit().unwrap();
        assert_eq!(names(&directory), ["x.pid"]);
    }

    #[test]
    fn a_link_is_replaced_and_what_it_led_to_is_not_written() {
        let directory = tempdir().unwrap();
        let (path, precious) = (directory.path().join("x.pid"), directory.path().join("precious"));
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, &path).unwrap();
        PidFile::new(&path).prepare(1).unwrap().commit().unwrap();
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
    }

    #[test]
    fn who_was_succeeded_does_not_remove_the_successors_file() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("service.pid");
        let file = PidFile::new(&path);
        file.prepare(12).unwrap().commit().unwrap();
        file.prepare(123).unwrap().commit().unwrap();
        assert!(!file.remove_if_ours(12).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"123\n");
        assert!(file.names(123) && !file.names(12));
        assert!(file.remove_if_ours(123).unwrap());
        assert!(names(&directory).is_empty());
        assert!(!file.remove_if_ours(123).unwrap());
    }

    #[test]
    fn what_is_no_pid_file_is_not_removed() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("service.pid");
        let file = PidFile::new(&path);
        for content in ["", "\n", "12 34\n", "-12\n", "012\n", "12\0", "12              34"] {
            fs::write(&path, content).unwrap();
            assert!(!file.remove_if_ours(12).unwrap(), "{content:?}");
            assert_eq!(fs::read(&path).unwrap(), content.as_bytes());
        }
        fs::remove_file(&path).unwrap();
        // Opening one for reading waits for a writer, unless told not to.
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(!file.remove_if_ours(12).unwrap());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(file.remove_if_ours(12).unwrap_err().to_string().contains("service.pid"));
    }
}
