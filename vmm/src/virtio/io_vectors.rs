//! Vectored system calls straight from and to guest memory.

#![allow(unsafe_code, reason = "preadv and its relatives write to guest memory through raw addresses")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use vm_memory::bitmap::Bitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::span::{NoMemory, Span};
use crate::memory::GuestMemory;

/// The most vectors that one system call takes (`IOV_MAX`).
pub const VECTORS_MAX: usize = 1024;
static ZEROS: [u8; 4096] = [0; 4096];

/// The host addresses of spans, to be reused from request to request.
pub struct IoVectors {
    /// Keeps mapped what the vectors point to.
    memory: GuestMemory,
    /// Every entry lies within `memory`: only `fill` adds entries, and system calls get no others.
    vectors: Vec<libc::iovec>,
    /// The same in the guest's addresses, to mark what was written.
    pieces: Vec<(GuestAddress, usize)>,
}

// SAFETY: the pointers are to mapped guest memory, which lives as long as `memory` here and belongs to no thread.
unsafe impl Send for IoVectors {}

impl IoVectors {
    /// None yet.
    pub fn new(memory: GuestMemory) -> IoVectors {
        IoVectors { memory, vectors: Vec::new(), pieces: Vec::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.vectors.len()
    }

    /// Forgets what was filled in.
    pub fn clear(&mut self) {
        self.vectors.clear();
        self.pieces.clear();
    }

    /// Forgets the first `count` vectors.
    pub fn drop_front(&mut self, count: usize) {
        let count = count.min(self.vectors.len());
        self.vectors.drain(..count);
        self.pieces.drain(..count);
    }

    /// Forgets the first `count` bytes.
    pub fn consume(&mut self, mut count: usize) {
        let mut whole = 0;
        for (vector, (address, length)) in self.vectors.iter_mut().zip(&mut self.pieces) {
            if count < vector.iov_len {
                vector.iov_base = vector.iov_base.cast::<u8>().wrapping_add(count).cast();
                vector.iov_len -= count;
                *address = GuestAddress(address.0.wrapping_add(count as u64));
                *length -= count;
                break;
            }
            count -= vector.iov_len;
            whole += 1;
        }
        self.drop_front(whole);
    }

    /// The vectors for a system call that is carried out later: the pointer holds until they are changed,
    /// moved or dropped. At most [`VECTORS_MAX`] of them.
    pub fn raw(&self) -> (*const libc::iovec, u32) {
        (self.vectors.as_ptr(), self.vectors.len().min(VECTORS_MAX) as u32)
    }

    /// Adds the bytes of `span` behind what is there.
    pub fn fill(&mut self, span: Span<'_>) -> Result<(), NoMemory> {
        for piece in span.pieces() {
            let mut address = piece.address;
            for slice in self.memory.get_slices(piece.address, piece.length as usize) {
                let slice = slice.map_err(|_| NoMemory)?;
                let base = slice.ptr_guard_mut().as_ptr().cast();
                self.vectors.push(libc::iovec { iov_base: base, iov_len: slice.len() });
                self.pieces.push((address, slice.len()));
                address = GuestAddress(address.0.wrapping_add(slice.len() as u64));
            }
        }
        Ok(())
    }

    /// Reads `file` at `offset` until the vectors are full. Ends early, with an error, at the end of the file.
    pub fn read_exact_at(&mut self, file: &File, offset: u64) -> io::Result<()> {
        self.transfer(offset, |vectors, offset| {
            // SAFETY: the vectors point to mapped guest memory (see the field); the kernel writes there as a
            // device would, and nothing in this process holds references into guest memory.
            unsafe { libc::preadv(file.as_raw_fd(), vectors.as_ptr(), count(vectors), offset) }
        })?;
        self.mark_written(usize::MAX);
        Ok(())
    }

    /// Writes the vectors' bytes to `file` at `offset`, all of them.
    pub fn write_all_at(&mut self, file: &File, offset: u64) -> io::Result<()> {
        self.transfer(offset, |vectors, offset| {
            // SAFETY: the vectors point to mapped guest memory (see the field), which the kernel only reads.
            unsafe { libc::pwritev(file.as_raw_fd(), vectors.as_ptr(), count(vectors), offset) }
        })
    }

    /// One `readv`: a packet, or what a stream has.
    pub fn read(&mut self, file: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: as in `read_exact_at`.
        let read = unsafe { libc::readv(file.as_raw_fd(), self.vectors.as_ptr(), count(&self.vectors)) };
        let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
        self.mark_written(read);
        Ok(read)
    }

    /// Copies `bytes` into the vectors' memory, `offset` bytes from its start, as far as that goes.
    pub fn copy_from(&mut self, bytes: &[u8], mut offset: usize) -> Result<(), NoMemory> {
        let mut rest = bytes;
        for &(address, length) in &self.pieces {
            let skip = offset.min(length);
            offset -= skip;
            let (now, later) = rest.split_at((length - skip).min(rest.len()));
            self.memory
                .write_slice(now, GuestAddress(address.0.wrapping_add(skip as u64)))
                .map_err(|_| NoMemory)?;
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Makes the vectors' memory zero.
    pub fn fill_zeros(&self) -> Result<(), NoMemory> {
        for &(address, length) in &self.pieces {
            for done in (0..length).step_by(ZEROS.len()) {
                let zeros = ZEROS.get(..length - done).unwrap_or(&ZEROS);
                let address = GuestAddress(address.0.wrapping_add(done as u64));
                self.memory.write_slice(zeros, address).map_err(|_| NoMemory)?;
            }
        }
        Ok(())
    }

    /// One `writev`: a packet, or what a stream takes.
    pub fn write(&self, file: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: as in `write_all_at`.
        let written = unsafe { libc::writev(file.as_raw_fd(), self.vectors.as_ptr(), count(&self.vectors)) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    /// Calls `call` until it has moved every byte; uses the vectors up.
    fn transfer(
        &mut self,
        offset: u64,
        mut call: impl FnMut(&[libc::iovec], libc::off_t) -> isize,
    ) -> io::Result<()> {
        let mut vectors = self.vectors.as_mut_slice();
        let mut offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        while !vectors.is_empty() {
            let Ok(moved) = usize::try_from(call(vectors, offset)) else {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            };
            if moved == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            offset = offset.checked_add_unsigned(moved as u64).ok_or(io::ErrorKind::InvalidInput)?;
            vectors = advance(vectors, moved);
        }
        Ok(())
    }

    /// Tells the dirty log that the first `count` bytes of the vectors' memory changed.
    pub fn mark_written(&self, count: usize) {
        let mut left = count;
        for &(address, length) in &self.pieces {
            let length = length.min(left);
            for slice in self.memory.get_slices(address, length).flatten() {
                slice.bitmap().mark_dirty(0, slice.len());
            }
            left -= length;
            if left == 0 {
                return;
            }
        }
    }
}

/// How many of the vectors the kernel is given.
fn count(vectors: &[libc::iovec]) -> libc::c_int {
    vectors.len().min(VECTORS_MAX) as libc::c_int
}

/// Drops the first `count` bytes of `vectors`.
fn advance(mut vectors: &mut [libc::iovec], mut count: usize) -> &mut [libc::iovec] {
    while let Some(first) = vectors.first_mut() {
        if count < first.iov_len {
            first.iov_base = first.iov_base.cast::<u8>().wrapping_add(count).cast();
            first.iov_len -= count;
            break;
        }
        count -= first.iov_len;
        vectors = &mut vectors[1..];
    }
    vectors
}
