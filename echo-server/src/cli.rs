//! The flags, and the configuration they make.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// An echo server that changes its binary without dropping a connection.
///
/// SIGHUP starts an upgrade: this process starts the program anew (from the
/// file that is at its path then), hands it the listening sockets, and serves on
/// until the new process is ready. Then it finishes the connections it has, and
/// ends. If the new process fails in any way, this one just serves on.
///
/// SIGTERM and SIGINT stop the server: it accepts no more, finishes the
/// connections it has, and ends. A second one ends them at once.
///
/// Try it: start it with --greeting, connect with `nc 127.0.0.1 7000`, send it
/// a SIGHUP, and connect again from another terminal: the new connection is
/// greeted by the next generation, while the first one still echoes.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(crate) struct Config {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7000")]
    pub(crate) listen: SocketAddr,

    /// Take the listener at that address from systemd: the one that a `.socket`
    /// unit calls so (`FileDescriptorName=`)
    #[arg(long, value_name = "NAME")]
    pub(crate) from_systemd: Option<String>,

    /// Listen on a unix socket, too
    #[arg(long, value_name = "PATH")]
    pub(crate) unix: Option<PathBuf>,

    /// Listen on a unix seqpacket socket, too: each packet comes back as one
    #[arg(long, value_name = "PATH")]
    pub(crate) seqpacket: Option<PathBuf>,

    /// Answer UDP datagrams, too, each with the greeting, if there is one, and itself
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) udp: Option<SocketAddr>,

    /// Greet each connection with `generation N pid P` and a newline
    #[arg(long)]
    pub(crate) greeting: bool,

    /// Answer `ecdysis-ctl PATH status|upgrade|stop|drain` on this socket
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,

    /// Have the process id of the generation that serves in this file
    #[arg(long, value_name = "PATH")]
    pub(crate) pid_file: Option<PathBuf>,

    /// Keep an account of this generation: the socket DIR/PID.sock answers a
    /// connection with it, as a line of JSON; at the end it is left in DIR/PID.json
    #[arg(long, value_name = "DIR")]
    pub(crate) ledger: Option<PathBuf>,

    /// How long connections may take to finish when this process has to leave;
    /// what is left then is cut
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) drain_deadline: Duration,

    /// How long the next generation may take until it is ready
    #[arg(long, value_name = "SPAN", default_value = "1m", value_parser = humantime::parse_duration)]
    pub(crate) ready_deadline: Duration,

    /// How long to keep the sockets, accepting nothing, when the next
    /// generation has begun to serve: if it ends within that time, this one
    /// serves again
    #[arg(long, value_name = "SPAN", default_value = "500ms", value_parser = humantime::parse_duration)]
    pub(crate) probation: Duration,
}
