//! The faults that no scenario of `scenarios/faults` brings about: that none is missing
//! from the list, and that the proofs which it names are there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use syn::visit::Visit;

/// Which faults the list has to speak of: a letter, and numbers.
const FAULTS: &[(char, &[RangeInclusive<u32>])] =
    &[('C', &[14..=15, 22..=24, 26..=28]), ('N', &[1..=16]), ('P', &[1..=8, 16..=33])];

/// What a fault of the list has to say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    fault: String,
    proofs: Vec<String>,
    /// What is not proved, and why.
    open: Option<String>,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn entries() -> BTreeMap<String, Entry> {
    let path = workspace().join("harness/catalogue/proved-elsewhere.toml");
    toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_list_speaks_of_every_fault_that_is_not_the_harnesss() {
    let of = |(letter, ranges): &(char, &[RangeInclusive<u32>])| {
        let letter = *letter;
        let numbers: Vec<u32> = ranges.iter().cloned().flatten().collect();
        numbers.into_iter().map(move |number| format!("{letter}{number:02}"))
    };
    let expected: Vec<String> = FAULTS.iter().flat_map(of).collect();
    let entries = entries();
    assert_eq!(entries.keys().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    for (id, entry) in entries {
        assert!(!entry.fault.is_empty(), "{id} does not say what it is");
        let is_proved = !entry.proofs.is_empty();
        assert!(is_proved || entry.open.is_some(), "{id} has no proof, and does not say why");
    }
}

#[test]
fn every_proof_that_the_list_names_is_there() {
    let doubts: Vec<String> = entries()
        .into_iter()
        .flat_map(|(id, entry)| {
            entry.proofs.into_iter().filter_map(move |proof| {
                doubt(&proof).map(|doubt| format!("{id}: {proof}: {doubt}"))
            })
        })
        .collect();
    assert!(doubts.is_empty(), "\n{}\n", doubts.join("\n"));
}

/// Why this is neither a test nor a scenario.
fn doubt(proof: &str) -> Option<String> {
    let Some((file, name)) = proof.split_once("::") else {
        let is_scenario = proof.starts_with("scenarios/") && workspace().join(proof).is_file();
        let accepted = "a scenario, or a file, \"::\" and a test, are accepted";
        return (!is_scenario).then(|| accepted.to_owned());
    };
    let text = match fs::read_to_string(workspace().join(file)) {
        Ok(text) => text,
        Err(error) => return Some(error.to_string()),
    };
    (!tests(&text).iter().any(|test| test == name)).then(|| "no such test".to_owned())
}

/// The tests in a source file.
fn tests(text: &str) -> Vec<String> {
    #[derive(Default)]
    struct Tests(Vec<String>);
    impl<'ast> Visit<'ast> for Tests {
        fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
            let is_test = |attribute: &syn::Attribute| {
                attribute.path().segments.last().is_some_and(|last| last.ident == "test")
            };
            if function.attrs.iter().any(is_test) {
                self.0.push(function.sig.ident.to_string());
            }
        }

        fn visit_macro(&mut self, called: &'ast syn::Macro) {
            if called.path.is_ident("proptest") {
                // What is in there is no Rust, but the names of its functions are.
                let text = called.tokens.to_string();
                let names = text.split("fn ").skip(1);
                let names = names.filter_map(|rest| rest.split(['(', ' ']).next());
                self.0.extend(names.map(str::to_owned));
            }
        }
    }
    let mut tests = Tests::default();
    tests.visit_file(&syn::parse_file(text).unwrap());
    tests.0
}

#[test]
fn a_name_that_is_no_tests_is_doubted() {
    let text = "fn helper() {} #[test] fn one() {} #[tokio::test] async fn two() {}
                proptest! { #[test] fn three(x: u8) {} }";
    assert_eq!(tests(text), ["one", "two", "three"]);
    assert!(doubt("no-file.rs::test").is_some());
    assert!(doubt("harness/tests/proved_elsewhere.rs::doubt").is_some());
    assert!(doubt("nothing").is_some());
    assert!(doubt("scenarios/no-file.toml").is_some());
    assert!(doubt("scenarios/smoke.toml").is_none());
}

/// Deadlines that followed the time of day would pass when somebody sets the clock.
#[test]
fn the_library_never_asks_for_the_time_of_day() {
    let mut directories = vec![workspace().join("ecdysis/src")];
    let mut read = 0;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                for clock in ["SystemTime", "UNIX_EPOCH", "CLOCK_REALTIME", "gettimeofday"] {
                    assert!(!text.contains(clock), "{} asks for {clock}", path.display());
                }
                read += 1;
            }
        }
    }
    assert!(read > 50, "only {read} files were read");
}
