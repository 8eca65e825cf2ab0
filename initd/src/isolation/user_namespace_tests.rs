use bulkhead_protocol::oci::Namespace;

use super::*;

fn mapping(container_id: u32, host_id: u32, size: u32) -> IdMapping {
    IdMapping { container_id, host_id, size }
}

fn linux(uids: &[IdMapping], gids: &[IdMapping]) -> Linux {
    Linux {
        namespaces: vec![Namespace { kind: NamespaceKind::User, path: None }],
        uid_mappings: uids.to_vec(),
        gid_mappings: gids.to_vec(),
        ..Linux::default()
    }
}

fn refused(uids: &[IdMapping], gids: &[IdMapping]) -> String {
    Maps::parse(&linux(uids, gids)).unwrap_err().to_string()
}

#[test]
fn ids_are_translated() {
    let uids = [mapping(0, 65536, 1000), mapping(2000, 5, 2)];
    let maps = Maps::parse(&linux(&uids, &[mapping(0, 7, 1)])).unwrap().unwrap();
    assert_eq!([maps.uid(0), maps.uid(999), maps.uid(1000)], [Some(65536), Some(66535), None]);
    assert_eq!([maps.uid(2001), maps.uid(2002)], [Some(6), None]);
    assert_eq!([maps.gid(0), maps.gid(1)], [Some(7), None]);
    assert_eq!(text(&uids), "0 65536 1000\n2000 5 2\n");
}

#[test]
fn no_namespace_has_no_maps() {
    assert_eq!(Maps::parse(&Linux::default()).unwrap(), None);
    for (uids, gids, name) in [(vec![mapping(0, 1, 1)], vec![], UIDS), (vec![], vec![mapping(0, 1, 1)], GIDS)]
    {
        let linux = Linux { uid_mappings: uids, gid_mappings: gids, ..Linux::default() };
        let message = Maps::parse(&linux).unwrap_err().to_string();
        assert!(message.starts_with(name) && message.contains("linux.namespaces"), "{message}");
    }
}

#[test]
fn what_the_kernel_would_refuse_is_named() {
    let right = [mapping(0, 65536, 65536)];
    let many: Vec<_> = (0..341).map(|id| mapping(id, id, 1)).collect();
    let long: Vec<_> = (0..200).map(|id| mapping(id, 1_000_000_000 + id * 2, 1)).collect();
    let long: Vec<_> =
        long.iter().map(|line| mapping(line.container_id * 10_000_000, line.host_id, 1)).collect();
    for (wrong, reason) in [
        (vec![], "empty"),
        (many, "340"),
        (long, "4095 bytes"),
        (vec![mapping(0, 65536, 0)], "0 65536 0"),
        (vec![mapping(0, 0, 10), mapping(9, 100, 1)], "mapped twice"),
        (vec![mapping(0, 0, 10), mapping(100, 9, 1)], "mapped to one"),
        (vec![mapping(0, 0, u32::MAX), mapping(5, 5, 5)], "mapped twice"),
        (vec![mapping(0, 1, u32::MAX)], "beyond the last id"),
        (vec![mapping(1, 0, u32::MAX)], "beyond the last id"),
        (vec![mapping(1, 0, 10)], "no mapping has id 0"),
    ] {
        let by_uid = refused(&wrong, &right);
        assert!(by_uid.starts_with(UIDS) && by_uid.contains(reason), "{by_uid}");
        let by_gid = refused(&right, &wrong);
        assert!(by_gid.starts_with(GIDS) && by_gid.contains(reason), "{by_gid}");
    }
    assert!(Maps::parse(&linux(&[mapping(0, 0, u32::MAX)], &right)).is_ok());
}
