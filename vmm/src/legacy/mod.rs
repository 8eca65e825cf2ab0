//! The few devices of a PC that a kernel expects at fixed ports, and the exit device.

pub mod boot_timer;
pub mod counted;
pub mod events;
pub mod exit_device;
pub mod i8042;
mod keyboard;
pub mod power;
pub mod serial;
