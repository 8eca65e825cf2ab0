//! The same for many things, several at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does it for each, `count` at a time, in the order of the list. After the first error nothing more is begun; that
/// error is the answer when all have ended that were begun.
pub(crate) fn for_each<T: Sync, E: Send>(
    things: &[T],
    count: usize,
    act: impl Fn(&T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let work = || {
        while let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = act(thing) {
                next.store(things.len(), Ordering::Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..count.min(things.len()) {
            scope.spawn(work);
        }
        work();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn so_many_are_at_work_and_an_error_ends_it() {
        let (together, done) = (Barrier::new(3), AtomicUsize::new(0));
        let all = for_each(&[(); 6], 3, |()| {
            together.wait();
            done.fetch_add(1, Ordering::Relaxed);
            Ok::<(), ()>(())
        });
        assert_eq!((all, done.into_inner()), (Ok(()), 6));
        let begun = AtomicUsize::new(0);
        let failed = for_each(&[1, 2, 3, 4, 5], 1, |number| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *number == 2 { Err(*number) } else { Ok(()) }
        });
        assert_eq!((failed, begun.into_inner()), (Err(2), 2));
        assert_eq!(for_each(&[], 3, |(): &()| Err(())), Ok(()));
    }
}
