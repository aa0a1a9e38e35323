//! What has to be done while the process has one thread.

use crate::event::Scope;
use crate::observe::{loss, netns};
use crate::scenario::Plan;
use crate::scenario::plan::{By, Namespace};
use crate::subject::Binaries;

use super::descriptors;
use super::error::ConductError;
use super::interrupt::Interrupts;

/// A process that is ready to conduct a run.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) binaries: Binaries,
    pub(super) scope: Scope,
    pub(super) interrupts: Interrupts,
}

/// Builds the server under test (with the machine's network, which Cargo may
/// need) and then leaves for the run's own network.
///
/// A process can change its user namespace only while it has one thread, so
/// this has to be called before anything starts another.
///
/// # Errors
/// What keeps the run from beginning.
pub fn prepare(plan: &Plan) -> Result<Prepared, ConductError> {
    descriptors::provide(plan)?;
    let mut commands = plan.target.command.clone();
    if let By::Command(command) = &plan.target.trigger.by {
        commands.extend(command.iter().cloned());
    }
    let binaries = Binaries::build(&commands)?;
    let scope = match plan.network.namespace {
        Namespace::Private => {
            netns::enter(&plan.network.sysctl)?;
            if let Some(share) = plan.network.loss {
                loss::begin(share).map_err(ConductError::system("lose packets"))?;
            }
            Scope::Private
        }
        Namespace::Host => Scope::Host,
    };
    let interrupts = Interrupts::hold().map_err(ConductError::system("hold back signals"))?;
    Ok(Prepared { binaries, scope, interrupts })
}
