//! The `[[fault]]` sections: what each says, and whether it can be meant.

use toml::Spanned;

use super::error::{Mistake, require};
use super::file;
use super::form::Written;
use super::plan::{Fault, FaultKind, When};
use crate::event::Expected;

/// Makes the faults of a plan.
pub(super) fn faults(written: Vec<Spanned<file::Fault>>) -> Result<Vec<Fault>, Mistake> {
    written.into_iter().map(fault).collect()
}

/// What the sections cannot know by themselves.
pub(super) fn together(file: &file::Scenario) -> Result<(), Mistake> {
    let Some(fault) = file.fault.first() else { return Ok(()) };
    require(file.target.attach.is_none(), &fault.span(), || {
        "a server that runs already is never harmed; take the [[fault]] out, or have the server \
         started by target.command"
    })?;
    require(
        file.upgrades.is_some(),
        &fault.span(),
        || "a [[fault]] hits upgrades, and there are none; write an [upgrades] section",
    )
}

fn fault(written: Spanned<file::Fault>) -> Result<Fault, Mistake> {
    let (span, written) = (written.span(), written.into_inner());
    let kind = match (&written.id, &written.kind) {
        (Some(one), None) | (None, Some(one)) => one.get_ref().0,
        (Some(id), Some(_)) => {
            let message = "`id` and `kind` both say what the fault does; take one of them out";
            return Err(Mistake::at(id.span(), message));
        }
        (None, None) => {
            let message = "this does not say what the fault does; write id = \"C04\", or another \
                           that `harness list faults` prints";
            return Err(Mistake::at(span, message));
        }
    };
    let when = when(&written)?;
    let expect = expected(kind, written.expect);
    Ok(Fault { id: kind.id().to_owned(), kind, when, expect })
}

/// What the catalogue says, but for what the file does.
fn expected(kind: FaultKind, written: file::Answered) -> Expected {
    let usual = kind.usual();
    Expected {
        upgrade: written.upgrade.map_or(usual.upgrade, |Written(upgrade)| upgrade),
        clients: written.clients.map_or(usual.clients, |Written(clients)| clients),
        told: written.told.or(usual.told),
    }
}

fn when(written: &file::Fault) -> Result<When, Mistake> {
    match (&written.every, &written.upgrades, &written.chance) {
        (None, None, None) => Ok(When::Every(1)),
        (Some(every), None, None) => {
            require(
                *every.get_ref() >= 1,
                &every.span(),
                || "every = 0 hits no upgrade; write 1 for each, 3 for every third",
            )?;
            Ok(When::Every(*every.get_ref()))
        }
        (None, Some(upgrades), None) => {
            let mut numbers = upgrades.get_ref().clone();
            numbers.sort_unstable();
            numbers.dedup();
            let sound = numbers.len() == upgrades.get_ref().len() && numbers.first() > Some(&0);
            require(sound, &upgrades.span(), || {
                "upgrades names the upgrades to be hit, each once and counted from 1; write them \
                 like [2, 5]"
            })?;
            Ok(When::Upgrades(numbers))
        }
        (None, None, Some(chance)) => {
            let share = *chance.get_ref();
            require(share > 0.0 && share <= 1.0, &chance.span(), || {
                format!("chance = {share} is no probability; write one above 0, like 0.25")
            })?;
            Ok(When::Chance(share))
        }
        (_, Some(upgrades), _) => {
            let message = "`every`, `upgrades` and `chance` each say which upgrades are hit; take \
                           the others out";
            Err(Mistake::at(upgrades.span(), message))
        }
        (Some(every), None, Some(_)) => {
            let message = "`every` and `chance` both say which upgrades are hit; take one of them \
                           out";
            Err(Mistake::at(every.span(), message))
        }
    }
}
