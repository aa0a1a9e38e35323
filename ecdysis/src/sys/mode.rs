//! The mode of a file, and never that of what a link leads to.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};

/// Changes the mode of the file at `path`; a link there is not followed.
///
/// C libraries older than fchmodat2(2) reach such a file through `/proc`, which
/// a container or a chroot may lack. The kernel is asked itself then.
///
/// # Errors
/// Those of chmod(2), `EOPNOTSUPP` for a link; `Unsupported`, saying what is
/// missing, where there is neither `/proc` nor fchmodat2(2) (Linux 6.6).
pub(crate) fn change_mode(path: &Path, mode: Mode) -> io::Result<()> {
    match fchmodat(AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink) {
        Err(Errno::EOPNOTSUPP) => match fchmodat2(path, mode) {
            // What filters say of a call that they do not know.
            Err(Errno::ENOSYS | Errno::EPERM) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "it takes /proc, or fchmodat2 (Linux 6.6)",
            )),
            changed => Ok(changed?),
        },
        changed => Ok(changed?),
    }
}

fn fchmodat2(path: &Path, mode: Mode) -> nix::Result<()> {
    let result = path.with_nix_path(|path| {
        // SAFETY: the path ends with a null byte and outlives the call, which
        // writes nothing.
        unsafe {
            libc::syscall(
                libc::SYS_fchmodat2,
                AT_FDCWD.as_raw_fd(),
                path.as_ptr(),
                mode.bits(),
                libc::AT_SYMLINK_NOFOLLOW,
            )
        }
    })?;
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::thread;

    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    /// Whether the kernel has it, and nothing denies it to us.
    fn has_fchmodat2() -> bool {
        fchmodat2(Path::new("/nowhere/at/all"), Mode::empty()) == Err(Errno::ENOENT)
    }

    #[test]
    fn the_kernel_itself_changes_a_file_and_not_what_a_link_leads_to() {
        if !has_fchmodat2() {
            println!("NOT TESTED: fchmodat2 is missing here");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        File::create(&file).unwrap();
        symlink(&file, &link).unwrap();
        fchmodat2(&file, Mode::S_IRUSR | Mode::S_IWGRP).unwrap();
        assert_eq!(mode_of(&file), 0o420);
        assert_eq!(fchmodat2(&link, Mode::S_IRWXU), Err(Errno::EOPNOTSUPP));
        assert_eq!(mode_of(&file), 0o420);
    }

    #[test]
    fn without_proc_the_mode_is_changed_or_what_is_missing_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        File::create(&file).unwrap();
        // A thread may have mounts of its own; they go with it.
        let changed = thread::scope(|scope| {
            let without_proc = || -> nix::Result<io::Result<()>> {
                unshare(CloneFlags::CLONE_NEWNS)?;
                let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
                mount(Some("none"), "/proc", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
                assert!(!Path::new("/proc/self").exists());
                Ok(change_mode(&file, Mode::S_IRUSR | Mode::S_IWGRP))
            };
            scope.spawn(without_proc).join().unwrap()
        });
        match changed {
            Err(errno) => println!("NOT TESTED: /proc cannot be hidden here ({errno}); be root"),
            Ok(Ok(())) => assert_eq!(mode_of(&file), 0o420),
            Ok(Err(error)) => {
                assert!(!has_fchmodat2(), "{error}");
                assert!(error.to_string().contains("/proc"), "{error}");
            }
        }
    }
}
