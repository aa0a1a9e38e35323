//! Counters of the kernel that must not move.

use std::collections::BTreeMap;

use super::check::{Check, Status};
use super::evidence::Evidence;
use super::network;
use crate::event::{Fate, Harm};

/// They stay where they are in a run in which nobody is harmed.
pub(super) const MUST_BE_ZERO: [&str; 32] = [
    "Tcp.AttemptFails",
    "Tcp.EstabResets",
    "Tcp.InErrs",
    "Tcp.OutRsts",
    "TcpExt.EmbryonicRsts",
    "TcpExt.ListenDrops",
    "TcpExt.ListenOverflows",
    "TcpExt.SyncookiesSent",
    "TcpExt.TCPAbortFailed",
    "TcpExt.TCPAbortOnClose",
    "TcpExt.TCPAbortOnData",
    "TcpExt.TCPAbortOnLinger",
    "TcpExt.TCPAbortOnMemory",
    "TcpExt.TCPAbortOnTimeout",
    "TcpExt.TCPBacklogDrop",
    "TcpExt.TCPDeferAcceptDrop",
    "TcpExt.TCPFastOpenListenOverflow",
    "TcpExt.TCPMigrateReqFailure",
    "TcpExt.TCPMigrateReqSuccess",
    "TcpExt.TCPRcvQDrop",
    "TcpExt.TCPReqQFullDoCookies",
    "TcpExt.TCPReqQFullDrop",
    "TcpExt.TCPSynRetrans",
    "TcpExt.TCPTimeWaitOverflow",
    "TcpExt.TCPTimeouts",
    "TcpExt.TCPZeroWindowDrop",
    "Udp.InErrors",
    "Udp.NoPorts",
    "Udp.RcvbufErrors",
    "Udp.SndbufErrors",
    "Snmp6.Udp6InErrors",
    "Snmp6.Udp6NoPorts",
];

/// Those that moved further than the harm that clients saw explains, and by how
/// much. Where no client saw harm, nothing is explained.
pub(super) fn unexplained(evidence: &Evidence<'_>) -> BTreeMap<String, i128> {
    if evidence.tainted().is_some() {
        return BTreeMap::new();
    }
    let seen = |harm| count(evidence.fates(Fate::Harmed(harm)));
    let resets = count(evidence.reset());
    let failed = seen(Harm::Refused) + seen(Harm::ResetConnect);
    let lost_on_the_way = network::lost(evidence);
    let late = (seen(Harm::StallSyn) + failed).max(evidence.sent_again()) + lost_on_the_way;
    // What our own socket had no room for counts as a limit of ours.
    let lost = seen(Harm::UdpLost) + count(evidence.fates(Fate::LimitHit));
    let left = |name: &str| {
        let explained = match name {
            "Tcp.OutRsts" => resets + evidence.stray_resets(),
            "Tcp.AttemptFails" | "TcpExt.EmbryonicRsts" => failed,
            // On loopback both ends are counted here.
            "Tcp.EstabResets" => 2 * resets,
            "TcpExt.TCPAbortOnClose" | "TcpExt.TCPAbortOnData" => resets,
            "TcpExt.TCPSynRetrans" | "TcpExt.TCPTimeouts" => late,
            // A server that waits for the end of a handshake answers the SYN again, and
            // meets a client which believes to be connected (`tcp_validate_incoming` in
            // net/ipv4/tcp_input.c, RFC 5961 section 4).
            "Tcp.InErrs" => lost_on_the_way,
            "Udp.NoPorts" | "Udp.InErrors" | "Udp.RcvbufErrors" => lost,
            "Snmp6.Udp6NoPorts" | "Snmp6.Udp6InErrors" => lost,
            _ => 0,
        };
        evidence.recording.kernel.delta(name) - explained
    };
    let moved = MUST_BE_ZERO.into_iter().map(|name| (name.to_owned(), left(name)));
    moved.filter(|(_, left)| *left > 0).collect()
}

pub(super) fn check(evidence: &Evidence<'_>, unexplained: &BTreeMap<String, i128>) -> Check {
    let missing =
        MUST_BE_ZERO[..4].iter().any(|name| !evidence.recording.kernel.after.contains_key(*name));
    let (status, detail) = match evidence.tainted() {
        Some(why) => (Status::NotChecked, Some(why.to_owned())),
        None if missing => {
            (Status::Inconclusive, Some("the counters could not be read".to_owned()))
        }
        None if unexplained.is_empty() => (Status::Pass, None),
        None => {
            let each = unexplained.iter().map(|(name, by)| format!("{name} {by}"));
            (Status::Fail, Some(each.collect::<Vec<_>>().join(", ")))
        }
    };
    Check {
        id: "kernel.unexplained".to_owned(),
        status,
        limit: "= 0".to_owned(),
        got: unexplained.values().sum::<i128>().to_string(),
        detail,
        gate: None,
    }
}

fn count(number: usize) -> i128 {
    i128::try_from(number).unwrap_or(i128::MAX)
}
