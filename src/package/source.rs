//! The function's source: the files that cargo builds, wherever they come from.
//!
//! Holds bytes and lays them down in a directory; builds nothing.

use crate::resource::hex;
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Files of a cargo package that needs no workspace, by their path in it with `/`; its program is
/// called `bootstrap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source(BTreeMap<String, Cow<'static, [u8]>>);

/// Made by the build script.
static EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/function_source.rs"));

impl Source {
    /// What travels inside this binary.
    pub fn embedded() -> Self {
        Self(
            EMBEDDED
                .iter()
                .map(|(path, bytes)| ((*path).to_owned(), Cow::Borrowed(*bytes)))
                .collect(),
        )
    }

    /// Files by path, for a package of one's own.
    pub fn new<P: Into<String>, B: Into<Vec<u8>>>(files: impl IntoIterator<Item = (P, B)>) -> Self {
        Self(
            files
                .into_iter()
                .map(|(path, bytes)| (path.into(), Cow::Owned(bytes.into())))
                .collect(),
        )
    }

    /// A file of it.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(AsRef::as_ref)
    }

    /// SHA-256 in hex over every path and every byte.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (path, bytes) in &self.0 {
            for part in [path.as_bytes(), bytes] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hex(&hash.finalize())
    }

    /// Makes `directory` hold these files and no others. A file that is right already isn't
    /// touched, so that cargo sees only what changed.
    pub fn lay_down(&self, directory: &Path) -> io::Result<()> {
        let mut wanted = BTreeMap::new();
        for (path, bytes) in &self.0 {
            wanted.insert(
                path.split('/').fold(directory.to_owned(), |at, part| at.join(part)),
                bytes,
            );
        }
        fs::create_dir_all(directory)?;
        remove_others(directory, &wanted)?;
        for (path, bytes) in wanted {
            if fs::read(&path).is_ok_and(|there| there == **bytes) {
                continue;
            }
            fs::create_dir_all(path.parent().expect("a file in a directory"))?;
            fs::write(&path, bytes)?;
        }
        Ok(())
    }
}

fn remove_others(
    directory: &Path,
    wanted: &BTreeMap<PathBuf, &Cow<'static, [u8]>>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let is_directory = entry.file_type()?.is_dir();
        if wanted.contains_key(&path) && !is_directory {
            continue;
        }
        if !is_directory {
            fs::remove_file(&path)?;
        } else if wanted.keys().any(|file| file.starts_with(&path) && *file != path) {
            remove_others(&path, wanted)?;
        } else {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn laying_down_leaves_right_files_untouched_and_removes_what_is_no_longer_there() {
        let scratch = tempfile::tempdir().unwrap();
        let at = scratch.path().join("source");
        Source::new([("Cargo.toml", "one"), ("src/main.rs", "main"), ("src/old/gone.rs", "gone")])
            .lay_down(&at)
            .unwrap();
        let stamp = |name: &str| fs::metadata(at.join(name)).unwrap().modified().unwrap();
        let before = stamp("Cargo.toml");
        Source::new([("Cargo.toml", "one"), ("src/main.rs", "other")]).lay_down(&at).unwrap();
        assert_eq!(stamp("Cargo.toml"), before);
        assert_eq!(fs::read_to_string(at.join("src/main.rs")).unwrap(), "other");
        assert!(!at.join("src/old").exists());
    }

    #[test]
    fn the_digest_tells_a_moved_byte_from_a_moved_name() {
        let digest = |files: &[(&str, &str)]| {
            Source::new(files.iter().map(|(path, text)| (*path, *text))).digest()
        };
        assert_eq!(digest(&[("a", "bc")]), digest(&[("a", "bc")]));
        assert_ne!(digest(&[("a", "bc")]), digest(&[("ab", "c")]));
        assert_ne!(digest(&[("a", ""), ("b", "")]), digest(&[("a", "b")]));
    }

    #[test]
    fn the_binary_carries_a_manifest_without_workspace_inheritance_a_lock_and_the_profile() {
        let source = Source::embedded();
        let text = |path: &str| String::from_utf8(source.file(path).unwrap().to_vec()).unwrap();
        let manifest: toml::Table = text("Cargo.toml").parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("routeto-function"));
        assert!(manifest["package"]["edition"].is_str());
        assert!(!text("Cargo.toml").contains("workspace = true"), "{manifest}");
        assert_eq!(manifest["profile"]["function"]["panic"].as_str(), Some("abort"));
        let config: toml::Table = text(".cargo/config.toml").parse().unwrap();
        assert_eq!(config["profile"], manifest["profile"]);
        assert!(text("Cargo.lock").contains("name = \"routeto-function\""));
        assert!(source.file("src/lib.rs").is_some());
    }
}
