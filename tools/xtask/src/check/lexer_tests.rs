use super::*;

fn words(source: &str) -> Vec<String> {
    tokens(source).into_iter().filter(Token::is_word).map(|token| token.text).collect()
}

#[test]
fn comments_and_literals_are_not_code() {
    assert_eq!(words("a // b\n/* c /* d */ e */ f"), ["a", "f"]);
    assert_eq!(words(r##"a "b \" c" d r#"e " f"# g b"h" 'i' '\'' b'j'"##), ["a", "d", "g"]);
    assert_eq!(words("r#type x: &'static str"), ["type", "x", "static", "str"]);
    assert_eq!(words("'\\u{1F600}' y"), ["y"]);
}

#[test]
fn lines_are_counted_through_literals() {
    let found = tokens("\"a\nb\"\n/*\n*/ x");
    assert_eq!(found.last().map(|token| token.line), Some(4));
}

#[test]
fn functions_end_where_their_braces_do() {
    let source = "trait T { fn no(&self); }\nfn a(f: fn(u8) -> [u8; 2]) {\n  if x { '{'; \"{\"; }\n}\nfn b() { fn c() {} }";
    let found = functions(&tokens(source));
    let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.start, f.end)).collect();
    assert_eq!(found, [("a", 2, 4), ("b", 5, 5), ("c", 5, 5)]);
}

#[test]
fn broken_source_ends() {
    for source in ["\"", "r#\"", "'", "'\\", "/*", "b'", "fn a(", "fn a {", "}", "ä::ö"] {
        functions(&tokens(source));
    }
}
