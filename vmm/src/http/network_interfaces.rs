//! `PUT /network-interfaces/ID`: a network device.

use super::answer::Answer;
use super::endpoint::{Call, answer};
use crate::config::NetworkInterface;

/// `PUT /network-interfaces/ID`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json::<NetworkInterface>().and_then(|interface| {
        call.same_id(&interface.iface_id)?;
        Ok(Answer::of(call.controller.configure(|spec| spec.set_network_interface(interface))))
    }))
}
