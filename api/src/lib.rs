//! The daemon and the command line of Bulkhead.
//!
//! * [`routes`]: the native API: parse, call, render.
//! * [`service`]: what it means: machines, images, volumes, events.
//! * [`host`]: VMMs, links, rules, cgroups, files.
//! * [`store`]: records with versions.
//! * [`doctor`]: will guests boot here.
//! * [`cli`]: the commands, clients of the API.

pub mod cli;
pub mod doctor;
pub mod host;
pub mod routes;
pub mod service;
pub mod store;
