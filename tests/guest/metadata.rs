//! Metadata that the host writes and guests read, as AWS documents it and by AWS's own programs.

use std::path::Path;

use bulkhead_tests::bare::{Bare, QUIET, boot};
use bulkhead_tests::{asset, programs, root, tap};
use serde_json::{Value, json};

const CURL: &str = "/usr/bin/curl";
/// Every guest's beginning: the interface up, and the way to the service.
const ROUTE: &str = "ip route add 169.254.169.254 dev eth0";

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("bulkhead-mmds-").tempdir().expect("a temporary folder")
}

fn start(folder: &Path, tap: &tap::Tap, config: &Value, script: &str) -> Bare {
    let script = format!("{}\n{ROUTE}\n{script}\necho DONE; sleep 1000", tap::UP);
    let initramfs = root::with_modules(folder, &script);
    let sections = json!({
        "network-interfaces": [{"iface_id": "eth0", "host_dev_name": tap.name()}],
        "mmds-config": config,
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 512},
        "metrics": {"metrics_path": folder.join("metrics")},
    });
    Bare::start(&boot(&asset("vmlinux"), &initramfs, QUIET, sections))
}

/// An instance as EC2 would describe it.
fn instance() -> Value {
    let key = json!({"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "AKID", "SecretAccessKey": "secret",
                     "Token": "session", "Expiration": "2099-01-01T00:00:00Z"});
    json!({"latest": {
        "user-data": "#cloud-config\nhostname: barge\n",
        "meta-data": {
            "ami-id": "ami-12345678", "instance-id": "i-0abcdef", "instance-type": "t3.nano",
            "local-ipv4": tap::GUEST, "placement": {"availability-zone": "eu-north-1a"},
            "tags": {"instance": {"Name": "barge", "Role": "lighter"}},
            "iam": {"security-credentials": {"harbour": key.to_string()}},
        },
    }})
}

#[test]
fn curl_reads_it_as_aws_documents_it() {
    let (folder, tap) = (folder(), tap::Tap::new("tap-mmds"));
    programs::add(folder.path(), &[CURL]);
    let script = r#"
url=http://169.254.169.254
until [ "$(curl -s -o /dev/null -w '%{http_code}' $url/)" = 401 ]; do sleep 1; done
echo "bare $(curl -s -o /dev/null -w '%{http_code}' $url/latest/meta-data/)"
token=$(curl -s -X PUT $url/latest/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600')
get() { curl -s -H "X-aws-ec2-metadata-token: $token" "$@"; }
echo "list" $(get $url/latest/meta-data/)
echo "id $(get $url/latest/meta-data/instance-id)"
echo "json $(get -H 'Accept: application/json' $url/latest/meta-data/tags)"
echo "nothing $(get -o /dev/null -w '%{http_code}' $url/latest/nothing)"
echo "proxy $(curl -s -o /dev/null -w '%{http_code}' -X PUT $url/latest/api/token -H 'X-Forwarded-For: 10.0.0.1' -H 'X-aws-ec2-metadata-token-ttl-seconds: 60')"
echo "ttl $(curl -s -o /dev/null -w '%{http_code}' -X PUT $url/latest/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 21601')"
echo "delete $(get -o /dev/null -w '%{http_code}' -X DELETE $url/)"
echo "ping $(ping -c 1 -W 2 172.31.7.1 >/dev/null && echo the host)"
echo READ
until get $url/latest/meta-data/instance-id | grep -q i-1; do :; done
get $url/latest/big | sha256sum
for i in $(seq 200); do get $url/latest/pair; echo; done > /tmp/pairs
echo "pairs $(sort -u /tmp/pairs | tr '\n' ',')""#;
    let config = json!({"version": "V2", "network_interfaces": ["eth0"]});
    let mut machine = start(folder.path(), &tap, &config, script);
    assert_eq!(machine.api("GET", "/mmds", &Value::Null), (200, json!({})));
    machine.ask("PUT", "/mmds", &instance());
    let console = machine.await_console("READ");
    let lines = [
        "bare 401",
        "list ami-id iam/ instance-id instance-type local-ipv4 placement/ tags/\n",
        "id i-0abcdef",
        r#"json {"instance":{"Name":"barge","Role":"lighter"}}"#,
        "nothing 404",
        "proxy 400",
        "ttl 400",
        "delete 405",
        "ping the host",
    ];
    for line in lines {
        assert!(console.contains(line), "{line}: {console}");
    }
    // The guest reads all the while that the host writes, and gets one or the other, never a mixture.
    let big = "barge ".repeat(8000);
    machine.ask("PATCH", "/mmds", &json!({"latest": {"pair": "old old", "big": big}}));
    machine.ask("PATCH", "/mmds", &json!({"latest": {"meta-data": {"instance-id": "i-1"}}}));
    for round in 0..40 {
        let pair = if round % 2 == 0 { "new new" } else { "old old" };
        machine.ask("PATCH", "/mmds", &json!({"latest": {"pair": pair}}));
        assert_eq!(machine.api("GET", "/mmds", &Value::Null).1["latest"]["pair"], pair);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let console = machine.await_console("DONE");
    std::fs::write(folder.path().join("big"), big).expect("a file");
    let sum = std::process::Command::new("sha256sum").arg(folder.path().join("big")).output().expect("a sum");
    let sum = String::from_utf8_lossy(&sum.stdout[..64]).into_owned();
    assert!(console.contains(&sum), "{console}");
    let pairs = console.lines().find_map(|line| line.strip_prefix("pairs ")).expect("pairs");
    assert!(["new new,", "old old,", "new new,old old,"].contains(&pairs), "{pairs}");
    let mmds = machine.counted(&folder.path().join("metrics"), "mmds");
    assert!(mmds["connections_created"].as_u64() > Some(200), "{mmds}");
    assert!(mmds["tx_bytes"].as_u64() > Some(48_000) && mmds["rx_no_token"].as_u64() >= Some(1), "{mmds}");
}

#[test]
fn the_first_version_wants_no_token_and_takes_another_address() {
    let (folder, tap) = (folder(), tap::Tap::new("tap-mmds"));
    let script = r#"
ip route add 169.254.170.2 dev eth0
until wget -q -O - http://169.254.170.2/latest/meta-data/ami-id; do sleep 1; done
echo; wget -q -O - --header 'Accept: application/json' http://169.254.170.2/latest/meta-data/placement; echo"#;
    let config = json!({"version": "V1", "network_interfaces": ["eth0"], "ipv4_address": "169.254.170.2",
                        "imds_compat": true});
    let mut machine = start(folder.path(), &tap, &config, script);
    machine.ask("PUT", "/mmds", &instance());
    let console = machine.await_console("DONE");
    assert!(console.contains("ami-12345678\navailability-zone\n"), "{console}");
}

#[test]
fn aws_s_own_programs_read_it() {
    let (folder, tap) = (folder(), tap::Tap::new("tap-mmds"));
    programs::add(folder.path(), &[CURL, "/usr/bin/bash", "/usr/bin/ec2-metadata"]);
    programs::add_python(folder.path(), Some(&asset("botocore")), "import botocore.utils, _strptime");
    let fetch = "import json, botocore.utils
fetcher = botocore.utils.InstanceMetadataFetcher(timeout=60, num_attempts=2)
print('BOTOCORE', json.dumps(fetcher.retrieve_iam_role_credentials(), sort_keys=True))
region = botocore.utils.InstanceMetadataRegionFetcher(timeout=60, num_attempts=2)
print('REGION', region.retrieve_region())
";
    std::fs::write(folder.path().join("root/fetch.py"), fetch).expect("a program");
    let script = "ln -s /usr/bin/bash /bin/bash; export PATH=/usr/bin:/bin:/sbin
ec2-metadata --all; PYTHONPATH=/site python3 /fetch.py";
    let config = json!({"version": "V2", "network_interfaces": ["eth0"]});
    let mut machine = start(folder.path(), &tap, &config, script);
    machine.ask("PUT", "/mmds", &instance());
    let console = machine.await_console("DONE");
    let lines = [
        "ami-id: ami-12345678\n",
        "instance-id: i-0abcdef\n",
        "placement: eu-north-1a\n",
        "kernel-id: not available\n",
        "user-data: #cloud-config\nhostname: barge\n",
        "Role: lighter\n",
        r#"BOTOCORE {"access_key": "AKID", "expiry_time": "2099-01-01T00:00:00Z", "role_name": "harbour", "secret_key": "secret", "token": "session"}"#,
        "REGION eu-north-1\n",
    ];
    for line in lines {
        assert!(console.contains(line), "{line}: {console}");
    }
}
