//! Datagrams from one socket to the server's and back. Nothing is sent twice.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, sleep_until};

use super::client::{Context, Population};
use super::flight::{Arrival, Flight, Sent};
use super::keepalive::Ask;
use super::link::{Door, source};
use super::pacer::Due;
use super::payload;
use crate::clock::Stamp;
use crate::event::{Connection, Datagrams, Fate, Harm, OpKind, Operation};

/// The largest datagram, and a little more.
const LARGEST: usize = 64 << 10;

/// Asked of the kernel, so that a pause of ours loses nothing; it may give less.
const RECEIVE_BUFFER: usize = 4 << 20;

/// After the last answer, what nobody asked for may still come.
const LINGER: Duration = Duration::from_millis(50);

/// One flow.
#[derive(Debug)]
pub(super) struct Flow {
    context: Arc<Context>,
    population: Arc<Population>,
    flight: Flight,
    row: Connection,
    datagrams: Datagrams,
    /// Answers that our own socket had no room for, and that have been taken account of.
    excused: u64,
}

/// What a flow waits for.
#[derive(Debug)]
enum Event {
    Ask(Option<Ask>),
    Came(io::Result<usize>),
    Overdue,
    Quiet,
    Cancelled,
}

impl Flow {
    /// A flow of `population`.
    pub(super) fn new(context: Arc<Context>, population: Arc<Population>) -> Self {
        let row = Connection::new(context.ledger.connection_id(), population.index);
        let flight = Flight::new(population.load.timeout, population.load.stall);
        let datagrams = Datagrams::default();
        Self { context, population, flight, row, datagrams, excused: 0 }
    }

    /// Sends what `queue` asks for, until nothing more can come of it.
    pub(super) async fn run(mut self, mut queue: UnboundedReceiver<Ask>) {
        let fate = match self.open().await {
            Ok(socket) => {
                self.converse(&socket, &mut queue).await;
                self.datagrams.dropped = self.dropped();
                (Fate::Cancelled, None)
            }
            Err(error) => (Fate::LimitHit, error.raw_os_error()),
        };
        // What could not be sent, for want of a socket or because the run was given up.
        while let Some(ask) = queue.recv().await {
            self.enter(ask.due, self.context.clock.now(), fate);
        }
        self.row.closed = self.context.clock.now();
        self.row.datagrams = Some(self.datagrams);
        self.context.ledger.connection(self.row);
    }

    async fn open(&mut self) -> io::Result<UdpSocket> {
        let Door::Net(target) = self.population.door else {
            return Err(Errno::EDESTADDRREQ.into());
        };
        let turn = self.context.turn.fetch_add(1, Ordering::Relaxed);
        let any = match target {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let local = source(target, turn).unwrap_or(any);
        let socket = UdpSocket::bind(SocketAddr::new(local, 0)).await?;
        SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.connect(target).await?;
        self.row.opened = Some(self.context.clock.now());
        self.row.local = socket.local_addr().ok();
        Ok(socket)
    }

    async fn converse(&mut self, socket: &UdpSocket, queue: &mut UnboundedReceiver<Ask>) {
        let context = Arc::clone(&self.context);
        let mut buffer = vec![0; LARGEST];
        let mut asking = true;
        loop {
            let deadline = self.flight.next_deadline();
            let overdue = sleep_until(context.clock.instant(deadline.unwrap_or_default()).into());
            let event = tokio::select! {
                () = context.given_up() => Event::Cancelled,
                came = socket.recv(&mut buffer) => Event::Came(came),
                () = overdue, if deadline.is_some() => Event::Overdue,
                ask = queue.recv(), if asking => Event::Ask(ask),
                () = sleep(LINGER), if !asking && deadline.is_none() => Event::Quiet,
            };
            match event {
                Event::Ask(Some(ask)) => self.send(socket, ask.due).await,
                Event::Ask(None) => asking = false,
                Event::Came(Ok(count)) => self.take(buffer.get(..count).unwrap_or_default()),
                Event::Came(Err(error)) => self.refused(&error),
                Event::Overdue => self.lose(),
                Event::Quiet => return,
                Event::Cancelled => {
                    for Sent { due, dispatched, .. } in self.flight.give_up() {
                        self.enter(due, dispatched, (Fate::Cancelled, None));
                    }
                    return;
                }
            }
        }
    }

    async fn send(&mut self, socket: &UdpSocket, due: Due) {
        let bytes = payload::bytes(due.id, due.payload);
        loop {
            let dispatched = self.context.clock.now();
            let error = match socket.send(&bytes).await {
                Ok(count) => {
                    self.datagrams.sent += 1;
                    self.row.bytes_out += count as u64;
                    return self.flight.sent(due, dispatched);
                }
                Err(error) => error,
            };
            if error.kind() != io::ErrorKind::ConnectionRefused {
                // Nothing left, and nothing that the server could have to do with it.
                return self.enter(due, dispatched, (Fate::LimitHit, error.raw_os_error()));
            }
            // It speaks of one that was sent before; this one has not left yet.
            self.refused(&error);
        }
    }

    fn take(&mut self, datagram: &[u8]) {
        let now = self.context.clock.now();
        self.datagrams.received += 1;
        self.row.bytes_in += datagram.len() as u64;
        self.row.first_byte.get_or_insert(now);
        let template = self.context.greeting.as_ref();
        let (served, arrival) = self.flight.came(template, datagram, now);
        self.row.served = served.or(self.row.served);
        match arrival {
            Arrival::Answer(sent, fate) => {
                if let Some(served) = served {
                    self.context.sightings.note(served, sent.dispatched);
                }
                self.enter(sent.due, sent.dispatched, (fate, None));
            }
            Arrival::TooLate => {}
            Arrival::Unasked(harm) => {
                // It hurts, and no operation that was wanted has it to bear.
                let population = self.population.index;
                let id = self.context.ledger.intend(population);
                let due = Due { id, population, intended: now, payload: 0, half_close: false };
                self.enter(due, now, (Fate::Harmed(harm), None));
            }
        }
    }

    fn refused(&mut self, error: &io::Error) {
        if let Some(Sent { due, dispatched, .. }) = self.flight.refused() {
            self.enter(due, dispatched, (Fate::Harmed(Harm::UdpLost), error.raw_os_error()));
        }
    }

    /// Gives up those that have waited too long. Answers that came, and found our own
    /// socket full, are not the server's to answer for.
    fn lose(&mut self) {
        let lost = self.flight.expired(self.context.clock.now());
        let dropped = self.dropped();
        for Sent { due, dispatched, .. } in lost {
            let ours = self.excused < dropped;
            self.excused += u64::from(ours);
            let fate = if ours { Fate::LimitHit } else { Fate::Harmed(Harm::UdpLost) };
            self.enter(due, dispatched, (fate, None));
        }
    }

    fn dropped(&self) -> u64 {
        self.row.local.and_then(dropped).unwrap_or_default()
    }

    fn enter(&self, due: Due, dispatched: Stamp, (fate, errno): (Fate, Option<i32>)) {
        self.context.ledger.operation(Operation {
            id: due.id,
            population: self.population.index,
            kind: OpKind::Datagram,
            connection: self.row.id,
            intended: due.intended,
            dispatched,
            finished: self.context.clock.now(),
            fate,
            errno,
        });
    }
}

/// How many datagrams this socket of ours had no room for.
fn dropped(local: SocketAddr) -> Option<u64> {
    let table = if local.is_ipv4() { "udp" } else { "udp6" };
    drops(&fs::read_to_string(format!("/proc/self/net/{table}")).ok()?, local)
}

/// The same, in the kernel's table: the last word of the line of that address, which
/// is written as the 32-bit words that this machine reads it as.
fn drops(table: &str, local: SocketAddr) -> Option<u64> {
    let octets = match local.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word));
    let ip: String = words.map(|word| format!("{word:08X}")).collect();
    let address = format!("{ip}:{:04X}", local.port());
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find(|words| words.get(1) == Some(&address.as_str()))?.last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_our_own_socket_had_no_room_for() {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let local = socket.local_addr().unwrap();
        assert_eq!(dropped(local), Some(0));
        SockRef::from(&socket).set_recv_buffer_size(0).unwrap();
        for _ in 0..100 {
            socket.send_to(&[0; 500], local).unwrap();
        }
        assert!(dropped(local).unwrap() > 50, "{:?}", dropped(local));
    }

    #[test]
    fn reads_addresses_as_the_kernel_writes_them() {
        let table = "  sl  local_address rem_address   st … drops\n\
             97: 0101007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000 0 0 9 2 0 7\n";
        assert_eq!(drops(table, "127.0.1.1:50000".parse().unwrap()), Some(7));
        assert_eq!(drops(table, "127.0.1.2:50000".parse().unwrap()), None);
        let table = "97: 00000000000000000000000001000000:C350 x 01 3";
        assert_eq!(drops(table, "[::1]:50000".parse().unwrap()), Some(3));
    }
}
