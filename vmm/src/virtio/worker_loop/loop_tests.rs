use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::virtio::device::{NeedsReset, Turn};
use crate::virtio::driver::{Machine, wait_for};

#[test]
fn readers_are_called_until_they_have_enough() {
    let machine = Machine::new();
    let (mut near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let listen = || {
        let (count, mut far) = (count.clone(), far.try_clone().unwrap());
        let descriptor = far.as_raw_fd();
        let ready = Box::new(move || {
            let mut data = [0; 4];
            count.fetch_add(far.read(&mut data).unwrap_or(0), Ordering::SeqCst);
            // "x" is enough.
            !data.contains(&b'x')
        });
        machine.handle().add_reader(descriptor, ready).unwrap();
    };
    listen();
    near.write_all(b"abcdefgh").unwrap();
    wait_for("eight bytes", || count.load(Ordering::SeqCst) == 8);
    near.write_all(b"x").unwrap();
    wait_for("the last one", || count.load(Ordering::SeqCst) == 9);
    near.write_all(b"y").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(count.load(Ordering::SeqCst), 9);
    // Added again, it hears what came meanwhile.
    listen();
    wait_for("the one that waited", || count.load(Ordering::SeqCst) == 10);
}

#[test]
fn readers_of_what_is_always_ready_are_refused() {
    let machine = Machine::new();
    let null = std::fs::File::open("/dev/null").unwrap();
    let refused = machine.handle().add_reader(null.as_raw_fd(), Box::new(|| true)).unwrap_err();
    assert_eq!(refused.to_string(), format!("Cannot listen to descriptor {}", null.as_raw_fd()));
    machine.handle().add_reader(-1, Box::new(|| true)).unwrap_err();
}

#[test]
fn readers_hear_the_end() {
    let machine = Machine::new();
    let (near, mut far) = UnixStream::pair().unwrap();
    let ended = Arc::new(AtomicUsize::new(0));
    let descriptor = far.as_raw_fd();
    let note = ended.clone();
    let ready = Box::new(move || {
        note.fetch_add(1, Ordering::SeqCst);
        far.read(&mut [0; 4]).unwrap_or(0) != 0
    });
    machine.handle().add_reader(descriptor, ready).unwrap();
    drop(near);
    wait_for("the end", || ended.load(Ordering::SeqCst) == 1);
}

/// A worker with a descriptor that it stops listening to.
struct Picky {
    stream: UnixStream,
    heard: Arc<AtomicUsize>,
}

impl Worker for Picky {
    fn descriptors(&self) -> Vec<(RawFd, u16)> {
        if self.heard.load(Ordering::SeqCst).is_multiple_of(2) {
            vec![(self.stream.as_raw_fd(), 5)]
        } else {
            Vec::new()
        }
    }
    fn queue_notified(&mut self, _index: u16) -> Result<Turn, NeedsReset> {
        self.heard.fetch_add(1, Ordering::SeqCst);
        Ok(Turn::Done)
    }
    fn descriptor_ready(&mut self, token: u16) -> Result<Turn, NeedsReset> {
        assert_eq!(token, 5);
        self.heard.fetch_add(1, Ordering::SeqCst);
        Ok(Turn::Done)
    }
}

#[test]
fn a_worker_may_stop_listening_and_start_again() {
    let machine = Machine::new();
    let (mut near, stream) = UnixStream::pair().unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let queue = EventFd::new(EFD_NONBLOCK).unwrap();
    let worker = Box::new(Picky { stream, heard: heard.clone() });
    let queues = [queue];
    let id = machine.handle().attach(worker, &queues, Box::new(|| panic!("it is not broken"))).unwrap();
    near.write_all(b"ready from now on").unwrap();
    wait_for("the descriptor", || heard.load(Ordering::SeqCst) == 1);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(heard.load(Ordering::SeqCst), 1, "it does not listen");
    queues[0].write(1).unwrap();
    wait_for("queue and descriptor", || heard.load(Ordering::SeqCst) == 3);
    machine.handle().detach(id);
    machine.handle().detach(id);
    queues[0].write(1).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(heard.load(Ordering::SeqCst), 3);
}

/// A worker that never has enough.
struct Restless(Arc<AtomicUsize>);

impl Worker for Restless {
    fn queue_notified(&mut self, _index: u16) -> Result<Turn, NeedsReset> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Turn::More)
    }
}

#[test]
fn a_suspended_loop_holds_workers_and_serves_readers() {
    let machine = Machine::new();
    let (mut near, stream) = UnixStream::pair().unwrap();
    let (heard, turns, read) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Arc::default());
    let queues = [(); 2].map(|()| EventFd::new(EFD_NONBLOCK).unwrap());
    let broken = || Box::new(|| panic!("it is not broken"));
    let picky = Box::new(Picky { stream, heard: heard.clone() });
    machine.handle().attach(picky, &queues[..1], broken()).unwrap();
    let restless =
        machine.handle().attach(Box::new(Restless(turns.clone())), &queues[1..], broken()).unwrap();
    queues[1].write(1).unwrap();
    wait_for("turns", || turns.load(Ordering::SeqCst) > 10);

    machine.handle().suspend();
    machine.handle().suspend();
    let before = turns.load(Ordering::SeqCst);
    queues[0].write(1).unwrap();
    near.write_all(b"traffic").unwrap();
    let (mut talker, mut listener) = UnixStream::pair().unwrap();
    let note: Arc<AtomicUsize> = Arc::clone(&read);
    let descriptor = listener.as_raw_fd();
    let ready = move || note.fetch_add(listener.read(&mut [0; 8]).unwrap(), Ordering::SeqCst) < 8;
    machine.handle().add_reader(descriptor, Box::new(ready)).unwrap();
    talker.write_all(b"12345678").unwrap();
    wait_for("the reader", || read.load(Ordering::SeqCst) == 8);
    assert_eq!((heard.load(Ordering::SeqCst), turns.load(Ordering::SeqCst)), (0, before));

    machine.handle().resume().unwrap();
    wait_for("what was in the middle", || turns.load(Ordering::SeqCst) > before + 10);
    // Whichever comes first, the worker listens to its descriptor, which stays ready, after every other one.
    wait_for("queue or descriptor", || heard.load(Ordering::SeqCst) >= 1);
    queues[0].write(1).unwrap();
    wait_for("queue and descriptor", || heard.load(Ordering::SeqCst) >= 3);
    machine.handle().detach(restless);
}

/// A worker that is in its turn until it is let go.
struct Stuck {
    entered: Arc<AtomicUsize>,
    release: std::sync::mpsc::Receiver<()>,
}

impl Worker for Stuck {
    fn queue_notified(&mut self, _index: u16) -> Result<Turn, NeedsReset> {
        self.entered.fetch_add(1, Ordering::SeqCst);
        let _ = self.release.recv();
        Ok(Turn::Done)
    }
}

#[test]
fn a_worker_that_does_not_come_back_holds_nobody_and_gets_no_further_turn() {
    let machine = Machine::new();
    let entered = Arc::<AtomicUsize>::default();
    let (release, released) = std::sync::mpsc::channel();
    let queues = [EventFd::new(EFD_NONBLOCK).unwrap()];
    let worker = Box::new(Stuck { entered: entered.clone(), release: released });
    machine.handle().attach(worker, &queues, Box::new(|| panic!("it is not broken"))).unwrap();
    queues[0].write(1).unwrap();
    wait_for("the turn", || entered.load(Ordering::SeqCst) == 1);
    // Let go on while it is in the same turn, it never knew.
    machine.handle().suspend();
    machine.handle().resume().unwrap();
    machine.handle().suspend();
    queues[0].write(1).unwrap();
    release.send(()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(entered.load(Ordering::SeqCst), 1);
    machine.handle().resume().unwrap();
    wait_for("what came meanwhile", || entered.load(Ordering::SeqCst) == 2);
    drop(release);
}

/// A worker that has others work for it, who can be held but not always let go.
struct Employer {
    at_work: Arc<AtomicBool>,
    stays: bool,
}

impl Worker for Employer {
    fn queue_notified(&mut self, _index: u16) -> Result<Turn, NeedsReset> {
        Ok(Turn::Done)
    }
    fn suspend(&mut self) {
        assert!(self.at_work.swap(false, Ordering::SeqCst), "held twice");
    }
    fn resume(&mut self) -> Result<(), NeedsReset> {
        assert!(!self.at_work.swap(self.stays, Ordering::SeqCst), "let go twice");
        if self.stays { Ok(()) } else { Err(NeedsReset) }
    }
}

#[test]
fn who_works_for_a_worker_is_held_with_it() {
    let machine = Machine::new();
    let (at_work, broken) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicUsize>::default());
    let attach = |stays| {
        let worker = Box::new(Employer { at_work: at_work.clone(), stays });
        let note = broken.clone();
        let on_broken = move || assert_eq!(note.fetch_add(1, Ordering::SeqCst), 0);
        machine.handle().attach(worker, &[], Box::new(on_broken)).unwrap()
    };
    let id = attach(true);
    for _ in 0..3 {
        machine.handle().suspend();
        machine.handle().suspend();
        assert!(!at_work.load(Ordering::SeqCst));
        machine.handle().resume().unwrap();
        machine.handle().resume().unwrap();
        assert!(at_work.load(Ordering::SeqCst));
    }
    machine.handle().detach(id);
    let id = attach(false);
    machine.handle().suspend();
    machine.handle().resume().unwrap();
    assert_eq!(
        (broken.load(Ordering::SeqCst), Arc::strong_count(&at_work)),
        (1, 1),
        "it is gone, and told so"
    );
    machine.handle().detach(id);
}
