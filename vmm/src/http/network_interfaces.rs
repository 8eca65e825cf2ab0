//! `PUT` and `PATCH /network-interfaces/ID`: a network device.

use super::answer::Answer;
use super::endpoint::{Call, answer};
use crate::config::{NetworkInterface, NetworkInterfaceChange};

/// `PUT /network-interfaces/ID`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json::<NetworkInterface>().and_then(|interface| {
        call.same_id(&interface.iface_id)?;
        Ok(Answer::of(call.controller.configure(|spec| spec.set_network_interface(interface))))
    }))
}

/// `PATCH /network-interfaces/ID`: other limits for one that runs.
pub fn patch(call: &Call<'_>) -> Answer {
    answer(call.json::<NetworkInterfaceChange>().and_then(|change| {
        call.same_id(&change.iface_id)?;
        Ok(Answer::of(call.controller.change_network_interface(&change)))
    }))
}
