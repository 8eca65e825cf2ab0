//! Copies into a container and out of it, by a process of this program that enters its mounts and nothing else.

use bulkhead_protocol::agent::ContainerState;
use bulkhead_protocol::copy::{CopyAction, CopyRequest};
use bulkhead_protocol::oci::Spec;

use super::exec::{Ends, Exec};
use super::{ContainerError, Containers, SpecError, shape, stage};

/// The longest path, in bytes: Linux's `PATH_MAX` without its NUL.
const MAX_PATH: usize = 4095;

impl Containers {
    /// Begins a copy. The archive goes through the streams.
    pub async fn copy(&self, id: &str, request: CopyRequest) -> Result<Exec, ContainerError> {
        let container = self.find(id)?;
        if container.status.borrow().state != ContainerState::Running {
            return Err(container.state_error("copied from or to"));
        }
        check(&request).map_err(|source| ContainerError::Spec { id: id.to_owned(), source })?;
        let ends = Ends::of_pipes(request.action == CopyAction::Write, false, None)
            .map_err(|source| ContainerError::Spawn { id: id.to_owned(), source })?;
        let own_users = shape::own_users(&container.spec);
        let config = stage::Config {
            hostname: None,
            own_network: false,
            own_users,
            world: stage::World::Copy(request),
            spec: Spec::default(),
        };
        self.launch(&container, config, ends).await
    }
}

fn check(request: &CopyRequest) -> Result<(), SpecError> {
    let wrong = |property, value: &str, reason| SpecError::Value {
        property,
        value: value.replace('\0', "\\0").chars().take(80).collect(),
        reason,
    };
    let path = &request.path;
    if path.is_empty() || path.len() > MAX_PATH || path.contains('\0') {
        return Err(wrong("path", path, "it is 1 to 4095 bytes without a NUL"));
    }
    match &request.name {
        Some(name) if name.is_empty() || name == ".." || name.len() > 255 || name.contains(['/', '\0']) => {
            Err(wrong("name", name, "it is one component of a path"))
        }
        _ => Ok(()),
    }
}
