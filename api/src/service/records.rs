//! Typed records over the store: names that stay unique, updates that do not lose each other.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ServiceError;
use super::model::{List, ListMetadata, Resource};
use crate::store::{Change, ChangeKind, Expect, Record, Store, StoreError, Watch, Write};

/// Resources in a store.
#[derive(Debug, Clone)]
pub struct Records {
    store: Arc<dyn Store>,
}

/// A change of a resource.
#[derive(Debug, Clone)]
pub struct Changed<T> {
    /// What happened.
    pub kind: ChangeKind,
    /// The resource after it.
    pub object: T,
}

/// The shortest start of an id that names a resource.
const SHORTEST_ID: usize = 6;

fn key_of<T: Resource>(id: &str) -> String {
    format!("{}/{id}", T::COLLECTION)
}

fn name_key<T: Resource>(name: &str) -> String {
    format!("names/{}/{name}", T::COLLECTION)
}

/// Keys are made of checked words only; anything else names nothing.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 255 && !text.contains(char::is_control)
}

fn decode<T: DeserializeOwned>(record: &Record) -> Result<T, ServiceError> {
    serde_json::from_slice(&record.value)
        .map_err(|source| ServiceError::Record { key: record.key.clone(), source })
}

fn encode<T: Serialize>(key: &str, value: &T) -> Result<Vec<u8>, ServiceError> {
    serde_json::to_vec(value).map_err(|source| ServiceError::Record { key: key.to_owned(), source })
}

fn resource<T: Resource>(record: &Record) -> Result<T, ServiceError> {
    let mut object: T = decode(record)?;
    object.metadata_mut().resource_version = record.version;
    Ok(object)
}

impl Records {
    /// Over this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The resource with that id.
    pub async fn by_id<T: Resource>(&self, id: &str) -> Result<Option<T>, ServiceError> {
        if !is_word(id) {
            return Ok(None);
        }
        self.store.get(&key_of::<T>(id)).await?.as_ref().map(resource).transpose()
    }

    /// The resource with that id, name or start of an id.
    pub async fn find<T: Resource>(&self, name: &str) -> Result<T, ServiceError> {
        let missing = || ServiceError::NotFound { kind: T::KIND, name: name.to_owned() };
        if !is_word(name) {
            return Err(missing());
        }
        if let Some(found) = self.by_id(name).await? {
            return Ok(found);
        }
        if let Some(record) = self.store.get(&name_key::<T>(name)).await? {
            let id: String = decode(&record)?;
            return self.by_id(&id).await?.ok_or_else(missing);
        }
        if name.len() < SHORTEST_ID || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let listing = self.store.list(&key_of::<T>(name)).await?;
        match listing.records.as_slice() {
            [] => Err(missing()),
            [record] => resource(record),
            _ => Err(ServiceError::Ambiguous { kind: T::KIND, name: name.to_owned() }),
        }
    }

    /// All resources of the kind, the oldest first.
    pub async fn list<T: Resource>(&self) -> Result<List<T>, ServiceError> {
        let listing = self.store.list(&key_of::<T>("")).await?;
        let mut items = listing.records.iter().map(resource).collect::<Result<Vec<T>, _>>()?;
        items.sort_by(|left, right| left.metadata().created_at.cmp(&right.metadata().created_at));
        Ok(List { metadata: ListMetadata { resource_version: listing.revision }, items })
    }

    /// Keeps a new resource under its id and its name, with further writes that belong to it.
    pub async fn create<T: Resource>(&self, mut object: T, more: Vec<Write>) -> Result<T, ServiceError> {
        let metadata = object.metadata();
        let (id_key, name_key) = (key_of::<T>(&metadata.id), name_key::<T>(&metadata.name));
        let mut writes = vec![
            Write::Put { key: id_key.clone(), expect: Expect::Absent, value: encode(&id_key, &object)? },
            Write::Put {
                key: name_key.clone(),
                expect: Expect::Absent,
                value: encode(&name_key, &metadata.id)?,
            },
        ];
        writes.extend(more);
        match self.store.apply(writes).await {
            Ok(revision) => {
                object.metadata_mut().resource_version = revision;
                Ok(object)
            }
            Err(StoreError::Conflict { .. }) => {
                Err(ServiceError::Exists { kind: T::KIND, name: object.metadata().name.clone() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps a new resource that nobody names.
    pub async fn append<T: Resource>(&self, object: &T) -> Result<(), ServiceError> {
        let key = key_of::<T>(&object.metadata().id);
        let value = encode(&key, object)?;
        self.store.apply(vec![Write::Put { key, expect: Expect::Anything, value }]).await?;
        Ok(())
    }

    /// Changes a resource as it is at that moment; the change is made again when somebody else was quicker.
    /// The change may refuse.
    pub async fn update<T: Resource>(
        &self,
        id: &str,
        mut change: impl FnMut(&mut T) -> Result<(), ServiceError>,
    ) -> Result<T, ServiceError> {
        let key = key_of::<T>(id);
        loop {
            let record = self
                .store
                .get(&key)
                .await?
                .ok_or_else(|| ServiceError::NotFound { kind: T::KIND, name: id.to_owned() })?;
            let mut object: T = resource(&record)?;
            change(&mut object)?;
            let value = encode(&key, &object)?;
            let expect = Expect::Version(record.version);
            match self.store.apply(vec![Write::Put { key: key.clone(), expect, value }]).await {
                Ok(revision) => {
                    object.metadata_mut().resource_version = revision;
                    return Ok(object);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Forgets a resource and its name, with further writes that belong to it.
    pub async fn delete<T: Resource>(&self, object: &T, more: Vec<Write>) -> Result<(), ServiceError> {
        let metadata = object.metadata();
        let mut writes = vec![
            Write::Delete { key: key_of::<T>(&metadata.id), expect: Expect::Anything },
            Write::Delete { key: name_key::<T>(&metadata.name), expect: Expect::Anything },
        ];
        writes.extend(more);
        self.store.apply(writes).await?;
        Ok(())
    }

    /// Changes of the kind since a revision; none is from now on.
    pub async fn watch<T: Resource>(&self, since: Option<u64>) -> Result<Watch, ServiceError> {
        Ok(self.store.watch(&key_of::<T>(""), since).await?)
    }

    /// A change as the resource that it is about; nothing when it is about another kind.
    pub fn changed<T: Resource>(change: &Change) -> Option<Changed<T>> {
        let id = change.record.key.strip_prefix(T::COLLECTION)?.strip_prefix('/')?;
        let object: T = resource(&change.record).ok()?;
        (object.metadata().id == id).then_some(Changed { kind: change.kind, object })
    }

    /// What the daemon alone knows of a resource.
    pub async fn private<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ServiceError> {
        self.store.get(key).await?.as_ref().map(decode).transpose()
    }

    /// Makes writes that are no resource's.
    pub async fn apply(&self, writes: Vec<Write>) -> Result<(), ServiceError> {
        self.store.apply(writes).await?;
        Ok(())
    }

    /// Keeps what the daemon alone knows of a resource.
    pub async fn set_private<T: Serialize>(&self, key: &str, value: &T) -> Result<(), ServiceError> {
        self.store.apply(vec![put_private(key, value)?]).await?;
        Ok(())
    }
}

/// A write that keeps what the daemon alone knows.
pub fn put_private<T: Serialize>(key: &str, value: &T) -> Result<Write, ServiceError> {
    Ok(Write::Put { key: key.to_owned(), expect: Expect::Anything, value: encode(key, value)? })
}

/// A write that forgets a key.
pub fn drop_private(key: &str) -> Write {
    Write::Delete { key: key.to_owned(), expect: Expect::Anything }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
