//! `harness analyze`: a stored run, judged again.

use super::judge;
use super::trouble::Trouble;
use crate::cli::Analyze;
use crate::exit::Exit;
use crate::store::Run;

pub(super) fn analyze(analyze: &Analyze) -> Result<Exit, Trouble> {
    let run = Run::read(&analyze.run)?;
    let outputs = judge::open(analyze.out.as_deref().unwrap_or(&analyze.run), &run.plan)?;
    judge::judge(&run, Some(outputs), analyze.format.chosen(), false)
}
