//! A guest's console as people may read it: its last lines, without anything that a terminal would obey.

/// What Linux prints when it panics (`kernel/panic.c`); the reason follows.
pub const PANIC: &str = "Kernel panic - not syncing: ";
/// The most lines that are shown of a console.
pub const MAX_LINES: usize = 20;
/// The longest line that is shown, in characters.
pub const MAX_LINE: usize = 200;

/// One line fit for a terminal: no control characters, none that turn the direction of writing, not longer than
/// [`MAX_LINE`].
#[must_use]
pub fn readable(line: &str) -> String {
    let kept = line.chars().map(|letter| if letter == '\t' { ' ' } else { letter });
    let kept: String = kept.filter(|letter| !is_obeyed(*letter)).take(MAX_LINE).collect();
    kept.trim_end().to_owned()
}

/// The last lines that say something, at most [`MAX_LINES`], each [`readable`].
#[must_use]
pub fn last_lines(text: &str) -> Vec<String> {
    let lines = text.rsplit('\n').map(readable).filter(|line| !line.is_empty());
    let mut last: Vec<String> = lines.take(MAX_LINES).collect();
    last.reverse();
    last
}

/// The text up to the line with a kernel's panic: what follows is a trace of calls. All of it where there is none.
#[must_use]
pub fn until_panic(text: &str) -> &str {
    let Some(at) = text.rfind(PANIC) else { return text };
    let end = text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |length| at + length);
    text.get(..end).unwrap_or(text)
}

/// Control characters, and those of Unicode that turn or hide what stands beside them.
fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_a_terminal_obeys() {
        assert_eq!(readable("\u{1b}[2J\u{1b}]0;owned\u{7}hello\tyou\r"), "[2J]0;ownedhello you");
        assert_eq!(readable("a\u{9b}31mb\u{202e}c\u{200d}d"), "a31mbcd");
        assert_eq!(readable(&"ü".repeat(1000)).chars().count(), MAX_LINE);
    }

    #[test]
    fn a_trace_behind_a_panic_is_left_out() {
        let text = format!("one\r\n[ 1.0] {PANIC}ü\r\n[ 1.0] CPU: 0\n");
        assert_eq!(last_lines(until_panic(&text)), ["one", "[ 1.0] Kernel panic - not syncing: ü"]);
        assert_eq!(until_panic("one\ntwo"), "one\ntwo");
        assert_eq!(until_panic(PANIC), PANIC);
    }

    #[test]
    fn the_last_lines_come_in_their_order() {
        assert_eq!(last_lines(""), Vec::<String>::new());
        assert_eq!(last_lines("\r\n\n\u{1b}\n"), Vec::<String>::new());
        assert_eq!(last_lines("one\r\n\r\ntwo\r\nthree"), ["one", "two", "three"]);
        let many: String = (0..100).map(|number| format!("{number}\n")).collect();
        let last = last_lines(&many);
        assert_eq!((last.len(), last.first().unwrap().as_str(), last[19].as_str()), (20, "80", "99"));
    }
}
