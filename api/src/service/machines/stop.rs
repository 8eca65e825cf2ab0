//! Signals: stop, kill, end now.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::agent::SignalRequest;
use tokio::time::timeout;

use super::CONTAINER;
use super::live::Live;
use crate::service::Service;
use crate::service::error::ServiceError;
use crate::service::model::{Image, Machine, Phase};

/// How long a machine whose container was killed has to end by itself.
const AFTER_KILL: Duration = Duration::from_secs(10);
/// How long an agent has to pass a last signal on.
const LAST_SIGNAL: Duration = Duration::from_secs(3);
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// The signals that an image may name as its stop signal (signal(7), x86).
const SIGNALS: [(&str, i32); 12] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", SIGKILL),
    ("USR1", 10),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", SIGTERM),
    ("WINCH", 28),
    ("PWR", 30),
];

/// A signal by its name, with or without `SIG`, or by its number.
pub fn signal_number(text: &str) -> Option<i32> {
    let text = text.trim().to_ascii_uppercase();
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

impl Service {
    /// Stops a machine: its stop signal, then, after a while, a kill. Answers when it has ended. A machine
    /// that does not run is left as it is.
    pub async fn stop_machine(
        self: &Arc<Self>,
        name: &str,
        timeout_s: Option<u32>,
    ) -> Result<Machine, ServiceError> {
        let machine = self.machine(name).await?;
        let id = &machine.metadata.id;
        let Some(live) = self.live(id) else { return Ok(machine) };
        wake(&machine, &live).await;
        if matches!(machine.status.phase, Phase::Running | Phase::Paused) {
            let image = self.records.by_id::<Image>(&machine.status.image_id).await?;
            let words = image.map(|image| image.status.config.stop_signal).unwrap_or_default();
            let signal = signal_number(&words).unwrap_or(SIGTERM);
            let patience = u64::from(timeout_s.unwrap_or(machine.spec.stop_timeout_s).min(3600));
            // A container that cannot be reached is killed below.
            let _ = send(&live, signal, false).await;
            let _ = timeout(Duration::from_secs(patience), live.finished()).await;
        }
        end(&live).await;
        self.after_end(machine).await
    }

    /// Sends a signal to a machine's container.
    pub async fn kill_machine(self: &Arc<Self>, name: &str, signal: i32) -> Result<Machine, ServiceError> {
        let machine = self.machine(name).await?;
        let Some(live) = self.live(&machine.metadata.id) else {
            let message = format!("Machine {} does not run", machine.metadata.name);
            return Err(ServiceError::Conflict { message });
        };
        if signal == SIGKILL {
            wake(&machine, &live).await;
            end(&live).await;
        } else if machine.status.phase == Phase::Paused {
            // It would come when nobody expects it any more.
            let message =
                format!("Machine {} is paused: no signal but KILL reaches it", machine.metadata.name);
            return Err(ServiceError::Conflict { message });
        } else {
            send(&live, signal, false).await.map_err(|source| ServiceError::Guest {
                name: machine.metadata.name.clone(),
                operation: "pass the signal on",
                source,
            })?;
        }
        self.after_end(machine).await
    }

    /// Ends a machine without asking.
    pub(super) async fn end_now(&self, machine: &Machine) {
        if let Some(live) = self.live(&machine.metadata.id) {
            wake(machine, &live).await;
            end(&live).await;
        }
    }

    /// The machine as it is now, or as it was when it has removed itself.
    async fn after_end(&self, machine: Machine) -> Result<Machine, ServiceError> {
        match self.machine(&machine.metadata.id).await {
            Err(ServiceError::NotFound { .. }) => Ok(machine),
            other => other,
        }
    }
}

async fn send(live: &Live, signal: i32, all: bool) -> Result<(), crate::host::HostError> {
    live.agent.signal(CONTAINER, &SignalRequest { signal, all }).await
}

/// Lets a machine that is paused go on, so that it can end in order. One that does not is killed.
async fn wake(machine: &Machine, live: &Live) {
    if machine.status.phase == Phase::Paused {
        let _ = live.vmm.resume().await;
    }
}

/// Ends a machine: its container if the guest obeys, so that its file systems are whole; its process if not.
async fn end(live: &Live) {
    let killed = timeout(LAST_SIGNAL, send(live, SIGKILL, true)).await;
    if matches!(killed, Ok(Ok(()))) && timeout(AFTER_KILL, live.finished()).await.is_ok() {
        return;
    }
    live.cancel();
    live.finished().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [("SIGTERM", 15), ("term", 15), ("9", 9), ("SIGUSR1", 10), (" 64 ", 64)] {
            assert_eq!(signal_number(text), Some(number), "{text}");
        }
        for text in ["", "0", "65", "-1", "SIG", "BOO"] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }
}
