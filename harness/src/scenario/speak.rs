//! What the clients of a load say, and that it fits what they do and who answers.

use std::ops::Range;

use toml::Spanned;

use super::error::{Mistake, checked, require};
use super::form::{Kind, Tongue};
use super::plan::{Http, Speak};
use super::{file, text};

/// What clients ask for when the load does not say.
const USUAL_PATH: &str = "/";

/// The name by which they ask when the load does not say.
const USUAL_HOST: &str = "localhost";

/// What the clients of `load` say.
pub(super) fn speak(load: &file::Load) -> Result<Speak, Mistake> {
    let written = [
        ("path", load.path.as_ref().map(Spanned::span)),
        ("host", load.host.as_ref().map(Spanned::span)),
        ("expect", load.expect.as_ref().map(Spanned::span)),
    ];
    if load.speak.get_ref().0 == Tongue::Echo {
        let mut written = written.into_iter();
        if let Some((key, span)) = written.find_map(|(key, span)| Some((key, span?))) {
            let message = format!(
                "`{key}` means nothing to a load that has its bytes echoed; write speak = \"http\", \
                 or take the key out"
            );
            return Err(Mistake::at(span, message));
        }
        return Ok(Speak::Echo);
    }
    require(matches!(load.kind.0, Kind::Churn | Kind::KeepAlive), &load.speak.span(), || {
        "only loads of kind \"churn\" and \"keep-alive\" speak http; write one of these, or speak = \
         \"echo\""
    })?;
    require(
        is_left_out(&load.payload.span()),
        &load.payload.span(),
        || "`payload` means nothing to a load that speaks http: it sends a GET; take the key out",
    )?;
    let (mut path, mut host) = (USUAL_PATH.to_owned(), USUAL_HOST.to_owned());
    if let Some(written) = &load.path {
        checked(written, text::request_path)?;
        path.clone_from(written.get_ref());
    }
    if let Some(written) = &load.host {
        checked(written, text::in_request)?;
        host.clone_from(written.get_ref());
    }
    let expect = load.expect.as_ref().map(Spanned::get_ref);
    let status = expect.and_then(|expect| expect.status.as_ref()).map(status).transpose()?;
    let body_bytes = expect.and_then(|expect| expect.body_bytes);
    Ok(Speak::Http(Http { path, host, status, body_bytes }))
}

fn status(written: &Spanned<u64>) -> Result<u16, Mistake> {
    let number = *written.get_ref();
    match u16::try_from(number) {
        Ok(status @ 200..=599) => Ok(status),
        Ok(_) | Err(_) => {
            let message = format!("{number} is no status of an answer; write 200 to 599, like 200");
            Err(Mistake::at(written.span(), message))
        }
    }
}

/// What target and loads cannot know of each other.
pub(super) fn together(file: &file::Scenario) -> Result<(), Mistake> {
    let speaks = |load: &&Spanned<file::Load>| load.get_ref().speak.get_ref().0 == Tongue::Http;
    let (http, echo): (Vec<_>, Vec<_>) = file.load.iter().partition(speaks);
    if let (Some(greeting), Some(load)) = (&file.target.greeting, http.first()) {
        checked(greeting, text::header)?;
        require(echo.is_empty(), &load.get_ref().speak.span(), || {
            "some loads speak http and some do not, but the greeting is either a header or a first \
             line; write the same `speak` in each, or take the greeting out"
        })?;
    }
    let kept = http.iter().any(|load| load.get_ref().kind.0 == Kind::KeepAlive);
    let closes = &file.target.closes_idle;
    require(kept && echo.is_empty() || !closes.get_ref(), &closes.span(), || {
        "closes_idle is about kept connections by HTTP; write a [[load]] with kind = \
         \"keep-alive\" and speak = \"http\", and none that speaks otherwise, or take the key out"
    })
}

/// Whether a value stands in no file.
fn is_left_out(span: &Range<usize>) -> bool {
    span.is_empty()
}
