//! The names of images, as people and files write them.

use bulkhead_image::Reference;

/// What is taken is written as it is read, whole and as people write it, and has no character that a header, a path or
/// a terminal would obey.
pub fn target(bytes: &[u8]) {
    let Ok(words) = std::str::from_utf8(bytes) else { return };
    let Ok(reference) = words.parse::<Reference>() else { return };
    let whole = reference.to_string();
    assert_eq!(whole.parse().as_ref(), Ok(&reference), "{whole}");
    let familiar = reference.familiar();
    assert_eq!(familiar.parse().as_ref(), Ok(&reference), "{familiar}");
    assert!(whole.bytes().all(|byte| byte.is_ascii_graphic()) && !whole.contains("//"), "{whole:?}");
    assert!(!whole.split('/').any(|part| part.starts_with('.')), "{whole}");
}
