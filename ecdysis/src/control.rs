//! What is said over a control socket, and a client for it.
