//! The one way to a machine from outside: what may be asked of it, in which state.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::builder::{self, BuildError, Host, Machine, Remains};
use super::lifecycle::{Lifecycle, Refused, State, Step};
use crate::arguments::DEFAULT_ID;
use crate::clock;
use crate::config::{ConfigError, Logger, MachineSpec, Metrics, NetworkInterfaceChange};
use crate::console::{self, RawTerminal};
use crate::legacy::i8042::KeyboardError;
use crate::logger;
use crate::metrics::{Exposition, Kind, PERIOD, Registry, Sink};
use crate::mmds::Mmds;
use crate::virtio::VirtioError;
use crate::virtio::balloon::BalloonError;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Not in this state.
    #[error(transparent)]
    State(#[from] Refused),
    /// Not with these values.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Not of this balloon.
    #[error(transparent)]
    Balloon(#[from] BalloonError),
    /// The machine does not start.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A device cannot be what it shall be now.
    #[error("Cannot change device {0}")]
    Device(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The machine that runs has no such device.
    #[error("The machine has no device {0}")]
    NoDevice(String),
    /// A vCPU does not leave its guest.
    #[error("A vCPU did not stop in time; the machine runs on")]
    Pause,
    /// Devices cannot be woken.
    #[error("Cannot let the devices go on")]
    Resume(#[source] VirtioError),
    /// Nothing is typed.
    #[error("Cannot send Ctrl+Alt+Del")]
    Keyboard(#[from] KeyboardError),
    /// The figures cannot be written.
    #[error("Cannot write metrics")]
    Metrics(#[source] std::io::Error),
}

/// A machine and its configuration, shared by the main thread and the API's.
pub struct Controller {
    id: String,
    host: Host,
    sink: Arc<Sink>,
    inner: Mutex<Inner>,
}

struct Inner {
    spec: MachineSpec,
    life: Lifecycle,
    machine: Option<Machine>,
    terminal: Option<RawTerminal>,
}

impl Controller {
    /// For a machine named `id` that is configured with `spec` and not started.
    pub fn new(id: String, spec: MachineSpec, host: Host) -> Self {
        let inner = Inner { spec, life: Lifecycle::default(), machine: None, terminal: None };
        let sink = Sink::new(&id, host.metrics.clone());
        Self { id, host, sink, inner: Mutex::new(inner) }
    }

    /// The machine's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the machine is in its life.
    pub fn state(&self) -> State {
        self.inner().life.state()
    }

    /// The machine's metadata, which may be read and written in every state.
    pub fn mmds(&self) -> &Mmds {
        &self.host.mmds
    }

    /// The configuration as it stands.
    pub fn spec(&self) -> MachineSpec {
        self.inner().spec.clone()
    }

    /// Changes the configuration of a machine that has not started.
    pub fn configure(
        &self,
        change: impl FnOnce(&mut MachineSpec) -> Result<(), ConfigError>,
    ) -> Result<(), ControlError> {
        let mut inner = self.inner();
        inner.life.take(Step::Configure)?;
        Ok(change(&mut inner.spec)?)
    }

    /// Writes messages as `section` says, of a machine that has not started.
    pub fn set_logger(&self, section: Logger) -> Result<(), ControlError> {
        self.configure(|spec| {
            logger::update(&section)?;
            spec.logger = Some(section);
            Ok(())
        })
    }

    /// Writes figures to where `section` says, of a machine that has not started.
    pub fn set_metrics(&self, section: Metrics) -> Result<(), ControlError> {
        self.configure(|spec| {
            self.sink.open(&section)?;
            spec.metrics = Some(section);
            Ok(())
        })
    }

    /// What is counted.
    pub fn metrics(&self) -> &Registry {
        &self.host.metrics
    }

    /// What is counted, and what the machine is, in Prometheus's text format.
    pub fn exposition(&self) -> String {
        let (state, vcpus, memory_mib) = {
            let inner = self.inner();
            let config = &inner.spec.machine_config;
            (inner.life.state(), config.vcpu_count, config.mem_size_mib)
        };
        let mut exposition = Exposition::default();
        self.host.metrics.expose(&mut exposition);
        exposition.add_process(&self.id);
        let size = [
            ("bulkhead_vmm_machine_vcpus", "Processors of the machine.", u64::from(vcpus)),
            ("bulkhead_vmm_machine_memory_bytes", "Memory of the guest.", memory_mib << 20),
        ];
        for (name, help, value) in size {
            exposition.add(name, help, Kind::Gauge, &[], value.to_string());
        }
        for (word, other) in State::WORDS {
            let value = u8::from(other == state).to_string();
            let help = "1 for the state that the machine is in.";
            exposition.add("bulkhead_vmm_machine_state", help, Kind::Gauge, &[("state", word)], value);
        }
        exposition.render()
    }

    /// Where it is written.
    pub fn sink(&self) -> &Arc<Sink> {
        &self.sink
    }

    /// Changes a machine that runs, and the configuration that tells of it.
    pub fn change_running<T>(
        &self,
        change: impl FnOnce(&mut MachineSpec, &Machine) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let mut inner = self.inner();
        inner.life.running()?;
        let Inner { spec, machine, .. } = &mut *inner;
        match machine {
            Some(machine) => change(spec, machine),
            None => Err(Refused::BeforeStart.into()),
        }
    }

    /// Changes the limits of a network interface that runs.
    pub fn change_network_interface(&self, change: &NetworkInterfaceChange) -> Result<(), ControlError> {
        self.change_running(|spec, machine| {
            spec.update_network_interface(change)?;
            if let Some(interface) = machine.handles().interfaces.get(&change.iface_id) {
                interface.update(change);
            }
            Ok(())
        })
    }

    /// Changes the configuration before the start, or the machine that runs (which `change` then gets) and the
    /// configuration that tells of it.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut MachineSpec, Option<&Machine>) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let mut inner = self.inner();
        let Inner { spec, life, machine, .. } = &mut *inner;
        if machine.is_none() {
            life.take(Step::Configure)?;
        }
        change(spec, machine.as_ref())
    }

    /// Builds the machine and runs it. After a failure it can be configured and started again.
    pub fn start(&self) -> Result<(), ControlError> {
        let mut inner = self.inner();
        inner.life.take(Step::Configure)?;
        let machine = builder::build(self.given_id(), &inner.spec, &self.host)?;
        if let Ok(input) = std::io::stdin().as_fd().try_clone_to_owned() {
            console::listen(&self.host.worker_loop, input, machine.input());
        }
        inner.terminal = RawTerminal::set();
        inner.machine = Some(machine);
        inner.life.take(Step::Start)?;
        self.host.metrics.process().machine.start_time_ms.set(clock::utc_ms());
        log::info!("The machine runs");
        self.sink.repeat(&self.host.worker_loop, PERIOD);
        Ok(())
    }

    /// Types Ctrl+Alt+Del. A machine that is paused hears it when it goes on.
    pub fn send_ctrl_alt_del(&self) -> Result<(), ControlError> {
        self.change_running(|_, machine| {
            let failed = |_: &KeyboardError| self.host.metrics.process().keyboard.error_count.increment();
            Ok(machine.type_ctrl_alt_del().inspect_err(failed)?)
        })
    }

    /// Presses the power button. A machine that is paused hears it when it goes on.
    pub fn press_power_button(&self) -> Result<(), ControlError> {
        self.change_running(|_, machine| {
            machine.press_power_button();
            Ok(())
        })
    }

    /// The machine's name, where it was given one.
    fn given_id(&self) -> Option<&str> {
        (self.id != DEFAULT_ID).then_some(&self.id)
    }

    /// Lets the machine stand still. A machine that does so already stays as it is.
    pub fn pause(&self) -> Result<(), ControlError> {
        self.stand_still(Step::Pause, Machine::pause)
    }

    /// Lets the machine go on. A machine that runs already stays as it is.
    pub fn resume(&self) -> Result<(), ControlError> {
        self.stand_still(Step::Resume, Machine::resume)
    }

    fn stand_still(
        &self,
        step: Step,
        act: impl FnOnce(&Machine) -> Result<(), ControlError>,
    ) -> Result<(), ControlError> {
        let asked = Instant::now();
        let mut inner = self.inner();
        let begun = Instant::now();
        let before = inner.life.state();
        let mut life = inner.life;
        life.take(step)?;
        if let Some(machine) = inner.machine.as_ref().filter(|_| life.state() != before) {
            act(machine)?;
        }
        inner.life = life;
        self.took(step, asked.elapsed(), begun.elapsed());
        Ok(())
    }

    /// Tells how long a machine took to stand still or to go on, with the wait for other requests and without.
    fn took(&self, step: Step, asked: Duration, begun: Duration) {
        let metrics = &self.host.metrics.process().latencies;
        let (what, whole, own) = match step {
            Step::Pause => ("stands still", &metrics.pause_vm, &metrics.vmm_pause_vm),
            _ => ("goes on", &metrics.resume_vm, &metrics.vmm_resume_vm),
        };
        let [asked, begun] = [asked, begun].map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        whole.set(asked);
        own.set(begun);
        log::info!("The machine {what} after {begun} us");
    }

    /// Writes the figures of a machine that runs.
    pub fn flush_metrics(&self) -> Result<(), ControlError> {
        let inner = self.inner();
        inner.life.running()?;
        self.sink.flush().map_err(ControlError::Metrics)
    }

    /// Ends the machine and tells what is left of it. Further requests are refused.
    pub fn end(&self) -> Remains {
        let mut inner = self.inner();
        // The table lets a machine end in every state.
        let _ = inner.life.take(Step::End);
        let remains = inner.machine.take().map(Machine::end).unwrap_or_default();
        inner.terminal = None;
        self.host.metrics.process().machine.end_time_ms.set(clock::utc_ms());
        // Nobody is left to be told of a failure.
        let _ = self.sink.flush();
        remains
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
