//! How the real program takes our place, and how a child gets what we were given.

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::execve;

use crate::orders::beside;

/// What a child of ours, or what we become by another exec, is to do: it finds it in
/// its environment, for here nobody clears that.
pub(crate) const ROLE: &str = "HARNESS_SHIM_ROLE";

/// The real program, in this process, with our arguments and environment. SIGPIPE and
/// the blocked signals are as every process has them by default.
pub(crate) fn become_real(program: &Path) -> io::Error {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(zeroth) = arguments.next() {
        command.arg0(zeroth);
    }
    command.args(arguments).env_remove(ROLE).exec()
}

/// The same, with the signals blocked that are blocked now.
pub(crate) fn become_real_as_we_are(program: &Path) -> io::Result<io::Error> {
    let text = |text: &[u8]| CString::new(text).map_err(io::Error::from);
    let program = text(program.as_os_str().as_bytes())?;
    let arguments: Vec<CString> =
        std::env::args_os().map(|one| text(one.as_bytes())).collect::<Result<_, _>>()?;
    let variables: Vec<CString> = std::env::vars_os()
        .filter(|(name, _)| name != ROLE)
        .map(|(name, value)| {
            let mut pair = name.into_vec();
            pair.push(b'=');
            pair.extend(value.as_bytes());
            text(&pair)
        })
        .collect::<Result<_, _>>()?;
    match execve(&program, &arguments, &variables) {
        Ok(never) => match never {},
        Err(error) => Ok(error.into()),
    }
}

/// This program again, through a shell that runs `script` first, in the role `role`.
pub(crate) fn become_shell(script: &str, role: &str) -> io::Result<io::Error> {
    let ourselves = ourselves()?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new("/bin/sh");
    // The shell cannot name a program other than it is: the zeroth goes beside.
    command.arg("-c").arg(format!("{script}exec \"$0\" \"$@\"")).arg(ourselves);
    command.env(ZEROTH, arguments.next().unwrap_or_default());
    for name in SHELLS_OWN {
        if let Some(value) = std::env::var_os(name) {
            command.env(kept(name), value);
        }
    }
    Ok(command.args(arguments).env(ROLE, role).exec())
}

/// The zeroth argument of the real program, where the shell has been between.
const ZEROTH: &str = "HARNESS_SHIM_ZEROTH";

/// What shells add to an environment, or set anew: a server that is judged by what its
/// generations have in theirs must not be judged for that.
const SHELLS_OWN: [&str; 4] = ["PWD", "OLDPWD", "SHLVL", "_"];

/// Where it is kept from the shell.
fn kept(name: &str) -> String {
    format!("HARNESS_SHIM_KEPT_{name}")
}

/// The real program, after the shell.
pub(crate) fn become_real_after_shell(program: &Path) -> io::Error {
    let zeroth = std::env::var_os(ZEROTH).unwrap_or_default();
    let mut command = Command::new(program);
    command.arg0(zeroth).args(std::env::args_os().skip(1));
    for name in SHELLS_OWN {
        match std::env::var_os(kept(name)) {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
        command.env_remove(kept(name));
    }
    command.env_remove(ROLE).env_remove(ZEROTH).exec()
}

/// A child with what we were given, in the role `role`. We do not wait for it.
pub(crate) fn start_child(role: &str) -> io::Result<u32> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(ourselves()?);
    command.arg0(arguments.next().unwrap_or_default());
    Ok(command.args(arguments).env(ROLE, role).spawn()?.id())
}

fn ourselves() -> io::Result<OsString> {
    beside("harness-shim").map(Into::into)
}
