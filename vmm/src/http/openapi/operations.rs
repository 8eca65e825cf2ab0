//! The operations of the API, one a row: method, path, Firecracker's name for it, what it is for, its types.

use super::super::actions::Action;
use super::super::balloon::{Amount, Interval, Start};
use super::super::instance::InstanceInfo;
use super::super::version::FirecrackerVersion;
use super::super::vm::Vm;
use super::{JSON, Schema, object, of, text};
use crate::config::{
    Balloon, BootSource, Console, CpuConfig, Drive, DriveChange, Entropy, Logger, MachineConfig,
    MachineConfigChange, MachineSpec, Metrics, MmdsConfig, NetworkInterface, NetworkInterfaceChange, Pmem,
    PmemChange, Serial, Smbios, Vsock,
};
use crate::machine::{BalloonStatistics, HintingStatus};

/// One operation.
pub struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    /// Firecracker's `operationId`, after which generated clients name their functions.
    pub id: &'static str,
    pub summary: &'static str,
    /// The request's body, and whether there must be one.
    pub body: Option<(Schema, bool)>,
    /// The body of an answer with status 200; without one the status is 204.
    pub answer: Option<Schema>,
    /// The type of that body.
    pub media: &'static str,
    /// The statuses of refusals that are expected; any other comes under `default`.
    pub faults: &'static [&'static str],
}

/// Every operation.
pub const OPERATIONS: &[Operation] = &[
    get("/", "describeInstance", "Tells what runs here, and in which state.", of::<InstanceInfo>),
    get("/version", "getFirecrackerVersion", "Tells which API is spoken.", of::<FirecrackerVersion>),
    get("/vm/config", "getExportVmConfig", "Gives the whole configuration.", of::<MachineSpec>),
    get("/machine-config", "getMachineConfiguration", "Gives processors and memory.", of::<MachineConfig>),
    bodiless_allowed(put(
        "/machine-config",
        "putMachineConfiguration",
        "Sets processors and memory, before the start; what is not named gets its default.",
        of::<MachineConfig>,
    )),
    bodiless_allowed(patch(
        "/machine-config",
        "patchMachineConfiguration",
        "Changes the named ones of processors and memory, before the start.",
        of::<MachineConfigChange>,
    )),
    put("/boot-source", "putGuestBootSource", "Sets what boots, before the start.", of::<BootSource>),
    put(
        "/drives/{drive_id}",
        "putGuestDriveByID",
        "Adds a drive or sets it anew, before the start.",
        of::<Drive>,
    ),
    patch(
        "/drives/{drive_id}",
        "patchGuestDriveByID",
        "Changes a drive's file or limits, after the start.",
        of::<DriveChange>,
    ),
    put(
        "/pmem/{id}",
        "putGuestPmemByID",
        "Adds a pmem device or sets it anew, before the start.",
        of::<Pmem>,
    ),
    patch(
        "/pmem/{id}",
        "patchGuestPmemByID",
        "Changes a pmem device's limits, after the start.",
        of::<PmemChange>,
    ),
    put(
        "/network-interfaces/{iface_id}",
        "putGuestNetworkInterfaceByID",
        "Adds a network interface or sets it anew, before the start.",
        of::<NetworkInterface>,
    ),
    patch(
        "/network-interfaces/{iface_id}",
        "patchGuestNetworkInterfaceByID",
        "Changes a network interface's limits, after the start.",
        of::<NetworkInterfaceChange>,
    ),
    Operation { faults: &["404"], ..get("/mmds", "getMmds", "Gives the metadata.", object) },
    bodiless_allowed(put("/mmds", "putMmds", "Sets the metadata.", object)),
    bodiless_allowed(patch("/mmds", "patchMmds", "Merges into the metadata.", object)),
    put(
        "/mmds/config",
        "putMmdsConfig",
        "Says how guests reach the metadata, before the start.",
        of::<MmdsConfig>,
    ),
    put("/vsock", "putGuestVsock", "Sets the socket device, before the start.", of::<Vsock>),
    unexpected(put(
        "/entropy",
        "putEntropyDevice",
        "Sets the entropy device, before the start.",
        of::<Entropy>,
    )),
    Operation {
        faults: &["400"],
        ..get("/balloon", "describeBalloonConfig", "Gives the balloon as it shall be.", of::<Balloon>)
    },
    put("/balloon", "putBalloon", "Sets the balloon, before the start.", of::<Balloon>),
    patch("/balloon", "patchBalloon", "Changes the balloon's size.", of::<Amount>),
    Operation {
        faults: &["400"],
        ..get(
            "/balloon/statistics",
            "describeBalloonStats",
            "Gives what the guest said last of its memory.",
            of::<BalloonStatistics>,
        )
    },
    patch(
        "/balloon/statistics",
        "patchBalloonStatsInterval",
        "Changes how often the guest is asked.",
        of::<Interval>,
    ),
    bodiless_allowed(patch(
        "/balloon/hinting/start",
        "startBalloonHinting",
        "Asks the guest to tell its free pages.",
        of::<Start>,
    )),
    Operation {
        faults: &["400"],
        ..get(
            "/balloon/hinting/status",
            "describeBalloonHinting",
            "Tells how far the guest is with telling its free pages.",
            of::<HintingStatus>,
        )
    },
    Operation {
        body: None,
        ..patch("/balloon/hinting/stop", "stopBalloonHinting", "Ends the telling of free pages.", object)
    },
    bodiless_allowed(put(
        "/cpu-config",
        "putCpuConfiguration",
        "Sets what processors show to the guest, before the start.",
        of::<CpuConfig>,
    )),
    put(
        "/smbios",
        "putSmbios",
        "Sets which machine the guest finds itself in, before the start.",
        of::<Smbios>,
    ),
    put("/console", "putConsole", "Sets a virtio console, before the start.", of::<Console>),
    patch("/vm", "patchVm", "Lets the machine stand still, or go on.", of::<Vm>),
    put("/logger", "putLogger", "Says which messages are written where, before the start.", of::<Logger>),
    put(
        "/metrics",
        "putMetrics",
        "Says where figures are written, once and before the start.",
        of::<Metrics>,
    ),
    Operation {
        media: "text/plain",
        ..get(
            "/metrics/prometheus",
            "getPrometheusMetrics",
            "Gives figures since the start of the process in Prometheus's text format.",
            text,
        )
    },
    unexpected(put(
        "/serial",
        "putSerialDevice",
        "Says where the guest's console goes, before the start.",
        of::<Serial>,
    )),
    put("/actions", "createSyncAction", "Does something to the machine now.", of::<Action>),
];

const fn get(path: &'static str, id: &'static str, summary: &'static str, answer: Schema) -> Operation {
    Operation { method: "GET", path, id, summary, body: None, answer: Some(answer), media: JSON, faults: &[] }
}

const fn put(path: &'static str, id: &'static str, summary: &'static str, body: Schema) -> Operation {
    Operation {
        method: "PUT",
        path,
        id,
        summary,
        body: Some((body, true)),
        answer: None,
        media: JSON,
        faults: &["400"],
    }
}

const fn patch(path: &'static str, id: &'static str, summary: &'static str, body: Schema) -> Operation {
    Operation { method: "PATCH", ..put(path, id, summary, body) }
}

/// One whose description in Firecracker does not say that its body must be there.
const fn bodiless_allowed(operation: Operation) -> Operation {
    let body = match operation.body {
        Some((schema, _)) => Some((schema, false)),
        None => None,
    };
    Operation { body, ..operation }
}

/// One whose refusals Firecracker describes only as `default`.
const fn unexpected(operation: Operation) -> Operation {
    Operation { faults: &[], ..operation }
}
