//! The programs under test. Each is a test by its form only: started by hand, it
//! finds no `FACES` in its environment and does nothing.

use std::path::PathBuf;
use std::time::Duration;

use ecdysis::Ecdysis;

#[path = "../../examples/blocking_echo.rs"]
#[expect(dead_code, reason = "its main function is for who runs the example")]
mod blocking_echo;
#[cfg(feature = "tokio_ecdysis")]
mod echo;

/// Where the service has its files, if this process is one.
fn directory() -> Option<PathBuf> {
    std::env::var_os("FACES").map(PathBuf::from)
}

/// A span of milliseconds from the environment.
fn span(name: &str) -> Option<Duration> {
    std::env::var(name).ok().map(|value| Duration::from_millis(value.parse().unwrap()))
}

#[test]
#[ignore = "a process under test, which the other tests start"]
fn blocking() {
    let Some(directory) = directory() else { return };
    let mut ecdysis = Ecdysis::try_new().unwrap_or_else(|error| panic!("cannot begin: {error}"));
    ecdysis.set_probation(span("PROBATION").unwrap_or_default());
    blocking_echo::run(ecdysis, ([127, 0, 0, 1], 0).into(), &directory.join("control")).unwrap();
}

/// One that takes the constructor at its word.
#[test]
#[ignore = "a process under test, which the other tests start"]
fn trusting() {
    let Some(directory) = directory() else { return };
    let mut ecdysis = Ecdysis::new();
    eprintln!("listening: {}", ecdysis.listen_unix(directory.join("any")).unwrap_err());
    eprintln!("being ready: {}", ecdysis.ready().unwrap_err());
    eprintln!("upgrading: {}", ecdysis.upgrade().unwrap_err());
    ecdysis.quit();
}

#[cfg(feature = "tokio_ecdysis")]
#[test]
#[ignore = "a process under test, which the other tests start"]
fn tokio() {
    let Some(directory) = directory() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(echo::run(&directory)).unwrap_or_else(|error| panic!("cannot begin: {error}"));
}
