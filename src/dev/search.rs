//! Looks for words in all that is kept of an exchange, upper case or lower. Pure.
//!
//! A body is searched as it came and as the page shows it: a form decoded, JSON without escapes.
//! Base64 in an event is searched as what it encodes: its digits would match any short word. A
//! template's own text isn't searched: it is the same for every request.

use super::{
    exchange::{Exchange, Stored},
    journal::Summary,
};
use crate::render;
use base64::{Engine, prelude::BASE64_STANDARD};
use memchr::memmem::{self, Finder};

/// Words of a search: more are a text that was pasted by mistake.
pub const MOST_WORDS: usize = 100;
/// Digits from which on a run may be base64.
const LONG_RUN: usize = 16;
/// A run as long as that isn't text, even if what it encodes isn't either.
const LONGEST_WORD: usize = 1024;

/// What is looked for: every word has to be somewhere.
pub struct Search {
    words: Vec<Finder<'static>>,
    case: Case,
}

#[derive(Clone, Copy, PartialEq)]
enum Case {
    /// Words in ASCII: quicker.
    Ascii,
    Unicode,
}

impl Search {
    /// `None`: more words than [`MOST_WORDS`].
    pub fn parse(text: &str) -> Option<Search> {
        let lower = text.to_lowercase();
        let words: Vec<&str> = lower.split_whitespace().take(MOST_WORDS + 1).collect();
        let case = if lower.is_ascii() { Case::Ascii } else { Case::Unicode };
        let finders = words.iter().map(|word| Finder::new(word.as_bytes()).into_owned()).collect();
        (words.len() <= MOST_WORDS).then_some(Search { words: finders, case })
    }

    /// Whether all the words are in what the list shows, for which no body is read.
    pub fn is_in_summary(&self, summary: &Summary) -> bool {
        self.begin().all_found_in(summary_text(summary).into_bytes())
    }

    /// Whether all the words are in the exchange, which `summary` is of.
    pub fn is_in(&self, summary: &Summary, exchange: Exchange) -> bool {
        let mut left = self.begin();
        let small = summary_text(summary) + &small(&exchange);
        if left.all_found_in(small.into_bytes()) {
            return true;
        }
        let (mut body, mut answer) = (exchange.request.body, exchange.response.body);
        if left.strike(&mut body) || shown(&body).is_some_and(|shown| left.all_found_in(shown)) {
            return true;
        }
        drop(body);
        left.strike(&mut answer)
            || exchange.event.is_some_and(|event| left.all_found_in(decoded(event)))
    }

    fn begin(&self) -> Left<'_> {
        Left { words: self.words.iter().collect(), case: self.case }
    }
}

/// The words that weren't found yet.
struct Left<'a> {
    words: Vec<&'a Finder<'static>>,
    case: Case,
}

impl Left<'_> {
    /// Takes away the words that are in the text, which becomes lower case. Whether that was all.
    fn strike(&mut self, text: &mut Vec<u8>) -> bool {
        match self.case {
            Case::Ascii => text.make_ascii_lowercase(),
            Case::Unicode => *text = String::from_utf8_lossy(text).to_lowercase().into_bytes(),
        }
        self.words.retain(|word| word.find(text).is_none());
        self.words.is_empty()
    }

    fn all_found_in(&mut self, mut text: Vec<u8>) -> bool {
        self.strike(&mut text)
    }
}

fn summary_text(summary: &Summary) -> String {
    let Summary {
        id, stage, route, method, path, status, content_type, stored, preview, more, ..
    } = summary;
    let (route, stored) =
        (route.as_deref().unwrap_or_default(), stored.as_deref().unwrap_or_default());
    let more = more.join(" ");
    format!(
        "#{id} {status} {method} {stage} {path} {route} {content_type} {stored} {preview} {more}\n"
    )
}

/// All of an exchange that is never large.
fn small(exchange: &Exchange) -> String {
    let Exchange { request, response, template, function, record, why, .. } = exchange;
    let mut text = format!("{}?", request.path);
    for (name, value) in &request.query {
        text += &format!("{name}={value}&");
    }
    for (name, value) in request.headers.iter().chain(&response.headers) {
        text += &format!("\n{name}: {value}");
    }
    let file = template.as_ref().and_then(|template| template.file.as_deref());
    let place = record.as_ref().map(|record| match record {
        Stored::S3 { bucket, key, .. } => format!("s3://{bucket}/{key}"),
        Stored::Sqs { queue, message_id, .. } => format!("{queue} {message_id}"),
    });
    let said =
        function.iter().flat_map(|said| [&said.id, &said.answer, &said.log].map(String::as_str));
    for more in said.chain(file).chain(place.as_deref()).chain(why.as_deref()) {
        text.push('\n');
        text.push_str(more);
    }
    text
}

/// A body as the page shows it, where that isn't how it came.
fn shown(body: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    match text.trim_start().as_bytes().first()? {
        b'{' | b'[' | b'"' => memmem::find(body, b"\\").map(|_| unescaped(text).into_bytes()),
        // Not that it is said to be a form: what is none has few of these.
        _ => memchr::memchr2(b'%', b'+', body).map(|_| {
            let pairs = render::parse_query(text);
            pairs
                .into_iter()
                .map(|(name, value)| format!("{name}={value}\n"))
                .collect::<String>()
                .into_bytes()
        }),
    }
}

/// JSON's escapes, wherever they are.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut chars = after.chars();
        let escape = chars.next();
        rest = chars.as_str();
        match escape {
            Some('n' | 'r' | 't' | 'b' | 'f') => out.push(' '),
            Some('u') => {
                // With its second half, where it has one.
                let pair =
                    |text: &str| serde_json::from_str::<String>(&format!("\"\\u{text}\"")).ok();
                let long = rest.get(..10).and_then(|text| Some((pair(text)?, 10)));
                match long.or_else(|| rest.get(..4).and_then(|text| Some((pair(text)?, 4)))) {
                    Some((c, length)) => {
                        out.push_str(&c);
                        rest = &rest[length..];
                    }
                    None => out.push('u'),
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out.push_str(rest);
    out
}

/// An event with what is in base64 in it as what it is.
fn decoded(event: String) -> Vec<u8> {
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    let bytes = event.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let run = bytes[at..].iter().take_while(|byte| digit(**byte)).count();
        let digits = &bytes[at..at + run];
        let text = (run >= LONG_RUN).then(|| BASE64_STANDARD.decode(digits).ok()).flatten();
        match text.filter(|text| std::str::from_utf8(text).is_ok()) {
            Some(text) => out.extend(text),
            None if run > LONGEST_WORD => {}
            None => out.extend_from_slice(digits),
        }
        at += run;
        let others = bytes[at..].iter().take_while(|byte| !digit(**byte)).count();
        out.extend_from_slice(&bytes[at..at + others]);
        at += others;
    }
    out
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
