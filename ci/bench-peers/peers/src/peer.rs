//! Who is measured, and how each is started, upgraded, asked and stopped.

use std::path::PathBuf;

use nix::sys::signal::Signal;

/// What a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// A greeting with its pid, then whatever it is sent.
    Echo,
    /// A page of 16 KiB, with its pid in a header.
    Http,
}

/// Why a peer is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It claims to restart gracefully.
    Graceful,
    /// It restarts as one would who has never thought about it: to be convicted.
    Naive,
    /// The same, but it loses somebody in one of sixty upgrades only: to be convicted
    /// where enough of them are made.
    Subtle,
    /// It is left alone: what the machine does to clients by itself.
    Floor,
}

/// Which program it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// One of this workspace.
    Bench(&'static str),
    /// One of the harness's controls.
    Control(&'static str),
    /// A server of the machine's, and the script below the repository that starts it.
    Installed { name: &'static str, script: &'static str },
}

/// How an upgrade is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trigger {
    /// By a signal to whoever serves.
    Serving(Signal),
    /// By a signal to the process that was started.
    Main(Signal),
    /// By a script below the repository that is given the pid in this file.
    Script {
        script: &'static str,
        pid_file: &'static str,
    },
    Never,
}

/// How to ask for an upgrade so that one is told what came of it, if at all.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Teller {
    /// Says this to a socket in the server's directory, and reads to the end.
    Line {
        socket: &'static str,
        says: &'static str,
    },
    /// A frame of JSON to its control socket, and one back.
    Frame,
    /// The exit status of `nginx -s reload`.
    Status,
    Nobody,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) role: Role,
    pub(crate) speaks: Speaks,
    pub(crate) program: Program,
    /// Beside the address.
    pub(crate) arguments: &'static [&'static str],
    pub(crate) trigger: Trigger,
    pub(crate) teller: Teller,
    /// What asks it to stop and to finish what it has.
    pub(crate) stop: Signal,
}

const ECHO: Peer = Peer {
    id: "",
    title: "",
    role: Role::Graceful,
    speaks: Speaks::Echo,
    program: Program::Bench(""),
    arguments: &[],
    trigger: Trigger::Serving(Signal::SIGHUP),
    teller: Teller::Nobody,
    stop: Signal::SIGTERM,
};

const NAIVE: Peer = Peer { role: Role::Naive, program: Program::Control("control-server"), ..ECHO };

const NGINX: Peer = Peer {
    speaks: Speaks::Http,
    program: Program::Installed { name: "nginx", script: "scenarios/nginx/start.sh" },
    stop: Signal::SIGQUIT,
    ..ECHO
};

/// The name of the socket over which one of this workspace is asked.
pub(crate) const CONTROL: &str = "control.sock";

/// And that over which HAProxy's master is.
pub(crate) const MASTER: &str = "master.sock";

/// The id of what this project makes.
pub(crate) const OURS: &str = "ours";

pub(crate) const PEERS: [Peer; 11] = [
    Peer {
        id: OURS,
        title: "this library",
        program: Program::Bench("ours"),
        teller: Teller::Line { socket: CONTROL, says: "{\"command\":\"upgrade\"}\n" },
        ..ECHO
    },
    Peer {
        id: "published",
        title: "ecdysis 1.1.1",
        program: Program::Bench("published"),
        teller: Teller::Line { socket: CONTROL, says: "" },
        ..ECHO
    },
    Peer {
        id: "shellflip",
        title: "shellflip 2.1.3",
        program: Program::Bench("shellflipped"),
        teller: Teller::Frame,
        ..ECHO
    },
    Peer {
        id: "shellflip-reuseport",
        title: "shellflip 2.1.3, SO_REUSEPORT",
        program: Program::Bench("shellflipped"),
        arguments: &["reuseport"],
        ..ECHO
    },
    Peer {
        id: "nginx-reload",
        title: "nginx, reload",
        trigger: Trigger::Main(Signal::SIGHUP),
        teller: Teller::Status,
        ..NGINX
    },
    Peer {
        id: "nginx-upgrade",
        title: "nginx, binary upgrade",
        // In the background: in the foreground, it takes the signal for a mistake.
        arguments: &["on"],
        trigger: Trigger::Script {
            script: "scenarios/nginx/binary-upgrade.sh",
            pid_file: "nginx.pid",
        },
        ..NGINX
    },
    Peer {
        id: "haproxy",
        title: "HAProxy, reload",
        speaks: Speaks::Http,
        program: Program::Installed { name: "haproxy", script: "ci/bench-peers/haproxy/start.sh" },
        trigger: Trigger::Main(Signal::SIGUSR2),
        teller: Teller::Line { socket: MASTER, says: "reload\n" },
        stop: Signal::SIGUSR1,
        ..ECHO
    },
    Peer {
        id: "stop-start",
        title: "control: stop, then start",
        program: Program::Control("control-stop-start"),
        trigger: Trigger::Main(Signal::SIGHUP),
        ..NAIVE
    },
    Peer {
        id: "reuseport-kill",
        title: "control: SO_REUSEPORT, then kill",
        arguments: &["--fault", "kill-own-queue"],
        ..NAIVE
    },
    Peer {
        id: "reuseport-drain",
        title: "control: SO_REUSEPORT, drained",
        arguments: &["--fault", "drained-queue"],
        role: Role::Subtle,
        ..NAIVE
    },
    Peer {
        id: "none",
        title: "no upgrade at all",
        role: Role::Floor,
        program: Program::Bench("ours"),
        trigger: Trigger::Never,
        ..ECHO
    },
];

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Paths {
    /// This workspace's programs.
    pub(crate) bench: PathBuf,
    /// The harness, and its controls.
    pub(crate) harness: PathBuf,
    pub(crate) repository: PathBuf,
    /// Where installed servers may be.
    pub(crate) search: Vec<PathBuf>,
}

impl Paths {
    /// The program itself; for an installed one, wherever it is found.
    pub(crate) fn program(&self, program: Program) -> Option<PathBuf> {
        let path = match program {
            Program::Bench(name) => self.bench.join(name),
            Program::Control(name) => self.harness.join(name),
            Program::Installed { name, .. } => {
                let there = self.search.iter().map(|directory| directory.join(name));
                there.into_iter().find(|path| path.is_file())?
            }
        };
        path.is_file().then_some(path)
    }
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bench(name) | Self::Control(name) | Self::Installed { name, .. } => name,
        }
    }
}

impl Peer {
    /// What starts it. `address` and `directory` may be placeholders; `program` is
    /// the path by which it is to know itself.
    pub(crate) fn command(
        &self,
        paths: &Paths,
        program: &str,
        address: &str,
        directory: &str,
    ) -> Vec<String> {
        let mut command = match self.program {
            Program::Bench(_) => vec![program.to_owned(), address.to_owned()],
            Program::Control(_) => [program, "--listen", address].map(ToOwned::to_owned).to_vec(),
            Program::Installed { script, .. } => {
                let script = paths.repository.join(script).display().to_string();
                vec![script, address.to_owned(), directory.to_owned()]
            }
        };
        command.extend(self.arguments.iter().map(|argument| (*argument).to_owned()));
        command
    }
}
