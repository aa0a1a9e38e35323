//! Graceful restarts: a service changes its binary or its configuration
//! without refusing, resetting or delaying one client.
//!
//! The process that serves (the *predecessor*) starts a new one (the
//! *successor*) with fork and exec. The successor inherits the listening
//! sockets, initialises in its own time and says *ready*. Only then does the
//! predecessor stop accepting, say *go*, finish the connections it has, and
//! end. Until *go* the predecessor serves undisturbed, so a successor that
//! crashes, hangs or lies costs nothing; and for a while after it
//! ([`Ecdysis::set_probation`]) the predecessor keeps the sockets, so a
//! successor that crashes on its first requests costs no new connection.
//!
//! # A service on Tokio
//!
//! SIGHUP upgrades it, SIGTERM stops it. Everything that can fail comes before
//! `ready`; the stream is read to its end, and then the connections are drained.
//!
#![cfg_attr(feature = "tokio_ecdysis", doc = "```no_run")]
#![cfg_attr(not(feature = "tokio_ecdysis"), doc = "```ignore")]
//! use std::error::Error;
//!
//! use ecdysis::tokio_ecdysis::{DrainOptions, SignalKind, StopOnShutdown, TokioEcdysisBuilder};
//! use futures::StreamExt;
//!
//! # async fn serve(_socket: tokio::net::TcpStream) {}
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn Error>> {
//!     // First of all, so that no signal finds us without a handler.
//!     let mut builder = TokioEcdysisBuilder::new(SignalKind::hangup())?;
//!     builder.stop_on_signal(SignalKind::terminate())?;
//!
//!     // Bound, or taken over. It yields nothing before it is our turn.
//!     let mut stream = builder.listen_tcp(StopOnShutdown::Yes, "0.0.0.0:8080".parse()?)?;
//!     let connections = builder.connections().clone();
//!     let accepting = tokio::spawn(async move {
//!         while let Some(Ok(socket)) = stream.next().await {
//!             let connection = connections.enter();
//!             tokio::spawn(async move {
//!                 tokio::select! {
//!                     () = serve(socket) => {}
//!                     () = connection.cut() => {}
//!                 }
//!             });
//!         }
//!     });
//!
//!     // The predecessor may go. The future resolves when we have to.
//!     let (ecdysis, leave) = builder.ready()?;
//!     leave.await?;
//!     accepting.await?;
//!     let drained = ecdysis.drain(&DrainOptions::default()).await;
//!     println!("{drained}");
//!     Ok(())
//! }
//! ```
//!
//! Unix, seqpacket and UDP sockets, and those of systemd, are made in the same
//! way; see [`tokio_ecdysis`].
//!
//! # Without a runtime
//!
//! The same, with threads that block. A loop over [`Ecdysis::incoming`] waits
//! while this process may not accept, and ends when it has to leave. Whatever
//! asks for an upgrade (a thread that waits for signals, a socket of your own)
//! calls [`Ecdysis::upgrade`], from any thread, and learns what came of it.
//!
//! ```no_run
//! use std::thread;
//! use std::time::Duration;
//!
//! use ecdysis::Ecdysis;
//!
//! # fn serve(_socket: std::net::TcpStream) {}
//! # fn wait_for_a_request() {}
//! fn main() -> std::io::Result<()> {
//!     let mut ecdysis = Ecdysis::try_new()?;
//!     let listener = ecdysis.listen_tcp(([0, 0, 0, 0], 8080).into())?;
//!     let incoming = ecdysis.incoming(listener)?;
//!     // Returns when the predecessor has stopped accepting.
//!     ecdysis.ready()?;
//!
//!     let ecdysis = &ecdysis;
//!     thread::scope(|scope| {
//!         scope.spawn(move || {
//!             wait_for_a_request();
//!             if let Err(error) = ecdysis.upgrade() {
//!                 eprintln!("{error}; serving on");
//!             }
//!         });
//!         for socket in incoming {
//!             let (socket, connection) = (socket?, ecdysis.connections().enter());
//!             thread::spawn(move || {
//!                 serve(socket);
//!                 drop(connection);
//!             });
//!         }
//!         println!("{}", ecdysis.drain(Duration::from_secs(30)));
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `tokio_ecdysis` (default) | [`tokio_ecdysis`]: streams, signals, control sockets. Without it, nothing of Tokio is compiled |
//! | `systemd_notify` | systemd is told of readiness, upgrades and stops, and its watchdog is fed |
//! | `systemd_sockets` | sockets of `.socket` units |
//! | `systemd` | both, and systemd keeps the sockets of a service that crashes |
//! | `failpoints` | for tests: named points at which a process can be made to crash, stop or fail (`FailPoint`) |
//!
//! The program `ecdysis-ctl` asks a service over its control socket
//! ([`control`]) for its status, an upgrade, or a stop, and ends with the outcome.
//!
//! # Where to read on
//!
//! - [`guide::course`]: what happens when, what is promised, what each failure costs
//! - [`guide::crossing`]: what a successor inherits, and how a socket is found again
//! - [`guide::deadlines`]: how long to wait for what; systemd, Kubernetes
//! - [`guide::seccomp`]: the system calls
//! - [`guide::containers`]: where the service is PID 1
//! - [`guide::migrating`]: from the published crate 1.1.1
//! - `echo-server` in the repository is a whole service, and small; `examples` has
//!   one with every kind of socket, and one without a runtime
//!
//! # Platform
//!
//! Linux, 5.3 or later (pidfds), x86_64 and aarch64.

// Without Tokio, what is said of it leads nowhere. Every link is checked with it.
#![cfg_attr(
    not(feature = "tokio_ecdysis"),
    allow(rustdoc::broken_intra_doc_links, reason = "what they lead to is not compiled")
)]

#[cfg(not(target_os = "linux"))]
compile_error!("ecdysis needs Linux: pidfds, and descriptors that cross exec");

#[macro_use]
mod points;
mod error;
mod hook;
mod phase;
mod accept;
mod sys;
mod drain;
mod counters;
mod unix_path;
mod socket;
mod environ;
mod manifest;
mod listed;
mod registry;
mod quiesce;
mod protocol;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod program;
mod spare;
mod ancestors;
mod pidfile;
mod state;
mod report;
mod predecessor;
mod successor;
mod requests;
mod course;
mod upgrade;
mod takeover;
pub mod control;
#[cfg(any(feature = "systemd_notify", feature = "systemd_sockets"))]
mod systemd;
mod ecdysis;
mod settings;
mod sockets;
mod incoming;
#[cfg(feature = "tokio_ecdysis")]
pub mod tokio_ecdysis;
pub mod guide;

pub use counters::Counts;
pub use drain::{Connection, Connections, Drained};
pub use ecdysis::Ecdysis;
pub use error::{UpgradeError, UpgradeErrorKind};
pub use incoming::{Accept, Incoming};
pub use phase::Phase;
#[cfg(feature = "failpoints")]
pub use points::FailPoint;
pub use program::Program;
pub use report::UpgradeReport;
pub use socket::{Listener, ListenerInfo};
pub use state::State;
#[cfg(feature = "systemd_notify")]
pub use systemd::notify::{SystemdNotifier, SystemdNotifierError};
#[cfg(feature = "systemd_sockets")]
pub use systemd::sockets::{SystemdSocketError, SystemdSocketsReadError};
#[cfg(feature = "tokio_ecdysis")]
pub use tokio_ecdysis::UnixSeqpacketListenerStream;
#[cfg(feature = "tokio_ecdysis")]
pub use tokio_seqpacket::UnixSeqpacketListener;
pub use unix_path::UnixOptions;

/// What the published crate returns from [`Ecdysis::upgrade`].
pub type UpgradeFinished = Result<(), UpgradeError>;
