//! JSON as json-smart reads it in its permissive mode, which is what API Gateway does.
//!
//! Takes unquoted keys and texts, single quotes, commas too many, leading zeros, and anything
//! behind the first value. A body such as `a=b` is a string. Writing is in `value`.

use std::rc::Rc;

use num_bigint::BigInt;

use super::{
    number::BigDecimal,
    text,
    value::{ListKind, MAX_NESTING, Map, Text, Value},
};

/// Digits a number may have; reading takes time that grows with their square.
const MAX_DIGITS: usize = 10_000;

/// Why a text isn't JSON, even permissively. Position in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonError {
    pub at: usize,
    pub message: String,
    /// A limit of this engine's, not the text's fault.
    pub limit: bool,
}

/// What ends a text without quotes.
#[derive(Clone, Copy)]
enum Stop {
    End,
    Key,
    Value,
    Array,
}

impl Stop {
    fn at(self, byte: u8) -> bool {
        match self {
            Stop::End => false,
            Stop::Key => byte == b':',
            Stop::Value => byte == b',' || byte == b'}',
            Stop::Array => byte == b',' || byte == b']',
        }
    }
}

/// The byte that json-smart takes for the end of the text.
const END: u8 = 0x1a;

struct Reader<'t, 'a> {
    source: &'t str,
    bytes: &'t [u8],
    pos: usize,
    /// The same text where it outlives the render: strings are then parts of it.
    lasting: Option<&'a str>,
}

type Read<T> = Result<T, JsonError>;

/// Reads the first value of a text.
pub(crate) fn parse<'a>(source: &Text<'a>) -> Read<Value<'a>> {
    match source {
        Text::Borrowed(text) => parse_str(text, Some(text)),
        Text::Shared(text) => parse_str(text, None),
    }
}

fn parse_str<'a>(source: &str, lasting: Option<&'a str>) -> Read<Value<'a>> {
    let mut reader = Reader { source, bytes: source.as_bytes(), pos: 0, lasting };
    reader.first()
}

impl<'t, 'a> Reader<'t, 'a> {
    fn byte(&self) -> u8 {
        self.bytes.get(self.pos).copied().unwrap_or(END)
    }

    fn error<T>(&self, message: impl Into<String>) -> Read<T> {
        Err(JsonError {
            at: self.pos.min(self.source.len()),
            message: message.into(),
            limit: false,
        })
    }

    fn unexpected<T>(&self) -> Read<T> {
        if self.byte() == END {
            return self.error("the text ends too early");
        }
        match self.source.get(self.pos..).and_then(|rest| rest.chars().next()) {
            Some(c) => self.error(format!("unexpected `{c}`")),
            None => self.error("the text ends too early"),
        }
    }

    fn part(&self, start: usize, end: usize) -> Value<'a> {
        match self.lasting {
            Some(text) => Value::Text(Text::Borrowed(&text[start..end])),
            None => Value::text(&self.source[start..end]),
        }
    }

    fn skip_space(&mut self) {
        while self.byte() <= b' ' && self.byte() != END {
            self.pos += 1;
        }
    }

    fn first(&mut self) -> Read<Value<'a>> {
        while matches!(self.byte(), b' ' | b'\r' | b'\n' | b'\t') {
            self.pos += 1;
        }
        match self.byte() {
            b':' | b'}' | b']' => self.unexpected(),
            _ => self.value(Stop::End, 0),
        }
    }

    /// A value inside another.
    fn inner(&mut self, stop: Stop, depth: usize) -> Read<Value<'a>> {
        while matches!(self.byte(), b' ' | b'\r' | b'\n' | b'\t') {
            self.pos += 1;
        }
        match self.byte() {
            b':' | b'}' | b']' => self.unexpected(),
            _ => self.value(stop, depth),
        }
    }

    fn value(&mut self, stop: Stop, depth: usize) -> Read<Value<'a>> {
        match self.byte() {
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b'"' | b'\'' => self.string(),
            b'0'..=b'9' | b'-' => self.number(stop),
            first => {
                let (start, end) = self.unquoted(stop);
                Ok(match (first, &self.source[start..end]) {
                    (b'n', "null") => Value::Null,
                    (b't', "true") => Value::Bool(true),
                    (b'f', "false") => Value::Bool(false),
                    (b'N', "NaN") => Value::Float(f32::NAN),
                    _ => self.part(start, end),
                })
            }
        }
    }

    fn too_deep<T>(&self) -> Read<T> {
        Err(JsonError {
            at: self.pos,
            message: format!("lists and objects are nested more than {MAX_NESTING} deep"),
            limit: true,
        })
    }

    fn array(&mut self, depth: usize) -> Read<Value<'a>> {
        if depth > MAX_NESTING {
            return self.too_deep();
        }
        let mut items = Vec::new();
        self.pos += 1;
        loop {
            match self.byte() {
                b' ' | b'\r' | b'\n' | b'\t' | b',' => self.pos += 1,
                b']' => {
                    self.pos += 1;
                    return Ok(Value::list(ListKind::JsonArray, items));
                }
                b':' | b'}' => return self.unexpected(),
                END => return self.error("the list is never closed"),
                _ => items.push(self.inner(Stop::Array, depth)?),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Read<Value<'a>> {
        if depth > MAX_NESTING {
            return self.too_deep();
        }
        let map = Map::default();
        self.pos += 1;
        loop {
            match self.byte() {
                b' ' | b'\r' | b'\n' | b'\t' | b',' => self.pos += 1,
                b':' | b']' | b'[' | b'{' => return self.unexpected(),
                b'}' => {
                    self.pos += 1;
                    return Ok(Value::Map(Rc::new(map)));
                }
                byte => {
                    let key = if byte == b'"' || byte == b'\'' {
                        self.string()?
                    } else {
                        let (start, end) = self.unquoted(Stop::Key);
                        self.part(start, end)
                    };
                    self.skip_space();
                    if self.byte() != b':' {
                        return self.unexpected();
                    }
                    self.pos += 1;
                    if self.pos >= self.bytes.len() {
                        return self.error("the text ends behind a `:`");
                    }
                    let value = self.inner(Stop::Value, depth)?;
                    map.put(key, value);
                    self.skip_space();
                    match self.byte() {
                        b'}' => {
                            self.pos += 1;
                            return Ok(Value::Map(Rc::new(map)));
                        }
                        b',' => self.pos += 1,
                        _ => return self.unexpected(),
                    }
                }
            }
        }
    }

    /// A text without quotes, without the blanks around it.
    fn unquoted(&mut self, stop: Stop) -> (usize, usize) {
        let start = self.pos;
        while self.byte() != END && !stop.at(self.byte()) {
            self.pos += 1;
        }
        self.trimmed(start)
    }

    fn trimmed(&self, start: usize) -> (usize, usize) {
        let part = &self.source[start..self.pos];
        let trimmed = text::trim(part);
        let offset =
            if trimmed.is_empty() { 0 } else { trimmed.as_ptr().addr() - part.as_ptr().addr() };
        (start + offset, start + offset + trimmed.len())
    }

    fn digits(&mut self) {
        while self.byte().is_ascii_digit() {
            self.pos += 1;
        }
    }

    /// Whether something stands here that makes a text of what began as a number.
    fn goes_on(&mut self, stop: Stop) -> bool {
        self.skip_space();
        let byte = self.byte();
        byte < 126 && byte != END && !stop.at(byte)
    }

    fn number(&mut self, stop: Stop) -> Read<Value<'a>> {
        let start = self.pos;
        self.pos += 1;
        self.digits();
        let mut float = false;
        if self.byte() == b'.' {
            float = true;
            self.pos += 1;
            self.digits();
        }
        if matches!(self.byte(), b'e' | b'E') {
            float = true;
            self.pos += 1;
            if !matches!(self.byte(), b'+' | b'-' | b'0'..=b'9') {
                let (_, end) = self.unquoted(stop);
                return Ok(self.part(start, end.max(self.trimmed(start).1)));
            }
            self.pos += 1;
            self.digits();
        }
        if self.goes_on(stop) {
            self.unquoted(stop);
            let (start, end) = self.trimmed(start);
            return Ok(self.part(start, end));
        }
        let (from, to) = self.trimmed(start);
        let digits = &self.source[from..to];
        if digits.len() > MAX_DIGITS {
            return Err(JsonError {
                at: start,
                message: format!("a number has more than {MAX_DIGITS} digits"),
                limit: true,
            });
        }
        if float { self.float(digits) } else { self.integer(digits) }
    }

    fn integer(&self, digits: &str) -> Read<Value<'a>> {
        if let Ok(number) = digits.parse::<i64>() {
            return Ok(i32::try_from(number).map_or(Value::Long(number), Value::Int));
        }
        if digits == "-" {
            return Ok(Value::Int(0));
        }
        match digits.parse::<BigInt>() {
            Ok(number) => Ok(Value::Big(Rc::new(number))),
            Err(_) => self.error(format!("`{digits}` is not a number")),
        }
    }

    fn float(&self, digits: &str) -> Read<Value<'a>> {
        let number = if digits.len() > 18 {
            BigDecimal::parse(digits).map(|number| Value::Decimal(Rc::new(number)))
        } else {
            digits.parse::<f64>().ok().map(Value::Double)
        };
        match number {
            Some(number) => Ok(number),
            None => self.error(format!("`{digits}` is not a number")),
        }
    }

    fn string(&mut self) -> Read<Value<'a>> {
        let quote = self.byte();
        let start = self.pos + 1;
        let Some(length) = memchr::memchr(quote, &self.bytes[start..]) else {
            return self.error("a quote is never closed");
        };
        let end = start + length;
        if memchr::memchr(b'\\', &self.bytes[start..end]).is_none() {
            self.pos = end + 1;
            return Ok(self.part(start, end));
        }
        self.pos = start;
        let mut out = String::with_capacity(length);
        loop {
            let byte = self.byte();
            match byte {
                END => return self.error("a quote is never closed"),
                b'\\' => {
                    self.pos += 1;
                    match self.byte() {
                        b't' => out.push('\t'),
                        b'n' => out.push('\n'),
                        b'r' => out.push('\r'),
                        b'f' => out.push('\u{c}'),
                        b'b' => out.push('\u{8}'),
                        escaped @ (b'\\' | b'/' | b'\'' | b'"') => out.push(escaped as char),
                        b'u' => {
                            let unit = self.hex(4)?;
                            text::push_unit(&mut out, unit);
                        }
                        b'x' => {
                            let unit = self.hex(2)?;
                            text::push_unit(&mut out, unit);
                        }
                        END => return self.error("a quote is never closed"),
                        // Any other character behind a backslash vanishes with it.
                        _ => {
                            let dropped = self
                                .source
                                .get(self.pos..)
                                .and_then(|rest| rest.chars().next())
                                .map_or(1, char::len_utf8);
                            self.pos += dropped - 1;
                        }
                    }
                    self.pos += 1;
                }
                _ if byte == quote => {
                    self.pos += 1;
                    return Ok(Value::text(out));
                }
                // In a string with escapes, control characters are dropped.
                0..=31 | 127 => self.pos += 1,
                _ => {
                    let rest = &self.bytes[self.pos..];
                    let plain = rest
                        .iter()
                        .position(|b| *b == b'\\' || *b == quote || *b < 32 || *b == 127)
                        .unwrap_or(rest.len());
                    text::push_text(&mut out, &self.source[self.pos..self.pos + plain]);
                    self.pos += plain;
                }
            }
        }
    }

    /// Hexadecimal digits behind `\u` or `\x`; stays on the last one.
    fn hex(&mut self, count: usize) -> Read<u16> {
        let mut value = 0u16;
        for _ in 0..count {
            self.pos += 1;
            let Some(digit) = (self.byte() as char).to_digit(16) else {
                return self.unexpected();
            };
            value = value * 16 + digit as u16;
        }
        Ok(value)
    }
}

/// Names of one object that are compared one by one; beyond it the long way is taken.
const MAX_NAMES: usize = 64;

/// Appends a text's JSON as `$input.json('$')` prints it, without making values of it. `false`,
/// with nothing appended, if the text isn't plain enough for that (permissive forms, a name twice
/// in an object, deep nesting); the caller then goes the long way.
pub(crate) fn rewrite(source: &str, out: &mut String) -> bool {
    let start = out.len();
    let mut rewriter =
        Rewriter { source, bytes: source.as_bytes(), pos: 0, copied: 0, names: Vec::new() };
    if rewriter.value(0, out).is_some() {
        out.push_str(&source[rewriter.copied..rewriter.pos]);
        true
    } else {
        out.truncate(start);
        false
    }
}

/// Bytes of a string that stand for themselves, whatever comes before or behind them.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        plain[byte] = false;
        byte += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain[0x7f] = false;
    plain[0xc2] = false;
    plain[0xe2] = false;
    plain[0xf4] = false;
    plain
};

/// Copies strict JSON without its blanks. Everything up to `copied` is written; what follows up to
/// `pos` can be copied as it stands.
struct Rewriter<'s> {
    source: &'s str,
    bytes: &'s [u8],
    pos: usize,
    copied: usize,
    /// The names of the objects that are open.
    names: Vec<&'s [u8]>,
}

impl<'s> Rewriter<'s> {
    #[inline]
    fn byte(&self) -> u8 {
        self.bytes.get(self.pos).copied().unwrap_or(END)
    }

    /// Writes what is pending and goes on behind `to`.
    #[inline]
    fn skip_to(&mut self, to: usize, out: &mut String) {
        out.push_str(&self.source[self.copied..self.pos]);
        self.pos = to;
        self.copied = to;
    }

    #[inline]
    fn blanks(&mut self, out: &mut String) {
        if matches!(self.byte(), b' ' | b'\n' | b'\r' | b'\t') {
            let mut end = self.pos + 1;
            while matches!(self.bytes.get(end), Some(b' ' | b'\n' | b'\r' | b'\t')) {
                end += 1;
            }
            self.skip_to(end, out);
        }
    }

    fn value(&mut self, depth: usize, out: &mut String) -> Option<()> {
        self.blanks(out);
        match self.byte() {
            b'"' => self.string(out).map(|_| ()),
            b'{' => self.object(depth, out),
            b'[' => self.array(depth, out),
            // By itself, a number or word with anything behind it is a text.
            _ if depth == 0 => None,
            b'-' | b'0'..=b'9' => self.number(out),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => None,
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        if !self.bytes[self.pos..].starts_with(word) {
            return None;
        }
        self.pos += word.len();
        self.ended()
    }

    /// A number or word must be followed by something that ends it.
    #[inline]
    fn ended(&self) -> Option<()> {
        match self.bytes.get(self.pos) {
            None | Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') => Some(()),
            _ => None,
        }
    }

    fn number(&mut self, out: &mut String) -> Option<()> {
        let start = self.pos;
        let mut end = start + usize::from(self.byte() == b'-');
        let first = end;
        while self.bytes.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
        let digits = end - first;
        // A leading zero is dropped by Java, `-0` becomes `0`.
        let odd = digits == 0
            || (self.bytes[first] == b'0' && (digits > 1 || first > start))
            || digits > 400;
        if odd && !(digits == 1 && self.bytes.get(end) == Some(&b'.')) {
            return None;
        }
        if !matches!(self.bytes.get(end), Some(b'.' | b'e' | b'E')) {
            self.pos = end;
            return self.ended();
        }
        while self.bytes.get(end).is_some_and(|byte| {
            byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')
        }) {
            end += 1;
        }
        let text = &self.source[start..end];
        // Longer ones are big decimals, odd ones are texts.
        if text.len() > 18 || !text.ends_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let number: f64 = text.parse().ok()?;
        self.skip_to(end, out);
        self.ended()?;
        if number.is_infinite() {
            out.push_str("null");
        } else {
            super::number::push_double(number, out);
        }
        Some(())
    }

    /// A string; what it is in the source, if it has no escapes.
    fn string(&mut self, out: &mut String) -> Option<Option<&'s [u8]>> {
        let start = self.pos + 1;
        let mut end = start;
        let mut plain = true;
        loop {
            end +=
                self.bytes.get(end..)?.iter().take_while(|byte| PLAIN[usize::from(**byte)]).count();
            let byte = *self.bytes.get(end)?;
            match byte {
                b'"' => break,
                b'\\' => {
                    // json-smart writes these escapes as they were.
                    if !matches!(
                        self.bytes.get(end + 1),
                        Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't')
                    ) {
                        match self.bytes.get(end + 1) {
                            Some(b'/') => {
                                self.pos = end;
                                self.skip_to(end + 1, out);
                            }
                            _ => return None,
                        }
                    }
                    plain = false;
                    end += 2;
                }
                0..0x20 | 0x7f => return None,
                0xc2 if self.bytes.get(end + 1).is_some_and(|next| *next < 0xa0) => return None,
                0xe2 if self
                    .bytes
                    .get(end + 1)
                    .is_some_and(|next| (0x80..=0x83).contains(next)) =>
                {
                    return None;
                }
                // Could be a half of a surrogate pair as it is kept here.
                0xf4 => return None,
                _ => end += 1,
            }
        }
        self.pos = end + 1;
        Some(plain.then(|| &self.bytes[start..end]))
    }

    fn array(&mut self, depth: usize, out: &mut String) -> Option<()> {
        if depth > MAX_NESTING / 4 {
            return None;
        }
        self.pos += 1;
        self.blanks(out);
        if self.byte() == b']' {
            self.pos += 1;
            return Some(());
        }
        loop {
            self.value(depth + 1, out)?;
            self.blanks(out);
            match self.byte() {
                b',' => self.pos += 1,
                b']' => {
                    self.pos += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize, out: &mut String) -> Option<()> {
        if depth > MAX_NESTING / 4 {
            return None;
        }
        self.pos += 1;
        let own = self.names.len();
        self.blanks(out);
        if self.byte() == b'}' {
            self.pos += 1;
            return Some(());
        }
        loop {
            self.blanks(out);
            if self.byte() != b'"' {
                return None;
            }
            let name = self.string(out)??;
            if self.names.len() - own >= MAX_NAMES || self.names[own..].contains(&name) {
                return None;
            }
            self.names.push(name);
            self.blanks(out);
            if self.byte() != b':' {
                return None;
            }
            self.pos += 1;
            self.value(depth + 1, out)?;
            self.blanks(out);
            match self.byte() {
                b',' => self.pos += 1,
                b'}' => {
                    self.pos += 1;
                    self.names.truncate(own);
                    return Some(());
                }
                _ => return None,
            }
        }
    }
}
