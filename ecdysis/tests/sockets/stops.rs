//! A full stop: whoever has got as far as the queue is served.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use crate::clients::{Connection, Load, connect_seqpacket, greet};
use crate::rounds::rounds;
use crate::server::Server;

const TCP: &str = "tcp:127.0.0.1:0";

fn served<C: Connection>(clients: Vec<C>) {
    for (number, client) in clients.into_iter().enumerate() {
        let served = greet(client).and_then(|mut client| {
            client.echo("served")?;
            client.finish()
        });
        served.unwrap_or_else(|error| panic!("client {number}: {error}"));
    }
}

#[test]
fn a_stop_serves_three_hundred_clients_in_the_queue() {
    for _ in 0..rounds() {
        let mut server = Server::with(&[format!("hold:{TCP}")]);
        let address: SocketAddr = server.address_of(TCP);
        let queued = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
        // These wait with them, and then come again until they are refused: some
        // handshake of theirs is under way whenever the door is shut.
        let load = Load::tcp(8, address);
        server.ask_to_stop();
        served(queued);
        let tally = load.until_refused();
        server.log_to_the_end();
        assert_eq!((tally.refused, tally.harmed.as_slice()), (8, [].as_slice()), "{tally:?}");
    }
}

#[test]
fn a_stop_under_load_resets_nobody() {
    for _ in 0..rounds() {
        let mut server = Server::with(&[TCP]);
        let address: SocketAddr = server.address_of(TCP);
        let load = Load::tcp(32, address);
        load.wait_for(500);
        server.stop();
        let tally = load.until_refused();
        assert_eq!((tally.refused, tally.harmed.as_slice()), (32, [].as_slice()), "{tally:?}");
    }
}

#[test]
fn a_stop_serves_the_queues_of_unix_sockets() {
    for _ in 0..rounds() {
        let mut server = Server::new();
        server
            .steps(&[server.step("hold:unix", "bytes"), server.step("hold:seqpacket", "packets")]);
        server.start();
        let (bytes, packets) = (server.path("bytes"), server.path("packets"));
        let queued: Vec<_> = (0..100).map(|_| UnixStream::connect(&bytes).unwrap()).collect();
        let queued_packets = (0..100).map(|_| connect_seqpacket(&packets).unwrap()).collect();
        let again = bytes.clone();
        let load = Load::start(8, move |_| UnixStream::connect(&again));
        server.ask_to_stop();
        served(queued);
        served(queued_packets);
        let tally = load.until_refused();
        server.log_to_the_end();
        assert_eq!((tally.refused, tally.harmed.as_slice()), (8, [].as_slice()), "{tally:?}");
        assert!(!bytes.exists() && !packets.exists());
    }
}
