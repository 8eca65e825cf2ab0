//! Other processes in a machine's container, and copies.

use std::sync::Arc;

use bulkhead_protocol::copy::{self, CopyRequest};
use bulkhead_protocol::exec::{ExecProcess, TerminalSize};
use tokio::sync::OwnedSemaphorePermit;

use super::CONTAINER;
use super::live::Live;
use crate::host::HostError;
pub use crate::host::relay::Wire;
use crate::host::relay::relay;
use crate::service::Service;
use crate::service::error::ServiceError;
use crate::service::model::{CopyAction, CopySpec, ExecSpec, Phase};

/// The stream to and from a process that has begun.
#[derive(Debug)]
pub struct ExecStream {
    wire: Wire,
    _room: OwnedSemaphorePermit,
}

impl ExecStream {
    /// Connects a client with it until one of both has ended.
    pub async fn serve(self, client: Wire) {
        relay(client, self.wire).await;
    }
}

impl Service {
    /// Runs a process in a machine's container. Answers when its program has begun: with the stream to and from it,
    /// unless nobody waits for it.
    pub async fn exec(&self, name: &str, spec: ExecSpec) -> Result<Option<ExecStream>, ServiceError> {
        check(&spec)?;
        let (machine, live) = self.entered(name).await?;
        let room = self.room()?;
        let process = ExecProcess {
            args: spec.command,
            env: spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            cwd: spec.workdir,
            user: spec.user,
            input: spec.stdin,
            terminal: spec.tty.map(|size| TerminalSize { rows: size.rows, columns: size.columns }),
            detach: spec.detach,
        };
        match live.agent.exec(CONTAINER, &process).await {
            Ok(wire) => Ok(wire.map(|wire| ExecStream { wire, _room: room })),
            Err(HostError::AgentRefused { code: Some(code), message, .. }) => {
                Err(ServiceError::Program { message, code })
            }
            Err(HostError::AgentRefused { status: 400 | 409, message, .. }) => {
                Err(ServiceError::Conflict { message })
            }
            Err(source) => Err(ServiceError::Guest { name: machine, operation: "run the process", source }),
        }
    }

    /// Begins a copy from or to a machine's container. Answers with its stream when what it begins with is found.
    pub async fn copy(&self, name: &str, spec: CopySpec) -> Result<ExecStream, ServiceError> {
        let (name, live) = self.entered(name).await?;
        let room = self.room()?;
        let request = CopyRequest {
            path: spec.path,
            action: match spec.action {
                CopyAction::Stat => copy::CopyAction::Stat,
                CopyAction::Read => copy::CopyAction::Read,
                CopyAction::Write => copy::CopyAction::Write,
            },
            name: spec.name,
            follow: spec.follow,
            owners: spec.owners,
        };
        let failed = |source| ServiceError::Guest { name: name.clone(), operation: "copy", source };
        match live.agent.copy(CONTAINER, &request).await {
            Ok(Some(wire)) => Ok(ExecStream { wire, _room: room }),
            Err(HostError::AgentRefused { status: 400, message, .. }) => {
                Err(ServiceError::Invalid { field: "path", message })
            }
            Err(HostError::AgentRefused { status: 409, message, .. }) => {
                Err(ServiceError::Conflict { message })
            }
            Err(source) => Err(failed(source)),
            Ok(None) => Err(failed(HostError::AgentRefused {
                status: 204,
                message: "it answers without a stream".to_owned(),
                code: None,
            })),
        }
    }

    fn room(&self) -> Result<OwnedSemaphorePermit, ServiceError> {
        Arc::clone(&self.sessions).try_acquire_owned().map_err(|_| ServiceError::Conflict {
            message: "The daemon serves as many streams to machines as it can".to_owned(),
        })
    }

    /// A machine whose container runs, by its name.
    async fn entered(&self, name: &str) -> Result<(String, Arc<Live>), ServiceError> {
        let machine = self.machine(name).await?;
        let name = machine.metadata.name;
        let state = match machine.status.phase {
            Phase::Running => None,
            Phase::Paused => Some("is paused: unpause it first"),
            _ => Some("does not run"),
        };
        let live = self.live(&machine.metadata.id).filter(|_| state.is_none());
        let conflict = || ServiceError::Conflict {
            message: format!("Machine {name} {}", state.unwrap_or("does not run")),
        };
        let live = live.ok_or_else(conflict)?;
        Ok((name, live))
    }
}

fn check(spec: &ExecSpec) -> Result<(), ServiceError> {
    let invalid = |field, message: &str| Err(ServiceError::Invalid { field, message: message.to_owned() });
    if spec.command.first().is_none_or(String::is_empty) {
        return invalid("command", "its first word is the program to run");
    }
    let nul = |text: &str| text.contains('\0');
    if spec.command.iter().any(|word| nul(word)) {
        return invalid("command", "a word contains a NUL character");
    }
    let wrong =
        |(name, value): (&String, &String)| name.is_empty() || name.contains('=') || nul(name) || nul(value);
    if spec.env.iter().any(wrong) {
        return invalid("env", "a variable is not NAME=VALUE");
    }
    if spec.workdir.as_deref().is_some_and(|path| !path.starts_with('/') || nul(path)) {
        return invalid("workdir", "it is not an absolute path");
    }
    if spec.user.as_deref().is_some_and(|user| user.is_empty() || nul(user)) {
        return invalid("user", "it is not USER or USER:GROUP");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_run_is_refused_here() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let right = ExecSpec { command: words(&["sh", "-c", ""]), ..ExecSpec::default() };
        assert!(check(&right).is_ok());
        let variable = |name: &str| [(name.to_owned(), String::new())].into_iter().collect();
        for wrong in [
            ExecSpec::default(),
            ExecSpec { command: words(&[""]), ..ExecSpec::default() },
            ExecSpec { command: words(&["a", "b\0"]), ..ExecSpec::default() },
            ExecSpec { env: variable("A=B"), ..right.clone() },
            ExecSpec { workdir: Some("tmp".to_owned()), ..right.clone() },
            ExecSpec { user: Some(String::new()), ..right.clone() },
        ] {
            assert!(check(&wrong).is_err(), "{wrong:?}");
        }
    }
}
