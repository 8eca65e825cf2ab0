//! What can be asked of every kind of resource alike.

use std::future::{Future, ready};

use super::model::{Event, Image, List, Machine, Resource, Volume};
use super::{Service, ServiceError};

/// A kind of resource that the service answers for.
pub trait Collection: Resource {
    /// Adds to a resource what its record does not have, because it follows from other records.
    fn complete(&mut self, _service: &Service) -> impl Future<Output = Result<(), ServiceError>> + Send {
        ready(Ok(()))
    }
}

impl Collection for Machine {}
impl Collection for Image {}
impl Collection for Event {}

impl Collection for Volume {
    async fn complete(&mut self, service: &Service) -> Result<(), ServiceError> {
        self.status.used_by = service.users_of(&self.metadata.name).await?;
        Ok(())
    }
}

impl Service {
    /// All resources of the kind, the oldest first.
    pub async fn list<T: Collection>(&self) -> Result<List<T>, ServiceError> {
        let mut list = self.records.list::<T>().await?;
        for item in &mut list.items {
            item.complete(self).await?;
        }
        Ok(list)
    }

    /// The one with that id, name or start of an id.
    pub async fn find<T: Collection>(&self, name: &str) -> Result<T, ServiceError> {
        let mut found: T = self.records.find(name).await?;
        found.complete(self).await?;
        Ok(found)
    }
}
