//! The half inside the lab. It says nothing while it measures (an interrupt of the lab's own console may be lost while
//! a nested guest runs), and all figures are read before a VMM is killed: no guest has to find its way to an end.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::super::process::{Machine, now};
use super::super::subject::{Kind, Subject};
use super::super::tally::Tally;
use super::super::{carry, outcome};
use super::link;
use super::load::{self, Load};
use super::plan::{self, Plan};
use super::report::{Figures, Report};

/// The loads, and how much of each goes before, so that windows are open and memory is there.
const LOADS: [(Load, u64); 3] = [(Load::Send, 8 << 20), (Load::Receive, 8 << 20), (Load::Ask, 100)];

/// Measures what the plan names.
pub fn run() -> Result<u8> {
    let mut plan: Plan = carry::plan()?;
    link::set_up()?;
    let listener = TcpListener::bind((plan::HOST, plan::PORT)).context("Cannot listen on the bridge")?;
    let mut subjects = std::mem::take(&mut plan.subjects);
    let results = outcome::of_each(&mut subjects, |subject| measure(subject, &plan, &listener))?;
    let status = outcome::status(&results);
    let steady = std::thread::available_parallelism().is_ok_and(|count| count.get() == 1);
    let (bytes, requests) = (plan.bytes, plan.requests);
    carry::give(&Report { host: outcome::host(), steady, bytes, requests, results })?;
    Ok(status)
}

fn measure(subject: &Subject, plan: &Plan, listener: &TcpListener) -> Result<Vec<Figures>> {
    let mut machine = Machine::start(command(subject, plan)?)?;
    machine.read_until(plan::MARKER)?;
    let tally = Tally::start(machine.id())?;
    let mut figures = Vec::new();
    for (load, before) in LOADS {
        let count = if load == Load::Ask { plan.requests } else { plan.bytes };
        one(&mut machine, &tally, listener, load, before)?;
        figures.push(one(&mut machine, &tally, listener, load, count)?);
    }
    Ok(figures)
}

fn one(
    machine: &mut Machine,
    tally: &Tally,
    listener: &TcpListener,
    load: Load,
    count: u64,
) -> Result<Figures> {
    machine.type_line(&format!("{} {count}", load.word()))?;
    let begin = || Ok((tally.read()?, now()));
    load::serve(listener, load, begin, |(before, start)| {
        let ms = (now() - start) * 1000.0;
        Ok(Figures { load, count, ms, counts: tally.read()?.since(&before) })
    })
    .with_context(|| format!("{load:?}"))
}

/// The guest's command with its one interface on the tap.
fn command(subject: &Subject, plan: &Plan) -> Result<Command> {
    let path = Path::new(carry::FOLDER).join("config.json");
    let mut command = plan.guest.command(subject, &path)?;
    if subject.kind == Kind::QemuMicrovm {
        let vhost = if plan.vhost.contains(&subject.name) { "on" } else { "off" };
        let tap = link::TAP;
        // As current drivers and the other VMMs have it; the default speaks the device's old form.
        command.args(["-global", "virtio-mmio.force-legacy=false"]);
        command.args(["-netdev", &format!("tap,id=wire,ifname={tap},script=no,downscript=no,vhost={vhost}")]);
        command.args(["-device", &format!("virtio-net-device,netdev=wire,mac={}", plan::MAC)]);
        return Ok(command);
    }
    let mut config = plan.guest.config();
    let mut interface = json!({"iface_id": "eth0", "host_dev_name": link::TAP, "guest_mac": plan::MAC});
    if plan.vhost.contains(&subject.name) {
        interface["vhost"] = json!(true);
    }
    config["network-interfaces"] = json!([interface]);
    fs::write(&path, config.to_string()).context("Cannot write the VMM's configuration")?;
    Ok(command)
}
