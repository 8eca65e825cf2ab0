//! What the command lines of both programs, `bulkhead` and `bulkhead-image`, have in common: completions for shells,
//! manual pages, and bars.

mod bars;
mod manual;

pub use bars::Bars;
pub use manual::{Completion, Man, ManualError};
