//! Buckets and objects on disk. Knows nothing of a protocol; every call here may block for as long
//! as the disk takes.
//!
//! An object is one file: its bytes, then what is known of it as JSON, then that JSON's length and
//! a mark. It is written under `tmp/` and renamed, so it appears with its metadata and whole, or
//! not at all. A process that is killed takes nothing with it; nothing is synced to the platters
//! for every object, so a power cut may.
//!
//! ```text
//! tmp/                            what is being written; emptied at the start
//! s3/<bucket>/bucket.json
//! s3/<bucket>/objects/<name>      `names` makes it of the key; a bucket without this directory does not exist
//! s3/<bucket>/uploads/<id>/       upload.json and the parts, by their number
//! ```

use super::names::{self, Named};
use crate::{
    dev::{anchor::Anchor, now},
    resource::hex,
};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// The last bytes of an object's file.
const MARK: &[u8; 8] = b"routeto1";
/// The JSON's length, little-endian, and the mark.
const TRAILER: u64 = 12;
/// As much of a file's end is read at once: nearly always all of the JSON.
const TAIL: u64 = 1024;
/// Bytes of an object that is being written are in memory up to here.
const HELD: usize = 64 * 1024;
/// An upload's own file among its parts.
const UPLOAD: &str = "upload.json";
/// Of all but the last one. Source: the S3 User Guide, "Amazon S3 multipart upload limits".
const SMALLEST_PART: u64 = 5 * 1024 * 1024;
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
    PartTooSmall,
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
    /// Headers that are given back as they came, names in lower case: `content-type`,
    /// `cache-control`, …
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
    /// The store's directory.
    anchor: Anchor,
    /// What the store is only ours with: the lock beside it.
    lock: OnceLock<Anchor>,
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
        Ok(Self {
            anchor: Anchor::of(root)?,
            lock: OnceLock::new(),
            root: s3,
            tmp,
            turns: std::array::from_fn(|_| Mutex::default()),
            next: AtomicU64::new(0),
        })
    }

    pub fn depends_on(&self, lock: Anchor) {
        // It is said once.
        let _ = self.lock.set(lock);
    }

    /// Whether the store is where it was opened, and no other `dev` can have it.
    pub fn here(&self) -> io::Result<()> {
        self.anchor.check()?;
        self.lock.get().map_or(Ok(()), Anchor::check)
    }

    fn bucket(&self, bucket: &str) -> PathBuf {
        // A bucket's name is its own file name; whatever else it is told, this stays below `root`.
        self.root.join(names::file_name(bucket))
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
        self.here()?;
        let directory = self.bucket(bucket);
        fs::create_dir_all(&directory)?;
        let about = Bucket { name: bucket.to_owned(), created: now() };
        let temporary = Temporary(self.temporary());
        fs::write(&temporary.0, serde_json::to_vec(&about).map_err(io::Error::from)?)?;
        match fs::create_dir(directory.join("objects")) {
            Ok(()) => {
                fs::rename(&temporary.0, directory.join("bucket.json"))?;
                temporary.keep();
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Problem::BucketExists),
            Err(error) => Err(error.into()),
        }
    }

    pub fn delete_bucket(&self, bucket: &str) -> Result<(), Problem> {
        // This one call decides: a directory with something in it stays, and a PUT that is under
        // way no longer finds it.
        match fs::remove_dir(self.objects(bucket)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Problem::NoSuchBucket),
            Err(_) if fs::read_dir(self.objects(bucket))?.next().is_some() => {
                return Err(Problem::BucketNotEmpty);
            }
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
        // A kill between the bucket's directory and its file leaves it without a date, which nobody
        // misses.
        let read = fs::read(self.bucket(bucket).join("bucket.json"))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        Bucket {
            name: bucket.to_owned(),
            ..read.unwrap_or(Bucket { name: String::new(), created: 0 })
        }
    }

    fn temporary(&self) -> PathBuf {
        self.tmp.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// A file to be written that is nowhere yet.
    pub fn begin(&self) -> Result<Draft, Problem> {
        self.here()?;
        let path = self.temporary();
        let file = File::create_new(&path)?;
        Ok(Draft { path: Temporary(path), file, held: Vec::new(), md5: Md5::new(), size: 0 })
    }

    /// Puts a finished draft in its place: the object is there, whole, or it isn't. Answers what is
    /// known of it now.
    pub fn put(
        &self,
        bucket: &str,
        draft: Draft,
        meta: Meta,
        condition: &Condition,
    ) -> Result<Meta, Problem> {
        let (path, meta) = draft.finish(meta)?;
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
        self.here()?;
        // `path` is removed where this goes wrong
        fs::rename(&path.0, &place).map_err(|error| self.missing(bucket, error))?;
        path.keep();
        Ok(meta)
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
            let end = query
                .delimiter
                .as_deref()
                .and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
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
        let mut page = Page {
            next: if more { first.last().map(|last| last.0.clone()) } else { None },
            ..Page::default()
        };
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

/// Multipart uploads.
impl Objects {
    /// Its id; what is known of the object to be is kept with it.
    pub fn create_upload(&self, bucket: &str, meta: &Meta) -> Result<String, Problem> {
        self.here()?;
        self.expect_bucket(bucket)?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        let id = hex(&id);
        let directory = self.uploads(bucket).join(&id);
        fs::create_dir_all(&directory)?;
        let meta = Meta { modified: now(), ..meta.clone() };
        fs::write(directory.join(UPLOAD), serde_json::to_vec(&meta).map_err(io::Error::from)?)?;
        Ok(id)
    }

    fn uploads(&self, bucket: &str) -> PathBuf {
        self.bucket(bucket).join("uploads")
    }

    /// An upload's directory, and what is known of the object to be.
    fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<(PathBuf, Meta), Problem> {
        self.expect_bucket(bucket)?;
        // An id is part of a path here.
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Problem::NoSuchUpload);
        }
        let directory = self.uploads(bucket).join(id);
        let text = fs::read(directory.join(UPLOAD)).map_err(|_| Problem::NoSuchUpload)?;
        let meta: Meta = serde_json::from_slice(&text).map_err(|_| Problem::NoSuchUpload)?;
        if meta.key == key { Ok((directory, meta)) } else { Err(Problem::NoSuchUpload) }
    }

    pub fn expect_upload(&self, bucket: &str, key: &str, id: &str) -> Result<(), Problem> {
        self.upload(bucket, key, id).map(drop)
    }

    /// A part that comes a second time takes the place of the first.
    pub fn put_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: u32,
        draft: Draft,
        meta: Meta,
    ) -> Result<Meta, Problem> {
        let (directory, _) = self.upload(bucket, key, id)?;
        let (path, meta) = draft.finish(meta)?;
        fs::rename(&path.0, directory.join(number.to_string()))?;
        path.keep();
        Ok(meta)
    }

    /// In the order of their numbers.
    pub fn parts(&self, bucket: &str, key: &str, id: &str) -> Result<Vec<(u32, Meta)>, Problem> {
        let (directory, _) = self.upload(bucket, key, id)?;
        let mut parts = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                parts.push((number, open(&entry.path())?.meta));
            }
        }
        parts.sort_by_key(|part| part.0);
        Ok(parts)
    }

    /// Those of a bucket, with their ids, in the order of their keys.
    pub fn list_uploads(&self, bucket: &str) -> Result<Vec<(String, Meta)>, Problem> {
        self.expect_bucket(bucket)?;
        let entries = match fs::read_dir(self.uploads(bucket)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut uploads = Vec::new();
        for entry in entries {
            let entry = entry?;
            let read = fs::read(entry.path().join(UPLOAD))
                .ok()
                .and_then(|text| serde_json::from_slice::<Meta>(&text).ok());
            if let (Ok(id), Some(meta)) = (entry.file_name().into_string(), read) {
                uploads.push((id, meta));
            }
        }
        uploads.sort_by(|a, b| (&a.1.key, &a.0).cmp(&(&b.1.key, &b.0)));
        Ok(uploads)
    }

    pub fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> Result<(), Problem> {
        let (directory, _) = self.upload(bucket, key, id)?;
        // Without this file there is no upload, even if what follows is cut off.
        fs::remove_file(directory.join(UPLOAD))?;
        Ok(fs::remove_dir_all(directory)?)
    }

    /// Makes the object of these parts, given by number and ETag.
    pub fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        parts: &[(u32, Option<String>)],
        condition: &Condition,
    ) -> Result<Meta, Problem> {
        let (directory, mut meta) = self.upload(bucket, key, id)?;
        if parts.is_empty() || !parts.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Problem::InvalidPartOrder);
        }
        let mut draft = self.begin()?;
        let mut sums = Md5::new();
        for (i, (number, etag)) in parts.iter().enumerate() {
            let mut part =
                open(&directory.join(number.to_string())).map_err(|error| match error.kind() {
                    ErrorKind::NotFound => Problem::InvalidPart,
                    _ => Problem::Disk(error),
                })?;
            if etag.as_ref().is_some_and(|etag| *etag != part.meta.etag) {
                return Err(Problem::InvalidPart);
            }
            if i + 1 < parts.len() && part.meta.size < SMALLEST_PART {
                return Err(Problem::PartTooSmall);
            }
            draft.md5 = Md5::new();
            draft.copy(&mut part.file, part.meta.size)?;
            sums.update(draft.md5());
        }
        meta.etag = format!("{}-{}", hex(&sums.finalize()), parts.len());
        let meta = self.put(bucket, draft, meta, condition)?;
        // The object is there; what is left of its upload is nobody's concern.
        let _ = fs::remove_file(directory.join(UPLOAD));
        let _ = fs::remove_dir_all(directory);
        Ok(meta)
    }
}

/// A file that is removed unless it is kept.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn keep(self) {
        // Forgotten as a whole, it would take its path's memory with it, once for every object.
        drop(std::mem::take(&mut ManuallyDrop::new(self).0));
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// An object that is being written. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    path: Temporary,
    file: File,
    /// Not in the file yet: a small object is one write.
    held: Vec<u8>,
    md5: Md5,
    size: u64,
}

impl Draft {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.md5.update(bytes);
        self.size += bytes.len() as u64;
        if self.held.len() + bytes.len() <= HELD {
            self.held.extend_from_slice(bytes);
            return Ok(());
        }
        self.file.write_all(&self.held)?;
        self.held.clear();
        Ok(self.file.write_all(bytes)?)
    }

    /// Appends so many bytes of another object, from where its file stands.
    pub fn copy(&mut self, from: &mut File, mut length: u64) -> Result<(), Problem> {
        let mut buffer = vec![0; 256 * 1024];
        while length > 0 {
            let size = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
            from.read_exact(&mut buffer[..size])?;
            self.write(&buffer[..size])?;
            length -= size as u64;
        }
        Ok(())
    }

    /// Of what was written so far; 16 bytes.
    pub fn md5(&self) -> Vec<u8> {
        self.md5.clone().finalize().to_vec()
    }

    /// Writes what is known of the object behind its bytes.
    fn finish(mut self, mut meta: Meta) -> Result<(Temporary, Meta), Problem> {
        meta.size = self.size;
        if meta.etag.is_empty() {
            meta.etag = hex(&self.md5());
        }
        meta.modified = now();
        let start = self.held.len();
        serde_json::to_writer(&mut self.held, &meta).map_err(io::Error::from)?;
        let length = u32::try_from(self.held.len() - start).map_err(io::Error::other)?;
        self.held.extend(length.to_le_bytes());
        self.held.extend(MARK);
        self.file.write_all(&self.held)?;
        Ok((self.path, meta))
    }
}

/// Opens an object's file, and leaves it at the first byte.
fn open(path: &Path) -> io::Result<Opened> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let damaged = || {
        io::Error::new(
            ErrorKind::InvalidData,
            format!("{}: the file is cut off or was changed by hand", path.display()),
        )
    };
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
