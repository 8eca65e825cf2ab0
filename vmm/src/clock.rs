//! The host's clocks, and how a message writes a time.
#![allow(unsafe_code, reason = "clock_gettime and localtime_r take pointers")]

use std::mem::MaybeUninit;
use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds of the clock that never goes back, as `--start-time-us` is given.
pub fn monotonic_us() -> u64 {
    microseconds(libc::CLOCK_MONOTONIC)
}

/// Microseconds of processor time that this process has used, as `--start-time-cpu-us` is given.
pub fn process_cpu_us() -> u64 {
    microseconds(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Milliseconds since 1970, UTC.
pub fn utc_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time of day where the host is, as Firecracker's messages begin: `2026-01-31T23:59:58.000000001`.
pub fn local_time() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = libc::time_t::try_from(since.as_secs()).unwrap_or_default();
    let mut parts = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: Both pointers are to live values of their types, and the C library keeps neither.
    let known = !unsafe { libc::localtime_r(&raw const seconds, parts.as_mut_ptr()) }.is_null();
    // SAFETY: All zeroes are a `tm` too: numbers, and a pointer that is not followed.
    let parts = unsafe { parts.assume_init() };
    let (year, month) = if known { (parts.tm_year + 1900, parts.tm_mon + 1) } else { (1970, 1) };
    format!(
        "{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}.{:09}",
        parts.tm_mday,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec,
        since.subsec_nanos()
    )
}

fn microseconds(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: The pointer is to a live timespec. A clock that is not there leaves it at 0.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000 + nanoseconds.unwrap_or_default() / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_on() {
        let (monotonic, processor) = (monotonic_us(), process_cpu_us());
        let mut sum = 0u64;
        while process_cpu_us() == processor {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(monotonic_us() > monotonic && monotonic > 0);
        assert!(utc_ms() > 1_700_000_000_000);
    }

    #[test]
    fn a_time_of_day_has_firecrackers_form() {
        let time = local_time();
        let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(form, "0000-00-00T00:00:00.000000000");
        assert!(time.as_str() > "2024");
    }
}
