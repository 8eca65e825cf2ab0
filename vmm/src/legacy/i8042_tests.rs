use vmm_sys_util::eventfd::EFD_NONBLOCK;

use super::*;

fn controller() -> Controller {
    Controller::new(EventFd::new(EFD_NONBLOCK).unwrap())
}

fn read(controller: &mut Controller, offset: u64) -> u8 {
    let mut data = [0];
    controller.read(offset, &mut data);
    data[0]
}

fn full(controller: &mut Controller) -> bool {
    read(controller, COMMAND) & OUTPUT_FULL != 0
}

fn interrupts(controller: &Controller) -> u64 {
    controller.line.read().unwrap_or(0)
}

fn set_control(controller: &mut Controller, value: u8) {
    controller.write(COMMAND, &[WRITE_CONTROL]);
    controller.write(DATA, &[value]);
}

#[test]
fn only_the_reset_commands_reset() {
    for command in 0..=u8::MAX {
        let effect = controller().write(COMMAND, &[command]);
        assert_eq!(effect == Effect::Reset, command == RESET, "{command:#x}");
    }
    let mut controller = controller();
    assert_eq!(controller.write(DATA, &[RESET]), Effect::None);
    controller.write(COMMAND, &[WRITE_OUTPUT_PORT]);
    assert_eq!(controller.write(DATA, &[RESET]), Effect::Reset);
}

#[test]
fn the_control_byte_is_kept() {
    let mut controller = controller();
    set_control(&mut controller, 0x47);
    controller.write(COMMAND, &[READ_CONTROL]);
    assert!(full(&mut controller));
    assert_eq!(read(&mut controller, DATA), 0x47);
    assert!(!full(&mut controller));
}

#[test]
fn there_is_no_mouse_and_that_is_soon_found_out() {
    let mut controller = controller();
    controller.write(COMMAND, &[LOOP_BACK]);
    controller.write(DATA, &[0x5a]);
    // Bit 5 would say that the byte is a mouse's.
    assert_eq!(read(&mut controller, COMMAND) & (OUTPUT_FULL | 1 << 5), OUTPUT_FULL);
    assert_eq!(read(&mut controller, DATA), 0x5a);
    controller.write(COMMAND, &[TEST_MOUSE_PORT]);
    assert_eq!(read(&mut controller, DATA), STUCK);
    controller.write(COMMAND, &[TO_MOUSE]);
    controller.write(DATA, &[0xff]);
    assert!(!full(&mut controller));
}

#[test]
fn ctrl_alt_del_comes_byte_by_byte_with_an_interrupt_each() {
    for (control, expected) in [
        (KEYBOARD_INTERRUPT, &[0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14][..]),
        (KEYBOARD_INTERRUPT | TRANSLATE, &[0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d][..]),
    ] {
        let mut controller = controller();
        assert_eq!(controller.type_ctrl_alt_del(), Err(KeyboardError::Unheard));
        set_control(&mut controller, control);
        assert_eq!(interrupts(&controller), 0);
        controller.type_ctrl_alt_del().unwrap();
        let mut typed = Vec::new();
        while interrupts(&controller) == 1 {
            assert!(full(&mut controller));
            typed.push(read(&mut controller, DATA));
        }
        assert_eq!(typed, expected);
        assert!(!full(&mut controller));
    }
}

#[test]
fn what_the_keyboard_says_waits_while_it_is_held_and_behind_the_controllers_answers() {
    let mut controller = controller();
    set_control(&mut controller, KEYBOARD_INTERRUPT | KEYBOARD_OFF);
    controller.type_ctrl_alt_del().unwrap();
    assert!(!full(&mut controller));
    assert_eq!((interrupts(&controller), read(&mut controller, DATA)), (0, 0));
    controller.write(COMMAND, &[ENABLE_KEYBOARD]);
    assert_eq!(interrupts(&controller), 1);
    controller.write(COMMAND, &[TEST_CONTROLLER]);
    assert_eq!(read(&mut controller, DATA), FINE);
    assert_eq!(read(&mut controller, DATA), 0x14);
    // What is left of the first, and room for two more.
    assert_eq!([(); 2].map(|()| controller.type_ctrl_alt_del()), [Ok(()); 2]);
    assert_eq!(controller.type_ctrl_alt_del(), Err(KeyboardError::Full));
}

#[test]
fn no_sequence_of_writes_grows_or_breaks_it() {
    let mut controller = controller();
    let mut seed = 1u32;
    for _ in 0..100_000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [offset, value, ..] = seed.to_be_bytes();
        controller.write(u64::from(offset % 5), &[value]);
        if seed.is_multiple_of(7) {
            read(&mut controller, u64::from(offset % 5));
        }
    }
}
