//! The end of the machine: its status to the exit device, then the power off.
#![allow(unsafe_code, reason = "one byte goes out of an I/O port, for which there is no safe call")]

use std::io;

use bulkhead_protocol::exit::PORT;
use rustix::system::RebootCommand;

use crate::console;

/// The status of a guest whose own first process failed.
pub const FAILED: u8 = 125;

/// Writes `code` to the exit device, the file systems to their disks, and turns the machine off.
pub fn power_off(code: u8) -> ! {
    rustix::fs::sync();
    if let Err(error) = report(code) {
        console::say(&format!("cannot write the exit status {code} to its port: {error}"));
    }
    loop {
        if let Err(error) = rustix::system::reboot(RebootCommand::PowerOff) {
            console::say(&format!("cannot power off: {error}"));
            // Without power-off the kernel's panic is the only end left; process 1 that exits causes it.
            std::process::exit(i32::from(code));
        }
    }
}

/// Writes `code` to the exit device.
fn report(code: u8) -> io::Result<()> {
    // SAFETY: ioperm takes no pointers; it lets this thread use one port that no other device has.
    if unsafe { libc::ioperm(PORT.into(), 1, 1) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the port was granted above; `out` reads two registers and touches neither memory nor stack.
    unsafe {
        std::arch::asm!("out dx, al", in("dx") PORT, in("al") code, options(nomem, nostack, preserves_flags));
    }
    Ok(())
}

/// Turns a panic of process 1 into a sentence and a status, instead of a kernel panic.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        console::say(&format!("internal error: {info}"));
        power_off(FAILED);
    }));
}
