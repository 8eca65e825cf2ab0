//! A machine's way up: from its record to a container that runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bulkhead_protocol::agent::{ContainerStatus, Ready};

use super::ending::{ending, read_record};
use super::live::{Live, Runtime};
use super::{CONTAINER, boot, connect};
use crate::host::log_store::LogWriter;
use crate::host::process::{self, Launch, Process};
use crate::host::{HostError, cgroup, layout};
use crate::service::error::ServiceError;
use crate::service::model::{Image, Machine, NetworkKind, Phase};
use crate::service::{Service, clock};

/// How long to wait before the agent is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// Between them, which part of how long it has been waited for.
const RETRY_PART: u32 = 32;
/// What a guest comes to on its way up, in this order.
const STAGES: [&str; 2] = ["reach its init", "start its container"];

impl Service {
    /// The whole life of a machine that was placed.
    pub(super) async fn run_machine(self: Arc<Self>, machine: Machine, live: Arc<Live>) {
        let id = machine.metadata.id.clone();
        match self.bring_up(&machine, &live).await {
            Ok(log_base) => self.supervise(&id, live, log_base).await,
            Err(error) => self.give_up(&machine, &live, &error).await,
        }
    }

    /// Makes what the machine needs, starts it and its container. Answers where its output begins.
    async fn bring_up(&self, machine: &Machine, live: &Arc<Live>) -> Result<u64, ServiceError> {
        let id = machine.metadata.id.as_str();
        let name = || machine.metadata.name.clone();
        let image =
            self.records.by_id::<Image>(&machine.status.image_id).await?.ok_or_else(|| {
                ServiceError::NotFound { kind: "image", name: machine.status.image_id.clone() }
            })?;
        let container = boot::container(machine, &image)?;
        let process = self.launch(machine, &image, live).await?;
        let log_base = self.remembered(id).await?.log_base;

        // How far it has come: told when its time is up.
        let stage = AtomicUsize::new(0);
        let came_up = async {
            let ready = self.ready(live).await;
            stage.store(1, Ordering::Relaxed);
            let ready_at = SystemTime::now();
            self.note_ready(id, &ready, ready_at).await?;
            let refused = |operation| move |source| ServiceError::Guest { name: name(), operation, source };
            live.agent.create(&container).await.map_err(refused("create the container"))?;
            self.keep_output(id, live, log_base).await;
            let status = live.agent.start(CONTAINER).await.map_err(refused("start the container"))?;
            self.note_started(id, &ready, ready_at, &status).await
        };
        let limit = machine.spec.start_timeout_s.map(|seconds| Duration::from_secs(seconds.into()));
        let limit = limit.unwrap_or(self.boot_timeout);
        tokio::select! {
            biased;
            () = live.cancelled() => return Err(ServiceError::Cancelled { name: name() }),
            came_up = tokio::time::timeout(limit, came_up) => match came_up {
                Ok(Ok(())) => {}
                // A guest that died while it was spoken to: its record says more than a broken connection.
                Ok(Err(error)) if !matches!(&error, ServiceError::Guest { source: HostError::AgentRefused { .. }, .. })
                    && tokio::time::timeout(Duration::from_millis(500), process.ended()).await.is_ok() =>
                {
                    return Err(self.ended_early(machine));
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let stage = STAGES.get(stage.load(Ordering::Relaxed)).copied().unwrap_or_default();
                    return Err(ServiceError::Silent { name: name(), stage, seconds: limit.as_secs() });
                }
            },
            () = process.ended() => return Err(self.ended_early(machine)),
            lost = self.lost_network(id, live) => return Err(lost.into()),
        }
        Ok(log_base)
    }

    fn ended_early(&self, machine: &Machine) -> ServiceError {
        let ended = ending(read_record(&self.layout.exit_record(&machine.metadata.id)), None, true);
        let message =
            ended.message.unwrap_or_else(|| format!("its init ended with status {}", ended.exit.code));
        ServiceError::EndedEarly { name: machine.metadata.name.clone(), message }
    }

    /// Folders, network, cgroup, process; each is remembered before the next is made.
    async fn launch(
        &self,
        machine: &Machine,
        image: &Image,
        live: &Arc<Live>,
    ) -> Result<Arc<Process>, ServiceError> {
        let id = machine.metadata.id.as_str();
        let mut volumes: Vec<PathBuf> = Vec::new();
        for volume in &machine.spec.volumes {
            volumes.push(self.volume_disk(&volume.name).await?);
        }
        layout::remove_folder(&self.layout.machine_run(id))?;
        layout::make_folder(&self.layout.machine_run(id))?;
        layout::make_folder(&self.layout.machine_state(id))?;
        self.ensure_layer(machine).await?;
        let log_base = LogWriter::open(&self.layout.container_log(id))?.next_sequence();
        // Of the last start; who asks for the console or the record now asks for those of this start.
        let layout = &self.layout;
        for stale in [layout.console(id), layout.vmm_log(id), layout.passt_log(id), layout.exit_record(id)] {
            layout::remove_file(&stale)?;
        }
        let listener = match machine.spec.network {
            NetworkKind::Bridge => None,
            NetworkKind::Passt => Some(connect::listen(&self.layout.passt(id))?),
        };
        let network = self.connect(machine).await?;
        let config = boot::vmm_spec(machine, image, &self.layout, &network, volumes);
        let text =
            config.render().map_err(|source| ServiceError::Record { key: "vmm.json".into(), source })?;
        let path = self.layout.vmm_config(id);
        std::fs::write(&path, text).map_err(HostError::file("write", &path))?;
        let launch = Launch {
            program: self.layout.vmm(),
            config: path,
            api: self.layout.vmm_api(id),
            id: id.to_owned(),
            console: self.layout.console(id),
            log: self.layout.vmm_log(id),
            exit_record: self.layout.exit_record(id),
            cgroup: cgroup::make(id, machine.spec.memory_mib, boot::threads(machine), listener.is_some())?,
        };
        let started = SystemTime::now();
        let process = Arc::new(process::start(&launch)?);
        live.set_process(Arc::clone(&process));
        let identity = process.identity().clone();
        let pid = identity.pid;
        self.remember(id, &Runtime { identity: Some(identity), passt: None, log_base }).await?;
        let note = |machine: &mut Machine| {
            machine.status.pid = Some(pid);
            machine.status.timeline.vmm_started_at = Some(clock::format(started));
            Ok(())
        };
        self.records.update(id, note).await?;
        if let Some(listener) = listener {
            self.start_passt(machine, live, &listener, &network.route, launch.cgroup.as_deref()).await?;
        }
        Ok(process)
    }

    /// What the daemon alone knows of a machine.
    pub(super) async fn remembered(&self, id: &str) -> Result<Runtime, ServiceError> {
        Ok(self.records.private(&super::runtime_key(id)).await?.unwrap_or_default())
    }

    /// Asks until the agent answers. Whoever calls sets the time.
    async fn ready(&self, live: &Live) -> Ready {
        let start = Instant::now();
        loop {
            match live.agent.ready().await {
                Ok(ready) => return ready,
                Err(_) => tokio::time::sleep(retry(start.elapsed())).await,
            }
        }
    }

    async fn note_ready(&self, id: &str, ready: &Ready, at: SystemTime) -> Result<(), ServiceError> {
        let note = |machine: &mut Machine| {
            machine.status.boot_id = Some(one_line(&ready.boot_id));
            machine.status.kernel = Some(one_line(&ready.kernel));
            machine.status.timeline.initd_ready_at = Some(clock::format(at));
            Ok(())
        };
        self.records.update(id, note).await?;
        Ok(())
    }

    async fn note_started(
        &self,
        id: &str,
        ready: &Ready,
        ready_at: SystemTime,
        container: &ContainerStatus,
    ) -> Result<(), ServiceError> {
        let now = SystemTime::now();
        let uptime = |at: SystemTime, microseconds: u64| at.checked_sub(Duration::from_micros(microseconds));
        // Each answer came somewhat after what it tells: the earlier of both clocks is the better one.
        let by_ready = uptime(ready_at, ready.ready_us);
        let by_start = container.started_us.and_then(|started| uptime(now, started));
        let kernel = by_ready.into_iter().chain(by_start).min();
        let after = |microseconds: u64| {
            kernel
                .and_then(|kernel| kernel.checked_add(Duration::from_micros(microseconds)))
                .map(clock::format)
        };
        let machine = self
            .records
            .update(id, |machine: &mut Machine| {
                let timeline = &mut machine.status.timeline;
                timeline.kernel_entered_at = kernel.map(clock::format);
                timeline.initd_entered_at = after(ready.entered_us);
                timeline.initd_ready_at = after(ready.ready_us);
                timeline.container_started_at =
                    Some(container.started_us.and_then(after).unwrap_or_else(|| clock::format(now)));
                machine.status.phase = Phase::Running;
                Ok(())
            })
            .await?;
        self.tell(&machine, "started", None).await;
        Ok(())
    }
}

/// When to ask again who has not answered for so long. Fifty machines that start at once would otherwise leave a
/// processor no time for anything but being asked.
fn retry(waited: Duration) -> Duration {
    (waited / RETRY_PART).clamp(RETRY.0, RETRY.1)
}

/// A word of the guest, fit to be shown.
fn one_line(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_for_long_is_asked_less_often() {
        let after = |ms| retry(Duration::from_millis(ms)).as_millis();
        assert_eq!([0, 320, 640, 3200, 60_000].map(after), [10, 10, 20, 100, 250]);
    }
}
