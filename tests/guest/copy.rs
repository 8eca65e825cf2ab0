//! `bulkhead cp`: files into a container and out of it, whatever it does meanwhile.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bulkhead_tests::{Daemon, Finished, asset};

fn running(daemon: &Daemon, image: &str, words: &[&str]) {
    let image = asset(image);
    let _ = daemon.bulkhead(&[&["run", "-d", "--name", "web", image.as_str()], words].concat()).ok();
}

fn shell(daemon: &Daemon, script: &str) -> Finished {
    daemon.bulkhead(&["exec", "web", "sh", "-c", script])
}

fn refused(run: &Finished, sentence: &str) {
    assert_eq!(run.status, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains(sentence) && run.stderr.lines().count() == 1, "{}", run.stderr);
}

/// Everything beneath a folder: paths, types, modes, owners, times of files, contents.
fn listing(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let stat = fs::symlink_metadata(&path).expect("an entry");
        let name = path.strip_prefix(folder).expect("a name").display().to_string();
        let content = if stat.is_dir() {
            left.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
            String::new()
        } else if stat.is_symlink() {
            fs::read_link(&path).expect("a link").display().to_string()
        } else {
            format!("{:?}", fs::read(&path).expect("a file"))
        };
        found.push(format!(
            "{name} {:o} {}:{} {} {content}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.mtime()
        ));
    }
    found.sort();
    found
}

#[test]
fn a_tree_comes_back_as_it_went() {
    let daemon = Daemon::start();
    running(&daemon, "busybox.img", &["sleep", "100000"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("sub/empty")).expect("a tree");
    fs::write(tree.join("sub/file"), vec![7; 300_001]).expect("a file");
    fs::write(tree.join("n".repeat(200)), "a long name").expect("a file");
    symlink("../../nowhere", tree.join("link")).expect("a link");
    fs::set_permissions(tree.join("sub/file"), Permissions::from_mode(0o640)).expect("a mode");
    fs::set_permissions(tree.join("sub"), Permissions::from_mode(0o710)).expect("a mode");
    chown(tree.join("sub/file"), Some(1234), Some(5678)).expect("an owner");
    let went = listing(&tree);

    let _ = daemon.bulkhead(&["cp", "-a", &path("tree"), "web:/tmp"]).ok();
    let seen = shell(&daemon, "stat -c '%a %u:%g %s' /tmp/tree/sub/file; readlink /tmp/tree/link").ok();
    assert_eq!(seen.stdout, "640 1234:5678 300001\n../../nowhere\n");
    let _ = daemon.bulkhead(&["cp", "-a", "web:/tmp/tree", &path("back")]).ok();
    assert_eq!(listing(&folder.path().join("back")), went);
    // Without -a files are of who writes them.
    let _ = daemon.bulkhead(&["cp", &format!("{}/.", path("tree")), "web:/other"]).ok();
    assert_eq!(shell(&daemon, "stat -c '%a %u:%g' /other/sub/file").ok().stdout, "640 0:0\n");
    let _ = daemon.bulkhead(&["cp", "web:/tmp/tree/sub/file", &path("file")]).ok();
    let stat = fs::metadata(path("file")).expect("a file");
    assert_eq!((stat.len(), stat.uid(), stat.mode() & 0o7777), (300_001, 0, 0o640));
    // A privilege that a guest gives is none here.
    let _ = shell(&daemon, "cp /bin/busybox /su; chmod 4755 /su").ok();
    let _ = daemon.bulkhead(&["cp", "-a", "web:/su", &path("su")]).ok();
    assert_eq!(fs::metadata(path("su")).expect("a file").mode() & 0o7777, 0o755);
}

#[test]
fn copies_end_up_where_docker_s_do_and_streams_are_tar() {
    let daemon = Daemon::start();
    running(&daemon, "busybox.img", &["sleep", "100000"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    fs::write(path("file"), "one").expect("a file");
    fs::create_dir(path("dir")).expect("a folder");
    let cp = |from: &str, to: &str| daemon.bulkhead(&["cp", from, to]);
    let _ = shell(
        &daemon,
        "mkdir -p /d/sub; echo two > /d/sub/f; ln -s /d/sub /d/way; ln -s sub/f /d/link; echo x > /plain",
    )
    .ok();
    // Into a folder, under its own name, by a link, over a file.
    let _ = cp(&path("file"), "web:/d").ok();
    let _ = cp(&path("file"), "web:/d/new").ok();
    let _ = cp(&path("file"), "web:/d/way/").ok();
    let _ = cp(&path("file"), "web:/d/link").ok();
    let seen = shell(&daemon, "cat /d/file /d/new /d/sub/file /d/sub/f; readlink /d/link").ok();
    assert_eq!(seen.stdout, "oneoneoneonesub/f\n");
    refused(&cp(&path("file"), "web:/none/"), "no folder /none/");
    refused(&cp(&path("file"), "web:/none/file"), "/none");
    refused(&cp(&path("dir"), "web:/plain"), "cannot replace");
    refused(&cp("web:/d", &path("file")), "cannot replace");
    refused(&cp("web:/none", &path("dir")), "no /none");
    refused(&cp("web:/plain/", &path("dir")), "/plain");
    refused(&cp("web:/d", "web:/e"), "two machines");
    refused(&cp(&path("file"), &path("dir")), "MACHINE:PATH");
    refused(&cp("none:/d", &path("dir")), "no machine none");
    // A link is copied as one, or followed with -L.
    let _ = cp("web:/d/link", &path("dir")).ok();
    assert_eq!(fs::read_link(path("dir/link")).expect("a link"), Path::new("sub/f"));
    let _ = daemon.bulkhead(&["cp", "-L", "web:/d/link", &path("dir")]).ok();
    assert_eq!(fs::read_to_string(path("dir/link")).expect("a file"), "one");
    let _ = cp("web:/d/sub/.", &path("dir")).ok();
    assert_eq!(fs::read_to_string(path("dir/f")).expect("a file"), "one");

    let out = daemon.bulkhead(&["cp", "web:/d/sub", "-"]).ok();
    let list = pipe(std::process::Command::new("tar").arg("-tf-"), out.stdout.as_bytes()).ok();
    let mut names: Vec<_> = list.stdout.lines().map(|name| name.trim_end_matches('/')).collect();
    names.sort_unstable();
    assert_eq!(names, ["sub", "sub/f", "sub/file"]);
    let tar =
        std::process::Command::new("tar").args(["-C", &path("dir"), "-cf-", "."]).output().expect("tar");
    let _ = pipe(&mut daemon.command(&["cp", "-", "web:/d/sub"]), &tar.stdout).ok();
    assert_eq!(shell(&daemon, "cat /d/sub/link").ok().stdout, "one");
    refused(&pipe(&mut daemon.command(&["cp", "-", "web:/d/sub"]), &tar.stdout[..700]), "ends early");
    refused(&pipe(&mut daemon.command(&["cp", "-", "web:/d/sub"]), &[b'x'; 2000]), "checksum");
    let _ = daemon.bulkhead(&["pause", "web"]).ok();
    refused(&cp(&path("file"), "web:/d"), "is paused");
}

fn pipe(command: &mut std::process::Command, input: &[u8]) -> Finished {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a command");
    let mut stdin = child.stdin.take().expect("an input");
    let input = input.to_vec();
    std::thread::spawn(move || stdin.write_all(&input));
    bulkhead_tests::finish(child, Duration::from_secs(60), "a pipe")
}

#[test]
fn nothing_of_the_container_is_run_and_nothing_without_end_is_taken() {
    let daemon = Daemon::start();
    running(&daemon, "busybox.img", &["sleep", "100000"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    // CVE-2019-14271: what a copier might load or run.
    let trap = "for f in /lib/x86_64-linux-gnu/libnss_files.so.2 /lib64/ld-linux-x86-64.so.2 /lib/ld-linux.so.2 \
        /etc/ld.so.preload /sbin/modprobe /usr/bin/tar /init; do mkdir -p ${f%/*}; \
        printf '#!/bin/busybox sh\\necho run >> /hit\\n' > $f; chmod 755 $f; done; \
        mkfifo /etc/pipe /etc/shadow /etc/nsswitch.conf; echo kept > /kept";
    let _ = shell(&daemon, trap);
    let _ = daemon.bulkhead(&["cp", "web:/kept", &path("kept")]).ok();
    let _ = daemon.bulkhead(&["cp", "-a", "web:/lib", &path("lib")]).ok();
    let _ = daemon.bulkhead(&["cp", &path("kept"), "web:/lib/kept"]).ok();
    let run = daemon.bulkhead(&["cp", "web:/etc", &path("etc")]).ok();
    assert!(run.stderr.contains("3 of its entries"), "{}", run.stderr);
    let _ = daemon.bulkhead(&["cp", "-", "web:/none"]);
    assert!(shell(&daemon, "test ! -e /hit && cat /lib/kept").ok().stdout.contains("kept"));

    let cp = |from: &str| daemon.bulkhead(&["cp", from, &path("taken")]);
    for answer in ["web:/dev/zero", "web:/proc/1/environ", "web:/proc", "web:/sys", "web:/etc/pipe"] {
        refused(&cp(answer), "it is no");
    }
    let _ = shell(&daemon, "truncate -s 20G /big; mkdir /many; cd /many; echo x > a; mkfifo pipe").ok();
    refused(&cp("web:/big"), "more than 10737418240 bytes");
    refused(
        &daemon.bulkhead(&["cp", "--max-size", "1m", "web:/bin", &path("taken-bin")]),
        "more than 1048576 bytes",
    );
    assert!(!Path::new(&path("taken")).exists());
    // One that grows for as long as it is read is as large as it was.
    let _ = daemon
        .bulkhead(&["exec", "-d", "web", "sh", "-c", "while sleep 0.01; do cat /bin/busybox; done > /grows"])
        .ok();
    let _ = shell(&daemon, "until test -s /grows; do sleep 0.1; done").ok();
    let _ = cp("web:/grows").ok();
}

#[test]
fn a_container_that_exchanges_paths_by_links_gets_nothing_in_or_out_of_elsewhere() {
    let daemon = Daemon::start();
    // CVE-2018-15664, CVE-2026-41567, -41568, -42306. Both ways out of a root, by turns: 316 is renameat2, 2 EXCHANGE.
    let swap = "mkdir '/x'; mkdir '/x/way'; mkdir '/x/way/sub'; \
        for ('/x/way/f', '/x/way/sub/f') { open(F, '>', $_); print F 'inside'; close F } \
        symlink('../../../../../../../../..', '/x/up'); \
        my ($a, $b) = ('/x/way', '/x/up'); \
        while (1) { syscall(316, -100, $a, -100, $b, 2); select(undef, undef, undef, 0.0005) }";
    running(&daemon, "debian.img", &["perl", "-e", swap]);
    let _ = shell(&daemon, "until test -L /x/up -o -L /x/way; do sleep 0.1; done").ok();
    let outer = tempfile::tempdir().expect("a folder");
    let inner = outer.path().join("inner");
    fs::create_dir(&inner).expect("a folder");
    fs::write(outer.path().join("canary"), "sings").expect("a file");
    fs::write(outer.path().join("modules.order"), "from outside").expect("a file");
    let (mut whole, target) = (0, inner.join("t").to_string_lossy().into_owned());
    for round in 0..25 {
        let _ = fs::remove_file(&target);
        // A file that the guest has at that path of its own root, and the container has not.
        let file = daemon.bulkhead(&["cp", "web:/x/way/bulkhead/modules.order", &target]);
        assert!(file.status == 1 && !Path::new(&target).exists(), "{round} {}", file.stderr);
        if daemon.bulkhead(&["cp", "-L", "web:/x/way/f", &target]).status == 0 {
            assert_eq!(fs::read_to_string(&target).expect("a file"), "inside");
            whole += 1;
        }
        let _ =
            daemon.bulkhead(&["cp", &outer.path().join("modules.order").to_string_lossy(), "web:/x/way/"]);
    }
    assert!(whole > 0, "no copy was whole");
    // A tree that holds the exchange itself.
    let _ = daemon.bulkhead(&["cp", "web:/x", &target]);
    for entry in fs::read_dir(outer.path()).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        assert!(["inner", "canary", "modules.order"].iter().any(|known| name == *known), "{name:?}");
    }
    assert_eq!(fs::read_to_string(outer.path().join("canary")).expect("a file"), "sings");
    // What went in is in the container, in one of the two folders.
    let found = shell(
        &daemon,
        "cat /x/way/modules.order /x/up/modules.order /modules.order 2>/dev/null | head -c 12",
    )
    .ok();
    assert_eq!(found.stdout, "from outside");
    assert!(daemon.ready("web").contains("200 OK"));
}

#[test]
fn owners_are_the_container_s_where_it_has_users_of_its_own() {
    let daemon = Daemon::start();
    let image = asset("busybox.img");
    let words = ["run", "-d", "--name", "web", "--userns", "private", &image, "sleep", "100000"];
    let _ = daemon.bulkhead(&words).ok();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    fs::write(path("file"), "own").expect("a file");
    chown(path("file"), Some(7), Some(8)).expect("an owner");
    let _ = daemon.bulkhead(&["cp", &path("file"), "web:/root-s"]).ok();
    let _ = daemon.bulkhead(&["cp", "-a", &path("file"), "web:/its"]).ok();
    assert_eq!(shell(&daemon, "stat -c %u:%g /root-s /its").ok().stdout, "0:0\n7:8\n");
    let _ = daemon.bulkhead(&["cp", "-a", "web:/its", &path("back")]).ok();
    let stat = fs::metadata(path("back")).expect("a file");
    assert_eq!((stat.uid(), stat.gid()), (7, 8));
    chown(path("file"), Some(100_000), None).expect("an owner");
    refused(&daemon.bulkhead(&["cp", "-a", &path("file"), "web:/nobody-s"]), "Invalid argument");
}
