//! Unix sockets that have a path: binding it, recovering a stale one, and
//! removing it only while it is still ours.
