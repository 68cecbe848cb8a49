//! Dev's own S3 and SQS: real clients and the function's real SDK code work against it, and what it
//! has answered 200 is on disk.
//!
//! - [`objects`], [`queue`], [`state`]: buckets and queues as files, without any protocol;
//! - [`s3`], [`sqs`]: the two protocols on them;
//! - [`http`]: the one endpoint for both;
//! - [`client`]: the way in for the function, in the same process;
//! - [`names`]: keys as file names.
//!
//! One process at a time may have it open: whoever opens it holds a lock on the directory above. A
//! killed process loses nothing that was answered; a power cut may lose what came in the last
//! seconds, because nothing is synced to the platters for every record.

pub mod client;
mod http;
mod names;
mod objects;
mod queue;
#[cfg(test)]
mod queue_tests;
mod s3;
mod sqs;
mod state;

pub use client::sinks;

use crate::{
    dev::{anchor::Anchor, exchange::Stored},
    error::Failure,
};
use objects::{Objects, Problem};
use queue::Queue;
use sqs::Line;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{Notify, broadcast};

/// Who is slower than this many records misses some.
const TOLD: usize = 4096;

tokio::task_local! {
    static NOTED: RefCell<Option<Stored>>;
}

/// What the future stored by way of [`sinks`], the last of it, beside what it answers.
pub async fn noting<F: Future>(future: F) -> (F::Output, Option<Stored>) {
    NOTED
        .scope(RefCell::new(None), async { (future.await, NOTED.with(|noted| noted.take())) })
        .await
}

/// Names of buckets and queues.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    pub buckets: BTreeSet<String>,
    pub queues: BTreeSet<String>,
}

pub struct Store {
    root: PathBuf,
    objects: Objects,
    queues: RwLock<HashMap<String, Arc<Line>>>,
    damaged: Vec<(String, PathBuf)>,
    lost: Vec<(String, usize)>,
    /// What the stages that are served need.
    needed: Mutex<Needed>,
    told: broadcast::Sender<Stored>,
    closed: AtomicBool,
    close: Notify,
}

impl Store {
    /// Opens the store in this directory, which is made if need be.
    ///
    /// # Errors
    /// The directory can't be read or written, or a queue's files are not those of a queue.
    pub fn open(directory: &Path) -> Result<Arc<Self>, Failure> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::new(
                path.display().to_string(),
                format!("the local store can't be opened: {error}"),
            )
            .now(format!(
                "see that {} can be read and written; or remove it, with all records in it",
                directory.display()
            ))
        };
        let objects = Objects::open(directory).map_err(|error| failed(directory, &error))?;
        let root = directory.join("sqs");
        fs::create_dir_all(&root).map_err(|error| failed(&root, &error))?;
        let (mut queues, mut damaged, mut lost) = (HashMap::new(), vec![], vec![]);
        for entry in fs::read_dir(&root).map_err(|error| failed(&root, &error))? {
            let path = entry.map_err(|error| failed(&root, &error))?.path();
            if !Queue::is_one(&path) {
                // Made or deleted half when the process was killed.
                continue;
            }
            let queue = Queue::open(&path).map_err(|error| failed(&path, &error))?;
            damaged.extend(queue.damaged.clone().map(|path| (queue.about.name.clone(), path)));
            lost.extend(queue.lost.map(|messages| (queue.about.name.clone(), messages)));
            queues.insert(queue.about.name.clone(), Arc::new(Line::new(queue)));
        }
        Ok(Arc::new(Self {
            root: directory.to_owned(),
            objects,
            queues: RwLock::new(queues),
            damaged,
            lost,
            needed: Mutex::default(),
            told: broadcast::Sender::new(TOLD),
            closed: AtomicBool::new(false),
            close: Notify::new(),
        }))
    }

    /// Queues in whose files something stood that is no message any more, each with the file that
    /// it is kept in now.
    pub fn damaged(&self) -> &[(String, PathBuf)] {
        &self.damaged
    }

    /// Queues whose last file lost its end, each with the messages in flight or delayed in it.
    pub fn lost(&self) -> &[(String, usize)] {
        &self.lost
    }

    /// From now on the store is only ours as long as this is where it is: the file that keeps
    /// another process out.
    pub fn depends_on(&self, lock: Anchor) {
        self.objects.depends_on(lock);
    }

    /// What records are stored in from now on; what was needed before may be removed.
    pub fn needs(&self, needed: Needed) {
        *self.needed.lock().unwrap_or_else(PoisonError::into_inner) = needed;
    }

    /// Why records can't be stored: which of what is needed was removed or replaced. In plain
    /// words.
    pub fn unstored(&self) -> Option<String> {
        if let Err(error) = self.objects.here() {
            return Some(error.to_string());
        }
        let needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let buckets = needed.buckets.into_iter().filter(|bucket| !self.objects.has_bucket(bucket));
        let mut gone: Vec<String> =
            buckets.map(|bucket| format!("bucket {bucket} is gone")).collect();
        for name in needed.queues {
            match self.queue(&name).map(|line| line.lock().check()) {
                None => gone.push(format!("queue {name} is gone")),
                Some(Err(error)) => gone.push(format!("queue {name}: {error}")),
                Some(Ok(())) => {}
            }
        }
        (!gone.is_empty()).then(|| gone.join("; "))
    }

    /// Both services, on every path of this router: requests with `x-amz-target: AmazonSQS.…` are
    /// SQS's, all others S3's, in path style.
    pub fn router(self: &Arc<Self>) -> axum::Router {
        http::Endpoint::new(self.clone()).router()
    }

    /// Makes a bucket; one that is there stays as it is.
    ///
    /// # Errors
    /// Names the bucket and what the disk says.
    pub fn create_bucket(&self, bucket: &str) -> Result<(), Failure> {
        match self.objects.create_bucket(bucket) {
            Ok(()) | Err(Problem::BucketExists) => Ok(()),
            Err(Problem::Disk(error)) => {
                Err(Failure::new(format!("bucket {bucket}"), error.to_string()).now(format!(
                    "make room on the disk, and see that {} can be written to",
                    self.root.display()
                )))
            }
            Err(problem) => Err(Failure::new(format!("bucket {bucket}"), format!("{problem:?}"))),
        }
    }

    /// Makes a queue with these attributes; one that is there gets them.
    ///
    /// # Errors
    /// Names the queue and what is wrong: a name or an attribute that SQS does not take, or what
    /// the disk says.
    pub fn create_queue(
        &self,
        queue: &str,
        attributes: BTreeMap<String, String>,
    ) -> Result<(), Failure> {
        sqs::ensure(self, queue, attributes)
            .map_err(|words| Failure::new(format!("queue {queue}"), words))
    }

    pub fn has_queue(&self, queue: &str) -> bool {
        self.queue(queue).is_some()
    }

    /// An object's content type and bytes; `None` where there is none, or where it can't be read.
    pub fn object(&self, bucket: &str, key: &str) -> Option<(String, Vec<u8>)> {
        let mut opened = self.objects.get(bucket, key).ok()?;
        let mut bytes = vec![0; usize::try_from(opened.meta.size).ok()?];
        opened.file.read_exact(&mut bytes).ok()?;
        Some((opened.meta.headers.remove("content-type").unwrap_or_default(), bytes))
    }

    /// A message's body, whether somebody received it or not; `None` once it is deleted and its
    /// file is gone, too.
    pub fn message(&self, queue: &str, message_id: &str) -> Option<String> {
        let line = self.queue(queue)?;
        let found = line.lock().look(queue::parse_id(message_id)?);
        Some(found.ok()??.body)
    }

    /// Tells of every record from now on, right after it was stored.
    pub fn subscribe(&self) -> broadcast::Receiver<Stored> {
        self.told.subscribe()
    }

    /// Lets those go who wait for a message, with none: they would hold up the end of the server
    /// for 20 s.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.close.notify_waiters();
    }

    fn is_closing(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    async fn closing(&self) {
        let closing = self.close.notified();
        if !self.is_closing() {
            closing.await;
        }
    }

    fn tell(&self, stored: Stored) {
        let _ = NOTED.try_with(|noted| noted.replace(Some(stored.clone())));
        // It fails where nobody listens.
        let _ = self.told.send(stored);
    }

    fn queue(&self, name: &str) -> Option<Arc<Line>> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn queue_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.queues.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        names.sort();
        names
    }

    fn queue_directory(&self, name: &str) -> PathBuf {
        self.root.join("sqs").join(names::file_name(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_now_is_missed() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("opened");
        let needs = |buckets: &[&str], queues: &[&str]| {
            let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            store.needs(Needed { buckets: set(buckets), queues: set(queues) });
            store.unstored()
        };
        store.create_bucket("there").expect("made");
        store.create_bucket("removed").expect("made");
        store.create_queue("events", BTreeMap::new()).expect("made");
        assert_eq!(needs(&["there", "removed"], &["events"]), None);
        fs::remove_dir_all(directory.path().join("s3/removed")).expect("removed");
        assert_eq!(store.unstored().as_deref(), Some("bucket removed is gone"));
        assert_eq!(needs(&["there"], &["events"]), None);
        let said = needs(&["there"], &["deleted", "events"]);
        assert_eq!(said.as_deref(), Some("queue deleted is gone"));
        assert_eq!(needs(&[], &[]), None);
    }
}
