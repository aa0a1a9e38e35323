//! `harness attach`: from a server that runs already to a verdict.

use super::run::judged;
use super::scenarios::load_attached;
use super::trouble::Trouble;
use crate::cli::{Attach, Runs};
use crate::exit::Exit;
use crate::scenario::Attachment;
use crate::units::Shard;

pub(super) fn attach(attach: &Attach) -> Result<Exit, Trouble> {
    let attachment = Attachment {
        connect: attach.connect,
        pid: attach.pid,
        pid_file: attach.pid_file.clone(),
        upgrade_cmd: attach.upgrade_cmd.clone(),
    };
    let loaded = load_attached(&attach.scenario, &attach.changes, &attachment)?;
    let runs = Runs {
        changes: attach.changes.clone(),
        kept: attach.kept.clone(),
        repeat: 1,
        until_fail: false,
        require: attach.require.clone(),
        // The machine's network is what it is in; there is no other to be had.
        allow_tainted: true,
        github: attach.github,
        format: attach.format,
    };
    judged(loaded, &runs, Shard::WHOLE)
}
