//! `.routeto/`, the one directory that `dev` writes to: its lock, the stages' tokens, and beneath
//! it what store and journal keep.
//!
//! It lies in the working directory and keeps itself out of git.

use super::{
    anchor::{self, Anchor},
    running::{LOCK, Tokens},
};
use crate::{error::Failure, observed::Secret, token};
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

/// The directory, held by this process.
pub struct Home {
    directory: PathBuf,
    /// Its lock goes with the process, however that ends.
    lock: File,
}

impl Home {
    /// Makes the directory where there is none, and takes its lock.
    ///
    /// # Errors
    /// Somebody else holds it, or it can't be written to.
    pub fn open(directory: &Path) -> Result<Home, Failure> {
        let failed = |path: &Path, error: std::io::Error| {
            let now = match error.kind() {
                ErrorKind::StorageFull => "make room on the disk",
                _ => "dev keeps its data in the working directory: start it where you may write",
            };
            Failure::new(path.display().to_string(), error.to_string()).now(now)
        };
        fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
        // It holds tokens and what callers sent: for this user alone.
        #[cfg(unix)]
        fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .map_err(|error| failed(directory, error))?;
        let ignore = directory.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n").map_err(|error| failed(&ignore, error))?;
        }
        let path = directory.join(LOCK);
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| failed(&path, error))?;
        match lock.try_lock() {
            // Another `dev` or a person may have removed the file between the two: its lock would
            // keep no other out.
            Ok(()) if anchor::is_at(&path, &lock).is_err() => {
                drop(lock);
                Home::open(directory)
            }
            Ok(()) => Ok(Home { directory: directory.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => {
                let mut who = String::new();
                // Nothing in it: the other one is just starting.
                let _ = lock.read_to_string(&mut who);
                let who = if who.trim().is_empty() {
                    String::new()
                } else {
                    format!(" ({})", who.trim())
                };
                Err(Failure::new(
                    directory.display().to_string(),
                    format!("another `routeto dev` runs in this directory{who}"),
                )
                .now("use that one, stop it, or start this one in another directory"))
            }
            Err(TryLockError::Error(error)) => Err(failed(&path, error)),
        }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the directory is still this process's: it may have been removed, and another `dev`
    /// have made its own.
    ///
    /// # Errors
    /// It isn't.
    pub fn check(&self) -> Result<(), Failure> {
        anchor::is_at(&self.directory.join(LOCK), &self.lock).map_err(|error| {
            Failure::new(self.directory.display().to_string(), error.to_string())
                .now("stop `routeto dev` and start it again")
        })
    }

    /// What keeps a second `dev` out of here as long as it is where it is.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn lock_file(&self) -> Result<Anchor, Failure> {
        let path = self.directory.join(LOCK);
        Anchor::of(&path).map_err(|error| {
            Failure::new(path.display().to_string(), error.to_string())
                .now("start `routeto dev` again")
        })
    }

    /// What a second one is told of this one. It is only a help: that it can't be written is no
    /// failure.
    pub fn sign(&mut self, words: &str) {
        let _ = self.lock.set_len(0).and_then(|()| self.lock.write_all(words.as_bytes()));
    }

    /// The stages' tokens: those that were given, else those kept here, else new ones. All are
    /// kept: other commands find them here.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub fn tokens(
        &self,
        stages: &[&str],
        given: &BTreeMap<String, Secret>,
    ) -> Result<BTreeMap<String, Secret>, Failure> {
        let mut kept = Tokens::read(&self.directory)?;
        let mut tokens = BTreeMap::new();
        let mut changed = false;
        for stage in stages {
            let token = match (given.get(*stage), kept.get(stage)) {
                (Some(given), _) => given.clone(),
                (None, Some(known)) if token::check(&known.0).is_ok() => known,
                _ => token::random().map_err(|what| Failure::new("token", what))?,
            };
            if kept.get(stage).as_ref() != Some(&token) {
                kept.set(stage, &token);
                changed = true;
            }
            tokens.insert((*stage).to_owned(), token);
        }
        if changed {
            kept.write(&self.directory)?;
        }
        Ok(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(directory: &Path) -> Home {
        Home::open(&directory.join(".routeto")).expect("a directory of one's own")
    }

    #[test]
    fn tokens_are_made_once_and_a_given_one_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let none = BTreeMap::new();
        let first = home(directory.path()).tokens(&["dev", "prod"], &none).expect("tokens");
        assert_ne!(first["dev"], first["prod"]);
        let again = home(directory.path()).tokens(&["dev", "prod", "new"], &none).expect("tokens");
        assert_eq!(
            (&again["dev"], &again["prod"], again.len()),
            (&first["dev"], &first["prod"], 3)
        );
        let given = BTreeMap::from([("prod".to_owned(), Secret("given-Token_0123456789".into()))]);
        let third = home(directory.path()).tokens(&["dev", "prod"], &given).expect("tokens");
        assert_eq!((&third["dev"], &third["prod"]), (&first["dev"], &given["prod"]));
        assert_eq!(
            home(directory.path()).tokens(&["prod"], &none).expect("tokens")["prod"],
            given["prod"]
        );
        assert_eq!(
            fs::read_to_string(directory.path().join(".routeto/.gitignore")).expect("a file"),
            "*\n"
        );
    }

    #[test]
    fn a_directory_that_was_removed_is_not_this_ones_any_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = home(directory.path());
        assert!(first.check().is_ok());
        fs::remove_dir_all(first.directory()).expect("removed");
        assert!(first.check().is_err());
        let second = home(directory.path());
        let said = first.check().expect_err("another's");
        assert!(said.what.contains("was removed or replaced"), "{}", said.what);
        assert!(second.check().is_ok());
    }

    #[test]
    fn a_second_one_is_told_who_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut first = home(directory.path());
        first.sign("http://127.0.0.1:3000");
        let Err(second) = Home::open(&directory.path().join(".routeto")) else {
            panic!("the lock is held")
        };
        assert_eq!(
            second.what,
            "another `routeto dev` runs in this directory (http://127.0.0.1:3000)"
        );
        drop(first);
        home(directory.path());
    }
}
