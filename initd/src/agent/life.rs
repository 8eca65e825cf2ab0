//! A guest's life from ready to its end.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::agent::Ready;
use tokio::sync::watch;

use super::connection::Server;
use super::{AgentError, autostart, power_button, vsock};
use crate::boot::Guest;
use crate::container::{Containers, Surroundings};
use crate::reaper::Reaper;
use crate::{clock, console};

/// How long the last containers may take to end, and how long the last answers and the last output may take
/// on their way to the host.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves until the end of the machine has been asked for; returns its status.
pub async fn run(guest: Guest, entered_us: u64) -> Result<u8, AgentError> {
    let reaper = Arc::new(Reaper::default());
    let signals = Reaper::listen().map_err(AgentError::Signals)?;
    let reaping = Arc::clone(&reaper);
    tokio::spawn(async move { reaping.run(signals).await });

    let Guest { cmdline, autostart, program, resolvers, modules } = guest;
    let autostart = autostart.filter(|_| !cmdline.agent_only);
    let listener = match vsock::Listener::bind() {
        Ok(listener) => Some(listener),
        // An appliance may be run without a host that listens; a guest that only serves may not.
        Err(_) if autostart.is_some() => None,
        Err(error) => return Err(AgentError::Listen(error)),
    };
    let surroundings = Surroundings {
        hostname: cmdline.hostname,
        addresses: cmdline.networks.iter().map(|network| network.address).collect(),
        resolvers,
        modules: Arc::new(modules),
    };
    let containers = Arc::new(Containers::new(reaper, program, surroundings));
    let ready = ready(entered_us);
    console::say(&format!("ready in {} ms", (ready.ready_us - entered_us).div_ceil(1000)));

    tokio::spawn(power_button::obey(Arc::clone(&containers)));
    let server = Server::new(Arc::clone(&containers), ready);
    if let Some(listener) = listener {
        tokio::spawn(Arc::clone(&server).accept(listener));
    }
    let copied = match autostart {
        Some(autostart) => autostart::run(&containers, autostart).await.map_err(AgentError::Autostart)?,
        None => watch::Sender::new(true).subscribe(),
    };
    let code = containers.ending().await;
    // First the containers: who follows their output hears its end, and their volumes are unmounted.
    if tokio::time::timeout(FAREWELL, containers.stop_all()).await.is_err() {
        console::say("a container does not end");
    }
    say_farewell(&server, copied).await;
    Ok(code)
}

fn ready(entered_us: u64) -> Ready {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Ready {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        boot_id: boot_id.trim().to_owned(),
        entered_us,
        ready_us: clock::uptime_us().max(entered_us),
    }
}

/// Waits, within bounds, until everybody who listens has heard everything.
async fn say_farewell(server: &Server, mut copied: watch::Receiver<bool>) {
    let all = async {
        let _ = copied.wait_for(|done| *done).await;
        server.finish().await;
    };
    if tokio::time::timeout(FAREWELL, all).await.is_err() {
        console::say("somebody listens too slowly and loses the rest");
    }
}
