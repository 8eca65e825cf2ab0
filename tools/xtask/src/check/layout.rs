//! The house: rooms with one job, and a page about each crate.

use super::Finding;
use super::tree::Tree;

const RULE: &str = "layout";

/// The folders at the root. The root manifest is the seventh name.
const ROOMS: [&str; 6] = ["api", "image-builder", "initd", "tests", "tools", "vmm"];

/// Finds folders that are no rooms and crates without a page.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let strange = tree.rooms.iter().filter(|room| !ROOMS.contains(&room.as_str()));
    let strange = strange.map(|room| Finding {
        path: room.clone(),
        line: 1,
        rule: RULE,
        sentence: format!("the house has the rooms {} and no other", ROOMS.join(", ")),
    });
    let crates = tree.files.iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    let silent = crates.filter(|manifest| {
        let readme = manifest.path.replace("Cargo.toml", "README.md");
        !tree.files.iter().any(|file| file.path == readme && !file.text.trim().is_empty())
    });
    let silent = silent.map(|manifest| {
        manifest.finding(
            1,
            RULE,
            "the crate has no README.md that says what it owns and what it must not know",
        )
    });
    strange.chain(silent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_rooms_and_silent_crates_are_found() {
        assert_eq!(check(&Tree::sample(&[("docs/a.md", "")])).len(), 1);
        assert_eq!(check(&Tree::sample(&[("vmm/Cargo.toml", "")])).len(), 1);
        assert_eq!(check(&Tree::sample(&[("vmm/Cargo.toml", ""), ("vmm/README.md", "\n")])).len(), 1);
        assert_eq!(
            check(&Tree::sample(&[("vmm/Cargo.toml", ""), ("vmm/README.md", "# vmm"), ("README.md", "")])),
            []
        );
    }
}
