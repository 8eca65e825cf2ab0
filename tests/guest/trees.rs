//! What others make of hard changes, in several layers each: the trees of eleven images by buildah and umoci.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bulkhead_tests::bare::{self, Bare, QUIET};
use bulkhead_tests::{asset, root, run};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

/// Lists everything below a folder, without what differs from one file system to the next: sizes and links of
/// directories.
const LIST: &str = "cd \"$1\"
find . -type d -exec stat -c '%n %f %u %g %Y' {} + | sort
find . ! -type d -exec stat -c '%N %f %u %g %Y %t %T %h %s' {} + | sort
find . -type f -exec sha256sum {} + | sort
";

/// Compares each disk with the list of its name.
const COMPARE: &str = "for disk in /sys/block/vd*; do
  tag=$(cat $disk/serial)
  mount -t erofs -o ro /dev/${disk##*/} /mnt && sh /list /mnt >/tmp/found 2>&1
  if cmp -s /tmp/found /expected/$tag; then echo \"$tag is the same\"; else
    echo \"$tag differs\"; diff /expected/$tag /tmp/found | head -n 10
  fi
  umount /mnt
done";

/// Builds the image of a tag as the root of a machine, and keeps what umoci unpacks of it, listed.
fn drive(folder: &Path, tag: &str) -> Value {
    let image = format!("{}/trees:{tag}", asset("sources"));
    let (disk, bundle) = (folder.join(tag), folder.join("bundle"));
    let done = |command: &mut Command| {
        let ended = run(command, LIMIT);
        assert_eq!(ended.status, 0, "{tag}: {}", ended.stderr);
        ended.stdout
    };
    let source = format!("oci:{image}");
    done(Command::new(asset("bulkhead-image")).args(["build", &source, "--output"]).arg(&disk));
    done(Command::new("fsck.erofs").arg(&disk));
    done(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle));
    // Names are of any bytes, so the shell writes them and not we.
    let (list, listed) = (folder.join("root/list"), folder.join("root/expected").join(tag));
    let mut command = Command::new("sh");
    command
        .args(["-c", "busybox sh \"$1\" \"$2/rootfs\" >\"$3\"", "list"])
        .arg(list)
        .arg(&bundle)
        .arg(&listed);
    assert_eq!(done(&mut command), "");
    assert!(fs::read(listed).expect("a list").split(|byte| *byte == b'\n').count() > 5, "{tag}");
    fs::remove_dir_all(&bundle).expect("a folder");
    json!({"drive_id": tag, "path_on_host": disk, "is_root_device": false, "is_read_only": true})
}

#[test]
fn the_trees_in_the_guest_are_those_that_umoci_unpacks() {
    let folder = tempfile::Builder::new().prefix("bulkhead-trees-").tempdir_in("/var/tmp").expect("a folder");
    fs::create_dir_all(folder.path().join("root/expected")).expect("a folder");
    fs::write(folder.path().join("root/list"), LIST).expect("a script");
    let index = fs::read(format!("{}/trees/index.json", asset("sources"))).expect("a layout");
    let index: Value = serde_json::from_slice(&index).expect("an index");
    let tag = |manifest: &Value| {
        let name = &manifest["annotations"]["org.opencontainers.image.ref.name"];
        name.as_str().expect("a tag").to_owned()
    };
    let tags: Vec<String> = index["manifests"].as_array().expect("manifests").iter().map(tag).collect();
    assert!(tags.len() >= 10, "{tags:?}");
    let drives: Vec<Value> = tags.iter().map(|tag| drive(folder.path(), tag)).collect();

    let modules = ["virtio_mmio", "virtio_blk", "erofs"];
    let initramfs = root::with_lab_modules(folder.path(), &modules, COMPARE);
    let config = bare::boot(&asset("vmlinux"), &initramfs, QUIET, json!({"drives": drives}));
    let (status, console) = Bare::start(&config).wait();
    assert_eq!(status, Some(0), "{console}");
    for tag in &tags {
        assert!(console.contains(&format!("{tag} is the same")), "{console}");
    }
}
