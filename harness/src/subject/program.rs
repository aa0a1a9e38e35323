//! The command to run: binaries found or built, placeholders filled in.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;
use thiserror::Error;

use super::disguise::{self, Disguise, SHIM};

/// Why a binary is not to be had.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Cargo could not be run.
    #[error("cannot run {cargo:?} in the workspace {workspace:?}: {source}")]
    Cargo {
        /// The program.
        cargo: OsString,
        /// The root of the workspace.
        workspace: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Cargo failed; what it had to say has gone to standard error.
    #[error("cargo {command} failed in the workspace {workspace:?}: {status}")]
    Failed {
        /// What Cargo was told to do.
        command: String,
        /// The root of the workspace.
        workspace: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// Cargo reported success, but no executable.
    #[error("cargo built {name} in the workspace {workspace:?}, but named no executable")]
    Unnamed {
        /// The binary.
        name: String,
        /// The root of the workspace.
        workspace: PathBuf,
    },
    /// It is nowhere.
    #[error("there is no binary {name}: looked for it {}", tried.join(", "))]
    Missing {
        /// The binary.
        name: String,
        /// Where it was looked for.
        tried: Vec<String>,
    },
}

/// Where the binaries are that a command names by `{bin:NAME}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binaries {
    paths: BTreeMap<String, PathBuf>,
}

impl Binaries {
    /// Builds what `command` names and the Cargo workspace around us has;
    /// finds the rest beside this executable or on PATH. Always builds: a
    /// verdict about yesterday's binary would be worse than none.
    ///
    /// # Errors
    ///
    /// A build failed, or a binary is nowhere.
    pub fn build(command: &[String]) -> Result<Self, BuildError> {
        let mut paths = BTreeMap::new();
        let named = |text| binary_names(text).chain(shim_names(text).flat_map(|name| [name, SHIM]));
        for name in command.iter().flat_map(|text| named(text)) {
            if !paths.contains_key(name) {
                paths.insert(name.to_owned(), locate(name)?);
            }
        }
        Ok(Self { paths })
    }

    /// Lays the paths of the programs in `directory` that `command` names by
    /// `{shim:NAME}`. There is one at the most, the server's.
    ///
    /// # Errors
    ///
    /// The files cannot be made.
    pub fn disguise(&self, command: &[String], directory: &Path) -> io::Result<Option<Disguise>> {
        let Some(name) = command.iter().find_map(|text| shim_names(text).next()) else {
            return Ok(None);
        };
        let place = |name: &str| {
            let missing =
                || io::Error::new(io::ErrorKind::NotFound, format!("no {name} was built"));
            self.paths.get(name).ok_or_else(missing)
        };
        Disguise::lay(directory, name, place(name)?, place(SHIM)?).map(Some)
    }
}

/// What stands for the placeholders of a command.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// `{addr}`.
    pub address: SocketAddr,
    /// `{dir}`.
    pub directory: &'a Path,
    /// `{here}`.
    pub here: &'a Path,
    /// `{pid}`, where there is one.
    pub pid: Option<u32>,
    /// `{bin:NAME}`, and what `{shim:NAME}` leads to.
    pub binaries: &'a Binaries,
}

/// `command` with its placeholders filled in. What is put in is not looked at
/// for placeholders again.
#[must_use]
pub fn resolve(command: &[String], places: Places<'_>) -> Vec<OsString> {
    let fill = |text: &String| {
        let mut filled = OsString::new();
        for part in parts(text) {
            match part {
                Part::Text(text) => filled.push(text),
                Part::Address => filled.push(places.address.to_string()),
                Part::Directory => filled.push(places.directory),
                Part::Here => filled.push(places.here),
                Part::Pid => match places.pid {
                    Some(pid) => filled.push(pid.to_string()),
                    None => filled.push("{pid}"),
                },
                Part::Shim(name) => filled.push(disguise::link(places.directory, name)),
                Part::Binary(name) => match places.binaries.paths.get(name) {
                    Some(path) => filled.push(path),
                    None => filled.push(format!("{{bin:{name}}}")),
                },
            }
        }
        filled
    };
    command.iter().map(fill).collect()
}

/// A piece of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Address,
    Directory,
    Here,
    Pid,
    Binary(&'a str),
    Shim(&'a str),
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (part, length) = first_part(rest);
        parts.push(part);
        rest = rest.get(length..).unwrap_or_default();
    }
    parts
}

/// The first piece of `text`, and its length there.
fn first_part(text: &str) -> (Part<'_>, usize) {
    if let Some((inner, _)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        let length = inner.len() + 2;
        if let Some(name) = inner.strip_prefix("shim:") {
            return (Part::Shim(name), length);
        }
        match (inner, inner.strip_prefix("bin:")) {
            ("addr", _) => return (Part::Address, length),
            ("dir", _) => return (Part::Directory, length),
            ("here", _) => return (Part::Here, length),
            ("pid", _) => return (Part::Pid, length),
            (_, Some(name)) => return (Part::Binary(name), length),
            (_, None) => {}
        }
    }
    // A brace that opens no placeholder is text, so the search begins after it.
    let next = text.char_indices().skip(1).find(|(_, letter)| *letter == '{');
    let length = next.map_or(text.len(), |(at, _)| at);
    (Part::Text(text.get(..length).unwrap_or(text)), length)
}

fn binary_names(text: &str) -> impl Iterator<Item = &str> {
    parts(text).into_iter().filter_map(|part| match part {
        Part::Binary(name) => Some(name),
        Part::Text(_) | Part::Address | Part::Directory | Part::Here | Part::Pid => None,
        Part::Shim(_) => None,
    })
}

fn shim_names(text: &str) -> impl Iterator<Item = &str> {
    parts(text).into_iter().filter_map(|part| match part {
        Part::Shim(name) => Some(name),
        Part::Text(_) | Part::Address | Part::Directory | Part::Here | Part::Pid => None,
        Part::Binary(_) => None,
    })
}

fn locate(name: &str) -> Result<PathBuf, BuildError> {
    let mut tried = Vec::new();
    if let Some(root) = workspace() {
        let workspace = Workspace::new(root);
        if let Some(package) = workspace.package_with(name)? {
            return workspace.build(&package, name);
        }
        tried.push(format!("among the binaries of the Cargo workspace {:?}", workspace.root));
    } else {
        tried.push("in a Cargo workspace (there is none around us)".to_owned());
    }
    let beside = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let search = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = beside.into_iter().chain(env::split_paths(&search)).collect();
    find_executable(name, &directories).ok_or_else(|| {
        tried.extend(directories.iter().map(|directory| format!("in {directory:?}")));
        BuildError::Missing { name: name.to_owned(), tried }
    })
}

fn find_executable(name: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    let is_executable = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    directories.iter().map(|directory| directory.join(name)).find(is_executable)
}

/// The workspace around the current directory, or around the package that
/// Cargo is running us for.
fn workspace() -> Option<PathBuf> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    env::current_dir().ok().into_iter().chain(manifest).find_map(|start| workspace_above(&start))
}

fn workspace_above(start: &Path) -> Option<PathBuf> {
    let is_root = |directory: &&Path| {
        fs::read_to_string(directory.join("Cargo.toml"))
            .ok()
            .and_then(|text| text.parse::<toml::Table>().ok())
            .is_some_and(|manifest| manifest.contains_key("workspace"))
    };
    start.ancestors().find(is_root).map(Path::to_owned)
}

/// A Cargo workspace, and the Cargo to ask.
#[derive(Debug)]
struct Workspace {
    root: PathBuf,
    cargo: OsString,
}

impl Workspace {
    fn new(root: PathBuf) -> Self {
        // Cargo tells those whom it runs which Cargo it is.
        Self { root, cargo: env::var_os("CARGO").unwrap_or_else(|| "cargo".into()) }
    }

    /// The id of that of its packages which has a binary of this name.
    fn package_with(&self, name: &str) -> Result<Option<String>, BuildError> {
        let metadata = self.run(&["metadata", "--no-deps", "--format-version=1"])?;
        let metadata: Value = serde_json::from_str(&metadata).unwrap_or_default();
        Ok(array(&metadata, "packages")
            .iter()
            .find(|package| array(package, "targets").iter().any(|target| is_binary(target, name)))
            .and_then(|package| package.get("id")?.as_str().map(str::to_owned)))
    }

    /// Of that package alone: with all of the workspace, its dependencies would have
    /// other features, and what `cargo build --package` has built be built again.
    fn build(&self, package: &str, name: &str) -> Result<PathBuf, BuildError> {
        let format = "--message-format=json-render-diagnostics";
        let mut arguments = vec!["build", "--package", package, "--bin", name, format];
        if !cfg!(debug_assertions) {
            arguments.push("--release");
        }
        let messages = self.run(&arguments)?;
        built_executable(&messages, name).ok_or_else(|| BuildError::Unnamed {
            name: name.to_owned(),
            workspace: self.root.clone(),
        })
    }

    /// Runs Cargo at the root; what it says for people goes to standard error.
    fn run(&self, arguments: &[&str]) -> Result<String, BuildError> {
        let output = Command::new(&self.cargo)
            .args(arguments)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|source| BuildError::Cargo {
                cargo: self.cargo.clone(),
                workspace: self.root.clone(),
                source,
            })?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(BuildError::Failed {
                command: arguments.join(" "),
                workspace: self.root.clone(),
                status: output.status,
            })
        }
    }
}

/// The executable of the binary `name` in Cargo's messages, one JSON object a line.
fn built_executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message.get("reason").is_some_and(|is| is == "compiler-artifact"))
        .filter(|message| message.get("target").is_some_and(|target| is_binary(target, name)))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
}

fn is_binary(target: &Value, name: &str) -> bool {
    target.get("name").is_some_and(|is| is == name)
        && array(target, "kind").iter().any(|kind| kind == "bin")
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
