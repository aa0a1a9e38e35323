//! Where the time is read.

#![expect(clippy::disallowed_methods, reason = "this is where the time is read")]

use std::time::{Duration, Instant};

pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
