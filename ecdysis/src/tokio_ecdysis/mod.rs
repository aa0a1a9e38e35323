//! Graceful restarts for services that run on Tokio.
//!
//! [`TokioEcdysisBuilder`] is where a process begins: it finds out whether it
//! has a predecessor, binds or inherits its sockets, and is consumed by
//! [`TokioEcdysisBuilder::ready`], from where on the process serves.

mod stream;
mod stoppable;
mod seqpacket;
mod drain;
mod control;
mod trigger;
mod process;
#[cfg(feature = "systemd_notify")]
mod systemd;
#[cfg(feature = "systemd_sockets")]
mod systemd_sockets;
mod upgrader;
mod builder;

pub use builder::TokioEcdysisBuilder;
pub use drain::{DrainOptions, drain};
pub use process::{TokioEcdysis, UdpSink, UdpStream};
pub use seqpacket::UnixSeqpacketListenerStream;
pub use stoppable::Stoppable;
pub use stream::{StopOnShutdown, StoppableStream};
pub use tokio::signal::unix::SignalKind;
pub use trigger::{ExitMode, ExitReason};
pub use upgrader::TokioEcdysisUpgradeResult;

/// What stops streams and sockets; the published crate has these names here as
/// well.
pub mod supervisor {
    pub use super::stoppable::Stoppable;
    pub use super::stream::{StopOnShutdown, StoppableStream};
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared_between_threads<T: Send + Sync>() {}

    #[test]
    fn what_can_be_shared_with_the_published_crate_can_be_here() {
        shared_between_threads::<TokioEcdysis>();
        shared_between_threads::<TokioEcdysisBuilder>();
        shared_between_threads::<ExitMode>();
        shared_between_threads::<Stoppable<tokio::net::UdpSocket>>();
        shared_between_threads::<StoppableStream<tokio_stream::wrappers::TcpListenerStream>>();
        shared_between_threads::<StoppableStream<UdpStream>>();
        shared_between_threads::<crate::ecdysis::Ecdysis>();
    }

    #[tokio::test]
    async fn the_future_of_ready_can_be_spawned() {
        let builder = TokioEcdysisBuilder::new(SignalKind::user_defined2()).unwrap();
        let (process, leave) = builder.ready().unwrap();
        let left = tokio::spawn(leave);
        process.stop();
        assert!(matches!(left.await.unwrap(), Ok((ExitMode::FullStop, ExitReason::Signal(_)))));
    }
}
