//! Calling what the application has given us to call.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

/// Calls it, on this thread. If it panics, the panic hook has reported that: it
/// must not take our thread with it, or leave the accept gate shut.
pub(crate) fn call(hook: impl FnOnce()) {
    let outer = WITHIN.replace(true);
    let _ = catch_unwind(AssertUnwindSafe(hook));
    WITHIN.set(outer);
}

/// Whether this thread is calling one: then it must not wait for what the
/// caller has still to do.
pub(crate) fn is_called() -> bool {
    WITHIN.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_knows_that_it_is_in_a_hook_and_a_panic_ends_there() {
        assert!(!is_called());
        call(|| {
            call(|| panic!("on purpose"));
            assert!(is_called(), "still in the outer one");
        });
        assert!(!is_called());
    }
}
