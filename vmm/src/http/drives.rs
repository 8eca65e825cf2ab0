//! `PUT /drives/ID`: a block device.

use super::answer::Answer;
use super::endpoint::{Call, answer};
use crate::config::Drive;

/// `PUT /drives/ID`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json::<Drive>().and_then(|drive| {
        call.same_id(&drive.drive_id)?;
        Ok(Answer::of(call.controller.configure(|spec| spec.set_drive(drive))))
    }))
}
