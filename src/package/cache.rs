//! What is kept between runs, below one directory: `zips/` by what they were made from, `build/`
//! for cargo, `toolchain.json`.
//!
//! The directory is routeto's alone and marked as such, since old files in it are removed: nothing
//! is ever removed from one that isn't marked.
//! Files appear whole or not at all. One build at a time; reading needs no lock.

use super::{Cancel, Glibc, PLACE, interrupted};
use crate::{
    error::{Error, Failure},
    resource::hex,
};
use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// What the name of a file begins with that isn't whole yet.
const TEMPORARY: &str = ".routeto-";

/// How many zips are kept: a few stacks' architectures, and the way back from a change or two.
const ZIPS: usize = 12;

/// The file that marks a cache, so that backups leave it out. Source: bford.info/cachedir, "Cache
/// Directory Tagging Specification".
const TAG: &str = "CACHEDIR.TAG";
/// What a marked directory's file begins with. The second line says whose it is: a cache of another
/// tool is not ours.
const MARK: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# This directory is a cache of routeto.\n";

/// `routeto` in `ROUTETO_CACHE`, or in the user's own cache directory (`$XDG_CACHE_HOME`,
/// `~/.cache`, `~/Library/Caches`, `%LOCALAPPDATA%`).
pub fn directory(environment: &BTreeMap<OsString, OsString>) -> Result<PathBuf, Failure> {
    let unknown = |what: String| {
        Failure::new("the cache directory", what)
            .now("set ROUTETO_CACHE to a directory that can be written")
    };
    if let Some(own) =
        environment.get(&OsString::from("ROUTETO_CACHE")).filter(|own| !own.is_empty())
    {
        let own = std::path::absolute(own)
            .map_err(|error| unknown(format!("ROUTETO_CACHE is no path: {error}")))?;
        return Ok(own.join("routeto"));
    }
    let home = etcetera::base_strategy::choose_native_strategy()
        .map_err(|error| unknown(error.to_string()))?;
    Ok(home.cache_dir().join("routeto"))
}

/// The cache directory; it exists and is marked.
pub struct Cache(PathBuf);

/// A zip as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub zip: Vec<u8>,
    /// Of the zip.
    pub sha256: [u8; 32],
    pub path: PathBuf,
    pub bootstrap_bytes: u64,
    pub glibc: Option<Glibc>,
    pub build_seconds: f64,
}

/// What stands beside a zip.
#[derive(Serialize, Deserialize)]
struct Note {
    /// Of the zip, in hex.
    sha256: String,
    bootstrap_bytes: u64,
    glibc: Option<(u32, u32)>,
    /// Whole, because a fraction that goes through JSON may come back with another last digit.
    build_milliseconds: u64,
}

impl Cache {
    /// # Errors
    /// Where the directory can't be made, or has files that aren't routeto's.
    pub fn open(directory: &Path) -> Result<Self, Failure> {
        let cache = Self(directory.to_owned());
        fs::create_dir_all(directory).map_err(|error| unwritable(directory, &error))?;
        if !cache.is_marked() {
            // Another routeto may have marked it meanwhile.
            if !cache.could_be_ours().map_err(|error| unwritable(directory, &error))?
                && !cache.is_marked()
            {
                let what = format!(
                    "{} has files that aren't routeto's (it lacks routeto's {TAG}), and old files are removed from a cache",
                    directory.display()
                );
                return Err(Failure::new(PLACE, what)
                    .now("set ROUTETO_CACHE to another directory: the cache is `routeto` in it"));
            }
            write_whole(&directory.join(TAG), MARK.as_bytes())
                .map_err(|error| unwritable(directory, &error))?;
        }
        for made in [cache.zips(), cache.build()] {
            fs::create_dir_all(&made).map_err(|error| unwritable(&made, &error))?;
        }
        Ok(cache)
    }

    fn is_marked(&self) -> bool {
        fs::read_to_string(self.0.join(TAG)).is_ok_and(|text| text.starts_with(MARK))
    }

    /// Whether an unmarked directory may become the cache: it is empty, or holds what a cache held
    /// before there was a mark, the lock of its builds included, and nothing else.
    fn could_be_ours(&self) -> io::Result<bool> {
        let names: Vec<OsString> = fs::read_dir(&self.0)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<_>>()?;
        let known = |name: &OsString| {
            ["zips", "build", "toolchain.json", "lock"].iter().any(|known| name == known)
        };
        let half_written = |name: &OsString| name.to_string_lossy().starts_with(TEMPORARY);
        let (others, ours): (Vec<_>, Vec<_>) =
            names.iter().filter(|name| !half_written(name)).partition(|name| !known(name));
        Ok(others.is_empty() && (ours.is_empty() || ours.iter().any(|name| *name == "lock")))
    }

    fn zips(&self) -> PathBuf {
        self.0.join("zips")
    }

    /// Cargo's own: the source laid down, its target directory and the log.
    pub fn build(&self) -> PathBuf {
        self.0.join("build")
    }

    pub fn zip_path(&self, key: &str) -> PathBuf {
        self.zips().join(format!("{key}.zip"))
    }

    fn note_path(&self, key: &str) -> PathBuf {
        self.zips().join(format!("{key}.json"))
    }

    /// The zip of this key, unless it isn't there or isn't what was written.
    pub fn read(&self, key: &str) -> Option<Entry> {
        let note: Note = serde_json::from_slice(&fs::read(self.note_path(key)).ok()?).ok()?;
        let path = self.zip_path(key);
        let zip = fs::read(&path).ok()?;
        let sha256: [u8; 32] = Sha256::digest(&zip).into();
        if hex(&sha256) != note.sha256 {
            return None;
        }
        let glibc = note.glibc.map(|(major, minor)| Glibc { major, minor });
        Some(Entry {
            zip,
            sha256,
            path,
            bootstrap_bytes: note.bootstrap_bytes,
            glibc,
            build_seconds: note.build_milliseconds as f64 / 1000.0,
        })
    }

    pub fn write(&self, key: &str, entry: &Entry) -> Result<(), Failure> {
        let note = Note {
            sha256: hex(&entry.sha256),
            bootstrap_bytes: entry.bootstrap_bytes,
            glibc: entry.glibc.map(|version| (version.major, version.minor)),
            build_milliseconds: (entry.build_seconds * 1000.0).round() as u64,
        };
        let note = serde_json::to_vec(&note).expect("a plain struct");
        // The note last: a zip without one is built again.
        for (path, bytes) in [(self.zip_path(key), &entry.zip), (self.note_path(key), &note)] {
            write_whole(&path, bytes).map_err(|error| unwritable(&path, &error))?;
        }
        self.prune();
        Ok(())
    }

    /// Removes the oldest zips beyond [`ZIPS`], and what a killed run left half-written. What can't
    /// be removed stays.
    fn prune(&self) {
        let mut zips: Vec<(SystemTime, PathBuf)> = Vec::new();
        for path in
            fs::read_dir(self.zips()).into_iter().flatten().flatten().map(|entry| entry.path())
        {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("zip") => zips.push((
                    path.metadata()
                        .and_then(|data| data.modified())
                        .unwrap_or(SystemTime::UNIX_EPOCH),
                    path,
                )),
                _ if path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY)) =>
                {
                    drop(fs::remove_file(path))
                }
                _ => {}
            }
        }
        zips.sort();
        for (_, path) in zips.iter().rev().skip(ZIPS) {
            let _ = fs::remove_file(path.with_extension("json"));
            let _ = fs::remove_file(path);
        }
    }

    /// Keeps other processes from building until it is dropped; a process that dies lets go of it.
    /// `waiting` is called once if there is one.
    pub fn lock(&self, cancel: &Cancel, waiting: &dyn Fn()) -> Result<File, Error> {
        let path = self.0.join("lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| unwritable(&path, &error))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {
                    if !std::mem::replace(&mut told, true) {
                        waiting();
                    }
                    if cancel.wait(Duration::from_millis(50)) {
                        return Err(interrupted());
                    }
                }
                Err(TryLockError::Error(error)) => {
                    let what = format!("it can't be locked: {error}");
                    return Err(Failure::new(path.display().to_string(), what)
                        .now("set ROUTETO_CACHE to a directory on a local disk")
                        .into());
                }
            }
        }
    }

    /// A small note of one's own; `None` where it isn't there or can't be read.
    pub fn read_note<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.0.join(name)).ok()?).ok()
    }

    /// Keeps a note; where it can't be kept, the next run does the work again.
    pub fn write_note<T: Serialize>(&self, name: &str, note: &T) {
        let _ = write_whole(&self.0.join(name), &serde_json::to_vec(note).expect("a plain struct"));
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(PLACE, format!("{} can't be written: {error}", path.display()))
        .now("set ROUTETO_CACHE to a directory that can be written")
}

/// Writes beside `path` and moves it there, so that nobody ever sees half of it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(directory)?;
    file.write_all(bytes)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A temporary file is private; what it becomes is a file like any other.
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(cache: &Cache, key: &str, zip: &[u8]) -> Entry {
        let glibc = Some(Glibc { major: 2, minor: 34 });
        Entry {
            zip: zip.to_vec(),
            sha256: Sha256::digest(zip).into(),
            path: cache.zip_path(key),
            bootstrap_bytes: 7,
            glibc,
            build_seconds: 1.5,
        }
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::open(&scratch.path().join("routeto")).unwrap();
        (scratch, cache)
    }

    #[test]
    fn a_zip_comes_back_as_it_was_written() {
        let (_scratch, cache) = cache();
        let written = entry(&cache, "a", b"zip");
        cache.write("a", &written).unwrap();
        assert_eq!(cache.read("a"), Some(written));
        assert_eq!(cache.read("b"), None);
    }

    #[test]
    fn a_zip_that_was_changed_or_has_no_note_doesnt_count() {
        let (_scratch, cache) = cache();
        let written = entry(&cache, "a", b"zip");
        cache.write("a", &written).unwrap();
        fs::write(&written.path, b"zap").unwrap();
        assert_eq!(cache.read("a"), None);
        cache.write("a", &written).unwrap();
        fs::write(cache.note_path("a"), b"{").unwrap();
        assert_eq!(cache.read("a"), None);
        fs::remove_file(cache.note_path("a")).unwrap();
        assert_eq!(cache.read("a"), None);
    }

    #[test]
    fn only_the_newest_zips_are_kept_and_half_written_files_go() {
        let (_scratch, cache) = cache();
        fs::write(cache.zips().join(".routeto-AbCdEf"), b"half").unwrap();
        for i in 0..ZIPS + 3 {
            let key = format!("{i:02}");
            cache.write(&key, &entry(&cache, &key, b"zip")).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + i as u64);
            File::options()
                .append(true)
                .open(cache.zip_path(&key))
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
        cache.prune();
        let mut left: Vec<String> = fs::read_dir(cache.zips())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let expected: Vec<String> =
            (3..ZIPS + 3).flat_map(|i| [format!("{i:02}.json"), format!("{i:02}.zip")]).collect();
        assert_eq!(left, expected);
    }

    #[test]
    fn the_cache_is_where_routeto_cache_says_or_in_the_users_own() {
        let own = BTreeMap::from([("ROUTETO_CACHE".into(), "/somewhere/else".into())]);
        assert_eq!(directory(&own).unwrap(), Path::new("/somewhere/else/routeto"));
        let relative = BTreeMap::from([("ROUTETO_CACHE".into(), "here".into())]);
        assert_eq!(
            directory(&relative).unwrap(),
            std::env::current_dir().unwrap().join("here/routeto")
        );
        let empty = BTreeMap::from([("ROUTETO_CACHE".into(), "".into())]);
        assert!(directory(&empty).unwrap().ends_with("routeto"));
    }

    /// Every file below a directory, with its content.
    fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => all.extend(files(&path)),
                path => drop(all.insert(path.clone(), fs::read(path).unwrap())),
            }
        }
        all
    }

    #[test]
    fn files_of_the_users_outlive_a_cache_beside_them() {
        let scratch = tempfile::tempdir().unwrap();
        for name in [
            "zips/photos.tar",
            "zips/notes.txt",
            "zips/a.zip",
            "build/source/main.c",
            "build/target/program",
            "lock",
            "src/lib.rs",
        ] {
            let path = scratch.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let before = files(scratch.path());
        let environment = BTreeMap::from([("ROUTETO_CACHE".into(), scratch.path().into())]);
        let own = directory(&environment).unwrap();
        let cache = Cache::open(&own).unwrap();
        for i in 0..ZIPS + 2 {
            cache.write(&format!("{i}"), &entry(&cache, &format!("{i}"), b"zip")).unwrap();
        }
        crate::package::Source::new([("Cargo.toml", "one")])
            .lay_down(&cache.build().join("source"))
            .unwrap();
        let after: BTreeMap<_, _> =
            files(scratch.path()).into_iter().filter(|(path, _)| !path.starts_with(&own)).collect();
        assert_eq!(after, before);
        assert!(
            fs::read_to_string(own.join(TAG))
                .unwrap()
                .starts_with("Signature: 8a477f597d28d172789f06886806bc55")
        );
        Cache::open(&own).unwrap();
    }

    #[test]
    fn a_directory_with_other_files_is_never_taken_for_a_cache() {
        // A checkout of a project called routeto, a cache of another tool, half of what a cache
        // has.
        for names in
            [&["Cargo.toml", "zips"][..], &[TAG], &["zips", "build"], &["lock", "zips", "notes"]]
        {
            let scratch = tempfile::tempdir().unwrap();
            names.iter().for_each(|name| {
                fs::write(scratch.path().join(name), b"Signature: 8a477f597d28d172789f06886806bc55")
                    .unwrap()
            });
            let before = files(scratch.path());
            let text = Cache::open(scratch.path()).map(|_| ()).unwrap_err().to_string();
            assert!(
                text.contains("has files that aren't routeto's") && text.contains("ROUTETO_CACHE"),
                "{text}"
            );
            assert_eq!(files(scratch.path()), before, "{names:?}");
        }
        // What a cache was before it had a mark.
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("lock"), b"").unwrap();
        fs::create_dir(scratch.path().join("zips")).unwrap();
        Cache::open(scratch.path()).unwrap();
        assert!(scratch.path().join(TAG).exists());
    }

    #[test]
    fn a_cache_directory_that_is_a_file_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = Cache::open(file.path()).map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            text,
            format!(
                "building the function: {} can't be written: File exists (os error 17)\n  = help: set ROUTETO_CACHE to a directory that can be written",
                file.path().display()
            )
        );
    }

    #[test]
    fn waiting_for_the_lock_is_told_once_and_ends_when_cancelled() {
        let (_scratch, cache) = cache();
        let cancel = Cancel::default();
        let held = cache.lock(&cancel, &|| panic!("nobody has it")).unwrap();
        let told = std::cell::Cell::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                cancel.wait(Duration::from_millis(200));
                cancel.cancel();
            });
            let error = cache.lock(&cancel, &|| told.set(told.get() + 1)).unwrap_err();
            assert_eq!(error.exit_code(), 130);
        });
        assert_eq!(told.get(), 1);
        drop(held);
        cache.lock(&Cancel::default(), &|| panic!("nobody has it any more")).unwrap();
    }
}
