//! Short lines on the guest's console, for people who watch a machine start.

use std::error::Error;
use std::fmt::Write as _;

/// Writes `initd: TEXT` and a line break to the console in one system call.
///
/// The console may be gone; then there is nobody to tell, and the line is dropped.
pub fn say(text: &str) {
    let line = format!("initd: {text}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

/// An error with all its causes, as one sentence.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("Cannot open the door")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_names_every_cause_once() {
        let error = Outer(std::io::Error::other("it is locked"));
        assert_eq!(chain(&error), "Cannot open the door: it is locked");
    }
}
