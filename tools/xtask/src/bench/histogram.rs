//! Events of the kernel counted by the kernel itself, by some of their fields: its `hist` triggers, which cost a
//! traced process little and overflow nowhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::trace;

/// Events that are counted while this lives.
#[derive(Debug)]
pub struct Histogram {
    folder: PathBuf,
    trigger: String,
}

/// How often an event came with these values of its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The fields.
    pub fields: BTreeMap<String, String>,
    /// How often.
    pub count: u64,
}

impl Histogram {
    /// Counts `event` (`system/name`) by `keys`, at most `size` combinations (a power of two).
    pub fn start(event: &str, keys: &str, size: u32) -> Result<Self> {
        let folder = PathBuf::from(trace::FOLDER).join("events").join(event);
        let trigger = format!("hist:keys={keys}:size={size}");
        fs::write(folder.join("trigger"), &trigger).with_context(|| format!("Cannot count {event}"))?;
        Ok(Self { folder, trigger })
    }

    /// What was counted so far.
    pub fn read(&self) -> Result<Vec<Row>> {
        let file = self.folder.join("hist");
        let text = fs::read_to_string(&file).with_context(|| format!("Cannot read {}", file.display()))?;
        rows(&text)
    }
}

impl Drop for Histogram {
    fn drop(&mut self) {
        // Fails only when it is gone already.
        let _ = fs::write(self.folder.join("trigger"), format!("!{}", self.trigger));
    }
}

/// Lines of the form `{ KEY: VALUE, KEY: VALUE } hitcount: N`; the total tells when some had no room.
fn rows(text: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(dropped) = line.trim().strip_prefix("Dropped: ")
            && dropped != "0"
        {
            bail!("{dropped} events had no room in a histogram");
        }
        let Some((fields, rest)) = line.trim().strip_prefix('{').and_then(|line| line.split_once('}')) else {
            continue;
        };
        let count = rest.split_whitespace().last().and_then(|word| word.parse().ok());
        let pair = |field: &str| {
            let (name, value) = field.split_once(':')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        rows.push(Row {
            fields: fields.split(',').filter_map(pair).collect(),
            count: count.context("a histogram's line has no count")?,
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# event histogram
#
# trigger info: hist:keys=common_pid,id:vals=hitcount:sort=hitcount:size=4096 [active]
#

{ common_pid:        212, id:        232 } hitcount:         12
{ common_pid:        212, id:          1 } hitcount:       4000

Totals:
    Hits: 4012
    Entries: 2
    Dropped: 0
";

    #[test]
    fn a_histogram_is_read_with_its_fields() {
        let rows = rows(TEXT).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[1].fields["id"].as_str(), rows[1].count), ("1", 4000));
    }

    #[test]
    fn what_had_no_room_is_not_passed_over() {
        assert!(
            rows(&TEXT.replace("Dropped: 0", "Dropped: 7")).unwrap_err().to_string().contains("7 events")
        );
    }
}
