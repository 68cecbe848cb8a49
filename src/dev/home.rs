//! `.routeto/`, the one directory that `dev` writes to: its lock, the stages' tokens, and beneath it what store and journal keep.
//!
//! It lies in the working directory and keeps itself out of git.

use crate::{error::Failure, observed::Secret, token};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{Read, Write},
    path::{Path, PathBuf},
};

const TOKENS: &str = "tokens.json";

/// The directory, held by this process.
pub struct Home {
    directory: PathBuf,
    /// Its lock goes with the process, however that ends.
    lock: File,
}

/// Tokens in clear by stack and stage: the file is its owner's alone. No `Debug`.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    version: u32,
    tokens: BTreeMap<String, BTreeMap<String, String>>,
}

impl Home {
    /// Makes the directory where there is none, and takes its lock.
    ///
    /// # Errors
    /// Somebody else holds it, or it can't be written to.
    pub fn open(directory: &Path) -> Result<Home, Failure> {
        let failed = |path: &Path, error: std::io::Error| {
            Failure::new(path.display().to_string(), error.to_string()).now("dev keeps its data in the working directory: start it where you may write")
        };
        fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
        let ignore = directory.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n").map_err(|error| failed(&ignore, error))?;
        }
        let path = directory.join("lock");
        let mut lock = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(|error| failed(&path, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Home { directory: directory.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => {
                let mut who = String::new();
                // Nothing in it: the other one is just starting.
                let _ = lock.read_to_string(&mut who);
                let who = if who.trim().is_empty() { String::new() } else { format!(" ({})", who.trim()) };
                Err(Failure::new(directory.display().to_string(), format!("another `routeto dev` runs in this directory{who}"))
                    .now("use that one, stop it, or start this one in another directory"))
            }
            Err(TryLockError::Error(error)) => Err(failed(&path, error)),
        }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What a second one is told of this one. It is only a help: that it can't be written is no failure.
    pub fn sign(&mut self, words: &str) {
        let _ = self.lock.set_len(0).and_then(|()| self.lock.write_all(words.as_bytes()));
    }

    /// The stages' tokens: those that were given, else those kept here, else new ones, which are kept from now on.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub fn tokens(&self, stack: &str, stages: &[&str], given: &BTreeMap<String, Secret>) -> Result<BTreeMap<String, Secret>, Failure> {
        let path = self.directory.join(TOKENS);
        let failed = |what: String| Failure::new(path.display().to_string(), what);
        let mut kept: Kept = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| failed(format!("these are no tokens: {error}")).now("delete the file: every stage gets a new one"))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(failed(error.to_string())),
        };
        let of_stack = kept.tokens.entry(stack.to_owned()).or_default();
        let mut tokens = BTreeMap::new();
        let mut made = false;
        for stage in stages {
            let token = match (given.get(*stage), of_stack.get(*stage)) {
                (Some(given), _) => given.clone(),
                (None, Some(kept)) => {
                    token::check(kept).map_err(|what| failed(format!("the token of stage {stage}: {what}")).now("take it out of the file: the stage gets a new one"))?;
                    Secret(kept.clone())
                }
                (None, None) => {
                    made = true;
                    let new = token::random().map_err(&failed)?;
                    of_stack.insert((*stage).to_owned(), new.0.clone());
                    new
                }
            };
            tokens.insert((*stage).to_owned(), token);
        }
        if made {
            kept.version = 1;
            self.keep(&path, &kept).map_err(|error| failed(error.to_string()))?;
        }
        Ok(tokens)
    }

    /// Whole or not at all, and readable by its owner alone from the first byte on.
    fn keep(&self, path: &Path, kept: &Kept) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        serde_json::to_writer_pretty(&mut file, kept)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(directory: &Path) -> Home {
        Home::open(&directory.join(".routeto")).expect("a directory of one's own")
    }

    #[test]
    fn tokens_are_made_once_and_kept_readable_by_their_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = home(directory.path()).tokens("hooks", &["dev", "prod"], &BTreeMap::new()).expect("tokens");
        assert_ne!(first["dev"], first["prod"]);
        let again = home(directory.path()).tokens("hooks", &["dev", "prod", "new"], &BTreeMap::new()).expect("tokens");
        assert_eq!((&again["dev"], &again["prod"], again.len()), (&first["dev"], &first["prod"], 3));
        assert_ne!(home(directory.path()).tokens("other", &["dev"], &BTreeMap::new()).expect("tokens")["dev"], first["dev"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(directory.path().join(".routeto/tokens.json")).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(fs::read_to_string(directory.path().join(".routeto/.gitignore")).expect("a file"), "*\n");
    }

    #[test]
    fn a_given_token_counts_and_is_not_written_down() {
        let directory = tempfile::tempdir().expect("a directory");
        let given = BTreeMap::from([("prod".to_owned(), Secret("given-Token_0123456789".into()))]);
        let home = home(directory.path());
        assert_eq!(home.tokens("hooks", &["prod"], &given).expect("tokens")["prod"], given["prod"]);
        assert!(!directory.path().join(".routeto/tokens.json").exists());
    }

    #[test]
    fn a_second_one_is_told_who_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut first = home(directory.path());
        first.sign("http://127.0.0.1:3000");
        let Err(second) = Home::open(&directory.path().join(".routeto")) else { panic!("the lock is held") };
        assert_eq!(second.what, "another `routeto dev` runs in this directory (http://127.0.0.1:3000)");
        drop(first);
        home(directory.path());
    }
}
