//! What `/proc` says of a process (proc(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::event::Resources;

/// The state LISTEN in the tables of TCP sockets.
const LISTEN: &str = "0A";

/// The children of a process, whichever of its threads started them; none if it
/// is gone.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let listed = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).ok();
    let lists: Vec<String> = threads.flatten().filter_map(listed).collect();
    lists.iter().flat_map(|list| numbers(list)).collect()
}

/// The process group; `None` if the process is gone.
#[must_use]
pub fn group(pid: u32) -> Option<u32> {
    parse_group(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The inodes of the TCP sockets on which a process listens.
///
/// # Errors
/// Those of reading `/proc/PID`: it is gone, or another user's.
pub fn listeners(pid: u32) -> io::Result<BTreeSet<u64>> {
    let open = open_files(pid)?;
    let listening = listening(pid)?;
    let inodes = open.values().filter_map(|what| inode(what));
    Ok(inodes.filter(|inode| listening.contains(inode)).collect())
}

/// What a process holds, connections not counted.
///
/// # Errors
/// Those of reading `/proc/PID`: it is gone, or another user's.
pub fn resources(pid: u32) -> io::Result<Resources> {
    // In this order: a connection that is accepted in between is in no table
    // that was read, and is left out as it should be.
    let listening = listening(pid)?;
    let unix: BTreeSet<u64> = fs::read_to_string(format!("/proc/{pid}/net/unix"))?
        .lines()
        .filter_map(parse_unix)
        .collect();
    let mut fds = BTreeMap::new();
    for (number, what) in open_files(pid)? {
        let kind = match inode(&what) {
            None => what.split(":[").next().unwrap_or_default().to_owned(),
            Some(inode) if listening.contains(&inode) => "socket:listener".to_owned(),
            Some(inode) if unix.contains(&inode) => "socket:unix".to_owned(),
            Some(_) => continue,
        };
        fds.insert(number, kind);
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Resources {
        fds,
        environ_bytes: fs::read(format!("/proc/{pid}/environ"))?.len() as u64,
        rss_kib: parse_status(&status, "VmRSS"),
        threads: parse_status(&status, "Threads"),
    })
}

/// Whether anybody in this network listens on `address`.
///
/// # Errors
/// Those of reading the table.
pub fn is_listening(address: SocketAddr) -> io::Result<bool> {
    let table = if address.is_ipv4() { "tcp" } else { "tcp6" };
    let lines = listening_rows(Path::new(&format!("/proc/self/net/{table}")))?;
    let wanted = format_address(address);
    Ok(lines.iter().filter_map(|line| row(line)).any(|row| row.local == wanted))
}

/// Each descriptor, with what `/proc` says it leads to.
fn open_files(pid: u32) -> io::Result<BTreeMap<u32, String>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    // One that is closed between the two looks is not open.
    let read = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, link(&entry.path())?))
    };
    Ok(entries.filter_map(read).collect())
}

fn link(path: &Path) -> Option<String> {
    fs::read_link(path).ok().map(|target| target.to_string_lossy().into_owned())
}

/// The inodes of the listening sockets in a process's network.
fn listening(pid: u32) -> io::Result<BTreeSet<u64>> {
    let mut inodes = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        match listening_rows(Path::new(&format!("/proc/{pid}/net/{table}"))) {
            Ok(lines) => inodes.extend(lines.iter().filter_map(|line| Some(row(line)?.inode))),
            // A kernel without IPv6 does not have the second.
            Err(_) if table == "tcp6" => {}
            Err(error) => return Err(error),
        }
    }
    Ok(inodes)
}

/// The rows of the listening sockets. The kernel lists them first
/// (net/ipv4/tcp_ipv4.c, `tcp_seq_start`), so the rest is not read: tens of
/// thousands of connections in TIME_WAIT would take it seconds.
fn listening_rows(table: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for line in BufReader::new(File::open(table)?).lines().skip(1) {
        let line = line?;
        if row(&line).is_none_or(|row| row.state != LISTEN) {
            break;
        }
        found.push(line);
    }
    Ok(found)
}

/// A row of `/proc/net/tcp`.
struct Row<'a> {
    local: &'a str,
    state: &'a str,
    inode: u64,
}

fn row(line: &str) -> Option<Row<'_>> {
    let mut columns = line.split_whitespace();
    let local = columns.nth(1)?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?.parse().ok()?;
    Some(Row { local, state, inode })
}

/// An address as the tables have it: each group of four bytes as one number in
/// the machine's own order, in hexadecimal.
fn format_address(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let groups = octets.chunks_exact(4).map(|group| {
        let group = [group[0], group[1], group[2], group[3]];
        format!("{:08X}", u32::from_ne_bytes(group))
    });
    format!("{}:{:04X}", groups.collect::<String>(), address.port())
}

fn parse_unix(line: &str) -> Option<u64> {
    line.split_whitespace().nth(6)?.parse().ok()
}

fn parse_status(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// The name in parentheses may itself contain spaces and parentheses.
fn parse_group(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(2)?.parse().ok()
}

fn inode(what: &str) -> Option<u64> {
    what.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn numbers(list: &str) -> impl Iterator<Item = u32> {
    list.split_whitespace().filter_map(|number| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn rows_are_read_by_column() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 15161 1 0 100 0 0 10 0";
        let row = row(line).unwrap();
        assert_eq!((row.local, row.state, row.inode), ("0100007F:1F90", "0A", 15161));
        assert_eq!(format_address("127.0.0.1:8080".parse().unwrap()), "0100007F:1F90");
    }

    #[test]
    fn a_group_is_found_behind_any_name() {
        assert_eq!(parse_group("12 (a) b (c)) S 1 42 42 0"), Some(42));
    }

    #[test]
    fn a_listener_is_seen_and_a_connection_is_not_counted() {
        let pid = std::process::id();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(is_listening(address).unwrap());
        let _client = std::net::TcpStream::connect(address).unwrap();
        let (_server, _) = listener.accept().unwrap();
        let held = resources(pid).unwrap();
        assert!(held.fds.values().any(|kind| kind == "socket:listener"));
        assert!(!held.fds.values().any(|kind| kind == "socket"));
        assert!(!listeners(pid).unwrap().is_empty());
        assert!(held.environ_bytes > 0 && held.rss_kib > 0 && held.threads > 0);
    }

    #[test]
    fn a_process_that_is_gone_has_nothing() {
        let pid = u32::MAX;
        assert!(children(pid).is_empty() && group(pid).is_none() && resources(pid).is_err());
    }
}
