//! Finding the device behind a port or an address.

use std::sync::{Arc, Mutex, PoisonError};

use super::{BusDevice, Effect};

/// A device that a bus and others share. The bus holds the lock for one access at a time.
pub type SharedDevice = Arc<Mutex<dyn BusDevice>>;

/// Two ranges overlap, or one is empty or reaches beyond the address space.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("The range of {length:#x} bytes at {base:#x} is not free")]
pub struct RangeTaken {
    /// Where the refused range starts.
    pub base: u64,
    /// How long it is.
    pub length: u64,
}

struct Range {
    base: u64,
    length: u64,
    device: SharedDevice,
}

/// Devices by address. Built once, then only read.
#[derive(Default)]
pub struct Bus {
    /// In ascending order, without overlap.
    ranges: Vec<Range>,
}

impl Bus {
    /// Puts `device` behind `length` addresses from `base`.
    pub fn insert(&mut self, base: u64, length: u64, device: SharedDevice) -> Result<(), RangeTaken> {
        let taken = || RangeTaken { base, length };
        let end = base.checked_add(length).filter(|_| length > 0).ok_or_else(taken)?;
        let at = self.ranges.partition_point(|range| range.base < base);
        let before = at.checked_sub(1).and_then(|at| self.ranges.get(at));
        if before.is_some_and(|range| range.base + range.length > base)
            || self.ranges.get(at).is_some_and(|range| range.base < end)
        {
            return Err(taken());
        }
        self.ranges.insert(at, Range { base, length, device });
        Ok(())
    }

    /// A guest's read. Where no device answers, the bus floats high, as a PC's does.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        data.fill(0);
        match self.find(address, data.len()) {
            Some((range, offset)) => {
                range.device.lock().unwrap_or_else(PoisonError::into_inner).read(offset, data);
            }
            None => data.fill(0xff),
        }
    }

    /// A guest's write. Where no device listens, nothing happens.
    pub fn write(&self, address: u64, data: &[u8]) -> Effect {
        match self.find(address, data.len()) {
            Some((range, offset)) => {
                range.device.lock().unwrap_or_else(PoisonError::into_inner).write(offset, data)
            }
            None => Effect::None,
        }
    }

    /// The range that holds all of the access, if its length is one that devices know.
    fn find(&self, address: u64, length: usize) -> Option<(&Range, u64)> {
        if !matches!(length, 1 | 2 | 4 | 8) {
            return None;
        }
        let at = self.ranges.partition_point(|range| range.base <= address).checked_sub(1)?;
        let range = self.ranges.get(at)?;
        let offset = address - range.base;
        (offset < range.length && length as u64 <= range.length - offset).then_some((range, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers the last write and reads it back.
    #[derive(Default)]
    struct Echo(Vec<u8>, u64);

    impl BusDevice for Echo {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            data[0] = offset as u8;
        }

        fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
            (self.0, self.1) = (data.to_vec(), offset);
            Effect::GuestStatus(7)
        }
    }

    fn bus() -> (Bus, Arc<Mutex<Echo>>) {
        let (mut bus, device) = (Bus::default(), Arc::new(Mutex::new(Echo::default())));
        bus.insert(0x100, 0x10, device.clone()).unwrap();
        (bus, device)
    }

    #[test]
    fn accesses_reach_the_device_with_their_offset() {
        let (bus, device) = bus();
        let mut data = [0xee];
        bus.read(0x10f, &mut data);
        assert_eq!(data, [0xf]);
        assert_eq!(bus.write(0x104, &[1, 2]), Effect::GuestStatus(7));
        assert_eq!(device.lock().unwrap().1, 4);
    }

    #[test]
    fn nothing_crosses_the_end_of_a_range_or_comes_in_odd_lengths() {
        let (bus, device) = bus();
        for (address, length) in [(0x10f, 2), (0x100, 3), (0x110, 1), (0xff, 1), (u64::MAX, 8), (0x100, 0)] {
            let mut data = vec![0; length];
            bus.read(address, &mut data);
            assert!(data.iter().all(|byte| *byte == 0xff));
            assert_eq!(bus.write(address, &data), Effect::None);
        }
        assert!(device.lock().unwrap().0.is_empty());
    }

    #[test]
    fn ranges_do_not_overlap() {
        let (mut bus, device) = bus();
        for (base, length) in [(0x100, 1), (0x10f, 1), (0xf8, 9), (0x90, 0x100), (0x200, 0), (u64::MAX, 2)] {
            assert_eq!(bus.insert(base, length, device.clone()), Err(RangeTaken { base, length }));
        }
        bus.insert(0x110, 1, device.clone()).unwrap();
        bus.insert(0xff, 1, device).unwrap();
    }
}
