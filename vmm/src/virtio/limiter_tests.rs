use super::*;

fn bucket(size: u64, burst: u64, refill_time: u64) -> TokenBucket {
    TokenBucket { size, one_time_burst: Some(burst), refill_time }
}

fn limiter(bandwidth: Option<TokenBucket>, ops: Option<TokenBucket>) -> Limiter {
    Limiter::new(&RateLimiter { bandwidth, ops }).unwrap()
}

/// How many bytes pass in `seconds` when a device tries every 100 microseconds.
fn passed(limiter: &mut Limiter, seconds: u32, bytes: u64) -> u64 {
    let start = Instant::now();
    let steps = (0..seconds * 10_000).map(|step| start + Duration::from_micros(100) * step);
    steps.filter(|now| limiter.pass_at(*now, bytes)).count() as u64 * bytes
}

#[test]
fn the_rate_over_a_minute_is_the_one_asked_for() {
    for bytes in [512, 65536, 1 << 20] {
        let mut limiter = limiter(Some(bucket(1 << 20, 0, 100)), None);
        let rate = passed(&mut limiter, 60, bytes) as f64 / 60.0;
        let asked = f64::from(10 << 20);
        assert!(bytes == 512 || (rate / asked - 1.0).abs() < 0.05, "{bytes}: {rate}");
        // 512 bytes 10,000 times a second are fewer than allowed: all pass.
        assert!(bytes != 512 || rate == 5_120_000.0, "{rate}");
    }
}

#[test]
fn operations_are_counted_apart_from_bytes() {
    let mut limiter = limiter(Some(bucket(u64::MAX, 0, 1)), Some(bucket(100, 0, 1000)));
    let operations = passed(&mut limiter, 60, 1);
    assert!((6000..=6300).contains(&operations), "{operations}");
}

#[test]
fn a_burst_is_there_once_and_a_zero_limits_nothing() {
    let mut burst = limiter(None, Some(bucket(10, 1000, 1000)));
    let operations = passed(&mut burst, 60, 1);
    assert!((1600..=1620).contains(&operations), "{operations}");
    let mut free = limiter(Some(bucket(0, 5, 1000)), Some(bucket(5, 0, 0)));
    assert!((0..1000).all(|_| free.pass(1 << 40)));
}

#[test]
fn who_waits_is_woken_by_time_and_by_a_change() {
    let mut limiter = limiter(None, Some(bucket(1, 0, 3_600_000)));
    assert!(limiter.pass(1));
    assert!(!limiter.pass(1));
    assert!(limiter.waiting());
    limiter.update(&RateLimiter { bandwidth: None, ops: Some(bucket(0, 0, 0)) });
    limiter.timer_fired();
    assert!(!limiter.waiting());
    assert!(limiter.pass(1));
    limiter.update(&RateLimiter { bandwidth: Some(bucket(1, 0, 5)), ops: None });
    assert!(limiter.pass(1) && !limiter.pass(1));
    std::thread::sleep(Duration::from_millis(20));
    limiter.timer_fired();
    assert!(limiter.pass(1));
    limiter.give_back(1);
    assert!(limiter.pass(1));
}

#[test]
fn who_is_told_of_the_timer_too_early_goes_on_waiting_and_holds_nobody_up() {
    let mut limiter = limiter(None, Some(bucket(1, 0, 5000)));
    assert!(limiter.pass(1) && !limiter.pass(1));
    limiter.timer_fired();
    assert!(limiter.waiting());
}

#[test]
fn numbers_of_any_size_make_a_bucket() {
    for (size, refill_time) in [(u64::MAX, u64::MAX), (1, u64::MAX), (u64::MAX, 1), (1 << 63, 1 << 40)] {
        let now = Instant::now();
        let mut bucket = Bucket::new(bucket(size, 0, refill_time), now).unwrap();
        assert_eq!(bucket.wait(now), Duration::ZERO, "{size} {refill_time}");
        (0..4).for_each(|_| bucket.take(u64::MAX));
        assert!(bucket.wait(now + Duration::from_millis(1)) > Duration::ZERO, "{size} {refill_time}");
        bucket.give_back(u64::MAX);
        bucket.wait(now + Duration::from_secs(3600));
    }
}
