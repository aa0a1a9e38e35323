//! What this machine lets the harness see, and what is not proved without it.

use std::process;

use super::counters::Tables;
use super::{netns, procfs, sockdiag, tracefs};

/// Counters without which the kernel's laws say nothing.
const NEEDED: [&str; 5] = [
    "Tcp.ActiveOpens",
    "Tcp.PassiveOpens",
    "Tcp.OutRsts",
    "TcpExt.ListenDrops",
    "TcpExt.TCPSynRetrans",
];

/// Something that a proof may rest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// A stable id.
    pub id: &'static str,
    /// What it proves.
    pub proves: &'static str,
    /// Why it is not there, and what would help; `None`: it is there.
    pub missing: Option<String>,
}

/// What there is here, the most important first.
///
/// It finds out about a private network by entering one, which a process can
/// only do while it has one thread, and cannot undo: ask last, in a process
/// that wants no other network any more.
#[must_use]
pub fn capabilities() -> Vec<Capability> {
    // Before the network is entered: in a user namespace nobody may trace.
    let traced = tracefs::probe();
    let can = |id, proves, missing: Option<String>| Capability { id, proves, missing };
    let failed = |error: &dyn std::error::Error| error.to_string();
    vec![
        can(
            "private-network",
            "the kernel's counters are this run's alone (laws L3, L4, L6, L8, L9)",
            netns::enter(&[]).err().map(|error| failed(&error)),
        ),
        can("kernel-counters", "resets, drops and retransmissions that no client saw", counters()),
        can(
            "accept-queue",
            "how many connections wait while nobody accepts",
            sockdiag::queues(0).err().map(|error| failed(&error)),
        ),
        can(
            "listener-inodes",
            "both generations have the same accept queue (law L10)",
            procfs::listeners(process::id()).err().map(|error| failed(&error)),
        ),
        can(
            "traced-resets",
            "each RST by its 4-tuple, joined to the connection it hurt",
            traced.as_ref().err().map(|error| failed(error)),
        ),
        can(
            "reset-reasons",
            "why each RST was sent",
            match &traced {
                Ok(fields) if fields.reason => None,
                Ok(_) => Some(
                    "the kernel's event tcp/tcp_send_reset has no reason; Linux 6.10 or later has"
                        .to_owned(),
                ),
                Err(_) => Some("resets cannot be traced".to_owned()),
            },
        ),
        can(
            "reset-pids",
            "which generation sent each RST",
            match &traced {
                Ok(_) if tracefs::pids_are_ours() => None,
                Ok(_) => Some(
                    "this process is in a pid namespace, and the kernel traces pids outside of it"
                        .to_owned(),
                ),
                Err(_) => Some("resets cannot be traced".to_owned()),
            },
        ),
    ]
}

fn counters() -> Option<String> {
    let counters = match Tables::read() {
        Ok(tables) => tables.counters(),
        Err(error) => return Some(format!("cannot read /proc/net: {error}")),
    };
    let missing: Vec<&str> =
        NEEDED.into_iter().filter(|name| !counters.contains_key(*name)).collect();
    (!missing.is_empty()).then(|| format!("this kernel does not count {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The process of a test has threads, so it cannot enter a network.
    #[test]
    fn everything_is_there_or_says_why_not() {
        let found = capabilities();
        let of = |id| found.iter().find(|one| one.id == id).unwrap();
        assert!(of("private-network").missing.as_ref().unwrap().contains("thread"));
        assert_eq!(of("kernel-counters").missing, None);
        assert_eq!(of("listener-inodes").missing, None);
        let (traced, reasons) = (of("traced-resets"), of("reset-reasons"));
        assert!(traced.missing.is_none() || reasons.missing.is_some());
        assert!(found.iter().all(|one| one.missing.as_ref().is_none_or(|why| why.len() > 9)));
    }
}
