//! A machine's devices: what the configuration names, on the buses and with their interrupt lines.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bulkhead_protocol::exit;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::builder::{BuildError, Host};
use super::storage;
use crate::boot::acpi::VirtioWindow;
use crate::bus::SharedDevice;
use crate::config::{MachineSpec, NetworkBackend, NetworkInterface};
use crate::console::{Console, Output};
use crate::kvm::Vm;
use crate::legacy::boot_timer::{BootTimer, Start};
use crate::legacy::counted::Counted;
use crate::legacy::events::{self, EventRegister};
use crate::legacy::exit_device::ExitDevice;
use crate::legacy::i8042::{self, Controller};
use crate::legacy::power::{self, PowerRegisters};
use crate::legacy::serial::{self, Gathering, SerialPort};
use crate::memory::{GuestMemory, layout};
use crate::metrics::ProcessMetrics;
use crate::net::{Passt, Port, Tap, Vhost};
use crate::vcpu::Buses;
use crate::virtio::VirtioError;
use crate::virtio::balloon::{BalloonDevice, BalloonHandle};
use crate::virtio::block::BlockHandle;
use crate::virtio::console::{ConsoleDevice, Typed};
use crate::virtio::device::VirtioDevice;
use crate::virtio::mmio::{IDLE_ACKNOWLEDGEMENT, MmioTransport, QUEUE_NOTIFY_OFFSET};
use crate::virtio::net::{InterfaceHandle, NetDevice};
use crate::virtio::pmem::PmemHandle;
use crate::virtio::rng::RngDevice;
use crate::virtio::vsock::VsockDevice;
use crate::virtio::worker_loop::{LoopThread, WorkerLoopHandle};

/// Why a device does not open: each kind has errors of its own.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// How the devices of a machine that runs are reached: each kind that can be changed then gives out a handle
/// here, by the id of its configuration.
#[derive(Default)]
pub struct Handles {
    /// Drives.
    pub drives: BTreeMap<String, BlockHandle>,
    /// Files as memory.
    pub pmem: BTreeMap<String, PmemHandle>,
    /// Network interfaces.
    pub interfaces: BTreeMap<String, InterfaceHandle>,
    /// The balloon, of which there is one.
    pub balloon: Option<BalloonHandle>,
    /// The virtio console's input.
    pub typed: Option<Typed>,
}

/// Opens and makes every virtio device, in the order in which the guest finds them. What they do is counted in
/// the metrics of `host`; `memory` is the guest's.
pub(super) fn open(
    spec: &MachineSpec,
    console: &Console,
    memory: &GuestMemory,
    host: &Host,
) -> Result<(Vec<Box<dyn VirtioDevice>>, Handles), BuildError> {
    let mut devices: Vec<Box<dyn VirtioDevice>> = Vec::new();
    let mut handles = Handles::default();
    let metrics = &host.metrics;
    for drive in storage::drives(spec) {
        drive.check_queues(spec.machine_config.vcpu_count)?;
        let device = storage::open_drive(&drive, metrics)?;
        handles.drives.insert(drive.drive_id, device.handle());
        devices.push(Box::new(device));
    }
    for device in storage::open_pmem(spec, metrics)? {
        handles.pmem.insert(device.id().to_owned(), device.handle());
        devices.push(Box::new(device));
    }
    for interface in &spec.network_interfaces {
        let device = open_interface(spec, interface, memory, host)?;
        handles.interfaces.insert(interface.iface_id.clone(), device.handle());
        devices.push(Box::new(device));
    }
    if let Some(vsock) = &spec.vsock {
        let device =
            VsockDevice::new("vsock", vsock.guest_cid, vsock.uds_path.clone(), metrics.group("vsock"))
                .map_err(|error| BuildError::Device("vsock".into(), error.into()))?;
        devices.push(Box::new(device));
    }
    if let Some(entropy) = &spec.entropy {
        let limits = entropy.rate_limiter.unwrap_or_default();
        let device = RngDevice::new("rng", &limits, metrics.group("entropy"))
            .map_err(|error| BuildError::Device("entropy".into(), error.into()))?;
        devices.push(Box::new(device));
    }
    if let Some(balloon) = &spec.balloon {
        let handle = BalloonHandle::new(balloon);
        devices.push(Box::new(BalloonDevice::new(handle.clone(), metrics.group("balloon"))));
        handles.balloon = Some(handle);
    }
    if spec.console.is_some() {
        let typed = Typed::new().map_err(BuildError::Event)?;
        let metrics = metrics.group("console");
        devices.push(Box::new(ConsoleDevice::new("console", console.clone(), typed.clone(), metrics)));
        handles.typed = Some(typed);
    }
    let lines = layout::VIRTIO_LINES.len();
    if devices.len() > lines {
        return Err(BuildError::TooManyDevices { asked: devices.len(), lines });
    }
    Ok((devices, handles))
}

fn open_interface(
    spec: &MachineSpec,
    interface: &NetworkInterface,
    memory: &GuestMemory,
    host: &Host,
) -> Result<NetDevice, BuildError> {
    let id = &interface.iface_id;
    let refused = |error: Cause| BuildError::Device(id.clone(), error);
    let (pairs, vcpus) = (interface.pairs(), spec.machine_config.vcpu_count);
    if pairs > vcpus {
        return Err(refused(format!("It has {pairs} queues and the machine {vcpus} processors").into()));
    }
    let ports: Result<Vec<Port>, Cause> = match interface.backend {
        NetworkBackend::Tap => Tap::open_queues(&interface.host_dev_name, pairs)
            .map(|queues| queues.into_iter().map(Port::Tap).collect())
            .map_err(Cause::from),
        NetworkBackend::Passt => {
            Passt::connect(interface.socket()).map(|passt| vec![Port::passt(passt)]).map_err(Cause::from)
        }
    };
    let ports = ports.map_err(refused)?;
    let metrics = host.metrics.device_group("net", id);
    let mut device = NetDevice::new(interface, ports, metrics).map_err(|error| refused(error.into()))?;
    if interface.vhost {
        let vhost: Result<_, _> = (0..pairs).map(|_| Vhost::open(memory)).collect();
        device = device.with_vhost(vhost.map_err(|error| refused(error.into()))?);
    }
    Ok(match &spec.mmds_config {
        // A connection's frames may come by any queue, and the service has one stack.
        Some(config) if config.network_interfaces.contains(id) && pairs > 1 => {
            return Err(refused("The metadata service is for interfaces with one pair of queues".into()));
        }
        Some(config) if config.network_interfaces.contains(id) && interface.vhost => {
            return Err(refused("The metadata service is for interfaces without vhost".into()));
        }
        Some(config) if config.network_interfaces.contains(id) => {
            device.with_metadata(host.mmds.clone(), config.clone())
        }
        _ => device,
    })
}

/// Puts the devices behind addresses and connects their doorbells and interrupt lines to KVM. Gives the threads
/// of those that have their own.
pub(super) fn attach_virtio(
    vm: &Vm,
    memory: &GuestMemory,
    host: &WorkerLoopHandle,
    devices: Vec<Box<dyn VirtioDevice>>,
    buses: &mut Buses,
) -> Result<(Vec<VirtioWindow>, Vec<LoopThread>), BuildError> {
    let (mut windows, mut threads) = (Vec::new(), Vec::new());
    // Nobody waits for it: acknowledgements end in the kernel.
    let idle = event()?;
    for ((slot, line), device) in (0u64..).zip(layout::VIRTIO_LINES).zip(devices) {
        let id = device.id().to_owned();
        let refused = |error: Cause| BuildError::Device(id, error);
        let address = layout::VIRTIO_BASE + slot * layout::VIRTIO_WINDOW;
        let interrupt = event()?;
        vm.connect_interrupt(&interrupt, line)?;
        let own = own_threads(&*device);
        let transport = own.and_then(|own| {
            let mut hosts: Vec<_> = own.iter().map(LoopThread::handle).cloned().collect();
            if hosts.is_empty() {
                hosts.push(host.clone());
            }
            threads.extend(own);
            MmioTransport::new(device, memory.clone(), hosts, interrupt)
        });
        let transport = transport.map_err(|error| refused(error.into()))?;
        for (queue, event) in (0u32..).zip(transport.queue_events()) {
            vm.connect_doorbell(event, address + QUEUE_NOTIFY_OFFSET, queue)?;
        }
        let (acknowledge, value) = IDLE_ACKNOWLEDGEMENT;
        vm.connect_doorbell(&idle, address + acknowledge, value)?;
        buses.memory.insert(address, layout::VIRTIO_WINDOW, Arc::new(Mutex::new(transport)))?;
        windows.push(VirtioWindow { address, line });
    }
    Ok((windows, threads))
}

/// The threads that a device wants for itself, named after it.
fn own_threads(device: &dyn VirtioDevice) -> Result<Vec<LoopThread>, VirtioError> {
    let start = |index| LoopThread::start(&format!("io-{index}-{}", device.id()));
    (0..device.threads()).map(start).collect()
}

/// The devices at fixed ports that others reach.
#[derive(Clone)]
pub(super) struct LegacyDevices {
    pub serial: Arc<Mutex<SerialPort>>,
    pub keyboard: Option<Arc<Mutex<Controller>>>,
    pub events: Arc<Mutex<EventRegister>>,
}

/// Puts the devices at fixed places there; a keyboard and the boot timer only where they are asked for.
pub(super) fn attach_legacy(
    vm: &Vm,
    spec: &MachineSpec,
    console: Console,
    start: Start,
    metrics: &Arc<ProcessMetrics>,
    buses: &mut Buses,
) -> Result<LegacyDevices, BuildError> {
    let connected = |line| {
        let interrupt = event()?;
        vm.connect_interrupt(&interrupt, line)?;
        Ok::<_, BuildError>(interrupt)
    };
    let mut serial = SerialPort::new(connected(serial::LINE)?, console, metrics.uart.clone());
    gather_writes(vm, &mut serial).map_err(BuildError::Event)?;
    let serial = Arc::new(Mutex::new(serial));
    let events = Arc::new(Mutex::new(EventRegister::new(connected(layout::EVENTS_LINE)?)));
    let keyboard = match spec.machine_config.i8042 {
        true => Some(Arc::new(Mutex::new(Controller::new(connected(layout::KEYBOARD_LINE)?)))),
        false => None,
    };
    if let Some(keyboard) = &keyboard {
        let counted = Counted::new(keyboard.clone(), metrics.keyboard.clone());
        buses.ports.insert(i8042::PORT.into(), i8042::PORTS, Arc::new(Mutex::new(counted)))?;
    }
    let devices: [(u16, u64, SharedDevice); 4] = [
        (serial::PORT, serial::PORTS, serial.clone()),
        (events::PORT, 1, events.clone()),
        (power::PORT, power::PORTS, Arc::new(Mutex::new(PowerRegisters))),
        (exit::PORT, 1, Arc::new(Mutex::new(ExitDevice))),
    ];
    for (base, length, device) in devices {
        buses.ports.insert(base.into(), length, device)?;
    }
    if spec.boot_timer {
        let timer = Arc::new(Mutex::new(BootTimer::new(start, metrics.clone())));
        buses.memory.insert(layout::BOOT_TIMER, layout::VIRTIO_WINDOW, timer)?;
    }
    Ok(LegacyDevices { serial, keyboard, events })
}

/// Lets KVM gather writes to COM1 where it can.
fn gather_writes(vm: &Vm, serial: &mut SerialPort) -> io::Result<()> {
    let gatherer = |(port, count)| vm.gatherer(port, count);
    let (Some(controls), Some(transmitter)) = (gatherer(serial::CONTROLS), gatherer(serial::TRANSMITTER))
    else {
        return Ok(());
    };
    if controls.start() {
        let switch = move |on| if on { transmitter.start() } else { transmitter.stop() };
        serial.gather(Gathering::new(Box::new(switch))?);
    }
    Ok(())
}

/// Opens what the guest's output goes to.
pub(super) fn open_console(spec: &MachineSpec, metrics: &ProcessMetrics) -> Result<Console, BuildError> {
    let serial = spec.serial.clone().unwrap_or_default();
    let output = match &serial.serial_out_path {
        Some(path) => Output::to_file(path).map_err(|error| BuildError::ConsoleFile(path.clone(), error))?,
        None => Output::to_stdout().map_err(BuildError::Console)?,
    };
    Ok(Console::new(output.limited(serial.rate_limiter, metrics.uart.clone())))
}

fn event() -> Result<EventFd, BuildError> {
    EventFd::new(EFD_NONBLOCK).map_err(BuildError::Event)
}
