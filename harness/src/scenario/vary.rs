//! What of the target an exploration may vary. It is no part of the plan: each plan
//! that is drawn has one of the values.

use std::path::Path;

use toml::Spanned;

use super::error::{Mistake, ScenarioError, require};
use super::{Plan, file, read};

/// Arguments of the command that starts the server, and the values that each can have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vary {
    /// The argument, and what may stand behind it.
    pub arguments: Vec<(String, Vec<String>)>,
}

impl Vary {
    /// Reads what a scenario file says of it.
    ///
    /// # Errors
    ///
    /// Those of [`Plan::load`], and when the command has no such argument.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        Plan::load(path, None)?;
        let source = read(path)?;
        file::parse(&source)
            .and_then(|(scenario, _)| vary(scenario))
            .map_err(|mistake| mistake.in_file(path, &source))
    }

    /// Puts `value` behind `flag` in `command`.
    pub fn put(command: &mut [String], flag: &str, value: &str) {
        let place = command.iter().position(|word| word == flag);
        if let Some(old) = place.and_then(|place| command.get_mut(place + 1)) {
            value.clone_into(old);
        }
    }
}

fn vary(scenario: file::Scenario) -> Result<Vary, Mistake> {
    let command = scenario.target.command.map(Spanned::into_inner).unwrap_or_default();
    let mut vary = Vary::default();
    for (flag, values) in scenario.explore.arguments {
        let (name, span) = (flag.get_ref(), flag.span());
        let words = command.get(..command.len().saturating_sub(1)).unwrap_or_default();
        require(words.iter().any(|word| word.get_ref() == name), &span, || {
            format!(
                "`{name}` is no argument of target.command with a value behind it; write one that \
                 is, like \"--listen\""
            )
        })?;
        require(
            !values.get_ref().is_empty(),
            &values.span(),
            || "there is no value to choose from; write some, like [\"0s\", \"20ms\"]",
        )?;
        vary.arguments.push((flag.into_inner(), values.into_inner()));
    }
    Ok(vary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_put_behind_its_argument() {
        let mut command = ["x", "--a", "1", "--b", "2"].map(str::to_owned);
        Vary::put(&mut command, "--b", "3");
        Vary::put(&mut command, "--c", "4");
        Vary::put(&mut command, "3", "5");
        assert_eq!(command, ["x", "--a", "1", "--b", "3"]);
    }
}
