//! What the faces of the library promise, checked on real processes: the one
//! without a runtime, the one for Tokio, the control sockets, systemd.
//!
//! Each process under test is this very program, started anew with the name of
//! one of the tests in `subjects`, so that it is never another build than what
//! tests it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![cfg_attr(
    not(feature = "tokio_ecdysis"),
    expect(dead_code, reason = "most of what is tested runs on Tokio")
)]

mod service;
mod clients;
mod subjects;
mod in_process;
mod blocking;
mod garbage;
#[cfg(feature = "tokio_ecdysis")]
mod deaf;
#[cfg(feature = "tokio_ecdysis")]
mod probation;
#[cfg(feature = "tokio_ecdysis")]
mod stops;
#[cfg(feature = "tokio_ecdysis")]
mod control;
#[cfg(feature = "tokio_ecdysis")]
mod program;
#[cfg(feature = "systemd_notify")]
mod manager;
#[cfg(feature = "systemd_notify")]
mod systemd;
#[cfg(all(feature = "failpoints", feature = "tokio_ecdysis"))]
mod points;
