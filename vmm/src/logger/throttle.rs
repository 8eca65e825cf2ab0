//! Messages that a guest causes: no more of them than a person reads.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many messages pass in a [`PERIOD`].
const ALLOWED: u32 = 10;
/// The time in which they are counted.
const PERIOD: Duration = Duration::from_secs(5);

/// Lets ten messages pass in five seconds.
#[derive(Debug)]
pub struct Throttle {
    counted: Mutex<(Instant, u32)>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { counted: Mutex::new((Instant::now(), 0)) }
    }
}

impl Throttle {
    /// Whether one more message passes.
    pub fn passes(&self) -> bool {
        self.passes_at(Instant::now())
    }

    fn passes_at(&self, now: Instant) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(counted.0) >= PERIOD {
            *counted = (now, 0);
        }
        counted.1 = counted.1.saturating_add(1);
        counted.1 <= ALLOWED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_a_later_message_passes() {
        let throttle = Throttle::default();
        let start = throttle.counted.lock().unwrap().0;
        assert_eq!((0..1000).filter(|_| throttle.passes_at(start)).count(), 10);
        assert!(throttle.passes_at(start + PERIOD));
    }
}
