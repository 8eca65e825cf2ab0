//! What the API means. The one place that knows what a machine, an image, a volume and an event are.

pub mod clock;
pub mod collection;
pub mod error;
pub mod events;
pub mod images;
pub mod machines;
mod metrics;
pub mod model;
pub mod records;
mod registry;
mod volume_source;
pub mod volumes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_image::Cancellation;
use tokio::sync::{Mutex, Semaphore};

use crate::host::HostError;
use crate::host::layout::Layout;
use crate::host::network::{Network, Published, Subnet};
use crate::store::LocalStore;
use machines::live::Live;

pub use error::{ServiceError, chain};
pub use records::Records;
pub use registry::RegistryConfig;

/// The most streams to and from processes in machines at a time.
const MAX_SESSIONS: usize = 256;

/// Where a daemon works and with what.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Outlives the host's restarts.
    pub state_dir: PathBuf,
    /// Does not.
    pub run_dir: PathBuf,
    /// Holds the VMM, the guest kernel and the initramfs.
    pub assets: PathBuf,
    /// The machines' addresses.
    pub subnet: Subnet,
    /// How long a guest has time to come up.
    pub boot_timeout: Duration,
    /// How registries are spoken to.
    pub registries: RegistryConfig,
}

#[cfg(test)]
impl ServiceConfig {
    /// For a test that starts no machine: everything beneath one folder.
    pub fn beneath(folder: &std::path::Path) -> Self {
        Self {
            state_dir: folder.join("state"),
            run_dir: folder.join("run"),
            assets: folder.to_owned(),
            subnet: "10.255.255.0/29".parse().unwrap(),
            boot_timeout: Duration::from_secs(1),
            registries: RegistryConfig::default(),
        }
    }
}

/// The service of one node.
#[derive(Debug)]
pub struct Service {
    records: Records,
    layout: Layout,
    network: Network,
    boot_timeout: Duration,
    registries: RegistryConfig,
    /// Machines that have a process or will have one. Never held over an await.
    live: std::sync::Mutex<BTreeMap<String, Arc<Live>>>,
    /// One operation a machine at a time.
    turns: std::sync::Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
    /// Ports of the host that machines publish. Held while one is chosen, before `live`.
    published: std::sync::Mutex<BTreeMap<String, Vec<Published>>>,
    /// Held while an address is chosen and recorded.
    placement: Mutex<()>,
    /// Held while a file system under machines' layers is made.
    layers: Mutex<()>,
    /// Room for streams to and from processes in machines.
    sessions: Arc<Semaphore>,
    /// Held while an image is added or deleted.
    images: Mutex<()>,
    /// Roots of images that are being made.
    builds: images::Builds,
}

impl Service {
    /// Opens the store and puts the host in order after whatever happened to a former daemon.
    pub async fn open(config: &ServiceConfig) -> Result<Arc<Self>, ServiceError> {
        let layout = Layout::new(&config.state_dir, &config.run_dir, &config.assets)?;
        let store = LocalStore::open(&layout.store())?;
        let network = Network::new(config.subnet, layout.network_state());
        let service = Arc::new(Self {
            records: Records::new(Arc::new(store)),
            layout,
            network,
            boot_timeout: config.boot_timeout,
            registries: config.registries.clone(),
            live: std::sync::Mutex::default(),
            turns: std::sync::Mutex::default(),
            published: std::sync::Mutex::default(),
            placement: Mutex::default(),
            layers: Mutex::default(),
            sessions: Arc::new(Semaphore::new(MAX_SESSIONS)),
            images: Mutex::default(),
            builds: images::Builds::default(),
        });
        service.reconcile().await?;
        Ok(service)
    }

    /// Will guests boot here.
    pub async fn examine(&self) -> Result<crate::doctor::Report, ServiceError> {
        let assets = self.layout.assets().to_owned();
        let examined = tokio::task::spawn_blocking(move || crate::doctor::examine(&assets)).await;
        examined.map_err(|error| {
            HostError::Process {
                operation: "finish",
                program: "doctor".into(),
                source: std::io::Error::other(error),
            }
            .into()
        })
    }

    /// The records, for lists and watches.
    pub fn records(&self) -> &Records {
        &self.records
    }
}

/// Work that ends when nobody waits for it any more: when this goes, with the question of a client that left.
#[derive(Debug, Default)]
struct Wanted(Cancellation);

impl Wanted {
    /// What the work looks at.
    fn cancellation(&self) -> Cancellation {
        self.0.clone()
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Does `work` in a task of its own: a client that goes away does not come between what is done and the record of it.
async fn to_its_end<T: Send + 'static>(
    what: &str,
    work: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) -> Result<T, ServiceError> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        let (program, source) = (what.into(), std::io::Error::other(error));
        Err(HostError::Process { operation: "change", program, source }.into())
    })
}

/// A new id: 12 hexadecimal digits.
fn new_id() -> String {
    let mut id = uuid::Uuid::new_v4().simple().to_string();
    id.truncate(12);
    id
}

/// A lock that a panic in another thread does not take from us: what it guards is replaced as a whole.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
