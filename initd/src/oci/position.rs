//! Which property of a JSON document stands at a place, for errors that tell a line and a column alone.

/// A step from the root of the document.
#[derive(Debug)]
enum Step {
    Property { name: String, named: bool },
    Entry(usize),
}

/// The property at the end of the first `column` bytes of a line, as `process.args[0]`.
pub fn property(text: &[u8], line: usize, column: usize) -> String {
    let before: usize =
        text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let end = before.saturating_add(column).min(text.len());
    let mut path = Vec::new();
    let mut at = 0;
    while at < end {
        match text[at] {
            b'{' => path.push(Step::Property { name: String::new(), named: false }),
            b'[' => path.push(Step::Entry(0)),
            b'}' | b']' => drop(path.pop()),
            b',' => match path.last_mut() {
                Some(Step::Property { named, .. }) => *named = false,
                Some(Step::Entry(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let length = string(&text[at + 1..]);
                if let Some(Step::Property { name, named: named @ false }) = path.last_mut() {
                    *name = String::from_utf8_lossy(&text[at + 1..at + 1 + length]).into_owned();
                    *named = true;
                }
                at += length + 1;
            }
            _ => {}
        }
        at += 1;
    }
    path.iter().fold(String::new(), |mut words, step| {
        match step {
            Step::Property { name, .. } => {
                if !words.is_empty() {
                    words.push('.');
                }
                words.push_str(name);
            }
            Step::Entry(index) => words.push_str(&format!("[{index}]")),
        }
        words
    })
}

/// The length of a string without its quotation marks.
fn string(text: &[u8]) -> usize {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_names() {
        let text = br#"{"a": {"b\"c": [1, {"d": "x,}"}]},
"e": 5}"#;
        let at = |mark: &[u8], line: usize| {
            let line_text = text.split(|byte| *byte == b'\n').nth(line - 1).unwrap();
            let column =
                line_text.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len();
            property(text, line, column)
        };
        assert_eq!(at(b"1", 1), "a.b\\\"c[0]");
        assert_eq!(at(b"\"x,}\"", 1), "a.b\\\"c[1].d");
        assert_eq!(at(b"5", 2), "e");
        assert_eq!(property(b"", 3, 9), "");
    }
}
