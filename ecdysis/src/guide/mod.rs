//! How it works, what it promises, and how to live with it: documentation only.
//!
//! | page | what it answers |
//! |---|---|
//! | [`course`] | What happens in an upgrade, what is promised, and what each failure costs |
//! | [`crossing`] | What a successor has of its predecessor, how a socket is found again, and what does not cross |
//! | [`deadlines`] | How long to wait for what; systemd, Kubernetes |
//! | [`seccomp`] | Which system calls a filter has to allow |
//! | [`containers`] | What an upgrade is worth where the service is PID 1 |
//! | [`migrating`] | From the published crate 1.1.1 to this library, and back |

#[doc = include_str!("course.md")]
pub mod course {}

#[doc = include_str!("crossing.md")]
pub mod crossing {}

#[doc = include_str!("deadlines.md")]
pub mod deadlines {}

#[doc = include_str!("seccomp.md")]
pub mod seccomp {}

#[doc = include_str!("containers.md")]
pub mod containers {}

#[doc = include_str!("migrating.md")]
pub mod migrating {}
