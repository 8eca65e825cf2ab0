use tar::{Builder, EntryType, Header};

use super::*;
use crate::tree::Device;

/// Writes entries into a tar stream without the checks of the `tar` crate's own names.
struct Layer(Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn add(mut self, kind: EntryType, name: &str, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_size(data.len() as u64);
        header.set_mode(0o755);
        header.set_uid(10);
        header.set_gid(20);
        header.set_mtime(1000);
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn file(self, name: &str, data: &str) -> Self {
        self.add(EntryType::Regular, name, "", data.as_bytes())
    }

    fn directory(self, name: &str) -> Self {
        self.add(EntryType::Directory, name, "", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, name, target, b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Link, name, target, b"")
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Every path of a tree with a word for what it is.
fn listing(assembly: &Assembly<'_>) -> Vec<String> {
    fn walk(assembly: &Assembly<'_>, id: InodeId, path: &str, lines: &mut Vec<String>) {
        for (name, entry) in assembly.tree.entries(id).unwrap() {
            let path = format!("{path}/{}", String::from_utf8_lossy(name));
            match &assembly.tree.inode(entry.inode).kind {
                Kind::Directory(_) => {
                    lines.push(format!("{path}/"));
                    walk(assembly, entry.inode, &path, lines);
                }
                Kind::File(body) => {
                    let mut bytes = vec![0; usize::try_from(body.size).unwrap()];
                    assembly.bodies.read(body, 0, &mut bytes).unwrap();
                    lines.push(format!("{path}={}", String::from_utf8_lossy(&bytes)));
                }
                Kind::Symlink(target) => lines.push(format!("{path}->{}", String::from_utf8_lossy(target))),
                _ => lines.push(format!("{path}?")),
            }
        }
    }
    let mut lines = Vec::new();
    walk(assembly, ROOT, "", &mut lines);
    lines
}

fn apply(layers: Vec<Layer>) -> Result<Vec<String>, LayerError> {
    let limits = Limits { depth: 20, ..Limits::default() };
    let bodies = Bodies::new(&std::env::temp_dir(), 1 << 20).unwrap();
    let mut assembly = Assembly::new(bodies, &limits);
    for (index, layer) in layers.into_iter().enumerate() {
        assembly.apply(u32::try_from(index + 1).unwrap(), &layer.finish()[..])?;
    }
    assembly.bodies.flush().unwrap();
    Ok(listing(&assembly))
}

fn refusal(layers: Vec<Layer>) -> String {
    match apply(layers) {
        Err(LayerError::Entry(name, refusal)) => format!("{name}: {refusal}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn layers_replace_merge_and_hide() {
    let first =
        Layer::new().directory("./").directory("./a/").file("a/x", "1").file("/b", "2").file("c", "3");
    let second =
        Layer::new().file("a/y", "4").file(".wh.b", "").directory("c").file("c/d", "5").file("e/f", "6");
    assert_eq!(
        apply(vec![first, second]).unwrap(),
        ["/a/", "/a/x=1", "/a/y=4", "/c/", "/c/d=5", "/e/", "/e/f=6"]
    );
}

#[test]
fn whiteouts_do_not_depend_on_their_place_in_a_layer() {
    let lower = || {
        Layer::new()
            .directory("d")
            .file("d/low", "1")
            .directory("d/sub")
            .file("d/sub/low", "1")
            .file("f", "1")
    };
    let before = Layer::new().file("d/.wh..wh..opq", "").file("d/new", "2").file(".wh.f", "").file("f", "2");
    let after = Layer::new().file("d/new", "2").file("d/.wh..wh..opq", "").file("f", "2").file(".wh.f", "");
    let expected = ["/d/", "/d/new=2", "/f=2"];
    assert_eq!(apply(vec![lower(), before]).unwrap(), expected);
    assert_eq!(apply(vec![lower(), after]).unwrap(), expected);
    let again = Layer::new().directory("d").file(".wh.d", "").file("d/sub/new", "2");
    assert_eq!(apply(vec![lower(), again]).unwrap(), ["/d/", "/d/sub/", "/d/sub/new=2", "/f=1"]);
    let nothing = Layer::new().file(".wh.no", "").file("f/.wh.x", "").file("no/.wh..wh..opq", "");
    assert_eq!(apply(vec![Layer::new().file("f", "1"), nothing]).unwrap(), ["/f=1"]);
}

#[test]
fn whiteouts_reach_through_links_inside_the_root() {
    let lower = Layer::new().directory("usr/lib").file("usr/lib/x", "1").symlink("lib", "usr/lib");
    let upper = Layer::new().file("lib/.wh.x", "").file("lib/y", "2");
    assert_eq!(apply(vec![lower, upper]).unwrap(), ["/lib->usr/lib", "/usr/", "/usr/lib/", "/usr/lib/y=2"]);
}

#[test]
fn hard_links_share_one_inode_across_layers() {
    let limits = Limits::default();
    let mut assembly = Assembly::new(Bodies::new(&std::env::temp_dir(), 1 << 20).unwrap(), &limits);
    assembly.apply(1, &Layer::new().file("a", "1").link("b", "./a").finish()[..]).unwrap();
    assembly.apply(2, &Layer::new().link("/c", "/b").link("c", "c").file("a", "2").finish()[..]).unwrap();
    assembly.bodies.flush().unwrap();
    let inode = |name| assembly.tree.child(ROOT, name).unwrap().inode;
    assert_eq!(inode(b"b"), inode(b"c"));
    assert_ne!(inode(b"a"), inode(b"b"));
    assert_eq!(listing(&assembly), ["/a=2", "/b=1", "/c=1"]);
}

#[test]
fn a_link_is_never_written_through() {
    let hostile = Layer::new().symlink("x", "/etc").directory("x").file("x/passwd", "1");
    assert_eq!(apply(vec![hostile]).unwrap(), ["/x/", "/x/passwd=1"]);
    let hostile =
        Layer::new().symlink("x", "../../../outside").file("x/f", "1").symlink("y", "f").file("y", "2");
    assert_eq!(apply(vec![hostile]).unwrap(), ["/outside/", "/outside/f=1", "/x->../../../outside", "/y=2"]);
    let devices = Layer::new().add(EntryType::Char, "null", "", b"").add(EntryType::Fifo, "pipe", "", b"");
    assert_eq!(apply(vec![devices]).unwrap(), ["/null?", "/pipe?"]);
}

#[test]
fn what_is_hostile_is_refused_by_name() {
    let refused = |layer| refusal(vec![layer]);
    assert_eq!(refused(Layer::new().file("../x", "")), "../x: its name leads through '..'");
    assert_eq!(refused(Layer::new().file("a/../../x", "")), "a/../../x: its name leads through '..'");
    assert_eq!(refused(Layer::new().link("x", "../y")), "x: its link target leads through '..'");
    assert_eq!(refused(Layer::new().link("x", "y")), "x: it is a hard link to \"y\", which does not exist");
    assert_eq!(
        refused(Layer::new().directory("d").link("x", "d")),
        "x: it is a hard link to \"d\", which is a directory"
    );
    assert_eq!(refused(Layer::new().link("x", "/")), "x: it is a hard link to \"/\", which is a directory");
    assert_eq!(refused(Layer::new().symlink("./", "/etc")), "./: only a directory can be the root");
    assert_eq!(refused(Layer::new().symlink("x", "")), "x: its link target is empty");
    for name in [".wh.", ".wh..", ".wh...", "a/.wh."] {
        assert_eq!(refused(Layer::new().file(name, "")), format!("{name}: it is a whiteout of no name"));
    }
    assert_eq!(
        refused(Layer::new().file(".wh.a/x", "")),
        ".wh.a/x: a component of its path has the name of a whiteout"
    );
    assert_eq!(
        refused(Layer::new().file("f", "").file("f/x", "")),
        "f/x: \"f\" on its path is not a directory"
    );
    assert_eq!(
        refused(Layer::new().symlink("a", "b").symlink("b", "a").file("a/x", "")),
        "a/x: its path leads through more than 40 symbolic links"
    );
    let deep = "d/".repeat(20) + "x";
    assert_eq!(
        refused(Layer::new().file(&deep, "")),
        format!("{deep}: it lies more than 20 directories deep")
    );
    let deep = Layer::new().directory("a/b/c/d/e/f/g/h/i/j").symlink("l", "a/b/c/d/e/f/g/h/i/j");
    assert!(refused(deep.file("l/k/l/m/n/o/p/q/r/s/t/u", "")).ends_with("20 directories deep"));
}

#[test]
fn bombs_are_refused() {
    let limits = Limits { entries: 10, memory: 2500, size: 5, ..Limits::default() };
    let refused = |layer: Layer| {
        let mut assembly = Assembly::new(Bodies::new(&std::env::temp_dir(), 5).unwrap(), &limits);
        let error = assembly.apply(1, &layer.finish()[..]).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    let many = (0..11).fold(Layer::new(), |layer, index| layer.file(&format!("f{index}"), ""));
    assert_eq!(refused(many), "the image has more than 10 entries");
    assert_eq!(
        refused(Layer::new().file("a/b/c/d/e/f/g/h/i/j/k/l", "")),
        "the image has more than 10 entries"
    );
    let names =
        (0..9).fold(Layer::new(), |layer, index| layer.symlink(&"n".repeat(50), &"t".repeat(90 + index)));
    assert_eq!(refused(names), "the image has more than 2500 bytes of memory for entries");
    assert_eq!(refused(Layer::new().file("f", "123456")), "the image has more than 5 bytes in one file");
    assert_eq!(
        refused(Layer::new().file("f", "123").file("g", "456")),
        "the files are larger than 5 bytes together"
    );
}

#[test]
fn attributes_arrive() {
    let limits = Limits::default();
    let mut assembly = Assembly::new(Bodies::new(&std::env::temp_dir(), 1 << 20).unwrap(), &limits);
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Block);
    header.set_path("disk").unwrap();
    header.set_mode(0o6640);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(9);
    header.set_size(0);
    header.set_device_major(0xfff).unwrap();
    header.set_device_minor(0xfffff).unwrap();
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    let words = [
        ("mtime", &b"10.5"[..]),
        ("SCHILY.xattr.user.a", b"1"),
        ("SCHILY.xattr.security.selinux", b"label"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.system.posix_acl_access", b"2"),
    ];
    builder.append_pax_extensions(words).unwrap();
    builder.append(&header, &b""[..]).unwrap();
    assembly.apply(1, &builder.into_inner().unwrap()[..]).unwrap();
    let inode = assembly.tree.inode(assembly.tree.child(ROOT, b"disk").unwrap().inode);
    assert_eq!(inode.kind, Kind::BlockDevice(Device { major: 0xfff, minor: 0xfffff }));
    let attributes = &inode.attributes;
    assert_eq!((attributes.mode, attributes.uid, attributes.gid), (0o6640, 7, 8));
    assert_eq!((attributes.mtime.seconds, attributes.mtime.nanoseconds), (10, 500_000_000));
    let names: Vec<_> = attributes.xattrs.keys().map(|name| String::from_utf8_lossy(name)).collect();
    assert_eq!(names, ["system.posix_acl_access", "user.a"]);
}

fn apply_bytes(layer: &[u8], limits: &Limits) -> bool {
    let bodies = Bodies::new(&std::env::temp_dir(), 1 << 20).unwrap();
    Assembly::new(bodies, limits).apply(1, layer).is_ok()
}

#[test]
fn damaged_layers_never_panic() {
    let layer = Layer::new()
        .directory("d")
        .file("d/f", "content")
        .link("l", "d/f")
        .symlink("s", "d")
        .file("s/.wh.f", "")
        .add(EntryType::XHeader, "x", "", b"30 mtime=1700000000.123456789\n")
        .add(EntryType::GNULongName, "././@LongLink", "", b"long-name\0")
        .add(EntryType::Char, "c", "", b"")
        .finish();
    let limits = Limits { size: 1 << 30, ..Limits::default() };
    // xorshift64: the same damage in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut taken = 0;
    assert!(apply_bytes(&layer, &limits));
    for _ in 0..3000 {
        let mut damaged = layer.clone();
        for _ in 0..=random(3) {
            let block = random(layer.len() / 512) * 512;
            damaged[block + random(512)] = [0, b'0', b'7', 0x80, 0xff, b'/', b'.', b'x'][random(8)];
            // A right checksum lets the damage through to what reads the fields.
            damaged[block + 148..block + 156].fill(b' ');
            let sum: u32 = damaged[block..block + 512].iter().map(|byte| u32::from(*byte)).sum();
            damaged[block + 148..block + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        taken += u32::from(apply_bytes(&damaged, &limits));
    }
    assert!(taken > 100 && taken < 2900, "{taken} taken: the damage does not reach far enough");
}
