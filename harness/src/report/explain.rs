//! What each kind of harm is: what the client saw, and what usually causes it.

use crate::event::Harm;

/// A few lines on `harm`, for whoever has found it in a report.
#[must_use]
pub fn explain(harm: Harm) -> String {
    format!("{harm}\n  The client saw: {}.\n  Usual cause:    {}.\n", seen(harm), cause(harm))
}

pub(super) fn seen(harm: Harm) -> &'static str {
    match harm {
        Harm::Refused => "connect failed with ECONNREFUSED",
        Harm::ResetConnect => "connect failed with ECONNRESET",
        Harm::ResetQueue => "the connection was made, then reset before one byte was served",
        Harm::ResetRequest => "a reset after the request was sent, before the reply began",
        Harm::ResetReply => "a reset in the middle of the reply",
        Harm::ResetIdle => {
            "a reset of a kept connection with nothing outstanding, or, by HTTP, with a request on \
             its way"
        }
        Harm::EofGreeting => "the end of the stream before the greeting",
        Harm::EofEarly => "the end of the stream before the reply was complete",
        Harm::EofIdle => "the end of a kept connection with nothing outstanding",
        Harm::Epipe => "a write failed because the connection was already gone",
        Harm::StallSyn => "connect took about 1, 2, 3 ... seconds",
        Harm::StallAccept => "connect was quick, but the first byte came too late",
        Harm::NeverServed => "the connection was made and never served, by nobody's account",
        Harm::Timeout => "the deadline passed after the server had begun to serve",
        Harm::LostBytes => "the reply has a hole, or is short",
        Harm::DupBytes => "bytes of the reply came twice",
        Harm::Corrupt => "bytes of the reply were changed",
        Harm::WrongGeneration => "a good reply, but from a process that was not to serve it",
        Harm::HalfClose => "the reply was dropped once the client had finished sending",
        Harm::UdpLost => "no answer to a datagram",
        Harm::UdpMisrouted => "an answer from a process that does not know the flow",
        Harm::UdsEnoent => "the unix socket's path was not there",
        Harm::UdsRefused => "the unix socket's path was there, but nobody listened",
        Harm::UdsEagain => "the unix socket's backlog was full",
        Harm::UdsQueueLost => "a unix connection was made, then reset before it was served",
        Harm::BadStatus => "a whole answer by HTTP, with a status that is not accepted",
    }
}

pub(super) fn cause(harm: Harm) -> &'static str {
    match harm {
        Harm::Refused => "the old process closed its listener before the new one had one",
        Harm::ResetConnect => "the listener was closed while the handshake was under way",
        Harm::ResetQueue | Harm::UdsQueueLost => {
            "a listener was closed with connections in its accept queue, as SO_REUSEPORT invites"
        }
        Harm::ResetRequest | Harm::ResetReply | Harm::EofEarly | Harm::Epipe => {
            "the old process ended, or gave up draining, before its connections had ended"
        }
        Harm::ResetIdle | Harm::EofIdle => "the old process did not wait for idle connections",
        Harm::EofGreeting => "a process accepted it and ended before it served it",
        Harm::StallSyn | Harm::UdsEagain => {
            "the accept queue was full: nobody accepted for a while"
        }
        Harm::StallAccept => "nobody accepted while the server changed hands",
        Harm::NeverServed => "it waits at a listener that a process holds but does not accept from",
        Harm::Timeout => "the process hangs, or was starved during the upgrade",
        Harm::LostBytes | Harm::DupBytes | Harm::Corrupt => {
            "two processes shared a connection, or its state was handed over wrongly"
        }
        Harm::WrongGeneration => "the old process went on accepting after it had handed over",
        Harm::HalfClose => "the server takes the end of the request for that of the connection",
        Harm::UdpLost => "the socket was closed with datagrams in its buffer",
        Harm::UdpMisrouted => "the kernel spreads flows anew when a socket joins or leaves a group",
        Harm::UdsEnoent => "the path was removed before the new one was bound",
        Harm::UdsRefused => "the path outlived the process that had bound it",
        Harm::BadStatus => "what answers is not ready to, or what it needs is gone already",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_an_explanation_of_its_own() {
        let all: std::collections::BTreeSet<_> = Harm::ALL.into_iter().map(seen).collect();
        assert_eq!(all.len(), Harm::ALL.len());
        assert!(explain(Harm::Refused).starts_with("refused\n  The client saw: connect failed"));
    }
}
