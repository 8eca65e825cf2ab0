//! A tap of the lab for a bare guest, and the guest's words to use it.

use std::process::Command;
use std::time::Duration;

use crate::run;

/// The host's address on it.
pub const HOST: &str = "172.31.7.1";
/// The guest's.
pub const GUEST: &str = "172.31.7.2";
/// What the guest's first process says to bring its end up.
pub const UP: &str = "ip link set lo up; ip addr add 172.31.7.2/24 dev eth0; ip link set eth0 up";

/// A tap that goes with this.
pub struct Tap(&'static str);

impl Tap {
    /// A tap with [`HOST`]'s address, up.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self::with(name, &[])
    }

    /// The same for several queues.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn with_queues(name: &'static str) -> Self {
        Self::with(name, &["multi_queue"])
    }

    fn with(name: &'static str, more: &[&str]) -> Self {
        let tap = Self(name);
        ip(&[&["tuntap", "add", name, "mode", "tap"], more].concat());
        ip(&["addr", "add", &format!("{HOST}/24"), "dev", name]);
        ip(&["link", "set", name, "up"]);
        tap
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", self.0]).status();
    }
}

fn ip(arguments: &[&str]) {
    let _ = run(Command::new("ip").args(arguments), Duration::from_secs(10)).ok();
}
