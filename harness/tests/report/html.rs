//! The page is complete in itself, and says first what is wrong.

use std::collections::BTreeMap;

use harness::event::{Observer, Recording, Timeline};
use harness::report;
use harness::verdict::{Outcome, Verdict};

use super::formats::hostile;
use super::{clean, harmed, recording, report as report_of};

fn page(recording: &Recording, verdict: &Verdict) -> String {
    report::html(&report_of(recording, verdict)).unwrap()
}

/// The JSON that is in the page.
fn inline(page: &str) -> &str {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"result\">").unwrap();
    rest.split_once("</script>").unwrap().0
}

/// The page without its script, its style and its data.
fn markup(page: &str) -> String {
    let script = include_str!("../../src/report/html/page.js");
    let style = include_str!("../../src/report/html/page.css");
    [script, style, inline(page)].iter().fold(page.to_owned(), |page, part| page.replace(part, ""))
}

#[test]
fn the_verdict_and_the_first_harm_come_before_everything_else() {
    let (recording, verdict) = harmed();
    let page = page(&recording, &verdict);
    let body = page.split_once("<main>").unwrap().1;
    let at = |text: &str| body.find(text).unwrap_or_else(|| panic!("{text} is not in {body}"));
    let order = [
        "FAIL",
        "2 of 100 operations were harmed, during 1 of 2 upgrades.",
        "First harm: <code>refused</code>",
        "connect failed with ECONNREFUSED (ECONNREFUSED)",
        "connection 1041 of churn, from 10.0.0.1:40000",
        "12ms after the trigger of upgrade 1",
        "served by nobody",
        "the old process closed its listener before the new one had one",
        "--seed 0x5eed",
        "id=\"run\"",
        "id=\"superposed\"",
        "id=\"harmed\"",
        "id=\"checks\"",
        "id=\"percentiles\"",
        "a lost SYN sent again, 1.04, 2.06, 3.08 s",
        "id=\"ledger\"",
        "id=\"upgrades\"",
        "id=\"coverage\"",
    ];
    assert!(order.map(at).is_sorted(), "{:?}", order.map(at));
}

#[test]
fn a_clean_run_has_no_harm_to_show() {
    let page = page(&recording(), &clean());
    assert!(page.contains("No client was harmed: 100 operations, 2 upgrades, all checks held."));
    assert!(!page.contains("First harm") && !page.contains("id=\"harmed\""));
    assert!(!page.contains("class=\"dots harm\""));
}

#[test]
fn nothing_is_fetched() {
    let (recording, verdict) = harmed();
    let page = page(&recording, &verdict);
    for outside in ["http:", "https:", "//", " src=", "srcset"] {
        assert!(!markup(&page).contains(outside), "{outside}");
    }
    for outside in ["http:", "https:", "@import", "url(", "fetch("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let links = page.split("href=\"").skip(1);
    assert!(links.clone().all(|link| link.starts_with('#') || link.starts_with("data:,")));
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn names_stay_text() {
    let (recording, verdict) = hostile();
    let page = page(&recording, &verdict);
    assert!(page.contains("&lt;b&gt;&quot;x&quot; &amp; 'y'&lt;/b&gt;"));
    assert!(!page.contains("<b>\""));
    assert_eq!(page.matches("</script>").count(), 2);
    assert_eq!(report::parse(inline(&page)).unwrap(), report_of(&recording, &verdict));
}

#[test]
fn all_harm_is_drawn_however_much_there_is() {
    let (mut recording, verdict) = harmed();
    let hurt = recording.operations[41].clone();
    recording.operations.extend((1000..40_000).map(|id| {
        let mut operation = hurt.clone();
        operation.id = id;
        operation.finished.0 += id;
        operation
    }));
    let report = report_of(&recording, &verdict);
    let page = report::html(&report).unwrap();
    let json: serde_json::Value = serde_json::from_str(inline(&page)).unwrap();
    let counts = json["timeline"]["harm"].as_array().unwrap().iter();
    let counted: u64 = counts.clone().map(|dot| dot["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, 39_002);
    assert!(counts.len() < 100, "what lies together is one point");
    assert!(page.len() < 500_000, "{}", page.len());
}

#[test]
fn a_run_that_saw_nothing_has_a_report() {
    let timeline = Timeline::default();
    let observer = Observer { intended: vec![0], ..Observer::default() };
    let empty = Recording {
        timeline,
        observer,
        operations: Vec::new(),
        connections: Vec::new(),
        generations: Vec::new(),
        upgrades: Vec::new(),
        faults: Vec::new(),
        interrupted: Some("SIGINT".to_owned()),
        ..recording()
    };
    let verdict = Verdict {
        outcome: Outcome::Inconclusive,
        checks: Vec::new(),
        harm: BTreeMap::new(),
        ..clean()
    };
    let page = page(&empty, &verdict);
    assert!(page.contains("INCONCLUSIVE") && page.contains("The run ended early: SIGINT."));
    let markup = markup(&page);
    assert!(!markup.contains("NaN") && !markup.contains("inf"), "{markup}");
    let report = report_of(&empty, &verdict);
    assert!(report::markdown(&report).starts_with("## INCONCLUSIVE: storm"));
    report::junit(&[&report]).unwrap();
    assert_eq!(report::parse(&report::json(&report).unwrap()).unwrap(), report);
}
