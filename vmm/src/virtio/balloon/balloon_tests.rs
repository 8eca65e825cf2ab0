use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};

use super::super::{BalloonDevice, BalloonError, BalloonHandle, HintingStatus};
use crate::config::Balloon;
use crate::memory::PAGE;
use crate::metrics::BalloonMetrics;
use crate::virtio::driver::{Buffer, Hostile, Machine, NEXT, WRITE, wait_for};
use crate::virtio::features::COMMON;

const STATISTICS: u64 = 1 << 1;
const ON_OOM: u64 = 1 << 2;
const HINTING: u64 = 1 << 3;
const REPORTING: u64 = 1 << 5;
const OUT: u64 = 0x8_0000;

struct Guest {
    driver: Hostile,
    handle: BalloonHandle,
    metrics: Arc<BalloonMetrics>,
    done: [u16; 5],
    _machine: Machine,
}

fn all() -> Balloon {
    serde_json::from_value(serde_json::json!({
        "amount_mib": 3, "deflate_on_oom": true, "stats_polling_interval_s": 1,
        "free_page_hinting": true, "free_page_reporting": true,
    }))
    .unwrap()
}

impl Guest {
    fn new(spec: &Balloon, features: u64) -> Guest {
        let machine = Machine::new();
        let (handle, metrics) = (BalloonHandle::new(spec), Arc::<BalloonMetrics>::default());
        let mut driver = Hostile::new(&machine, BalloonDevice::new(handle.clone(), metrics.clone()));
        driver.start(COMMON | features, 16);
        for page in (0..1 << 20).step_by(PAGE as usize) {
            driver.memory.write_obj(7u8, GuestAddress((2 << 20) + page)).unwrap();
        }
        Guest { driver, handle, metrics, done: [0; 5], _machine: machine }
    }

    fn request(&mut self, queue: u16, buffers: &[Buffer]) {
        self.driver.describe(queue, 0, buffers);
        self.driver.offer(queue, 0);
        self.done[usize::from(queue)] += 1;
        self.driver.wait_used(queue, self.done[usize::from(queue)]);
    }

    fn inflate(&mut self, pages: &[u32]) {
        let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
        self.driver.memory.write_slice(&bytes, GuestAddress(OUT)).unwrap();
        self.request(0, &[Buffer(OUT, bytes.len() as u32, 0, 0)]);
    }

    fn say(&mut self, queue: u16, command: u32) {
        self.driver.memory.write_obj(command, GuestAddress(OUT)).unwrap();
        self.request(queue, &[Buffer(OUT, 4, 0, 0)]);
    }

    /// How many pages of the second megabytes of memory still hold what the guest wrote.
    fn kept(&self) -> usize {
        let pages = (0..1 << 20).step_by(PAGE as usize).map(|page| GuestAddress((2 << 20) + page));
        pages.filter(|&page| self.driver.memory.read_obj::<u8>(page).unwrap() == 7).count()
    }

    fn config(&self) -> [u32; 4] {
        [0x100, 0x104, 0x108, 0x10c].map(|register| self.driver.read(register))
    }

    fn told(&self) -> serde_json::Value {
        serde_json::json!(self.handle.statistics().unwrap())
    }
}

#[test]
fn pages_in_the_balloon_are_the_hosts_again() {
    let mut guest = Guest::new(&all(), 0);
    guest.inflate(&[0x200, 0x203, 0x201, 0x201, 0x2ff]);
    assert_eq!(guest.kept(), 256 - 4);
    // The guest takes them out and uses them.
    guest.request(1, &[Buffer(OUT, 20, 0, 0)]);
    guest.driver.memory.write_obj(7u8, GuestAddress(0x20_1000)).unwrap();
    assert_eq!(guest.kept(), 256 - 3);
    assert_eq!((guest.metrics.inflate_count.total(), guest.metrics.deflate_count.total()), (1, 1));
}

#[test]
fn pages_that_are_none_are_harmless() {
    let mut guest = Guest::new(&all(), 0);
    // In the hole, behind memory, as far as it goes, and again; then what is no list of pages.
    guest.inflate(&[0x100, 0x1ff, 0x300, u32::MAX, u32::MAX - 1, u32::MAX]);
    guest.inflate(&[]);
    guest.request(0, &[Buffer(OUT, 5, 0, 0)]);
    guest.request(0, &[Buffer(OUT, 4 * 4096 + 4, 0, 0)]);
    guest.request(0, &[Buffer(0x20_0000, 1 << 20, WRITE, 0)]);
    guest.request(1, &[Buffer(0x20_0000, 1 << 20, WRITE, 0)]);
    assert_eq!(guest.kept(), 256);
    assert_eq!(guest.metrics.event_fails.total(), 2);
    // A list that is not in memory.
    guest.driver.describe(0, 0, &[Buffer((1 << 20) - 4, 8, 0, 0)]);
    guest.driver.offer(0, 0);
    guest.driver.wait_broken();
}

#[test]
fn the_configuration_space_is_read_and_only_one_field_written() {
    let mut guest = Guest::new(&all(), HINTING);
    let generation = guest.driver.read(0xfc);
    for register in (0x100..0x120).step_by(4) {
        guest.driver.write(register, 0xffff_ffff);
    }
    assert_eq!(guest.config(), [3 * 256, u32::MAX, 0, 0]);
    guest.driver.access(0x102, 8, u64::MAX / 3);
    assert_eq!(guest.config()[0], 3 * 256);
    guest.driver.write(0x104, 5);
    guest.driver.write(0x100, 9);
    guest.driver.write(0x108, 9);
    assert_eq!(guest.driver.read(0xfc), generation, "the driver's own changes are no news to it");
    guest.driver.interrupts();
    guest.handle.set_target(77);
    assert_eq!(guest.config(), [77, 5, 0, 0]);
    assert_ne!(guest.driver.read(0xfc), generation);
    assert_eq!((guest.driver.interrupts(), guest.driver.read(0x60) & 2), (1, 2));
    // A driver that comes anew finds the target and nothing in the balloon.
    guest.driver.start(COMMON, 16);
    assert_eq!(guest.config(), [77, 0, 0, 0]);
}

#[test]
fn statistics_come_when_they_are_due() {
    let mut guest = Guest::new(&all(), STATISTICS);
    assert_eq!(
        guest.told(),
        serde_json::json!(
        {"target_pages": 768, "actual_pages": 0, "target_mib": 3, "actual_mib": 0})
    );
    let entry = |tag: u16, value: u64| [tag.to_le_bytes().as_slice(), &value.to_le_bytes()].concat();
    let tell =
        |guest: &Guest, bytes: &[u8]| guest.driver.memory.write_slice(bytes, GuestAddress(OUT)).unwrap();
    tell(&guest, &[entry(4, 1000), entry(300, 1), entry(5, 2000)].concat());
    // Cut where no honest driver would.
    guest.driver.describe(2, 0, &[Buffer(OUT, 13, NEXT, 1), Buffer(OUT + 13, 17, 0, 0)]);
    guest.driver.offer(2, 0);
    wait_for("statistics", || guest.told()["total_memory"] == 2000);
    assert_eq!(guest.told()["free_memory"], 1000);
    assert_eq!(guest.driver.used(2), 0, "the buffer is kept until statistics are due");
    assert_eq!(guest.driver.wait_used(2, 1), (0, 0));
    // Now at once, not in an hour.
    tell(&guest, &entry(4, 1001));
    guest.driver.describe(2, 1, &[Buffer(OUT, 10, 0, 0)]);
    guest.driver.offer(2, 1);
    wait_for("statistics", || guest.told()["free_memory"] == 1001);
    guest.handle.set_interval(3600);
    assert_eq!(guest.driver.wait_used(2, 2), (1, 0));
    // A second buffer: the first one goes back.
    guest.driver.describe(2, 0, &[Buffer(OUT, 10, 0, 0)]);
    guest.driver.offer(2, 0);
    guest.driver.offer(2, 1);
    assert_eq!(guest.driver.wait_used(2, 3), (0, 0));
    assert_eq!(guest.metrics.stats_update_fails.total(), 0);
}

#[test]
fn statistics_that_are_none_change_nothing() {
    let mut guest = Guest::new(&all(), STATISTICS);
    for (count, length) in [(1, 11), (2, 9), (3, 10 * 257), (4, 0xf_0000), (5, 0)] {
        guest.driver.describe(2, 0, &[Buffer(0x1000, length, 0, 0)]);
        guest.driver.offer(2, 0);
        wait_for("the buffer", || guest.metrics.stats_updates_count.total() == count);
        // Held like any other, so that the guest is asked again.
        guest.handle.set_interval(100 + count as u16);
        guest.driver.wait_used(2, count as u16);
    }
    assert_eq!(guest.metrics.stats_update_fails.total(), 4);
    assert!(guest.told().get("free_memory").is_none());
}

#[test]
fn reported_pages_go_at_once() {
    // Without statistics and hinting the reports have the third queue.
    let mut guest = Guest::new(&all(), REPORTING);
    let lies = [
        Buffer(0x20_0000, 0x4000, WRITE | NEXT, 1),
        Buffer(0x20_2000, 0x4000, WRITE | NEXT, 2),
        Buffer(0x1f_f001, 2, WRITE | NEXT, 3),
        Buffer(u64::MAX - 9, u32::MAX - 0x1_0000, WRITE, 0),
    ];
    guest.request(2, &lies);
    assert_eq!(guest.kept(), 256 - 6);
    let metrics = &guest.metrics;
    assert_eq!((metrics.free_page_report_count.total(), metrics.free_page_report_freed.total()), (4, 0x6000));
    assert_eq!(metrics.free_page_report_fails.total(), 0);
    // What the driver did not take has no queue that does anything.
    guest.driver.describe(3, 0, &[Buffer(0x20_0000, 1 << 20, WRITE, 0)]);
    guest.driver.offer(3, 0);
    guest.driver.describe(4, 0, &[Buffer(0x20_0000, 1 << 20, WRITE, 0)]);
    guest.driver.offer(4, 0);
    guest.request(1, &[Buffer(OUT, 4, 0, 0)]);
    assert_eq!((guest.kept(), guest.driver.used(3), guest.driver.used(4)), (250, 0, 0));
}

#[test]
fn hints_count_only_in_the_run_that_is_wanted() {
    let mut guest = Guest::new(&all(), STATISTICS | HINTING | REPORTING | ON_OOM);
    let status = |guest: &Guest| {
        let HintingStatus { host_cmd, guest_cmd } = guest.handle.hinting_status().unwrap();
        (host_cmd, guest_cmd)
    };
    let pages = [Buffer(0x20_0000, 0x1_0000, WRITE, 0)];
    guest.request(3, &pages);
    assert_eq!(status(&guest), (0, None));
    guest.handle.start_hinting(true).unwrap();
    assert_eq!((status(&guest), guest.config()[2]), ((2, None), 2));
    guest.request(3, &pages);
    guest.say(3, 9);
    guest.request(3, &pages);
    assert_eq!(guest.kept(), 256, "no run, none that the guest knows, or another");
    guest.say(3, 2);
    guest.request(3, &pages);
    assert_eq!((guest.kept(), status(&guest)), (240, (2, Some(2))));
    guest.driver.interrupts();
    guest.say(3, 0);
    assert_eq!((status(&guest), guest.config()[2]), ((1, Some(0)), 1));
    assert_ne!(guest.driver.interrupts(), 0);
    let more = [Buffer(0x21_0000, 0x1_0000, WRITE, 0)];
    guest.request(3, &more);
    assert_eq!(guest.kept(), 240, "the run is done");

    // The end of an earlier run does not end this one, and this one ends when the host says.
    guest.handle.start_hinting(false).unwrap();
    guest.say(3, 0);
    guest.say(3, 3);
    guest.request(3, &more);
    guest.say(3, 0);
    assert_eq!((guest.kept(), status(&guest)), (224, (3, Some(0))));
    guest.handle.stop_hinting().unwrap();
    assert_eq!(status(&guest).0, 1);
    // Commands of odd lengths.
    guest.request(3, &[Buffer(OUT, 3, 0, 0)]);
    guest.request(3, &[Buffer(OUT, 5, 0, 0)]);
    assert_eq!(guest.metrics.event_fails.total(), 2);
    assert_eq!(guest.metrics.free_page_hint_freed.total(), 0x2_0000);
}

#[test]
fn what_is_not_enabled_or_not_known_is_refused() {
    let plain: Balloon = serde_json::from_str(r#"{"amount_mib": 0, "deflate_on_oom": false}"#).unwrap();
    let guest = Guest::new(&plain, 0);
    assert_eq!(guest.handle.statistics().unwrap_err(), BalloonError::StatisticsOff);
    assert_eq!(guest.handle.start_hinting(true), Err(BalloonError::HintingOff));
    assert_eq!(guest.handle.hinting_status(), Err(BalloonError::HintingOff));
    assert_eq!(guest.driver.read(0x10) & 0x3f, 0);
    let guest = Guest::new(&all(), STATISTICS);
    assert_eq!(guest.handle.start_hinting(true), Err(BalloonError::Driverless));
    assert_eq!(guest.handle.stop_hinting(), Err(BalloonError::Driverless));
    assert_eq!(guest.driver.read(0x10) & 0x3f, 0x2e);
}
