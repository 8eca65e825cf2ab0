//! What a specification may say. The patterns are those of the API's description.

mod container;

use crate::service::error::ServiceError;
use crate::service::model::{MAX_RATE, MachineSpec, NetworkKind, PortSpec, Rates, VolumeSpec};

pub use container::rlimits;

/// The most ports of a machine.
const MAX_PORTS: usize = 128;
/// The most volumes of a machine: interrupt lines are scarce.
const MAX_VOLUMES: usize = 8;
/// The most words of a command.
const MAX_WORDS: usize = 1024;
/// All words and variables together, in bytes; the guest's agent takes 1 MiB.
const MAX_TEXT: usize = 256 << 10;

fn invalid(field: &'static str, message: impl Into<String>) -> ServiceError {
    ServiceError::Invalid { field, message: message.into() }
}

fn starts_with_alphanumeric(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// A name: 1 to 63 characters of `[a-zA-Z0-9_.-]`, a letter or a digit first.
pub fn name(field: &'static str, text: &str) -> Result<(), ServiceError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if text.len() <= 63 && starts_with_alphanumeric(text) && text.bytes().all(good) {
        return Ok(());
    }
    Err(invalid(
        field,
        "a name has 1 to 63 letters, digits, '_', '.' or '-' and starts with a letter or a digit",
    ))
}

/// The name of an image: as a name, with `/`, `:`, `@` and `+` too, up to 255 characters.
pub fn image_name(field: &'static str, text: &str) -> Result<(), ServiceError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/:@+".contains(&byte);
    if text.len() <= 255 && starts_with_alphanumeric(text) && text.bytes().all(good) {
        return Ok(());
    }
    Err(invalid(
        field,
        "an image's name has 1 to 255 letters, digits or '_.-/:@+' and starts with a letter or a digit",
    ))
}

/// A number within bounds.
pub fn within(field: &'static str, value: u64, low: u64, high: u64) -> Result<(), ServiceError> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(invalid(field, format!("{value} is not {low} to {high}")))
    }
}

fn hostname(text: &str) -> Result<(), ServiceError> {
    let good = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if good && (1..=63).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-') {
        return Ok(());
    }
    Err(invalid(
        "hostname",
        "a host name has 1 to 63 letters, digits or '-', which is neither first nor last",
    ))
}

fn guest_path(field: &'static str, text: &str) -> Result<(), ServiceError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_./@+ -".contains(&byte);
    if text.starts_with('/') && text.len() <= 1024 && text.bytes().all(good) {
        return Ok(());
    }
    Err(invalid(field, "a path in the container is absolute and has up to 1024 letters, digits or '_./@+ -'"))
}

fn port(spec: &PortSpec) -> Result<(), ServiceError> {
    within("ports", u64::from(spec.host_port), 1, 65535)?;
    within("ports", u64::from(spec.guest_port), 1, 65535)
}

fn volume(spec: &VolumeSpec) -> Result<(), ServiceError> {
    name("volumes", &spec.name)?;
    guest_path("volumes", &spec.destination)?;
    if spec.destination.bytes().all(|byte| byte == b'/' || byte == b'.') {
        return Err(invalid("volumes", "a volume cannot cover the whole container"));
    }
    Ok(())
}

fn words(spec: &MachineSpec) -> Result<(), ServiceError> {
    let command = spec.command.iter().chain(&spec.entrypoint);
    let mut size = 0;
    for list in command {
        if list.len() > MAX_WORDS {
            return Err(invalid("command", format!("there are more than {MAX_WORDS} words")));
        }
        size += list.iter().map(String::len).sum::<usize>();
    }
    let nul = |text: &String| text.contains('\0');
    if spec.command.iter().chain(&spec.entrypoint).flatten().any(nul) {
        return Err(invalid("command", "a word has a NUL character"));
    }
    for (variable, value) in &spec.env {
        if variable.is_empty() || variable.contains(['=', '\0']) || nul(value) {
            return Err(invalid(
                "env",
                "a variable's name is not empty and has no '='; none has a NUL character",
            ));
        }
        size += variable.len() + value.len();
    }
    if size > MAX_TEXT {
        return Err(invalid(
            "command",
            format!("words and variables are longer than {MAX_TEXT} bytes together"),
        ));
    }
    Ok(())
}

/// Rates a second.
pub fn rates(rates: &Rates) -> Result<(), ServiceError> {
    let fields = [
        ("rates.disk_bytes_per_s", rates.disk_bytes_per_s),
        ("rates.disk_requests_per_s", rates.disk_requests_per_s),
        ("rates.network_receive_bytes_per_s", rates.network_receive_bytes_per_s),
        ("rates.network_transmit_bytes_per_s", rates.network_transmit_bytes_per_s),
    ];
    fields.into_iter().try_for_each(|(field, rate)| within(field, rate.unwrap_or(0), 0, MAX_RATE))
}

/// Rates of a machine that is so connected.
pub fn rates_of(spec: &MachineSpec, wanted: &Rates) -> Result<(), ServiceError> {
    rates(wanted)?;
    if spec.vhost && (wanted.network_receive_bytes_per_s.or(wanted.network_transmit_bytes_per_s)).is_some() {
        return Err(invalid(
            "rates",
            "the network has no rates with vhost: the host's kernel moves its frames",
        ));
    }
    Ok(())
}

/// A whole specification.
pub fn machine(spec: &MachineSpec) -> Result<(), ServiceError> {
    image_name("image", &spec.image)?;
    if let Some(text) = &spec.name {
        name("name", text)?;
    }
    if let Some(text) = &spec.hostname {
        hostname(text)?;
    }
    if let Some(text) = &spec.workdir {
        guest_path("workdir", text)?;
    }
    if let Some(text) = &spec.user {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !first || text.len() > 128 || !text.bytes().all(good) {
            return Err(invalid(
                "user",
                "a user is a name or a number, with ':' and a group behind it if need be",
            ));
        }
    }
    words(spec)?;
    within("vcpus", u64::from(spec.vcpus), 1, 32)?;
    within("network_queues", spec.network_queues.into(), 1, spec.vcpus.into())?;
    within("disk_queues", spec.disk_queues.into(), 1, spec.vcpus.into())?;
    within("memory_mib", u64::from(spec.memory_mib), 64, 1_048_576)?;
    within("root_size_mib", u64::from(spec.root_size_mib), 16, 1_048_576)?;
    within("stop_timeout_s", u64::from(spec.stop_timeout_s), 0, 3600)?;
    if let Some(seconds) = spec.start_timeout_s {
        within("start_timeout_s", u64::from(seconds), 1, 3600)?;
    }
    if let Some(memory) = spec.limits.memory_mib {
        within("limits.memory_mib", u64::from(memory), 4, 1_048_576)?;
    }
    if let Some(pids) = spec.limits.pids {
        within("limits.pids", u64::from(pids), 1, 4_194_304)?;
    }
    if spec.limits.cpus.is_some_and(|cpus| !(0.01..=32.0).contains(&cpus)) {
        return Err(invalid("limits.cpus", "the limit is not 0.01 to 32"));
    }
    rates_of(spec, &spec.rates)?;
    if spec.network == NetworkKind::Passt && spec.vhost {
        return Err(invalid("vhost", "vhost is for the bridge: passt has no tap"));
    }
    if spec.network == NetworkKind::Passt && spec.network_queues > 1 {
        return Err(invalid("network_queues", "passt has one pair of queues"));
    }
    if spec.ports.len() > MAX_PORTS || spec.volumes.len() > MAX_VOLUMES {
        return Err(invalid(
            "ports",
            format!("a machine has up to {MAX_PORTS} ports and {MAX_VOLUMES} volumes"),
        ));
    }
    container::container(&spec.container)?;
    spec.ports.iter().try_for_each(port)?;
    spec.volumes.iter().try_for_each(volume)
}

#[cfg(test)]
mod tests;
