//! `PUT` and `PATCH /pmem/ID`: a file as memory.

use super::answer::Answer;
use super::endpoint::{Call, answer};
use crate::config::{Pmem, PmemChange};

/// `PUT /pmem/ID`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json::<Pmem>().and_then(|pmem| {
        call.same_id(&pmem.id)?;
        Ok(Answer::of(call.controller.configure(|spec| spec.set_pmem(pmem))))
    }))
}

/// `PATCH /pmem/ID`: what is not named stays.
pub fn patch(call: &Call<'_>) -> Answer {
    answer(call.json::<PmemChange>().and_then(|change| {
        call.same_id(&change.id)?;
        Ok(Answer::of(call.controller.change_pmem(change)))
    }))
}
