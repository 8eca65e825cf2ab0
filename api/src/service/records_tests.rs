use super::*;
use crate::service::model::{Metadata, Volume, VolumeResourceSpec, VolumeStatus};
use crate::store::LocalStore;

fn records() -> Records {
    Records::new(Arc::new(LocalStore::in_memory().unwrap()))
}

fn volume(id: &str, name: &str) -> Volume {
    Volume {
        metadata: Metadata {
            id: id.into(),
            name: name.into(),
            resource_version: 0,
            created_at: "2024-01-01T00:00:00.000000Z".into(),
        },
        spec: VolumeResourceSpec { size_mib: 16 },
        status: VolumeStatus { used_by: Vec::new() },
    }
}

#[tokio::test]
async fn found_by_id_name_and_start_of_id() {
    let records = records();
    records.create(volume("abcdef012345", "data"), Vec::new()).await.unwrap();
    records.create(volume("abcdef999999", "more"), Vec::new()).await.unwrap();
    for name in ["abcdef012345", "data", "abcdef0"] {
        assert_eq!(records.find::<Volume>(name).await.unwrap().metadata.name, "data", "{name}");
    }
    assert!(matches!(records.find::<Volume>("abcdef").await, Err(ServiceError::Ambiguous { .. })));
    for name in ["abc", "nothing", "", "\u{0}", "../machines"] {
        assert!(matches!(records.find::<Volume>(name).await, Err(ServiceError::NotFound { .. })), "{name}");
    }
}

#[tokio::test]
async fn a_name_is_taken_once_and_free_after_deletion() {
    let records = records();
    let first = records.create(volume("aaaaaaaaaaaa", "data"), Vec::new()).await.unwrap();
    let second = records.create(volume("bbbbbbbbbbbb", "data"), Vec::new()).await;
    assert!(matches!(second, Err(ServiceError::Exists { .. })));
    records.delete(&first, Vec::new()).await.unwrap();
    records.create(volume("bbbbbbbbbbbb", "data"), Vec::new()).await.unwrap();
}

#[tokio::test]
async fn updates_at_once_are_all_kept() {
    let records = records();
    records.create(volume("aaaaaaaaaaaa", "data"), Vec::new()).await.unwrap();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let records = records.clone();
            tokio::spawn(async move {
                let change = |volume: &mut Volume| {
                    volume.spec.size_mib += 1;
                    Ok(())
                };
                records.update("aaaaaaaaaaaa", change).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(records.find::<Volume>("data").await.unwrap().spec.size_mib, 36);
}
