//! `harness doctor`: what this machine can prove, and what it cannot.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Uid;

use super::terminal::say;
use super::trouble::Trouble;
use crate::cli::Capability;
use crate::clock::{Clock, Stamp};
use crate::exit::Exit;
use crate::observe::{machine, netns};

/// What is enough of each.
const DESCRIPTORS: u64 = 65_536;
const PORTS: u64 = 28_000;
const HICCUP_TEST: Duration = Duration::from_secs(1);
const HICCUP: Duration = Duration::from_millis(50);

/// Where the kernel's tracing is mounted.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
const RESET_EVENT: &str = "events/tcp/tcp_send_reset/format";

/// How much of a capability there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Limited,
    Missing,
}

/// What was found, what it means, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    capability: Capability,
    state: State,
    says: String,
}

pub(super) fn doctor(required: &[Capability]) -> Result<Exit, Trouble> {
    let mut findings = Vec::new();
    for capability in Capability::value_variants() {
        let finding = probe(*capability);
        say(&finding.line())?;
        findings.push(finding);
    }
    let lacking: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.state != State::Ok && required.contains(&finding.capability))
        .map(|finding| finding.name())
        .collect();
    if lacking.is_empty() {
        return Ok(Exit::Pass);
    }
    Err(Trouble::Environment(format!("required, but not ok: {}", lacking.join(", "))))
}

/// Refuses to go on if a capability is lacking. A private network is not tried,
/// because it cannot be left again: who needs it enters it.
pub(super) fn demand(required: &[Capability]) -> Result<(), Trouble> {
    let tried = required.iter().filter(|capability| **capability != Capability::Netns);
    let lacking: Vec<String> = tried
        .map(|capability| probe(*capability))
        .filter(|finding| finding.state != State::Ok)
        .map(|finding| format!("{}: {}", finding.name(), finding.says))
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Trouble::Environment(format!(
        "this run requires what is not there: {}",
        lacking.join("; ")
    )))
}

impl Finding {
    fn name(&self) -> &'static str {
        name(self.capability)
    }

    fn line(&self) -> String {
        let state = match self.state {
            State::Ok => "ok",
            State::Limited => "limited",
            State::Missing => "missing",
        };
        format!("{state:<8} {:<14} {}\n", self.name(), self.says)
    }
}

fn name(capability: Capability) -> &'static str {
    match capability {
        Capability::Netns => "netns",
        Capability::Userns => "userns",
        Capability::Tracefs => "tracefs",
        Capability::ResetReasons => "reset-reasons",
        Capability::Descriptors => "descriptors",
        Capability::Ports => "ports",
        Capability::Cpus => "cpus",
        Capability::Hiccup => "hiccup",
        Capability::SynRetries => "syn-retries",
    }
}

fn probe(capability: Capability) -> Finding {
    let (state, says) = match capability {
        Capability::Netns => private_network(),
        Capability::Userns => user_namespaces(|path| fs::read_to_string(path).ok()),
        Capability::Tracefs => tracefs(),
        Capability::ResetReasons => reset_reasons(),
        Capability::Descriptors => descriptors(),
        Capability::Ports => {
            ports(fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok())
        }
        Capability::Cpus => cpus(),
        Capability::Hiccup => hiccup(),
        Capability::SynRetries => {
            let linear = fs::read_to_string("/proc/sys/net/ipv4/tcp_syn_linear_timeouts").ok();
            syn_retries(linear.as_deref())
        }
    };
    Finding { capability, state, says }
}

fn private_network() -> (State, String) {
    match netns::enter(&[]) {
        Ok(()) => (State::Ok, "every packet that the kernel counts is the run's".to_owned()),
        Err(error) => (
            State::Missing,
            format!("the kernel's counters prove nothing, others are counted too: {error}"),
        ),
    }
}

fn user_namespaces(read: impl Fn(&str) -> Option<String>) -> (State, String) {
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    for (path, bad, good) in [
        ("/proc/sys/user/max_user_namespaces", "0", "15000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "1"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
    ] {
        if is(path, bad) {
            let says = format!("only root gets a private network; write {good} to {path}");
            return (State::Missing, says);
        }
    }
    (State::Ok, "a private network needs no root".to_owned())
}

fn tracefs() -> (State, String) {
    let mounted = TRACEFS.into_iter().find(|dir| Path::new(dir).join("events").is_dir());
    match mounted {
        Some(dir) => (State::Ok, format!("each reset can be seen, in {dir}")),
        None if Uid::effective().is_root() => (
            State::Missing,
            format!("resets are counted but not seen; mount -t tracefs tracefs {}", TRACEFS[0]),
        ),
        None => (
            State::Missing,
            format!("resets are counted but not seen; run as root, with {} mounted", TRACEFS[0]),
        ),
    }
}

fn reset_reasons() -> (State, String) {
    let format = TRACEFS
        .into_iter()
        .find_map(|dir| fs::read_to_string(Path::new(dir).join(RESET_EVENT)).ok());
    match format {
        Some(format) if format.contains("reason") => {
            (State::Ok, "the kernel says why it reset a connection, and who was running".to_owned())
        }
        Some(_) => (
            State::Limited,
            "a reset is seen without its reason; Linux 6.10 or later tells".to_owned(),
        ),
        None => (State::Missing, format!("no {RESET_EVENT}: see tracefs")),
    }
}

fn descriptors() -> (State, String) {
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    let state = if hard >= DESCRIPTORS { State::Ok } else { State::Limited };
    let more = if state == State::Ok { "" } else { "; raise it with `ulimit -Hn`" };
    (state, format!("at most {hard} connections at once{more}"))
}

/// A connection's port rests for a minute. There are eight source addresses.
fn ports(range: Option<String>) -> (State, String) {
    let range = range.unwrap_or_default();
    let mut edges = range.split_whitespace().map(|edge| edge.parse::<u64>().unwrap_or(0));
    let (low, high) = (edges.next().unwrap_or(0), edges.next().unwrap_or(0));
    let ports = (high + 1).saturating_sub(low.max(1));
    let state = if ports >= PORTS { State::Ok } else { State::Limited };
    let more = if state == State::Ok {
        ""
    } else {
        "; in a private network, write network.sysctl.\"net.ipv4.ip_local_port_range\" = \"1024 65535\""
    };
    (
        state,
        format!("{low} to {high}: about {} connections a second for ever{more}", ports * 8 / 60),
    )
}

fn cpus() -> (State, String) {
    let cpus = machine::read().map_or(1, |machine| machine.cpus);
    if cpus >= 2 {
        (State::Ok, format!("{cpus}: server and observer do not wait for each other"))
    } else {
        (State::Limited, "1: server and observer wait for each other; use lower rates".to_owned())
    }
}

fn hiccup() -> (State, String) {
    let (clock, nap) = (Clock::start(), Duration::from_millis(1));
    let mut late = Vec::new();
    while clock.now() < Stamp::default().after(HICCUP_TEST) {
        let before = clock.now();
        thread::sleep(nap);
        late.push((clock.now() - before).saturating_sub(nap));
    }
    late.sort_unstable();
    let p99 = late.get(late.len() * 99 / 100).copied().unwrap_or_default();
    let max = late.last().copied().unwrap_or_default();
    let state = if max < HICCUP { State::Ok } else { State::Limited };
    let more =
        if state == State::Ok { "" } else { "; latencies of this machine are not the server's" };
    (state, format!("woken late by {p99:.1?} (p99), {max:.1?} at most, in a second{more}"))
}

fn syn_retries(linear: Option<&str>) -> (State, String) {
    match linear.map(str::trim) {
        Some(count) => (
            State::Ok,
            format!("a lost SYN is sent again each second, {count} times, then ever later"),
        ),
        None => (
            State::Limited,
            "a lost SYN is sent again after 1, 3, 7 … s: no tcp_syn_linear_timeouts".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_of_ordinary_users_is_named() {
        assert_eq!(user_namespaces(|_| None).0, State::Ok);
        let (state, says) =
            user_namespaces(|path| path.contains("apparmor").then(|| "1\n".to_owned()));
        assert_eq!(state, State::Missing);
        assert!(says.contains("write 0 to /proc/sys/kernel/apparmor"), "{says}");
    }

    #[test]
    fn few_ports_are_few_connections() {
        assert_eq!(ports(Some("32768\t60999\n".to_owned())).0, State::Ok);
        let (state, says) = ports(Some("60000\t60999\n".to_owned()));
        assert!(state == State::Limited && says.contains("about 133 connections"), "{says}");
        assert_eq!(ports(None).0, State::Limited);
    }

    #[test]
    fn every_capability_is_probed_under_its_name() {
        for capability in Capability::value_variants() {
            let value = capability.to_possible_value().unwrap();
            assert_eq!(value.get_name(), name(*capability));
        }
        for capability in [Capability::Cpus, Capability::Hiccup, Capability::SynRetries] {
            assert!(probe(capability).line().len() > 20);
        }
        demand(&[Capability::Netns]).unwrap();
    }
}
