//! What both halves of the bench agree on.

use serde::{Deserialize, Serialize};

use super::super::guest::Guest;
use super::super::subject::Subject;

/// What the guest's first process prints when it can be told what to do, and when it has done that.
pub const UP: &str = "bench: up";
/// See [`UP`].
pub const DONE: &str = "bench: done";
/// The drive that is measured, in the lab.
pub const DISK: &str = "/run/bench/disk";
/// How large it is, in MiB.
pub const DISK_MIB: u32 = 64;

/// What the runner does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Who is measured, each with its guest.
    pub subjects: Vec<(Subject, Guest)>,
    /// How much they have to do: requests of 4 KiB at depth 32; others in proportion.
    pub requests: u32,
}

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// What it is called.
    pub name: &'static str,
    /// What fio calls it.
    pub pattern: &'static str,
    /// Bytes a request.
    pub size: u32,
    /// How many requests are under way at a time.
    pub depth: u32,
}

const fn job(name: &'static str, pattern: &'static str, size: u32, depth: u32) -> Job {
    Job { name, pattern, size, depth }
}

/// The loads, in their order.
pub const JOBS: [Job; 6] = [
    job("4 KiB random read, depth 1", "randread", 4 << 10, 1),
    job("4 KiB random write, depth 1", "randwrite", 4 << 10, 1),
    job("4 KiB random read, depth 32", "randread", 4 << 10, 32),
    job("4 KiB random write, depth 32", "randwrite", 4 << 10, 32),
    job("1 MiB sequential read, depth 4", "read", 1 << 20, 4),
    job("1 MiB sequential write, depth 4", "write", 1 << 20, 4),
];

impl Job {
    /// How many requests it makes when there are `most` of the smallest at the largest depth.
    pub fn requests(&self, most: u32) -> u32 {
        match (self.size, self.depth) {
            (4096, 32) => most,
            (4096, _) => most / 2,
            _ => most / 32,
        }
    }

    /// The words for the guest's shell.
    pub fn command(&self, requests: u32) -> String {
        let bytes = u64::from(requests) * u64::from(self.size);
        format!(
            "chroot /mnt /usr/bin/fio --name=job --filename=/dev/vdb --direct=1 --ioengine=libaio --thread=1 --rw={} \
             --bs={} --iodepth={} --norandommap=1 --size={DISK_MIB}m --io_size={bytes} --aux-path=/tmp --minimal \
             --terse-version=3 >/mnt/tmp/out 2>&1; tail -n 1 /mnt/tmp/out",
            self.pattern, self.size, self.depth
        )
    }
}

/// The guest's first process: inserts drivers, mounts the tools' drive and does what it is told.
pub fn init_script() -> String {
    format!(
        "#!/bin/busybox sh\n\
         export PATH=/bin\n\
         b=/bin/busybox\n\
         $b mkdir -p /proc /sys /dev /mnt\n\
         $b mount -t devtmpfs dev /dev\n\
         $b mount -t proc proc /proc\n\
         $b mount -t sysfs sys /sys\n\
         for m in virtio_ring virtio virtio_mmio virtio_blk libcrc32c erofs; do\n\
         $b insmod /bulkhead/modules/$m.ko\n\
         done\n\
         $b mount -t erofs -o ro /dev/vda /mnt\n\
         for d in dev proc sys; do $b mount --bind /$d /mnt/$d; done\n\
         $b mount -t tmpfs tmp /mnt/tmp\n\
         $b stty -echo\n\
         echo '{UP}'\n\
         while read line; do\n\
         [ \"$line\" = poweroff ] && $b poweroff -f\n\
         eval \"$line\"\n\
         echo '{DONE}'\n\
         done\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_name_what_they_do() {
        let words = JOBS[2].command(JOBS[2].requests(4000));
        for word in ["--rw=randread", "--bs=4096", "--iodepth=32", "--io_size=16384000"] {
            assert!(words.contains(word), "{words}");
        }
        assert_eq!(JOBS.map(|job| job.requests(4000)), [2000, 2000, 4000, 4000, 125, 125]);
    }
}
