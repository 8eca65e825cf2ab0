//! The crate `fctools`, a client of Firecracker that we did not write, drives our VMM under Firecracker's name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_tests::asset;
use bulkhead_tests::vmm::BOOT_ARGS;
use fctools::process_spawner::DirectProcessSpawner;
use fctools::runtime::tokio::TokioRuntime;
use fctools::vm::api::VmApi;
use fctools::vm::configuration::{InitMethod, VmConfiguration, VmConfigurationData};
use fctools::vm::models::{BootSource, Drive, MachineConfiguration, UpdateDrive};
use fctools::vm::models::{EntropyDevice, LoggerSystem, MetricsSystem};
use fctools::vm::shutdown::{VmShutdownAction, VmShutdownMethod};
use fctools::vm::{Vm, VmState};
use fctools::vmm::arguments::{VmmApiSocket, VmmArguments};
use fctools::vmm::executor::unrestricted::UnrestrictedVmmExecutor;
use fctools::vmm::installation::VmmInstallation;
use fctools::vmm::ownership::VmmOwnershipModel;
use fctools::vmm::resource::system::ResourceSystem;
use fctools::vmm::resource::{CreatedResourceType, MovedResourceType, Resource, ResourceType};

/// How long any one thing may take.
const PATIENCE: Duration = Duration::from_secs(60);

type Resources = ResourceSystem<DirectProcessSpawner, TokioRuntime>;
type Machine = Vm<UnrestrictedVmmExecutor, DirectProcessSpawner, TokioRuntime>;

/// A file that stays where it is: it is moved onto itself.
fn existing(resources: &mut Resources, path: &Path) -> Resource {
    let moved = ResourceType::Moved(MovedResourceType::HardLinkedOrCopied);
    resources.create_resource(path, moved).expect("a resource")
}

/// An asset under a name in `folder`: fctools may remove what it is given.
fn linked(resources: &mut Resources, folder: &Path, name: &str) -> Resource {
    let path = folder.join(name);
    std::os::unix::fs::symlink(asset(name), &path).expect("a link");
    existing(resources, &path)
}

fn disk(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::File::create(&path).and_then(|file| file.set_len(1 << 20)).expect("a disk");
    path
}

/// What the machine is made of; `observed` as far as fctools can ask for it in every way of starting.
fn data(resources: &mut Resources, folder: &Path, observed: bool) -> VmConfigurationData {
    let created = |resources: &mut Resources, name: &str, kind| {
        resources.create_resource(folder.join(name), ResourceType::Created(kind)).expect("a resource")
    };
    let drive = Drive {
        drive_id: "data".into(),
        is_root_device: false,
        cache_type: None,
        partuuid: None,
        is_read_only: Some(false),
        block: Some(existing(resources, &disk(folder, "disk"))),
        rate_limiter: None,
        io_engine: None,
        socket: None,
    };
    let logger = observed.then(|| LoggerSystem {
        logs: Some(created(resources, "log", CreatedResourceType::File)),
        ..LoggerSystem::default()
    });
    let metrics =
        observed.then(|| MetricsSystem { metrics: created(resources, "metrics", CreatedResourceType::Fifo) });
    VmConfigurationData {
        boot_source: BootSource {
            kernel_image: linked(resources, folder, "vmlinux"),
            boot_args: Some(format!("{BOOT_ARGS} bulkhead.mode=agent")),
            initrd: Some(linked(resources, folder, "initramfs")),
        },
        drives: vec![drive],
        machine_configuration: MachineConfiguration {
            vcpu_count: 1,
            mem_size_mib: 128,
            smt: None,
            track_dirty_pages: Some(true),
            huge_pages: None,
        },
        cpu_template: None,
        network_interfaces: Vec::new(),
        balloon_device: None,
        vsock_device: None,
        logger_system: logger,
        metrics_system: metrics,
        mmds_configuration: None,
        entropy_device: observed.then(EntropyDevice::default),
    }
}

/// A machine that runs, started by `method`.
async fn start(folder: &Path, method: InitMethod) -> Machine {
    let program = folder.join("firecracker");
    std::os::unix::fs::symlink(asset("bulkhead-vmm"), &program).expect("a link");
    let installation = VmmInstallation::new(program.as_path(), Path::new("none"), Path::new("none"));
    let mut resources = Resources::new(DirectProcessSpawner, TokioRuntime, VmmOwnershipModel::Shared);
    let data = data(&mut resources, folder, method == InitMethod::ViaApiCalls);
    let executor =
        UnrestrictedVmmExecutor::new(VmmArguments::new(VmmApiSocket::Enabled(folder.join("socket"))));
    let configuration = VmConfiguration::New { init_method: method, data };
    let mut machine =
        Machine::prepare(executor, resources, installation, configuration).await.expect("prepared");
    machine.start(PATIENCE).await.expect("started");
    machine
}

async fn stop(machine: &mut Machine, method: VmShutdownMethod) {
    let action = VmShutdownAction { method, timeout: Some(PATIENCE), graceful: false };
    machine.shutdown([action]).await.expect("stopped");
    machine.cleanup().await.expect("cleaned up");
}

fn drive<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // A task of fctools that breaks down leaves its caller waiting.
    let done = runtime.block_on(async { tokio::time::timeout(2 * PATIENCE, what).await });
    done.expect("done in time")
}

#[test]
fn a_machine_is_described_changed_paused_and_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    drive(async {
        let mut machine = start(folder.path(), InitMethod::ViaApiCalls).await;
        let info = machine.get_info().await.expect("information");
        assert_eq!((info.app_name.as_str(), info.is_paused), ("Firecracker", false));
        assert_eq!(machine.get_firecracker_version().await.expect("a version"), info.vmm_version);
        let config = machine.get_machine_configuration().await.expect("a configuration");
        assert_eq!((config.vcpu_count, config.mem_size_mib, config.track_dirty_pages), (1, 128, Some(true)));
        machine.flush_metrics().await.expect("figures");

        let other = disk(folder.path(), "other");
        let resources = machine.get_resource_system_mut();
        let block = existing(resources, &other);
        block.start_initialization_with_same_path().expect("a resource");
        resources.synchronize().await.expect("a resource");
        let change = UpdateDrive { drive_id: "data".into(), block: Some(block), rate_limiter: None };
        machine.update_drive(change).await.expect("another disk");

        machine.pause().await.expect("paused");
        assert_eq!(machine.get_state(), VmState::Paused);
        assert!(machine.get_info().await.expect("information").is_paused);
        machine.resume().await.expect("resumed");
        assert_eq!(machine.get_state(), VmState::Running);
        stop(&mut machine, VmShutdownMethod::PauseThenKill).await;
    });
    let log = folder.path().join("log");
    assert!(!log.exists(), "fctools removes what it made");
}

#[test]
fn a_machine_is_started_from_a_file_that_fctools_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    drive(async {
        let file = folder.path().join("config.json");
        let mut machine = start(folder.path(), InitMethod::ViaJsonConfiguration(file)).await;
        assert!(!machine.get_info().await.expect("information").is_paused);
        stop(&mut machine, VmShutdownMethod::Kill).await;
    });
}
