use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use super::*;

const MIB: u64 = 1 << 20;

/// A base, an overlay over it, and what the disk should be.
struct Disk {
    folder: tempfile::TempDir,
    model: Vec<u8>,
}

/// Marsaglia's xorshift: what goes wrong can be played again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What `qemu-img` prints, and its status.
fn qemu_img(arguments: &[&str]) -> (String, i32) {
    let output = Command::new("qemu-img").args(arguments).output().expect("qemu-img of qemu-utils");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.code().unwrap())
}

impl Disk {
    /// A base of `base` bytes, some of which are not zero, and an overlay of `size`.
    fn new(base: u64, size: u64, cluster: &str) -> Disk {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut model: Vec<u8> =
            (0..base).map(|at| if at / 50_000 % 2 == 0 { 0 } else { at as u8 | 1 }).collect();
        std::fs::write(folder.path().join("base"), &model).unwrap();
        model.resize(size as usize, 0);
        let disk = Disk { folder, model };
        let option = format!("cluster_size={cluster}");
        let (overlay, base) = (disk.path("overlay"), disk.path("base"));
        let (text, status) = qemu_img(&[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            &base,
            "-F",
            "raw",
            "-o",
            &option,
            &overlay,
            &size.to_string(),
        ]);
        assert_eq!(status, 0, "{text}");
        disk
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn try_open(&self, durable: bool) -> Result<Overlay, DriveError> {
        Overlay::open(Path::new(&self.path("overlay")), Path::new(&self.path("base")), false, durable)
    }

    fn open(&self, durable: bool) -> Overlay {
        self.try_open(durable).unwrap()
    }

    /// Why it does not open, in a sentence and its cause.
    fn refusal(&self) -> String {
        let error = self.try_open(true).map(|_| "it opens").unwrap_err();
        format!("{error}: {}", std::error::Error::source(&error).unwrap())
    }

    fn write(&mut self, overlay: &Overlay, offset: u64, bytes: &[u8]) {
        write(overlay, offset, bytes).unwrap();
        self.model[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn zero(&mut self, overlay: &Overlay, offset: u64, length: u64, unmap: bool) {
        overlay.zero(offset, length, unmap).unwrap();
        self.model[offset as usize..][..length as usize].fill(0);
    }

    /// What QEMU's own program thinks of the file; `status` is 0 when nothing is wrong, 3 when clusters are lost.
    fn check(&self, status: &[i32]) {
        let (text, got) = qemu_img(&["check", &self.path("overlay")]);
        assert!(status.contains(&got), "{got}: {text}");
    }

    /// Compares what QEMU reads, and what we read, with what was written.
    fn compare(&self) {
        let (text, status) =
            qemu_img(&["convert", "-O", "raw", &self.path("overlay"), &self.path("converted")]);
        assert_eq!(status, 0, "{text}");
        assert!(std::fs::read(self.path("converted")).unwrap() == self.model, "QEMU reads something else");
        assert!(read(&self.open(false), 0, self.model.len() as u64).unwrap() == self.model);
    }
}

fn read(overlay: &Overlay, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0xcc; length as usize];
    overlay.read(offset, length, &mut Bytes(&mut bytes)).map(|()| bytes)
}

fn write(overlay: &Overlay, offset: u64, bytes: &[u8]) -> io::Result<()> {
    overlay.write(offset, bytes.len() as u64, &mut Bytes(&mut bytes.to_vec()))
}

#[test]
fn qemu_reads_what_was_written_and_we_what_qemu_wrote() {
    let mut disk = Disk::new(5 * MIB + 512, 9 * MIB + 1024, "64k");
    let base = std::fs::read(disk.path("base")).unwrap();
    let overlay = disk.open(true);
    assert!(read(&overlay, 0, overlay.size()).unwrap() == disk.model);
    disk.write(&overlay, 4096, &[1; 512]);
    disk.write(&overlay, 65536 - 512, &[2; 300 << 10]);
    // The end of the base, and of the disk.
    disk.write(&overlay, 5 * MIB, &[3; 1024]);
    disk.write(&overlay, 9 * MIB, &[4; 1024]);
    overlay.flush().unwrap();
    disk.check(&[0]);
    drop(overlay);
    disk.compare();
    let command = "write -P 9 1M 200k";
    let status = Command::new("qemu-io").args(["-f", "qcow2", "-c", command, &disk.path("overlay")]).output();
    assert!(status.unwrap().status.success());
    disk.model[MIB as usize..][..200 << 10].fill(9);
    disk.compare();
    assert!(std::fs::read(disk.path("base")).unwrap() == base, "the base has changed");
    let (info, _) = qemu_img(&["info", &disk.path("overlay")]);
    assert!(info.contains("backing file format: raw") && info.contains("corrupt: false"), "{info}");
}

#[test]
fn anything_in_any_order_is_what_a_plain_disk_would_have() {
    for (cluster, durable, seed) in [("4k", true, 1), ("4k", false, 2), ("64k", true, 3), ("2M", false, 4)] {
        let mut disk = Disk::new(3 * MIB + 512, 20 * MIB, cluster);
        let mut chance = Chance(seed);
        let mut overlay = disk.open(durable);
        for step in 0..250 {
            let offset = chance.below(disk.model.len() as u64 / 512) * 512;
            let most = (disk.model.len() as u64 - offset).min(1 << (9 + chance.below(12)));
            let length = (1 + chance.below(most / 512)) * 512;
            match chance.below(12) {
                0..5 => disk.write(&overlay, offset, &vec![step as u8 | 1; length as usize]),
                5 | 6 => disk.zero(&overlay, offset, length, step % 2 == 0),
                7 => {
                    overlay.discard(offset, length).unwrap();
                    // What it is now is open, but it has to stay so.
                    let now = read(&overlay, offset, length).unwrap();
                    disk.model[offset as usize..][..length as usize].copy_from_slice(&now);
                }
                8 => {
                    overlay.flush().unwrap();
                    disk.check(&[0]);
                }
                9 if step % 7 == 0 => {
                    drop(overlay);
                    disk.check(&[0]);
                    overlay = disk.open(durable);
                }
                _ => {
                    let range = offset as usize..(offset + length) as usize;
                    assert!(read(&overlay, offset, length).unwrap() == disk.model[range], "step {step}");
                    disk.check(&[0, 3]);
                }
            }
        }
        drop(overlay);
        disk.check(&[0]);
        disk.compare();
    }
}

#[test]
fn discarded_and_zeroed_clusters_give_their_room_back_and_are_used_again() {
    let mut disk = Disk::new(16 * MIB, 16 * MIB, "64k");
    let overlay = disk.open(true);
    let room = |disk: &Disk| std::fs::metadata(disk.path("overlay")).unwrap().blocks() * 512;
    disk.write(&overlay, 0, &vec![1; 8 * MIB as usize]);
    overlay.flush().unwrap();
    let (full, length) = (room(&disk), std::fs::metadata(disk.path("overlay")).unwrap().len());
    assert!(full >= 8 * MIB);
    overlay.discard(0, 4 * MIB).unwrap();
    disk.zero(&overlay, 4 * MIB, 4 * MIB, true);
    disk.model[..4 * MIB as usize].fill(0);
    assert_eq!(room(&disk), full, "given back before it was flushed");
    overlay.flush().unwrap();
    assert!(room(&disk) <= full - 8 * MIB, "{}", room(&disk));
    disk.write(&overlay, 8 * MIB, &vec![2; 8 * MIB as usize]);
    overlay.flush().unwrap();
    assert_eq!(std::fs::metadata(disk.path("overlay")).unwrap().len(), length);
    drop(overlay);
    disk.check(&[0]);
    disk.compare();
}

#[test]
fn the_file_grows_beyond_one_block_of_counts() {
    // A block of 4 KiB counts 2048 clusters: 8 MiB.
    let mut disk = Disk::new(MIB, 40 * MIB, "4k");
    let overlay = disk.open(true);
    for part in 0..5 {
        disk.write(&overlay, part * 7 * MIB, &vec![part as u8 + 1; 7 * MIB as usize]);
    }
    drop(overlay);
    disk.check(&[0]);
    disk.compare();
}

#[test]
fn a_full_host_fails_the_write_and_nothing_else() {
    let mut disk = Disk::new(4 * MIB, 64 * MIB, "64k");
    // A file that must not grow: what a file system that is full does, without one.
    let overlay = disk.open(true);
    disk.write(&overlay, 0, &[5; 4096]);
    overlay.flush().unwrap();
    let full = Full { bytes: 256 << 10 };
    let mut failed = 0;
    for index in 0..16 {
        let offset = index * MIB;
        let outcome = overlay.write(offset, MIB, &mut Full { ..full });
        failed += u64::from(outcome.is_err());
    }
    assert_eq!(failed, 16);
    overlay.flush().unwrap();
    // What failed may be there in part; what was there before is.
    assert!(read(&overlay, 8192, 4096).is_ok());
    for offset in (0..64 * MIB).step_by(MIB as usize) {
        disk.write(&overlay, offset, &vec![7; MIB as usize]);
    }
    drop(overlay);
    disk.check(&[0]);
    disk.compare();
}

/// Data of which the host takes some only.
#[derive(Clone, Copy)]
struct Full {
    bytes: u64,
}

impl Transfer for Full {
    fn read(&mut self, _: &File, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn zeros(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn write(&mut self, file: &File, offset: u64, count: u64) -> io::Result<()> {
        super::super::space::write_zeros(file, offset, count.min(self.bytes))?;
        self.bytes = self.bytes.saturating_sub(count);
        if self.bytes == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[test]
fn a_header_that_disagrees_is_refused_with_one_sentence() {
    let disk = Disk::new(MIB, MIB, "64k");
    let whole = std::fs::read(disk.path("overlay")).unwrap();
    let mut at = 0;
    let mut changed = |offset: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        std::fs::write(disk.path("overlay"), file).unwrap();
        at += 1;
        disk.refusal()
    };
    let path = disk.path("overlay");
    let expected = |cause: &str| format!("Cannot use {path} as an overlay: {cause}");
    assert_eq!(changed(0, b"RAW!"), expected("It is no qcow2 file"));
    assert_eq!(changed(4, &[0, 0, 0, 2]), expected("It has version 2 of qcow2, and not 3"));
    assert_eq!(changed(79, &[1]), expected("It has the mark of a file that was not closed"));
    assert_eq!(changed(79, &[4]), expected("It has an external data file"));
    assert_eq!(changed(72, &[0x80]), expected("It has an unknown feature"));
    assert_eq!(changed(35, &[2]), expected("It has encryption"));
    assert_eq!(changed(63, &[1]), expected("It has snapshots of its own"));
    assert_eq!(changed(99, &[6]), expected("It has reference counts of other than 16 bits"));
    assert_eq!(changed(8, &[0; 8]), expected("It has no backing file"));
    assert_eq!(changed(23, &[40]), expected("Its size of clusters is not one of an overlay"));
    assert_eq!(changed(16, &[9]), expected("Its name of a backing file is not one of an overlay"));
    assert_eq!(changed(40, &[9]), expected("Its first table is not one of an overlay"));
    assert_eq!(changed(48, &[9]), expected("Its table of reference counts is not one of an overlay"));
    assert_eq!(changed(103, &[9]), expected("Its header is not one of an overlay"));
    let refusal = changed(24, &512u64.to_be_bytes());
    assert_eq!(refusal, expected("Its disk has 512 bytes, and its backing file 1048576"));
    let format = whole.windows(3).position(|bytes| bytes == b"raw").unwrap();
    let refusal = changed(format, b"vmd");
    assert_eq!(refusal, expected("The format of its backing file is \"vmd\", and not raw"));
    let refusal = changed(format - 8, &[0; 4]);
    assert_eq!(refusal, expected("It does not name the format of its backing file, which is raw"));
    let name = whole.windows(9).position(|bytes| bytes == b"/dev/shm/").unwrap();
    let refusal = changed(name, b"/etc/shad");
    assert!(refusal.contains("Its backing file is \"/etc/shad"), "{refusal}");
    assert!(at > 10);
}

#[test]
fn the_base_is_raw_whatever_is_in_it_and_a_relative_name_is_beside_the_overlay() {
    let disk = Disk::new(MIB, MIB, "64k");
    // A guest that had the base before wrote a header of its own, which names another file.
    let header = std::fs::read(disk.path("overlay")).unwrap();
    std::fs::write(disk.path("base"), [&header[..], &[0; 512]].concat()).unwrap();
    std::fs::remove_file(disk.path("overlay")).unwrap();
    let create = ["create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", &disk.path("overlay")];
    assert_eq!(qemu_img(&create).1, 0);
    let overlay = disk.open(false);
    assert!(read(&overlay, 0, header.len() as u64).unwrap() == header);
    drop(overlay);
    let folder = disk.folder.path().file_name().unwrap().to_str().unwrap();
    let rebase = ["rebase", "-u", "-b", &format!("../{folder}/./base"), "-F", "raw", &disk.path("overlay")];
    assert_eq!(qemu_img(&rebase).1, 0);
    disk.open(false);
}

#[test]
fn an_overlay_is_written_by_one_at_a_time() {
    let disk = Disk::new(MIB, MIB, "64k");
    let overlay = disk.open(true);
    assert!(disk.refusal().ends_with("It is in use"));
    drop(overlay);
    let path = disk.path("overlay");
    let open = || Overlay::open(Path::new(&path), Path::new(&disk.path("base")), true, true).unwrap();
    let (first, second) = (open(), open());
    assert!(disk.refusal().ends_with("It is in use"));
    assert_eq!(read(&first, 0, 512).unwrap(), read(&second, 0, 512).unwrap());
    assert!(write(&first, 0, &[1; 512]).is_err());
    assert!(first.discard(0, 512).is_err() && first.zero(0, 512, true).is_err());
    first.flush().unwrap();
}

#[test]
fn requests_beyond_the_disk_are_refused() {
    let disk = Disk::new(MIB, MIB, "64k");
    let overlay = disk.open(true);
    for (offset, length) in [(MIB, 512), (u64::MAX, 512), (512, u64::MAX), (MIB - 512, 1024)] {
        assert!(overlay.read(offset, length, &mut Zeros).is_err());
        assert!(overlay.write(offset, length, &mut Zeros).is_err());
        assert!(overlay.discard(offset, length).is_err() && overlay.zero(offset, length, true).is_err());
    }
}

/// Everything that a file can say, said wrongly: each answer is an error or some bytes, in bounded time, and
/// what is not the overlay's own stays as it was.
#[test]
fn a_hostile_file_breaks_nothing() {
    let mut disk = Disk::new(2 * MIB, 8 * MIB, "4k");
    let overlay = disk.open(false);
    for index in 0..200 {
        disk.write(&overlay, index * 37 * 1024 / 512 * 512, &[index as u8; 3072]);
    }
    drop(overlay);
    let whole = std::fs::read(disk.path("overlay")).unwrap();
    let base = std::fs::read(disk.path("base")).unwrap();
    let number = |at: usize| u64::from_be_bytes(whole[at..at + 8].try_into().unwrap()) as usize;
    let (l1, refcounts) = (number(40), number(48));
    let l2 = number(l1) & 0xff_ffff_fe00;
    let block = number(refcounts);
    let mut chance = Chance(77);
    let mut opened = 0;
    for _ in 0..1500 {
        let mut file = whole.clone();
        for _ in 0..=chance.below(6) {
            let place = match chance.below(6) {
                0 => chance.below(112) as usize,
                1 => l1 + chance.below(32) as usize,
                2 => refcounts + chance.below(32) as usize,
                3 => block + chance.below(4096) as usize,
                4 => l2 + chance.below(4096) as usize,
                _ => chance.below(file.len() as u64) as usize,
            };
            let targets = [0, 0x1000, l1, refcounts, block, l2, file.len(), usize::MAX >> 9 << 9, 1 << 55];
            let target = targets[chance.below(9) as usize] as u64;
            match chance.below(3) {
                0 => file[place] ^= 1 << chance.below(8),
                1 => file[place] = chance.below(256) as u8,
                // An entry that leads to a place where it must not.
                _ => file[place & !7..][..8].copy_from_slice(&(target | chance.below(2) << 63).to_be_bytes()),
            }
        }
        file.truncate(
            file.len() - if chance.below(8) == 0 { chance.below(file.len() as u64) as usize } else { 0 },
        );
        std::fs::write(disk.path("overlay"), file).unwrap();
        let Ok(overlay) = disk.try_open(chance.below(2) == 0) else { continue };
        opened += 1;
        for _ in 0..12 {
            let offset = chance.below(overlay.size().min(8 * MIB) / 512 - 8) * 512;
            let _ = match chance.below(5) {
                0 | 1 => read(&overlay, offset, 4096).map(drop),
                2 => write(&overlay, offset, &[9; 4096]),
                3 => overlay.discard(offset, (8 * MIB).min(overlay.size() - offset)),
                _ => overlay.zero(offset, 4096, true).map(drop),
            };
        }
        let _ = overlay.flush();
    }
    assert!(opened > 300, "{opened}");
    assert!(std::fs::read(disk.path("base")).unwrap() == base);
    let room = std::fs::metadata(disk.path("overlay")).unwrap().len();
    assert!(room < 64 * MIB, "{room}");
}

/// Pages of a disk that is written by a process which will be killed.
const PAGES: u64 = 4096;
const PAGE: u64 = 4096;

/// The page that the `step`th write goes to.
fn page(step: u64) -> u64 {
    step.wrapping_mul(0x9e37_79b9_7f4a_7c15) % PAGES
}

/// Writes for ever, flushes now and then and says so.
fn write_on(folder: &Path, last: u64) {
    let [overlay, base] = ["overlay", "base"].map(|name| folder.join(name));
    let overlay = Overlay::open(&overlay, &base, false, true).unwrap();
    let mut out = io::stdout();
    for step in 1..last {
        match step % 16 {
            0 => {
                overlay.flush().unwrap();
                writeln!(out, "flushed {step}").unwrap();
            }
            5 => overlay.discard(page(step) * PAGE, 64.min(PAGES - page(step)) * PAGE).unwrap(),
            _ => write(&overlay, page(step) * PAGE, &step.to_be_bytes().repeat(512)).unwrap(),
        }
    }
}

/// By itself a disk like any other; in a folder that another test names, the process that is killed.
#[test]
fn writes_until_killed() {
    if let Ok(folder) = std::env::var("OVERLAY") {
        return write_on(Path::new(&folder), u64::MAX);
    }
    let disk = Disk::new(PAGES * PAGE, PAGES * PAGE, "64k");
    write_on(disk.folder.path(), 333);
    disk.check(&[0]);
}

#[test]
fn a_killed_process_loses_nothing_that_was_flushed() {
    for round in 0..12 {
        let disk = Disk::new(PAGES * PAGE, PAGES * PAGE, ["4k", "64k"][round % 2]);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "drive::qcow2::tests::writes_until_killed"])
            .env("OVERLAY", disk.folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let flushed = |line: String| line.split("flushed ").nth(1).map(|step| step.parse::<u64>().unwrap());
        lines.by_ref().filter(|line| line.contains("flushed")).nth(3 + 40 * round).unwrap();
        std::thread::sleep(std::time::Duration::from_micros(137 * round as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        let flushed = lines.filter_map(flushed).last().unwrap_or(16 * (4 + 40 * round as u64));
        disk.check(&[0, 3]);
        let overlay = disk.open(true);
        let mut last = vec![0; PAGES as usize];
        let discards = |step: u64| page(step)..(page(step) + 64).min(PAGES);
        for step in (1..=flushed).filter(|step| step % 16 != 0) {
            if step % 16 == 5 {
                discards(step).for_each(|page| last[page as usize] = 0);
            } else {
                last[page(step) as usize] = step;
            }
        }
        // What came later may be there or not.
        for step in flushed + 1..flushed + 32 {
            if step % 16 == 5 {
                discards(step).for_each(|page| last[page as usize] = 0);
            }
        }
        for (page, &step) in (0u64..).zip(&last).filter(|&(_, &step)| step != 0) {
            let bytes = read(&overlay, page * PAGE, 8).unwrap();
            let found = u64::from_be_bytes(bytes.try_into().unwrap());
            assert!(found >= step, "page {page} has {found} and not {step}, in round {round}");
        }
        drop(overlay);
    }
}
