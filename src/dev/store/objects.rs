//! Buckets and objects on disk. Knows nothing of a protocol; every call here may block for as long as the disk takes.
//!
//! An object is one file: its bytes, then what is known of it as JSON, then that JSON's length and a mark. It is written under `tmp/` and renamed, so
//! it appears with its metadata and whole, or not at all. A process that is killed takes nothing with it; nothing is synced to the platters for
//! every object, so a power cut may.
//!
//! ```text
//! tmp/                            what is being written; emptied at the start
//! s3/<bucket>/bucket.json
//! s3/<bucket>/objects/<name>      `names` makes it of the key; a bucket without this directory does not exist
//! s3/<bucket>/uploads/<id>/       upload.json and the parts, by their number
//! ```

use super::names::{self, Named};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// The last bytes of an object's file.
const MARK: &[u8; 8] = b"routeto1";
/// The JSON's length, little-endian, and the mark.
const TRAILER: u64 = 12;
/// As much of a file's end is read at once: nearly always all of the JSON.
const TAIL: u64 = 1024;
/// Writers of one key take turns; this many keys don't wait for each other.
const TURNS: usize = 64;

/// Why not.
#[derive(Debug)]
pub enum Problem {
    NoSuchBucket,
    BucketExists,
    BucketNotEmpty,
    NoSuchKey,
    NoSuchUpload,
    /// A part that was not uploaded, or has another ETag now.
    InvalidPart,
    InvalidPartOrder,
    /// `If-None-Match` or `If-Match` does not hold.
    Precondition,
    Disk(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Problem::Disk(error)
    }
}

/// What is known of an object beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    pub key: String,
    pub size: u64,
    /// Without the quotation marks.
    pub etag: String,
    /// Milliseconds since the epoch.
    pub modified: u64,
    /// Headers that are given back as they came, names in lower case: `content-type`, `cache-control`, …
    pub headers: BTreeMap<String, String>,
    /// `x-amz-meta-…`, without that.
    pub user: BTreeMap<String, String>,
    /// By algorithm (`crc32`, `sha256`, …), base64.
    pub checksums: BTreeMap<String, String>,
}

/// What must hold for an object to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// There is no object of this key.
    pub absent: bool,
    /// There is one, with this ETag.
    pub etag: Option<String>,
}

pub struct Objects {
    root: PathBuf,
    tmp: PathBuf,
    turns: [Mutex<()>; TURNS],
    next: AtomicU64,
}

/// An object that is there, open for reading.
#[derive(Debug)]
pub struct Opened {
    pub meta: Meta,
    pub file: File,
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub prefix: String,
    pub delimiter: Option<String>,
    /// Only what comes after this key or common prefix.
    pub after: Option<String>,
    pub max: usize,
}

/// A page of a listing, in the order of UTF-8.
#[derive(Debug, Default)]
pub struct Page {
    pub objects: Vec<Meta>,
    pub prefixes: Vec<String>,
    /// The last of them, where there are more.
    pub next: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Bucket {
    #[serde(skip)]
    pub name: String,
    /// Milliseconds since the epoch.
    pub created: u64,
}

impl Objects {
    /// `root` is the store's directory.
    pub fn open(root: &Path) -> io::Result<Self> {
        let (s3, tmp) = (root.join("s3"), root.join("tmp"));
        match fs::remove_dir_all(&tmp) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&tmp)?;
        fs::create_dir_all(&s3)?;
        Ok(Self { root: s3, tmp, turns: std::array::from_fn(|_| Mutex::default()), next: AtomicU64::new(0) })
    }

    fn bucket(&self, bucket: &str) -> PathBuf {
        self.root.join(bucket)
    }

    fn objects(&self, bucket: &str) -> PathBuf {
        self.bucket(bucket).join("objects")
    }

    fn path(&self, bucket: &str, key: &str) -> PathBuf {
        let mut path = self.objects(bucket);
        path.push(names::file_name(key));
        path
    }

    fn turn(&self, bucket: &str, key: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        (bucket, key).hash(&mut hasher);
        let turn = usize::try_from(hasher.finish() % TURNS as u64).unwrap_or_default();
        // it guards nothing in memory
        self.turns[turn].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn has_bucket(&self, bucket: &str) -> bool {
        fs::metadata(self.objects(bucket)).is_ok_and(|metadata| metadata.is_dir())
    }

    pub fn expect_bucket(&self, bucket: &str) -> Result<(), Problem> {
        if self.has_bucket(bucket) { Ok(()) } else { Err(Problem::NoSuchBucket) }
    }

    pub fn create_bucket(&self, bucket: &str) -> Result<(), Problem> {
        let directory = self.bucket(bucket);
        fs::create_dir_all(&directory)?;
        let about = Bucket { name: bucket.to_owned(), created: now() };
        let temporary = self.temporary();
        fs::write(&temporary, serde_json::to_vec(&about).map_err(io::Error::from)?)?;
        match fs::create_dir(directory.join("objects")) {
            Ok(()) => Ok(fs::rename(temporary, directory.join("bucket.json"))?),
            Err(error) => {
                let _ = fs::remove_file(temporary);
                Err(if error.kind() == ErrorKind::AlreadyExists { Problem::BucketExists } else { error.into() })
            }
        }
    }

    pub fn delete_bucket(&self, bucket: &str) -> Result<(), Problem> {
        // This one call decides: a directory with something in it stays, and a PUT that is under way no longer finds it.
        match fs::remove_dir(self.objects(bucket)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Problem::NoSuchBucket),
            Err(_) if fs::read_dir(self.objects(bucket))?.next().is_some() => return Err(Problem::BucketNotEmpty),
            Err(error) => return Err(error.into()),
        }
        Ok(fs::remove_dir_all(self.bucket(bucket))?)
    }

    pub fn buckets(&self) -> Result<Vec<Bucket>, Problem> {
        let mut buckets = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if self.has_bucket(&name) {
                buckets.push(self.about(&name));
            }
        }
        buckets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(buckets)
    }

    fn about(&self, bucket: &str) -> Bucket {
        // A kill between the bucket's directory and its file leaves it without a date, which nobody misses.
        let read = fs::read(self.bucket(bucket).join("bucket.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Bucket { name: bucket.to_owned(), ..read.unwrap_or(Bucket { name: String::new(), created: 0 }) }
    }

    fn temporary(&self) -> PathBuf {
        self.tmp.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// A file to be written that is nowhere yet.
    pub fn begin(&self) -> Result<Draft, Problem> {
        let path = self.temporary();
        let file = File::create_new(&path)?;
        Ok(Draft { path: Some(path), file, md5: Md5::new(), size: 0 })
    }

    /// Puts a finished draft in its place: the object is there, whole, or it isn't. Answers what is known of it now.
    pub fn put(&self, bucket: &str, mut draft: Draft, mut meta: Meta, condition: &Condition) -> Result<Meta, Problem> {
        meta.size = draft.size;
        if meta.etag.is_empty() {
            meta.etag = draft.etag();
        }
        meta.modified = now();
        let mut tail = serde_json::to_vec(&meta).map_err(io::Error::from)?;
        let length = u32::try_from(tail.len()).map_err(io::Error::other)?;
        tail.extend(length.to_le_bytes());
        tail.extend(MARK);
        draft.file.write_all(&tail)?;

        let place = self.path(bucket, &meta.key);
        let _turn = self.turn(bucket, &meta.key);
        if condition.absent && fs::symlink_metadata(&place).is_ok() {
            return Err(Problem::Precondition);
        }
        if let Some(etag) = &condition.etag {
            let there = open(&place).map_err(|error| self.missing(bucket, error))?;
            if there.meta.etag != *etag {
                return Err(Problem::Precondition);
            }
        }
        let Some(path) = draft.path.take() else { return Err(io::Error::other("a draft is put once").into()) };
        match fs::rename(&path, &place) {
            Ok(()) => Ok(meta),
            Err(error) => {
                let _ = fs::remove_file(path);
                Err(self.missing(bucket, error))
            }
        }
    }

    /// Not found: the key, or its bucket?
    fn missing(&self, bucket: &str, error: io::Error) -> Problem {
        match error.kind() {
            ErrorKind::NotFound if !self.has_bucket(bucket) => Problem::NoSuchBucket,
            ErrorKind::NotFound => Problem::NoSuchKey,
            _ => Problem::Disk(error),
        }
    }

    /// The file stands at the object's first byte.
    pub fn get(&self, bucket: &str, key: &str) -> Result<Opened, Problem> {
        open(&self.path(bucket, key)).map_err(|error| self.missing(bucket, error))
    }

    /// That there is nothing to delete is no problem, as in S3.
    pub fn delete(&self, bucket: &str, key: &str, condition: &Condition) -> Result<(), Problem> {
        let place = self.path(bucket, key);
        let _turn = self.turn(bucket, key);
        if let Some(etag) = &condition.etag
            && open(&place).map_err(|error| self.missing(bucket, error))?.meta.etag != *etag
        {
            return Err(Problem::Precondition);
        }
        match fs::remove_file(&place) {
            Ok(()) => Ok(()),
            Err(error) => match self.missing(bucket, error) {
                Problem::NoSuchKey => Ok(()),
                problem => Err(problem),
            },
        }
    }

    /// Reads the bucket's directory once and keeps no more of it than a page.
    pub fn list(&self, bucket: &str, query: &Query) -> Result<Page, Problem> {
        let directory = self.objects(bucket);
        let entries = fs::read_dir(&directory).map_err(|error| self.missing(bucket, error))?;
        // A key, or a common prefix and `true`.
        let mut first: BTreeSet<(String, bool)> = BTreeSet::new();
        for entry in entries {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            let key = match names::key(&name) {
                Named::Key(key) => key,
                Named::Digest => match open(&directory.join(name)) {
                    Ok(opened) => opened.meta.key,
                    Err(_) => continue,
                },
                Named::Foreign => continue,
            };
            let Some(rest) = key.strip_prefix(query.prefix.as_str()) else { continue };
            let end = query.delimiter.as_deref().and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
            if query.after.as_ref().is_some_and(|after| key <= *after) {
                continue;
            }
            let item = match end {
                None => (key, false),
                Some(end) => (key[..query.prefix.len() + end].to_owned(), true),
            };
            // The page before ended with this common prefix.
            if item.1 && query.after.as_ref() == Some(&item.0) {
                continue;
            }
            if first.len() <= query.max || first.last().is_some_and(|last| item < *last) {
                first.insert(item);
                if first.len() > query.max + 1 {
                    first.pop_last();
                }
            }
        }
        let more = first.len() > query.max;
        if more {
            first.pop_last();
        }
        let mut page = Page { next: if more { first.last().map(|last| last.0.clone()) } else { None }, ..Page::default() };
        for (name, is_prefix) in first {
            if is_prefix {
                page.prefixes.push(name);
            } else if let Ok(opened) = open(&directory.join(names::file_name(&name))) {
                // otherwise it was deleted since
                page.objects.push(opened.meta);
            }
        }
        Ok(page)
    }
}

/// An object that is being written. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    path: Option<PathBuf>,
    file: File,
    md5: Md5,
    size: u64,
}

impl Draft {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.md5.update(bytes);
        self.size += bytes.len() as u64;
        Ok(self.file.write_all(bytes)?)
    }

    /// Of what was written so far; 16 bytes.
    pub fn md5(&self) -> Vec<u8> {
        self.md5.clone().finalize().to_vec()
    }

    fn etag(&self) -> String {
        names::to_hex(&self.md5())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            let _ = fs::remove_file(path);
        }
    }
}

/// Opens an object's file, and leaves it at the first byte.
fn open(path: &Path) -> io::Result<Opened> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let damaged = || io::Error::new(ErrorKind::InvalidData, format!("{}: the file is cut off or was changed by hand", path.display()));
    let mut tail = vec![0; usize::try_from(length.min(TAIL)).unwrap_or_default()];
    file.seek(SeekFrom::End(-i64::try_from(tail.len()).unwrap_or_default()))?;
    file.read_exact(&mut tail)?;
    let (rest, mark) = tail.split_last_chunk::<8>().ok_or_else(damaged)?;
    let (_, json) = rest.split_last_chunk::<4>().ok_or_else(damaged)?;
    let json = u64::from(u32::from_le_bytes(*json));
    let whole = json + TRAILER;
    if mark != MARK || whole > length {
        return Err(damaged());
    }
    if whole > tail.len() as u64 {
        tail = vec![0; usize::try_from(whole).map_err(io::Error::other)?];
        file.seek(SeekFrom::Start(length - whole))?;
        file.read_exact(&mut tail)?;
    }
    let end = tail.len() - usize::try_from(TRAILER).unwrap_or_default();
    let start = tail.len() - usize::try_from(whole).unwrap_or_default();
    let meta: Meta = serde_json::from_slice(&tail[start..end]).map_err(|_| damaged())?;
    if meta.size + whole != length {
        return Err(damaged());
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(Opened { meta, file })
}

/// Milliseconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
