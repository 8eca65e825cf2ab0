//! `initd`: process 1 of every guest, and the runtime of its containers. Under the name `bulkhead-oci` it is an OCI
//! runtime by itself.
#![allow(unsafe_code, reason = "a signal is ignored, for which there is no safe call")]

mod agent;
mod boot;
mod bounded;
mod clock;
mod console;
mod container;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod isolation;
mod oci;
mod reaper;
mod rootfs;

/// What the program does, by the name under which it was started; gives its status.
pub fn run() -> u8 {
    ignore_broken_pipes();
    let mut arguments = std::env::args_os();
    let name = arguments.next().and_then(|name| name.into_string().ok());
    if name.as_deref() == Some(container::stage::NAME) {
        return container::stage::enter(arguments.next().and_then(|word| word.into_string().ok()).as_deref());
    }
    if name.as_deref().is_some_and(oci::is_asked) {
        return oci::main(arguments);
    }
    if rustix::process::getpid() == rustix::process::Pid::INIT && name.as_deref() == Some("/init") {
        live();
    }
    eprintln!("bulkhead-initd is the first process of a guest; it does nothing here.");
    2
}

/// Whoever writes to something that nobody reads gets an error.
fn ignore_broken_pipes() {
    // SAFETY: ignoring a signal runs no code of ours; a program that is executed gets the default again.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// The life of process 1. It never returns: it ends with the machine.
fn live() -> ! {
    let entered_us = clock::uptime_us();
    boot::shutdown::install_panic_hook();
    let code = boot::bring_up().map_err(Into::into).and_then(|guest| serve(guest, entered_us));
    boot::shutdown::power_off(code.unwrap_or_else(|error: Box<dyn std::error::Error>| {
        console::say(&console::chain(&*error));
        boot::shutdown::FAILED
    }))
}

/// Serves until the machine shall end; returns its status.
fn serve(guest: boot::Guest, entered_us: u64) -> Result<u8, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(agent::life::run(guest, entered_us))?)
}
