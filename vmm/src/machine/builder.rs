//! From a specification to a machine, and from a machine to its end.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};

use super::controller::ControlError;
use super::devices::{self, Handles, LegacyDevices};
use super::payload::Payload;
use crate::arch::x86_64::cpuid::{CpuidTable, Topology};
use crate::arch::x86_64::named_template;
use crate::arch::x86_64::registers::{self, RegisterError};
use crate::arch::x86_64::template::{self, TemplateError};
use crate::arch::x86_64::{msr, registers::Entry};
use crate::boot::BootError;
use crate::bus::RangeTaken;
use crate::config::{BootSource, ConfigError, CpuConfig, HugePages, MachineConfig, MachineSpec};
use crate::console::{Console, InputPort};
use crate::kvm::{Kvm, KvmError, Vcpu, Vm};
use crate::legacy::boot_timer::Start;
use crate::legacy::events::Event;
use crate::legacy::i8042::KeyboardError;
use crate::legacy::serial;
use crate::memory::{self, MemoryError};
use crate::metrics::Registry;
use crate::mmds::Mmds;
use crate::vcpu::{Buses, Ending, VcpuError, VcpuThread, prepare_signals};
use crate::virtio::block::BlockHandle;
use crate::virtio::worker_loop::{LoopThread, WorkerLoopHandle};

/// Why a machine cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Nothing to boot was named.
    #[error("Cannot start microvm without kernel configuration.")]
    NoBootSource,
    /// Sections that do not go together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What boots is refused.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// KVM.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The CPU template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Registers.
    #[error(transparent)]
    Registers(#[from] RegisterError),
    /// Threads.
    #[error(transparent)]
    Vcpu(#[from] VcpuError),
    /// A device does not open.
    #[error("Cannot make device {0}")]
    Device(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// Files as memory are larger than the guest's address space.
    #[error("The files of pmem do not fit into the machine's address space")]
    PmemSpace,
    /// More devices than interrupt lines.
    #[error("The machine has {lines} interrupt lines for devices, and {asked} devices were asked for")]
    TooManyDevices {
        /// How many devices there should be.
        asked: usize,
        /// How many there can be.
        lines: usize,
    },
    /// Two devices in one place.
    #[error("Cannot place a device")]
    Place(#[from] RangeTaken),
    /// No event descriptor.
    #[error("Cannot create an event descriptor")]
    Event(#[source] io::Error),
    /// Standard output is not there.
    #[error("Cannot use standard output as the console")]
    Console(#[source] io::Error),
    /// The console's file does not open.
    #[error("Cannot open {0} for the console")]
    ConsoleFile(PathBuf, #[source] io::Error),
}

/// What a machine needs of its process.
pub struct Host {
    /// The event loop of its devices.
    pub worker_loop: WorkerLoopHandle,
    /// Who hears of its end.
    pub endings: Sender<Ending>,
    /// Where its figures are counted.
    pub metrics: Registry,
    /// Its metadata, which may be written at any time.
    pub mmds: Mmds,
}

/// A machine that runs.
pub struct Machine {
    vcpus: Vec<VcpuThread>,
    buses: Arc<Buses>,
    console: Console,
    legacy: LegacyDevices,
    handles: Handles,
    /// The common loop, and the threads of devices that have their own.
    worker_loop: WorkerLoopHandle,
    threads: Vec<LoopThread>,
    /// Last: everything above goes before the virtual machine.
    _vm: Vm,
}

/// What is left of a machine.
#[derive(Debug, Default)]
pub struct Remains {
    /// What the guest wrote to the exit device.
    pub guest_status: Option<u8>,
    /// The end of its console output.
    pub console: String,
}

/// Builds the machine that `spec` asks for and starts its vCPUs. `id` is its name, where it was given one.
pub fn build(id: Option<&str>, spec: &MachineSpec, host: &Host) -> Result<Machine, BuildError> {
    let start_asked = Start::now();
    let source: &BootSource = spec.boot_source.as_ref().ok_or(BuildError::NoBootSource)?;
    let payload = Payload::open(source)?;
    let memory = map_memory(&spec.machine_config)?;
    let built = assemble(id, spec, host, payload, &memory, start_asked);
    if built.is_err() {
        // Clients may try again and again. Fails for nothing that would be kept.
        let _ = memory::discard(&memory, 0..u64::MAX);
    }
    built
}

fn assemble(
    id: Option<&str>,
    spec: &MachineSpec,
    host: &Host,
    payload: Payload,
    memory: &memory::GuestMemory,
    start_asked: Start,
) -> Result<Machine, BuildError> {
    let console = devices::open_console(spec, host.metrics.process())?;
    let (virtio, handles) = devices::open(spec, &console, memory, host)?;

    let capabilities = spec.cpu_config.as_ref().map(|template| template.kvm_capabilities.as_slice());
    let kvm = Kvm::open(capabilities.unwrap_or_default())?;
    let mut vm = kvm.create_vm()?;
    vm.set_memory(memory)?;
    for region in handles.pmem.values().map(|handle| &handle.region) {
        vm.add_file(region.address, &region.mapping)?;
    }
    vm.create_irqchip()?;

    let metrics = host.metrics.process();
    let mut buses = Buses::new(metrics.vcpu.clone());
    let legacy = devices::attach_legacy(&vm, spec, console.clone(), start_asked, metrics, &mut buses)?;
    let (windows, threads) = devices::attach_virtio(&vm, memory, &host.worker_loop, virtio, &mut buses)?;

    let identity = spec.smbios.clone().unwrap_or_default().identity(id).map_err(BootError::Random)?;
    let entry = payload.load(memory, spec, &windows, &identity)?;
    let vcpus = create_vcpus(&kvm, &vm, spec, memory, entry)?;
    if let (Some(first), Some(_)) = (vcpus.first(), serial::lock(&legacy.serial).timer()) {
        buses.gather(first.gathered_writes()?);
    }
    start(vcpus, Parts { buses, console, legacy, handles, threads, vm }, host)
}

fn map_memory(config: &MachineConfig) -> Result<memory::GuestMemory, MemoryError> {
    let size = config.mem_size_mib << 20;
    match config.huge_pages {
        HugePages::None | HugePages::Transparent => memory::map(size),
        HugePages::Reserved => memory::map_huge(size),
    }
}

fn create_vcpus(
    kvm: &Kvm,
    vm: &Vm,
    spec: &MachineSpec,
    memory: &memory::GuestMemory,
    entry: Entry,
) -> Result<Vec<Vcpu>, BuildError> {
    let config = &spec.machine_config;
    let topology = Topology { vcpus: config.vcpu_count, smt: config.smt };
    let mut supported = kvm.supported_cpuid()?;
    let template = match (&spec.cpu_config, config.cpu_template) {
        (Some(custom), _) => custom.clone(),
        (None, Some(name)) => named_template::resolve(name, &supported)?,
        (None, None) => CpuConfig::default(),
    };
    template::change_cpuid(&mut supported, &template)?;
    let table = CpuidTable::new(&supported, topology, kvm.has_tsc_deadline_timer());
    let mut vcpus = Vec::new();
    for index in 0..config.vcpu_count {
        let vcpu = vm.create_vcpu(index)?;
        vcpu.set_cpuid(&table.for_vcpu(index)?)?;
        template::change_msrs(&vcpu, &template)?;
        vcpu.set_msrs(&msr::AT_ENTRY)?;
        if index == 0 {
            registers::enter(&vcpu, memory, entry)?;
        }
        vcpus.push(vcpu);
    }
    Ok(vcpus)
}

/// A machine without its vCPUs.
struct Parts {
    buses: Buses,
    console: Console,
    legacy: LegacyDevices,
    handles: Handles,
    threads: Vec<LoopThread>,
    vm: Vm,
}

fn start(vcpus: Vec<Vcpu>, parts: Parts, host: &Host) -> Result<Machine, BuildError> {
    prepare_signals()?;
    let Parts { buses, console, legacy, handles, threads, vm } = parts;
    let buses = Arc::new(buses);
    let mut machine = Machine {
        vcpus: Vec::new(),
        buses: buses.clone(),
        console,
        legacy,
        handles,
        worker_loop: host.worker_loop.clone(),
        threads,
        _vm: vm,
    };
    machine.fetch_gathered_output()?;
    for vcpu in vcpus {
        let endings = host.endings.clone();
        // Nobody hears it only when the process ends anyway.
        let report = move |ending| drop(endings.send(ending));
        match VcpuThread::start(vcpu, buses.clone(), report) {
            Ok(thread) => machine.vcpus.push(thread),
            Err(error) => {
                machine.end();
                return Err(error.into());
            }
        }
    }
    Ok(machine)
}

impl Machine {
    /// What takes the console's input: the virtio console where there is one, or else COM1.
    pub fn input(&self) -> Arc<dyn InputPort> {
        match &self.handles.typed {
            Some(typed) => Arc::new(typed.clone()),
            None => self.legacy.serial.clone(),
        }
    }

    /// Types Ctrl+Alt+Del on the guest's keyboard.
    pub fn type_ctrl_alt_del(&self) -> Result<(), KeyboardError> {
        let keyboard = self.legacy.keyboard.as_ref().ok_or(KeyboardError::Absent)?;
        keyboard.lock().unwrap_or_else(PoisonError::into_inner).type_ctrl_alt_del()
    }

    /// Presses the power button; what follows is the guest's affair.
    pub fn press_power_button(&self) {
        let mut events = self.legacy.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.raise(Event::PowerButton);
    }

    /// Its devices, as far as they can be changed while they run.
    pub fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Gets every vCPU out of its guest and keeps the devices from their turns. When this returns, nothing of
    /// the machine runs, and nothing but what the host's kernel has in flight for `Async` drives writes to its
    /// memory.
    pub fn pause(&self) -> Result<(), ControlError> {
        self.buses.gate.close();
        self.vcpus.iter().for_each(VcpuThread::kick);
        if !self.buses.gate.await_all() {
            self.buses.gate.open();
            return Err(ControlError::Pause);
        }
        // After the vCPUs: they are who makes workers.
        self.worker_loops().for_each(WorkerLoopHandle::suspend);
        Ok(())
    }

    /// Lets devices and vCPUs go on. Devices find what came meanwhile.
    pub fn resume(&self) -> Result<(), ControlError> {
        self.worker_loops().try_for_each(WorkerLoopHandle::resume).map_err(ControlError::Resume)?;
        self.buses.gate.open();
        Ok(())
    }

    /// Has the event loop fetch what is left of the guest's output.
    fn fetch_gathered_output(&self) -> Result<(), BuildError> {
        let Some(timer) = serial::lock(&self.legacy.serial).timer() else { return Ok(()) };
        let (buses, port) = (Arc::downgrade(&self.buses), Arc::downgrade(&self.legacy.serial));
        let rang = move || {
            let (Some(buses), Some(port)) = (buses.upgrade(), port.upgrade()) else { return false };
            serial::fetch(&port, || buses.catch_up());
            true
        };
        self.worker_loop
            .add_reader(timer, Box::new(rang))
            .map_err(|error| BuildError::Device("serial".into(), error.into()))
    }

    fn worker_loops(&self) -> impl Iterator<Item = &WorkerLoopHandle> {
        std::iter::once(&self.worker_loop).chain(self.threads.iter().map(LoopThread::handle))
    }

    /// Stops every vCPU, waits for them, and writes out what is left of the drives and the console.
    pub fn end(mut self) -> Remains {
        self.buses.gate.end();
        self.vcpus.iter().for_each(VcpuThread::kick);
        std::mem::take(&mut self.vcpus).into_iter().for_each(VcpuThread::join);
        // Only then is there nobody left who could write to a drive.
        self.threads.clear();
        self.buses.catch_up();
        self.handles.drives.values().for_each(BlockHandle::write_back);
        self.console.finish();
        Remains { guest_status: self.buses.guest_status(), console: self.console.tail() }
    }
}
