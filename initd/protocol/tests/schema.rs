//! Freezes what host and guest write to each other: one sample of every type, as it stands in `schema.json`.
//!
//! A change of that file is a change of the contract. To accept one, run
//! `UPDATE_SCHEMA=1 cargo test -p bulkhead-protocol` and say why in the commit.

#![allow(clippy::unwrap_used, reason = "a test ends where its samples are wrong")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use bulkhead_protocol::{agent, boot, copy, exec, exit, image, oci};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The sample as JSON, which must read back as what it was.
fn sample<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> Value {
    let json = serde_json::to_value(value).unwrap();
    assert_eq!(&serde_json::from_value::<T>(json.clone()).unwrap(), value);
    json
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn process() -> oci::Process {
    oci::Process {
        terminal: true,
        user: oci::User {
            uid: 101,
            gid: 102,
            umask: Some(0o22),
            additional_gids: vec![50],
            username: Some("redis".into()),
        },
        args: words(&["redis-server", "--port", "6379"]),
        env: words(&["PATH=/bin"]),
        cwd: "/data".into(),
        capabilities: Some(oci::Capabilities {
            bounding: words(&["CAP_CHOWN"]),
            effective: words(&["CAP_CHOWN"]),
            inheritable: words(&["CAP_CHOWN"]),
            permitted: words(&["CAP_CHOWN"]),
            ambient: words(&["CAP_CHOWN"]),
        }),
        rlimits: vec![oci::Rlimit { kind: "RLIMIT_NOFILE".into(), soft: 1024, hard: 4096 }],
        no_new_privileges: true,
        oom_score_adj: Some(100),
        console_size: Some(oci::ConsoleSize { height: 24, width: 80 }),
        apparmor_profile: Some("docker-default".into()),
        selinux_label: Some("a:b:c".into()),
        scheduler: Some(oci::Scheduler {
            policy: "SCHED_FIFO".into(),
            nice: Some(0),
            priority: Some(1),
            flags: words(&["SCHED_FLAG_RESET_ON_FORK"]),
            runtime: Some(0),
            deadline: Some(0),
            period: Some(0),
        }),
        io_priority: Some(oci::IoPriority { class: "IOPRIO_CLASS_BE".into(), priority: 4 }),
    }
}

fn seccomp() -> oci::Seccomp {
    oci::Seccomp {
        default_action: "SCMP_ACT_ERRNO".into(),
        default_errno_ret: Some(38),
        architectures: words(&["SCMP_ARCH_X86_64"]),
        flags: words(&["SECCOMP_FILTER_FLAG_LOG"]),
        listener_path: Some("/run/listener".into()),
        listener_metadata: Some("free".into()),
        syscalls: vec![oci::SyscallRule {
            names: words(&["personality"]),
            action: "SCMP_ACT_ALLOW".into(),
            errno_ret: Some(1),
            args: vec![oci::SyscallArgument {
                index: 0,
                value: 8,
                value_two: 1,
                op: "SCMP_CMP_MASKED_EQ".into(),
            }],
        }],
    }
}

fn linux() -> oci::Linux {
    use oci::NamespaceKind::{Cgroup, Ipc, Mount, Network, Pid, Time, User, Uts};
    let mapping = oci::IdMapping { container_id: 0, host_id: 100_000, size: 65_536 };
    let namespace = |kind| oci::Namespace { kind, path: None };
    let mut namespaces: Vec<_> = [Pid, Mount, Ipc, Uts, User, Cgroup, Time].map(namespace).into();
    namespaces.push(oci::Namespace { kind: Network, path: Some("/run/netns/a".into()) });
    oci::Linux {
        namespaces,
        uid_mappings: vec![mapping],
        gid_mappings: vec![mapping],
        devices: vec![oci::Device {
            path: "/dev/fuse".into(),
            kind: "c".into(),
            major: 10,
            minor: 229,
            file_mode: Some(0o666),
            uid: Some(0),
            gid: Some(0),
        }],
        cgroups_path: Some("/redis".into()),
        resources: Some(oci::Resources {
            memory: Some(oci::MemoryLimit {
                limit: Some(64 << 20),
                reservation: Some(1 << 20),
                swap: Some(-1),
                check_before_update: Some(true),
            }),
            cpu: Some(oci::CpuLimit {
                shares: Some(1024),
                quota: Some(50_000),
                period: Some(100_000),
                cpus: Some("0-1".into()),
                mems: Some("0".into()),
                burst: Some(1000),
                idle: Some(1),
                realtime_runtime: Some(0),
                realtime_period: Some(0),
            }),
            pids: Some(oci::PidsLimit { limit: 100 }),
            ..resources()
        }),
        seccomp: Some(seccomp()),
        sysctl: BTreeMap::from([("net.core.somaxconn".into(), "1024".into())]),
        masked_paths: words(&["/proc/kcore"]),
        readonly_paths: words(&["/proc/sys"]),
        rootfs_propagation: Some("rprivate".into()),
        time_offsets: BTreeMap::from([("boottime".into(), oci::TimeOffset { secs: -1, nanosecs: 2 })]),
        mount_label: Some("a:b:c".into()),
        personality: Some(oci::Personality { domain: "LINUX32".into(), flags: words(&["X"]) }),
        intel_rdt: Some(serde_json::json!({ "closID": "a" })),
    }
}

fn resources() -> oci::Resources {
    let throttle = oci::ThrottleDevice { major: 8, minor: 0, rate: 1 << 20 };
    oci::Resources {
        devices: vec![oci::DeviceRule {
            allow: true,
            kind: Some("c".into()),
            major: Some(10),
            minor: Some(229),
            access: Some("rwm".into()),
        }],
        block_io: Some(oci::BlockIo {
            weight: Some(500),
            weight_device: vec![oci::WeightDevice { major: 8, minor: 0, weight: Some(100) }],
            throttle_read_bps_device: vec![throttle],
            throttle_write_bps_device: vec![throttle],
            throttle_read_iops_device: vec![throttle],
            throttle_write_iops_device: vec![throttle],
        }),
        hugepage_limits: vec![oci::HugepageLimit { page_size: "2MB".into(), limit: 2 << 20 }],
        rdma: BTreeMap::from([(
            "mlx5_1".into(),
            oci::RdmaLimit { hca_handles: Some(3), hca_objects: Some(1000) },
        )]),
        unified: BTreeMap::from([("memory.oom.group".into(), "1".into())]),
        ..oci::Resources::default()
    }
}

fn hooks() -> oci::Hooks {
    let hook = oci::Hook {
        path: "/bin/true".into(),
        args: words(&["true"]),
        env: words(&["A=B"]),
        timeout: Some(5),
    };
    let one = || vec![hook.clone()];
    oci::Hooks {
        prestart: one(),
        create_runtime: one(),
        create_container: one(),
        start_container: one(),
        poststart: one(),
        poststop: one(),
    }
}

fn spec() -> oci::Spec {
    oci::Spec {
        oci_version: "1.2.0".into(),
        process: process(),
        root: Some(oci::Root { path: "rootfs".into(), readonly: true }),
        hostname: Some("redis".into()),
        domainname: Some("example".into()),
        hooks: Some(hooks()),
        mounts: vec![oci::Mount {
            destination: "/proc".into(),
            kind: Some("proc".into()),
            source: Some("proc".into()),
            options: words(&["nosuid"]),
            uid_mappings: vec![oci::IdMapping { container_id: 0, host_id: 1, size: 2 }],
            gid_mappings: vec![oci::IdMapping { container_id: 0, host_id: 1, size: 2 }],
        }],
        linux: linux(),
        annotations: BTreeMap::from([("org.example".into(), "free".into())]),
    }
}

fn state() -> oci::State {
    oci::State {
        oci_version: "1.2.0".into(),
        id: "redis".into(),
        status: oci::Status::Created,
        pid: 7,
        bundle: "/bundle".into(),
        annotations: BTreeMap::from([("org.example".into(), "free".into())]),
    }
}

fn create_container() -> agent::CreateContainer {
    agent::CreateContainer {
        id: "redis".into(),
        spec: spec(),
        root: agent::RootDisk {
            device: agent::Device("serial:root".into()),
            layer: Some(agent::Device("serial:layer".into())),
        },
        volumes: vec![agent::VolumeDisk {
            device: agent::Device("partlabel:data".into()),
            destination: "/data".into(),
            read_only: true,
        }],
        end_machine: true,
    }
}

fn manifest(kind: image::ImageKind) -> image::Manifest {
    let part = image::Part { offset: 4096, size: 5000, sha256: "0".repeat(64) };
    image::Manifest {
        version: image::VERSION,
        kind,
        name: "redis:7".into(),
        architecture: "amd64".into(),
        config: image::ImageConfig {
            entrypoint: words(&["redis-server"]),
            cmd: words(&["--port", "6379"]),
            env: words(&["PATH=/bin"]),
            working_dir: "/data".into(),
            user: "redis".into(),
            exposed_ports: words(&["6379/tcp"]),
            volumes: words(&["/data"]),
            labels: BTreeMap::from([("org.example".into(), "free".into())]),
            stop_signal: "SIGTERM".into(),
        },
        parts: BTreeMap::from([("root".into(), part)]),
        boot_args: Some("quiet".into()),
    }
}

fn samples() -> BTreeMap<&'static str, Value> {
    use agent::ContainerState::{Created, Running, Stopped};
    let exit = agent::ExitStatus { code: 137, signal: Some(9), oom_killed: true };
    let status = |state, exit| agent::ContainerStatus {
        id: "redis".into(),
        state,
        pid: Some(7),
        started_us: Some(900_000),
        exit,
    };
    let ready = agent::Ready {
        version: "0.1.0".into(),
        kernel: "6.1.0".into(),
        boot_id: "43367c5f-0b47-4a82-bde8-95b6cfc36203".into(),
        entered_us: 700_000,
        ready_us: 800_000,
    };
    let panic = exit::ExitRecord::Panic { cause: "it is out of memory".into(), console: "Oops".into() };
    let signal = exit::ExitRecord::Signal { number: 15, cause: None, console: String::new() };
    BTreeMap::from([
        ("agent.Ready", sample(&ready)),
        ("agent.CreateContainer", sample(&create_container())),
        ("agent.ContainerStatus.created", sample(&status(Created, None))),
        ("agent.ContainerStatus.running", sample(&status(Running, None))),
        ("agent.ContainerStatus.stopped", sample(&status(Stopped, Some(exit)))),
        ("agent.ExitStatus", sample(&exit)),
        ("agent.SignalRequest", sample(&agent::SignalRequest { signal: 15, all: true })),
        ("oci.State", sample(&state())),
        ("agent.PowerOff", sample(&agent::PowerOff { code: 3 })),
        (
            "agent.Fault",
            sample(&agent::Fault { message: "There is no container redis".into(), code: Some(127) }),
        ),
        (
            "copy.CopyRequest",
            sample(&copy::CopyRequest {
                path: "/etc".into(),
                action: copy::CopyAction::Read,
                name: Some("etc".into()),
                follow: true,
                owners: false,
            }),
        ),
        ("copy.PathStat", sample(&copy::PathStat { kind: copy::PathKind::Folder, path: "/usr/bin".into() })),
        (
            "exec.ExecProcess",
            sample(&exec::ExecProcess {
                args: words(&["redis-cli", "ping"]),
                env: words(&["TERM=xterm"]),
                cwd: Some("/data".into()),
                user: Some("redis:redis".into()),
                input: true,
                terminal: Some(exec::TerminalSize { rows: 24, columns: 80 }),
                detach: false,
            }),
        ),
        ("boot.Autostart", sample(&boot::Autostart { container: create_container() })),
        ("exit.ExitRecord.guest-exit", sample(&exit::ExitRecord::GuestExit { code: 42 })),
        ("exit.ExitRecord.power-off", sample(&exit::ExitRecord::PowerOff)),
        ("exit.ExitRecord.panic", sample(&panic)),
        ("exit.ExitRecord.reset", sample(&exit::ExitRecord::Reset)),
        ("exit.ExitRecord.triple-fault", sample(&exit::ExitRecord::TripleFault { console: "Oops".into() })),
        ("exit.ExitRecord.signal", sample(&signal)),
        ("exit.ExitRecord.vmm-error", sample(&exit::ExitRecord::VmmError { message: "No kernel".into() })),
        ("image.Manifest.container-root", sample(&manifest(image::ImageKind::ContainerRoot))),
        ("image.Manifest.appliance", sample(&manifest(image::ImageKind::Appliance))),
    ])
}

#[test]
fn what_is_written_stays_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schema.json");
    let written = serde_json::to_string_pretty(&samples()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let frozen = std::fs::read_to_string(&path).unwrap();
    assert!(written == frozen, "the contract differs from {}:\n{written}", path.display());
}

#[test]
fn numbers_and_words_stay_as_they_are() {
    assert_eq!(
        (agent::PORT, agent::MAX_BODY, agent::MAX_LOG_FRAME, agent::LOG_BYTES),
        (512, 1 << 20, 64 << 10, 1 << 20)
    );
    assert_eq!(exit::PORT, 0x0bd0);
    assert_eq!(
        (boot::MODE, boot::NET, boot::HOSTNAME),
        ("bulkhead.mode", "bulkhead.net", "bulkhead.hostname")
    );
    assert_eq!(boot::MODULES_ORDER, "/bulkhead/modules.order");
    assert_eq!(boot::MODULES_LATER, "/bulkhead/modules.later");
    assert_eq!(boot::AUTOSTART, "/bulkhead/autostart.json");
    assert_eq!(image::FOOTER_MAGIC, b"bulkhead-root-1\n");
    assert_eq!(image::MANIFEST_MAGIC, b"bulkhead-appl-1\n");
    let labels = [image::MANIFEST_LABEL, image::KERNEL_LABEL, image::INITRAMFS_LABEL, image::ROOT_LABEL];
    assert_eq!(labels, ["manifest-a", "kernel-a", "initramfs-a", "root-a"]);
}

#[test]
fn our_own_bodies_refuse_unknown_fields_and_oci_ones_ignore_them() {
    let with = |mut body: Value, at: &str| {
        body.pointer_mut(at).unwrap().as_object_mut().unwrap().insert("unknown".into(), Value::Null);
        serde_json::from_value::<agent::CreateContainer>(body)
    };
    let body = serde_json::to_value(create_container()).unwrap();
    assert!(with(body.clone(), "").is_err());
    assert!(with(body.clone(), "/root").is_err());
    for at in ["/spec", "/spec/process", "/spec/linux", "/spec/linux/resources/memory", "/spec/mounts/0"] {
        assert_eq!(with(body.clone(), at).unwrap(), create_container(), "{at}");
    }
}
