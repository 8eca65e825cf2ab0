use std::path::Path;

use super::*;
use crate::config::Level;

fn logger(section: &config::Logger) -> Logger {
    let logger = Logger::new();
    logger.begin("vm-1", Arc::default());
    logger.update(section).unwrap();
    logger
}

fn say(logger: &Logger, module: &str, message: &str) {
    let mut record = Record::builder();
    record.level(log::Level::Warn).module_path(Some(module)).file(Some("src/a.rs")).line(Some(7));
    logger.log(&record.args(format_args!("{message}")).build());
}

fn to(path: &Path) -> config::Logger {
    config::Logger { log_path: Some(path.to_owned()), ..config::Logger::default() }
}

#[test]
fn lines_have_firecrackers_form() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let section = config::Logger { show_level: Some(true), show_log_origin: Some(true), ..to(&path) };
    say(&logger(&section), "m", "it\nworks");
    let text = std::fs::read_to_string(&path).unwrap();
    let (time, rest) = text.split_once(' ').unwrap();
    assert_eq!(time.len(), "2026-01-31T23:59:58.000000001".len());
    let thread = std::thread::current().name().unwrap().to_owned();
    assert_eq!(rest, format!("[vm-1:{thread}:WARN:src/a.rs:7] it works\n"));
}

#[test]
fn modules_are_chosen_by_their_beginning_and_settings_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let logger = logger(&to(&path));
    logger.update(&config::Logger { module: Some("a::b".into()), ..config::Logger::default() }).unwrap();
    for module in ["a", "a::b", "a::b::c", "b"] {
        say(&logger, module, module);
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let seen: Vec<&str> = text.lines().filter_map(|line| line.split("] ").nth(1)).collect();
    assert_eq!(seen, ["a::b", "a::b::c"]);
}

#[test]
fn a_pipe_that_nobody_reads_loses_messages_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let logger = logger(&to(&path));
    let long = "x".repeat(10_000);
    for _ in 0..100 {
        say(&logger, "m", &long);
    }
    // 64 KiB of pipe hold 16 lines of 4 KiB.
    let missed = logger.metrics.get().unwrap().missed_log_count.total();
    assert!((84..100).contains(&missed), "{missed}");
}

#[test]
fn what_does_not_open_is_named_and_changes_nothing() {
    let logger = Logger::new();
    let error = logger.update(&to(Path::new("/nonexistent/log"))).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/log"), "{error}");
    assert!(logger.form.read().unwrap().outlet.is_none());
}

#[test]
fn levels_are_read_in_any_case() {
    for (word, level) in [("warn", Level::Warning), ("WARNING", Level::Warning), ("Off", Level::Off)] {
        assert_eq!(serde_json::from_value::<Level>(word.into()).unwrap(), level);
    }
    assert!(serde_json::from_value::<Level>("loud".into()).is_err());
    assert_eq!(LevelFilter::from(Level::default()), LevelFilter::Info);
}
