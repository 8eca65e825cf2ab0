//! A kernel package, made here, is taken apart; damaged ones are refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bulkhead_image::kernel::KernelRecord;
use support::{bulkhead_image, refusal, run};

const VERSION: &str = "9.9.9-test";

/// Name, folder, what it depends on.
const MODULES: &[(&str, &str, &str)] = &[
    ("virtio-ring", "drivers/virtio", ""),
    ("virtio", "drivers/virtio", ""),
    ("virtio_mmio", "drivers/virtio", "virtio,virtio_ring"),
    ("virtio_blk", "drivers/block", "virtio_ring,virtio"),
    ("virtio_net", "drivers/net", "virtio"),
    ("virtio-rng", "drivers/char", "virtio"),
    ("virtio_balloon", "drivers/virtio", "virtio,virtio_ring"),
    ("vsock", "net", ""),
    ("vmw_vsock_virtio_transport", "net", "vsock,virtio"),
    ("erofs", "fs/erofs", "libcrc32c"),
    ("libcrc32c", "lib", ""),
    ("overlay", "fs/overlayfs", ""),
    ("button", "drivers/acpi", ""),
    ("squashfs", "fs/squashfs", "zstd,libcrc32c"),
    ("zstd", "lib", ""),
    ("unwanted", "fs", "virtio"),
];

/// An ELF object with nothing but a section `.modinfo`.
fn module(name: &str, depends: &str) -> Vec<u8> {
    let modinfo = format!("license=GPL\0depends={depends}\0name={}\0", name.replace('-', "_"));
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[40..48].copy_from_slice(&((64 + modinfo.len() + names.len()) as u64).to_le_bytes());
    for (offset, value) in [(58, 64_u16), (60, 3), (62, 2)] {
        elf[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
    }
    elf.extend(modinfo.bytes());
    elf.extend(names);
    let sections = [(0_u32, 0, 0), (1, 64, modinfo.len()), (10, 64 + modinfo.len(), names.len())];
    for (name, offset, size) in sections {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        elf.extend(header);
    }
    elf
}

fn bzimage(kernel: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(kernel).unwrap();
    let payload = gzip.finish().unwrap();
    let mut image = vec![0; 1024];
    image[0x1f1] = 1;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    [image, payload].concat()
}

fn package(folder: &Path, modules: &[(&str, &str, &str)]) -> PathBuf {
    package_with(folder, modules, None)
}

/// With a configuration, as Debian's packages have one.
fn package_with(folder: &Path, modules: &[(&str, &str, &str)], configuration: Option<&str>) -> PathBuf {
    let tree = folder.join("tree");
    let _ = fs::remove_dir_all(&tree);
    let write = |path: String, bytes: &[u8]| {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let control =
        "Package: linux-image-test\nVersion: 1\nArchitecture: amd64\nMaintainer: a <a@b>\nDescription: d\n";
    write("DEBIAN/control".to_owned(), control.as_bytes());
    write(format!("boot/vmlinuz-{VERSION}"), &bzimage(b"\x7fELF and so on"));
    if let Some(text) = configuration {
        write(format!("boot/config-{VERSION}"), text.as_bytes());
    }
    write(format!("lib/modules/{VERSION}/modules.builtin"), b"kernel/fs/ext4/ext4.ko\n");
    for (name, place, depends) in modules {
        write(format!("lib/modules/{VERSION}/kernel/{place}/{name}.ko"), &module(name, depends));
    }
    let deb = folder.join("linux-image.deb");
    run("dpkg-deb", &["--build", "--root-owner-group", &tree.to_string_lossy(), &deb.to_string_lossy()]);
    fs::remove_dir_all(&tree).unwrap();
    deb
}

fn arguments<'a>(deb: &'a str, initd: &'a str, output: &'a str) -> Vec<&'a str> {
    vec!["--json", "kernel", "--deb", deb, "--initd", initd, "--output", output]
}

#[test]
fn a_package_becomes_a_kernel_and_an_initramfs() {
    let folder = tempfile::tempdir().unwrap();
    let deb = package(folder.path(), MODULES).to_string_lossy().into_owned();
    let program = env!("CARGO_BIN_EXE_bulkhead-image");
    let mut outputs = Vec::new();
    for name in ["one", "two"] {
        let output = folder.path().join(name);
        let result = bulkhead_image(&arguments(&deb, program, &output.to_string_lossy()));
        assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
        outputs.push((
            result.stdout,
            fs::read(output.join("vmlinux")).unwrap(),
            fs::read(output.join("initramfs")).unwrap(),
        ));
    }
    assert!(outputs[0] == outputs[1]);
    let (record, vmlinux, _) = &outputs[0];
    let record: KernelRecord = serde_json::from_slice(record).unwrap();
    assert_eq!((record.version.as_str(), &vmlinux[..]), (VERSION, &b"\x7fELF and so on"[..]));
    let names: Vec<_> = record.modules.iter().map(|module| module.name.as_str()).collect();
    let before = |one: &str, two: &str| {
        let position = |name| names.iter().position(|known| *known == name).expect(name);
        position(one) < position(two)
    };
    assert!(
        before("virtio", "virtio_mmio")
            && before("virtio_ring", "virtio_blk")
            && before("libcrc32c", "erofs")
    );
    assert!(!names.contains(&"unwanted") && !names.contains(&"ext4"));
    assert_eq!(names.len(), 13);
    let later: Vec<_> = record.later.iter().map(|module| module.name.as_str()).collect();
    assert_eq!(later, ["zstd", "squashfs"]);

    let initramfs = folder.path().join("one/initramfs");
    let listed = run("sh", &["-c", &format!("cpio -it --quiet < {}", initramfs.display())]);
    let listed: Vec<_> = listed.lines().collect();
    for name in ["init", "dev/console", "proc", "sys", "bulkhead/modules.order", "bulkhead/modules/erofs.ko"]
    {
        assert!(listed.contains(&name), "{name} is missing in {listed:?}");
    }
    let words = "squashfs /bulkhead/modules/zstd.ko\nsquashfs /bulkhead/modules/squashfs.ko\n";
    let bytes = fs::read(initramfs).unwrap();
    assert!(bytes.windows(words.len()).any(|window| window == words.as_bytes()));
}

#[test]
fn a_kernel_without_modules_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_bulkhead-image");
    let kernel = folder.path().join("kernel").to_string_lossy().into_owned();
    let output = folder.path().join("out").to_string_lossy().into_owned();
    let arguments = ["--json", "kernel", "--vmlinux", &kernel, "--initd", program, "--output", &output];
    fs::write(&kernel, b"MZ").unwrap();
    assert!(refusal(&arguments, folder.path()).contains("is not an uncompressed Linux"));

    let mut elf = fs::read(program).unwrap();
    elf.extend(b"Linux version 6.1.192-bulkhead (bulkhead@bulkhead)");
    fs::write(&kernel, &elf).unwrap();
    let result = bulkhead_image(&arguments);
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
    let record: KernelRecord = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!((record.version.as_str(), record.modules.len()), ("6.1.192-bulkhead", 0));
    assert!(fs::read(folder.path().join("out/vmlinux")).unwrap() == elf);
}

#[test]
fn a_kernel_that_lacks_what_containers_need_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let report = |configuration: &str| {
        let file = folder.path().join("config");
        fs::write(&file, configuration).unwrap();
        let output = bulkhead_image(&["kernel", "--report", "--config", &file.to_string_lossy()]);
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (_, table) = report("");
    // What the table asks for is a configuration that has everything.
    let options =
        table.split_whitespace().zip(table.split_whitespace().skip(1)).filter(|(_, next)| *next == "is");
    let whole: Vec<_> = options.map(|(option, _)| format!("CONFIG_{option}=m\n")).collect();
    assert!(whole.len() > 40, "{table}");
    assert!(report(&whole.concat()).0);
    let lacking = whole.concat().replace("CONFIG_PID_NS=m", "# CONFIG_PID_NS is not set");
    let (fits, table) = report(&lacking);
    assert!(!fits && table.contains("MISSING  process namespaces          PID_NS is not set"), "{table}");

    let program = env!("CARGO_BIN_EXE_bulkhead-image");
    let output = folder.path().join("out").to_string_lossy().into_owned();
    let deb = package_with(folder.path(), MODULES, Some(&lacking));
    assert_eq!(
        refusal(&arguments(&deb.to_string_lossy(), program, &output), folder.path()),
        format!("The kernel {VERSION} lacks what containers need: process namespaces (CONFIG_PID_NS)")
    );
    let deb = package_with(folder.path(), MODULES, Some(&whole.concat()));
    assert!(bulkhead_image(&arguments(&deb.to_string_lossy(), program, &output)).status.success());
}

#[test]
fn packages_that_are_not_whole_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_bulkhead-image");
    let output = folder.path().join("out").to_string_lossy().into_owned();
    let refused =
        |deb: &Path, initd: &str| refusal(&arguments(&deb.to_string_lossy(), initd, &output), folder.path());

    let deb = package(folder.path(), MODULES);
    let text = refused(&deb, "/etc/passwd");
    assert_eq!(text, "/etc/passwd is not a 64-bit x86 ELF program of at most 64 MiB");
    assert!(refused(Path::new("/nonexistent"), program).contains("/nonexistent"));
    let bytes = fs::read(&deb).unwrap();
    for length in (0..bytes.len()).step_by(211) {
        fs::write(&deb, &bytes[..length]).unwrap();
        let text = refused(&deb, program);
        assert!(text.contains("is not a Debian package that dpkg-deb can read"), "{length}: {text}");
    }
    let deb = package(folder.path(), &MODULES[..11]);
    assert_eq!(
        refused(&deb, program),
        "The kernel has no module overlay (needed by every guest), nor is it built in"
    );
    let circle = [MODULES, &[("libcrc32c", "lib", "erofs")]].concat();
    let deb = package(folder.path(), &circle);
    assert!(refused(&deb, program).contains("depends on itself"));
}
