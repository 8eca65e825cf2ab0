use super::*;

fn put(key: &str, expect: Expect, value: &str) -> Write {
    Write::Put { key: key.into(), expect, value: value.as_bytes().to_vec() }
}

#[tokio::test]
async fn conditions_hold_or_nothing_is_written() {
    let store = LocalStore::in_memory().unwrap();
    let first = store.apply(vec![put("a/1", Expect::Absent, "one")]).await.unwrap();
    let refused =
        store.apply(vec![put("a/2", Expect::Absent, "two"), put("a/1", Expect::Absent, "again")]).await;
    assert!(matches!(refused, Err(StoreError::Conflict { key }) if key == "a/1"));
    assert_eq!(store.get("a/2").await.unwrap(), None, "a refused transaction writes nothing");

    let second = store.apply(vec![put("a/1", Expect::Version(first), "uno")]).await.unwrap();
    assert!(second > first);
    assert!(store.apply(vec![put("a/1", Expect::Version(first), "late")]).await.is_err());
    let record = store.get("a/1").await.unwrap().unwrap();
    assert_eq!((record.version, record.value.as_slice()), (second, b"uno".as_slice()));
}

#[tokio::test]
async fn lists_only_the_prefix() {
    let store = LocalStore::in_memory().unwrap();
    for key in ["a/1", "ab/1", "b/1", "a/2"] {
        store.apply(vec![put(key, Expect::Absent, key)]).await.unwrap();
    }
    let listing = store.list("a/").await.unwrap();
    let keys: Vec<_> = listing.records.iter().map(|record| record.key.as_str()).collect();
    assert_eq!(keys, ["a/1", "a/2"]);
    assert_eq!(listing.revision, 4);
}

#[tokio::test]
async fn a_watch_misses_nothing_between_past_and_live() {
    let store = LocalStore::in_memory().unwrap();
    let first = store.apply(vec![put("a/1", Expect::Absent, "one")]).await.unwrap();
    store.apply(vec![put("a/1", Expect::Anything, "two"), put("b/1", Expect::Absent, "x")]).await.unwrap();
    let mut watch = store.watch("a/", Some(first)).await.unwrap();
    assert_eq!(watch.past.len(), 1);
    assert_eq!(watch.past[0].kind, ChangeKind::Modified);
    store.apply(vec![Write::Delete { key: "a/1".into(), expect: Expect::Anything }]).await.unwrap();
    let change = watch.live.recv().await.unwrap();
    assert_eq!((change.kind, change.record.value.as_slice()), (ChangeKind::Deleted, b"two".as_slice()));
}

#[tokio::test]
async fn a_watch_from_before_the_kept_changes_is_refused() {
    let store = LocalStore::in_memory().unwrap();
    for _ in 0..KEPT_CHANGES + 10 {
        store.apply(vec![put("a/1", Expect::Anything, "x")]).await.unwrap();
    }
    assert!(matches!(store.watch("a/", Some(1)).await, Err(StoreError::Compacted { since: 1 })));
    assert!(store.watch("a/", Some(KEPT_CHANGES)).await.is_ok());
    assert!(store.watch("a/", Some(u64::MAX)).await.is_ok(), "the future is not an error");
}

#[tokio::test]
async fn records_outlive_the_process_and_one_process_holds_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = LocalStore::open(&path).unwrap();
    store.apply(vec![put("a/1", Expect::Absent, "one")]).await.unwrap();
    assert!(LocalStore::open(&path).is_err(), "a second owner is refused");
    drop(store);
    let store = LocalStore::open(&path).unwrap();
    assert!(store.get("a/1").await.unwrap().is_some());
    assert_eq!(store.apply(vec![put("a/2", Expect::Absent, "two")]).await.unwrap(), 2);
}
