#![allow(unsafe_code, reason = "queues requests on the memory of a test")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use super::*;

const PAGE: usize = 4096;

/// Pages of memory with the vector that names each.
struct Pages {
    pages: Vec<Vec<u8>>,
    vectors: Vec<libc::iovec>,
}

impl Pages {
    fn new(count: usize) -> Pages {
        let mut pages = vec![vec![0; PAGE]; count];
        let vectors =
            pages.iter_mut().map(|page| libc::iovec { iov_base: page.as_mut_ptr().cast(), iov_len: PAGE });
        let vectors = vectors.collect();
        Pages { pages, vectors }
    }

    fn read(&self, page: usize, at: u64) -> Command {
        Command::Read { vectors: (&raw const self.vectors[page], 1), offset: at * PAGE as u64 }
    }

    fn write(&self, page: usize, at: u64) -> Command {
        Command::Write { vectors: (&raw const self.vectors[page], 1), offset: at * PAGE as u64 }
    }
}

fn batches() -> [Batch; 2] {
    [Batch::new(), Batch::refused()]
}

/// Carries commands out together; gives what landed, in that order.
fn carry_out(batch: &mut Batch, file: &File, commands: &[Command]) -> Vec<(u64, i32)> {
    for (token, command) in (0..).zip(commands) {
        // SAFETY: files and pages of a test live until its end.
        assert!(unsafe { batch.push(file.as_raw_fd(), command, token) });
    }
    batch.submit();
    assert!(!batch.queued());
    std::iter::from_fn(|| batch.next()).collect()
}

#[test]
fn what_is_queued_is_carried_out_together_and_told_once() {
    for mut batch in batches() {
        let file = tempfile::tempfile().unwrap();
        let mut pages = Pages::new(Batch::ENTRIES);
        for round in 1..=20_u8 {
            pages.pages.iter_mut().enumerate().for_each(|(at, page)| page.fill(round ^ at as u8));
            let writes: Vec<_> = (0..Batch::ENTRIES).map(|page| pages.write(page, page as u64)).collect();
            let landed = carry_out(&mut batch, &file, &writes);
            let expected: Vec<_> = (0..Batch::ENTRIES as u64).map(|token| (token, PAGE as i32)).collect();
            assert_eq!(landed, expected);
            pages.pages.iter_mut().for_each(|page| page.fill(0));
            let reads: Vec<_> = (0..Batch::ENTRIES).map(|page| pages.read(page, 63 - page as u64)).collect();
            assert_eq!(carry_out(&mut batch, &file, &reads).len(), Batch::ENTRIES);
            assert!(
                pages.pages.iter().enumerate().all(|(at, page)| *page == [round ^ (63 - at as u8); PAGE])
            );
        }
        // SAFETY: as above; it is never carried out.
        let more = |batch: &mut Batch| unsafe { batch.push(file.as_raw_fd(), &pages.read(0, 0), 7) };
        assert_eq!((0..70).filter(|_| more(&mut batch)).count(), Batch::ENTRIES);
    }
}

#[test]
fn a_command_that_fails_or_falls_short_holds_up_none() {
    for mut batch in batches() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[9; PAGE + 100], 0).unwrap();
        let pages = Pages::new(6);
        let mut nowhere = pages.read(1, 0);
        if let Command::Read { offset, .. } = &mut nowhere {
            *offset = u64::MAX;
        }
        let mut bad = pages.read(2, 0);
        if let Command::Read { vectors, .. } = &mut bad {
            *vectors = (std::ptr::null(), 1);
        }
        let commands = [
            pages.read(0, 0),
            nowhere,
            bad,
            Command::Flush,
            pages.read(3, 1),
            pages.read(4, 2),
            pages.write(5, 3),
        ];
        let landed = carry_out(&mut batch, &file, &commands);
        let results: Vec<_> = landed.iter().map(|(_, result)| *result).collect();
        assert_eq!(landed.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(results, [4096, -libc::EINVAL, -libc::EFAULT, 0, 100, 0, 4096]);
    }
}

#[test]
fn a_context_is_made_for_the_first_two_that_wait_together() {
    let (mut batch, file, pages) = (Batch::new(), tempfile::tempfile().unwrap(), Pages::new(2));
    carry_out(&mut batch, &file, &[pages.write(0, 0)]);
    carry_out(&mut batch, &file, &[pages.write(0, 0), Command::Flush, pages.read(1, 0)]);
    assert!(batch.context.is_none());
    carry_out(&mut batch, &file, &[pages.write(0, 0), pages.read(1, 0)]);
    assert!(batch.context.is_some(), "this host has no io_submit");
    assert!(batch.wait().is_err(), "there is nothing to wait for");
}
