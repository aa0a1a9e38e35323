//! A server that runs already, as the command line names it.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::error::Mistake;
use super::file::{self, unplaced};
use super::form::Written;

/// Which server to attach to. It takes the place of what the scenario says of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Where it listens.
    pub connect: Option<SocketAddr>,
    /// Its main process.
    pub pid: Option<u32>,
    /// The file in which its main process leaves its pid.
    pub pid_file: Option<PathBuf>,
    /// What asks it to upgrade, for a shell.
    pub upgrade_cmd: Option<String>,
}

impl Attachment {
    /// Has the scenario be about this server. What only a server that the harness
    /// starts could do is not asked for.
    pub(super) fn apply(&self, scenario: &mut file::Scenario) -> Result<(), Mistake> {
        let target = &mut scenario.target;
        let written = target.attach.take().map(toml::Spanned::into_inner);
        let connect = self.connect.or_else(|| written.as_ref().map(|attach| attach.connect.0));
        let Some(connect) = connect else {
            return Err(Mistake::anywhere(
                "it is not said where the server listens; write --connect ADDR, like --connect \
                 127.0.0.1:8080, or attach = { connect = \"127.0.0.1:8080\" } in [target]",
            ));
        };
        let pid = self.pid.or_else(|| written.and_then(|attach| attach.pid));
        target.attach = Some(unplaced(file::Attach { connect: Written(connect), pid }));
        if let Some(path) = &self.pid_file {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            target.pid_file = Some(unplaced(path.to_string_lossy().into_owned()));
        }
        if let Some(command) = &self.upgrade_cmd {
            let command = ["/bin/sh", "-c", command].map(|word| unplaced(word.to_owned()));
            target.trigger = unplaced(file::Trigger {
                command: Some(unplaced(command.into())),
                ..file::Trigger::default()
            });
        }
        (target.command, target.ledger) = (None, None);
        scenario.network = file::Network::default();
        Ok(())
    }
}
