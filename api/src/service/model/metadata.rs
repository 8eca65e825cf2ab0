//! What every resource has.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

/// Who a resource is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Unique among all resources of the kind, for ever.
    pub id: String,
    /// Unique among the resources of the kind that there are.
    pub name: String,
    /// The revision of the store that wrote the resource last.
    pub resource_version: u64,
    /// When it was made (RFC 3339, UTC).
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A list of resources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct List<T> {
    /// What the list itself is.
    pub metadata: ListMetadata,
    /// The resources, the oldest first.
    pub items: Vec<T>,
}

/// What a list is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListMetadata {
    /// Watch from here to see every change after the list.
    pub resource_version: u64,
}

/// What the store and the watch need to know of a resource.
pub trait Resource: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The plural, as it is in paths and in the store's keys.
    const COLLECTION: &'static str;
    /// The singular, for sentences.
    const KIND: &'static str;

    /// Its metadata.
    fn metadata(&self) -> &Metadata;

    /// Its metadata, to be changed.
    fn metadata_mut(&mut self) -> &mut Metadata;
}

/// Implements [`Resource`] for a struct with a `metadata` field.
macro_rules! resource {
    ($type:ty, $collection:literal, $kind:literal) => {
        impl crate::service::model::Resource for $type {
            const COLLECTION: &'static str = $collection;
            const KIND: &'static str = $kind;

            fn metadata(&self) -> &crate::service::model::Metadata {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut crate::service::model::Metadata {
                &mut self.metadata
            }
        }
    };
}
pub(super) use resource;
