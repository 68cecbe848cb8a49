//! What a running `routeto dev` leaves in `.routeto/` for the other commands: where it listens, and
//! the stages' tokens.

use crate::{error::Failure, observed::Secret};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// In the working directory.
pub const DIRECTORY: &str = ".routeto";
const RUNNING: &str = "dev.json";
pub const LOCK: &str = "lock";
const TOKENS: &str = "tokens.json";

/// `.routeto/dev.json`: written once the port is open, removed at the end. A killed `dev` leaves it
/// behind, so nothing listens then, or somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub pid: u32,
    /// Of the stack, to tell one `dev` from another.
    pub stack: String,
    /// Without the stage, without a slash at the end: `http://127.0.0.1:3000`.
    pub url: String,
    /// Of the local S3 and SQS, which take any credentials; `None` with `--destinations aws`.
    pub endpoint: Option<String>,
    pub region: String,
    /// Of the inspector, in this run.
    #[serde(default, with = "in_clear")]
    pub key: Secret,
}

/// The one file that a secret is written to on purpose.
mod in_clear {
    use super::Secret;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&secret.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}

/// `.routeto/tokens.json`: a stage's name to its token. Of this machine only, readable by nobody
/// else.
#[derive(Default, Serialize, Deserialize)]
pub struct Tokens(BTreeMap<String, String>);

impl Running {
    /// What the `dev` of this directory (`.routeto`) says of itself; `None` where none does.
    ///
    /// # Errors
    /// When the file is there but can't be read.
    pub fn read(directory: &Path) -> Result<Option<Running>, Failure> {
        read(&directory.join(RUNNING))
    }

    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, directory: &Path) -> Result<(), Failure> {
        write(&directory.join(RUNNING), self)
    }

    /// What to say where it runs and doesn't answer; `instead`: how not to need it.
    pub fn silent(&self, instead: &str) -> Failure {
        Failure::new(
            "routeto dev",
            format!("one runs in this directory, and doesn't answer at {}", self.url),
        )
        .now(format!("look at what it says, or start it anew; {instead}"))
    }

    /// Removes what `write` wrote, unless another process has put its own in its place.
    pub fn remove(&self, directory: &Path) {
        // The stack may have been renamed since.
        if Running::read(directory)
            .is_ok_and(|running| running.is_some_and(|it| it.pid == self.pid && it.url == self.url))
        {
            // One that stays is found to be stale by whoever asks there.
            let _ = std::fs::remove_file(directory.join(RUNNING));
        }
    }
}

/// Whether a `dev` holds the directory, whatever it answers.
pub fn is_held(directory: &Path) -> bool {
    let lock = std::fs::File::open(directory.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
}

impl Tokens {
    /// None where there is no file yet.
    ///
    /// # Errors
    /// When the file is there but can't be read.
    pub fn read(directory: &Path) -> Result<Tokens, Failure> {
        Ok(read(&directory.join(TOKENS))?.unwrap_or_default())
    }

    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, directory: &Path) -> Result<(), Failure> {
        write(&directory.join(TOKENS), self)
    }

    pub fn get(&self, stage: &str) -> Option<Secret> {
        self.0.get(stage).map(|token| Secret(token.clone()))
    }

    pub fn set(&mut self, stage: &str, token: &Secret) {
        self.0.insert(stage.to_owned(), token.0.clone());
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, Failure> {
    let wrong = |what: String| {
        Failure::new(path.display().to_string(), what).now("remove it and start `routeto dev` anew")
    };
    match std::fs::read(path) {
        // serde_json's words would quote what it found, a token say.
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            wrong(format!("line {} isn't what `routeto dev` writes", error.line()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(format!("can't be read: {error}"))),
    }
}

/// Whole or not at all, and for this user alone, as [`tempfile`] makes files.
fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::new(path.display().to_string(), format!("can't be written: {error}"))
    };
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    let directory: PathBuf = path.parent().map(Path::to_owned).unwrap_or_default();
    std::fs::create_dir_all(&directory).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(&directory).map_err(failed)?;
    file.write_all(&text).map_err(failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dev_says_of_itself_is_read_back_and_removed_by_itself_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(Running::read(directory.path()), Ok(None));
        let running = Running {
            pid: 7,
            stack: "webhooks".into(),
            url: "http://127.0.0.1:3000".into(),
            endpoint: Some("http://127.0.0.1:3001".into()),
            region: "us-east-1".into(),
            key: Secret("the-key-of-this-run-12".into()),
        };
        running.write(directory.path()).expect("written");
        assert_eq!(Running::read(directory.path()), Ok(Some(running.clone())));
        Running { pid: 8, ..running.clone() }.remove(directory.path());
        assert_eq!(Running::read(directory.path()), Ok(Some(running.clone())));
        running.remove(directory.path());
        assert_eq!(Running::read(directory.path()), Ok(None));
    }

    #[test]
    fn tokens_are_read_back_are_nobody_elses_and_a_broken_file_is_told_without_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut tokens = Tokens::default();
        tokens.set("dev", &Secret("a-token-of-the-stage-dev".into()));
        tokens.write(directory.path()).expect("written");
        let read = Tokens::read(directory.path()).expect("read");
        assert_eq!(read.get("dev"), Some(Secret("a-token-of-the-stage-dev".into())));
        assert_eq!(read.get("prod"), None);
        let file = directory.path().join(TOKENS);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                std::fs::metadata(&file).expect("there").permissions().mode() & 0o777,
                0o600
            );
        }
        std::fs::write(&file, r#""a-token-of-the-stage-dev""#).expect("written");
        let Err(failure) = Tokens::read(directory.path()) else { panic!("it isn't an object") };
        assert_eq!(failure.what, "line 1 isn't what `routeto dev` writes");
    }
}
