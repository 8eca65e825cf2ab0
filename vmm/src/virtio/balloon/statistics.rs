//! What the guest says of its memory (virtio 1.2 section 5.5.6.4).

use serde::Serialize;

/// How long one statistic is: a tag of 16 bits and a value of 64, packed.
pub const ENTRY_SIZE: usize = 10;
/// How many statistics are read at once. The specification names ten and Linux sixteen.
pub const ENTRIES_MAX: usize = 256;

/// The guest's latest statistics. One that a guest does not tell is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Statistics {
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_out: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    major_faults: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minor_faults: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    free_memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_caches: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hugetlb_allocations: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hugetlb_failures: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_kill: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alloc_stall: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    async_scan: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direct_scan: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    async_reclaim: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direct_reclaim: Option<u64>,
}

/// The bytes are no list of statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoStatistics;

impl Statistics {
    /// Takes over what `bytes`, a copy of the guest's buffer, tell. Tags that nobody knows are passed over,
    /// and what is not told stays as it was.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), NoStatistics> {
        let (entries, rest) = bytes.as_chunks::<ENTRY_SIZE>();
        if !rest.is_empty() || entries.len() > ENTRIES_MAX {
            return Err(NoStatistics);
        }
        for [low, high, value @ ..] in entries {
            if let Some(field) = self.field(u16::from_le_bytes([*low, *high])) {
                *field = Some(u64::from_le_bytes(*value));
            }
        }
        Ok(())
    }

    /// The field of a tag; the numbers are those of Linux's `virtio_balloon.h`.
    fn field(&mut self, tag: u16) -> Option<&mut Option<u64>> {
        let fields = [
            &mut self.swap_in,
            &mut self.swap_out,
            &mut self.major_faults,
            &mut self.minor_faults,
            &mut self.free_memory,
            &mut self.total_memory,
            &mut self.available_memory,
            &mut self.disk_caches,
            &mut self.hugetlb_allocations,
            &mut self.hugetlb_failures,
            &mut self.oom_kill,
            &mut self.alloc_stall,
            &mut self.async_scan,
            &mut self.direct_scan,
            &mut self.async_reclaim,
            &mut self.direct_reclaim,
        ];
        fields.into_iter().nth(tag.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tag: u16, value: u64) -> Vec<u8> {
        [tag.to_le_bytes().as_slice(), &value.to_le_bytes()].concat()
    }

    #[test]
    fn what_is_told_is_kept_and_the_rest_left_alone() {
        let mut statistics = Statistics::default();
        statistics
            .update(&[entry(4, 100), entry(99, 7), entry(15, u64::MAX), entry(4, 50)].concat())
            .unwrap();
        statistics.update(&entry(5, 200)).unwrap();
        statistics.update(&[]).unwrap();
        let told = serde_json::json!(statistics);
        let expected = serde_json::json!(
            {"free_memory": 50, "total_memory": 200, "direct_reclaim": u64::MAX});
        assert_eq!(told, expected);
    }

    #[test]
    fn bytes_that_are_no_list_change_nothing() {
        let mut statistics = Statistics::default();
        for length in [1, 9, 11, 10 * (ENTRIES_MAX + 1)] {
            assert_eq!(statistics.update(&vec![0; length]), Err(NoStatistics), "{length}");
        }
        assert_eq!(statistics, Statistics::default());
    }
}
