//! Model-specific registers that a kernel expects firmware to have set.

/// `IA32_MISC_ENABLE`: fast string operations.
const MISC_ENABLE: (u32, u64) = (0x1a0, 1);
/// `IA32_MTRR_DEF_TYPE`: MTRRs on, everything write-back. Without it Linux turns PAT off.
const MTRR_DEF_TYPE: (u32, u64) = (0x2ff, 1 << 11 | 6);

/// The registers and their values at entry; all others are as at reset.
pub const AT_ENTRY: [(u32, u64); 2] = [MISC_ENABLE, MTRR_DEF_TYPE];
