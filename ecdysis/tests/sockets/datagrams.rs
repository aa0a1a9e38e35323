//! Datagrams: none is lost, and none is answered twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use crate::clients::read_greeting;
use crate::process::udp_address;
use crate::server::{PATIENCE, Server};

const UPGRADES: u64 = 20;

/// How many datagrams of one client are under way at a time: so few that they
/// fit into the queue of a unix socket (`net.unix.max_dgram_qlen`). The server
/// could not answer else, while the client waits until it reads.
const UNDER_WAY: usize = 8;

/// A datagram that has not been answered by then never will be.
const LOST: Duration = Duration::from_secs(10);

#[test]
fn no_datagram_is_lost_over_twenty_upgrades() {
    let server = Server::with(&["udp:127.0.0.1:0"]);
    let address = udp_address(server.pid);
    no_answer_is_missing(server, move |_| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(LOST)).unwrap();
        socket
    });
}

#[test]
fn no_unix_datagram_is_lost_over_twenty_upgrades() {
    let mut server = Server::new();
    server.steps(&[server.step("unix-datagram", "served")]);
    server.start();
    let (to, directory): (PathBuf, PathBuf) = (server.path("served"), server.path("."));
    no_answer_is_missing(server, move |client| {
        let socket = UnixDatagram::bind(directory.join(format!("client{client}"))).unwrap();
        socket.connect(&to).unwrap();
        socket.set_read_timeout(Some(LOST)).unwrap();
        socket
    });
}

/// A socket that has a peer.
trait Peer: Send + 'static {
    fn send(&self, datagram: &[u8]) -> io::Result<usize>;
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
}

macro_rules! peer {
    ($($socket:ty),*) => {$(
        impl Peer for $socket {
            fn send(&self, datagram: &[u8]) -> io::Result<usize> {
                <$socket>::send(self, datagram)
            }

            fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
                self.recv(buffer)
            }
        }
    )*};
}

peer!(UdpSocket, UnixDatagram);

fn no_answer_is_missing<P: Peer>(mut server: Server, client: impl Fn(u32) -> P) {
    let over = AtomicBool::new(false);
    let (heard, answers) = mpsc::channel();
    thread::scope(|scope| {
        let clients = [0, 1, 2].map(|number| {
            let (client, over, heard) = (client(number), &over, heard.clone());
            scope.spawn(move || flow(&client, over, &heard))
        });
        // Each generation must have had its share before the next one comes.
        let answered_by = |generation: u64| {
            while answers.recv_timeout(PATIENCE).unwrap() != generation {}
        };
        answered_by(0);
        for generation in 1..=UPGRADES {
            server.upgrade();
            answered_by(generation);
        }
        over.store(true, Ordering::Relaxed);
        for client in clients {
            let generations = client.join().unwrap();
            assert!(generations.len() > 1, "{generations:?}");
        }
    });
}

/// Sends datagrams with numbers until it is over, and waits for all the answers.
/// How many came, by generation.
fn flow(client: &impl Peer, over: &AtomicBool, heard: &Sender<u64>) -> BTreeMap<u64, u64> {
    let mut unanswered = BTreeSet::new();
    let mut answered = BTreeMap::new();
    let mut next = 0_u64;
    let mut buffer = [0; 1000];
    loop {
        while unanswered.len() < UNDER_WAY && !over.load(Ordering::Relaxed) {
            client.send(next.to_string().as_bytes()).unwrap();
            unanswered.insert(next);
            next += 1;
        }
        if unanswered.is_empty() {
            return answered;
        }
        let count = client.receive(&mut buffer).unwrap_or_else(|error| {
            panic!("{error}: of {next} datagrams {unanswered:?} have no answer")
        });
        let text = std::str::from_utf8(&buffer[..count]).unwrap();
        let (greeting, number) = text.split_once('\n').unwrap();
        let (generation, _) = read_greeting(greeting).unwrap();
        let known = unanswered.remove(&number.parse().unwrap());
        assert!(known, "{number} is answered twice, now by generation {generation}");
        *answered.entry(generation).or_default() += 1;
        // Nobody listens any more when it is over.
        let _ = heard.send(generation);
    }
}
