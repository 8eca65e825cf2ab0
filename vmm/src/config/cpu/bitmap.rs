//! Bits to clear, to set and to leave: `0b01xx`.

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Changes to the bits of a `T`, which is `u32` or `u64`. In writing, the last character is bit 0; `0` clears,
/// `1` sets, `x` and what is not written leave a bit; `_` separates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bitmap<T> {
    clear: u64,
    set: u64,
    width: PhantomData<T>,
}

impl<T> Bitmap<T> {
    const BITS: usize = size_of::<T>() * 8;

    /// The bits of `mask` become those of `value`.
    pub fn new(mask: u64, value: u64) -> Self {
        Self { clear: mask & !value, set: mask & value, width: PhantomData }
    }

    fn changed(self, value: u64) -> u64 {
        value & !self.clear | self.set
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (mut clear, mut set, mut bit) = (0u64, 0u64, 0);
        let digits = text.strip_prefix("0b").unwrap_or(text);
        for character in digits.chars().rev().filter(|character| *character != '_') {
            if bit == Self::BITS {
                return Err(format!("Bitmap {text:?} has more than {} bits", Self::BITS));
            }
            match character {
                '0' => clear |= 1 << bit,
                '1' => set |= 1 << bit,
                'x' => {}
                other => return Err(format!("Bitmap {text:?} has a {other:?}; bits are '0', '1' and 'x'")),
            }
            bit += 1;
        }
        Ok(Self { clear, set, width: PhantomData })
    }
}

impl Bitmap<u32> {
    /// The value with the changes.
    pub fn apply(self, value: u32) -> u32 {
        // No bit above the 32nd is ever set.
        self.changed(value.into()) as u32
    }
}

impl Bitmap<u64> {
    /// The value with the changes.
    pub fn apply(self, value: u64) -> u64 {
        self.changed(value)
    }
}

impl<T> fmt::Display for Bitmap<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let character = |bit: usize| match (self.clear >> bit & 1, self.set >> bit & 1) {
            (1, _) => '0',
            (_, 1) => '1',
            _ => 'x',
        };
        let bits: String = (0..Self::BITS).rev().map(character).collect();
        write!(to, "0b{bits}")
    }
}

impl<T> fmt::Debug for Bitmap<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

impl<T> Serialize for Bitmap<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T> Deserialize<'de> for Bitmap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_cleared_set_and_left() {
        let bitmap = Bitmap::<u32>::parse("0b01xx_1").unwrap();
        assert_eq!(bitmap.apply(0), 0b01001);
        assert_eq!(bitmap.apply(!0), 0xffff_ffef);
        assert_eq!(bitmap.to_string(), format!("0b{}01xx1", "x".repeat(27)));
        assert_eq!(Bitmap::<u64>::parse("").unwrap().apply(7), 7);
        assert_eq!(Bitmap::<u64>::parse(&"1".repeat(64)).unwrap().apply(0), !0);
    }
}
