//! x86-64: what a vCPU shows and how it starts. The only place that knows the processor.

pub mod cpuid;
pub mod msr;
pub mod named_template;
pub mod registers;
pub mod template;
