//! The kernel's network counters, by name.

use std::fs;
use std::io;

use crate::event::Counters;

/// Every counter of this process's network namespace (`Tcp.OutRsts`,
/// `TcpExt.ListenDrops`, `Udp6.Udp6InErrors`, …; proc_pid_net(5)).
///
/// # Errors
/// Those of reading the tables.
pub fn read() -> io::Result<Counters> {
    let mut counters = Counters::new();
    for table in ["snmp", "netstat"] {
        parse_pairs(&fs::read_to_string(format!("/proc/self/net/{table}"))?, &mut counters);
    }
    // A kernel without IPv6 does not have it.
    if let Ok(text) = fs::read_to_string("/proc/self/net/snmp6") {
        parse_lines(&text, &mut counters);
    }
    Ok(counters)
}

/// A line of names, then a line of values, both with the group before a colon.
fn parse_pairs(text: &str, counters: &mut Counters) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((group, names)), Some((_, values))) =
            (names.split_once(':'), values.split_once(':'))
        else {
            continue;
        };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            // A few are no counters, and negative (`Tcp: MaxConn -1`).
            if let Ok(value) = value.parse() {
                counters.insert(format!("{group}.{name}"), value);
            }
        }
    }
}

/// A name and a value in each line; the group is the beginning of the name.
fn parse_lines(text: &str, counters: &mut Counters) {
    for line in text.lines() {
        if let Some((name, value)) = line.split_once(char::is_whitespace)
            && let Some(six) = name.find('6')
            && let Ok(value) = value.trim().parse()
        {
            counters.insert(format!("{}.{name}", &name[..=six]), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_paired_by_group() {
        let mut counters = Counters::new();
        parse_pairs(
            "Tcp: MaxConn ActiveOpens OutRsts\nTcp: -1 12 3\nTcpExt: ListenDrops\nTcpExt: 7\n",
            &mut counters,
        );
        let expected = [("Tcp.ActiveOpens", 12), ("Tcp.OutRsts", 3), ("TcpExt.ListenDrops", 7)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(counters, Counters::from(expected));
    }

    #[test]
    fn version_six_has_a_line_for_each() {
        let mut counters = Counters::new();
        parse_lines("Ip6InReceives   \t21\nUdp6InErrors    4\n", &mut counters);
        let expected = [("Ip6.Ip6InReceives", 21), ("Udp6.Udp6InErrors", 4)];
        assert_eq!(
            counters,
            Counters::from(expected.map(|(name, value)| (name.to_owned(), value)))
        );
    }

    #[test]
    fn this_kernel_has_the_counters_that_verdicts_rest_on() {
        let counters = read().unwrap();
        for name in ["Tcp.ActiveOpens", "Tcp.PassiveOpens", "Tcp.OutRsts", "TcpExt.ListenDrops"] {
            assert!(counters.contains_key(name), "{name}");
        }
    }
}
