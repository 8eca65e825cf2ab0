//! `initd`: process 1 of every guest, and the runtime of its containers. Under the name `bulkhead-oci` it is an OCI
//! runtime by itself.

mod agent;
mod boot;
mod clock;
mod console;
mod container;
mod isolation;
mod oci;
mod reaper;
mod rootfs;

use std::process::ExitCode;

fn main() -> ExitCode {
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
    ExitCode::from(2)
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
