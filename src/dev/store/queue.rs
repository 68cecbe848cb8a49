//! One queue on disk. Knows nothing of a protocol; every call may block for as long as the disk
//! takes, which is some microseconds.
//!
//! ```text
//! sqs/<name>/queue.json           attributes and tags
//! sqs/<name>/<number>.messages    messages in the order they came, from this number on; a file is removed once nothing in it is left
//! sqs/<name>/state, state.spare   what became of them since: received, deleted; see [`super::state`]
//! ```
//!
//! In memory is what was received and not deleted, never a body: a million messages that wait take
//! no more of it than one. Whatever lies before the cursor and is not in that memory is gone; so a
//! deletion needs no memory either.
//!
//! Messages and state are appended to and each entry carries its checksum. A process that is killed
//! leaves half an entry at worst, which was not answered yet and is cut off at the next start.
//! Nothing is synced to the platters for every message, so a power cut may take the last ones.

use super::state::{Cursor, ENTRY, Entry, State, Touched};
use crate::dev::{anchor::Anchor, now};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// A file of messages that is this long gets no more.
const FILE: u64 = 8 * 1024 * 1024;
/// An empty queue gives its file back once it is this long.
const WORTH_REMOVING: u64 = 1024 * 1024;
/// The state is written anew when it is this long and four times what it needs to be.
const STATE: u64 = 256 * 1024;
/// A message's own header: number, sent, visible from, id.
const FIXED: usize = 8 + 8 + 8 + 16;
/// A frame's header: the payload's length and checksum.
const FRAME: u64 = 8;
/// No message is near it: 1 MiB, and its attributes as JSON.
const MAX_PAYLOAD: u32 = 64 * 1024 * 1024;
/// What may be in flight. Source: the SQS Developer Guide, "Amazon SQS message quotas".
pub const MAX_IN_FLIGHT: usize = 120_000;

/// What is kept of a queue beside its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    pub name: String,
    /// Tells a queue from one of the same name before it: it is in every receipt handle.
    pub identity: u32,
    /// Those that were given, as they were given.
    pub attributes: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    /// Seconds since the epoch.
    pub created: u64,
    pub modified: u64,
}

impl About {
    /// A number among the attributes, or what AWS takes for it.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.attributes.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }
}

/// A message as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub id: [u8; 16],
    /// Milliseconds since the epoch.
    pub sent: u64,
    /// Milliseconds since the epoch; 0: at once.
    pub visible_from: u64,
    pub body: String,
    /// The JSON of its attributes; empty where it has none.
    pub extras: String,
}

/// A message as it is handed out.
#[derive(Clone, Debug)]
pub struct Received {
    pub message: Message,
    pub handle: Handle,
    pub count: u32,
    /// Milliseconds since the epoch.
    pub first: u64,
    /// The queue's.
    pub identity: u32,
}

/// What a receive takes.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    pub received: Vec<Received>,
    /// Received too often already: they are in flight, too, and for the dead-letter queue.
    pub dead: Vec<(Handle, Message)>,
}

/// Which hand-out of which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    pub number: u64,
    pub count: u32,
}

/// What became of a handle's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Done,
    /// Deleted, or handed out to somebody else since.
    Gone,
    /// It is nobody's just now.
    NotInFlight,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub visible: u64,
    pub in_flight: u64,
    pub delayed: u64,
}

pub struct Queue {
    directory: PathBuf,
    pub about: About,
    /// Each file's length, by the number of its first message. Never empty.
    files: BTreeMap<u64, u64>,
    writer: File,
    /// Of the file that is written to.
    anchor: Anchor,
    reader: Option<(u64, File)>,
    /// Of the next message.
    next: u64,
    cursor: Cursor,
    touched: BTreeMap<u64, Touched>,
    /// Numbers from the cursor on that it must pass over: delayed ones, which are among the
    /// touched or gone.
    ahead: BTreeSet<u64>,
    /// Of the touched: until when they are not to be had.
    hidden: BTreeSet<(u64, u64)>,
    /// Of the touched: those to be had.
    ready: BTreeSet<u64>,
    state: State,
    /// The length of the last file is not known: a write failed, and so did cutting it off.
    torn: bool,
    /// Where is kept what stood in its files and is no message.
    pub damaged: Option<PathBuf>,
    /// The end of its last file is missing: how many messages in flight or delayed were in it.
    pub lost: Option<usize>,
}

impl Queue {
    /// Makes a queue's files. `queue.json` comes last: without it there is no queue.
    pub fn create(directory: &Path, about: About) -> io::Result<Self> {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(directory)?;
        File::create_new(messages(directory, 1))?;
        save(directory, &about)?;
        Self::open(directory)
    }

    /// Whether [`Queue::create`] came to its end here.
    pub fn is_one(directory: &Path) -> bool {
        directory.join("queue.json").is_file()
    }

    /// Reads what is there, and cuts off what a kill left half. What something else damaged is kept
    /// in a file beside it.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let about: About = serde_json::from_slice(&fs::read(directory.join("queue.json"))?)?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name
                .to_str()
                .and_then(|name| u64::from_str_radix(name.strip_suffix(".messages")?, 16).ok());
            if let Some(number) = number {
                files.insert(number, entry.metadata()?.len());
            }
        }
        if files.is_empty() {
            File::create(messages(directory, 1))?;
            files.insert(1, 0);
        }
        let (&last, &length) = files.last_key_value().expect("a file was put into it");
        let (end, next, is_damaged) = scan(&messages(directory, last), last)?;
        let damaged = if is_damaged { Some(keep(&messages(directory, last), end)?) } else { None };
        let writer = File::options().append(true).open(messages(directory, last))?;
        if end < length {
            writer.set_len(end)?;
            files.insert(last, end);
        }
        let first = *files.first_key_value().expect("a file was put into it").0;
        let anchor = Anchor::of(&messages(directory, last))?;
        let (state, entries) = State::open(directory)?;
        let mut queue = Self {
            directory: directory.to_owned(),
            about,
            files,
            writer,
            anchor,
            reader: None,
            next,
            cursor: Cursor { number: first, file: first, offset: 0 },
            touched: BTreeMap::new(),
            ahead: BTreeSet::new(),
            hidden: BTreeSet::new(),
            ready: BTreeSet::new(),
            state,
            torn: false,
            damaged,
            lost: None,
        };
        queue.replay(entries);
        queue.skip_lost()?;
        for (number, touched) in &queue.touched {
            queue.hidden.insert((touched.until, *number));
        }
        // On a full disk it has to do with what there is.
        let _ = queue.state.reserve(queue.needed());
        Ok(queue)
    }

    fn replay(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            match entry {
                Entry::Cursor(cursor) => self.cursor = cursor,
                Entry::Touched { number, touched, cursor } => {
                    self.touched.insert(number, touched);
                    match cursor {
                        Some(cursor) => self.cursor = cursor,
                        None if number >= self.cursor.number => _ = self.ahead.insert(number),
                        None => {}
                    }
                }
                Entry::Ahead(number) => _ = self.ahead.insert(number),
                Entry::Gone(number) => _ = self.touched.remove(&number),
                Entry::Purged(cursor) | Entry::Renewed(cursor, _) => {
                    self.cursor = cursor;
                    self.touched.clear();
                    self.ahead.clear();
                }
            }
        }
        let first = *self.files.first_key_value().expect("a queue has a file").0;
        if self.cursor.number < first {
            self.cursor = Cursor { number: first, file: first, offset: 0 };
        }
        let cursor = self.cursor.number;
        self.ahead.retain(|number| *number >= cursor);
    }

    /// Takes out what the state tells of and no file has: a power cut may take the end of the
    /// messages and leave the state. Their numbers are not used again, since a receipt handle from
    /// before must not delete another message; within a file numbers have no gap, so a new one is
    /// begun.
    fn skip_lost(&mut self) -> io::Result<()> {
        let (file, end) = self.last();
        let lost = self.next;
        let touched = self.touched.last_key_value().map_or(0, |(number, _)| number + 1);
        let ahead = self.ahead.last().map_or(0, |number| number + 1);
        let next = self.cursor.number.max(touched).max(ahead);
        if next <= lost {
            if self.cursor.number == lost {
                self.cursor = Cursor { number: lost, file, offset: end };
            }
            return Ok(());
        }
        self.lost = Some(self.touched.split_off(&lost).len());
        self.ahead.split_off(&lost);
        self.next = next;
        self.roll()?;
        if self.cursor.number < lost {
            self.ahead.extend(lost..next);
        } else {
            self.cursor = Cursor { number: next, file: next, offset: 0 };
        }
        // If it can't be done now, the next start does the same again.
        let _ = self.renew();
        self.tidy(file);
        Ok(())
    }

    /// Whether what is sent is where it is looked for.
    ///
    /// # Errors
    /// The queue's directory, or one above it, was removed or replaced; or another program changed
    /// the file that is written to.
    pub fn check(&self) -> io::Result<()> {
        self.anchor.check()?;
        let (file, length) = self.last();
        if self.torn || self.writer.metadata()?.len() == length {
            return Ok(());
        }
        let path = messages(&self.directory, file);
        let what = format!("another program changed {} while it was in use", path.display());
        Err(io::Error::new(ErrorKind::InvalidData, what))
    }

    pub fn save(&self) -> io::Result<()> {
        save(&self.directory, &self.about)
    }

    /// Keeps a message; its `id` is given to it here, unless it comes from another queue with one.
    pub fn send(&mut self, mut message: Message) -> io::Result<[u8; 16]> {
        let number = self.next;
        if message.id == [0; 16] {
            message.id = new_id(number)?;
        }
        let frame = frame(number, &message)?;
        // The offset would be wrong for what is appended to a file that was changed.
        self.check()?;
        let (mut file, mut offset) = self.last();
        if offset > 0 && offset + frame.len() as u64 > FILE {
            self.roll()?;
            (file, offset) = self.last();
        }
        let is_delayed = message.visible_from > now();
        // A removed file still takes what is written to it, and the message would be lost.
        let mut written = self.writer.write_all(&frame).and_then(|()| self.anchor.check());
        if written.is_ok() && is_delayed {
            let touched = Touched { file, offset, until: message.visible_from, count: 0, first: 0 };
            written = self.touch(number, touched, None);
        }
        if let Err(error) = written {
            // Neither half a message nor one that was refused must stand before the next one. Where
            // even that fails, the next one gets a file of its own.
            if self.writer.set_len(offset).is_err() {
                self.files.insert(file, FILE);
                self.torn = true;
            }
            return Err(error);
        }
        self.files.insert(file, offset + frame.len() as u64);
        self.next += 1;
        if is_delayed {
            self.ahead.insert(number);
            // It is kept. Where this fails, the next receive does it again.
            let _ = self.pass_over_ahead();
        }
        Ok(message.id)
    }

    fn last(&self) -> (u64, u64) {
        let (file, length) = self.files.last_key_value().expect("a queue has a file");
        (*file, *length)
    }

    /// Begins a new file of messages.
    fn roll(&mut self) -> io::Result<()> {
        let path = messages(&self.directory, self.next);
        let writer = File::options().create(true).append(true).open(&path)?;
        writer.set_len(0)?;
        self.anchor = Anchor::of(&path)?;
        self.writer = writer;
        self.files.insert(self.next, 0);
        self.torn = false;
        Ok(())
    }

    /// Up to `max` messages that nobody else gets until `until`, oldest first as far as can be.
    /// Those that were received `limit` times already are dead.
    pub fn receive(&mut self, max: usize, until: u64, limit: Option<u64>) -> io::Result<Taken> {
        self.check()?;
        let mut taken = Taken::default();
        match self.take(&mut taken, max, until, limit) {
            // Those that were taken are in flight: who asked gets them, and the error with the next
            // call.
            Err(error) if taken.received.is_empty() && taken.dead.is_empty() => Err(error),
            _ => Ok(taken),
        }
    }

    fn take(
        &mut self,
        taken: &mut Taken,
        max: usize,
        until: u64,
        limit: Option<u64>,
    ) -> io::Result<()> {
        let now = now();
        let oldest =
            now.saturating_sub(self.about.number("MessageRetentionPeriod", 345_600) * 1000);
        self.wake(now);
        while taken.received.len() < max {
            let (number, mut touched, cursor) = match self.ready.pop_first() {
                Some(number) => match self.touched.get(&number) {
                    Some(touched) => (number, *touched, None),
                    None => continue,
                },
                None => match self.unread()? {
                    None => break,
                    Some((number, file, offset, cursor)) => (
                        number,
                        Touched { file, offset, until: 0, count: 0, first: 0 },
                        Some(cursor),
                    ),
                },
            };
            let read = self.read(touched.file, touched.offset, number);
            let message = match read {
                Ok((message, _)) if message.sent >= oldest => message,
                // Too old, or damaged: after a power cut, say.
                Ok(_) => {
                    self.drop_unreceived(number, cursor)?;
                    continue;
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::NotFound
                    ) =>
                {
                    self.drop_unreceived(number, cursor)?;
                    continue;
                }
                Err(error) => {
                    if cursor.is_none() {
                        self.ready.insert(number);
                    }
                    return Err(error);
                }
            };
            if touched.first == 0 {
                touched.first = now;
            }
            let is_dead = limit.is_some_and(|limit| u64::from(touched.count) >= limit);
            touched.count += u32::from(!is_dead);
            touched.until = until.max(now);
            if let Err(error) = self.touch(number, touched, cursor) {
                if cursor.is_none() {
                    self.ready.insert(number);
                }
                return Err(error);
            }
            let handle = Handle { number, count: touched.count };
            if is_dead {
                taken.dead.push((handle, message));
            } else {
                let identity = self.about.identity;
                taken.received.push(Received {
                    message,
                    handle,
                    count: touched.count,
                    first: touched.first,
                    identity,
                });
            }
        }
        Ok(())
    }

    /// The next message that nobody received yet, and where the cursor then is.
    fn unread(&mut self) -> io::Result<Option<(u64, u64, u64, Cursor)>> {
        self.pass_over_ahead()?;
        let Cursor { number, file, offset } = self.cursor;
        if number >= self.next {
            return Ok(None);
        }
        Ok(Some((number, file, offset, self.after(self.cursor)?)))
    }

    /// Moves the cursor to the next message that is not accounted for elsewhere. A restart would do
    /// it again, so it is not written down.
    fn pass_over_ahead(&mut self) -> io::Result<()> {
        // It was at the end of a file, and the message came into a new one.
        if self.files.contains_key(&self.cursor.number) {
            self.cursor =
                Cursor { number: self.cursor.number, file: self.cursor.number, offset: 0 };
        }
        while self.ahead.contains(&self.cursor.number) {
            let number = self.cursor.number;
            self.cursor = self.after(self.cursor)?;
            // More than one, where the end of a file is missing.
            self.ahead = self.ahead.split_off(&self.cursor.number);
            self.tidy(number);
        }
        Ok(())
    }

    /// Where the message after this one lies.
    fn after(&mut self, Cursor { number, file, offset }: Cursor) -> io::Result<Cursor> {
        let next = number + 1;
        if self.files.contains_key(&next) {
            return Ok(Cursor { number: next, file: next, offset: 0 });
        }
        let length = match self.length(file, offset) {
            Ok(length) => length,
            // Damaged: what comes behind it in this file can't be found any more.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::NotFound
                ) =>
            {
                let following = self.files.range(next..).next();
                let (number, file, offset) = match following {
                    Some((&following, _)) => (following, following, 0),
                    None => (self.next, file, self.files.get(&file).copied().unwrap_or_default()),
                };
                return Ok(Cursor { number, file, offset });
            }
            Err(error) => return Err(error),
        };
        Ok(Cursor { number: next, file, offset: offset + FRAME + u64::from(length) })
    }

    fn file(&mut self, number: u64) -> io::Result<&mut File> {
        if self.reader.as_ref().is_none_or(|(open, _)| *open != number) {
            self.reader = Some((number, File::open(messages(&self.directory, number))?));
        }
        let (_, file) = self.reader.as_mut().expect("it was just opened");
        Ok(file)
    }

    /// Of a message's payload.
    fn length(&mut self, file: u64, offset: u64) -> io::Result<u32> {
        let file = self.file(file)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(read_header(file)?.0)
    }

    fn read(&mut self, file: u64, offset: u64, number: u64) -> io::Result<(Message, u64)> {
        let file = self.file(file)?;
        file.seek(SeekFrom::Start(offset))?;
        let (found, message, length) = read_frame(file)?;
        if found != number {
            return Err(damaged());
        }
        Ok((message, length))
    }

    /// Notes that a message was handed out, and the cursor's new place where it came from there.
    fn touch(&mut self, number: u64, touched: Touched, cursor: Option<Cursor>) -> io::Result<()> {
        self.note(&Entry::Touched { number, touched, cursor })?;
        if let Some(cursor) = cursor {
            self.cursor = cursor;
        }
        if let Some(before) = self.touched.insert(number, touched) {
            self.hidden.remove(&(before.until, number));
            self.ready.remove(&number);
        }
        self.hidden.insert((touched.until, number));
        Ok(())
    }

    fn drop_unreceived(&mut self, number: u64, cursor: Option<Cursor>) -> io::Result<()> {
        if let Some(cursor) = cursor {
            self.note(&Entry::Cursor(cursor))?;
            self.cursor = cursor;
            self.tidy(number);
            return Ok(());
        }
        self.remove(number)
    }

    /// Those whose time has come are to be had again.
    fn wake(&mut self, now: u64) {
        while let Some(&(until, number)) = self.hidden.first()
            && until <= now
        {
            self.hidden.pop_first();
            self.ready.insert(number);
        }
    }

    /// When the next hidden message can be had; milliseconds since the epoch.
    pub fn next_wake(&self) -> Option<u64> {
        self.hidden.first().map(|(until, _)| *until)
    }

    /// The message of this handle is done with.
    pub fn delete(&mut self, handle: Handle) -> io::Result<Changed> {
        match self.touched.get(&handle.number) {
            Some(touched) if touched.count == handle.count => {
                self.remove(handle.number).map(|()| Changed::Done)
            }
            _ => Ok(Changed::Gone),
        }
    }

    fn remove(&mut self, number: u64) -> io::Result<()> {
        self.note(&Entry::Gone(number))?;
        if let Some(touched) = self.touched.remove(&number) {
            self.hidden.remove(&(touched.until, number));
            self.ready.remove(&number);
        }
        self.tidy(number);
        Ok(())
    }

    /// The message of this handle is hidden until then.
    pub fn hide(&mut self, handle: Handle, until: u64) -> io::Result<Changed> {
        self.wake(now());
        match self.touched.get(&handle.number) {
            Some(touched) if touched.count == handle.count => {
                if self.ready.contains(&handle.number) {
                    return Ok(Changed::NotInFlight);
                }
                let touched = Touched { until, ..*touched };
                self.touch(handle.number, touched, None)?;
                Ok(Changed::Done)
            }
            _ => Ok(Changed::Gone),
        }
    }

    /// Removes every message.
    pub fn purge(&mut self) -> io::Result<()> {
        let (file, offset) = self.last();
        let cursor = Cursor { number: self.next, file, offset };
        self.note(&Entry::Purged(cursor))?;
        self.cursor = cursor;
        self.touched.clear();
        self.ahead.clear();
        self.hidden.clear();
        self.ready.clear();
        let all: Vec<u64> = self.files.keys().copied().collect();
        for file in all {
            self.tidy(file);
        }
        Ok(())
    }

    pub fn counts(&mut self) -> Counts {
        self.wake(now());
        let unread =
            self.next.saturating_sub(self.cursor.number).saturating_sub(self.ahead.len() as u64);
        let delayed = self
            .hidden
            .iter()
            .filter(|(_, number)| self.touched.get(number).is_some_and(|t| t.count == 0))
            .count() as u64;
        Counts {
            visible: unread + self.ready.len() as u64,
            in_flight: self.hidden.len() as u64 - delayed,
            delayed,
        }
    }

    pub fn in_flight(&mut self) -> usize {
        self.wake(now());
        self.hidden.len()
    }

    /// A message that is, or was not long ago, in the queue; looking at it changes nothing.
    pub fn look(&mut self, id: [u8; 16]) -> io::Result<Option<Message>> {
        let number = number_of(id);
        let Some((&file, _)) = self.files.range(..=number).next_back() else { return Ok(None) };
        if number >= self.next {
            return Ok(None);
        }
        let path = messages(&self.directory, file);
        let mut file = io::BufReader::new(File::open(path)?);
        loop {
            let (length, _) = match read_header(&mut file) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                header => header?,
            };
            let mut first = [0; 8];
            file.read_exact(&mut first)?;
            let found = u64::from_le_bytes(first);
            if found == number {
                file.seek_relative(-16)?;
                let (_, message, _) = read_frame(&mut file)?;
                return Ok((message.id == id).then_some(message));
            }
            if found > number {
                return Ok(None);
            }
            file.seek_relative(i64::from(length) - 8)?;
        }
    }

    /// Removes the file that this message is in, if nothing in it is left. The message is gone
    /// whether that can be done or not: a full disk may have no room for the next file's name.
    fn tidy(&mut self, number: u64) {
        let _ = self.remove_file_of(number);
    }

    fn remove_file_of(&mut self, number: u64) -> io::Result<()> {
        let Some((&file, &length)) = self.files.range(..=number).next_back() else { return Ok(()) };
        let end =
            self.files.range(file + 1..).next().map_or(self.next, |(following, _)| *following);
        if self.cursor.number < end || self.touched.range(file..end).next().is_some() {
            return Ok(());
        }
        if end == self.next && file == self.last().0 {
            if length < WORTH_REMOVING || self.next == file {
                return Ok(());
            }
            self.roll()?;
            self.cursor = Cursor { number: self.next, file: self.next, offset: 0 };
            self.note(&Entry::Cursor(self.cursor))?;
        }
        self.files.remove(&file);
        if self.reader.as_ref().is_some_and(|(open, _)| *open == file) {
            self.reader = None;
        }
        match fs::remove_file(messages(&self.directory, file)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn note(&mut self, entry: &Entry) -> io::Result<()> {
        let needed = self.needed();
        let length = self.state.length();
        if length > STATE && length > 4 * (needed * ENTRY) as u64 {
            // If it can't be done now, it is with a later entry.
            let _ = self.renew();
        }
        if let Entry::Touched { .. } = entry {
            // No more is in flight than can be deleted on a full disk.
            self.state.reserve(needed)?;
        }
        self.state.append(entry).or_else(|_| {
            self.renew()?;
            self.state.append(entry)
        })
    }

    /// Entries of a rewritten state, and one more.
    fn needed(&self) -> usize {
        self.touched.len() + self.ahead.len() + 2
    }

    /// From now on nothing can be written to the state.
    #[cfg(test)]
    pub(super) fn fill_up(&mut self) -> io::Result<()> {
        self.state.fill_up(&self.directory)
    }

    /// Writes down what is so now instead of how it came to be.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        let ahead = self.ahead.iter().map(|number| Entry::Ahead(*number));
        let touched = self.touched.iter().map(|(number, touched)| Entry::Touched {
            number: *number,
            touched: *touched,
            cursor: None,
        });
        self.state.renew(self.cursor, ahead.chain(touched))
    }
}

fn messages(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:016x}.messages"))
}

fn save(directory: &Path, about: &About) -> io::Result<()> {
    let temporary = directory.join("queue.json.new");
    fs::write(&temporary, serde_json::to_vec_pretty(about)?)?;
    fs::rename(temporary, directory.join("queue.json"))
}

/// A random UUID but for its first six bytes, which are the message's number: so it can be found
/// again without an index.
fn new_id(number: u64) -> io::Result<[u8; 16]> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    id[..6].copy_from_slice(&number.to_be_bytes()[2..]);
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    Ok(id)
}

fn number_of(id: [u8; 16]) -> u64 {
    let mut number = [0; 8];
    number[2..].copy_from_slice(&id[..6]);
    u64::from_be_bytes(number)
}

pub fn parse_id(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    if digits.len() != 32 || text.len() != 36 {
        return None;
    }
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(id)
}

fn damaged() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "a message on disk is cut off or was changed by hand")
}

/// Length and checksum, then: number, sent, visible from, id, the body's length, the body, the
/// attributes.
fn frame(number: u64, message: &Message) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(message.body.len() + message.extras.len() + 64);
    bytes.extend([0; FRAME as usize]);
    bytes.extend(number.to_le_bytes());
    bytes.extend(message.sent.to_le_bytes());
    bytes.extend(message.visible_from.to_le_bytes());
    bytes.extend(message.id);
    bytes.extend(u32::try_from(message.body.len()).map_err(io::Error::other)?.to_le_bytes());
    bytes.extend(message.body.as_bytes());
    bytes.extend(message.extras.as_bytes());
    let payload = &bytes[FRAME as usize..];
    let (length, sum) =
        (u32::try_from(payload.len()).map_err(io::Error::other)?, crc32fast::hash(payload));
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

/// Length and checksum.
fn read_header(file: &mut impl Read) -> io::Result<(u32, u32)> {
    let mut header = [0; FRAME as usize];
    file.read_exact(&mut header)?;
    let [a, b, c, d, e, f, g, h] = header;
    let (length, sum) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    if length > MAX_PAYLOAD || (length as usize) < FIXED + 4 {
        return Err(damaged());
    }
    Ok((length, sum))
}

/// Its number, the message, and the frame's length.
fn read_frame(file: &mut impl Read) -> io::Result<(u64, Message, u64)> {
    let (length, sum) = read_header(file)?;
    let mut payload = vec![0; length as usize];
    file.read_exact(&mut payload)?;
    if crc32fast::hash(&payload) != sum {
        return Err(damaged());
    }
    let mut rest = payload.as_slice();
    let (mut number, mut sent, mut visible_from, mut id, mut size) =
        ([0; 8], [0; 8], [0; 8], [0; 16], [0; 4]);
    for part in [&mut number[..], &mut sent, &mut visible_from, &mut id, &mut size] {
        rest.read_exact(part)?;
    }
    let size = u32::from_le_bytes(size) as usize;
    let (body, extras) = rest.split_at_checked(size).ok_or_else(damaged)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| damaged());
    let message = Message {
        id,
        sent: u64::from_le_bytes(sent),
        visible_from: u64::from_le_bytes(visible_from),
        body: text(body)?,
        extras: text(extras)?,
    };
    Ok((u64::from_le_bytes(number), message, FRAME + u64::from(length)))
}

/// A file's bytes from here on, in a file of their own: its path.
fn keep(path: &Path, from: u64) -> io::Result<PathBuf> {
    // What was kept before stays.
    let name = |n: u32| {
        path.with_extension(if n == 1 { "damaged".into() } else { format!("{n}.damaged") })
    };
    let kept = (1..).map(name).find(|kept| !kept.exists()).expect("a number is free");
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    io::copy(&mut file, &mut File::create(&kept)?)?;
    Ok(kept)
}

/// The end of the last whole message in a file, the number of the next one, and whether what
/// follows is more than a message cut short.
fn scan(path: &Path, first: u64) -> io::Result<(u64, u64, bool)> {
    let mut file = io::BufReader::with_capacity(256 * 1024, File::open(path)?);
    let (mut end, mut next) = (0, first);
    loop {
        match read_frame(&mut file) {
            Ok((number, _, length)) if number == next => {
                end += length;
                next += 1;
            }
            Ok(_) => return Ok((end, next, true)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Ok((end, next, false));
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => return Ok((end, next, true)),
            Err(error) => return Err(error),
        }
    }
}
