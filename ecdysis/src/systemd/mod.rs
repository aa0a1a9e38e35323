//! What systemd tells this process, and what this process tells systemd.

#[cfg(feature = "systemd_notify")]
pub(crate) mod notify;
#[cfg(feature = "systemd_sockets")]
pub(crate) mod sockets;
