//! What became of a queue's messages, as a log in two files that take turns. When one has grown, or
//! the disk is full, the present state is written over the other, which has its bytes already: so a
//! queue can be drained on a full disk. A rewritten file's number is written last and makes it
//! count; a kill leaves half an entry at worst, which was not answered yet.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

/// An entry: its checksum and six numbers.
pub const ENTRY: usize = 64;
/// Both files have at least this many bytes.
const LEAST: u64 = 16 * 1024;
/// Entries that fit into each file beside those that are needed: between two turns of a full disk.
const SLACK: usize = 64;
/// A file of this length that is rewritten with far less is cut.
const LONG: u64 = 256 * 1024;
const NAMES: [&str; 2] = ["state", "state.spare"];

pub struct State {
    sides: [Side; 2],
    /// Which of them is appended to.
    active: usize,
    generation: u64,
    /// Bytes of entries in it.
    length: u64,
}

struct Side {
    file: File,
    /// Bytes that it has on disk.
    room: u64,
}

impl Side {
    fn open(path: &Path) -> io::Result<Side> {
        let file =
            File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let room = file.metadata()?.len();
        Ok(Side { file, room })
    }

    /// Its entries up to the first that is none, and whether anything but zeros follows.
    fn read(&mut self) -> io::Result<(Vec<Entry>, bool)> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut bytes)?;
        let entries: Vec<Entry> = bytes.chunks(ENTRY).map_while(Entry::read).collect();
        let dirty = bytes[entries.len() * ENTRY..].iter().any(|byte| *byte != 0);
        Ok((entries, dirty))
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(bytes)?;
        self.room = self.room.max(at + bytes.len() as u64);
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.room = self.room.min(length);
        Ok(())
    }

    /// Takes room for so many bytes; what is written there later needs none.
    fn reserve(&mut self, length: u64) -> io::Result<()> {
        if self.room >= length {
            return Ok(());
        }
        let missing = usize::try_from(length - self.room).map_err(io::Error::other)?;
        self.write(self.room, &vec![0; missing])
    }
}

impl State {
    /// The log in this directory, and its entries.
    pub fn open(directory: &Path) -> io::Result<(State, Vec<Entry>)> {
        let mut sides =
            [Side::open(&directory.join(NAMES[0]))?, Side::open(&directory.join(NAMES[1]))?];
        let generation = |entries: &[Entry]| match entries.first() {
            Some(Entry::Renewed(_, generation)) => *generation,
            _ => 0,
        };
        let ([first, spare], mut active) = ([sides[0].read()?, sides[1].read()?], 0);
        if generation(&spare.0) > generation(&first.0) {
            active = 1;
        }
        let (entries, dirty) = if active == 0 { first } else { spare };
        let length = (entries.len() * ENTRY) as u64;
        if dirty {
            sides[active].cut(length)?;
        }
        Ok((State { sides, active, generation: generation(&entries), length }, entries))
    }

    /// From now on nothing can be written to it.
    #[cfg(test)]
    pub fn fill_up(&mut self, directory: &Path) -> io::Result<()> {
        for (side, name) in self.sides.iter_mut().zip(NAMES) {
            side.file = File::open(directory.join(name))?;
        }
        Ok(())
    }

    /// Bytes of entries since it was last rewritten.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Sees that so many entries fit into each file, and some more.
    pub fn reserve(&mut self, entries: usize) -> io::Result<()> {
        let least = ((entries + SLACK) * ENTRY) as u64;
        for side in &mut self.sides {
            if side.room < least {
                // In large steps, where there is room for one.
                let _ = side.reserve((2 * least).max(LEAST));
                side.reserve(least)?;
            } else if side.room < LEAST {
                let _ = side.reserve(LEAST);
            }
        }
        Ok(())
    }

    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        self.sides[self.active].write(self.length, &entry.write())?;
        self.length += ENTRY as u64;
        Ok(())
    }

    /// Writes down what is so now instead of how it came to be: nothing but these entries behind
    /// this cursor.
    pub fn renew(
        &mut self,
        cursor: Cursor,
        entries: impl Iterator<Item = Entry>,
    ) -> io::Result<()> {
        let other = 1 - self.active;
        let mut bytes = vec![0; ENTRY];
        entries.for_each(|entry| bytes.extend(entry.write()));
        let length = bytes.len() as u64;
        let side = &mut self.sides[other];
        let enough = (2 * length).max(LONG / 2);
        if side.room > LONG && side.room > 2 * enough {
            side.cut(enough)?;
        }
        // Zeros behind them, and in the number's place until all is there.
        bytes.resize(bytes.len().max(usize::try_from(side.room).map_err(io::Error::other)?), 0);
        side.write(0, &[0; ENTRY])?;
        side.write(0, &bytes)?;
        side.write(0, &Entry::Renewed(cursor, self.generation + 1).write())?;
        self.active = other;
        self.generation += 1;
        self.length = length;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    pub file: u64,
    pub offset: u64,
    /// While it is later than now nobody else gets it; milliseconds since the epoch.
    pub until: u64,
    pub count: u32,
    pub first: u64,
}

/// The first message that was never received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub number: u64,
    pub file: u64,
    pub offset: u64,
}

/// One line of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Cursor(Cursor),
    Touched {
        number: u64,
        touched: Touched,
        /// Where the cursor is now, if the message came from it.
        cursor: Option<Cursor>,
    },
    Ahead(u64),
    Gone(u64),
    /// Nothing is left but what is behind the cursor.
    Purged(Cursor),
    /// The same, at the beginning of a rewritten file; the greater number is the newer file.
    Renewed(Cursor, u64),
}

impl Entry {
    fn write(&self) -> [u8; ENTRY] {
        let fields = match *self {
            Entry::Cursor(cursor) => [1, cursor.number, cursor.file, cursor.offset, 0, 0, 0],
            Entry::Purged(cursor) => [2, cursor.number, cursor.file, cursor.offset, 0, 0, 0],
            Entry::Renewed(cursor, generation) => {
                [8, cursor.number, cursor.file, cursor.offset, generation, 0, 0]
            }
            Entry::Ahead(number) => [3, number, 0, 0, 0, 0, 0],
            Entry::Gone(number) => [4, number, 0, 0, 0, 0, 0],
            Entry::Touched { number, touched, cursor } => {
                let Touched { file, offset, until, count, first } = touched;
                // Behind it in its own file, or at the beginning of the next.
                let (kind, behind) = match cursor {
                    None => (5, 0),
                    Some(cursor) if cursor.file == file => (6, cursor.offset),
                    Some(cursor) => (7, cursor.file),
                };
                let mut bytes = Self::numbers([kind, number, file, offset, until, first, behind]);
                bytes[60..64].copy_from_slice(&count.to_le_bytes());
                return Self::sealed(bytes);
            }
        };
        Self::sealed(Self::numbers(fields))
    }

    fn numbers(fields: [u64; 7]) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        for (i, field) in fields.iter().enumerate() {
            bytes[4 + i * 8..12 + i * 8].copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    fn sealed(mut bytes: [u8; ENTRY]) -> [u8; ENTRY] {
        let sum = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENTRY] = bytes.try_into().ok()?;
        let (sum, rest) = bytes.split_first_chunk::<4>()?;
        if crc32fast::hash(rest) != u32::from_le_bytes(*sum) {
            return None;
        }
        let mut fields = [0; 7];
        for (field, bytes) in fields.iter_mut().zip(rest.chunks_exact(8)) {
            *field = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        let count = u32::from_le_bytes(*rest.last_chunk::<4>()?);
        let [kind, number, file, offset, until, first, behind] = fields;
        let touched = Touched { file, offset, until, count, first };
        Some(match kind {
            1 => Entry::Cursor(Cursor { number, file, offset }),
            2 => Entry::Purged(Cursor { number, file, offset }),
            3 => Entry::Ahead(number),
            4 => Entry::Gone(number),
            5 => Entry::Touched { number, touched, cursor: None },
            6 => Entry::Touched {
                number,
                touched,
                cursor: Some(Cursor { number: number + 1, file, offset: behind }),
            },
            8 => Entry::Renewed(Cursor { number, file, offset }, until),
            7 => Entry::Touched {
                number,
                touched,
                cursor: Some(Cursor { number: behind, file: behind, offset: 0 }),
            },
            _ => return None,
        })
    }
}
