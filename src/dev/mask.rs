//! Takes tokens out of what `dev` keeps and shows. Pure. The request line, an event and a header
//! each spell a token in their own way (percent-encoded, escaped, in base64), so a text is compared
//! in a plain form, in which all spellings of a character are the same byte.

use crate::render;
use base64::{Engine, prelude::BASE64_STANDARD};
use memchr::{
    memchr3,
    memmem::{self, Finder},
};
use std::{collections::BTreeSet, ops::Range};
use vtl::{escape_javascript, url_encode};

/// Stands where a token stood.
pub const MASKED: &str = "…";
/// Shorter ones would blot out half of a text: they are masked only where they stand as the token.
const SHORTEST: usize = 8;
/// Values of `token` in one request that are looked for. Each costs a search of every text, and the
/// last one is what counts.
const MOST_SENT: usize = 16;
/// Bytes of a text that are compared at a time, so that a large event isn't copied as a whole.
const WINDOW: usize = 64 * 1024;
/// Backslashes before a character, or `25`s behind a percent sign: JSON in JSON in JSON in JSON.
const LAYERS: usize = 16;

/// Secrets, in all the ways in which they are looked for.
#[derive(Default)]
pub struct Secrets {
    /// As they are found in a text itself.
    literal: Vec<Finder<'static>>,
    /// As they are found in its plain form.
    plain: Vec<Finder<'static>>,
    /// Short ones, which count only where they stand as the token.
    named: Vec<String>,
    /// Bytes of the longest spelling of one in `plain`.
    longest: usize,
}

/// What is taken out of the texts of one request.
pub struct Mask<'a> {
    known: &'a Secrets,
    sent: Secrets,
}

impl Mask<'_> {
    /// `known`: what no text shows. `query`: the request's, as sent; no text shows its `token`, of
    /// many the last [`MOST_SENT`].
    pub fn new<'a>(known: &'a Secrets, query: &str) -> Mask<'a> {
        let mut given = BTreeSet::new();
        for pair in query.rsplit('&') {
            let (_, raw) = pair.split_once('=').unwrap_or((pair, ""));
            for (name, value) in render::parse_query(pair) {
                let is_new = !(raw == value && known.has(raw));
                if name == "token" && !value.trim().is_empty() && is_new && given.len() < MOST_SENT
                {
                    given.insert((value, raw));
                }
            }
        }
        let mut sent = Secrets::default();
        for (value, raw) in given {
            sent.add(&value, raw);
        }
        Mask { known, sent }
    }

    pub fn text(&self, text: String) -> String {
        let mut found = vec![];
        self.known.find(&text, &mut found);
        self.sent.find(&text, &mut found);
        if found.is_empty() {
            return text;
        }
        found.sort_unstable_by_key(|range| (range.start, range.end));
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        let mut ranges = found.into_iter().peekable();
        while let Some(mut range) = ranges.next() {
            // Of two that overlap, what is left of one would give the rest of the other away.
            while let Some(next) = ranges.next_if(|next| next.start < range.end) {
                range.end = range.end.max(next.end);
            }
            out.push_str(&text[at..range.start]);
            out.push_str(MASKED);
            at = range.end;
        }
        out.push_str(&text[at..]);
        out
    }

    /// Text that is bytes; what isn't UTF-8 stays.
    pub fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        match String::from_utf8(bytes) {
            Ok(text) => self.text(text).into_bytes(),
            Err(error) => error.into_bytes(),
        }
    }
}

impl Secrets {
    /// Of secrets in clear.
    pub fn new<'a>(known: impl IntoIterator<Item = &'a str>) -> Secrets {
        let mut secrets = Secrets::default();
        for secret in known {
            secrets.add(secret, secret);
        }
        secrets
    }

    fn has(&self, secret: &str) -> bool {
        self.literal.iter().any(|known| known.needle() == secret.as_bytes())
    }

    /// `value` stood as `raw` in the request line.
    fn add(&mut self, value: &str, raw: &str) {
        let json = serde_json::to_string(value).unwrap_or_default();
        let json = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
        let java = escape_javascript(value).unwrap_or_else(|| value.to_owned());
        // As our own templates make JSON of it.
        let event = java.replace("\\'", "'");
        let spelled = [value, raw, json.unwrap_or_default(), &java, &event, &url_encode(value)];
        if value.len() < SHORTEST {
            self.named.extend(BTreeSet::from(spelled).into_iter().map(str::to_owned));
            return;
        }
        let mut literal: BTreeSet<Vec<u8>> =
            spelled.into_iter().map(|text| text.as_bytes().to_vec()).collect();
        let mut in_plain = BTreeSet::new();
        for secret in BTreeSet::from([value, raw]) {
            in_plain.insert(plain(secret.as_bytes()).0);
            // Where in the encoded bytes it begins decides what becomes of it: three ways. The
            // digits at its edges are its neighbours', too, and left out.
            for lead in 0..3 {
                let encoded =
                    BASE64_STANDARD.encode([&b"\0\0"[..lead], secret.as_bytes()].concat());
                let whole = (lead + secret.len()) * 8 / 6;
                let piece = &encoded.as_bytes()[(lead * 8).div_ceil(6)..whole];
                in_plain.insert(plain(piece).0);
                literal.insert(piece.to_vec());
            }
        }
        let finders = |secrets: BTreeSet<Vec<u8>>| {
            let long = secrets.into_iter().filter(|secret| secret.len() >= SHORTEST);
            long.map(|secret| Finder::new(&secret).into_owned())
        };
        self.literal.extend(finders(literal));
        self.plain.extend(finders(in_plain));
        // Six bytes of `\u00e9` and some layers: more than any spelling has for a byte.
        let longest =
            self.plain.iter().map(|secret| secret.needle().len()).max().unwrap_or_default();
        self.longest = longest.saturating_mul(6 + LAYERS);
    }

    fn find(&self, text: &str, found: &mut Vec<Range<usize>>) {
        self.literals(text, found);
        if memchr3(b'%', b'\\', b'+', text.as_bytes()).is_some() {
            self.spellings(text, found);
        }
    }

    fn literals(&self, text: &str, found: &mut Vec<Range<usize>>) {
        for secret in &self.literal {
            let length = secret.needle().len();
            // Most texts are a header, and shorter than that.
            if length <= text.len() {
                found.extend(secret.find_iter(text.as_bytes()).map(|start| start..start + length));
            }
        }
        for secret in &self.named {
            for start in memmem::find_iter(text.as_bytes(), secret.as_bytes()) {
                let end = start + secret.len();
                let before = text[..start].trim_end();
                let next = text[end..].chars().next();
                let as_query = before.len() == start && before.ends_with("token=");
                let as_value = || {
                    let before = before.strip_suffix('"').map(str::trim_end);
                    let key = before.and_then(|before| before.strip_suffix(':'));
                    key.is_some_and(|key| key.trim_end().ends_with("\"token\""))
                };
                let more = |next: char| next.is_alphanumeric() || "-._~%+\\".contains(next);
                if (as_query && !next.is_some_and(more)) || (as_value() && next == Some('"')) {
                    found.push(start..end);
                }
            }
        }
    }

    fn spellings(&self, text: &str, found: &mut Vec<Range<usize>>) {
        let bytes = text.as_bytes();
        let window = WINDOW.max(2 * self.longest);
        let mut from = 0;
        while from < bytes.len() && !self.plain.is_empty() {
            let part = &bytes[from..bytes.len().min(from + window + self.longest)];
            let (plain, steps) = plain(part);
            for secret in &self.plain {
                for start in secret.find_iter(&plain) {
                    let end = start + secret.needle().len();
                    let mut range = from + origin(&steps, start)..from + origin(&steps, end);
                    // Half a character can be another's half.
                    while !text.is_char_boundary(range.start) {
                        range.start -= 1;
                    }
                    while !text.is_char_boundary(range.end) {
                        range.end += 1;
                    }
                    found.push(range);
                }
            }
            from += window;
        }
    }
}

/// The plain form of a text, and where its bytes are from: from each step's first byte on, one by
/// one. The last step is the end.
///
/// Percent-encoded and `\uXXXX` characters are themselves, backslashes are left out (and a control
/// character is the letter that is written behind one), `+` is a blank. Not a text that anybody
/// wrote, but two spellings of one text have one plain form.
fn plain(text: &[u8]) -> (Vec<u8>, Vec<(usize, usize)>) {
    let mut out = Vec::with_capacity(text.len());
    let mut steps = vec![(0, 0)];
    let mut at = 0;
    while at < text.len() {
        if !matches!(text[at], b'\\' | b'%') {
            out.push(folded(text[at]));
            at += 1;
            continue;
        }
        let run = text[at..].iter().take(LAYERS).take_while(|byte| **byte == b'\\').count();
        let start = at;
        at += run;
        let before = out.len();
        match text.get(at) {
            // A longer run than is ever written: its last backslashes count.
            Some(b'\\') => {}
            Some(b'%') => match percent(text, at) {
                Some((byte, end)) => {
                    out.push(folded(byte));
                    at = end;
                }
                None => {
                    out.push(b'%');
                    at += 1;
                }
            },
            Some(b'u') if run > 0 => match unicode(text, at) {
                Some((c, end)) => {
                    let mut buffer = [0; 4];
                    out.extend(c.encode_utf8(&mut buffer).bytes().map(folded));
                    at = end;
                }
                None => {
                    out.push(b'u');
                    at += 1;
                }
            },
            Some(byte) => {
                out.push(folded(*byte));
                at += 1;
            }
            None => {}
        }
        if at - start != out.len() - before {
            // One step to its first byte, one behind it.
            if steps.last().is_some_and(|last| last.0 != before) {
                steps.push((before, start));
            }
            steps.push((out.len(), at));
        }
    }
    (out, steps)
}

/// Where a byte of the plain form is from.
fn origin(steps: &[(usize, usize)], at: usize) -> usize {
    // The first of several steps at one place: before the backslashes that were left out there.
    let next = steps.partition_point(|(plain, _)| *plain < at);
    match steps.get(next) {
        Some((plain, from)) if *plain == at => *from,
        _ => next.checked_sub(1).map_or(at, |last| steps[last].1 + (at - steps[last].0)),
    }
}

fn folded(byte: u8) -> u8 {
    match byte {
        b'+' => b' ',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        8 => b'b',
        12 => b'f',
        other => other,
    }
}

/// The byte that `%E9`, `%25E9`, … at this place stand for, and where they end.
fn percent(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let mut at = at + 1;
    let mut byte = hex(text, at, 2)?;
    for _ in 0..LAYERS {
        match hex(text, at + 2, 2) {
            Some(next) if byte == u32::from(b'%') => {
                byte = next;
                at += 2;
            }
            _ => break,
        }
    }
    Some((u8::try_from(byte).ok()?, at + 2))
}

/// The character that `u00E9` at this place, behind a backslash, stands for.
fn unicode(text: &[u8], at: usize) -> Option<(char, usize)> {
    let unit = hex(text, at + 1, 4)?;
    let end = at + 5;
    if let Some(c) = char::from_u32(unit) {
        return Some((c, end));
    }
    let run =
        text[end.min(text.len())..].iter().take(LAYERS).take_while(|byte| **byte == b'\\').count();
    let low = end + run;
    let second = (run > 0 && text.get(low) == Some(&b'u')).then(|| hex(text, low + 1, 4)).flatten();
    match second {
        Some(second @ 0xdc00..0xe000) if unit < 0xdc00 => {
            let c = char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (second - 0xdc00))?;
            Some((c, low + 5))
        }
        _ => Some((char::REPLACEMENT_CHARACTER, end)),
    }
}

fn hex(text: &[u8], at: usize, digits: usize) -> Option<u32> {
    let mut digits = text.get(at..at + digits)?.iter();
    digits.try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
