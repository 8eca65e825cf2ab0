use std::collections::BTreeSet;
use std::sync::mpsc;

use bulkhead_image::disk::RootFormat;

use super::*;

fn empty(folder: &Path, name: &str) -> Result<Root, Failure> {
    let source = folder.join("source");
    std::fs::create_dir_all(&source).unwrap();
    let origin = Origin::parse(&format!("dir:{}", source.display())).unwrap();
    Root::make(&origin, folder.join(name), &BuildOptions::default())
}

#[tokio::test]
async fn who_comes_second_waits_and_shares() {
    let (folder, progress) = (tempfile::tempdir().unwrap(), ImportProgress::default());
    let path = folder.path().to_owned();
    let (builds, (go, wait)) = (Builds::default(), mpsc::channel::<()>());
    let first = builds.share(Some("key"), &progress, move |_, _| {
        wait.recv().unwrap();
        empty(&path, "draft")
    });
    let second = builds.share(Some("key"), &progress, |_, _| Err(Failure::NoSource("made twice".into())));
    let path = folder.path().to_owned();
    let other = builds.share(Some("other"), &progress, move |_, _| empty(&path, "another"));
    let ((first, second), ()) = tokio::join!(async { tokio::join!(first, second) }, async {
        assert!(other.await.is_ok(), "another key has its own");
        go.send(()).unwrap();
    });
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(Arc::ptr_eq(&first, &second));
    let draft = folder.path().join("draft");
    drop(first);
    let place = folder.path().join("place");
    second.publish(&place).unwrap();
    assert!(draft.exists() && place.exists());
    drop(second);
    assert!(!draft.exists() && place.exists());
}

#[tokio::test]
async fn a_failure_is_told_to_all_and_kept_for_nobody() {
    let (folder, progress) = (tempfile::tempdir().unwrap(), ImportProgress::default());
    let path = folder.path().to_owned();
    let builds = Builds::default();
    let fail = |_: &Cancellation, _: &Arc<Board>| Err(Failure::NoSource("x".into()));
    let (one, two) =
        tokio::join!(builds.share(Some("key"), &progress, fail), builds.share(Some("key"), &progress, fail));
    assert!(matches!(one, Err(Failure::NoSource(_))) && matches!(two, Err(Failure::NoSource(_))));
    assert!(builds.share(Some("key"), &progress, move |_, _| empty(&path, "draft")).await.is_ok());
    assert!(!folder.path().join("draft").exists(), "nobody has it any more");
}

#[tokio::test]
async fn work_goes_on_for_who_is_left_and_ends_with_the_last() {
    let (folder, progress) = (tempfile::tempdir().unwrap(), ImportProgress::default());
    let path = folder.path().to_owned();
    let builds = Builds::default();
    let mut busy = builds.busy();
    let (told, tell) = mpsc::channel::<Cancellation>();
    let (go, wait) = mpsc::channel::<()>();
    let mut first = Box::pin(builds.share(Some("key"), &progress, move |cancellation, _| {
        told.send(cancellation.clone()).unwrap();
        wait.recv().unwrap();
        empty(&path, "draft")
    }));
    let mut second =
        Box::pin(builds.share(Some("key"), &progress, |_, _| Err(Failure::NoSource("made twice".into()))));
    assert!(futures_util::poll!(&mut first).is_pending() && futures_util::poll!(&mut second).is_pending());
    let cancellation = tell.recv().unwrap();
    drop(first);
    assert!(!cancellation.is_cancelled(), "somebody waits");
    drop(second);
    assert!(cancellation.is_cancelled());
    // Who comes now shares nothing with what was cancelled.
    let path = folder.path().to_owned();
    assert!(builds.share(Some("key"), &progress, move |_, _| empty(&path, "another")).await.is_ok());
    go.send(()).unwrap();
    busy.wait_for(|busy| *busy == 0).await.unwrap();
    assert!(!folder.path().join("draft").exists(), "nobody wants it");
}

#[test]
fn all_that_decides_the_bytes_is_in_the_key() {
    let options = BuildOptions::default();
    let later = BuildOptions { build_time: 1, ..options.clone() };
    let (one, two) = ("1".repeat(64), "2".repeat(64));
    let small = BuildOptions { format: RootFormat::Squashfs, ..options.clone() };
    let keys = [key(&one, &options), key(&two, &options), key(&one, &later), key(&one, &small)];
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 4);
    assert!(keys.iter().all(|key| key.len() == 64));
    assert_eq!(key(&one, &BuildOptions { store: Some("/x".into()), ..options }), keys[0]);
}
