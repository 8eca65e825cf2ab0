//! `serve`

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_image::registry::Mirror;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::CliError;
use super::place::Place;
use crate::host::HostError;
use crate::host::layout;
use crate::host::network::Subnet;
use crate::routes::{router, server};
use crate::service::{RegistryConfig, Service, ServiceConfig};

/// Serve the API on a Unix socket.
#[derive(Debug, Args)]
pub struct Serve {
    /// Records, images, volumes, logs: what outlives the host's restarts [default: /var/lib/bulkhead; without
    /// root, $XDG_DATA_HOME/bulkhead].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Sockets and configurations: what does not [default: /run/bulkhead; without root,
    /// $XDG_RUNTIME_DIR/bulkhead].
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// The folder of bulkhead-vmm, vmlinux and initramfs [default: that of this program].
    #[arg(long, value_name = "DIR")]
    assets: Option<PathBuf>,
    /// The machines' addresses.
    #[arg(long, value_name = "CIDR", default_value = "172.30.0.0/24")]
    subnet: Subnet,
    /// How long a guest has time to come up, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=3600))]
    boot_timeout: u64,
    /// Speak plain HTTP with this registry.
    #[arg(long = "insecure-registry", value_name = "HOST[:PORT]")]
    insecure_registries: Vec<String>,
    /// Ask this address first for what the registry HOST has.
    #[arg(long = "registry-mirror", value_name = "HOST=URL")]
    registry_mirrors: Vec<Mirror>,
    /// Trust these PEM certificates of registries besides the system's.
    #[arg(long, value_name = "FILE")]
    registry_ca: Vec<PathBuf>,
}

/// The folder of this program.
pub fn own_folder() -> PathBuf {
    let program = std::env::current_exe().ok();
    program.as_deref().and_then(Path::parent).unwrap_or(Path::new("/usr/lib/bulkhead")).to_owned()
}

impl Serve {
    /// Runs it until SIGINT or SIGTERM. Machines go on without it.
    pub fn execute(self, socket: &Path) -> Result<u8, CliError> {
        let filter = tracing_subscriber::EnvFilter::try_from_env("BULKHEAD_LOG")
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("bulkhead_api=info,warn"));
        // It can only fail when there is one already.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|source| CliError::Runtime { source })?;
        runtime.block_on(self.serve(socket))?;
        // What still runs in the background watches over machines; the next daemon takes them over.
        runtime.shutdown_timeout(Duration::from_millis(500));
        Ok(0)
    }

    async fn serve(self, socket: &Path) -> Result<(), CliError> {
        let place = Place::own();
        let config = ServiceConfig {
            state_dir: self.state_dir.unwrap_or(place.state),
            run_dir: self.run_dir.unwrap_or(place.run),
            assets: self.assets.unwrap_or_else(own_folder),
            subnet: self.subnet,
            boot_timeout: Duration::from_secs(self.boot_timeout),
            registries: RegistryConfig {
                insecure: self.insecure_registries,
                mirrors: self.registry_mirrors,
                ca: self.registry_ca,
            },
        };
        if let Some(folder) = socket.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            layout::make_folder(folder)?;
        }
        let stopped = stop_signal()?;
        // The store's lock is the daemon's: who has it may replace a socket that nobody serves.
        let service = Service::open(&config).await.map_err(|source| CliError::Serve { source })?;
        let listener = server::listen(socket).await?;
        tracing::info!("Serving on {}", socket.display());
        server::serve(listener, router(service), stopped).await;
        layout::remove_file(socket)?;
        Ok(())
    }
}

/// Becomes true with SIGINT or SIGTERM.
fn stop_signal() -> Result<watch::Receiver<bool>, HostError> {
    let failed =
        |source| HostError::Process { operation: "hear signals of", program: "bulkhead".into(), source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        sender.send_replace(true);
    });
    Ok(receiver)
}
