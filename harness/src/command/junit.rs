//! The outcome of a suite, for whatever reads JUnit.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::series::Done;
use super::trouble::Trouble;
use crate::exit::Exit;

/// Opens the file before anything is run.
pub(super) fn open(path: &Path) -> Result<File, Trouble> {
    File::create(path)
        .map_err(|error| Trouble::Usage(format!("cannot write to {}: {error}", path.display())))
}

/// Writes a test case for each run.
pub(super) fn write(file: &mut File, done: &[Done]) -> io::Result<()> {
    let mut report = Report::new("harness suite");
    report.set_time(done.iter().map(|one| one.took).sum());
    for (name, control) in [("scenarios", false), ("controls", true)] {
        let mut suite = TestSuite::new(name);
        suite.add_test_cases(done.iter().filter(|one| one.control == control).map(case));
        report.add_test_suite(suite);
    }
    let text = report.to_string().map_err(io::Error::other)?;
    file.write_all(text.as_bytes())
}

fn case(done: &Done) -> TestCase {
    let status = done.complaint.as_ref().map_or_else(TestCaseStatus::success, |complaint| {
        // A failure is a fact about the server; an error is one about us.
        let kind = match done.exit() {
            Exit::Fail => NonSuccessKind::Failure,
            Exit::Pass
            | Exit::Usage
            | Exit::Inconclusive
            | Exit::Environment
            | Exit::Internal
            | Exit::TargetStart
            | Exit::Interrupted(_) => NonSuccessKind::Error,
        };
        let mut status = TestCaseStatus::non_success(kind);
        status.set_message(complaint.clone()).set_type(format!("exit {}", done.exit.code()));
        status
    });
    let mut case = TestCase::new(done.name(), status);
    case.set_time(done.took);
    if !done.log.is_empty() {
        case.set_system_out(done.log.clone());
    }
    case
}
