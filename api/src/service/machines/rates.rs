//! How much a machine may do a second: the VMM's rate limiters.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::to_its_end;
use super::{boot, validate};
use crate::service::Service;
use crate::service::error::ServiceError;
use crate::service::model::{Machine, Phase, Rates, UpdateMachine};

/// The milliseconds in which a bucket fills: it holds what a second allows.
const SECOND: u64 = 1000;

impl Service {
    /// Changes a machine. One that runs obeys at once, and the change stays for later starts.
    pub async fn update_machine(
        self: &Arc<Self>,
        name: &str,
        change: UpdateMachine,
    ) -> Result<Machine, ServiceError> {
        validate::rates(&change.rates)?;
        let (service, name) = (Arc::clone(self), name.to_owned());
        to_its_end("machine", async move { service.limit_and_record(&name, change).await }).await
    }

    async fn limit_and_record(&self, name: &str, change: UpdateMachine) -> Result<Machine, ServiceError> {
        let id = self.machine(name).await?.metadata.id;
        let _turn = self.turn(&id).await;
        let machine = self.machine(&id).await?;
        validate::rates_of(&machine.spec, &change.rates)?;
        if machine.status.phase == Phase::Creating {
            // Its VMM has read the old rates, perhaps, and cannot be told of others yet, perhaps.
            let message = format!("Machine {} is on its way up", machine.metadata.name);
            return Err(ServiceError::Conflict { message });
        }
        if let Some(live) = self.live(&id) {
            let rates = change.rates;
            if let Some(limiter) = disk(&rates) {
                for drive in boot::drive_ids(&machine) {
                    live.vmm.limit_drive(&drive, &limiter).await?;
                }
            }
            let (receive, transmit) = (receive(&rates), transmit(&rates));
            if receive.is_some() || transmit.is_some() {
                let of = |limiter: Option<Value>| limiter.unwrap_or_else(|| json!({}));
                live.vmm.limit_interface(boot::INTERFACE, &of(receive), &of(transmit)).await?;
            }
        }
        let note = |machine: &mut Machine| {
            machine.spec.rates = machine.spec.rates.changed(change.rates);
            Ok(())
        };
        let machine = self.records.update(&id, note).await?;
        self.tell(&machine, "updated", None).await;
        Ok(machine)
    }
}

fn bucket(rate: u64) -> Value {
    json!({"size": rate, "refill_time": SECOND})
}

/// Firecracker's `RateLimiter` with the buckets that there are rates for.
fn limiter(bandwidth: Option<u64>, ops: Option<u64>) -> Option<Value> {
    let buckets = [("bandwidth", bandwidth), ("ops", ops)];
    let buckets: serde_json::Map<String, Value> =
        buckets.into_iter().filter_map(|(name, rate)| Some((name.to_owned(), bucket(rate?)))).collect();
    (!buckets.is_empty()).then_some(Value::Object(buckets))
}

/// The limiter of each drive.
pub fn disk(rates: &Rates) -> Option<Value> {
    limiter(rates.disk_bytes_per_s, rates.disk_requests_per_s)
}

/// The limiter of what is received.
pub fn receive(rates: &Rates) -> Option<Value> {
    limiter(rates.network_receive_bytes_per_s, None)
}

/// The limiter of what is sent.
pub fn transmit(rates: &Rates) -> Option<Value> {
    limiter(rates.network_transmit_bytes_per_s, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_bucket_of_a_second() {
        let rates =
            Rates { disk_bytes_per_s: Some(7), network_transmit_bytes_per_s: Some(0), ..Rates::default() };
        assert_eq!(disk(&rates), Some(json!({"bandwidth": {"size": 7, "refill_time": 1000}})));
        assert_eq!(receive(&rates), None);
        assert_eq!(transmit(&rates), Some(json!({"bandwidth": {"size": 0, "refill_time": 1000}})));
    }

    #[test]
    fn what_a_change_does_not_name_stays() {
        let before = Rates { disk_bytes_per_s: Some(7), disk_requests_per_s: Some(8), ..Rates::default() };
        let change = Rates { disk_requests_per_s: Some(0), ..Rates::default() };
        let after = before.changed(change);
        assert_eq!((after.disk_bytes_per_s, after.disk_requests_per_s), (Some(7), Some(0)));
    }
}
