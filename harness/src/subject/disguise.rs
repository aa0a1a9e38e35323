//! The path that a server is started by, where something else can stand in its place.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The directory of the programs, in the run's private one.
const PROGRAMS: &str = "programs";

/// The directory of what takes their place.
const STAND_IN: &str = "shim";

/// The name of the program that misbehaves.
pub(super) const SHIM: &str = "harness-shim";

/// A link that leads to the server's program, until it is made to lead elsewhere. A
/// server that executes the path which it was started by executes what is there then.
#[derive(Clone, Debug)]
pub struct Disguise {
    link: PathBuf,
    real: PathBuf,
    place: PathBuf,
}

impl Disguise {
    /// Lays the link to the program `real` in `directory`, and a copy of the program
    /// `shim` beside.
    ///
    /// # Errors
    ///
    /// The files cannot be made.
    pub fn lay(directory: &Path, name: &str, real: &Path, shim: &Path) -> io::Result<Self> {
        let (link, place) = (link(directory, name), directory.join(STAND_IN));
        for directory in [&directory.join(PROGRAMS), &place] {
            fs::create_dir_all(directory)?;
        }
        fs::copy(shim, place.join(SHIM))?;
        let disguise = Self { link, real: real.to_owned(), place };
        disguise.take_off()?;
        Ok(disguise)
    }

    /// Where the server's program is, as the server knows it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.link
    }

    /// The program itself.
    #[must_use]
    pub fn real(&self) -> &Path {
        &self.real
    }

    /// The directory for what is put in its place.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The program that misbehaves.
    #[must_use]
    pub fn shim(&self) -> PathBuf {
        self.place.join(SHIM)
    }

    /// Has the path lead to `other`, from one moment to the next.
    ///
    /// # Errors
    ///
    /// The link cannot be made.
    pub fn put_on(&self, other: &Path) -> io::Result<()> {
        let mut new = OsString::from(&self.link);
        new.push(".new");
        // One that was left half-made by an earlier failure is in nobody's way.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        symlink(other, &new)?;
        fs::rename(&new, &self.link)
    }

    /// Has the path lead to the program itself again.
    ///
    /// # Errors
    ///
    /// As [`Self::put_on`].
    pub fn take_off(&self) -> io::Result<()> {
        self.put_on(&self.real)
    }
}

/// The link to the program `name`.
pub(super) fn link(directory: &Path, name: &str) -> PathBuf {
    directory.join(PROGRAMS).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_the_program_before_and_after() {
        let directory = tempfile::tempdir().unwrap();
        let disguise = Disguise::lay(
            directory.path(),
            "true",
            Path::new("/bin/true"),
            Path::new("/bin/false"),
        )
        .unwrap();
        let leads_to = || fs::canonicalize(disguise.path()).unwrap();
        assert_eq!(leads_to(), fs::canonicalize("/bin/true").unwrap());
        disguise.put_on(&disguise.shim()).unwrap();
        assert_eq!(leads_to(), fs::canonicalize(disguise.shim()).unwrap());
        disguise.put_on(Path::new("/no/such")).unwrap();
        assert!(!disguise.path().exists());
        disguise.take_off().unwrap();
        assert_eq!(leads_to(), fs::canonicalize("/bin/true").unwrap());
    }
}
