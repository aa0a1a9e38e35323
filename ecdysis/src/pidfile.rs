//! The PID file: whole or not at all, and never removed by a process that was
//! succeeded.
