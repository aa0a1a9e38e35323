//! What a process holds, as `/proc` tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::event::Resources;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The state of a connected socket in `/proc/net/unix`.
const CONNECTED: &str = "03";

/// More than the kernel gives at once.
const READ_BYTES: usize = 16 * 1024;

/// Where a process stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kin {
    /// Its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
}

/// The children of all threads of `pid`, zombies included. Empty once it is gone.
///
/// The kernel may leave out a child while its siblings are ending: who must
/// not miss one looks again.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| File::open(task.path().join("children")).and_then(read_whole).ok())
        .flat_map(|text| numbers(&text))
        .collect()
}

/// The threads of `pid`. Empty once it is gone.
#[must_use]
pub fn threads(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let number = |task: fs::DirEntry| task.file_name().to_str()?.parse().ok();
    tasks.flatten().filter_map(number).collect()
}

/// What a descriptor is open on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A pipe.
    Pipe,
    /// A file.
    File,
}

/// What this descriptor of `pid` is open on; `None`: on something else, or not at all.
#[must_use]
pub fn opened(pid: u32, descriptor: u32) -> Option<Opened> {
    let target = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).ok()?;
    let target = target.to_string_lossy();
    if target.starts_with('/') {
        return Some(Opened::File);
    }
    numbered(&target).filter(|(kind, _)| *kind == "pipe").map(|_| Opened::Pipe)
}

/// The clients' addresses of the TCP connections that `pid` has open.
///
/// # Errors
///
/// The process is gone, or is another user's.
pub fn peers(pid: u32) -> io::Result<BTreeSet<SocketAddr>> {
    let open: BTreeSet<u64> =
        descriptors(pid)?.values().filter_map(|target| socket_inode(target)).collect();
    let mut peers = BTreeSet::new();
    for name in ["tcp", "tcp6"] {
        let table = table(&pid.to_string(), name)?;
        let sockets = parse_sockets(&table).filter(|socket| !socket.listens);
        peers.extend(sockets.filter(|socket| open.contains(&socket.inode)).map(|it| it.peer));
    }
    Ok(peers)
}

/// The parent, group and session of `pid`; `None` once it is gone.
#[must_use]
pub fn kin(pid: u32) -> Option<Kin> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The process that a thread belongs to; `None` once it is gone.
#[must_use]
pub fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    field(&status, "Tgid").and_then(|pid| pid.try_into().ok())
}

/// Inodes of the listening TCP sockets that `pid` has open.
///
/// # Errors
///
/// The process is gone, or is another user's.
pub fn listeners(pid: u32) -> io::Result<BTreeSet<u64>> {
    let open: BTreeSet<u64> =
        descriptors(pid)?.values().filter_map(|target| socket_inode(target)).collect();
    let listening = listening(&pid.to_string())?.into_iter().map(|socket| socket.inode);
    Ok(listening.filter(|inode| open.contains(inode)).collect())
}

/// What `pid` holds, connections not counted.
///
/// # Errors
///
/// The process is gone, or is another user's.
pub fn resources(pid: u32) -> io::Result<Resources> {
    let targets = descriptors(pid)?;
    let kinds = socket_kinds(pid)?;
    let fds = targets
        .into_iter()
        .filter_map(|(fd, target)| kind(&target, &kinds).map(|kind| (fd, kind)))
        .collect();
    let environ = fs::read(format!("/proc/{pid}/environ"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Resources {
        fds,
        environ_bytes: u64::try_from(environ.len()).unwrap_or(u64::MAX),
        rss_kib: field(&status, "VmRSS").unwrap_or_default(),
        threads: field(&status, "Threads").unwrap_or_default(),
    })
}

/// The resident memory of a process, KiB.
///
/// # Errors
///
/// It is gone, or not ours to look at.
pub fn resident_kib(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(field(&status, "VmRSS").unwrap_or_default())
}

/// Whether a TCP socket in this process's network namespace listens at
/// `address`, or at every address with its port.
///
/// # Errors
///
/// The table could not be read.
pub fn is_listening(address: SocketAddr) -> io::Result<bool> {
    Ok(listening("self")?.iter().any(|socket| covers(socket.local, address)))
}

/// A row of a table of internet sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    local: SocketAddr,
    peer: SocketAddr,
    listens: bool,
    inode: u64,
}

/// Whether a listener at `local` gets what is sent to `wanted`. A listener at
/// `::` is taken to get IPv4 too: the table does not tell if it refuses to.
fn covers(local: SocketAddr, wanted: SocketAddr) -> bool {
    let (ip, wanted_ip) = (local.ip().to_canonical(), wanted.ip().to_canonical());
    let all = ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        || (ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && wanted_ip.is_ipv4());
    local.port() == wanted.port() && (ip == wanted_ip || all)
}

/// Descriptor → what its link in `/proc/PID/fd` says. One that was closed
/// meanwhile is left out.
fn descriptors(pid: u32) -> io::Result<BTreeMap<u32, String>> {
    let mut targets = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let (Some(number), Ok(target)) = (number, fs::read_link(entry.path())) {
            targets.insert(number, target.to_string_lossy().into_owned());
        }
    }
    Ok(targets)
}

/// Inode → what to call the socket. A connection has no name.
fn socket_kinds(pid: u32) -> io::Result<BTreeMap<u64, &'static str>> {
    let pid = pid.to_string();
    let mut kinds = BTreeMap::new();
    for socket in listening(&pid)? {
        kinds.insert(socket.inode, "socket:listener");
    }
    for name in ["udp", "udp6"] {
        for socket in parse_sockets(&table(&pid, name)?) {
            kinds.insert(socket.inode, "socket:udp");
        }
    }
    for inode in parse_unix(&table(&pid, "unix")?) {
        kinds.insert(inode, "socket:unix");
    }
    Ok(kinds)
}

/// What to call a descriptor, without the numbers that differ between two of
/// a kind; `None` for a connection, which is any socket without a name.
fn kind(target: &str, sockets: &BTreeMap<u64, &'static str>) -> Option<String> {
    if let Some(inode) = socket_inode(target) {
        return sockets.get(&inode).map(|kind| (*kind).to_owned());
    }
    Some(numbered(target).map_or(target, |(kind, _)| kind).to_owned())
}

fn socket_inode(target: &str) -> Option<u64> {
    numbered(target).filter(|(kind, _)| *kind == "socket").map(|(_, inode)| inode)
}

/// Splits `KIND:[NUMBER]`.
fn numbered(target: &str) -> Option<(&str, u64)> {
    let (kind, rest) = target.split_once(":[")?;
    Some((kind, rest.strip_suffix(']')?.parse().ok()?))
}

/// The listening TCP sockets. The kernel lists them before all connections
/// (`tcp_seq_start` in net/ipv4/tcp_ipv4.c), and the connections are not read:
/// after a while of load there are hundreds of thousands of them in TIME_WAIT.
fn listening(pid: &str) -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for name in ["tcp", "tcp6"] {
        let Some(file) = open_table(pid, name)? else { continue };
        let mut lines = BufReader::with_capacity(READ_BYTES, file).lines();
        lines.next().transpose()?;
        for line in lines {
            match parse_socket(&line?) {
                Some(socket) if socket.listens => sockets.push(socket),
                Some(_) => break,
                None => {}
            }
        }
    }
    Ok(sockets)
}

/// A table under `/proc/PID/net`. A kernel without the protocol has none;
/// then nobody has such a socket.
fn open_table(pid: &str, name: &str) -> io::Result<Option<File>> {
    let net = PathBuf::from(format!("/proc/{pid}/net"));
    match File::open(net.join(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound && net.exists() => Ok(None),
        other => other.map(Some),
    }
}

fn table(pid: &str, name: &str) -> io::Result<String> {
    open_table(pid, name)?.map_or_else(|| Ok(String::new()), read_whole)
}

/// Reads a table in pieces as large as the kernel gives. It finds its place
/// again between two pieces by counting rows, and so skips a row when another
/// went away; the small pieces of `fs::read_to_string` would invite that.
fn read_whole(mut file: File) -> io::Result<String> {
    let mut text = String::with_capacity(READ_BYTES);
    file.read_to_string(&mut text)?;
    Ok(text)
}

fn parse_sockets(text: &str) -> impl Iterator<Item = Socket> {
    text.lines().skip(1).filter_map(parse_socket)
}

fn parse_socket(line: &str) -> Option<Socket> {
    let words: Vec<&str> = line.split_whitespace().collect();
    Some(Socket {
        local: parse_address(words.get(1)?)?,
        peer: parse_address(words.get(2)?)?,
        listens: *words.get(3)? == LISTEN,
        inode: words.get(9)?.parse().ok()?,
    })
}

/// Parses `0100007F:1F90`: the kernel prints each 32-bit word of an address as
/// the number that this machine reads it as.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for start in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(start..start + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let ip = <[u8; 4]>::try_from(bytes.as_slice())
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from))
        .ok()?;
    Some(SocketAddr::new(ip, port))
}

/// Inodes of the unix sockets that are no connections of a server's. What a
/// listener has accepted is connected and has its path; the client's end, or one of
/// a pair, has none.
fn parse_unix(text: &str) -> impl Iterator<Item = u64> {
    text.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let accepted = *words.get(5)? == CONNECTED && words.len() > 7;
        words.get(6)?.parse().ok().filter(|_| !accepted)
    })
}

/// The program's name stands in parentheses and may hold anything, so what
/// follows is counted from the last one.
fn parse_stat(text: &str) -> Option<Kin> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut words = rest.split_whitespace().skip(1).map(|word| word.parse().ok());
    Some(Kin { parent: words.next()??, group: words.next()??, session: words.next()?? })
}

/// The number after `name:` in `/proc/PID/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| {
        line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok()
    })
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
