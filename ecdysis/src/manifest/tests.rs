//! What is written is read, by us and by the published crate, and what was
//! written once is read for ever.
//!
//! The files in `golden` are what some version has once written. They are never
//! written again: a reader that changes must still read them, and a new form of
//! the manifest gets a file of its own. `published-1.1.1.bin` comes from bincode
//! 1.3.3 and the types of that crate; `version-1.bin` from this library, and its
//! list was read with that crate's own type, `ListenerInfo`, which is why the
//! list may not change by a byte.

use proptest::prelude::*;

use super::*;

/// What the published crate writes, for each kind of socket it knows.
const PUBLISHED: &[u8] = include_bytes!("golden/published-1.1.1.bin");
/// What version 1 writes, for each kind of socket.
const VERSION_1: &[u8] = include_bytes!("golden/version-1.bin");
/// The least that it writes.
const VERSION_1_EMPTY: &[u8] = include_bytes!("golden/version-1-empty.bin");
/// What it writes of a socket that its library has made non-blocking.
const VERSION_1_NONBLOCKING: &[u8] = include_bytes!("golden/version-1-nonblocking.bin");
/// What it writes of signals that were ignored for the start.
const VERSION_1_IGNORED: &[u8] = include_bytes!("golden/version-1-ignored.bin");
/// What a later version may write without raising the number: a kind of socket
/// and members that this one does not know.
const VERSION_1_LATER: &[u8] = include_bytes!("golden/version-1-later.bin");

fn key() -> impl Strategy<Value = SocketKey> {
    let address = prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| SocketAddr::new(ip.into(), port)),
        any::<([u8; 16], u16)>().prop_map(|(ip, port)| SocketAddr::new(ip.into(), port)),
    ];
    let path = prop::option::of(prop::collection::vec(1_u8.., 0..40))
        .prop_map(|path| path.map(|bytes| PathBuf::from(OsString::from_vec(bytes))));
    let name = prop::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        address.clone().prop_map(SocketKey::tcp),
        address.prop_map(SocketKey::udp),
        path.clone().prop_map(|path| SocketKey::Unix { path }),
        path.clone().prop_map(|path| SocketKey::UnixSeqpacket { path }),
        path.prop_map(|path| SocketKey::UnixDatagram { path }),
        name.clone().prop_map(|name| SocketKey::UnixAbstract { name }),
        name.prop_map(|name| SocketKey::UnixSeqpacketAbstract { name }),
        "[a-z]{0,20}".prop_map(|name| SocketKey::UnixDatagramPair { name }),
        "[a-z]{0,20}".prop_map(|name| SocketKey::Named { name }),
        Just(SocketKey::State),
        "[a-z]{1,9}".prop_map(|kind| SocketKey::Foreign(
            serde_json::json!({ "kind": format!("x-{kind}"), "more": [1, null] })
        )),
    ]
}

fn passed() -> impl Strategy<Value = Passed> {
    let inode = any::<(u64, u64)>().prop_map(|(device, inode)| Inode { device, inode });
    (0..i32::MAX, key(), prop::option::of(inode), any::<(bool, bool)>()).prop_map(
        |(number, key, inode, (lent, nonblocking))| Passed {
            number,
            key,
            inode,
            lent,
            nonblocking,
        },
    )
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let ancestor = any::<(u64, u32, u64, i32)>().prop_map(|(generation, pid, started, signal)| {
        Ancestor { generation, pid, started, signal }
    });
    let sockets = prop::collection::vec(passed(), 0..20);
    let ancestors = prop::collection::vec(ancestor, 0..4);
    (any::<u64>(), sockets, ancestors, any::<Vec<i32>>()).prop_map(
        |(generation, sockets, ancestors, ignored)| Manifest {
            generation,
            sockets,
            ancestors,
            ignored,
        },
    )
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_and_what_follows_is_left(
        manifest in manifest(), after in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let bytes = encode(&manifest);
        let whole = Decoded::Whole(manifest, Dialect::Ours, bytes.len());
        prop_assert_eq!(decode(&[bytes, after].concat(), false), Ok(whole));
    }

    #[test]
    fn a_part_of_a_manifest_is_incomplete_or_malformed_at_the_end(
        manifest in manifest(), cut in any::<prop::sample::Index>(),
    ) {
        let bytes = encode(&manifest);
        let part = &bytes[..cut.index(bytes.len())];
        prop_assert_eq!(decode(part, false), Ok(Decoded::Incomplete));
        // At the end of the pipe only the bare list may stand, which is
        // then a whole manifest in the published dialect.
        match decode(part, true) {
            Err(Malformed(_)) => {}
            Ok(Decoded::Whole(_, dialect, used)) => {
                prop_assert_eq!((dialect, used), (Dialect::Published, part.len()));
            }
            Ok(Decoded::Incomplete) => prop_assert!(false, "incomplete at the end"),
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>, ended: bool) {
        let _ = decode(&bytes, ended);
    }

    #[test]
    fn a_flipped_bit_never_panics(manifest in manifest(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = encode(&manifest);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let _ = decode(&bytes, false);
        let _ = decode(&bytes, true);
    }
}

fn unix(path: &str) -> SocketKey {
    SocketKey::Unix { path: Some(path.into()) }
}

fn tcp(address: &str) -> SocketKey {
    SocketKey::tcp(address.parse().unwrap())
}

fn udp(address: &str) -> SocketKey {
    SocketKey::udp(address.parse().unwrap())
}

/// What the golden manifest of version 1 says.
fn version_1() -> Manifest {
    let odd = || Some(PathBuf::from(OsString::from_vec(b"/run/\xff.sock".to_vec())));
    let keys = [
        unix("/run/a.sock"),
        SocketKey::Unix { path: None },
        SocketKey::Unix { path: odd() },
        tcp("127.0.0.1:80"),
        tcp("[fe80::1%4]:443"),
        udp("0.0.0.0:53"),
        udp("[::]:0"),
        SocketKey::UnixDatagramPair { name: "to the child".to_owned() },
        SocketKey::UnixSeqpacket { path: Some("/run/b.sock".into()) },
        SocketKey::UnixSeqpacket { path: odd() },
        SocketKey::UnixDatagram { path: Some("/run/c.sock".into()) },
        SocketKey::UnixAbstract { name: vec![b'a', 0, 0xff] },
        SocketKey::UnixSeqpacketAbstract { name: b"b".to_vec() },
        SocketKey::Named { name: "log".to_owned() },
        SocketKey::State,
        SocketKey::Foreign(serde_json::json!({ "kind": "tun", "name": "tun0" })),
    ];
    let mut sockets: Vec<_> = (5..).zip(keys).map(|(n, key)| Passed::new(n, key)).collect();
    sockets[0].inode = Some(Inode { device: 66_305, inode: u64::MAX });
    sockets[3].lent = true;
    let ancestor = |generation, pid, signal| Ancestor { generation, pid, started: 99, signal };
    let ancestors = vec![ancestor(5, 4000, 15), ancestor(6, 4001, 10)];
    Manifest { generation: 7, sockets, ancestors, ignored: Vec::new() }
}

/// The list that a manifest begins with.
fn list(bytes: &[u8]) -> &[u8] {
    let end = bytes.windows(MAGIC.len()).position(|window| window == MAGIC).unwrap();
    &bytes[..end]
}

fn whole(bytes: &[u8]) -> Manifest {
    let decoded = decode(bytes, false).unwrap();
    let Decoded::Whole(manifest, Dialect::Ours, used) = decoded else { panic!("{decoded:?}") };
    assert_eq!(used, bytes.len());
    manifest
}

#[test]
fn what_the_published_crate_writes_is_read() {
    let keys = [
        unix("/run/a.sock"),
        SocketKey::Unix { path: None },
        tcp("127.0.0.1:80"),
        tcp("[2001:db8::1]:443"),
        udp("0.0.0.0:53"),
        udp("[::]:0"),
        SocketKey::UnixDatagramPair { name: "to the child".to_owned() },
        SocketKey::UnixSeqpacket { path: Some("/run/b.sock".into()) },
        SocketKey::UnixSeqpacket { path: None },
    ];
    let sockets = (5..).zip(keys).map(|(number, key)| Passed::new(number, key)).collect();
    let manifest = Manifest { generation: 1, sockets, ..Manifest::default() };
    // Where the list ends, ours may begin, as long as the pipe has not ended.
    assert_eq!(decode(PUBLISHED, false), Ok(Decoded::Incomplete));
    let whole = Decoded::Whole(manifest.clone(), Dialect::Published, PUBLISHED.len());
    assert_eq!(decode(PUBLISHED, true), Ok(whole));
    // And what we write of the same sockets is, to the byte, what it writes.
    assert_eq!(list(&encode(&manifest)), PUBLISHED);
}

#[test]
fn what_version_1_wrote_is_read() {
    assert_eq!(whole(VERSION_1), version_1());
    assert_eq!(whole(VERSION_1_EMPTY), Manifest { generation: 1, ..Manifest::default() });
    let passed = Passed { nonblocking: true, ..Passed::new(5, tcp("127.0.0.1:80")) };
    let manifest = Manifest { generation: 3, sockets: vec![passed], ..Manifest::default() };
    assert_eq!(whole(VERSION_1_NONBLOCKING), manifest);
    assert_eq!(encode(&manifest), VERSION_1_NONBLOCKING);
    let manifest = Manifest { generation: 3, ignored: vec![1, 15], ..Manifest::default() };
    assert_eq!(whole(VERSION_1_IGNORED), manifest);
    assert_eq!(encode(&manifest), VERSION_1_IGNORED);
}

#[test]
fn what_is_written_today_a_published_reader_still_reads() {
    assert_eq!(list(&encode(&version_1())), list(VERSION_1));
    let empty = Manifest { generation: 1, ..Manifest::default() };
    assert_eq!(list(&encode(&empty)), list(VERSION_1_EMPTY));
    assert_eq!(list(VERSION_1_EMPTY), [0; 8]);
}

#[test]
fn unknown_kinds_and_members_are_passed_over_and_unknown_kinds_passed_on() {
    let manifest = whole(VERSION_1_LATER);
    let later = serde_json::json!({ "kind": "vsock", "cid": 3, "port": { "from": [1, null] } });
    let inode = Some(Inode { device: 1, inode: 2 });
    assert_eq!(
        manifest,
        Manifest {
            generation: 8,
            sockets: vec![
                Passed { inode, lent: true, ..Passed::new(5, unix("/a")) },
                Passed::new(6, SocketKey::Foreign(later)),
            ],
            ancestors: vec![Ancestor { generation: 7, pid: 40, started: 9, signal: 15 }],
            ignored: Vec::new(),
        }
    );
    assert_eq!(whole(&encode(&manifest)), manifest);
}

#[test]
fn another_version_is_refused() {
    let mut bytes = VERSION_1_EMPTY.to_vec();
    bytes[list(VERSION_1_EMPTY).len() + MAGIC.len()] = 2;
    assert_eq!(decode(&bytes, false), Err(Malformed("its version is not 1")));
}

#[test]
fn scope_ids_survive() {
    let key = SocketKey::tcp("[fe80::1%4]:80".parse().unwrap());
    let sockets = vec![Passed::new(3, key)];
    let manifest = Manifest { generation: 2, sockets, ..Manifest::default() };
    let bytes = encode(&manifest);
    assert_eq!(decode(&bytes, false), Ok(Decoded::Whole(manifest, Dialect::Ours, bytes.len())));
}

#[test]
fn more_sockets_than_have_a_place_are_refused() {
    let sockets = |count| vec![Passed::new(9, tcp("127.0.0.1:80")); count];
    let manifest = Manifest { sockets: sockets(65_536), ..Manifest::default() };
    assert_eq!(whole(&encode(&manifest)), manifest);
    let manifest = Manifest { sockets: sockets(65_537), ..Manifest::default() };
    let refused = Err(Malformed("it has more than 65536 sockets"));
    assert_eq!(decode(&encode(&manifest), false), refused);
}

#[test]
fn an_absurd_length_is_refused_at_once() {
    assert_eq!(decode(&[0xff; 8], false), Err(Malformed("a length in it is absurd")));
}
