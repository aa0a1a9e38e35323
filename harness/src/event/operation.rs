//! The client ledger: what each client intended, did and got.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fate::Fate;
use crate::clock::Stamp;

/// What an operation tried to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OpKind {
    /// Connect, read the greeting, send, read the reply, finish, read the end:
    /// a whole connection for one request.
    Churn,
    /// Open a connection that will be kept: connect and read the greeting.
    Open,
    /// One request and its reply on a kept connection.
    Request,
    /// Finish a kept connection: send FIN, read to the end. It also ends the
    /// time in which the connection was idle, so harm done then is its fate.
    Close,
    /// One datagram and its answer.
    Datagram,
}

/// One operation of one client: a row of the client ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Unique in the run.
    pub id: u64,
    /// Index into [`super::Recording::populations`].
    pub population: u16,
    /// What it tried to do.
    pub kind: OpKind,
    /// The [`Connection::id`] it used.
    pub connection: u64,
    /// When the schedule wanted it. Latency counts from here, so that a slow
    /// server cannot slow down the clock that measures it (coordinated omission).
    pub intended: Stamp,
    /// When it was really begun.
    pub dispatched: Stamp,
    /// When it ended.
    pub finished: Stamp,
    /// How it ended.
    pub fate: Fate,
    /// The error number behind the fate, if there was one.
    pub errno: Option<i32>,
}

/// Which process answered, as it said itself in its greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Served {
    /// The generation it claims to be, if it says.
    pub generation: Option<u64>,
    /// The pid it claims to have.
    pub pid: u32,
}

/// One connection, as the client saw it: facts only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Unique in the run.
    pub id: u64,
    /// Index into [`super::Recording::populations`].
    pub population: u16,
    /// The client's own address; with the server's it names the connection in
    /// any other evidence.
    pub local: Option<SocketAddr>,
    /// When `connect` was called. `None`: it never was (no port, no descriptor),
    /// so the kernel counted nothing.
    pub opened: Option<Stamp>,
    /// When the handshake was complete.
    pub established: Option<Stamp>,
    /// When the first byte from the server was read.
    pub first_byte: Option<Stamp>,
    /// When the client let go of it.
    pub closed: Stamp,
    /// Who served it.
    pub served: Option<Served>,
    /// Payload bytes the client wrote.
    pub bytes_out: u64,
    /// Bytes the client read, the greeting included.
    pub bytes_in: u64,
    /// Whether the connection ended by RST.
    pub reset: bool,
    /// Segments that the client's kernel had sent again when the handshake was
    /// complete: SYNs that were lost. `None`: not asked.
    #[serde(default)]
    pub syn_retransmits: Option<u32>,
    /// The same when the client let go of it, SYNs included.
    #[serde(default)]
    pub retransmits: Option<u32>,
    /// What a flow of datagrams counted; `None`: it is a connection. A flow is
    /// never established, because nobody but its client knows of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datagrams: Option<Datagrams>,
}

impl Connection {
    /// One on which nothing has happened yet.
    #[must_use]
    pub fn new(id: u64, population: u16) -> Self {
        Self {
            id,
            population,
            local: None,
            opened: None,
            established: None,
            first_byte: None,
            closed: Stamp::default(),
            served: None,
            bytes_out: 0,
            bytes_in: 0,
            reset: false,
            syn_retransmits: None,
            retransmits: None,
            datagrams: None,
        }
    }
}

/// The datagrams of one flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datagrams {
    /// Those that the client sent.
    pub sent: u64,
    /// Those that the client received.
    pub received: u64,
    /// Those that came and found the client's own socket full.
    pub dropped: u64,
}
