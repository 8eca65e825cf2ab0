//! The power button: who presses it wants the containers to end in order, and then the machine.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::boot::acpi_events;
use crate::console;
use crate::container::Containers;

/// How long containers may take to end after they were asked to, as Docker gives them.
const GRACE: Duration = Duration::from_secs(10);

/// Obeys the button until the machine ends. A guest without one lives as before.
pub async fn obey(containers: Arc<Containers>) {
    match pressed().await {
        Ok(()) => {
            console::say("the power button was pressed");
            containers.end_in_order(GRACE).await;
            // The status of a container whose end is the machine's counts first.
            containers.end_machine(0);
        }
        Err(error) => console::say(&format!("the power button is not heard: {error}")),
    }
}

/// Returns when the button is pressed. The kernel's sockets are read alike whatever their family, so this one is
/// tokio's as a Unix socket.
async fn pressed() -> io::Result<()> {
    let socket = UnixDatagram::from_std(acpi_events::listen()?.into())?;
    let mut message = [0; acpi_events::MAX_MESSAGE];
    loop {
        match socket.recv(&mut message).await {
            Ok(length) if acpi_events::is_power_button(&message[..length.min(message.len())]) => {
                return Ok(());
            }
            Ok(_) => {}
            // Reports that were lost because there were too many are not worth the guest.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(error) => return Err(error),
        }
    }
}
