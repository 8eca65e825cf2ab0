use super::*;

const DIGITS: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn what_docker_lets_people_leave_out_is_added() {
    for (words, whole, familiar) in [
        ("redis", "docker.io/library/redis:latest", "redis"),
        ("redis:7", "docker.io/library/redis:7", "redis:7"),
        ("docker.io/redis", "docker.io/library/redis:latest", "redis"),
        ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b"),
        ("docker.io/library/redis:7", "docker.io/library/redis:7", "redis:7"),
        ("bulkhead/hello:1", "docker.io/bulkhead/hello:1", "bulkhead/hello:1"),
        ("localhost/hello", "localhost/hello:latest", "localhost/hello"),
        ("host:5000/a/b", "host:5000/a/b:latest", "host:5000/a/b"),
        ("127.0.0.1:5000/x:1.0-b_c", "127.0.0.1:5000/x:1.0-b_c", "127.0.0.1:5000/x:1.0-b_c"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x"),
        ("quay.io/a__b/c--d.e_f", "quay.io/a__b/c--d.e_f:latest", "quay.io/a__b/c--d.e_f"),
    ] {
        let reference: Reference = words.parse().unwrap();
        assert_eq!(reference.to_string(), whole);
        assert_eq!(whole.parse(), Ok(reference.clone()), "{whole}");
        assert_eq!(reference.familiar(), familiar);
    }
}

#[test]
fn digests_need_no_tag() {
    let reference: Reference = format!("redis@sha256:{DIGITS}").parse().unwrap();
    assert_eq!((reference.tag(), reference.digest()), (None, Some(DIGITS)));
    let both: Reference = format!("r.io/x:1@sha256:{DIGITS}").parse().unwrap();
    assert_eq!((both.registry(), both.repository()), ("r.io", "x"));
    assert_eq!((both.tag(), both.digest()), (Some("1"), Some(DIGITS)));
    assert_eq!(both.to_string().parse(), Ok(both));
}

#[test]
fn what_is_no_reference_is_refused() {
    let long = "a".repeat(256);
    let tag = format!("a:{}", "t".repeat(129));
    for (words, why) in [
        ("", "names no repository"),
        ("quay.io/", "names no repository"),
        ("Redis", "uppercase"),
        ("HOST/a", "a registry is written without uppercase"),
        ("quay.io/Redis", "uppercase"),
        ("a//b", "lowercase"),
        ("/a", "lowercase"),
        ("a/", "lowercase"),
        ("a..b", "lowercase"),
        ("a___b", "lowercase"),
        ("-a", "lowercase"),
        ("../../etc/passwd", "registry"),
        ("quay.io/../a", "lowercase"),
        ("a\nb", "lowercase"),
        ("a b", "lowercase"),
        ("é", "lowercase"),
        ("a:", "tag"),
        ("a:-b", "tag"),
        ("a:b\u{1b}", "tag"),
        (&tag, "tag"),
        ("host:99999/a", "registry"),
        ("host:0/a", "registry"),
        ("user@host/a", "digest"),
        ("user:p@host/a", "digest"),
        ("-h.io/a", "registry"),
        ("[::1/a", "registry"),
        ("a@sha512:00", "digest"),
        ("a@sha256:00", "digest"),
        (DIGITS, "64 hexadecimal"),
        (&long, "longer than 255"),
        (&"a".repeat(9999), "longer than any"),
    ] {
        let error = words.parse::<Reference>().unwrap_err().to_string();
        assert!(error.contains(why), "{words}: {error}");
        assert!(!error.contains(['\n', '\u{1b}']) && error.len() < 1024, "{error}");
    }
}
