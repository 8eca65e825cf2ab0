//! `PUT` and `PATCH /drives/ID`: a block device.

use super::answer::Answer;
use super::endpoint::{Call, answer};
use crate::config::{Drive, DriveChange};

/// `PUT /drives/ID`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json::<Drive>().and_then(|drive| {
        call.same_id(&drive.drive_id)?;
        Ok(Answer::of(call.controller.set_drive(drive)))
    }))
}

/// `PATCH /drives/ID`: what is not named stays.
pub fn patch(call: &Call<'_>) -> Answer {
    answer(call.json::<DriveChange>().and_then(|change| {
        call.same_id(&change.drive_id)?;
        Ok(Answer::of(call.controller.change_drive(change)))
    }))
}
