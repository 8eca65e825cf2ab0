//! What is on a disk: file systems, partition tables, and the sink that they are written to.

pub mod erofs;
pub mod gpt;
mod sink;

pub use sink::Sink;
