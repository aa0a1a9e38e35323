//! Graceful restarts: a service changes its binary or its configuration
//! without refusing, resetting or delaying one client.
//!
//! The process that serves (the *predecessor*) starts a new one (the
//! *successor*) with fork and exec. The successor inherits the listening
//! sockets, initialises in its own time and says *ready*. Only then does the
//! predecessor stop accepting, say *go*, finish the connections it has, and
//! end. Until *go* the predecessor serves undisturbed, so a successor that
//! crashes, hangs or lies costs nothing; and for a while after it
//! ([`TokioEcdysisBuilder::set_probation`]) the predecessor keeps the sockets,
//! so a successor that crashes on its first requests costs no new connection.
//!
//! ```no_run
//! # use std::net::SocketAddr;
//! # use futures::StreamExt;
//! # use tokio::task::JoinSet;
//! # async fn handle_connection(_socket: tokio::net::TcpStream) {}
//! # #[tokio::main]
//! # async fn main() {
//! use ecdysis::tokio_ecdysis::{SignalKind, StopOnShutdown, TokioEcdysisBuilder};
//! let mut ecdysis_builder = TokioEcdysisBuilder::new(SignalKind::hangup()).unwrap();
//! ecdysis_builder.stop_on_signal(SignalKind::user_defined1()).unwrap();
//! let addr: SocketAddr = "0.0.0.0:8080".parse().unwrap();
//! let stream = ecdysis_builder
//!     .build_listen_tcp(StopOnShutdown::Yes, addr, |builder, addr| {
//!         builder.set_reuse_address(true)?;
//!         builder.bind(&addr.into())?;
//!         builder.listen(128)?;
//!         Ok(builder.into())
//!     })
//!     .unwrap();
//! let server_handle = tokio::spawn(async move {
//!     let mut stream = stream;
//!     let mut set = JoinSet::new();
//!     while let Some(Ok(socket)) = stream.next().await {
//!         set.spawn(handle_connection(socket));
//!     }
//!     set.join_all().await;
//! });
//! let (_ecdysis, shutdown_fut) = ecdysis_builder.ready().unwrap();
//! let shutdown_reason = shutdown_fut.await;
//! log::info!("Shutting down: {:?}", shutdown_reason);
//! server_handle.await.unwrap();
//! # }
//! ```
//!
//! # What crosses exec
//!
//! The successor has stdin, stdout and stderr, the registered sockets, two
//! pipes, and no other descriptor, whoever forgot close-on-exec. It has our
//! environment and arguments and our working directory. The signals that
//! trigger something are ignored in it until it has installed its own
//! handlers, so one that comes too early does not kill it; no signal is blocked.
//!
//! # Platform
//!
//! Linux, 5.3 or later (pidfds), x86_64 and aarch64. A seccomp filter must
//! allow, besides what any Tokio program needs: `clone` with `CLONE_VM`,
//! `CLONE_VFORK` and `CLONE_PIDFD`, `execve`, `close_range` (its absence is
//! survived), `pidfd_open`, `pidfd_send_signal`, `wait4`, `pipe2`, `poll`
//! (`ppoll` on aarch64), `eventfd2`, `rt_sigaction`, `rt_sigprocmask`.
//!
//! [`TokioEcdysisBuilder::set_probation`]: tokio_ecdysis::TokioEcdysisBuilder::set_probation

#[cfg(not(target_os = "linux"))]
compile_error!("ecdysis needs Linux: pidfds, and descriptors that cross exec");

mod error;
mod phase;
mod accept;
mod sys;
mod drain;
mod counters;
mod unix_path;
mod socket;
mod environ;
mod manifest;
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
mod upgrade;
mod takeover;
pub mod control;
#[cfg(any(feature = "systemd_notify", feature = "systemd_sockets"))]
mod systemd;
mod ecdysis;
mod sockets;
mod incoming;
#[cfg(feature = "tokio_ecdysis")]
pub mod tokio_ecdysis;

pub use counters::Counts;
pub use drain::{Connection, Connections, Drained};
pub use ecdysis::Ecdysis;
pub use error::{UpgradeError, UpgradeErrorKind};
pub use incoming::{Accept, Incoming};
pub use phase::Phase;
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
