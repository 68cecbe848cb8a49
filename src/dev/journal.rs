//! The journal of `routeto dev`: the last thousand exchanges, on disk, and the news of each as it
//! is recorded.
//!
//! Files of up to a hundred records each, written to at the end only and removed whole, oldest
//! first. A record is a line of JSON that sums it up, a line with the whole [`Exchange`], written
//! one after the other. What a kill left half written is passed over at the next start, which
//! begins a new file. In memory is a short summary of each record and nothing else: bodies are read
//! from disk when somebody looks.
//!
//! Knows nothing of HTTP. Never holds up a request for long: a full disk costs the record, and is
//! told, but not the request.

use super::{
    anchor::Anchor,
    exchange::{Again, Exchange, Stored},
    search::Search,
};
use crate::error::Failure;
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::broadcast;

/// Records that are kept.
pub const MOST: usize = 1000;
/// Bytes on disk, beside the file that is being written to.
pub const MOST_BYTES: u64 = 256 * 1024 * 1024;
/// A file's records and bytes, after which the next one begins.
const FILE_RECORDS: usize = 100;
const FILE_BYTES: u64 = 16 * 1024 * 1024;
const ENDING: &str = "journal";
/// Summaries that a slow reader may lie behind before it is told to read the list again.
const BACKLOG: usize = 256;
/// Characters of a path, a query, a preview in a summary.
const LONGEST: usize = 160;
/// Bytes of records that one [`Journal::search`] reads, but for the last.
const SEARCH_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of nearly every record's first line.
const LONGEST_HEAD: usize = 2048;

/// What the list shows of an exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// In the order in which records were written, from 1; an exchange's own id is in the order of
    /// arrival.
    pub seq: u64,
    pub id: u64,
    /// Milliseconds since the epoch.
    pub time: u64,
    pub stage: String,
    pub route: Option<String>,
    pub method: String,
    /// With the query, without the stage and the token; cut.
    pub path: String,
    pub status: u16,
    pub millis: f64,
    /// Bytes of the request's body.
    pub bytes: u64,
    pub content_type: String,
    /// `s3`, `sqs`, or `None` where nothing was stored.
    pub stored: Option<String>,
    /// How the body begins, in one line; empty where it isn't text.
    pub preview: String,
    /// What else it is looked for by: the id that the answer has, the record's key or message id,
    /// why it was refused.
    #[serde(default)]
    pub more: Vec<String>,
    /// Which request the page sent again with this.
    #[serde(default)]
    pub again: Option<Again>,
}

/// What one step of a search found.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// Newest first.
    pub ids: Vec<u64>,
    /// Where the next step goes on: before this `seq`. `None`: all was searched.
    pub before: Option<u64>,
    /// The last `seq` given out when this step began.
    pub last: u64,
}

/// What subscribers hear.
#[derive(Clone, Debug)]
pub enum News {
    Recorded(Arc<Summary>),
    /// The stack file was read anew, or can't be: see what the backend says of itself.
    Changed,
}

pub struct Journal {
    directory: PathBuf,
    /// What the directory is only ours with.
    lock: OnceLock<Anchor>,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    most_bytes: u64,
    seq: u64,
    /// `None` once the journal is closed, so that streams of news end. In here, so that news come
    /// in the order of `seq`.
    news: Option<broadcast::Sender<News>>,
    /// By the exchange's id.
    entries: BTreeMap<u64, Entry>,
    /// By number, which is the `seq` of a file's first record.
    files: BTreeMap<u64, Length>,
    writing: Option<Writing>,
}

struct Entry {
    summary: Arc<Summary>,
    file: u64,
    /// Where the exchange's JSON begins, and its length.
    at: u64,
    length: u64,
}

#[derive(Clone, Copy, Default)]
struct Length {
    bytes: u64,
    /// Of the records in it, how many are still in the list.
    kept: usize,
}

struct Writing {
    number: u64,
    file: File,
    records: usize,
    bytes: u64,
}

/// The first line of a record.
#[derive(Serialize, Deserialize)]
struct Head<S> {
    /// Of the second line, without its newline.
    length: u64,
    summary: S,
}

impl Journal {
    /// Opens the journal in `directory`, which is made unless it exists.
    ///
    /// # Errors
    /// When the directory can't be made or read.
    pub fn open(directory: &Path) -> Result<Arc<Journal>, Failure> {
        Journal::bounded(directory, MOST_BYTES)
    }

    fn bounded(directory: &Path, most_bytes: u64) -> Result<Arc<Journal>, Failure> {
        let failed = |error: io::Error| {
            Failure::new(directory.display().to_string(), format!("the journal of requests can't be opened: {error}"))
                .now("see that the directory can be written to, or remove it: it holds only what the page shows")
        };
        make_private(directory).map_err(failed)?;
        let mut state = State { most_bytes, ..State::default() };
        for number in numbers(directory).map_err(failed)? {
            state.read(directory, number).map_err(failed)?;
        }
        state.trim(directory);
        let next = state.entries.last_key_value().map_or(0, |(id, _)| *id) + 1;
        state.news = Some(broadcast::channel(BACKLOG).0);
        Ok(Arc::new(Journal {
            directory: directory.to_owned(),
            lock: OnceLock::new(),
            next: AtomicU64::new(next),
            state: Mutex::new(state),
        }))
    }

    /// From now on the directory is only ours as long as this is where it is: the file that keeps
    /// another process out.
    pub fn depends_on(&self, lock: Anchor) {
        // It is said once.
        let _ = self.lock.set(lock);
    }

    /// The next exchange's id.
    pub fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The greatest id that was given out; 0 for none.
    pub fn last_id(&self) -> u64 {
        self.next.load(Ordering::Relaxed) - 1
    }

    /// Writes an exchange down and tells those who listen.
    ///
    /// # Errors
    /// When it can't be written (a full disk): the list then lacks it, but listeners have heard of
    /// it. The journal stays as it was.
    pub fn record(&self, exchange: &Exchange) -> Result<(), Failure> {
        let failed = |error: io::Error| {
            Failure::new(
                self.directory.display().to_string(),
                format!("request {} can't be written down: {error}", exchange.id),
            )
            .now("the request itself was answered; make room on the disk")
        };
        let mut json = Vec::with_capacity(exchange.size_estimate());
        serde_json::to_writer(&mut json, exchange).map_err(|error| failed(error.into()))?;
        json.push(b'\n');
        let mut summary = summary(exchange);
        let mut state = self.state();
        state.seq += 1;
        summary.seq = state.seq;
        let summary = Arc::new(summary);
        // Without the lock the directory may have another's journal in it.
        let written = self.lock.get().map_or(Ok(()), Anchor::check).and_then(|()| {
            let written = state.write(&self.directory, &summary, &json);
            state.trim(&self.directory);
            written
        });
        state.tell(News::Recorded(summary));
        written.map_err(failed)
    }

    /// Tells listeners that the backend has something new to say of itself.
    pub fn changed(&self) {
        self.state().tell(News::Changed);
    }

    /// News from now on; `None` once the journal is closed.
    pub fn subscribe(&self) -> Option<broadcast::Receiver<News>> {
        self.state().news.as_ref().map(broadcast::Sender::subscribe)
    }

    /// Ends every subscription, so that a server that stops isn't kept by an open page. Records are
    /// still taken.
    pub fn close(&self) {
        self.state().news = None;
    }

    /// The summaries with a greater `seq`, in the order of it; 0 for all. And the last `seq` given
    /// out.
    pub fn since(&self, seq: u64) -> (Vec<Arc<Summary>>, u64) {
        let state = self.state();
        let mut list: Vec<_> = state
            .entries
            .values()
            .filter(|entry| entry.summary.seq > seq)
            .map(|entry| entry.summary.clone())
            .collect();
        list.sort_by_key(|summary| summary.seq);
        (list, state.seq)
    }

    /// An exchange as JSON text; `None` where there is none of this id any more.
    ///
    /// # Errors
    /// When its file can't be read.
    pub fn json(&self, id: u64) -> Result<Option<Vec<u8>>, Failure> {
        let (file, at, length) = {
            let state = self.state();
            let Some(entry) = state.entries.get(&id) else { return Ok(None) };
            (entry.file, entry.at, entry.length)
        };
        let path = path(&self.directory, file);
        match File::open(&path).and_then(|mut file| read_at(&mut file, at, length)) {
            Ok(json) => Ok(Some(json)),
            // Removed since we looked, as the oldest are.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::new(
                path.display().to_string(),
                format!("request {id} can't be read: {error}"),
            )),
        }
    }

    /// Searches the records between two `seq`s, both not included, newest first. Reads so much and
    /// no more: the caller goes on where it ended. One exchange at a time is in memory.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn search(&self, search: &Search, after: u64, before: u64) -> Result<Found, Failure> {
        self.search_some(search, after, before, SEARCH_BYTES)
    }

    fn search_some(
        &self,
        search: &Search,
        after: u64,
        before: u64,
        most: u64,
    ) -> Result<Found, Failure> {
        let (mut records, last) = {
            let state = self.state();
            let within = |entry: &&Entry| entry.summary.seq > after && entry.summary.seq < before;
            let entries = state.entries.values().filter(within);
            let records: Vec<_> = entries
                .map(|entry| (entry.summary.clone(), entry.file, entry.at, entry.length))
                .collect();
            (records, state.seq)
        };
        records.sort_unstable_by_key(|(summary, ..)| Reverse(summary.seq));
        let mut found = Found { ids: vec![], before: None, last };
        let mut bytes = 0;
        let mut open: Option<(u64, File)> = None;
        for (summary, number, at, length) in records {
            if search.is_in_summary(&summary) {
                found.ids.push(summary.id);
                continue;
            }
            if bytes >= most {
                found.before = Some(summary.seq + 1);
                break;
            }
            bytes += length;
            let path = path(&self.directory, number);
            let mut read = || -> io::Result<Vec<u8>> {
                let file = match open.take() {
                    Some((known, file)) if known == number => file,
                    _ => File::open(&path)?,
                };
                read_at(&mut open.insert((number, file)).1, at, length)
            };
            let json = match read() {
                Ok(json) => json,
                // Removed since we looked, as the oldest are.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(Failure::new(
                        path.display().to_string(),
                        format!("it can't be searched: {error}"),
                    ));
                }
            };
            // One that isn't whole is told when it is opened.
            let Ok(exchange) = serde_json::from_slice(&json) else { continue };
            drop(json);
            if search.is_in(&summary, exchange) {
                found.ids.push(summary.id);
            }
        }
        Ok(found)
    }

    /// An exchange.
    ///
    /// # Errors
    /// When its file can't be read.
    pub fn get(&self, id: u64) -> Result<Option<Exchange>, Failure> {
        let Some(json) = self.json(id)? else { return Ok(None) };
        let parsed = serde_json::from_slice(&json);
        parsed.map(Some).map_err(|error| {
            Failure::new(
                self.directory.display().to_string(),
                format!("request {id} can't be read: {error}"),
            )
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&self, news: News) {
        if let Some(sender) = &self.news {
            // Nobody listens: nobody is told.
            let _ = sender.send(news);
        }
    }

    /// Takes in what a file of an earlier run holds, up to where it is whole.
    fn read(&mut self, directory: &Path, number: u64) -> io::Result<()> {
        let file = File::open(path(directory, number))?;
        let size = file.metadata()?.len();
        let mut reader = BufReader::new(file);
        self.files.insert(number, Length { bytes: size, kept: 0 });
        self.seq = self.seq.max(number.saturating_sub(1));
        let mut line = Vec::new();
        loop {
            line.clear();
            reader.read_until(b'\n', &mut line)?;
            let Ok(head) = serde_json::from_slice::<Head<Summary>>(&line) else { break };
            let at = reader.stream_position()?;
            // The newline is the record's last byte: with it, all is there.
            let Some(end) = at.checked_add(head.length).filter(|end| *end < size) else { break };
            reader.seek_relative(i64::try_from(head.length).map_err(io::Error::other)?)?;
            let mut newline = [0];
            reader.read_exact(&mut newline)?;
            if newline != *b"\n" || reader.stream_position()? != end + 1 {
                break;
            }
            self.seq = self.seq.max(head.summary.seq);
            self.enter(Entry {
                file: number,
                at,
                length: head.length,
                summary: Arc::new(head.summary),
            });
        }
        Ok(())
    }

    fn enter(&mut self, entry: Entry) {
        self.files.entry(entry.file).or_default().kept += 1;
        if let Some(before) = self.entries.insert(entry.summary.id, entry) {
            self.files.entry(before.file).or_default().kept -= 1;
        }
    }

    /// `json`: the exchange, with a newline at its end.
    fn write(&mut self, directory: &Path, summary: &Arc<Summary>, json: &[u8]) -> io::Result<()> {
        let length = json.len() as u64 - 1;
        let mut head = Vec::with_capacity(LONGEST_HEAD);
        serde_json::to_writer(&mut head, &Head { length, summary: summary.as_ref() })?;
        head.push(b'\n');
        let full =
            |writing: &Writing| writing.records >= FILE_RECORDS || writing.bytes >= FILE_BYTES;
        if self.writing.as_ref().is_none_or(full) {
            self.writing = None;
            let file =
                private().create_new(true).append(true).open(path(directory, summary.seq))?;
            self.files.insert(summary.seq, Length::default());
            self.writing = Some(Writing { number: summary.seq, file, records: 0, bytes: 0 });
        }
        let Some(writing) = &mut self.writing else { return Ok(()) };
        // Not copied together first: an exchange may be large.
        if let Err(error) =
            writing.file.write_all(&head).and_then(|()| writing.file.write_all(json))
        {
            // Part of it may be there: nothing more goes behind that.
            self.writing = None;
            return Err(error);
        }
        let at = writing.bytes + head.len() as u64;
        writing.records += 1;
        writing.bytes += (head.len() + json.len()) as u64;
        let (file, bytes) = (writing.number, writing.bytes);
        self.files.entry(file).or_default().bytes = bytes;
        self.enter(Entry { file, at, length, summary: summary.clone() });
        Ok(())
    }

    /// Forgets the oldest, and removes the files that hold nothing else.
    fn trim(&mut self, directory: &Path) {
        let writing = self.writing.as_ref().map(|writing| writing.number);
        let mut bytes: u64 = self.files.values().map(|length| length.bytes).sum();
        while self.entries.len() > MOST || bytes > self.most_bytes {
            let Some((_, oldest)) = self.entries.pop_first() else { break };
            if let Some(length) = self.files.get_mut(&oldest.file) {
                length.kept -= 1;
                if length.kept == 0 && writing != Some(oldest.file) {
                    bytes -= length.bytes;
                }
            }
        }
        self.files.retain(|number, length| {
            let kept = length.kept > 0 || writing == Some(*number);
            if !kept {
                // One that can't be removed is looked at again at the next start.
                let _ = fs::remove_file(path(directory, *number));
            }
            kept
        });
    }
}

fn read_at(file: &mut File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut json = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact(&mut json)?;
    Ok(json)
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:012}.{ENDING}"))
}

fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = vec![];
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let (Some(number), true) =
            (number, path.extension().is_some_and(|ending| ending == ENDING))
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Webhooks are nobody else's business on this machine.
fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn summary(exchange: &Exchange) -> Summary {
    let request = &exchange.request;
    let mut path = request.path.clone();
    for (at, (name, value)) in request.query.iter().enumerate() {
        path.push(if at == 0 { '?' } else { '&' });
        path.push_str(name);
        path.push('=');
        path.push_str(value);
        if path.len() > 4 * LONGEST {
            break;
        }
    }
    let header = |wanted: &str| {
        request
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.as_str())
    };
    let content_type = header("content-type").unwrap_or_default();
    Summary {
        seq: 0,
        id: exchange.id,
        time: exchange.time,
        stage: cut(&exchange.stage),
        route: exchange.route.clone(),
        method: cut(&request.method),
        path: cut(&path),
        status: exchange.status,
        millis: exchange.millis,
        bytes: request.body.len() as u64,
        content_type: cut(content_type),
        stored: exchange.record.as_ref().map(|record| match record {
            Stored::S3 { .. } => "s3".to_owned(),
            Stored::Sqs { .. } => "sqs".to_owned(),
        }),
        preview: preview(&request.body, content_type.starts_with("multipart/")),
        more: more(exchange),
        again: exchange.again,
    }
}

fn more(exchange: &Exchange) -> Vec<String> {
    let answer: serde_json::Value =
        serde_json::from_slice(&exchange.response.body).unwrap_or_default();
    let said = ["id", "reason", "message"]
        .into_iter()
        .filter_map(|name| answer[name].as_str().map(str::to_owned));
    let record = exchange.record.iter().flat_map(|record| match record {
        Stored::S3 { bucket, key, .. } => [bucket.clone(), key.clone()],
        Stored::Sqs { queue, message_id, .. } => [queue.clone(), message_id.clone()],
    });
    said.chain(record).chain(exchange.why.clone()).map(|text| cut(&text)).collect()
}

fn cut(text: &str) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(LONGEST).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

fn preview(body: &[u8], multipart: bool) -> String {
    // Four bytes a character at most, and the last one may be cut.
    let start = &body[..body.len().min(4 * LONGEST)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // Of a form, what comes before its first attachment is text all the same.
        Err(error) if multipart || error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return String::new(),
    };
    let parts = if multipart { parts(text) } else { None };
    let text = parts.as_deref().unwrap_or(text);
    if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return String::new();
    }
    cut(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// How a multipart body begins, without its boundaries: `from=Ann subject=Holidays`. `None` where
/// it isn't one.
fn parts(text: &str) -> Option<String> {
    let boundary = text.lines().next().filter(|line| line.len() > 2 && line.starts_with("--"))?;
    let part = |part: &str| {
        let (head, value) = part.split_once("\r\n\r\n")?;
        let name = head.split_once(" name=\"")?.1.split('"').next()?;
        let is_text = value.chars().all(|c| !c.is_control() || c.is_whitespace());
        Some(format!("{name}={}", if is_text { value.trim() } else { "…" }))
    };
    let parts: Vec<String> = text.split(boundary).filter_map(part).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
