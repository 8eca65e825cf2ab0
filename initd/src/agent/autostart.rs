//! An appliance's own container: made and started unasked, with its output on the console.

use std::io::Write as _;
use std::sync::Arc;

use bulkhead_protocol::boot::Autostart;
use tokio::sync::watch;

use crate::console;
use crate::container::log::{Log, Next};
use crate::container::{ContainerError, Containers};

/// Makes and starts the container. The receiver tells when all its output is on the console.
pub async fn run(
    containers: &Arc<Containers>,
    autostart: Autostart,
) -> Result<watch::Receiver<bool>, ContainerError> {
    let container = containers.create(autostart.container).await?;
    let copied = copy_to_console(Arc::clone(&container.log));
    match container.start().await {
        Ok(()) => {}
        // Its end, with 126 or 127, is the machine's where the appliance says so.
        Err(error) => console::say(&console::chain(&error)),
    }
    Ok(copied)
}

fn copy_to_console(log: Arc<Log>) -> watch::Receiver<bool> {
    let done = watch::Sender::new(false);
    let copied = done.subscribe();
    tokio::spawn(async move {
        let (mut changes, mut since) = (log.watch(), 0);
        loop {
            match log.read(since) {
                Next::Piece(_, sequence, bytes) => {
                    since = sequence + bytes.len() as u64;
                    // The console is as slow as whoever reads it; nobody else shall wait for them.
                    let _ = tokio::task::spawn_blocking(move || std::io::stderr().write_all(&bytes)).await;
                }
                Next::Nothing if changes.changed().await.is_ok() => {}
                Next::Nothing | Next::End => break,
            }
        }
        done.send_replace(true);
    });
    copied
}
