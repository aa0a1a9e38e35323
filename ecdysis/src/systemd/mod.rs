//! What systemd tells this process, and what this process tells systemd.
//!
//! Both go by variables of the environment that are meant for one process.
//! Those of the sockets end with the process that systemd started, and a
//! successor has the sockets from its predecessor; those of the notifications
//! are passed on, since every generation has something to say.

#[cfg(feature = "systemd_notify")]
pub(crate) mod notify;
#[cfg(feature = "systemd_sockets")]
pub(crate) mod sockets;
#[cfg(all(feature = "systemd_notify", feature = "systemd_sockets"))]
pub(crate) mod store;
