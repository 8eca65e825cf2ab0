//! In a network namespace of its own: this test runs itself again under `unshare`.

use std::process::Command;

use super::*;

const INSIDE: &str = "BULKHEAD_TEST_NAMESPACE";

/// Runs `test` of this file again in a fresh network namespace; true inside it.
fn inside_namespace(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let output = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("host::network::tests::{test}")])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

fn run(words: &str) -> String {
    let mut words = words.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

fn everything() -> String {
    let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/conf/uplink/forwarding").unwrap_or_default();
    format!("{}{}uplink forwards: {forwarding}", run("ip -o link"), run("nft list ruleset"))
}

fn endpoint(network: &Network, id: &str, last: u8, host_port: u16) -> Endpoint {
    let [a, b, c, _] = network.subnet().gateway().octets();
    let ports = vec![Published { host_ip: None, host_port, guest_port: 80 }];
    Endpoint::new(id, Ipv4Addr::new(a, b, c, last), ports)
}

#[tokio::test]
async fn comes_with_the_first_machine_and_goes_with_the_last() {
    if !inside_namespace("comes_with_the_first_machine_and_goes_with_the_last") {
        return;
    }
    run("ip link set lo up");
    run("ip link add uplink type veth peer name other");
    run("ip addr add 192.0.2.1/24 dev uplink");
    run("ip link set uplink up");
    std::fs::write("/proc/sys/net/ipv4/conf/uplink/forwarding", "0").unwrap();
    let before = everything();
    let folder = tempfile::tempdir().unwrap();
    let memory = folder.path().join("network.json");
    let network = Network::new(Subnet::default(), memory.clone());

    let route = network.attach("aaaaaaaaaaaa", endpoint(&network, "aaaaaaaaaaaa", 2, 8080)).await.unwrap();
    assert_eq!((route.prefix, route.gateway), (24, Ipv4Addr::new(172, 30, 0, 1)));
    assert_eq!(route.resolver, Some(route.gateway), "the resolver runs");
    network.attach("bbbbbbbbbbbb", endpoint(&network, "bbbbbbbbbbbb", 3, 8081)).await.unwrap();
    let now = everything();
    for part in
        ["bh-aaaaaaaaaaaa", "bh-bbbbbbbbbbbb", "bulkhead0", "dnat to 172.30.0.3:80", "uplink forwards: 1"]
    {
        assert!(now.contains(part), "{part} in {now}");
    }
    // Nobody else routes over the uplink because of us.
    assert!(now.contains("iifname \"uplink\" oifname != \"bulkhead0\" drop"), "{now}");

    // A crash: the next daemon adopts one and removes the other.
    drop(network);
    let network = Network::new(Subnet::default(), memory);
    network.sweep(&BTreeSet::from(["bbbbbbbbbbbb".to_owned()])).await.unwrap();
    network.adopt("bbbbbbbbbbbb", endpoint(&network, "bbbbbbbbbbbb", 3, 8081)).await.unwrap();
    let now = everything();
    assert!(!now.contains("bh-aaaaaaaaaaaa") && now.contains("bh-bbbbbbbbbbbb"), "{now}");

    network.detach("bbbbbbbbbbbb").await.unwrap();
    network.detach("bbbbbbbbbbbb").await.unwrap();
    assert_eq!(everything(), before);
}

#[tokio::test]
async fn a_range_in_use_is_refused_and_nothing_is_left() {
    if !inside_namespace("a_range_in_use_is_refused_and_nothing_is_left") {
        return;
    }
    run("ip link add uplink type veth peer name other");
    run("ip addr add 172.30.0.9/16 dev uplink");
    run("ip link set uplink up");
    let before = everything();
    let folder = tempfile::tempdir().unwrap();
    let network = Network::new(Subnet::default(), folder.path().join("network.json"));
    let refused =
        network.attach("aaaaaaaaaaaa", endpoint(&network, "aaaaaaaaaaaa", 2, 8080)).await.unwrap_err();
    let sentence = refused.to_string();
    assert!(sentence.contains("172.30.0.0/24") && sentence.contains("uplink"), "{sentence}");
    assert_eq!(everything(), before);
}

#[tokio::test]
async fn leftovers_of_a_crash_without_machines_go() {
    if !inside_namespace("leftovers_of_a_crash_without_machines_go") {
        return;
    }
    let before = everything();
    let folder = tempfile::tempdir().unwrap();
    let memory = folder.path().join("network.json");
    let network = Network::new(Subnet::default(), memory.clone());
    network.attach("aaaaaaaaaaaa", endpoint(&network, "aaaaaaaaaaaa", 2, 8080)).await.unwrap();
    drop(network);
    Network::new(Subnet::default(), memory).sweep(&BTreeSet::new()).await.unwrap();
    assert_eq!(everything(), before);
}
