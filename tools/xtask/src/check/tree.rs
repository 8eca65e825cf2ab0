//! The files that rules look at.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;
use super::lexer::{self, Token};

/// A text file of the checkout.
#[derive(Debug)]
pub struct File {
    /// Its path from the root, with slashes.
    pub path: String,
    /// Its content.
    pub text: String,
    /// For Rust, its tokens without comments and without the content of literals.
    pub tokens: Vec<Token>,
}

impl File {
    fn new(path: String, text: String) -> Self {
        let tokens = if path.ends_with(".rs") { lexer::tokens(&text) } else { Vec::new() };
        Self { path, text, tokens }
    }

    /// Whether this is Rust source.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// A finding in this file.
    pub fn finding(&self, line: usize, rule: &'static str, sentence: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, rule, sentence: sentence.into() }
    }
}

/// A checkout.
#[derive(Debug, Default)]
pub struct Tree {
    /// Its text files, sorted by path, without dot-folders and `target`.
    pub files: Vec<File>,
    /// The folders at its root, dot-folders and `target` apart.
    pub rooms: Vec<String>,
}

impl Tree {
    /// Reads a checkout.
    pub fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.add(root, "")?;
        tree.files.sort_by(|left, right| left.path.cmp(&right.path));
        tree.rooms.sort();
        Ok(tree)
    }

    /// A tree made of these files.
    #[cfg(test)]
    pub fn sample(files: &[(&str, &str)]) -> Self {
        let rooms = files.iter().filter_map(|(path, _)| Some(path.split_once('/')?.0.to_owned())).collect();
        let files =
            files.iter().map(|(path, text)| File::new((*path).to_owned(), (*text).to_owned())).collect();
        Self { files, rooms }
    }

    /// The Rust files.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    fn add(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("Cannot list {}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            let kind = entry.file_type()?;
            if name.starts_with('.') || (prefix.is_empty() && name == "target") {
                continue;
            }
            let path = format!("{prefix}{name}");
            if kind.is_dir() {
                if prefix.is_empty() {
                    self.rooms.push(name);
                }
                self.add(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file()
                && let Ok(text) =
                    String::from_utf8(fs::read(entry.path()).with_context(|| format!("Cannot read {path}"))?)
            {
                self.files.push(File::new(path, text));
            }
        }
        Ok(())
    }
}
