//! Each file is what its readers expect, whatever names a scenario has.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::event::{Harm, Recording};
use harness::report;
use harness::verdict::Verdict;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use roxmltree::{Document, Node};

use super::{MS, clean, harmed, recording, report as report_of};

/// What is written by people who did not think of us.
pub(super) const HOSTILE: &str = "<b>\"x\" & 'y'</b>\n`|,\\ {} \u{1b}[31m</script>";

/// The harmed run, with a name that every format must take as text.
pub(super) fn hostile() -> (Recording, Verdict) {
    let (mut recording, mut verdict) = harmed();
    recording.populations[0] = HOSTILE.to_owned();
    recording.faults[0].evidence = HOSTILE.to_owned();
    recording.interrupted = Some(HOSTILE.to_owned());
    for check in &mut verdict.checks {
        check.detail = check.detail.as_ref().map(|_| HOSTILE.to_owned());
    }
    (recording, verdict)
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.has_tag_name(name))
}

#[test]
fn junit_has_a_case_for_every_check_and_fault() {
    let (recording, verdict) = harmed();
    let text = report::junit(&[&report_of(&recording, &verdict)]).unwrap();
    let document = Document::parse(&text).unwrap();
    let suite = child(document.root_element(), "testsuite").unwrap();
    assert_eq!(suite.attribute("name"), Some("storm"));
    let counts = ["tests", "failures", "errors", "skipped"].map(|name| suite.attribute(name));
    let tests = (verdict.checks.len() + recording.faults.len()).to_string();
    assert_eq!(counts, [Some(&*tests), Some("2"), Some("1"), Some("2")]);
    let case = |name: &str| {
        let cases = suite.children().filter(|child| child.has_tag_name("testcase"));
        cases.into_iter().find(|case| case.attribute("name") == Some(name)).unwrap()
    };
    let refused = case("harm.refused");
    let failure = child(refused, "failure").unwrap();
    assert_eq!(failure.attribute("type"), Some("refused"));
    assert_eq!(failure.text(), Some("because of harm.refused"));
    let out = child(refused, "system-out").unwrap().text().unwrap();
    for part in ["connection 1041", "10.0.0.1:40000", "ECONNREFUSED", "upgrade 1", "nobody"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(child(case("coverage.faults"), "error").is_some());
    assert!(child(case("law.L2"), "skipped").is_some());
    assert!(child(case("harm.epipe"), "system-out").is_none());
    assert!(child(case("fault.C04 in upgrade 2"), "skipped").is_none());
}

#[test]
fn junit_takes_every_name() {
    let (recording, verdict) = hostile();
    let text = report::junit(&[&report_of(&recording, &verdict)]).unwrap();
    let document = Document::parse(&text).unwrap();
    assert!(document.descendants().all(|node| !node.has_tag_name("b")), "{text}");
}

#[test]
fn the_interval_log_has_every_latency_once() {
    let (recording, verdict) = harmed();
    let mut log = Vec::new();
    report::latencies(&recording, &verdict).write(&mut log).unwrap();
    let (mut counted, mut longest) = (0, 0);
    for entry in IntervalLogIterator::new(&log) {
        match entry.unwrap() {
            LogEntry::StartTime(start) | LogEntry::BaseTime(start) => {
                assert_eq!(start.as_secs(), recording.started_unix);
            }
            LogEntry::Interval(interval) => {
                assert_eq!(interval.tag().unwrap().as_str(), "churn");
                assert_eq!(interval.duration(), Duration::from_secs(1));
                let bytes = base64::Engine::decode(
                    &base64::engine::general_purpose::STANDARD,
                    interval.encoded_histogram(),
                );
                let histogram: hdrhistogram::Histogram<u64> =
                    Deserializer::new().deserialize(&mut bytes.unwrap().as_slice()).unwrap();
                counted += histogram.len();
                longest = longest.max(histogram.max());
            }
        }
    }
    // Ten operations belong to the warm-up, and two came to harm.
    assert_eq!(counted, 88);
    assert!(longest.abs_diff(2 * MS) < MS / 500, "{longest}");
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let (recording, verdict) = harmed();
    let text = report::prometheus(&report_of(&recording, &verdict));
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    let scrape = prometheus_parse::Scrape::parse(lines).unwrap();
    // The quantiles of a summary are one sample.
    let (mut single, mut summed) = (0, BTreeSet::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(",quantile=") {
            Some((summary, _)) => drop(summed.insert(summary)),
            None => single += 1,
        }
    }
    assert_eq!(scrape.samples.len(), single + summed.len());
    let value = |metric: &str, label: &str, value: &str| {
        let of = |sample: &&prometheus_parse::Sample| {
            sample.metric == metric && sample.labels.get(label) == Some(value)
        };
        let sample = scrape.samples.iter().find(of).unwrap();
        let prometheus_parse::Value::Gauge(value) = sample.value else {
            panic!("{metric} is no gauge");
        };
        value
    };
    let near = |one: f64, other: f64| (one - other).abs() < 1e-6;
    assert!(near(value("harness_verdict", "verdict", "fail"), 1.0));
    assert!(near(value("harness_verdict", "verdict", "pass"), 0.0));
    for harm in Harm::ALL {
        let done = [Harm::Refused, Harm::WrongGeneration].contains(&harm);
        let seen = value("harness_harmed_operations", "harm", harm.id());
        assert!(near(seen, f64::from(u8::from(done))), "{harm}");
    }
    let during = scrape.samples.iter().find(|sample| {
        sample.metric == "harness_latency_seconds" && sample.labels.get("window") == Some("during")
    });
    let prometheus_parse::Value::Summary(quantiles) = &during.unwrap().value else {
        panic!("latency is no summary");
    };
    assert!(near(quantiles[0].quantile, 0.5) && near(quantiles[0].count, 0.001));
    let head = |word: &str| text.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!(head("# HELP"), head("# TYPE"));
}

#[test]
fn a_metric_keeps_its_line_whatever_its_labels_are() {
    let (recording, verdict) = hostile();
    let text = report::prometheus(&report_of(&recording, &verdict));
    let begins = |line: &str| line.starts_with("# ") || line.starts_with("harness_");
    assert!(text.lines().all(begins), "{text}");
    let label = r#"population="<b>\"x\" & 'y'</b>\n`|,\\ {} "#;
    assert!(text.contains(label), "{text}");
}

#[test]
fn the_summary_begins_with_what_is_wrong() {
    let (recording, verdict) = harmed();
    let text = report::markdown(&report_of(&recording, &verdict));
    let top: Vec<_> = text.lines().take(7).collect();
    assert_eq!(top[0], "## FAIL: storm");
    assert!(top[2].contains("2 of 100 operations were harmed, during 1 of 2 upgrades"), "{text}");
    assert!(top[4].starts_with("> **First harm: `refused`** on connection 1041"), "{text}");
    let (recording, verdict) = hostile();
    let text = report::markdown(&report_of(&recording, &verdict));
    assert!(!text.contains("<b>") && !text.contains('\u{1b}'), "{text}");
    // A table is as wide in each of its rows.
    let bars = |line: &str| line.matches('|').count() - line.matches("\\|").count();
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with('|')).collect();
    for pair in rows.windows(2).filter(|pair| pair[1].starts_with("| ---")) {
        assert_eq!(bars(pair[0]), bars(pair[1]));
    }
    assert!(rows.iter().all(|row| [6, 7, 10].contains(&bars(row))), "{text}");
}

#[test]
fn every_check_that_did_not_hold_is_annotated() {
    let (recording, verdict) = harmed();
    let text = report::annotations(&report_of(&recording, &verdict));
    let lines: Vec<_> = text.lines().collect();
    let errors = lines.iter().filter(|line| line.starts_with("::error file=scenarios/storm.toml,"));
    assert_eq!((lines.len(), errors.count()), (3, 2), "{text}");
    assert!(lines[0].ends_with("::= 0 wanted, 1 seen%0Abecause of harm.refused"), "{text}");
    assert!(lines[2].starts_with("::warning "), "{text}");
    assert_eq!(report::annotations(&report_of(&super::recording(), &clean())), "");
    let (recording, verdict) = hostile();
    let text = report::annotations(&report_of(&recording, &verdict));
    assert!(text.lines().all(|line| line.starts_with("::")), "{text}");
}

#[test]
fn percentile_files_are_named_for_their_population() {
    let (recording, verdict) = (recording(), clean());
    let files = report::hgrm(&report_of(&recording, &verdict));
    let (name, text) = &files[0];
    assert_eq!((files.len(), name.as_str()), (1, "churn.hgrm"));
    let text = String::from_utf8(text.clone()).unwrap();
    assert!(text.contains("#[Max     =        2.000, Total count    =           90]"), "{text}");
}
