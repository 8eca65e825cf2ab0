use super::*;

fn directory() -> Inode {
    Inode { attributes: default_attributes(), kind: Kind::Directory(BTreeMap::new()) }
}

fn symlink(target: &str) -> Inode {
    Inode { attributes: Attributes::default(), kind: Kind::Symlink(target.as_bytes().into()) }
}

fn fifo() -> Inode {
    Inode { attributes: Attributes::default(), kind: Kind::Fifo }
}

fn find(tree: &mut Tree, path: &str) -> Result<InodeId, PathError> {
    let components: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
    tree.directory(&components, None).map(|found| found.directory)
}

#[test]
fn links_lead_through_the_tree_and_never_out_of_it() {
    let mut tree = Tree::new();
    let usr = tree.add(ROOT, b"usr", 1, directory());
    let lib = tree.add(usr, b"lib", 1, directory());
    tree.add(ROOT, b"lib", 1, symlink("usr/lib"));
    tree.add(lib, b"up", 1, symlink("../../../../../usr"));
    tree.add(lib, b"abs", 1, symlink("/usr/./lib"));
    tree.add(ROOT, b"a", 1, symlink("b"));
    tree.add(ROOT, b"b", 1, symlink("a"));
    tree.add(ROOT, b"pipe", 1, fifo());
    assert_eq!(find(&mut tree, "lib").unwrap(), lib);
    assert_eq!(find(&mut tree, "lib/up").unwrap(), usr);
    assert_eq!(find(&mut tree, "lib/abs/up/lib").unwrap(), lib);
    assert_eq!(find(&mut tree, "a/x"), Err(PathError::Loop));
    assert_eq!(find(&mut tree, "pipe/x"), Err(PathError::NotADirectory("pipe".to_owned())));
    assert_eq!(find(&mut tree, "no/x"), Err(PathError::Missing("no".to_owned())));
}

#[test]
fn links_that_multiply_are_stopped() {
    let mut tree = Tree::new();
    tree.add(ROOT, b"d", 1, directory());
    tree.add(ROOT, b"x0", 1, symlink("d"));
    for index in 1..40 {
        let before = format!("x{}/../", index - 1);
        tree.add(ROOT, format!("x{index}").as_bytes(), 1, symlink(&before.repeat(20)));
    }
    assert_eq!(find(&mut tree, "x39"), Err(PathError::Loop));
}

#[test]
fn a_whiteout_spares_what_its_own_layer_brought() {
    let mut tree = Tree::new();
    let old = tree.add(ROOT, b"old", 1, directory());
    tree.add(old, b"low", 1, fifo());
    let inner = tree.add(old, b"inner", 1, directory());
    tree.add(inner, b"low", 1, fifo());
    tree.add(inner, b"new", 2, fifo());
    tree.white_out(ROOT, b"old", 2);
    assert!(tree.child(old, b"low").is_none());
    assert!(tree.child(inner, b"low").is_none());
    assert!(tree.child(inner, b"new").is_some());
    tree.white_out(ROOT, b"old", 3);
    assert!(tree.child(ROOT, b"old").is_none());
    tree.white_out(ROOT, b"never", 3);
}
