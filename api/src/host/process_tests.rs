use std::time::Duration;

use super::*;

fn launch(folder: &Path, script: &str) -> Launch {
    use std::os::unix::fs::PermissionsExt;
    let program = folder.join("vmm");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    Launch {
        program,
        config: folder.join("m").join("abc").join("vmm.json"),
        api: folder.join("a.sock"),
        id: "abc".into(),
        console: folder.join("console"),
        log: folder.join("log"),
        exit_record: folder.join("exit"),
        cgroup: None,
    }
}

#[tokio::test]
async fn the_record_is_written_and_the_session_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let script = "#!/bin/sh\nwhile [ \"$1\" != --exit-record-fd ]; do shift; done\n\
                  cut -d' ' -f6 /proc/$$/stat; echo $$\necho record >/proc/$$/fd/$2\n";
    let process = start(&launch(folder.path(), script)).unwrap();
    tokio::time::timeout(Duration::from_secs(10), process.ended()).await.unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("exit")).unwrap(), "record\n");
    let console = std::fs::read_to_string(folder.path().join("console")).unwrap();
    let lines: Vec<_> = console.lines().collect();
    assert_eq!(lines[0], lines[1], "it leads its session");
    assert!(Process::again(process.identity()).is_none(), "it has ended");
}

#[tokio::test]
async fn a_process_is_known_again_by_more_than_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let process = start(&launch(folder.path(), "#!/bin/sh\nsleep 60\n")).unwrap();
    let identity = process.identity().clone();
    assert!(Process::again(&identity).is_some());
    assert!(
        Process::again(&Identity { start_ticks: identity.start_ticks + 1, ..identity.clone() }).is_none()
    );
    assert!(Process::again(&Identity { host_boot: "other".into(), ..identity.clone() }).is_none());
    let strays = started_below(&folder.path().join("m"));
    assert!(strays.contains(&("abc".to_owned(), identity.pid)), "{strays:?}");
    process.kill().unwrap();
    tokio::time::timeout(Duration::from_secs(10), process.ended()).await.unwrap();
    assert!(Process::again(&identity).is_none());
    process.kill().unwrap();
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut launch = launch(folder.path(), "");
    launch.program = folder.path().join("nothing");
    let error = start(&launch).unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
}
