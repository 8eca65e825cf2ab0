//! `ps`: a container's processes.

use std::process::Command;

use super::arguments::{Flag, Words};
use super::error::OciError;
use super::{Runtime, output, start};

/// What `ps` takes.
pub const FLAGS: &[Flag] = &[Flag::value("format").short('f')];

/// Lists the processes of a container: their ids, or what ps(1) of the host says of them.
pub fn verb(runtime: &Runtime, words: &Words) -> Result<u8, OciError> {
    let Some((id, options)) = words.rest().split_first() else { return Err(OciError::NoId) };
    let (_, record) = start::find(runtime, id)?;
    let mut pids = record.cgroup().all_processes();
    pids.sort_unstable();
    match words.value("format").unwrap_or("table") {
        "json" => output::print(&format!("{pids:?}\n")).map(|()| 0),
        "table" => {
            let options = if options.is_empty() { &["-ef".to_owned()][..] } else { options };
            let listed = Command::new("ps").args(options).output().map_err(OciError::file("run", "ps"))?;
            if !listed.status.success() {
                let error = std::io::Error::other(String::from_utf8_lossy(&listed.stderr).into_owned());
                return Err(OciError::file("run", "ps")(error));
            }
            output::print(&rows(&String::from_utf8_lossy(&listed.stdout), &pids)).map(|()| 0)
        }
        value => {
            let (flag, reason) = ("format", "it is table or json");
            Err(OciError::Flag { flag, value: value.to_owned(), reason })
        }
    }
}

/// The first row and those of these processes.
fn rows(text: &str, pids: &[i32]) -> String {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID").unwrap_or(0);
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    [head].into_iter().chain(lines.filter(ours)).fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn rows_are_found_by_their_number() {
        let text = "UID PID PPID CMD\nroot 1 0 init\nroot 17 1 sleep 1\nroot 171 1 sh\n";
        assert_eq!(rows(text, &[17]), "UID PID PPID CMD\nroot 17 1 sleep 1\n");
    }
}
