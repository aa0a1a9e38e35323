//! The lines that are printed, and their sum.

use std::error::Error;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Instant;

/// What keeps a claim from being tried, or refutes it.
pub(crate) type Failure = Box<dyn Error>;

/// Makes a [`Failure`] of a text.
macro_rules! failure {
    ($($what:tt)*) => { $crate::report::Failure::from(format!($($what)*)) };
}
pub(crate) use failure;

/// Returns one, unless something is so.
macro_rules! ensure {
    ($is_so:expr, $($what:tt)*) => {
        if !$is_so {
            return Err($crate::report::failure!($($what)*));
        }
    };
}
pub(crate) use ensure;

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    /// One claim: what was measured, if it holds.
    pub(crate) fn claim(&mut self, claim: &str, held: Result<impl Display, Failure>) {
        match held {
            Ok(measured) => {
                self.passed += 1;
                print(&format!("ok      {claim} ({measured})"));
            }
            Err(why) => {
                self.failed += 1;
                print(&format!("FAILED  {claim}: {why}"));
            }
        }
    }

    /// Claims that are tried on one service. One that cannot be tried to the end has
    /// failed, whatever it has said so far.
    pub(crate) fn group(
        &mut self,
        name: &str,
        prepare: impl FnOnce() -> Result<PathBuf, Failure>,
        group: fn(&mut Self) -> Result<(), Failure>,
    ) {
        print(&format!("-- {name}"));
        let began = now();
        if let Err(why) = prepare().and_then(|_| group(self)) {
            self.failed += 1;
            print(&format!("FAILED  {name} is not tried to the end: {why}"));
        }
        print(&format!("   {:.1} s", began.elapsed().as_secs_f64()));
    }

    /// The sum. Nothing at all is no success.
    pub(crate) fn finish(&self) -> bool {
        print(&format!("{} passed, {} failed", self.passed, self.failed));
        self.failed == 0 && self.passed > 0
    }
}

#[expect(clippy::print_stdout, reason = "it is what this program is for")]
fn print(line: &str) {
    println!("{line}");
}

#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
