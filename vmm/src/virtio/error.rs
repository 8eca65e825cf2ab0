//! What can go wrong on the host's side when virtio devices are set up.

use std::io;

use thiserror::Error;

/// A virtio device or its event loop cannot be made.
#[derive(Debug, Error)]
pub enum VirtioError {
    /// No event descriptor for a queue.
    #[error("Cannot create the notification event of queue {queue} of {device}")]
    QueueEvent {
        /// The device's id.
        device: String,
        /// Which of its queues.
        queue: usize,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A device with more queues than the transport can number.
    #[error("Device {device} has a queue of an impossible size")]
    QueueSize {
        /// The device's id.
        device: String,
    },
    /// The host gives no timer for a device's limits.
    #[error("Cannot limit the rate of {device}")]
    Limiter {
        /// The device's id.
        device: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The host's kernel refuses `io_uring`, for everybody or for this process.
    #[error("This host has no io_uring for drive {device}; its io_engine can be Sync")]
    Uring {
        /// The drive's id.
        device: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No epoll instance or stop event.
    #[error("Cannot create the event loop of the devices")]
    CreateLoop(#[source] io::Error),
    /// No thread for it.
    #[error("Cannot start the thread {name} of the devices")]
    Thread {
        /// Its name.
        name: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Waiting failed.
    #[error("Cannot wait for events of the devices")]
    Wait(#[source] io::Error),
    /// A descriptor that cannot be waited on.
    #[error("Cannot listen to descriptor {descriptor}")]
    Listen {
        /// Its number.
        descriptor: i32,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The loop cannot be told to look up.
    #[error("Cannot wake the event loop of the devices")]
    Nudge(#[source] io::Error),
}
