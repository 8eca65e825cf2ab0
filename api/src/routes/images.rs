//! `/api/v1/images`

use super::Shared;
use super::resource::{Deletable, Plainly};
use crate::service::ServiceError;
use crate::service::model::Image;

impl Deletable for Image {
    type How = Plainly;
    const KEPT: &'static str = "A machine uses it";

    async fn delete(service: &Shared, name: &str, _: Plainly) -> Result<(), ServiceError> {
        service.delete_image(name).await
    }
}
