use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use super::*;
use crate::metrics::MmdsMetrics;
use crate::net::{Tap, in_own_network};

const ADDRESS: [u8; 4] = [169, 254, 169, 254];
const GUEST: [u8; 6] = [6, 0, 0, 0, 0, 1];

fn stack(version: &str) -> (MmdsStack, Mmds, Arc<MmdsMetrics>) {
    let metrics = Arc::<MmdsMetrics>::default();
    let mmds = Mmds::new(1 << 20, metrics.clone());
    mmds.put(json!({"id": "i-1", "long": "x".repeat(100_000)})).unwrap();
    let config = json!({"version": version, "network_interfaces": ["eth0"]});
    let wire = Wire { config: serde_json::from_value(config).unwrap(), mtu: 1500 };
    (MmdsStack::new(mmds.clone(), wire, Instant::now()), mmds, metrics)
}

/// A wire between a stack and the kernel of the test's own network, whose TCP plays the guest's.
struct Pump {
    stop: Arc<AtomicBool>,
    /// How many seconds the stack's clock is ahead.
    ahead: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
    metrics: Arc<MmdsMetrics>,
}

impl Pump {
    fn start(version: &str) -> Pump {
        let tap = Tap::new_for_test("mmds0", "172.31.9.2/24");
        let route = Command::new("ip").args(["route", "add", "169.254.169.254", "dev", "mmds0"]).status();
        assert!(route.unwrap().success());
        let (stack, _, metrics) = stack(version);
        let (stop, ahead) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, skew) = (stop.clone(), ahead.clone());
        let thread = Some(std::thread::spawn(move || pump(&tap, stack, &stopped, &skew)));
        Pump { stop, ahead, thread, metrics }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn pump(tap: &Tap, mut stack: MmdsStack, stop: &AtomicBool, ahead: &AtomicU64) {
    let mut wire = File::from(tap.as_fd().try_clone_to_owned().unwrap());
    let mut buffer = [0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now() + Duration::from_secs(ahead.load(Ordering::Relaxed));
        match wire.read(&mut buffer) {
            Ok(length) if stack.wants(&buffer[12..length]) => stack.receive(&buffer[12..length], now),
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                stack.tick(now);
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        while let Some(frame) = stack.frame() {
            let _ = wire.write(&[&[0; 12], frame].concat());
            stack.sent(now);
        }
        assert!(stack.delay(now).is_none_or(|delay| delay >= TICK));
        assert!(stack.sessions.len() <= SESSIONS_MAX);
    }
}

fn connect() -> TcpStream {
    let address = "169.254.169.254:80".parse().unwrap();
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// The answer to one request, which ends the connection.
fn ask(line: &str, headers: &str) -> String {
    let mut stream = connect();
    write!(stream, "{line} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_kernel_s_tcp_gets_tokens_and_metadata() {
    in_own_network("a_kernel_s_tcp_gets_tokens_and_metadata", || {
        let pump = Pump::start("V2");
        assert!(ask("GET /id", "").starts_with("HTTP/1.1 401 "));
        let answer = ask("PUT /latest/api/token", "X-metadata-token-ttl-seconds: 60\r\n");
        let token = answer.split("\r\n\r\n").nth(1).unwrap();
        let header = format!("X-metadata-token: {token}\r\n");
        // More connections than there may be at once.
        for _ in 0..3 * SESSIONS_MAX {
            assert!(ask("GET /id", &header).ends_with("\r\n\r\ni-1"));
        }
        let long = ask("GET /long", &header);
        assert_eq!(long.split("\r\n\r\n").nth(1).unwrap(), "x".repeat(100_000));
        // Two requests in one packet, a third one byte by byte, on one connection.
        let mut stream = connect();
        stream.set_nodelay(true).unwrap();
        let get = format!("GET /id HTTP/1.1\r\n{header}\r\n");
        stream.write_all(get.repeat(2).as_bytes()).unwrap();
        get.bytes().for_each(|byte| stream.write_all(&[byte]).unwrap());
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("\r\n\r\ni-1").count(), 3, "{answers}");
        assert_eq!(pump.metrics.rx_no_token.total(), 1);
        assert!(pump.metrics.connections_created.total() >= 50);
    });
}

#[test]
fn who_says_nothing_is_hung_up_on_and_who_says_too_much_too() {
    in_own_network("who_says_nothing_is_hung_up_on_and_who_says_too_much_too", || {
        let pump = Pump::start("V1");
        let mut silent: Vec<_> = (0..SESSIONS_MAX).map(|_| connect()).collect();
        silent[0].write_all(b"GET /i").unwrap();
        let address = "169.254.169.254:80".parse().unwrap();
        let refused = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        pump.ahead.store(11, Ordering::Relaxed);
        for stream in &mut silent {
            let end = stream.read(&mut [0]);
            assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        }
        assert_eq!(pump.metrics.connections_destroyed.total(), SESSIONS_MAX as u64);
        assert!(ask("GET /id", "").ends_with("i-1"));
        assert!(ask(&format!("GET /{}", "a".repeat(9000)), "").starts_with("HTTP/1.1 400 "));
        assert!(ask("GET /id", "Content-Length: 100\r\n").starts_with("HTTP/1.1 400 "));
    });
}

/// An Ethernet frame with a TCP segment to the service.
fn segment(flags: u8, sequence: u32, options: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let offset = u8::try_from(header.div_ceil(4)).unwrap() << 4;
    let mut frame = [MAC.as_slice(), &GUEST, &ETHERNET_IPV4, &[0x45, 0]].concat();
    frame.extend(u16::try_from(20 + header).unwrap().to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, TCP, 0, 0, 172, 31, 0, 2]);
    frame.extend(ADDRESS);
    frame.extend([0x9c, 0x40, 0, 80]);
    frame.extend(sequence.to_be_bytes());
    frame.extend([0, 0, 0, 0, offset, flags, 16, 0, 0, 0, 0, 0]);
    frame.extend(options);
    frame
}

const SYN: u8 = 2;

/// Lengths that lie, as in Firecracker's issue 5739.
#[test]
fn tcp_options_may_be_anything() {
    let odd: &[&[u8]] = &[
        &[2, 0, 0, 0],
        &[2, 1, 0, 0],
        &[2, 2, 0, 0],
        &[2, 4, 0, 0],
        &[2, 4, 0, 1],
        &[2, 4, 0xff, 0xff],
        &[2, 40, 5, 180],
        &[3, 255, 0, 0],
        &[3, 3, 255, 0],
        &[5, 2, 5, 9],
        &[8, 10, 0, 0],
        &[254, 1, 254, 0],
        &[1, 1, 1, 2],
        &[0xff; 40],
    ];
    let (mut stack, _, _) = stack("V1");
    let start = Instant::now();
    for (round, options) in (0..).zip(odd) {
        let now = start + Duration::from_secs(20 * round);
        stack.tick(now);
        let frame = segment(SYN, 1, options);
        assert!(stack.wants(&frame));
        stack.receive(&frame, now);
        while stack.frame().is_some() {
            stack.sent(now);
        }
    }
    // It still answers a good one.
    let now = start + Duration::from_secs(1000);
    stack.tick(now);
    stack.receive(&segment(SYN, 1, &[2, 4, 5, 180]), now);
    let answer = stack.frame().unwrap();
    assert_eq!((&answer[..6], answer[ETHERNET_SIZE + 20 + 13] & 0x12), (GUEST.as_slice(), 0x12));
}

#[test]
fn nonsense_is_bounded_in_memory_and_time() {
    let (mut stack, _, metrics) = stack("V1");
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let start = Instant::now();
    let mut acknowledged = [0; 4];
    for round in 0..50_000 {
        let mut frame =
            segment([SYN, 0x10, 0x18, 0x11, 4, 0xff][round % 6], next() as u32 % 8, &next().to_be_bytes());
        frame.extend_from_slice(b"GET /long HTTP/1.1\r\n\r\n");
        frame[ETHERNET_SIZE + 28..ETHERNET_SIZE + 32].copy_from_slice(&acknowledged);
        for _ in 0..next() % 4 {
            let index = ETHERNET_SIZE + next() as usize % (frame.len() - ETHERNET_SIZE);
            frame[index] = next() as u8;
        }
        frame.truncate(ETHERNET_SIZE + 20 + next() as usize % 60);
        let now = start + Duration::from_millis(round as u64 * 3);
        if stack.wants(&frame) {
            stack.receive(&frame, now);
        }
        // A guest that hardly ever takes what it is sent.
        if next() % 20 == 0 {
            if let Some(answer) =
                stack.frame().and_then(|frame| frame.get(ETHERNET_SIZE + 24..)?.first_chunk())
            {
                acknowledged = u32::from_be_bytes(*answer).wrapping_add(1).to_be_bytes();
            }
            stack.sent(now);
        }
        assert!(stack.link.outbox.len() <= OUTBOX_MAX + 1);
        assert!(stack.sessions.len() <= SESSIONS_MAX);
        assert!(stack.delay(now).is_none_or(|delay| delay >= TICK));
    }
    assert!(metrics.rx_accepted.total() > 10_000, "{metrics:?}");
    assert!(metrics.rx_accepted_err.total() > 100, "{metrics:?}");
    let end = start + Duration::from_secs(1000);
    stack.tick(end);
    assert_eq!((stack.sessions.len(), stack.delay(end)), (0, None), "nothing is left of it but a listener");
}

#[test]
fn only_questions_for_its_address_are_its() {
    let (mut stack, _, _) = stack("V1");
    let arp = |target: [u8; 4], operation: u8| {
        let question = [GUEST.as_slice(), &[172, 31, 0, 2], &[0; 6], &target].concat();
        [&[0xff; 6], GUEST.as_slice(), &ETHERNET_ARP, &[0, 1, 8, 0, 6, 4, 0, operation], &question].concat()
    };
    assert!(!stack.wants(&arp([169, 254, 169, 253], 1)));
    assert!(!stack.wants(&arp(ADDRESS, 2)));
    let question = arp(ADDRESS, 1);
    assert!((0..question.len()).all(|length| !stack.wants(&question[..length])));
    assert!(stack.wants(&question));
    stack.receive(&question, Instant::now());
    let reply = [
        GUEST.as_slice(),
        &MAC,
        &ETHERNET_ARP,
        &[0, 1, 8, 0, 6, 4, 0, 2],
        &MAC,
        &ADDRESS,
        &GUEST,
        &[172, 31, 0, 2],
    ];
    assert_eq!(stack.frame().unwrap(), reply.concat());
    let mut other = segment(SYN, 1, &[]);
    other[ETHERNET_SIZE + 19] = 253;
    assert!(!stack.wants(&other));
}
