//! Reads and writes that are carried out together by one system call, and have ended when it returns: Linux's
//! `io_submit` on a file that is read and written through the host's cache. One alone is a `preadv` or `pwritev`.
//! Hosts that refuse `io_uring` know it, and what it does not take is done one by one.

#![allow(unsafe_code, reason = "requests name memory by its address, which must outlive them")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use super::engine::Command;

/// Linux's `linux/aio_abi.h`.
const IOCB_CMD_PREADV: u16 = 7;
const IOCB_CMD_PWRITEV: u16 = 8;
/// What the head of a ring of completions that may be read without a call has as its fifth word.
const RING_MAGIC: u32 = 0xa10a_10a1;

/// `struct iocb`, little-endian.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct ControlBlock {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event: u32,
}

/// `struct io_event`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Completion {
    data: u64,
    block: u64,
    result: i64,
    result2: i64,
}

/// The head of the ring of completions: the kernel moves the tail, who takes moves the head.
#[repr(C)]
struct RingHead {
    id: u32,
    length: u32,
    head: AtomicU32,
    tail: AtomicU32,
    magic: u32,
    compatible: u32,
    incompatible: u32,
    size: u32,
}

/// An asynchronous I/O context of the kernel's. Its number is the address of its ring.
struct Context(u64);

/// What is queued, and what has ended and was not taken yet.
pub struct Batch {
    queue: Vec<(RawFd, Command, u64)>,
    landed: VecDeque<(u64, i32)>,
    blocks: Vec<ControlBlock>,
    context: Option<Context>,
    /// The host has none to give.
    refused: bool,
}

// SAFETY: the pointers in the queue are to memory that the caller of `push` keeps, whichever thread goes on.
unsafe impl Send for Batch {}

impl Batch {
    /// How many requests are carried out together: more would only keep the first of them waiting.
    pub const ENTRIES: usize = 64;
    /// How many bytes likewise.
    pub const PORTION: u64 = 2 << 20;

    /// Nothing queued.
    pub fn new() -> Batch {
        Batch {
            queue: Vec::new(),
            landed: VecDeque::new(),
            blocks: Vec::new(),
            context: None,
            refused: false,
        }
    }

    /// One that does everything one by one, as on a host that refuses a context.
    #[cfg(test)]
    pub fn refused() -> Batch {
        Batch { refused: true, ..Batch::new() }
    }

    /// As [`super::engine::Engine::push`].
    ///
    /// # Safety
    /// As there.
    pub unsafe fn push(&mut self, file: RawFd, command: &Command, token: u64) -> bool {
        let room = self.queue.len() < Batch::ENTRIES;
        if room {
            self.queue.push((file, *command, token));
        }
        room
    }

    /// Whether something is queued.
    pub fn queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// As [`super::engine::Engine::wait`]; fails when there is nothing to wait for.
    pub fn wait(&mut self) -> io::Result<()> {
        self.submit();
        if self.landed.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }

    /// Carries out what is queued, in its order.
    pub fn submit(&mut self) {
        let mut queue = std::mem::take(&mut self.queue);
        let mut rest = queue.as_slice();
        while let Some(&(file, command, token)) = rest.first() {
            let run = rest.iter().take_while(|(_, command, _)| !matches!(command, Command::Flush)).count();
            let taken = if run > 1 { self.together(rest.get(..run).unwrap_or_default()) } else { 0 };
            if taken == 0 {
                self.landed.push_back((token, alone(file, command)));
            }
            rest = rest.get(taken.max(1)..).unwrap_or_default();
        }
        // Its memory is used again.
        queue.clear();
        self.queue = queue;
    }

    /// Takes a completion.
    pub fn next(&mut self) -> Option<(u64, i32)> {
        self.landed.pop_front()
    }

    /// Carries out the first of `requests` by one call; tells how many. They have ended then.
    fn together(&mut self, requests: &[(RawFd, Command, u64)]) -> usize {
        if self.context.is_none() && !self.refused {
            self.context = Context::new();
            self.refused = self.context.is_none();
        }
        let Some(context) = &self.context else { return 0 };
        self.blocks.clear();
        self.blocks.extend(requests.iter().map(block));
        let mut pointers = [std::ptr::null_mut(); Batch::ENTRIES];
        for (pointer, block) in pointers.iter_mut().zip(&mut self.blocks) {
            *pointer = std::ptr::from_mut(block);
        }
        let count = self.blocks.len().min(pointers.len());
        // SAFETY: the context is live, the first `count` pointers are to blocks that live until the call returns
        // (the kernel copies them), and the blocks name what the callers of `push` keep.
        let taken = unsafe { libc::syscall(libc::SYS_io_submit, context.0, count, pointers.as_mut_ptr()) };
        let taken = usize::try_from(taken).unwrap_or(0);
        let mut left = taken;
        while left > 0 {
            let Some(completion) = context.take() else {
                // Nothing is in flight any more when the context is gone.
                self.context = None;
                self.refused = true;
                let told: Vec<u64> = self.landed.iter().map(|(token, _)| *token).collect();
                let tokens = requests.iter().take(taken).map(|(_, _, token)| *token);
                let lost = tokens.filter(|token| !told.contains(token));
                self.landed.extend(lost.map(|token| (token, -libc::EIO)));
                break;
            };
            self.landed.push_back((completion.data, i32::try_from(completion.result).unwrap_or(-libc::EIO)));
            left -= 1;
        }
        taken
    }
}

fn block((file, command, token): &(RawFd, Command, u64)) -> ControlBlock {
    let (opcode, (start, count), offset) = match *command {
        Command::Read { vectors, offset } => (IOCB_CMD_PREADV, vectors, offset),
        Command::Write { vectors, offset } => (IOCB_CMD_PWRITEV, vectors, offset),
        // Not reached: flushes are done alone. No vectors are nothing to do.
        Command::Flush => (IOCB_CMD_PREADV, (std::ptr::null(), 0), 0),
    };
    ControlBlock {
        data: *token,
        opcode,
        file: file.cast_unsigned(),
        buffer: start as u64,
        length: count.into(),
        // An offset beyond this is refused by the kernel.
        offset: i64::try_from(offset).unwrap_or(-1),
        ..ControlBlock::default()
    }
}

/// Carries out one command; what the system call returned, or a negative error number.
fn alone(file: RawFd, command: Command) -> i32 {
    let place = |offset: u64| libc::off64_t::try_from(offset).unwrap_or(-1);
    let result = match command {
        Command::Read { vectors: (start, count), offset } => {
            // SAFETY: the caller of `push` keeps the file open, and the vectors with the memory that they name.
            unsafe { libc::preadv64(file, start, count.cast_signed(), place(offset)) }
        }
        Command::Write { vectors: (start, count), offset } => {
            // SAFETY: as above.
            unsafe { libc::pwritev64(file, start, count.cast_signed(), place(offset)) }
        }
        Command::Flush => {
            // SAFETY: no pointers; the caller of `push` keeps the file open.
            unsafe { libc::fdatasync(file) as isize }
        }
    };
    if result < 0 {
        return -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    }
    i32::try_from(result).unwrap_or(i32::MAX)
}

impl Context {
    fn new() -> Option<Context> {
        let mut id = 0_u64;
        // SAFETY: the kernel writes a number to the pointer, which is to a live one that is zero, as it demands.
        let made = unsafe { libc::syscall(libc::SYS_io_setup, Batch::ENTRIES, &raw mut id) };
        (made == 0).then_some(Context(id))
    }

    /// Takes a completion, and waits for it if need be; None when the kernel does not tell.
    fn take(&self) -> Option<Completion> {
        let mut completion = self.peek();
        while completion.is_none() {
            let mut event = Completion::default();
            let (most, forever) = (1, std::ptr::null::<libc::timespec>());
            // SAFETY: the context is live, and the pointer is to one live completion, as many as are asked for.
            let count =
                unsafe { libc::syscall(libc::SYS_io_getevents, self.0, most, most, &raw mut event, forever) };
            if count < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return None;
            }
            completion = (count == 1).then_some(event);
        }
        completion
    }

    /// A completion that is there already, without a call.
    fn peek(&self) -> Option<Completion> {
        let start = self.0 as *const RingHead;
        // SAFETY: the kernel maps the ring at the context's number for as long as the context lives, and both
        // positions are only touched as atomics.
        let ring = unsafe { &*start };
        if ring.magic != RING_MAGIC || ring.incompatible != 0 {
            return None;
        }
        let head = ring.head.load(Ordering::Relaxed);
        if head == ring.tail.load(Ordering::Acquire) || head >= ring.length {
            return None;
        }
        // SAFETY: `length` completions are behind the head of `size` bytes, and this one is below that; the
        // kernel does not touch it between its moving the tail and our moving the head.
        let completion = unsafe {
            let first = start.cast::<u8>().wrapping_add(ring.size as usize).cast::<Completion>();
            first.wrapping_add(head as usize).read_unaligned()
        };
        ring.head.store((head + 1) % ring.length, Ordering::Release);
        Some(completion)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is ours, and nobody uses it any more. Waits for what is in flight.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
