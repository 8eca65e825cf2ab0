use std::sync::{Arc, Mutex};

use super::*;
use crate::legacy::exit_device::ExitDevice;
use crate::legacy::power::{self, PowerRegisters};

fn buses() -> Buses {
    let mut buses = Buses::default();
    buses.ports.insert(0xbd0, 1, Arc::new(Mutex::new(ExitDevice))).unwrap();
    buses.ports.insert(power::PORT.into(), power::PORTS, Arc::new(Mutex::new(PowerRegisters))).unwrap();
    buses
}

#[test]
fn a_status_is_remembered_and_ends_nothing() {
    let buses = buses();
    assert_eq!(buses.guest_status(), None);
    assert_eq!(answer(0, Exit::PortWrite(0xbd0, &[42]), &buses), None);
    assert_eq!(buses.guest_status(), Some(42));
}

#[test]
fn power_off_and_reset_end_the_machine() {
    let buses = buses();
    assert_eq!(answer(0, Exit::PortWrite(power::PORT, &[0x34]), &buses), Some(Ending::PowerOff));
    assert_eq!(answer(0, Exit::PortWrite(power::PORT + 2, &[1]), &buses), Some(Ending::Reset));
    assert_eq!(answer(0, Exit::TripleFault, &buses), Some(Ending::TripleFault));
    assert!(
        matches!(answer(3, Exit::Broken("x".into()), &buses), Some(Ending::Broken(text)) if text.contains("vCPU 3"))
    );
}

#[test]
fn string_instructions_go_byte_by_byte() {
    let buses = buses();
    assert_eq!(answer(0, Exit::PortWrite(0xbd0, &[1, 2, 3, 4, 5]), &buses), None);
    assert_eq!(buses.guest_status(), Some(5));
    let mut data = [0; 7];
    assert_eq!(answer(0, Exit::PortRead(0x1234, &mut data), &buses), None);
    assert_eq!(data, [0xff; 7]);
}

#[test]
fn every_port_and_width_is_harmless() {
    let buses = buses();
    for port in 0..=u16::MAX {
        for width in [1, 2, 4] {
            let mut data = vec![0; width];
            assert_eq!(answer(0, Exit::PortRead(port, &mut data), &buses), None);
            assert_eq!(answer(0, Exit::PortWrite(port, &vec![0; width]), &buses), None);
        }
    }
}
