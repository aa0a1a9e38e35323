//! The kernel's own counters of the network namespace.

use std::fs;
use std::io::{self, ErrorKind};

use crate::event::Counters;

/// The kernel's tables of counters, as they were read.
#[derive(Clone, Debug)]
pub struct Tables {
    snmp: String,
    netstat: String,
    snmp6: String,
}

impl Tables {
    /// Reads those of this process's network namespace. Nothing is parsed yet:
    /// what happens while the tables are read may be counted or not, so that
    /// should not take long.
    ///
    /// # Errors
    ///
    /// A table could not be read. A kernel without IPv6 has no `snmp6`; that is
    /// no error.
    pub fn read() -> io::Result<Self> {
        Ok(Self {
            snmp: fs::read_to_string("/proc/self/net/snmp")?,
            netstat: fs::read_to_string("/proc/self/net/netstat")?,
            snmp6: match fs::read_to_string("/proc/self/net/snmp6") {
                Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
                other => other?,
            },
        })
    }

    /// Every counter in them.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = parse_table(&self.snmp);
        counters.extend(parse_table(&self.netstat));
        counters.extend(parse_list(&self.snmp6));
        counters
    }
}

/// Parses `snmp` and `netstat`: a line of names, then a line of values, both
/// opened by the name of the protocol. A value below zero is a setting, not a
/// count, and is left out.
fn parse_table(text: &str) -> Counters {
    let mut counters = Counters::new();
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((protocol, names)), Some((_, values))) =
            (names.split_once(':'), values.split_once(':'))
        else {
            continue;
        };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            if let Ok(value) = value.parse() {
                counters.insert(format!("{protocol}.{name}"), value);
            }
        }
    }
    counters
}

/// Parses `snmp6`: a name and a value in each line.
fn parse_list(text: &str) -> Counters {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?;
            let value = words.next()?.parse().ok()?;
            Some((format!("Snmp6.{name}"), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_names_with_values() {
        let text = "Ip: Forwarding DefaultTTL\nIp: 2 64\n\
                    Tcp: RtoMin MaxConn OutRsts\nTcp: 200 -1 17\n";
        let counters = parse_table(text);
        assert_eq!(counters.get("Ip.DefaultTTL"), Some(&64));
        assert_eq!(counters.get("Tcp.OutRsts"), Some(&17));
        assert_eq!(counters.get("Tcp.MaxConn"), None);
        assert_eq!(counters.len(), 4);
    }

    #[test]
    fn survives_a_table_that_is_cut_short() {
        assert!(parse_table("Tcp: OutRsts").is_empty());
        assert!(parse_table("no table\nat all\n").is_empty());
        assert!(parse_list("Udp6InErrors\n\n").is_empty());
    }

    #[test]
    fn names_what_ipv6_counts() {
        let counters = parse_list("Ip6InReceives     \t1\nUdp6InErrors   \t9\n");
        assert_eq!(counters.get("Snmp6.Udp6InErrors"), Some(&9));
    }

    #[test]
    fn this_kernel_has_the_counters_that_verdicts_read() {
        let counters = Tables::read().unwrap().counters();
        for name in ["Tcp.OutRsts", "Tcp.PassiveOpens", "TcpExt.ListenDrops"] {
            assert!(counters.contains_key(name), "{name}");
        }
    }
}
