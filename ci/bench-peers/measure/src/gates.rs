//! What has to hold, and how much of it does.

/// Counts what held and what did not.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    passed: usize,
    failed: usize,
}

impl Gates {
    pub(crate) fn check(&mut self, claim: &str, holds: bool) {
        if holds {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
        println!("gate: {claim}: {}", if holds { "holds" } else { "DOES NOT HOLD" });
    }

    pub(crate) fn hold(&self) -> bool {
        self.failed == 0
    }

    /// For the last line.
    pub(crate) fn sum(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }
}
