//! A unit, and what systemd says of it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use crate::report::{Failure, failure, now};

/// Where unit files go that nobody keeps.
const UNITS: &str = "/run/systemd/system";
/// Where the programs are: for each unit a link of its own, which can be replaced.
const PROGRAMS: &str = "/usr/local/lib/systemd-claims";
/// Nothing here takes as long; it only keeps a broken claim from hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Puts the echo server where every user may run it.
pub(crate) fn install(program: &Path) -> Result<PathBuf, Failure> {
    let installed = Path::new(PROGRAMS).join("echo-server");
    if !installed.exists() {
        fs::create_dir_all(PROGRAMS)?;
        fs::copy(program, &installed)?;
        fs::set_permissions(&installed, fs::Permissions::from_mode(0o755))?;
    }
    Ok(installed)
}

/// A service. Dropped, it is stopped, and its files are removed.
#[derive(Debug)]
pub(crate) struct Unit {
    name: String,
    port: u16,
    files: Vec<String>,
}

/// How a service is to be: what is not said is systemd's default, or the server's.
#[derive(Debug)]
pub(crate) struct Plan {
    name: &'static str,
    port: u16,
    before: String,
    arguments: String,
    settings: String,
    files: Vec<(String, String)>,
}

impl Plan {
    /// An echo server of `Type=notify-reload` at this port.
    pub(crate) fn new(name: &'static str, port: u16) -> Self {
        let (before, arguments, settings) = Default::default();
        Self { name, port, before, arguments, settings, files: Vec::new() }
    }

    /// Arguments of the server.
    pub(crate) fn arguments(mut self, arguments: &str) -> Self {
        self.arguments = format!("{} {arguments}", self.arguments);
        self
    }

    /// What is started in its place, and goes on to it.
    pub(crate) fn by(mut self, command: &str) -> Self {
        command.clone_into(&mut self.before);
        self
    }

    /// A line of its section.
    pub(crate) fn set(mut self, line: &str) -> Self {
        self.settings = format!("{}{line}\n", self.settings);
        self
    }

    /// Another unit file.
    pub(crate) fn with(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Writes the files, and has systemd read them.
    pub(crate) fn load(self) -> Result<Unit, Failure> {
        let Self { name, port, before, arguments, settings, mut files } = self;
        let name = format!("claim-{name}.service");
        let (program, listen) = (program(&name), SocketAddr::from(([127, 0, 0, 1], port)));
        link(&program)?;
        let command = format!("{before} {} --listen {listen} --greeting", program.display());
        let text = format!(
            "[Service]\nType=notify-reload\nExecStart={} {arguments}\n{settings}",
            command.trim_start()
        );
        files.push((name.clone(), text));
        Unit::of_files(&name, port, &files)
    }

    /// The same, and starts it.
    pub(crate) fn start(self) -> Result<Unit, Failure> {
        let unit = self.load()?;
        unit.systemctl("start")?;
        Ok(unit)
    }
}

fn program(name: &str) -> PathBuf {
    Path::new(PROGRAMS).join(name)
}

/// Puts the server in its place, whatever is there.
fn link(program: &Path) -> io::Result<()> {
    let new = program.with_extension("new");
    fs::hard_link(Path::new(PROGRAMS).join("echo-server"), &new)?;
    fs::rename(&new, program)?;
    // Of two links to one file neither takes the place of the other (rename(2)).
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Unit {
    /// One with these files, which listens at this port.
    pub(crate) fn of_files(
        name: &str,
        port: u16,
        files: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> Result<Self, Failure> {
        fs::create_dir_all(UNITS)?;
        for (name, text) in files {
            fs::write(Path::new(UNITS).join(name.as_ref()), text.as_ref())?;
        }
        let files = files.iter().map(|(name, _)| name.as_ref().to_owned()).collect();
        let unit = Self { name: name.to_owned(), port, files };
        systemctl(&["daemon-reload"])?;
        Ok(unit)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// `systemctl VERB` of it.
    pub(crate) fn systemctl(&self, verb: &str) -> Result<(), Failure> {
        systemctl(&[verb, &self.name]).map(drop)
    }

    /// Begins a stop, which goes on when this returns.
    pub(crate) fn begin_to_stop(&self) -> Result<(), Failure> {
        systemctl(&["--no-block", "stop", &self.name]).map(drop)
    }

    /// Begins a reload, which goes on when this returns.
    pub(crate) fn begin_to_reload(&self) -> Result<(), Failure> {
        systemctl(&["--no-block", "reload", &self.name]).map(drop)
    }

    /// Signals every process of it.
    pub(crate) fn signal_all(&self, signal: &str) -> Result<(), Failure> {
        systemctl(&["kill", "--kill-whom=all", "--signal", signal, &self.name]).map(drop)
    }

    /// Has the main process do nothing any more, and waits until that is so.
    pub(crate) fn freeze(&self) -> Result<(), Failure> {
        let pid = self.main_pid()?;
        signal(pid, "STOP")?;
        until("every thread of it stands still", || {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let stat = fs::read_to_string(task?.path().join("stat"))?;
                let state = stat.rsplit_once(") ").map(|(_, fields)| fields.starts_with('T'));
                if state != Some(true) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }

    /// What systemd says of a property (systemctl(1), `show`).
    pub(crate) fn show(&self, property: &str) -> Result<String, Failure> {
        let shown = systemctl(&["show", "--value", "--property", property, &self.name])?;
        Ok(shown.trim().to_owned())
    }

    /// The main process, as systemd sees it.
    pub(crate) fn main_pid(&self) -> Result<u32, Failure> {
        Ok(self.show("MainPID")?.parse()?)
    }

    /// What `systemctl status` prints; its exit code says what the unit is, not
    /// whether it could be asked.
    pub(crate) fn status(&self) -> Result<String, Failure> {
        let output =
            Command::new("systemctl").args(["status", "--lines=0", &self.name]).output()?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits until a property is this.
    pub(crate) fn until(&self, property: &str, value: &str) -> Result<(), Failure> {
        until(&format!("{property} of {} is {value}", self.name), || {
            Ok((self.show(property)? == value).then_some(()))
        })
    }

    /// Waits until this is the main process.
    pub(crate) fn until_main(&self, pid: u32) -> Result<(), Failure> {
        self.until("MainPID", &pid.to_string())
    }

    /// The journal's lines on this unit, systemd's own and its processes'.
    pub(crate) fn journal(&self) -> Result<Vec<String>, Failure> {
        run("journalctl", &["--sync"])?;
        let text = run("journalctl", &["--output", "cat", "--unit", &self.name])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// How many of these texts are in the journal.
    pub(crate) fn count_in_journal(&self, texts: &[&str]) -> Result<usize, Failure> {
        let has = |line: &&String| texts.iter().any(|text| line.contains(text));
        Ok(self.journal()?.iter().filter(has).count())
    }

    /// Puts a shell script in the place of the program; `$real` is the program.
    pub(crate) fn replace_with(&self, script: &str) -> Result<(), Failure> {
        let (program, real) = (program(&self.name), Path::new(PROGRAMS).join("echo-server"));
        let new = program.with_extension("new");
        fs::write(&new, format!("#!/bin/sh\nreal={}\n{script}\n", real.display()))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        Ok(fs::rename(new, program)?)
    }

    /// Takes the program away.
    pub(crate) fn remove_program(&self) -> Result<(), Failure> {
        Ok(fs::remove_file(program(&self.name))?)
    }

    /// Puts the program back in its place.
    pub(crate) fn restore(&self) -> Result<(), Failure> {
        Ok(link(&program(&self.name))?)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // What cannot be stopped ends with the box.
        for name in self.files.iter().rev() {
            let _ = systemctl(&["kill", "--kill-whom=all", "--signal", "KILL", name]);
            let _ = systemctl(&["stop", name]);
            let _ = fs::remove_file(Path::new(UNITS).join(name));
            let _ = systemctl(&["reset-failed", name]);
        }
    }
}

/// `systemctl ARGUMENTS`.
pub(crate) fn systemctl(arguments: &[&str]) -> Result<String, Failure> {
    run("systemctl", arguments)
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: u32, signal: &str) -> Result<(), Failure> {
    run("kill", &["-s", signal, &pid.to_string()]).map(drop)
}

fn run(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new(program);
    let Output { status, stdout, stderr } =
        command.args(arguments).stdin(Stdio::null()).output()?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        return Err(failure!("{program} {}: {status}: {}", arguments.join(" "), said.trim()));
    }
    Ok(String::from_utf8(stdout)?)
}

/// Looks until there is what is looked for; where systemd tells of it, that is by
/// no event that this program could wait for.
pub(crate) fn until<T>(
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let began = now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if began.elapsed() > PATIENCE {
            return Err(failure!("in vain for {PATIENCE:?}: {what}"));
        }
        thread::sleep(Duration::from_millis(2));
    }
}
