//! Signals that a successor was started with ignored, so that one that comes too
//! early does not kill it. When it is settled, those that its application has made
//! nothing of are let in again.
//!
//! An application may ignore one of them itself, and that has to stay. So ours are
//! marked: the mask of an ignored signal means nothing to the kernel, which keeps
//! it all the same (sigaction(2)), and who ignores a signal gives it another.

use std::mem;
use std::ptr;

use libc::{c_int, sigaction, sighandler_t};

/// What the mark is made of: every signal of old, but for those that no mask can
/// have.
const MARK: std::ops::RangeInclusive<c_int> = 1..=31;

/// Whether this process ignores a signal. It does not if there is no such signal.
pub(crate) fn is_ignored(signal: c_int) -> bool {
    exchange(signal, None).is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
}

/// Marks those of these signals that are ignored, which is our doing.
pub(crate) fn mark(early: &[c_int]) {
    for &signal in early.iter().filter(|signal| is_ignored(**signal)) {
        let mut ignore = simple(libc::SIG_IGN);
        // SAFETY: writes to the mask of `ignore` only.
        unsafe { libc::sigfillset(&raw mut ignore.sa_mask) };
        exchange(signal, Some(&ignore));
    }
}

/// Lets in those of these signals that are still ignored because of us.
pub(crate) fn let_in(early: &[c_int]) {
    for &signal in early.iter().filter(|signal| exchange(**signal, None).is_some_and(is_marked)) {
        let before = exchange(signal, Some(&simple(libc::SIG_DFL)));
        if let Some(before) = before.filter(|before| !is_marked(*before)) {
            // The application has installed its handler between the two calls.
            exchange(signal, Some(&before));
        }
    }
}

fn is_marked(action: sigaction) -> bool {
    let in_mask = |signal| {
        // SAFETY: reads the mask of `action` only.
        unsafe { libc::sigismember(&raw const action.sa_mask, signal) == 1 }
    };
    action.sa_sigaction == libc::SIG_IGN
        && MARK.filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)).all(in_mask)
}

fn simple(handler: sighandler_t) -> sigaction {
    // SAFETY: all zeroes is a valid `sigaction`: no flags, an empty mask.
    let mut action: sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler;
    action
}

/// Sets what is done about a signal, and says what was. `None`: there is no such
/// signal.
fn exchange(signal: c_int, new: Option<&sigaction>) -> Option<sigaction> {
    let mut old = simple(libc::SIG_DFL);
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: both outlive the call. What is set here is to ignore the signal, the
    // default, or what the kernel has just told: never a handler of ours.
    let done = unsafe { sigaction(signal, new, &raw mut old) };
    (done == 0).then_some(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    extern "C" fn handler(_: c_int) {}

    /// No other test has an interest in this one, and its default does nothing.
    const SIGNAL: c_int = libc::SIGWINCH;

    #[test]
    fn what_was_ignored_for_the_start_is_let_in_unless_the_application_has_decided() {
        let ignored = simple(libc::SIG_IGN);
        let handler: extern "C" fn(c_int) = handler;
        let handled = simple(handler as sighandler_t);
        for (of_the_application, let_in_again) in [
            (None, libc::SIG_DFL),
            (Some(ignored), libc::SIG_IGN),
            (Some(handled), handler as sighandler_t),
        ] {
            exchange(SIGNAL, Some(&ignored)).unwrap();
            mark(&[SIGNAL, -1, 4000]);
            assert!(is_ignored(SIGNAL));
            exchange(SIGNAL, of_the_application.as_ref()).unwrap();
            let_in(&[SIGNAL, -1, 4000]);
            let now = exchange(SIGNAL, Some(&simple(libc::SIG_DFL))).unwrap();
            assert_eq!(now.sa_sigaction, let_in_again);
        }
        mark(&[SIGNAL]);
        assert!(!is_ignored(SIGNAL), "what is not ignored is not touched");
    }
}
