//! The report for whatever shows test results: a suite per run, a case per check.

use std::time::Duration;

use quick_junit::{NonSuccessKind, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::harmed::Harmed;
use super::model::{Gate, Report};
use super::processes::FaultRow;
use super::story;
use crate::verdict::Status;

/// The reports as one JUnit file. A check that was not made is skipped, one that
/// saw too little is an error, one that did not hold is a failure whose type is
/// the kind of harm. Faults are cases too: one that came too late is skipped.
///
/// # Errors
///
/// When it cannot be written as XML.
pub fn junit(reports: &[&Report]) -> Result<String, SerializeError> {
    let mut file = quick_junit::Report::new("harness");
    for report in reports {
        file.add_test_suite(suite(report));
    }
    file.to_string()
}

fn suite(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new(report.scenario.name.as_str());
    suite.set_time(Duration::from_nanos(report.duration_ns));
    for (name, value) in [
        ("run_id", &report.run_id),
        ("seed", &report.seed),
        ("started", &report.started),
        ("target", &report.target),
        ("kernel", &report.environment.kernel),
    ] {
        suite.add_property((name, value.as_str()));
    }
    suite.add_test_cases(report.gates.iter().map(|gate| check(report, gate)));
    suite.add_test_cases(report.faults.iter().map(|row| fault(report, row)));
    suite.set_system_out(format!("{}\n", story::headline(report)));
    suite
}

fn check(report: &Report, gate: &Gate) -> TestCase {
    let kind = gate.id.strip_prefix("harm.").unwrap_or(&gate.id);
    let message = format!("{}: {} wanted, {} seen", gate.id, gate.limit, gate.got);
    let status = match gate.status {
        Status::Pass => TestCaseStatus::success(),
        Status::NotChecked => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(gate.detail.as_deref().unwrap_or("not checked"));
            status
        }
        Status::Inconclusive => unhappy(NonSuccessKind::Error, "inconclusive", &message, gate),
        Status::Fail => unhappy(NonSuccessKind::Failure, kind, &message, gate),
    };
    let mut case = TestCase::new(gate.id.as_str(), status);
    case.set_classname(report.scenario.name.as_str());
    if gate.status == Status::Fail {
        let of_kind = |harmed: &&Harmed| harmed.harm.id() == kind;
        let first = report.harmed.iter().find(of_kind).or(report.first_harm.as_ref());
        if let Some(first) = first {
            case.set_system_out(told(first));
        }
    }
    case
}

fn unhappy(kind: NonSuccessKind, of: &str, message: &str, gate: &Gate) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(of).set_message(message);
    if let Some(detail) = &gate.detail {
        status.set_description(detail.as_str());
    }
    status
}

fn told(first: &Harmed) -> String {
    format!(
        "first harm: {}\n{}\n{}\n{}; {}\n",
        first.harm,
        story::whose(first),
        story::what(first),
        story::when(first),
        story::who(first)
    )
}

fn fault(report: &Report, row: &FaultRow) -> TestCase {
    let mut status = match row.met {
        Some(true) => TestCaseStatus::success(),
        Some(false) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        None => TestCaseStatus::skipped(),
    };
    let message = if row.met == Some(false) { &row.got } else { &row.evidence };
    status.set_message(message.as_str());
    let mut case = TestCase::new(format!("fault.{} in upgrade {}", row.id, row.upgrade), status);
    case.set_classname(report.scenario.name.as_str());
    case.set_system_out(format!("{}\n", row.evidence));
    case
}
