//! Java's view of text: a sequence of UTF-16 units, kept here as UTF-8.
//!
//! Half of a surrogate pair, which Java's strings can hold and UTF-8 can't, is kept as one of the
//! last 2048 characters of Unicode's last private plane (U+10F800 + unit − 0xD800), is put together
//! again when its other half comes to stand beside it, and leaves as `?`, which is what Java's
//! UTF-8 encoder makes of it. Text that uses those private characters itself is taken for halves.

const HALF: u32 = 0x10_F800;

/// The unit of a character that stands for half of a pair.
fn half(c: char) -> Option<u16> {
    let code = c as u32;
    (code >= HALF).then(|| (code - HALF + 0xD800) as u16)
}

fn of_unit(unit: u16) -> char {
    let code = u32::from(unit);
    let code = if (0xD800..0xE000).contains(&code) { code - 0xD800 + HALF } else { code };
    char::from_u32(code).unwrap_or('?')
}

/// Appends one UTF-16 unit, joining it with a half that stands before it.
pub(crate) fn push_unit(out: &mut String, unit: u16) {
    if (0xDC00..0xE000).contains(&unit)
        && let Some(high) =
            out.chars().next_back().and_then(half).filter(|high| (0xD800..0xDC00).contains(high))
    {
        let code = 0x10000 + ((u32::from(high) - 0xD800) << 10) + (u32::from(unit) - 0xDC00);
        if let Some(joined) = char::from_u32(code) {
            out.pop();
            out.push(joined);
            return;
        }
    }
    out.push(of_unit(unit));
}

/// Appends a text, joining halves where the two meet.
pub(crate) fn push_text(out: &mut String, text: &str) {
    if text.as_bytes().first() == Some(&0xF4)
        && let Some(first) = text.chars().next()
        && let Some(unit) = half(first)
    {
        push_unit(out, unit);
        out.push_str(&text[first.len_utf8()..]);
    } else {
        out.push_str(text);
    }
}

/// Units a character takes.
fn width(c: char) -> usize {
    if (0x10000..HALF).contains(&(c as u32)) { 2 } else { 1 }
}

/// Length in UTF-16 units.
pub(crate) fn length(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(width).sum() }
}

pub(crate) fn units(text: &str) -> impl Iterator<Item = u16> + '_ {
    text.chars().flat_map(|c| {
        let mut buffer = [0u16; 2];
        let encoded: &[u16] = match half(c) {
            Some(unit) => {
                buffer[0] = unit;
                &buffer[..1]
            }
            None => c.encode_utf16(&mut buffer),
        };
        let (first, second) = (encoded[0], encoded.get(1).copied());
        std::iter::once(first).chain(second)
    })
}

pub(crate) fn unit_at(text: &str, index: usize) -> Option<u16> {
    if text.is_ascii() {
        text.as_bytes().get(index).map(|byte| u16::from(*byte))
    } else {
        units(text).nth(index)
    }
}

pub(crate) fn from_units(units: &[u16]) -> String {
    let mut out = String::with_capacity(units.len());
    for unit in units {
        push_unit(&mut out, *unit);
    }
    out
}

/// The part between two indexes, counted in units; the caller has checked them.
pub(crate) fn slice(text: &str, start: usize, end: usize) -> String {
    if text.is_ascii() {
        return text.get(start..end).unwrap_or("").to_owned();
    }
    let mut out = String::new();
    let mut at = 0;
    for c in text.chars() {
        if at >= end {
            break;
        }
        let wide = width(c);
        if at >= start && at + wide <= end {
            out.push(c);
        } else if wide == 2 && at + 1 >= start && at < end {
            let mut buffer = [0u16; 2];
            c.encode_utf16(&mut buffer);
            if at >= start {
                push_unit(&mut out, buffer[0]);
            } else if at + 1 < end {
                push_unit(&mut out, buffer[1]);
            }
        }
        at += wide;
    }
    out
}

/// The unit index of a byte offset.
pub(crate) fn index_of_byte(text: &str, byte: usize) -> usize {
    length(text.get(..byte).unwrap_or(text))
}

/// The byte offset of a unit index; the start of the character if it falls into a pair, the length
/// if it is behind the end.
pub(crate) fn byte_of_index(text: &str, index: usize) -> usize {
    if text.is_ascii() {
        return index.min(text.len());
    }
    let mut at = 0;
    for (byte, c) in text.char_indices() {
        if at >= index {
            return byte;
        }
        at += width(c);
        if at > index {
            return byte;
        }
    }
    text.len()
}

/// Joins halves that stand beside each other and writes lone ones as `?`: what leaves the engine is
/// plain Unicode.
pub(crate) fn leave(text: String) -> String {
    if memchr::memchr(0xF4, text.as_bytes()).is_none() || !text.chars().any(|c| half(c).is_some()) {
        return text;
    }
    let mut joined = String::with_capacity(text.len());
    for c in text.chars() {
        match half(c) {
            Some(unit) => push_unit(&mut joined, unit),
            None => joined.push(c),
        }
    }
    joined.chars().map(|c| if half(c).is_some() { '?' } else { c }).collect()
}

/// Java's `String.hashCode`.
pub(crate) fn hash(text: &str) -> i32 {
    units(text).fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// Java's `String.compareTo`: the difference of the first units that differ, or of the lengths.
pub(crate) fn compare(left: &str, right: &str) -> i32 {
    let (mut a, mut b) = (units(left), units(right));
    loop {
        match (a.next(), b.next()) {
            (Some(x), Some(y)) if x == y => {}
            (Some(x), Some(y)) => return i32::from(x) - i32::from(y),
            (None, None) => return 0,
            (None, Some(_)) => return -(1 + b.count() as i32),
            (Some(_), None) => return 1 + a.count() as i32,
        }
    }
}

/// Java's `trim`: takes away everything up to U+0020 at both ends.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

/// Takes the last unit away.
pub(crate) fn pop_unit(text: &mut String) {
    if let Some(last) = text.pop()
        && width(last) == 2
    {
        let mut buffer = [0u16; 2];
        last.encode_utf16(&mut buffer);
        push_unit(text, buffer[0]);
    }
}

/// Java's UTF-8 decoder: like Rust's, but half of a surrogate pair, encoded by itself, is one
/// replacement character.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        let half =
            rest.windows(2).position(|pair| pair[0] == 0xED && (0xA0..0xC0).contains(&pair[1]));
        let Some(at) = half else {
            out.push_str(&String::from_utf8_lossy(rest));
            return out;
        };
        out.push_str(&String::from_utf8_lossy(&rest[..at]));
        out.push('\u{fffd}');
        let third = rest.get(at + 2).is_some_and(|byte| (0x80..0xC0).contains(byte));
        rest = &rest[at + 2 + usize::from(third)..];
    }
}
