//! Connections in flight, and how a process comes to an end without cutting them.
