//! Container images: documents, layouts, archives, layers.

pub mod layer;
