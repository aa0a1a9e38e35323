//! Which program the successor is.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The program that the successor is to be, decided once, at our own start: a
/// path that still means the same when the working directory has changed, and
/// that leads to the *new* file when the file behind it has been replaced.
/// (`/proc/self/exe` does neither: it leads to the old file, or nowhere.)
///
/// By default it is the program that this process was started as, with the same
/// arguments, with the environment as it is when the upgrade begins, in the
/// working directory of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) directory: Option<PathBuf>,
    /// Variables that are set, or removed, whatever this process has.
    variables: Vec<(OsString, Option<OsString>)>,
    /// Signals that must not kill it before it has its handlers.
    pub(crate) ignored: Vec<i32>,
}

impl Program {
    /// The file to execute. If it is replaced, the next upgrade starts the new
    /// one; PATH is not searched. Its zeroth argument is the same, so that it is
    /// what the successor starts in its turn, by default.
    pub fn path(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.path = path.into();
        self.name_it_by_its_path();
        self
    }

    /// Its arguments, without the zeroth, which says what program it is.
    pub fn arguments(
        &mut self,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> &mut Self {
        self.arguments.truncate(1);
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment.
    pub fn variable(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> &mut Self {
        self.variables.push((name.into(), Some(value.into())));
        self
    }

    /// Removes a variable from its environment.
    pub fn without_variable(&mut self, name: impl Into<OsString>) -> &mut Self {
        self.variables.push((name.into(), None));
        self
    }

    /// Its working directory. A relative path of the program does not depend on
    /// it: that was made absolute at the start of this process.
    pub fn directory(&mut self, directory: impl Into<PathBuf>) -> &mut Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts it with this signal ignored, until it installs a handler: one that
    /// is sent to the whole process group, or too early, does not kill it. (With
    /// Tokio, this is done for every signal that triggers something.) When it is
    /// settled and has made nothing of the signal, the signal has its default
    /// effect.
    pub fn ignoring(&mut self, signal: i32) -> &mut Self {
        self.ignored.push(signal);
        self
    }

    /// The environment it gets, if ours is `ours`.
    pub(crate) fn environment(
        &self,
        mut ours: Vec<(OsString, OsString)>,
    ) -> Vec<(OsString, OsString)> {
        for (name, value) in &self.variables {
            ours.retain(|(known, _)| known != name);
            ours.extend(value.clone().map(|value| (name.clone(), value)));
        }
        ours
    }

    /// The program of a process with these arguments (the zeroth included),
    /// that was started in `directory` and would be found along `search`, the
    /// value of PATH. `fallback` is used if the arguments name no program.
    pub(crate) fn from_arguments(
        arguments: Vec<OsString>,
        directory: &Path,
        search: Option<&OsStr>,
        fallback: PathBuf,
    ) -> Self {
        let found = match arguments.first().filter(|name| !name.is_empty()) {
            None => None,
            Some(name) if name.as_bytes().contains(&b'/') => Some(from(directory, name)),
            Some(name) => std::env::split_paths(search.unwrap_or_default())
                .map(|along| from(directory, along.as_os_str()).join(name))
                .find(|path| path.is_file()),
        };
        let (variables, ignored) = (Vec::new(), Vec::new());
        let Some(path) = found else {
            return Self { path: fallback, arguments, directory: None, variables, ignored };
        };
        let mut program = Self { path, arguments, directory: None, variables, ignored };
        program.name_it_by_its_path();
        program
    }

    /// The successor finds itself by its zeroth argument, as we did, and the
    /// directory that a relative one was meant from may not be its own.
    fn name_it_by_its_path(&mut self) {
        self.arguments.splice(..self.arguments.len().min(1), [self.path.clone().into()]);
    }
}

/// Where a path leads from `directory`, a path without links as getcwd(3) gives
/// it, even when that is removed: so it must not stand before a `..`.
fn from(directory: &Path, path: &OsStr) -> PathBuf {
    let mut directory = directory.to_owned();
    let mut rest = Path::new(path).components();
    loop {
        let before = rest.clone();
        match rest.next() {
            Some(Component::CurDir) => {}
            Some(Component::ParentDir) => drop(directory.pop()),
            Some(Component::Prefix(_) | Component::RootDir | Component::Normal(_)) | None => {
                return directory.join(before.as_path());
            }
        }
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
        assert_eq!(path("./server", ""), Path::new("/srv/server"));
        assert_eq!(path("bin/server", ""), Path::new("/srv/bin/server"));
    }

    #[test]
    fn the_path_does_not_lead_through_a_directory_that_may_be_removed() {
        assert_eq!(path("../bin/server", ""), Path::new("/bin/server"));
        assert_eq!(path("./.././../server", ""), Path::new("/server"));
        // Beyond the first name there may be a link, and `..` leads elsewhere.
        assert_eq!(path("link/../server", ""), Path::new("/srv/link/../server"));
    }

    #[test]
    fn the_zeroth_argument_says_what_is_executed() {
        let zeroth = |name: &str| {
            let (search, arguments) = (OsStr::new("/bin"), vec![name.into(), "-v".into()]);
            let fallback = PathBuf::from("/proc/fallback");
            Program::from_arguments(arguments, Path::new("/srv"), Some(search), fallback)
        };
        assert_eq!(zeroth("./server").arguments, ["/srv/server", "-v"]);
        assert_eq!(zeroth("sh").arguments, ["/bin/sh", "-v"]);
        assert_eq!(zeroth("no-such-program").arguments, ["no-such-program", "-v"]);
        assert_eq!(zeroth("sh").path("/srv/other").arguments, ["/srv/other", "-v"]);
    }

    #[test]
    fn variables_are_set_and_removed_in_the_order_given() {
        let mut program =
            Program::from_arguments(vec!["x".into()], Path::new("/"), None, PathBuf::new());
        program.variable("A", "1").without_variable("B").without_variable("A").variable("C", "2");
        let ours = [("A", "0"), ("B", "0"), ("D", "0")].map(|(n, v)| (n.into(), v.into()));
        let expected = [("D", "0"), ("C", "2")].map(|(n, v)| (n.into(), v.into()));
        assert_eq!(program.environment(ours.to_vec()), expected);
        program.arguments(["-v"]);
        assert_eq!(program.arguments, ["x", "-v"]);
    }

    #[test]
    fn a_bare_name_is_searched_for() {
        assert_eq!(path("sh", "/nonexistent:/bin"), Path::new("/bin/sh"));
        assert_eq!(path("no-such-program", "/bin"), Path::new("/proc/fallback"));
        assert_eq!(path("", "/bin"), Path::new("/proc/fallback"));
    }
}
