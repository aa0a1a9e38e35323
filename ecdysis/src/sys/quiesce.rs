//! Stopping new handshakes on a listener before it is closed.
