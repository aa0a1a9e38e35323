//! A network that loses packets: some of what arrives in the run's own namespace is
//! dropped, by chance, and counted.
//!
//! By nft(8), since every kernel that filters packets can draw lots (`numgen`), and
//! few have the queueing discipline that is made for this (tc-netem(8)). Resets are
//! spared: one that is lost would hide who sent it.

use std::io::{self, ErrorKind, Write};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::event::{Counters, LOST_HANDSHAKES, LOST_OTHERS};

/// Of how many packets `share` is a part.
const OF: u32 = 100_000;

/// What the rules are called by the kernel.
const TABLE: &str = "harness_loss";

/// What distinguishes these counters among the kernel's.
const OURS: &str = "Loss.";

/// Drops this share of what arrives in the network namespace of this process, which
/// must be its own, from now on.
///
/// # Errors
/// There is no nft, or it fails, with what it says.
pub fn begin(share: f64) -> io::Result<()> {
    nft(&["-f", "-"], &rules(share)).map(drop)
}

/// How many have been dropped since.
///
/// # Errors
/// As [`begin`].
pub fn count() -> io::Result<Counters> {
    parse(&nft(&["-j", "list", "counters", "table", "inet", TABLE], "")?)
}

fn rules(share: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of OF")]
    let part = (share.clamp(0.0, 1.0) * f64::from(OF)).round() as u32;
    let lose = format!("numgen random mod {OF} < {part} counter name");
    let [handshakes, others] =
        [LOST_HANDSHAKES, LOST_OTHERS].map(|name| name.trim_start_matches(OURS));
    format!(
        "table inet {TABLE} {{
            counter {handshakes} {{
            }}
            counter {others} {{
            }}
            chain arriving {{
                type filter hook input priority filter; policy accept;
                tcp flags & rst == rst accept
                tcp flags & syn == syn {lose} {handshakes} drop
                tcp flags & syn != syn {lose} {others} drop
                meta l4proto udp {lose} {others} drop
            }}
        }}\n"
    )
}

/// What nft(8) prints with `-j`: a list of objects, one of each counter among them.
#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    counter: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    packets: u64,
}

fn parse(listing: &str) -> io::Result<Counters> {
    let listing: Listing = serde_json::from_str(listing)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    let counters = listing.nftables.into_iter().filter_map(|item| item.counter);
    Ok(counters.map(|Named { name, packets }| (format!("{OURS}{name}"), packets)).collect())
}

fn nft(arguments: &[&str], input: &str) -> io::Result<String> {
    let mut command = Command::new("nft");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        io::Error::new(error.kind(), format!("nft (Debian's package nftables): {error}"))
    })?;
    // One that ends before it has read everything says why.
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("nft: {}: {}", output.status, said.trim())));
    }
    written.transpose()?;
    String::from_utf8(output.stdout).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_the_rules() {
        let rules = rules(0.025);
        assert_eq!(rules.matches("mod 100000 < 2500 counter").count(), 3, "{rules}");
        assert!(rules.contains("name Handshakes drop"), "{rules}");
    }

    #[test]
    fn the_counters_are_found_among_what_else_is_listed() {
        let listing = r#"{"nftables": [
            {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"counter": {"family": "inet", "name": "Handshakes", "table": "harness_loss",
                         "handle": 1, "packets": 12, "bytes": 720}},
            {"counter": {"family": "inet", "name": "Others", "table": "harness_loss",
                         "handle": 2, "packets": 345, "bytes": 20000}}]}"#;
        let counted = parse(listing).unwrap();
        assert_eq!(counted[LOST_HANDSHAKES], 12);
        assert_eq!(counted[LOST_OTHERS], 345);
        assert_eq!(counted.len(), 2);
        assert_eq!(parse("nonsense").unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
