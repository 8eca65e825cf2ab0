//! The live part of a machine: its process and how to reach it.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::host::agent::Agent;
use crate::host::layout::Layout;
use crate::host::process::{Identity, Process};
use crate::host::vmm_api::VmmApi;
use crate::service::lock;

/// A machine that has a process, or will have one in a moment.
#[derive(Debug)]
pub struct Live {
    /// Its agent.
    pub agent: Agent,
    /// Its VMM.
    pub vmm: VmmApi,
    process: OnceLock<Arc<Process>>,
    /// Its passt, where it has one.
    passt: OnceLock<Arc<Process>>,
    /// Keeps its output, until it is all there.
    output: std::sync::Mutex<Option<JoinHandle<()>>>,
    /// It must end now.
    cancel: watch::Sender<bool>,
    /// Counts up with every piece of output that is kept.
    grown: watch::Sender<u64>,
    /// It has ended and nothing of it is left.
    done: watch::Sender<bool>,
}

/// What the daemon alone must know of a machine after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Its VMM's process.
    pub identity: Option<Identity>,
    /// Its passt's process.
    #[serde(default)]
    pub passt: Option<Identity>,
    /// The number in the kept output of the first byte of this start.
    pub log_base: u64,
}

impl Live {
    /// Of the machine with that id, without a process yet.
    pub fn new(layout: &Layout, id: &str) -> Self {
        Self {
            agent: Agent::new(&layout.vsock(id)),
            vmm: VmmApi::new(&layout.vmm_api(id)),
            process: OnceLock::new(),
            passt: OnceLock::new(),
            output: std::sync::Mutex::default(),
            cancel: watch::Sender::new(false),
            grown: watch::Sender::new(0),
            done: watch::Sender::new(false),
        }
    }

    /// Its process, once there is one.
    pub fn process(&self) -> Option<&Arc<Process>> {
        self.process.get()
    }

    /// It has a process now.
    pub fn set_process(&self, process: Arc<Process>) {
        // It is set once, by whoever starts or adopts the machine.
        let _ = self.process.set(process);
    }

    /// Its passt, if it has one.
    pub fn passt(&self) -> Option<&Arc<Process>> {
        self.passt.get()
    }

    /// It has a passt now.
    pub fn set_passt(&self, passt: Arc<Process>) {
        // As with its process.
        let _ = self.passt.set(passt);
    }

    /// Its output is being kept.
    pub fn set_output(&self, task: JoinHandle<()>) {
        lock(&self.output).replace(task);
    }

    /// Who keeps its output, for whoever ends it.
    pub fn take_output(&self) -> Option<JoinHandle<()>> {
        lock(&self.output).take()
    }

    /// Ends it as soon as possible.
    pub fn cancel(&self) {
        self.cancel.send_replace(true);
    }

    /// Waits until somebody wants it to end now.
    pub async fn cancelled(&self) {
        // The sender lives as long as `self`.
        let _ = self.cancel.subscribe().wait_for(|cancelled| *cancelled).await;
    }

    /// Somebody wanted it to end now.
    pub fn is_cancelled(&self) -> bool {
        *self.cancel.borrow()
    }

    /// More output is kept.
    pub fn grow(&self) {
        self.grown.send_modify(|count| *count += 1);
    }

    /// Tells when more output is kept.
    pub fn growth(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// Nothing of it is left.
    pub fn finish(&self) {
        self.done.send_replace(true);
        self.grow();
    }

    /// Waits until nothing of it is left.
    pub async fn finished(&self) {
        let _ = self.done.subscribe().wait_for(|done| *done).await;
    }
}
