//! Whether a path still leads to the file or directory that was opened there. `.routeto` may be
//! removed or replaced while `dev` runs, and what is written to the open files then is in no
//! directory any more.

use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

pub struct Anchor {
    path: PathBuf,
    /// Held open: no other file gets its inode number meanwhile. `None` where files can't be told
    /// apart.
    held: Option<(File, Metadata)>,
}

impl Anchor {
    /// # Errors
    /// There is nothing at this path, or it can't be opened.
    pub fn of(path: &Path) -> io::Result<Anchor> {
        Anchor::by(path, is_same)
    }

    fn by(path: &Path, is_same: Same) -> io::Result<Anchor> {
        // Elsewhere a directory can't be opened.
        let file = if cfg!(unix) { Some(File::open(path)?) } else { None };
        // Some network file systems have inode numbers that don't last.
        let held = file.and_then(|file| file.metadata().ok().map(|metadata| (file, metadata)));
        let held = held.filter(|(_, held)| check(path, held, is_same).is_ok());
        Ok(Anchor { path: path.to_owned(), held })
    }

    /// # Errors
    /// `NotFound`, with words that name the path: it was removed or replaced.
    pub fn check(&self) -> io::Result<()> {
        match &self.held {
            Some((_, held)) => check(&self.path, held, is_same),
            None if self.path.exists() => Ok(()),
            None => Err(gone(&self.path)),
        }
    }
}

/// Whether this path leads to this open file. Where files can't be told apart, any file will do.
///
/// # Errors
/// As [`Anchor::check`].
pub fn is_at(path: &Path, file: &File) -> io::Result<()> {
    is_at_by(path, file, is_same)
}

fn is_at_by(path: &Path, file: &File, is_same: Same) -> io::Result<()> {
    check(path, &file.metadata()?, is_same).or_else(|error| match Anchor::by(path, is_same) {
        Ok(Anchor { held: None, .. }) => Ok(()),
        _ => Err(error),
    })
}

/// Whether two are of one file.
type Same = fn(&Metadata, &Metadata) -> bool;

fn check(path: &Path, held: &Metadata, is_same: Same) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(there) if is_same(&there, held) => Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Err(gone(path)),
    }
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

fn gone(path: &Path) -> io::Error {
    io::Error::new(
        ErrorKind::NotFound,
        format!("{} was removed or replaced while it was in use", path.display()),
    )
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn where_inode_numbers_do_not_last_a_file_that_is_there_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let file = File::create(&path).expect("made");
        assert!(is_at_by(&path, &file, |_, _| false).is_ok());
        fs::rename(&path, directory.path().join("moved")).expect("moved");
        assert!(is_at_by(&path, &file, |_, _| false).is_err(), "nothing is there");
        File::create(&path).expect("made");
        assert!(is_at(&path, &file).is_err(), "another is there");
    }

    #[test]
    fn what_was_removed_moved_or_replaced_is_told_from_what_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store");
        fs::create_dir(&path).expect("made");
        let anchor = Anchor::of(&path).expect("opened");
        assert!(anchor.check().is_ok());
        let moved = directory.path().join("moved");
        fs::rename(&path, &moved).expect("moved");
        let said = anchor.check().expect_err("gone");
        assert_eq!(
            said.to_string(),
            format!("{} was removed or replaced while it was in use", path.display())
        );
        fs::create_dir(&path).expect("made");
        assert!(anchor.check().is_err(), "another directory in its place");
        fs::remove_dir(&path).expect("removed");
        fs::rename(&moved, &path).expect("moved back");
        assert!(anchor.check().is_ok());
        // The number of a removed one may be given out again, but not while it is held.
        for _ in 0..20 {
            fs::remove_dir(&path).expect("removed");
            fs::create_dir(&path).expect("made");
            assert!(anchor.check().is_err());
        }
    }
}
