//! The manifest: which descriptor is which. Bytes in, bytes out, no I/O.
//!
//! It begins with the list that the published crate 1.1.1 writes and reads
//! (bincode 1.3: little-endian, fixed-size integers, lengths of 64 bits; see
//! bincode's specification), so that either can start the other:
//!
//! ```text
//! list    u64 count, then for each socket: i32 descriptor, u32 kind, payload
//! kind    0 unix, 1 TCP, 2 UDP, 3 unnamed unix datagram, 4 unix seqpacket
//! payload 0, 4: u8 present, u64 length, path    3: u64 length, name
//!         1, 2: u32 family (0, 1), 4 or 16 bytes of address, u16 port
//! ```
//!
//! Ours goes on where the published one ends the pipe: a magic, a version, a
//! length and a self-describing body in JSON. It says what the list cannot:
//! the generation and those before it, scope ids, paths that are not UTF-8,
//! sockets of kinds that the list has no number for.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::socket::SocketKey;
use crate::unix_path::Inode;

/// Begins our own part. The last byte keeps it from being text.
const MAGIC: [u8; 8] = *b"ecdysis\0";

/// Raised when a reader of the old body would misunderstand the new one. New
/// members of the body need no new version: an old reader passes over them.
const VERSION: u16 = 1;

/// No manifest is larger; more is not believed.
const MOST: usize = 16 << 20;

/// How many descriptors it may name: the place of each must be a `u16` when the
/// reader speaks of it.
const MOST_SOCKETS: usize = 1 << 16;

/// What the predecessor tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Manifest {
    /// The generation that the reader is to be.
    pub(crate) generation: u64,
    /// What is passed on.
    pub(crate) sockets: Vec<Passed>,
    /// Older generations that have not ended yet, the oldest first; the writer
    /// is the last.
    pub(crate) ancestors: Vec<Ancestor>,
    /// Signals that the reader was started with ignored, for its start only.
    pub(crate) ignored: Vec<i32>,
}

/// A descriptor that is passed on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Passed {
    /// Its number in the reader.
    #[serde(rename = "fd")]
    pub(crate) number: i32,
    /// What it is.
    #[serde(rename = "socket")]
    pub(crate) key: SocketKey,
    /// The file that was made when it was bound, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) inode: Option<Inode>,
    /// Somebody else, who is no generation of ours, has it too (systemd).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) lent: bool,
    /// It does not block, because the writer's library needs that, not because
    /// its application does. A reader that blocks may undo it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) nonblocking: bool,
}

impl Passed {
    /// A descriptor of which no more is known.
    pub(crate) fn new(number: i32, key: SocketKey) -> Self {
        Self { number, key, inode: None, lent: false, nonblocking: false }
    }
}

/// A generation before the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ancestor {
    pub(crate) generation: u64,
    pub(crate) pid: u32,
    /// When it was started, in clock ticks since boot: with the pid, it names
    /// one process and no other (proc_pid_stat(5), `starttime`).
    pub(crate) started: u64,
    /// The signal that makes it end at once while it drains.
    pub(crate) signal: i32,
}

/// Who wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// This library: it will say *go* and *settled* on the same pipe.
    Ours,
    /// The published crate: nothing follows.
    Published,
}

/// How far the bytes so far go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decoded {
    /// Not far enough.
    Incomplete,
    /// The whole manifest is there, and this many bytes were its.
    Whole(Manifest, Dialect, usize),
}

/// Why bytes are no manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

#[derive(Serialize, Deserialize)]
struct Body {
    generation: u64,
    sockets: Vec<Passed>,
    #[serde(default)]
    ancestors: Vec<Ancestor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<i32>,
}

/// The bytes that tell `manifest`.
pub(crate) fn encode(manifest: &Manifest) -> Vec<u8> {
    let mut bytes = (manifest.sockets.len() as u64).to_le_bytes().to_vec();
    for passed in &manifest.sockets {
        bytes.extend(passed.number.to_le_bytes());
        encode_key(passed, &mut bytes);
    }
    let body = Body {
        generation: manifest.generation,
        sockets: manifest.sockets.clone(),
        ancestors: manifest.ancestors.clone(),
        ignored: manifest.ignored.clone(),
    };
    // Integers, strings and lists have a form in JSON: this cannot fail.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(body);
    bytes
}

/// Whether a reader would take a manifest of so many sockets and bytes.
pub(crate) fn fits(sockets: usize, length: usize) -> bool {
    sockets <= MOST_SOCKETS && length <= MOST
}

/// Reads a manifest from the beginning of `bytes`; `ended` says that no more
/// will come.
pub(crate) fn decode(bytes: &[u8], ended: bool) -> Result<Decoded, Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    let decoded = match decode_whole(&mut reader, ended) {
        Ok(decoded) => decoded,
        Err(Stop::Malformed(why)) => return Err(Malformed(why)),
        Err(Stop::Incomplete) if ended => return Err(Malformed("it ends in the middle")),
        Err(Stop::Incomplete) if bytes.len() > MOST => return Err(Malformed("it is too long")),
        Err(Stop::Incomplete) => Decoded::Incomplete,
    };
    Ok(decoded)
}

fn decode_whole(reader: &mut Reader<'_>, ended: bool) -> Result<Decoded, Stop> {
    let count = reader.length()?;
    let too_many = Stop::Malformed("it has more than 65536 sockets");
    if count > MOST_SOCKETS {
        return Err(too_many);
    }
    let mut sockets = Vec::new();
    for _ in 0..count {
        let number = i32::from_le_bytes(reader.array()?);
        sockets.push(Passed::new(number, decode_key(reader)?));
    }
    if ended && reader.at == reader.bytes.len() {
        // The published crate does not count generations: all that is known
        // is that there was one before us.
        let manifest = Manifest { generation: 1, sockets, ..Manifest::default() };
        return Ok(Decoded::Whole(manifest, Dialect::Published, reader.at));
    }
    if reader.array()? != MAGIC {
        return Err(Stop::Malformed("what follows the list of sockets is not ours"));
    }
    if u16::from_le_bytes(reader.array()?) != VERSION {
        return Err(Stop::Malformed("its version is not 1"));
    }
    let length = reader.length()?;
    let body: Body = serde_json::from_slice(reader.take(length)?)
        .map_err(|_| Stop::Malformed("its body is not what version 1 says"))?;
    let Body { generation, sockets, ancestors, ignored } = body;
    if sockets.len() > MOST_SOCKETS {
        return Err(too_many);
    }
    let manifest = Manifest { generation, sockets, ancestors, ignored };
    Ok(Decoded::Whole(manifest, Dialect::Ours, reader.at))
}

/// The published list's form. What it has no form for stands in it as an
/// unnamed datagram socket that nobody will ask for: a successor built on the
/// published crate then closes it, instead of keeping it open for good without
/// ever accepting from it. A path that is not UTF-8 is such a thing: the
/// published crate would refuse the whole list for it.
fn encode_key(passed: &Passed, bytes: &mut Vec<u8>) {
    let (kind, payload): (u32, Vec<u8>) = match &passed.key {
        SocketKey::Unix { path } if has_form(path.as_deref()) => (0, encode_path(path.as_deref())),
        SocketKey::Tcp { address } => (1, encode_address(*address)),
        SocketKey::Udp { address } => (2, encode_address(*address)),
        SocketKey::UnixDatagramPair { name } => (3, encode_text(name.as_bytes())),
        SocketKey::UnixSeqpacket { path } if has_form(path.as_deref()) => {
            (4, encode_path(path.as_deref()))
        }
        SocketKey::Unix { .. }
        | SocketKey::UnixSeqpacket { .. }
        | SocketKey::UnixDatagram { .. }
        | SocketKey::UnixAbstract { .. }
        | SocketKey::UnixSeqpacketAbstract { .. }
        | SocketKey::Named { .. }
        | SocketKey::State
        | SocketKey::Foreign(_) => {
            (3, encode_text(format!("ecdysis: descriptor {}", passed.number).as_bytes()))
        }
    };
    bytes.extend(kind.to_le_bytes());
    bytes.extend(payload);
}

/// Whether the published crate can read this path.
fn has_form(path: Option<&Path>) -> bool {
    path.is_none_or(|path| path.to_str().is_some())
}

fn encode_text(text: &[u8]) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    bytes
}

fn encode_path(path: Option<&Path>) -> Vec<u8> {
    match path {
        None => vec![0],
        Some(path) => [vec![1], encode_text(path.as_os_str().as_bytes())].concat(),
    }
}

fn encode_address(address: SocketAddr) -> Vec<u8> {
    let (family, octets) = match address.ip() {
        IpAddr::V4(ip) => (0_u32, ip.octets().to_vec()),
        IpAddr::V6(ip) => (1_u32, ip.octets().to_vec()),
    };
    [family.to_le_bytes().to_vec(), octets, address.port().to_le_bytes().to_vec()].concat()
}

fn decode_key(reader: &mut Reader<'_>) -> Result<SocketKey, Stop> {
    Ok(match u32::from_le_bytes(reader.array()?) {
        0 => SocketKey::Unix { path: decode_path(reader)? },
        1 => SocketKey::tcp(decode_address(reader)?),
        2 => SocketKey::udp(decode_address(reader)?),
        3 => SocketKey::UnixDatagramPair {
            name: String::from_utf8(decode_text(reader)?)
                .map_err(|_| Stop::Malformed("a name in it is not UTF-8"))?,
        },
        4 => SocketKey::UnixSeqpacket { path: decode_path(reader)? },
        // How long its payload is cannot be known, so nothing after it can.
        _ => return Err(Stop::Malformed("it has a kind of socket that version 1.1.1 does not")),
    })
}

fn decode_text(reader: &mut Reader<'_>) -> Result<Vec<u8>, Stop> {
    let length = reader.length()?;
    Ok(reader.take(length)?.to_vec())
}

fn decode_path(reader: &mut Reader<'_>) -> Result<Option<PathBuf>, Stop> {
    match reader.array()? {
        [0] => Ok(None),
        [1] => Ok(Some(PathBuf::from(OsString::from_vec(decode_text(reader)?)))),
        _ => Err(Stop::Malformed("an option in it is neither 0 nor 1")),
    }
}

fn decode_address(reader: &mut Reader<'_>) -> Result<SocketAddr, Stop> {
    let ip = match u32::from_le_bytes(reader.array()?) {
        0 => IpAddr::from(reader.array::<4>()?),
        1 => IpAddr::from(reader.array::<16>()?),
        _ => return Err(Stop::Malformed("an address family in it is neither 0 nor 1")),
    };
    Ok(SocketAddr::new(ip, u16::from_le_bytes(reader.array()?)))
}

/// Why reading stopped.
enum Stop {
    Incomplete,
    Malformed(&'static str),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        let end = self.at.checked_add(count).ok_or(Stop::Incomplete)?;
        let taken = self.bytes.get(self.at..end).ok_or(Stop::Incomplete)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A count or a length. One that no manifest can have is refused at once,
    /// so that a wrong byte does not make us wait for gigabytes.
    fn length(&mut self) -> Result<usize, Stop> {
        usize::try_from(u64::from_le_bytes(self.array()?))
            .ok()
            .filter(|&length| length <= MOST)
            .ok_or(Stop::Malformed("a length in it is absurd"))
    }
}

#[cfg(test)]
mod tests;
