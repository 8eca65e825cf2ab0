use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::mmds::request::{Parsed, parse};

fn mmds() -> Mmds {
    let mmds = Mmds::new(1000, Arc::default());
    mmds.put(json!({"latest": {"meta-data": {"id": "i-1", "n": 7}}})).unwrap();
    mmds
}

fn config(version: &str, imds_compat: bool) -> MmdsConfig {
    let value = json!({"version": version, "network_interfaces": ["n"], "imds_compat": imds_compat});
    serde_json::from_value(value).unwrap()
}

/// The answer to `line` with `headers`.
fn ask(mmds: &Mmds, config: &MmdsConfig, line: &str, headers: &[&str]) -> Answer {
    let text = format!(
        "{line} HTTP/1.1\r\n{}\r\n",
        headers.join("\r\n") + if headers.is_empty() { "" } else { "\r\n" }
    );
    match parse(text.as_bytes()) {
        Parsed::Request(request, _) => mmds.answer(config, &request, Instant::now()),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn the_second_version_wants_a_token_and_the_first_only_counts() {
    let (mmds, v1, v2) = (mmds(), config("V1", false), config("V2", false));
    let get = "GET /latest/meta-data/id";
    for header in ["X-metadata-token", "x-aws-ec2-metadata-token"] {
        let issued = ask(&mmds, &v2, "PUT /latest/api/token", &["X-aws-ec2-metadata-token-ttl-seconds: 60"]);
        assert_eq!(issued.status, OK);
        let name = "X-aws-ec2-metadata-token-ttl-seconds".to_owned();
        assert_eq!(issued.header, Some((name, "60".into())));
        let good = format!("{header}: {}", issued.body);
        let bad = format!("{header}: {}", issued.body.replace(['1', '2', '3', '4'], "0"));
        assert_eq!(ask(&mmds, &v2, get, &[&good]), Answer::text(OK, "i-1"));
        assert_eq!(ask(&mmds, &v2, get, &[&bad]).status, UNAUTHORIZED);
        assert_eq!(ask(&mmds, &v1, get, &[&bad]), Answer::text(OK, "i-1"));
    }
    assert_eq!(ask(&mmds, &v2, get, &[]).status, UNAUTHORIZED);
    assert_eq!(ask(&mmds, &v1, get, &[]), Answer::text(OK, "i-1"));
    assert_eq!((mmds.metrics.rx_invalid_token.total(), mmds.metrics.rx_no_token.total()), (4, 2));
}

#[test]
fn tokens_are_given_for_their_path_and_time_alone() {
    let (mmds, v2) = (mmds(), config("V2", false));
    let put = |path: &str, headers: &[&str]| ask(&mmds, &v2, &format!("PUT {path}"), headers).status;
    let ttl = "X-metadata-token-ttl-seconds";
    assert_eq!(put("/latest/api/token", &[&format!("{ttl}: 21600")]), OK);
    assert_eq!(put("//latest/api/token/", &[&format!("{ttl}: 1")]), OK);
    for value in ["0", "21601", "-1", "+1", "x", "", "99999999999999999999"] {
        assert_eq!(put("/latest/api/token", &[&format!("{ttl}: {value}")]), BAD_REQUEST, "{value}");
    }
    assert_eq!(put("/latest/api/token", &[]), BAD_REQUEST);
    assert_eq!(put("/latest/api/token", &[&format!("{ttl}: 60"), "X-Forwarded-For: 1.2.3.4"]), BAD_REQUEST);
    assert_eq!(put("/latest/meta-data", &[&format!("{ttl}: 60")]), NOT_FOUND);
    let delete = ask(&mmds, &v2, "DELETE /", &[]);
    assert_eq!((delete.status, delete.header), (NOT_ALLOWED, Some(("Allow".into(), "GET, PUT".into()))));
}

#[test]
fn a_token_expires() {
    let mmds = mmds();
    let (v2, now) = (config("V2", false), Instant::now());
    let token = mmds.contents().tokens.issue(5, now).unwrap();
    let text = format!("GET / HTTP/1.1\r\nX-metadata-token: {token}\r\n\r\n");
    let Parsed::Request(request, _) = parse(text.as_bytes()) else { panic!("{text}") };
    assert_eq!(mmds.answer(&v2, &request, now).status, OK);
    assert_eq!(mmds.answer(&v2, &request, now + Duration::from_secs(5)).status, UNAUTHORIZED);
}

#[test]
fn the_format_is_the_guest_s_choice_unless_it_is_ec2_s() {
    let (mmds, free, compat) = (mmds(), config("V1", false), config("V1", true));
    let json = &["Accept: application/json"][..];
    let get = "GET /latest/meta-data/id";
    assert_eq!(ask(&mmds, &free, get, json), Answer { json: true, ..Answer::text(OK, "\"i-1\"") });
    assert_eq!(ask(&mmds, &compat, get, json), Answer::text(OK, "i-1"));
    assert_eq!(ask(&mmds, &free, get, &["Accept: */*"]), Answer::text(OK, "i-1"));
    assert_eq!(ask(&mmds, &free, "GET /latest/meta-data/n", json).body, "7");
    assert_eq!(ask(&mmds, &free, "GET /latest/meta-data/n", &[]).status, NOT_IMPLEMENTED);
    assert_eq!(ask(&mmds, &free, "GET /nothing", json).status, NOT_FOUND);
    let text = String::from_utf8(ask(&mmds, &free, get, &[]).render(false)).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("Content-Length: 3\r\n\r\ni-1"),
        "{text}"
    );
}
