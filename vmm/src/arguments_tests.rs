use super::*;
use crate::config::Level;

fn run(words: &[&str]) -> Result<Command, ArgumentError> {
    parse(words.iter().map(OsString::from))
}

#[test]
fn firecrackers_common_line_is_taken() {
    let Ok(Command::Run(arguments)) =
        run(&["--api-sock", "/s", "--id=a-1", "--config-file", "/c", "--boot-timer", "--level", "Info"])
    else {
        panic!("refused");
    };
    assert_eq!(arguments.api_sock, Some("/s".into()));
    assert_eq!((arguments.id.as_str(), arguments.max_payload), ("a-1", 51200));
    assert!(arguments.boot_timer);
    assert_eq!(arguments.logger.and_then(|logger| logger.level), Some(Level::Info));
}

#[test]
fn what_is_to_be_seen_is_asked_for() {
    let words = "--log-path /l --level warn --module m --show-level --show-log-origin --metrics-path /m \
                 --start-time-us 1 --start-time-cpu-us=2 --parent-cpu-time-us 3 --no-seccomp";
    let words: Vec<&str> = words.split_whitespace().collect();
    let Ok(Command::Run(arguments)) = run(&words) else { panic!("refused") };
    let logger = Logger {
        log_path: Some("/l".into()),
        level: Some(Level::Warning),
        show_level: Some(true),
        show_log_origin: Some(true),
        module: Some("m".into()),
    };
    assert_eq!((arguments.logger, arguments.metrics_path), (Some(logger), Some("/m".into())));
    let started = Started { monotonic_us: Some(1), processor_us: Some(2), parent_us: Some(3) };
    assert_eq!(arguments.started, started);
}

#[test]
fn the_version_follows_the_name() {
    assert_eq!(version(Some("/usr/bin/firecracker".into())), "Firecracker v1.17.0");
    assert!(version(Some("bulkhead-vmm".into())).starts_with("Bulkhead VMM v"));
}

#[test]
fn without_words_the_api_is_served_in_its_usual_place() {
    let Ok(Command::Run(arguments)) = run(&[]) else { panic!("refused") };
    assert_eq!(arguments.logger, None);
    assert_eq!(arguments.api_sock, Some(DEFAULT_SOCKET.into()));
}

#[test]
fn what_makes_no_sense_is_refused() {
    assert_eq!(run(&["--no-api"]), Err(ArgumentError::NoApi));
    assert_eq!(run(&["--no-api", "--config-file", "/c", "--api-sock", "/s"]), Err(ArgumentError::NoApi));
    assert_eq!(run(&["--enable-pci"]), Err(ArgumentError::NotYet("--enable-pci")));
    assert_eq!(run(&["--id"]), Err(ArgumentError::MissingValue("--id")));
    assert_eq!(run(&["--id", "a", "--id", "b"]), Err(ArgumentError::Twice("--id")));
    assert!(matches!(run(&["--id", "../x"]), Err(ArgumentError::Value { .. })));
    assert!(matches!(run(&["--exit-record-fd", "-1"]), Err(ArgumentError::Value { .. })));
    assert!(matches!(run(&["--level", "loud"]), Err(ArgumentError::Level(_))));
    assert!(matches!(run(&["--start-time-us", "-1"]), Err(ArgumentError::Value { .. })));
    assert_eq!(run(&["--seccomp-filter", "/f"]), Err(ArgumentError::NotYet("--seccomp-filter")));
    assert!(matches!(run(&["--colour"]), Err(ArgumentError::Unknown(_))));
    assert!(matches!(run(&["file"]), Err(ArgumentError::Unknown(_))));
}

#[test]
fn metadata_may_be_as_long_as_a_request_unless_told_otherwise() {
    let limit = |words: &[&str]| match run(words) {
        Ok(Command::Run(arguments)) => arguments.mmds_limit,
        other => panic!("{other:?}"),
    };
    assert_eq!(limit(&["--metadata", "/m"]), DEFAULT_PAYLOAD);
    assert_eq!(limit(&["--http-api-max-payload-size", "7"]), 7);
    assert_eq!(limit(&["--http-api-max-payload-size", "7", "--mmds-size-limit", "9"]), 9);
    assert!(matches!(run(&["--mmds-size-limit", "x"]), Err(ArgumentError::Value { .. })));
}
