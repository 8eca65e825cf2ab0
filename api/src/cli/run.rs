//! `run`

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::CliError;
use super::client::{Client, segment};
use super::container_flags::ContainerFlags;
use super::image::DOCKER;
use super::lifecycle::{start_failure, wait_until};
use super::pull::{self, PullPolicy};
use super::rates::RateFlags;
use super::{image, logs, output};
use crate::service::model::{
    ImportImage, KillMachine, Limits, Machine, MachineSpec, NetworkKind, Phase, PortSpec, Protocol, Userns,
    VolumeSpec,
};

/// Run an image in a new machine.
#[derive(Debug, Args)]
pub struct Run {
    /// Print the machine's id and leave it running.
    #[arg(short, long)]
    detach: bool,
    /// Pull the image from its registry: where there is none of that name, always, or never.
    #[arg(
        long,
        value_name = "missing|always|never",
        default_value = "missing",
        value_enum,
        hide_possible_values = true
    )]
    pull: PullPolicy,
    /// Delete the machine when it has ended.
    #[arg(long)]
    rm: bool,
    /// The machine's name.
    #[arg(long)]
    name: Option<String>,
    /// Publish a TCP port: [IP:]HOST:GUEST.
    #[arg(short, long, value_name = "[IP:]HOST:GUEST", value_parser = port)]
    publish: Vec<PortSpec>,
    /// Mount a volume: NAME:/PATH[:ro]. It is made when there is none of that name.
    #[arg(short, long, value_name = "NAME:/PATH[:ro]", value_parser = volume)]
    volume: Vec<VolumeSpec>,
    /// Set a variable: NAME=VALUE, or NAME alone for its value here.
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The machine's memory: 512, 512m or 2g; MiB without a unit.
    #[arg(short, long, value_name = "SIZE", default_value = "256", value_parser = mebibytes)]
    memory: u32,
    /// The machine's processors.
    #[arg(long, value_name = "N", default_value = "1")]
    cpus: u8,
    /// How much the container's root may hold beside the image: size=20g.
    #[arg(long, value_name = "size=SIZE", default_value = "size=10g", value_parser = storage)]
    storage_opt: u32,
    /// A limit of the container's memory.
    #[arg(long, value_name = "SIZE", value_parser = mebibytes)]
    memory_limit: Option<u32>,
    /// A limit of the container's processors, such as 0.5.
    #[arg(long, value_name = "N")]
    cpus_limit: Option<f64>,
    /// A limit of the container's processes.
    #[arg(long, value_name = "N")]
    pids_limit: Option<u32>,
    /// How the machine is connected: to the machines' bridge, which needs a daemon of root's, or by passt.
    #[arg(long, value_name = "bridge|passt", default_value = "bridge", value_parser = network)]
    net: NetworkKind,
    /// Let the host's kernel serve the network's queues, where the network is not limited (/dev/vhost-net).
    #[arg(long)]
    net_vhost: bool,
    /// Pairs of queues of the network, up to one a processor.
    #[arg(long, value_name = "N", default_value = "1")]
    net_queues: u8,
    /// Queues of each drive, up to one a processor.
    #[arg(long, value_name = "N", default_value = "1")]
    io_queues: u8,
    #[command(flatten)]
    rates: RateFlags,
    #[command(flatten)]
    container: ContainerFlags,
    /// Instead of the image's entry point.
    #[arg(long)]
    entrypoint: Option<String>,
    /// USER or USER:GROUP, by name or number.
    #[arg(short, long)]
    user: Option<String>,
    /// Where the process starts.
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// Whose users the container has: the machine's, or its own, of which no id is the machine's.
    #[arg(long, value_name = "host|private", default_value = "host", value_parser = userns)]
    userns: Userns,
    /// The guest's host name.
    #[arg(long)]
    hostname: Option<String>,
    /// How long a stop waits before it kills, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    stop_timeout: u32,
    /// How long the start may take until the container runs, in seconds; what takes longer is ended [default: as
    /// long as the daemon allows].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    start_timeout: Option<u32>,
    /// An image's name or id, a file made by bulkhead-image, or a source such as oci:DIR:TAG.
    image: String,
    /// The command and its arguments, instead of the image's.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// `[IP:]HOST:GUEST[/tcp]`
fn port(text: &str) -> Result<PortSpec, String> {
    let wrong = || format!("{text:?} is not [IP:]HOST:GUEST");
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
    let plain = match text.split_once('/') {
        Some((plain, "tcp")) => plain,
        Some((_, other)) => return Err(format!("ports of {other:?} cannot be published, only tcp")),
        None => text,
    };
    let (rest, guest) = plain.rsplit_once(':').ok_or_else(wrong)?;
    let (host_ip, host) = match rest.rsplit_once(':') {
        Some((ip, host)) => (Some(ip.parse::<Ipv4Addr>().map_err(|_| wrong())?), host),
        None => (None, rest),
    };
    Ok(PortSpec { host_port: number(host)?, host_ip, guest_port: number(guest)?, protocol: Protocol::Tcp })
}

/// `NAME:/PATH[:ro|rw]`
fn volume(text: &str) -> Result<VolumeSpec, String> {
    let wrong = || format!("{text:?} is not NAME:/PATH[:ro]");
    let (name, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (destination, read_only) = match rest.rsplit_once(':') {
        Some((path, "ro")) => (path, true),
        Some((path, "rw")) => (path, false),
        Some(_) => return Err(wrong()),
        None => (rest, false),
    };
    if name.starts_with(['/', '.']) {
        return Err(format!("{text:?}: folders of the host cannot be mounted; give a volume's name"));
    }
    if !destination.starts_with('/') {
        return Err(wrong());
    }
    Ok(VolumeSpec { name: name.to_owned(), destination: destination.to_owned(), read_only })
}

/// `512`, `512m`, `2g`
pub fn mebibytes(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is not a size such as 512, 512m or 2g");
    let lower = text.to_ascii_lowercase();
    let (digits, factor) = match lower.strip_suffix(['m', 'g']) {
        Some(digits) if lower.ends_with('g') => (digits, 1024),
        Some(digits) => (digits, 1),
        None => (lower.as_str(), 1),
    };
    digits.parse::<u32>().ok().and_then(|size| size.checked_mul(factor)).ok_or_else(wrong)
}

/// `bridge`, `passt`
fn network(text: &str) -> Result<NetworkKind, String> {
    match text {
        "bridge" => Ok(NetworkKind::Bridge),
        "passt" => Ok(NetworkKind::Passt),
        _ => Err(format!("{text:?} is neither bridge nor passt")),
    }
}

/// `size=512m`, `size=20g`
fn storage(text: &str) -> Result<u32, String> {
    let size = text.strip_prefix("size=").ok_or_else(|| format!("{text:?} is not size=SIZE"))?;
    mebibytes(size)
}

/// `host`, `private`
fn userns(text: &str) -> Result<Userns, String> {
    match text {
        "host" => Ok(Userns::Host),
        "private" => Ok(Userns::Private),
        _ => Err(format!("{text:?} is neither host nor private")),
    }
}

impl Run {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let before = |error: CliError| match error {
            run @ CliError::Run { .. } => run,
            other => CliError::Before(Box::new(other)),
        };
        let (detach, rm) = (self.detach, self.rm);
        let spec = self.spec(client).await.map_err(before)?;
        let machine: Machine = client.post_body("/api/v1/machines", &spec).await.map_err(before)?;
        let id = machine.metadata.id;
        let path = format!("/api/v1/machines/{}", segment(&id));
        let done = follow(client, &id, &path, detach).await;
        // A machine that was never started is of no use; one that failed has a console to look at.
        let refused = matches!(&done, Err((_, false)));
        if refused || rm && (!detach || done.is_err()) {
            match client.delete(&format!("{path}?force=true")).await {
                Err(CliError::Refused { status: 404, .. }) | Ok(()) => {}
                Err(error) => eprintln!("bulkhead: {error}"),
            }
        }
        done.map_err(|(error, _)| before(error))
    }

    async fn spec(self, client: &Client) -> Result<MachineSpec, CliError> {
        let image = match image::source(&self.image)? {
            Some(source) => {
                let body = ImportImage { source, name: None, credentials: None };
                pull::import(client, &body).await?.metadata.id
            }
            None => pull::present(client, self.image.trim_start_matches(DOCKER), self.pull).await?,
        };
        Ok(MachineSpec {
            image,
            name: self.name,
            command: Some(self.command).filter(|words| !words.is_empty()),
            entrypoint: self.entrypoint.map(|word| vec![word]),
            env: variables(&self.env)?,
            user: self.user,
            workdir: self.workdir,
            hostname: self.hostname,
            ports: self.publish,
            volumes: self.volume,
            vcpus: self.cpus,
            memory_mib: self.memory,
            root_size_mib: self.storage_opt,
            limits: Limits { memory_mib: self.memory_limit, cpus: self.cpus_limit, pids: self.pids_limit },
            rates: self.rates.into(),
            container: self.container.spec()?,
            network: self.net,
            vhost: self.net_vhost,
            network_queues: self.net_queues,
            disk_queues: self.io_queues,
            userns: self.userns,
            // In the foreground this program deletes it, once its output is read.
            auto_remove: self.rm && self.detach,
            stop_timeout_s: self.stop_timeout,
            start_timeout_s: self.start_timeout,
        })
    }
}

/// `NAME=VALUE`, or `NAME` alone for its value here.
pub fn variables(words: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let mut variables = BTreeMap::new();
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => match std::env::var(word) {
                Ok(value) => (word.clone(), value),
                Err(_) => continue,
            },
        };
        variables.insert(name, value);
    }
    Ok(variables)
}

/// Starts the machine and stays with it. An error tells whether the machine was started.
async fn follow(client: &Client, id: &str, path: &str, detach: bool) -> Result<u8, (CliError, bool)> {
    let _: Machine = client.post(&format!("{path}/start")).await.map_err(|error| (error, false))?;
    let started = |error| (error, true);
    let signals = (!detach).then(|| tokio::spawn(forward_signals(client.clone(), path.to_owned())));
    let stayed = async {
        let machine = wait_until(client, id, "started").await?;
        if let Some(error) = start_failure(&machine) {
            return Err(error);
        }
        if detach {
            output::line(id)?;
            return Ok(0);
        }
        logs::print_frames(client.stream(&format!("{path}/logs?follow=true")).await?).await?;
        let machine = wait_until(client, id, "stopped").await?;
        if let (Phase::Stopped, Some(message)) = (machine.status.phase, &machine.status.message) {
            eprintln!("bulkhead: {message}");
        }
        Ok(machine.status.exit.map_or(125, |exit| exit.code))
    };
    let done = stayed.await.map_err(started);
    if let Some(signals) = signals {
        signals.abort();
    }
    done
}

/// Hands SIGINT and SIGTERM on to the container.
async fn forward_signals(client: Client, path: String) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    loop {
        let signal = tokio::select! { _ = interrupt.recv() => 2, _ = terminate.recv() => 15 };
        let sent = client.post_body::<Machine>(&format!("{path}/kill"), &KillMachine { signal }).await;
        if let Err(error) = sent {
            // On its way up there is no container yet: end the machine instead.
            let stopped = client.post::<Machine>(&format!("{path}/stop")).await;
            if stopped.is_err() {
                eprintln!("bulkhead: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let spec = port("127.0.0.1:8080:80/tcp").unwrap();
        assert_eq!((spec.host_port, spec.guest_port, spec.host_ip), (8080, 80, Some(Ipv4Addr::LOCALHOST)));
        assert_eq!(port("6379:6379").unwrap().host_ip, None);
        for text in ["", "80", "0:80", "80:0", "65536:1", "a:b", "x:1:2", "1:2/udp", "::1:80:80", "1:2:3:4"] {
            assert!(port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn volumes() {
        let spec = volume("data:/var/lib:ro").unwrap();
        assert_eq!(
            (spec.name.as_str(), spec.destination.as_str(), spec.read_only),
            ("data", "/var/lib", true)
        );
        assert!(!volume("data:/x").unwrap().read_only);
        for text in ["", "data", "data:x", "/host:/x", "./host:/x", "data:/x:other"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks() {
        assert_eq!(network("bridge"), Ok(NetworkKind::Bridge));
        assert_eq!(network("passt"), Ok(NetworkKind::Passt));
        assert!(network("host").is_err());
    }

    #[test]
    fn users() {
        assert_eq!(userns("host"), Ok(Userns::Host));
        assert_eq!(userns("private"), Ok(Userns::Private));
        assert!(userns("auto").is_err());
    }

    #[test]
    fn sizes() {
        for (text, size) in [("256", 256), ("512m", 512), ("2G", 2048)] {
            assert_eq!(mebibytes(text), Ok(size), "{text}");
        }
        for text in ["", "m", "1.5g", "-1", "5000000g", "1k"] {
            assert!(mebibytes(text).is_err(), "{text}");
        }
    }
}
