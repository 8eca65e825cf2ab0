//! What the device, its worker and the API share of a balloon.
//!
//! One mutex, held for moments: by a vCPU for an access to the configuration space, by the worker for what a
//! turn brought, by the API for a request.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use vmm_sys_util::timerfd::TimerFd;

use super::feature;
use super::statistics::Statistics;
use crate::config::Balloon;
use crate::virtio::device::{Interrupt, read_config_space};

/// Pages of 4 KiB in a mebibyte.
const PAGES_PER_MIB: u32 = 256;
/// Where the driver writes how large the balloon is (virtio 1.2 section 5.5.4); the only field that it may.
const ACTUAL: std::ops::Range<u64> = 4..8;
/// The guest may use again what it told (`VIRTIO_BALLOON_CMD_ID_DONE`).
const DONE: u32 = 1;
/// The first number that names a run of hinting. 0 (`VIRTIO_BALLOON_CMD_ID_STOP`) is what the guest says when
/// it has told everything, and what stands where nobody has said anything.
const FIRST_RUN: u32 = 2;

/// Why a request to a balloon is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BalloonError {
    /// Without a queue for them there are none.
    #[error("The balloon's statistics are not enabled")]
    StatisticsOff,
    /// The configuration does not ask for it.
    #[error("Free page hinting is not enabled")]
    HintingOff,
    /// Nobody in the guest would hear it.
    #[error(
        "The balloon is not in use: the guest has no driver for it, or none that knows free page hinting"
    )]
    Driverless,
}

/// The answer to `GET /balloon/statistics`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = BalloonStats))]
pub struct BalloonStatistics {
    target_pages: u32,
    actual_pages: u32,
    target_mib: u32,
    actual_mib: u32,
    #[serde(flatten)]
    guest: Statistics,
}

/// The answer to `GET /balloon/hinting/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = BalloonHintingStatus))]
pub struct HintingStatus {
    /// What the host said last: 0 nothing, 1 done, or the number of a run.
    pub host_cmd: u32,
    /// What the guest said last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_cmd: Option<u32>,
}

/// One balloon, from any side. Cheap to clone.
#[derive(Clone)]
pub struct BalloonHandle {
    state: Arc<Mutex<State>>,
}

struct State {
    /// What is offered to the driver.
    features: u64,
    target_pages: u32,
    /// Counts the changes of the configuration space that are not the driver's.
    generation: u32,
    interval: u16,
    last_run: u32,
    acknowledge: bool,
    guest: GuestState,
    link: Option<Link>,
}

/// What a driver told, and what it was told: gone when it leaves. Plain data.
#[derive(Debug, Default)]
struct GuestState {
    actual_pages: u32,
    statistics: Statistics,
    host_cmd: u32,
    guest_cmd: Option<u32>,
    /// The run that the guest said it works for.
    guest_run: Option<u32>,
}

/// The way to the driver, while there is one.
struct Link {
    interrupt: Arc<dyn Interrupt>,
    features: u64,
    timer: Option<TimerFd>,
}

impl BalloonHandle {
    /// A balloon that nobody has touched, as `spec` asks for it.
    pub fn new(spec: &Balloon) -> BalloonHandle {
        let asked = [
            (spec.stats_polling_interval_s != 0, feature::STATISTICS),
            (spec.deflate_on_oom, feature::DEFLATE_ON_OOM),
            (spec.free_page_hinting, feature::HINTING),
            (spec.free_page_reporting, feature::REPORTING),
        ];
        let state = State {
            features: asked.into_iter().filter(|(asked, _)| *asked).map(|(_, bit)| bit).sum(),
            target_pages: spec.target_pages(),
            generation: 0,
            interval: spec.stats_polling_interval_s,
            last_run: DONE,
            acknowledge: true,
            guest: GuestState::default(),
            link: None,
        };
        BalloonHandle { state: Arc::new(Mutex::new(state)) }
    }

    /// The balloon shall have `pages` of 4 KiB.
    pub fn set_target(&self, pages: u32) {
        let mut state = self.state();
        state.target_pages = pages;
        state.configuration_changed();
    }

    /// Asks for statistics now, and then every so many seconds. They must be enabled, and stay so.
    pub fn set_interval(&self, seconds: u16) {
        let mut state = self.state();
        if state.interval == seconds {
            return;
        }
        state.interval = seconds;
        if let Some(timer) = state.link.as_mut().and_then(|link| link.timer.as_mut()) {
            // Fails only for a timer that does not exist; then the old interval holds.
            let _ = timer.reset(Duration::from_nanos(1), None);
        }
    }

    /// The sizes, and what the guest told last.
    pub fn statistics(&self) -> Result<BalloonStatistics, BalloonError> {
        let state = self.state();
        if state.features & feature::STATISTICS == 0 {
            return Err(BalloonError::StatisticsOff);
        }
        let (target_pages, actual_pages) = (state.target_pages, state.guest.actual_pages);
        Ok(BalloonStatistics {
            target_pages,
            actual_pages,
            target_mib: target_pages / PAGES_PER_MIB,
            actual_mib: actual_pages / PAGES_PER_MIB,
            guest: state.guest.statistics,
        })
    }

    /// Starts a run of hinting: the guest tells its free pages and keeps its hands off them until the run is
    /// done. It is when the guest has told all of them, if `acknowledge`; else with
    /// [`BalloonHandle::stop_hinting`].
    pub fn start_hinting(&self, acknowledge: bool) -> Result<(), BalloonError> {
        let mut state = self.state();
        state.hinting_is_possible()?;
        let run = state.last_run.wrapping_add(1).max(FIRST_RUN);
        state.last_run = run;
        state.acknowledge = acknowledge;
        state.command(run);
        Ok(())
    }

    /// Ends a run of hinting: the guest may use again what it told.
    pub fn stop_hinting(&self) -> Result<(), BalloonError> {
        let mut state = self.state();
        state.hinting_is_possible()?;
        state.command(DONE);
        Ok(())
    }

    /// How far the run of hinting is.
    pub fn hinting_status(&self) -> Result<HintingStatus, BalloonError> {
        let state = self.state();
        if state.features & feature::HINTING == 0 {
            return Err(BalloonError::HintingOff);
        }
        Ok(HintingStatus { host_cmd: state.guest.host_cmd, guest_cmd: state.guest.guest_cmd })
    }

    /// The features of its own.
    pub(super) fn features(&self) -> u64 {
        self.state().features
    }

    pub(super) fn generation(&self) -> u32 {
        self.state().generation
    }

    /// Reads the configuration space (virtio 1.2 section 5.5.4; `poison_val` is not offered).
    pub(super) fn read_config(&self, offset: u64, data: &mut [u8]) {
        let state = self.state();
        let mut space = Vec::with_capacity(12);
        for field in [state.target_pages, state.guest.actual_pages, state.guest.host_cmd] {
            space.extend_from_slice(&field.to_le_bytes());
        }
        read_config_space(&space, offset, data);
    }

    /// Writes the configuration space: bytes beside the one field that is the driver's are passed over.
    pub(super) fn write_config(&self, offset: u64, data: &[u8]) {
        let mut state = self.state();
        let mut actual = state.guest.actual_pages.to_le_bytes();
        for (place, byte) in (offset..).zip(data) {
            if let (true, Some(to)) = (ACTUAL.contains(&place), actual.get_mut((place % 4) as usize)) {
                *to = *byte;
            }
        }
        state.guest.actual_pages = u32::from_le_bytes(actual);
    }

    /// A driver has come that knows `features`. Gives the descriptor that is readable when statistics are due,
    /// if there are any; it lives until [`BalloonHandle::unlink`].
    pub(super) fn link(
        &self,
        interrupt: Arc<dyn Interrupt>,
        features: u64,
    ) -> std::io::Result<Option<RawFd>> {
        let mut state = self.state();
        let mut timer = None;
        if features & feature::STATISTICS != 0 {
            let mut new = TimerFd::new()?;
            new.reset(state.period(), None)?;
            timer = Some(new);
        }
        let descriptor = timer.as_ref().map(AsRawFd::as_raw_fd);
        state.link = Some(Link { interrupt, features, timer });
        Ok(descriptor)
    }

    /// The driver has gone, and with it what it told.
    pub(super) fn unlink(&self) {
        let mut state = self.state();
        state.link = None;
        state.guest = GuestState::default();
    }

    /// Statistics were asked for; the next time comes in an interval.
    pub(super) fn statistics_asked(&self) {
        let mut state = self.state();
        let period = state.period();
        if let Some(timer) = state.link.as_mut().and_then(|link| link.timer.as_mut()) {
            // Setting it anew also makes it unreadable, without a read that could wait.
            let _ = timer.reset(period, None);
        }
    }

    /// Takes over statistics; false if `bytes` are none.
    pub(super) fn statistics_told(&self, bytes: &[u8]) -> bool {
        self.state().guest.statistics.update(bytes).is_ok()
    }

    /// The guest said something about hinting.
    pub(super) fn hinting_told(&self, command: u32) {
        let mut state = self.state();
        state.guest.guest_cmd = Some(command);
        if command >= FIRST_RUN {
            state.guest.guest_run = Some(command);
        } else if state.run().is_some() {
            state.guest.guest_run = None;
            if state.acknowledge {
                state.command(DONE);
            }
        }
    }

    /// Does `act` if pages that the guest names now belong to the run that the host wants. The guest cannot
    /// learn meanwhile that the run is done, and so leaves them alone.
    pub(super) fn within_run(&self, act: impl FnOnce()) {
        let state = self.state();
        if state.run().is_some() {
            act();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn period(&self) -> Duration {
        Duration::from_secs(self.interval.max(1).into())
    }

    /// The run that both sides are in.
    fn run(&self) -> Option<u32> {
        self.guest.guest_run.filter(|run| *run == self.guest.host_cmd)
    }

    fn hinting_is_possible(&self) -> Result<(), BalloonError> {
        if self.features & feature::HINTING == 0 {
            return Err(BalloonError::HintingOff);
        }
        let known = self.link.as_ref().is_some_and(|link| link.features & feature::HINTING != 0);
        if known { Ok(()) } else { Err(BalloonError::Driverless) }
    }

    fn command(&mut self, command: u32) {
        self.guest.host_cmd = command;
        self.configuration_changed();
    }

    fn configuration_changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if let Some(link) = &self.link {
            link.interrupt.config();
        }
    }
}
