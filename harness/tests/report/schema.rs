//! The published schema, and what is written, hold to each other.

use std::fs;
use std::path::{Path, PathBuf};

use harness::report;
use serde_json::Value;

use super::{clean, harmed, recording, report as report_of};

fn published() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/result-1.json")
}

/// What a validator that knows nothing of us has to say against `result`.
pub(super) fn objections(result: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_slice(&fs::read(published()).unwrap()).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let objections = validator.iter_errors(result);
    objections.map(|wrong| format!("{} at {}", wrong, wrong.instance_path())).collect()
}

#[test]
fn the_published_schema_is_that_of_the_types() {
    let current = report::schema();
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("result-1.json");
    fs::write(&made, &current).unwrap();
    let same = fs::read_to_string(published()).is_ok_and(|published| published == current);
    assert!(
        same,
        "to publish what the types say now:\ncp {} {}",
        made.display(),
        published().display()
    );
}

#[test]
fn results_are_as_the_schema_says() {
    for (recording, verdict) in [harmed(), (recording(), clean())] {
        let text = report::json(&report_of(&recording, &verdict)).unwrap();
        let mut result: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(objections(&result), Vec::<String>::new());

        result["harm"].as_object_mut().unwrap().remove("refused");
        result["duration_ns"] = "1s".into();
        result["verdict"] = "perhaps".into();
        let objections = objections(&result);
        for part in ["refused", "/duration_ns", "/verdict"] {
            assert!(objections.iter().any(|one| one.contains(part)), "{part}: {objections:?}");
        }
    }
}

#[test]
fn a_stored_result_is_read_again_as_it_was() {
    let (recording, verdict) = harmed();
    let report = report_of(&recording, &verdict);
    let text = report::json(&report).unwrap();
    let again = report::parse(&text).unwrap();
    assert_eq!(again, report);
    assert_eq!(report::text(&again, None), report::text(&report, None));
    let other = text.replace("harness/result/1", "harness/result/2");
    let message = report::parse(&other).unwrap_err().to_string();
    assert!(message.contains("harness/result/2") && message.contains("harness/result/1"));
}
