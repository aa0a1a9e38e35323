//! The `[[fault]]` sections: what each says, and whether it can be meant.

use std::time::Duration;

use toml::Spanned;

use super::catalogue::Entry;
use super::error::{Mistake, require};
use super::fault::Blow;
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
    )?;
    file.fault.iter().try_for_each(|fault| reachable(fault, file))
}

/// That what a fault needs of the target is there.
fn reachable(fault: &Spanned<file::Fault>, file: &file::Scenario) -> Result<(), Mistake> {
    let file::Fault { id, kind, .. } = fault.get_ref();
    let Some(Written(entry)) = id.as_ref().or(kind.as_ref()).map(Spanned::get_ref) else {
        return Ok(());
    };
    let command = file.target.command.as_ref().map(Spanned::get_ref);
    let replaceable = command.is_some_and(|command| {
        command.iter().any(|argument| argument.get_ref().contains("{shim:"))
    });
    require(replaceable || !entry.kind.needs_path(), &fault.span(), || {
        format!(
            "`{}` takes the place of the server's program; have the command name that by \
             {{shim:NAME}}, where it has {{bin:NAME}} now",
            entry.name
        )
    })?;
    let trigger = file.target.trigger.get_ref();
    let answers = trigger.socket.is_some() || trigger.command.is_some();
    let unseen = matches!(entry.kind, FaultKind::Path(_)) && !answers;
    require(!unseen, &fault.span(), || {
        format!(
            "of `{}` nothing can be seen but what whoever asks is told; write a trigger that \
             answers, like trigger = {{ socket = \"{{dir}}/control.sock\" }}",
            entry.name
        )
    })
}

fn fault(written: Spanned<file::Fault>) -> Result<Fault, Mistake> {
    let (span, written) = (written.span(), written.into_inner());
    let entry = match (&written.id, &written.kind) {
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
    let kind = kind(entry.kind, written.span.as_ref())?;
    let expect = expected(entry, written.expect);
    Ok(Fault { id: entry.id.to_owned(), kind, when, expect })
}

/// What the fault does, for as long as the file says.
fn kind(usual: FaultKind, span: Option<&Spanned<Written<Duration>>>) -> Result<FaultKind, Mistake> {
    let Some(written) = span else { return Ok(usual) };
    let Written(span) = *written.get_ref();
    match usual {
        FaultKind::Shim { misdeed, .. } => Ok(FaultKind::Shim { misdeed, after: span }),
        FaultKind::AfterReady { blow: blow @ Blow::Freeze, .. } => {
            Ok(FaultKind::AfterReady { blow, span })
        }
        FaultKind::KillBeforeReady | FaultKind::AfterReady { .. } | FaultKind::Path(_) => {
            let message =
                "`span` means nothing to this fault, which takes no time; take the key out";
            Err(Mistake::at(written.span(), message))
        }
    }
}

/// What the catalogue says, but for what the file does.
fn expected(entry: &Entry, written: file::Answered) -> Expected {
    let usual = entry.usual();
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
            let mut numbers = upgrades.get_ref().0.clone();
            numbers.sort_unstable();
            numbers.dedup();
            let sound = numbers.len() == upgrades.get_ref().0.len() && numbers.first() > Some(&0);
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
