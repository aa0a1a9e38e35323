//! How an operation ended: exactly one [`Fate`] each.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The one way in which an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Complete, byte-exact, in time, from a generation that was allowed to answer.
    Ok,
    /// The client was hurt, and how.
    Harmed(Harm),
    /// The harness ran into a limit of its own (ports, descriptors, buffers).
    /// The observer's fault: never blamed on the server, never a pass.
    LimitHit,
    /// The plan ended the operation before it could end by itself.
    Cancelled,
}

/// Every way in which a client can be hurt. The ids are stable: reports,
/// gates and other people's scripts name them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    /// `ECONNREFUSED` while connecting.
    Refused,
    /// Reset while connecting.
    ResetConnect,
    /// Connected, then reset before one byte was served.
    ResetQueue,
    /// Reset after the request was sent, before the reply began.
    ResetRequest,
    /// Reset in the middle of the reply.
    ResetReply,
    /// A kept-alive connection was reset while nothing was outstanding, or, by HTTP,
    /// while a request was on its way that the server had not read.
    ResetIdle,
    /// A clean end of stream before the greeting.
    EofGreeting,
    /// A clean end of stream before the reply was complete.
    EofEarly,
    /// A kept-alive connection was closed while nothing was outstanding.
    EofIdle,
    /// A write failed because the connection was already gone.
    Epipe,
    /// Connected only after a lost SYN was sent again (about 1, 2, 3 … s late).
    StallSyn,
    /// Connected at once, but the first byte came too late.
    StallAccept,
    /// Connected and never served: not one byte, and in no server's ledger.
    NeverServed,
    /// The operation's deadline passed after the server had begun to serve it.
    Timeout,
    /// The stream has a hole, or is short.
    LostBytes,
    /// Bytes came twice.
    DupBytes,
    /// Bytes came back changed.
    Corrupt,
    /// Served by a generation that was not allowed to serve it.
    WrongGeneration,
    /// The reply was dropped because the client had finished sending.
    HalfClose,
    /// A datagram was not answered.
    UdpLost,
    /// A datagram was answered by a generation without the flow's state.
    UdpMisrouted,
    /// The path of a unix socket was not there.
    UdsEnoent,
    /// The path was there, but nobody listened.
    UdsRefused,
    /// The backlog of a unix socket was full.
    UdsEagain,
    /// Connected to a unix socket, then reset before being served.
    UdsQueueLost,
    /// A whole answer by HTTP, but with a status that is not accepted.
    BadStatus,
}

impl Harm {
    /// Every kind, in the order in which reports list them.
    pub const ALL: [Self; 26] = [
        Self::Refused,
        Self::ResetConnect,
        Self::ResetQueue,
        Self::ResetRequest,
        Self::ResetReply,
        Self::ResetIdle,
        Self::EofGreeting,
        Self::EofEarly,
        Self::EofIdle,
        Self::Epipe,
        Self::StallSyn,
        Self::StallAccept,
        Self::NeverServed,
        Self::Timeout,
        Self::LostBytes,
        Self::DupBytes,
        Self::Corrupt,
        Self::WrongGeneration,
        Self::HalfClose,
        Self::UdpLost,
        Self::UdpMisrouted,
        Self::UdsEnoent,
        Self::UdsRefused,
        Self::UdsEagain,
        Self::UdsQueueLost,
        Self::BadStatus,
    ];

    /// The stable id.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ResetConnect => "reset_connect",
            Self::ResetQueue => "reset_queue",
            Self::ResetRequest => "reset_request",
            Self::ResetReply => "reset_reply",
            Self::ResetIdle => "reset_idle",
            Self::EofGreeting => "eof_greeting",
            Self::EofEarly => "eof_early",
            Self::EofIdle => "eof_idle",
            Self::Epipe => "epipe",
            Self::StallSyn => "stall_syn",
            Self::StallAccept => "stall_accept",
            Self::NeverServed => "never_served",
            Self::Timeout => "timeout",
            Self::LostBytes => "lost_bytes",
            Self::DupBytes => "dup_bytes",
            Self::Corrupt => "corrupt",
            Self::WrongGeneration => "wrong_generation",
            Self::HalfClose => "half_close",
            Self::UdpLost => "udp_lost",
            Self::UdpMisrouted => "udp_misrouted",
            Self::UdsEnoent => "uds_enoent",
            Self::UdsRefused => "uds_refused",
            Self::UdsEagain => "uds_eagain",
            Self::UdsQueueLost => "uds_queue_lost",
            Self::BadStatus => "bad_status",
        }
    }

    /// The kind with this id.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|harm| harm.id() == id)
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_serde_writes() {
        for harm in Harm::ALL {
            assert_eq!(serde_json::to_value(harm).unwrap(), harm.id());
            assert_eq!(Harm::from_id(harm.id()), Some(harm));
        }
    }
}
