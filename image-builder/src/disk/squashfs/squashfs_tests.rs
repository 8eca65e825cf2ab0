use super::*;

/// What becomes of a program that is sent `length` bytes.
fn made_by(script: &str, length: usize) -> Result<(), String> {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::null());
    make(command, &Cancellation::default(), |out| Ok(out.write_all(&vec![0; length])?))
        .map_err(|error| error.to_string())
}

#[test]
fn a_program_that_reads_everything_and_says_nothing_has_made_it() {
    assert_eq!(made_by("test $(wc -c) -eq 3000000", 3_000_000), Ok(()));
}

#[test]
fn whatever_else_a_program_does_is_a_failure() {
    let failed = |why: &str| Err(format!("tar2sqfs cannot make the root file system: {why}"));
    assert_eq!(made_by("cat >/dev/null; echo WARNING: left out >&2", 10), failed("WARNING: left out"));
    assert_eq!(made_by("echo no >&2; exit 1", 3_000_000), failed("no"));
    assert_eq!(made_by("kill -9 $$", 3_000_000), failed("it ended with signal: 9 (SIGKILL)"));
    assert_eq!(made_by("exit 0", 3_000_000), Err("Cannot write the root file system".to_owned()));
}

#[test]
fn a_program_whose_input_is_refused_is_ended() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' TERM; sleep 1000"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let refused =
        make(command, &Cancellation::default(), |_| Err(SquashfsError::TooLarge(7))).unwrap_err().to_string();
    assert_eq!(refused, "The files, with their holes, are larger than 7 bytes together");
}

#[test]
fn a_program_that_nobody_waits_for_is_ended() {
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 1000"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let cancellation = Cancellation::default();
    cancellation.cancel();
    let ended = make(command, &cancellation, |out| Ok(out.write_all(&vec![0; 3_000_000])?)).unwrap_err();
    assert!(matches!(ended, SquashfsError::Cancelled(_)), "{ended}");
}

#[test]
fn a_program_that_is_missing_is_named() {
    let made = tempfile::tempfile().unwrap();
    let command = command("bulkhead-no-such-program", 0, &made).unwrap();
    let missing = make(command, &Cancellation::default(), |_| Ok(())).unwrap_err();
    assert!(
        matches!(&missing, SquashfsError::Start(why) if why.kind() == io::ErrorKind::NotFound),
        "{missing}"
    );
    assert!(missing.to_string().contains("squashfs-tools-ng"), "{missing}");
}
