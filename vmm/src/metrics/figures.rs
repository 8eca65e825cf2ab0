//! What a group's fields are, for whoever shows them one by one: name, kind, unit, and the sentence that the source
//! has on each.

use super::{Counter, Gauge};

/// What a value does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It counts up from the process's start.
    Counter,
    /// It stands as it is.
    Gauge,
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// The field.
    pub name: &'static str,
    /// Which of the field's values, where it has several: `min_us`, `max_us`, `sum_us`.
    pub part: &'static str,
    /// The field's documentation.
    pub help: &'static str,
    /// What it does over time.
    pub kind: Kind,
    /// The value, since the process's start.
    pub value: u64,
}

/// A group whose fields can be shown.
pub trait Figures {
    /// Shows each of them.
    fn each(&self, see: &mut dyn FnMut(Figure));
}

/// A field of a group.
pub trait Shown {
    /// Shows its values; those of a field with one value have no `part`.
    fn show(&self, see: &mut dyn FnMut(&'static str, Kind, u64));
}

impl Shown for Counter {
    fn show(&self, see: &mut dyn FnMut(&'static str, Kind, u64)) {
        see("", Kind::Counter, self.total());
    }
}

impl Shown for Gauge {
    fn show(&self, see: &mut dyn FnMut(&'static str, Kind, u64)) {
        see("", Kind::Gauge, self.value());
    }
}

/// A struct of figures, as it stands, with [`Figures`] for it.
macro_rules! figures {
    (
        $(#[$outer:meta])*
        pub struct $group:ident {
            $($(#[doc = $help:literal])* pub $field:ident: $kind:ty,)*
        }
    ) => {
        $(#[$outer])*
        pub struct $group {
            $($(#[doc = $help])* pub $field: $kind,)*
        }

        impl $crate::metrics::figures::Figures for $group {
            fn each(&self, see: &mut dyn FnMut($crate::metrics::figures::Figure)) {
                $(
                    let (name, help) = (stringify!($field), concat!($($help),*));
                    $crate::metrics::figures::Shown::show(&self.$field, &mut |part, kind, value| {
                        see($crate::metrics::figures::Figure { name, part, help, kind, value });
                    });
                )*
            }
        }
    };
}
pub(super) use figures;
