use super::*;

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn fills_in_every_placeholder_once() {
    let binaries = Binaries { paths: [("echo".to_owned(), PathBuf::from("/b/{dir}"))].into() };
    let command = strings(&["{bin:echo}", "--at={addr}", "{dir}/a{dir}", "{x}{", "{{addr}", "ü"]);
    let address = "127.0.0.1:80".parse().unwrap();
    let (directory, here) = (Path::new("/tmp/{addr}"), Path::new("/s"));
    let places = Places { address, directory, here, pid: None, binaries: &binaries };
    let expected =
        ["/b/{dir}", "--at=127.0.0.1:80", "/tmp/{addr}/a/tmp/{addr}", "{x}{", "{127.0.0.1:80", "ü"];
    assert_eq!(resolve(&command, places), expected.map(OsString::from));
    let command = strings(&["{here}/x", "-{pid}"]);
    assert_eq!(resolve(&command, places), ["/s/x", "-{pid}"].map(OsString::from));
    let places = Places { pid: Some(12), ..places };
    assert_eq!(resolve(&command, places), ["/s/x", "-12"].map(OsString::from));
}

#[test]
fn a_command_without_binaries_builds_nothing() {
    let command = strings(&["/bin/true", "{addr}", "{dir}"]);
    assert_eq!(Binaries::build(&command).unwrap(), Binaries::default());
}

#[test]
fn names_of_binaries_are_found_anywhere() {
    assert_eq!(binary_names("a{bin:x}{addr}{bin:y-z}{bin:").collect::<Vec<_>>(), ["x", "y-z"]);
}

#[test]
fn the_nearest_workspace_counts() {
    let directory = tempfile::tempdir().unwrap();
    let member = directory.path().join("member/src");
    fs::create_dir_all(&member).unwrap();
    fs::write(directory.path().join("member/Cargo.toml"), "[package]\nname = \"m\"\n").unwrap();
    fs::write(directory.path().join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
    assert_eq!(workspace_above(&member).as_deref(), Some(directory.path()));
}

#[test]
fn the_executable_is_read_from_cargos_messages() {
    let messages = r#"
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"echo"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"other"},"executable":"/t/other"}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"echo"},"executable":"/t/echo"}
{"reason":"build-finished","success":true}
"#;
    assert_eq!(built_executable(messages, "echo"), Some(PathBuf::from("/t/echo")));
    assert_eq!(built_executable(messages, "absent"), None);
}

#[test]
fn only_executables_are_found() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("data"), "").unwrap();
    let directories = [directory.path().to_owned(), PathBuf::from("/bin")];
    assert_eq!(find_executable("data", &directories), None);
    assert_eq!(find_executable("sh", &directories), Some(PathBuf::from("/bin/sh")));
}

#[test]
fn errors_say_what_was_tried() {
    let error = BuildError::Missing { name: "x".into(), tried: strings(&["here", "there"]) };
    assert_eq!(error.to_string(), "there is no binary x: looked for it here, there");
}
