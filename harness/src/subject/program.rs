//! From what a scenario calls a server to a command line.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why there is no such binary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Cargo could not be run.
    #[error("cannot run {cargo}: {source}")]
    Cargo {
        /// What was run.
        cargo: String,
        /// Why it did not run.
        source: io::Error,
    },
    /// Cargo could not build it.
    #[error("cargo build --bin {name} failed; its errors are above")]
    Failed {
        /// The binary.
        name: String,
    },
    /// There is no workspace, and no such program either.
    #[error(
        "{name} is no binary of a Cargo workspace here, not beside the harness, and not on PATH"
    )]
    NotFound {
        /// The binary.
        name: String,
    },
}

/// Where the binaries that a command names as `{bin:NAME}` are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binaries(BTreeMap<String, PathBuf>);

impl Binaries {
    /// Finds every `{bin:NAME}` of `command`. In a Cargo workspace it is built
    /// first, always: a server of yesterday must not be judged for today's.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(command: &[String]) -> Result<Self, BuildError> {
        let mut found = BTreeMap::new();
        for name in command.iter().flat_map(|argument| names(argument)) {
            let path = match workspace() {
                Some(root) => build(&root, name)?,
                None => find(name).ok_or_else(|| BuildError::NotFound { name: name.to_owned() })?,
            };
            found.insert(name.to_owned(), path);
        }
        Ok(Self(found))
    }
}

/// The command line, with every placeholder replaced. One that is not known
/// stays as it is; scenarios are validated before.
#[must_use]
pub fn resolve(
    command: &[String],
    address: SocketAddr,
    directory: &Path,
    binaries: &Binaries,
) -> Vec<OsString> {
    let replace = |argument: &String| {
        let mut text = argument
            .replace("{addr}", &address.to_string())
            .replace("{dir}", &directory.to_string_lossy());
        for (name, path) in &binaries.0 {
            text = text.replace(&format!("{{bin:{name}}}"), &path.to_string_lossy());
        }
        OsString::from(text)
    };
    command.iter().map(replace).collect()
}

/// The names in an argument's `{bin:NAME}`.
fn names(argument: &str) -> impl Iterator<Item = &str> {
    argument.split("{bin:").skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

/// The root of the Cargo workspace that this was started in.
fn workspace() -> Option<PathBuf> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let starts = [manifest, env::current_dir().ok()];
    starts.iter().flatten().flat_map(|start| start.ancestors()).find_map(|directory| {
        let text = std::fs::read_to_string(directory.join("Cargo.toml")).ok()?;
        text.lines().any(|line| line.trim() == "[workspace]").then(|| directory.to_owned())
    })
}

fn build(root: &Path, name: &str) -> Result<PathBuf, BuildError> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(&cargo)
        .current_dir(root)
        .args(["build", "--quiet", "--bin", name, "--message-format=json-render-diagnostics"])
        // As this program was built: a judge and a judged of one kind.
        .args((!cfg!(debug_assertions)).then_some("--release"))
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| BuildError::Cargo { cargo: cargo.to_string_lossy().into(), source })?;
    let failed = || BuildError::Failed { name: name.to_owned() };
    if !output.status.success() {
        return Err(failed());
    }
    executable(&String::from_utf8_lossy(&output.stdout), name).ok_or_else(failed)
}

/// Where Cargo says it put the binary.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let target = message.get("target")?.get("name")?;
        let path = message.get("executable")?.as_str()?;
        (target == name).then(|| PathBuf::from(path))
    })
}

fn find(name: &str) -> Option<PathBuf> {
    let beside = env::current_exe().ok()?.parent().map(Path::to_owned);
    let path = env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_wherever_they_stand() {
        let binaries = Binaries(BTreeMap::from([("server".to_owned(), "/b/server".into())]));
        let command = ["{bin:server}", "--at={addr}", "{dir}/x"].map(str::to_owned);
        let address = "127.0.0.1:80".parse().unwrap();
        let resolved = resolve(&command, address, Path::new("/d"), &binaries);
        assert_eq!(resolved, ["/b/server", "--at=127.0.0.1:80", "/d/x"]);
    }

    #[test]
    fn cargo_says_where_it_put_the_binary() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"lib"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"server"},"executable":"/t/server"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "server"), Some("/t/server".into()));
        assert_eq!(executable(messages, "other"), None);
    }
}
