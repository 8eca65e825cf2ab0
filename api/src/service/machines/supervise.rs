//! Watches over a machine that runs, and clears up after it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::agent::ExitStatus;
use tokio::sync::oneshot;

use super::ending::{Ending, ending, read_record};
use super::live::Live;
use super::output::end_of;
use super::{CONTAINER, connect, runtime_key};
use crate::host::log_frame::Frame;
use crate::host::log_store::LogWriter;
use crate::host::{HostError, cgroup, layout};
use crate::service::error::chain;
use crate::service::model::{Machine, Phase};
use crate::service::records::drop_private;
use crate::service::{Service, clock};

/// How long a machine has to power off once its container has ended.
const POWER_OFF: Duration = Duration::from_secs(20);
/// How long it may take until the guest gives its output.
const FIRST_OUTPUT: Duration = Duration::from_secs(5);
/// How long the rest of the output may take once the machine has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(3);
/// How long to wait before the agent is asked again.
const RETRY: Duration = Duration::from_millis(200);
/// The size at which a console or a VMM's log is cut, and what is kept of it.
const MAX_CONSOLE: u64 = 8 << 20;
const KEPT_CONSOLE: u64 = 256 << 10;
/// A guest that numbers its output beyond this lies.
const MAX_JUMP: u64 = 1 << 40;

impl Service {
    /// From a container that runs to a machine of which nothing is left.
    pub(super) async fn supervise(self: &Arc<Self>, id: &str, live: Arc<Live>, log_base: u64) {
        let Some(process) = live.process().cloned() else { return };
        let mut output = match live.take_output() {
            Some(output) => output,
            // A former daemon began.
            None => tokio::spawn(follow(self.layout.container_log(id), Arc::clone(&live), log_base, None)),
        };
        let layout = &self.layout;
        let trimming = tokio::spawn(trim([layout.console(id), layout.vmm_log(id), layout.passt_log(id)]));
        let watching = tokio::spawn(Arc::clone(self).watch_network(id.to_owned(), Arc::clone(&live)));
        let container = tokio::select! {
            status = container_end(&live) => Some(status),
            () = process.ended() => None,
            () = live.cancelled() => None,
        };
        if container.is_some() {
            let _ = tokio::time::timeout(POWER_OFF, async {
                tokio::select! { () = process.ended() => {}, () = live.cancelled() => {} }
            })
            .await;
        }
        // Whoever has ended does not mind.
        if let Err(error) = process.kill() {
            tracing::warn!("Machine {id}: {}", chain(&error));
        }
        process.ended().await;
        watching.abort();
        connect::end_passt(&live).await;
        if tokio::time::timeout(LAST_OUTPUT, &mut output).await.is_err() {
            output.abort();
        }
        trimming.abort();
        let ended = ending(read_record(&self.layout.exit_record(id)), container, true);
        self.finish(id, Some(&live), Phase::Stopped, ended).await;
    }

    /// Begins to keep the output of a container that is made and not started: when it runs, somebody reads,
    /// and the guest waits for readers before it powers off.
    pub(super) async fn keep_output(&self, id: &str, live: &Arc<Live>, log_base: u64) {
        let (connected, wait) = oneshot::channel();
        let path = self.layout.container_log(id);
        live.set_output(tokio::spawn(follow(path, Arc::clone(live), log_base, Some(connected))));
        // Output is worth a wait; a guest that does not give it runs nevertheless.
        let _ = tokio::time::timeout(FIRST_OUTPUT, wait).await;
    }

    /// Removes what a machine had on the host, then records how it ended.
    pub(super) async fn finish(self: &Arc<Self>, id: &str, live: Option<&Live>, phase: Phase, ended: Ending) {
        self.clear_host(id).await;
        if !ended.console.is_empty() {
            self.note_console(id, &ended);
        }
        self.release(id);
        let record = |machine: &mut Machine| {
            machine.status.phase = phase;
            machine.status.pid = None;
            machine.status.exit = Some(ended.exit.clone());
            machine.status.message.clone_from(&ended.message);
            machine.status.console.clone_from(&ended.console);
            machine.status.timeline.ended_at = Some(clock::now());
            Ok(())
        };
        match self.records.update(id, record).await {
            Ok(machine) => {
                let _ = self.records.apply(vec![drop_private(&runtime_key(id))]).await;
                let action = if phase == Phase::Failed { "failed" } else { "ended" };
                let sentence = format!("exit status {}", ended.exit.code);
                self.tell(&machine, action, Some(ended.message.clone().unwrap_or(sentence))).await;
                if let Some(live) = live {
                    live.finish();
                }
                if machine.spec.auto_remove && phase == Phase::Stopped {
                    self.remove_by_itself(id).await;
                }
            }
            Err(error) => {
                tracing::error!("Cannot record the end of machine {id}: {}", chain(&error));
                if let Some(live) = live {
                    live.finish();
                }
            }
        }
    }

    async fn remove_by_itself(&self, id: &str) {
        let _turn = self.turn(id).await;
        if let Err(error) = self.forget_machine(id).await {
            tracing::warn!("Cannot delete machine {id}: {}", chain(&error));
        }
    }

    /// Network, cgroup, run folder. What cannot be removed now is removed when the daemon starts next.
    pub(super) async fn clear_host(&self, id: &str) {
        if let Err(error) = self.network.detach(id).await {
            tracing::warn!("Machine {id}: {}", chain(&error));
        }
        let group = id.to_owned();
        // It may have to wait for the kernel.
        let _ = tokio::task::spawn_blocking(move || cgroup::remove(&group)).await;
        if let Err(error) = layout::remove_folder(&self.layout.machine_run(id)) {
            tracing::warn!("Machine {id}: {}", chain(&error));
        }
    }

    /// The console of a guest that broke down goes behind its output.
    fn note_console(&self, id: &str, ended: &Ending) {
        let noted = LogWriter::open(&self.layout.container_log(id)).and_then(|mut writer| {
            ended.message.iter().try_for_each(|message| writer.note(message))?;
            writer.note("The guest's console said last:")?;
            ended.console.iter().try_for_each(|line| writer.note(&format!("    {line}")))
        });
        if let Err(error) = noted {
            tracing::warn!("Machine {id}: {}", chain(&error));
        }
    }
}

/// Waits for the container's end, however often the connection breaks.
async fn container_end(live: &Live) -> ExitStatus {
    loop {
        match live.agent.wait(CONTAINER).await {
            Ok(status) => return status,
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Keeps a container's output until it is all there, however often the connection breaks.
async fn follow(
    path: std::path::PathBuf,
    live: Arc<Live>,
    log_base: u64,
    mut connected: Option<oneshot::Sender<()>>,
) {
    let mut writer = match LogWriter::open(&path) {
        Ok(writer) => writer,
        Err(error) => {
            tracing::warn!("Output is lost: {}", chain(&error));
            return;
        }
    };
    loop {
        match follow_once(&mut writer, &live, log_base, &mut connected).await {
            Ok(()) => return,
            Err(HostError::File { .. }) => {
                tracing::warn!("Output is lost: {} cannot be written", path.display());
                return;
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

async fn follow_once(
    writer: &mut LogWriter,
    live: &Live,
    log_base: u64,
    connected: &mut Option<oneshot::Sender<()>>,
) -> Result<(), HostError> {
    let since = writer.next_sequence().saturating_sub(log_base);
    let mut stream = live.agent.logs(CONTAINER, since).await?;
    if let Some(connected) = connected.take() {
        // Whoever waited may have gone on.
        let _ = connected.send(());
    }
    while let Some(frame) = stream.next_frame().await? {
        let sequence = frame.sequence.saturating_add(log_base);
        if sequence > writer.next_sequence().saturating_add(MAX_JUMP) {
            tracing::warn!("A guest numbers its output beyond reason; the rest of it is not kept");
            return Ok(());
        }
        writer.append(&Frame { sequence, ..frame })?;
        live.grow();
    }
    Ok(())
}

/// Keeps files that a guest makes grow from filling the disk. The VMM appends, so it does not notice.
async fn trim(paths: [std::path::PathBuf; 3]) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        for path in &paths {
            let _ = trim_one(path);
        }
    }
}

fn trim_one(path: &Path) -> std::io::Result<()> {
    if std::fs::metadata(path)?.len() <= MAX_CONSOLE {
        return Ok(());
    }
    let tail = end_of(path, KEPT_CONSOLE)?;
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.set_len(0)?;
    file.write_all(&tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_cut_to_its_tail() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console");
        let mut bytes = vec![b'a'; MAX_CONSOLE as usize + 10];
        bytes.extend(b"the end");
        std::fs::write(&path, &bytes).unwrap();
        trim_one(&path).unwrap();
        let kept = std::fs::read(&path).unwrap();
        assert_eq!(kept.len(), KEPT_CONSOLE as usize);
        assert!(kept.ends_with(b"the end"));
        trim_one(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap().len(), KEPT_CONSOLE as usize);
    }
}
