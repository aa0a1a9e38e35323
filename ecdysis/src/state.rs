//! State that a process leaves to its successor: bounded, versioned bytes.
