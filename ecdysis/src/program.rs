//! Which program the successor is.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The program that the successor is to be, decided once, at our own start: a
/// path that still means the same when the working directory has changed, and
/// that leads to the *new* file when the file behind it has been replaced.
/// (`/proc/self/exe` does neither: it leads to the old file, or nowhere.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

impl Program {
    /// The program of a process with these arguments (the zeroth included),
    /// that was started in `directory` and would be found along `search`, the
    /// value of PATH. `fallback` is used if the arguments name no program.
    pub(crate) fn from_arguments(
        arguments: Vec<OsString>,
        directory: &Path,
        search: Option<&OsStr>,
        fallback: PathBuf,
    ) -> Self {
        let path = match arguments.first().filter(|name| !name.is_empty()) {
            None => fallback,
            Some(name) if name.as_bytes().contains(&b'/') => directory.join(name),
            Some(name) => std::env::split_paths(search.unwrap_or_default())
                .map(|along| directory.join(along).join(name))
                .find(|path| path.is_file())
                .unwrap_or(fallback),
        };
        Self { path, arguments }
    }
}

/// A string as exec wants it.
///
/// # Errors
/// `InvalidInput` if there is a null byte in it.
pub(crate) fn c_string(text: impl AsRef<OsStr>) -> io::Result<CString> {
    let text = text.as_ref();
    CString::new(text.as_bytes()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("there is a null byte in {text:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str, search: &str) -> PathBuf {
        let arguments = vec![OsString::from(name), OsString::from("-v")];
        let fallback = PathBuf::from("/proc/fallback");
        Program::from_arguments(arguments, Path::new("/srv"), Some(OsStr::new(search)), fallback)
            .path
    }

    #[test]
    fn the_path_is_made_absolute_where_it_was_given() {
        assert_eq!(path("/usr/bin/server", ""), Path::new("/usr/bin/server"));
        assert_eq!(path("./server", ""), Path::new("/srv/./server"));
        assert_eq!(path("bin/server", ""), Path::new("/srv/bin/server"));
    }

    #[test]
    fn a_bare_name_is_searched_for() {
        assert_eq!(path("sh", "/nonexistent:/bin"), Path::new("/bin/sh"));
        assert_eq!(path("no-such-program", "/bin"), Path::new("/proc/fallback"));
        assert_eq!(path("", "/bin"), Path::new("/proc/fallback"));
    }
}
