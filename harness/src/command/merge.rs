//! `harness merge`: one verdict on what several generators saw.

use super::judge;
use super::trouble::Trouble;
use crate::cli::Merge;
use crate::exit::Exit;
use crate::store::Run;
use crate::units::Shard;

pub(super) fn merge(merge: &Merge) -> Result<Exit, Trouble> {
    let run = Run::merge(&merge.runs)?;
    if let [only] = run.parts.as_slice()
        && only.shard != Shard::WHOLE
    {
        let message =
            format!("only share {} is there, and it proves nothing about the rest", only.shard);
        return Err(Trouble::Unproved(message));
    }
    let outputs = merge.out.as_deref().map(|dir| judge::open(dir, &run.plan)).transpose()?;
    if let Some(outputs) = &outputs {
        run.write(outputs.dir())?;
    }
    judge::judge(&run, outputs, merge.format.chosen(), merge.github)
}
