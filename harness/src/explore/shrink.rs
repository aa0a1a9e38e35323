//! The smallest plan that still fails in the same way, by trying.

use std::collections::HashSet;
use std::mem;

use super::proposals::PASSES;
use super::sound::sound;
use crate::scenario::Plan;

/// What is said of a plan that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It fails as the first one did.
    Fails,
    /// It does not, or not often enough.
    Holds,
    /// There is no time to find out.
    Enough,
}

/// What a search has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// The smallest plan that was seen to fail.
    pub plan: Plan,
    /// Those that were before it, the smallest last.
    pub larger: Vec<Plan>,
    /// Plans that were tried.
    pub tried: usize,
    /// Whether nothing that is left could be tried; otherwise there was no time.
    pub finished: bool,
}

/// Makes `plan`, which fails, smaller for as long as `try_out` says of what is
/// proposed that it fails as well. `around` is the number of the upgrade that did
/// the first harm, if there was one. `try_out` is told what is being left out.
pub fn shrink(
    plan: Plan,
    around: Option<u64>,
    try_out: &mut dyn FnMut(&Plan, &str) -> Answer,
) -> Search {
    // What cannot be written could not be left behind, and is tried as it is.
    let mut search = Search {
        plan: sound(plan.clone()).unwrap_or(plan),
        larger: Vec::new(),
        tried: 0,
        finished: false,
    };
    let mut known = HashSet::new();
    known.insert(search.plan.to_toml());
    loop {
        let before = search.plan.clone();
        for (what, pass) in PASSES {
            loop {
                let proposals = pass(&search.plan, around).into_iter().filter_map(sound);
                let mut fresh = proposals.filter(|plan| known.insert(plan.to_toml()));
                match first_that_fails(&mut fresh, &mut search.tried, |plan| try_out(plan, what)) {
                    Ok(Some(smaller)) => {
                        search.larger.push(mem::replace(&mut search.plan, smaller));
                    }
                    Ok(None) => break,
                    Err(NoTime) => return search,
                }
            }
        }
        if search.plan == before {
            search.finished = true;
            return search;
        }
    }
}

/// There is no time to try more.
#[derive(Debug)]
struct NoTime;

fn first_that_fails(
    proposals: &mut dyn Iterator<Item = Plan>,
    tried: &mut usize,
    mut try_out: impl FnMut(&Plan) -> Answer,
) -> Result<Option<Plan>, NoTime> {
    for plan in proposals {
        match try_out(&plan) {
            Answer::Enough => return Err(NoTime),
            Answer::Fails => {
                *tried += 1;
                return Ok(Some(plan));
            }
            Answer::Holds => *tried += 1,
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
