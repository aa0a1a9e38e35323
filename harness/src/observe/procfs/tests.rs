use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::process;
use std::thread;
use std::time::Duration;

use super::*;

const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
";

#[test]
#[cfg(target_endian = "little")]
fn reads_the_table_of_sockets() {
    let sockets: Vec<Socket> = parse_sockets(TCP).collect();
    let local = "127.0.0.1:8080".parse().unwrap();
    assert_eq!(
        sockets,
        [
            Socket { local, peer: "0.0.0.0:0".parse().unwrap(), listens: true, inode: 4711 },
            Socket { local, peer: "127.0.0.1:50000".parse().unwrap(), listens: false, inode: 4712 }
        ]
    );
}

#[test]
#[cfg(target_endian = "little")]
fn reads_addresses_of_both_families() {
    let six = parse_address("00000000000000000000000001000000:0050");
    assert_eq!(six, Some("[::1]:80".parse().unwrap()));
    assert_eq!(parse_address("0100007F:0050"), Some("127.0.0.1:80".parse().unwrap()));
    for broken in ["", ":", "0100007F", "0100007:0050", "0100007F01:0050", "x:y"] {
        assert_eq!(parse_address(broken), None, "{broken}");
    }
}

#[test]
fn a_listener_covers_its_address_or_all() {
    let covers =
        |local: &str, wanted: &str| covers(local.parse().unwrap(), wanted.parse().unwrap());
    assert!(covers("127.0.0.1:80", "127.0.0.1:80"));
    assert!(covers("0.0.0.0:80", "127.0.0.1:80"));
    assert!(covers("[::]:80", "127.0.0.1:80"));
    assert!(covers("[::ffff:127.0.0.1]:80", "127.0.0.1:80"));
    assert!(!covers("0.0.0.0:80", "[::1]:80"));
    assert!(!covers("127.0.0.1:80", "127.0.0.1:81"));
    assert!(!covers("127.0.0.2:80", "127.0.0.1:80"));
}

#[test]
fn a_name_with_parentheses_does_not_shift_the_fields() {
    let kin = parse_stat("12 (a) b (c)) S 34 56 78 0 -1 4194560");
    assert_eq!(kin, Some(Kin { parent: 34, group: 56, session: 78 }));
    assert_eq!(parse_stat("12 (cut"), None);
    assert_eq!(parse_stat("12 (cut) S 1"), None);
}

#[test]
fn kinds_carry_no_numbers_and_connections_are_left_out() {
    let kinds = BTreeMap::from([(1, "socket:listener")]);
    let kind = |target: &str| kind(target, &kinds);
    assert_eq!(kind("socket:[1]").as_deref(), Some("socket:listener"));
    assert_eq!(kind("socket:[2]"), None);
    assert_eq!(kind("socket:[3]"), None);
    assert_eq!(kind("pipe:[77]").as_deref(), Some("pipe"));
    assert_eq!(kind("anon_inode:[eventpoll]").as_deref(), Some("anon_inode:[eventpoll]"));
    assert_eq!(kind("/dev/null").as_deref(), Some("/dev/null"));
}

#[test]
fn finds_fields_of_the_status() {
    let status = "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t3\n";
    assert_eq!(field(status, "VmRSS"), Some(2048));
    assert_eq!(field(status, "Threads"), Some(3));
    assert_eq!(field(status, "Vm"), None);
}

#[test]
fn finds_inodes_of_unix_sockets_but_not_of_what_they_accepted() {
    let text = "Num RefCount Protocol Flags Type St Inode Path\n\
                0000: 00000003 00000000 00000000 0001 03 19007459\n\
                0000: 00000002 00000000 00010000 0001 01 42 /run/a socket\n\
                0000: 00000003 00000000 00000000 0001 03 43 /run/a socket\n";
    assert_eq!(parse_unix(text).collect::<Vec<_>>(), [19_007_459, 42]);
}

#[test]
fn sees_what_this_process_holds() {
    let pid = process::id();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (unix, _peer) = UnixDatagram::pair().unwrap();

    let held = resources(pid).unwrap();
    let kind = |fd: i32| held.fds.get(&u32::try_from(fd).unwrap()).map(String::as_str);
    assert_eq!(kind(listener.as_raw_fd()), Some("socket:listener"));
    assert_eq!(kind(client.as_raw_fd()), None);
    assert_eq!(kind(datagrams.as_raw_fd()), Some("socket:udp"));
    assert_eq!(kind(unix.as_raw_fd()), Some("socket:unix"));
    assert!(held.rss_kib > 0);
    assert!(held.threads > 0);

    let link = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
    let inode = socket_inode(link.to_str().unwrap()).unwrap();
    assert!(listeners(pid).unwrap().contains(&inode));
    assert!(is_listening(address).unwrap());
    drop((client, listener));
    // Another test may be starting a process, which holds a copy until its exec.
    let closed = (0..1000).any(|_| {
        thread::sleep(Duration::from_millis(1));
        !is_listening(address).unwrap()
    });
    assert!(closed);
}

#[test]
fn nobody_is_not_a_process() {
    // Beyond the largest pid that Linux gives out.
    let nobody = 1 << 30;
    assert!(children(nobody).is_empty());
    assert_eq!(kin(nobody), None);
    assert!(listeners(nobody).is_err());
    assert!(resources(nobody).is_err());
}

#[test]
fn a_thread_belongs_to_its_process() {
    let thread = nix::unistd::gettid().as_raw().cast_unsigned();
    assert_ne!(thread, process::id());
    assert_eq!(process_of(thread), Some(process::id()));
    assert_eq!(process_of(0), None);
}
