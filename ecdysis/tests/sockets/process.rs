//! What a process has, looked at from outside (proc(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use nix::fcntl::OFlag;

/// What a process has open, by number.
pub(crate) fn descriptors(pid: u32) -> BTreeMap<u32, PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap);
    let number = |entry: &fs::DirEntry| entry.file_name().to_str().unwrap().parse().unwrap();
    // One that is closed between the two looks is not open.
    entries.filter_map(|entry| Some((number(&entry), fs::read_link(entry.path()).ok()?))).collect()
}

/// The flags of a descriptor, as in open(2), `O_CLOEXEC` among them; `None` if it is
/// not open any more: a process that runs has descriptors that come and go.
pub(crate) fn flags(pid: u32, number: u32) -> Option<OFlag> {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    Some(OFlag::from_bits_retain(i32::from_str_radix(flags.trim(), 8).unwrap()))
}

/// The inodes of the sockets that a process has open: what is one socket in two
/// processes has one inode.
pub(crate) fn sockets(pid: u32) -> BTreeSet<u64> {
    descriptors(pid).into_values().filter_map(|what| inode(what.to_str()?)).collect()
}

/// The number of the first descriptor of a socket.
pub(crate) fn number_of(pid: u32, socket: u64) -> u32 {
    let is_it = |what: &PathBuf| what.to_str().and_then(inode) == Some(socket);
    descriptors(pid).into_iter().find_map(|(number, what)| is_it(&what).then_some(number)).unwrap()
}

fn inode(what: &str) -> Option<u64> {
    what.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The sockets of one process in a table of IPv4 sockets: `tcp` or `udp`.
fn table(pid: u32, name: &str) -> Vec<(u64, SocketAddr, String)> {
    let own = sockets(pid);
    let text = fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap();
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (ip, port) = columns[1].split_once(':')?;
            // In the byte order of the machine, as the kernel has it.
            let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
            let address = SocketAddr::from((ip, u16::from_str_radix(port, 16).ok()?));
            Some((columns[9].parse().ok()?, address, columns[3].to_owned()))
        })
        .filter(|(inode, ..)| own.contains(inode))
        .collect()
}

/// Where the one UDP socket of a process is bound.
pub(crate) fn udp_address(pid: u32) -> SocketAddr {
    let table = table(pid, "udp");
    assert_eq!(table.len(), 1, "{table:?}");
    table[0].1
}

/// The TCP sockets of a process that listen.
pub(crate) fn listeners(pid: u32) -> Vec<(u64, SocketAddr)> {
    let listening = table(pid, "tcp").into_iter().filter(|(.., state)| state == "0A");
    listening.map(|(inode, address, _)| (inode, address)).collect()
}
