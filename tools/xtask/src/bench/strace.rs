//! What strace counts.

use std::collections::BTreeMap;

/// `read 12`, one a line, as strace prints them with `-U name,calls`; rules and sums apart.
pub fn counts(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(Ok(count))) = (words.next(), words.next().map(str::parse::<u64>)) else {
            continue;
        };
        if name != "total" {
            *counts.entry(name.to_owned()).or_insert(0) += count;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strace_s_table_is_read() {
        let text = "syscall                 calls\n---------------- ---------\nepoll_wait              12\nread                     3\n---------------- ---------\ntotal                   15\n";
        assert_eq!(counts(text), [("epoll_wait".to_owned(), 12), ("read".to_owned(), 3)].into());
    }
}
