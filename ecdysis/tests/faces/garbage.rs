//! What a process makes of an environment and of a manifest that cannot be
//! meant: an error that names the thing. It is the application that ends.

use std::process::Command;

use crate::clients::greet;
use crate::service::Start;

const UPGRADE: &str = "ECDYSIS_RUST_UPGRADE";
const MANIFEST: &str = "ECDYSIS_RUST_PIPE_FDS";
const READY: &str = "ECDYSIS_RUST_PIPE_READY";
const BINDING: &str = "ECDYSIS_RUST_HANDOFF";

/// What a test ends with that panics, which is what these programs do with an
/// error; the library would have another code, or none.
const PANICKED: Option<i32> = Some(101);

/// Variables, and what the error must say.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn variables_that_cannot_be_meant_are_named_with_what_they_may_be() {
    let cases: [Case<'_>; 7] = [
        (&[(UPGRADE, "no")], &[UPGRADE, "\"no\"", "\"yes\", or unset"]),
        (&[(UPGRADE, "")], &[UPGRADE, "\"yes\", or unset"]),
        (&[(UPGRADE, "yes")], &[UPGRADE, "is set, but", MANIFEST]),
        (&[(UPGRADE, "yes"), (MANIFEST, "3")], &["is set, but", READY]),
        (&[(UPGRADE, "yes"), (MANIFEST, "three"), (READY, "4")], &[MANIFEST, "descriptor"]),
        (&[(UPGRADE, "yes"), (MANIFEST, "3"), (READY, "-4")], &[READY, "\"-4\"", "descriptor"]),
        (
            &[(UPGRADE, "yes"), (MANIFEST, "3"), (READY, "4"), (BINDING, "me")],
            &[BINDING, "hexadecimal"],
        ),
    ];
    for subject in
        ["blocking"].into_iter().chain(cfg!(feature = "tokio_ecdysis").then_some("tokio"))
    {
        for (variables, parts) in cases {
            let start = Start::new(subject);
            let start =
                variables.iter().fold(start, |start, (name, value)| start.with(name, value));
            let mut service = start.start();
            let said = service.log_until("cannot begin: ");
            for part in parts {
                assert!(said.contains(part), "no {part:?} in {said}");
            }
            assert_eq!(service.first_exit_code(), PANICKED);
        }
    }
}

#[test]
fn numbers_that_are_no_pipes_are_another_processs() {
    // 3 and 4 are not open; 0 is, and is no pipe.
    for numbers in [["3", "4"], ["0", "0"], ["2147483647", "3"]] {
        let start = Start::new("blocking").with(UPGRADE, "yes");
        let service = start.with(MANIFEST, numbers[0]).with(READY, numbers[1]).serve();
        assert_eq!(greet(service.address()).unwrap().generation, 0);
    }
}

#[test]
fn the_constructor_that_cannot_fail_leaves_it_to_the_calls_that_can() {
    let mut service = Start::new("trusting").with(UPGRADE, "no").start();
    for call in ["listening", "being ready", "upgrading"] {
        let said = service.log_until(&format!("{call}: "));
        assert!(said.contains(UPGRADE), "{said}");
    }
    assert_eq!(service.first_exit_code(), Some(0), "it was not ended");
}

#[test]
fn a_subject_that_is_run_as_a_test_does_nothing() {
    // `cargo test -- --include-ignored` must not hang in one.
    let program = std::env::current_exe().unwrap();
    let arguments = ["--ignored", "--exact", "subjects::blocking"];
    let output = Command::new(program).args(arguments).env_remove("FACES").output().unwrap();
    assert!(output.status.success());
}

#[cfg(feature = "tokio_ecdysis")]
mod in_a_successor {
    use std::fs;

    use ecdysis::control::{self, request};

    use super::{BINDING, MANIFEST, UPGRADE};
    use crate::clients::Looping;
    use crate::service::{PATIENCE, Service, Start};

    /// Upgrades to a successor that a script starts as it should not, and
    /// returns what that says; the old generation reports it, and serves on.
    fn successor(service: &Service, script: &str) -> String {
        let clients = Looping::begin(service.address());
        clients.wait_for(20, 0);
        service.replace_with(script);
        let answer = upgrade(service);
        assert!(!answer.ok);
        let error = answer.error.unwrap();
        assert!(error.contains("ended before it was ready (exit status: 101)"), "{error}");
        clients.wait_for(20, 0);
        let tally = clients.end();
        assert!(tally.is_clean(), "{tally:?}");
        service.log_until("cannot begin: ")
    }

    fn upgrade(service: &Service) -> control::Answer {
        request(&service.path("control"), control::Command::Upgrade, PATIENCE).unwrap()
    }

    #[test]
    fn a_variable_is_named_and_the_predecessor_serves_on() {
        let service = Start::new("tokio").with("PROBATION", "0").serve();
        let said = successor(&service, &format!("{UPGRADE}=no exec $real \"$@\""));
        assert!(said.contains(UPGRADE), "{said}");
        let said = successor(&service, &format!("{MANIFEST}=x exec $real \"$@\""));
        assert!(said.contains(MANIFEST), "{said}");
        service.restore();
        assert!(upgrade(&service).ok);
    }

    #[test]
    fn one_that_talks_without_end_is_not_listened_to_without_end() {
        let service = Start::new("tokio").with("PROBATION", "0").serve();
        // Before it is ready, it is garbage, and then it is killed.
        service.replace_with("exec yes >&4");
        let error = upgrade(&service).error.unwrap();
        assert!(error.contains("something other than ready"), "{error}");
        // Afterwards: that it does not want this, and that it does not want this.
        let flood = "printf 'OKe\\001'; exec yes NN | tr '\\n' N";
        service.replace_with(&format!("{{ {flood}; }} >&4"));
        let answer = upgrade(&service);
        assert!(answer.ok, "{answer:?}");
    }

    #[test]
    fn what_is_wrong_with_a_manifest_is_said_and_the_predecessor_serves_on() {
        let service = Start::new("tokio").with("PROBATION", "0").serve();
        // A pipe of our own in the place of the manifest's. It is not the one
        // that is bound to the handoff; without the binding, any will do.
        let file = service.path("manifest");
        let forged = format!(
            "unset {BINDING}; cat {} | {{ exec 3<&0 </dev/null; exec $real \"$@\"; }}",
            file.display()
        );
        let count = |number: u64| number.to_le_bytes();
        let ours = |version: u16| {
            [&count(0)[..], b"ecdysis\0", &version.to_le_bytes(), &count(2), b"{}"].concat()
        };
        // Descriptor 99, TCP, IPv4.
        let kind = [&count(1)[..], &99_i32.to_le_bytes(), &1_u32.to_le_bytes()].concat();
        let one_socket = [&kind[..], &0_u32.to_le_bytes(), &[127, 0, 0, 1, 80, 0]].concat();
        let cases: [(&[u8], &str); 7] = [
            (b"", "the predecessor went away before it had passed anything on"),
            (&one_socket[..20], "manifest: it ends in the middle"),
            (&ours(9), "manifest: its version is not 1"),
            (&ours(1), "manifest: its body is not what version 1 says"),
            (&ours(1)[..18], "manifest: it ends in the middle"),
            (&[0xff; 100], "manifest: a length in it is absurd"),
            (&one_socket, "manifest: descriptor 99 (Tcp { address: 127.0.0.1:80 })"),
        ];
        for (manifest, part) in cases {
            fs::write(&file, manifest).unwrap();
            let said = successor(&service, &forged);
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        service.restore();
        assert!(upgrade(&service).ok);
    }
}
