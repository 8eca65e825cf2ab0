use rustix::fs::Mode;

use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
                      # a remark\n\
                      broken\n\
                      redis:x:101:102:Redis:/var/lib/redis:/bin/false\n\
                      nobody:x:65534:65534::/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\nstaff:x:50:redis,other\nredis:x:102:\nssl:x:200:other,redis\n";

fn words(text: &str) -> Result<Identity, IdentityError> {
    by_words(PASSWD, GROUP, text, &[7])
}

fn identity(uid: u32, gid: u32, groups: &[u32], home: Option<&str>) -> Identity {
    Identity { uid, gid, groups: groups.to_vec(), home: home.map(Into::into) }
}

#[test]
fn names_and_numbers_are_looked_up() {
    let home = Some("/var/lib/redis");
    assert_eq!(words("redis").unwrap(), identity(101, 102, &[7, 50, 200], home));
    assert_eq!(words("101").unwrap(), identity(101, 102, &[7, 50, 200], home));
    assert_eq!(words("redis:staff").unwrap(), identity(101, 50, &[7], home));
    assert_eq!(words("redis:").unwrap(), identity(101, 102, &[7, 50, 200], home));
    assert_eq!(words("1000:1001").unwrap(), identity(1000, 1001, &[7], None));
    assert_eq!(words("1000").unwrap(), identity(1000, 0, &[7], None));
    assert_eq!(words(":staff").unwrap(), identity(0, 50, &[7], None));
}

#[test]
fn ids_that_a_user_namespace_lacks_are_named() {
    use bulkhead_protocol::oci::{IdMapping, Linux, Namespace, NamespaceKind};
    let mapping = |size| vec![IdMapping { container_id: 0, host_id: 65536, size }];
    let linux = Linux {
        namespaces: vec![Namespace { kind: NamespaceKind::User, path: None }],
        uid_mappings: mapping(200),
        gid_mappings: mapping(150),
        ..Linux::default()
    };
    let maps = Maps::parse(&linux).unwrap().unwrap();
    let check = |uid, gid, groups: &[u32]| identity(uid, gid, groups, None).check(&maps);
    check(199, 149, &[0, 1]).unwrap();
    assert!(matches!(check(200, 0, &[]), Err(IdentityError::Unmapped("user", 200))));
    assert!(matches!(check(0, 150, &[]), Err(IdentityError::Unmapped("group", 150))));
    assert!(matches!(check(0, 0, &[7, 199]), Err(IdentityError::Unmapped("group", 199))));
}

#[test]
fn the_unknown_is_an_error() {
    assert!(matches!(words("postgres"), Err(IdentityError::NoUser(name)) if name == "postgres"));
    assert!(matches!(words("redis:wheel"), Err(IdentityError::NoGroup(name)) if name == "wheel"));
    assert!(words("4294967295").is_err());
    assert!(words("-1").is_err());
    assert!(words("+5").is_err());
}

fn folder_with(make: impl Fn(&std::path::Path)) -> (tempfile::TempDir, Beneath) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    make(&folder.path().join("etc/passwd"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(folder.path(), flags, Mode::empty()).unwrap();
    (folder, Beneath::new(root))
}

#[test]
fn numbers_need_no_files() {
    let (_folder, root) = folder_with(|_| {});
    let user = User { uid: 5, gid: 6, additional_gids: vec![8], ..User::default() };
    assert_eq!(resolve(&root, &user, false).unwrap(), identity(5, 6, &[8], None));
}

#[test]
fn a_named_pipe_a_link_out_and_a_flood_are_no_passwd() {
    let user = User { username: Some("redis".into()), ..User::default() };
    let (_folder, root) = folder_with(|path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    });
    assert!(matches!(resolve(&root, &user, false), Err(IdentityError::Unfit(_))));
    let (_folder, root) = folder_with(|path| std::os::unix::fs::symlink("/etc/hosts", path).unwrap());
    assert!(matches!(resolve(&root, &user, false), Err(IdentityError::NoUser(_))));
    let (_folder, root) = folder_with(|path| std::fs::write(path, vec![b'x'; (1 << 20) + 1]).unwrap());
    assert!(matches!(resolve(&root, &user, false), Err(IdentityError::Unfit(_))));
}
