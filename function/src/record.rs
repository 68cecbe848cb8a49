//! What is kept of a request: one S3 object or one SQS message. Decides whether the request may be
//! kept at all; stores nothing.

use {
    crate::{
        Invocation,
        answer::Refusal,
        destination::{Destination, Place, S3Format, SqsFormat},
        event::{Body, Event, EventError, Target},
        json, token,
    },
    bytes::Bytes,
    std::{borrow::Cow, collections::HashSet, hash::Hash},
};

/// Bytes. Source: SQS's quota "Message size", since August 2025; a queue's own limit may be lower,
/// and then SQS says so.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// What is stored, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Object { bucket: String, key: String, content_type: String, body: Bytes },
    Message { queue_url: String, body: String },
}

/// Headers that an envelope leaves out. The first two open the sender's doors, not the reader's.
/// Content-Encoding doesn't hold any more: API Gateway inflates gzip and deflate before a template
/// sees the body, lets identity through, and leaves the header as it was.
const LEFT_OUT: [&str; 3] = ["authorization", "cookie", "content-encoding"];

/// Why there is no record.
#[derive(Debug, PartialEq, Eq)]
pub enum NoRecord {
    /// The caller's fault.
    Refused(Refusal),
    /// Ours.
    Unreadable(String),
}

impl From<Refusal> for NoRecord {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<EventError> for NoRecord {
    fn from(error: EventError) -> Self {
        match error {
            EventError::Forged => Self::Refused(Refusal::Forged),
            EventError::Unreadable(why) => Self::Unreadable(why),
        }
    }
}

/// Makes the record of an event whose token was right. `destination` is the parsed
/// [`Target::Destination`] of the event; `now` is epoch milliseconds.
///
/// # Errors
/// See [`NoRecord`].
pub fn record(
    event: &Event,
    destination: Option<&Destination>,
    invocation: &Invocation,
    now: u64,
) -> Result<Record, NoRecord> {
    // thirteen digits until the year 2286; a time that isn't is not the gateway's
    let time = event
        .time
        .filter(|time| (1_000_000_000_000..10_000_000_000_000).contains(time))
        .unwrap_or(now);
    let id = &invocation.id;
    match (destination, &event.target) {
        (Some(Destination::S3 { bucket, prefix, format, allow, .. }), _) => {
            let app = app(event)?;
            let (bucket, prefix) = place(named(event)?, bucket, prefix, allow)?;
            let (body, content_type) = match format {
                S3Format::Raw => (body(&event.body)?, content_type(event)),
                S3Format::Ndjson => {
                    let mut body = body(&event.body)?;
                    json::make_lines(&mut body).map_err(|why| match why {
                        json::NotLines::NotJson => Refusal::NotJson,
                        json::NotLines::Scalar => Refusal::NotLines,
                    })?;
                    (body, "application/x-ndjson".into())
                }
                S3Format::Envelope => {
                    (envelope(event, &app, time, id, |_| true)?, "application/json".into())
                }
            };
            Ok(Record::Object {
                bucket,
                key: key(&prefix, &app, time, id),
                content_type,
                body: body.into(),
            })
        }
        (Some(Destination::Sqs { queue_url, format, .. }), _) => {
            let app = app(event)?;
            // `?bucket=` means nothing here: there is one queue
            match format {
                SqsFormat::Envelope => {
                    message(queue_url, envelope(event, &app, time, id, sqs_takes)?)
                }
                SqsFormat::Body => message(queue_url, body(&event.body)?),
            }
        }
        (None, Target::Queue { url, event }) => {
            let url = std::str::from_utf8(url).ok().filter(|url| url.starts_with("http"));
            let url = url.ok_or_else(|| {
                NoRecord::Unreadable(
                    "the event's `queue_url` is no URL of a queue: is the stage variable set?"
                        .into(),
                )
            })?;
            message(url, event.as_bytes().to_vec())
        }
        (None, Target::Bucket) => {
            let app = app(event)?;
            let place = named(event)?.ok_or(Refusal::Bucket)?;
            let key = key(&place.prefix(), &app, time, id);
            Ok(Record::Object {
                bucket: place.bucket,
                key,
                content_type: "application/json".into(),
                body: body(&event.body)?.into(),
            })
        }
        (None, Target::Destination(_) | Target::Missing) => {
            Err(NoRecord::Unreadable("the event has no destination".into()))
        }
    }
}

fn key(prefix: &str, app: &str, time: u64, id: &str) -> String {
    format!("{prefix}{app}_{time:013}_{id}")
}

/// `app` as the caller gave it, else the path's last part.
fn app<'a>(event: &'a Event) -> Result<Cow<'a, str>, Refusal> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if event.app.is_empty() {
        // the path is the API's, its alphabet a little wider than an app's
        let last = event
            .path
            .as_deref()
            .ok_or(Refusal::App)?
            .rsplit('/')
            .find(|part| !part.is_empty())
            .unwrap_or("root");
        return Ok(Cow::Owned(
            last.bytes()
                .take(64)
                .map(|byte| if good(byte) { char::from(byte) } else { '_' })
                .collect(),
        ));
    }
    std::str::from_utf8(&event.app)
        .ok()
        .filter(|app| app.len() <= 64 && app.bytes().all(good) && !holds_token(event, app))
        .map(Cow::Borrowed)
        .ok_or(Refusal::App)
}

/// The place that the caller named, if any.
fn named(event: &Event) -> Result<Option<Place>, Refusal> {
    if event.bucket.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(&event.bucket).map_err(|_| Refusal::Bucket)?;
    // read first: what is read is short, and so is the work of looking for a token in it
    let place = Place::parse(text).map_err(|_| Refusal::Bucket)?;
    if holds_token(event, text) { Err(Refusal::Bucket) } else { Ok(Some(place)) }
}

/// Whether a token was pasted into the wrong parameter: it would stand in the key and in the log.
///
/// That is the token that was sent, anywhere in the text, unless it is shorter than routeto's own:
/// then it can be part of an honest word. Or it is one of the stage's tokens, as the whole text or
/// as one part of a path, which matters where no token is asked for.
fn holds_token(event: &Event, text: &str) -> bool {
    let sent = event.token.as_deref().and_then(|token| std::str::from_utf8(token).ok());
    let valid = event.valid_token.as_deref().unwrap_or_default();
    let is_valid = |part: &str| token::is_listed(part.as_bytes(), valid);
    sent.is_some_and(|sent| sent.len() >= 20 && text.contains(sent))
        || is_valid(text)
        || text.split('/').any(is_valid)
}

/// The bucket and the prefix that the record goes to: the route's own, unless `?bucket=` names a
/// place within it or within what the route allows.
fn place(
    named: Option<Place>,
    bucket: &str,
    prefix: &str,
    allow: &[Place],
) -> Result<(String, String), Refusal> {
    let own = || (bucket.to_string(), prefix.to_string());
    let Some(named) = named else { return Ok(own()) };
    // the bucket alone is the route's own place: its prefix is not the caller's business
    if named.bucket == bucket && named.path.is_empty() {
        return Ok(own());
    }
    let route =
        Place { bucket: bucket.into(), path: prefix.strip_suffix('/').unwrap_or(prefix).into() };
    // a prefix that ends within a name ("SendGrid_") is no path that something could lie within
    let whole = prefix.is_empty() || prefix.ends_with('/');
    if (whole && route.contains(&named)) || allow.iter().any(|place| place.contains(&named)) {
        let prefix = named.prefix();
        return Ok((named.bucket, prefix));
    }
    Err(Refusal::Bucket)
}

fn body(body: &Body) -> Result<Vec<u8>, NoRecord> {
    // exactly so much: a vector that grows by doubling would hold two copies while it does
    let mut out = Vec::with_capacity(body.len_estimate());
    body.append_to(&mut out)?;
    Ok(out)
}

/// The Content-Type as it was sent, if S3 can take it as a header; what the gateway takes a missing
/// one for, if there is none.
fn content_type(event: &Event) -> String {
    match event.header("content-type").map(str::trim_ascii) {
        None | Some("") => "application/json".into(),
        Some(sent)
            if sent.len() <= 1024 && sent.bytes().all(|byte| (b' '..=b'~').contains(&byte)) =>
        {
            sent.into()
        }
        Some(_) => "application/octet-stream".into(),
    }
}

/// `{"body-json":…,"http-headers":{…},"path":…,"app":…,"time":…,"id":…}`, with `body-raw` in base64
/// where the body is no JSON, or JSON that the destination does not take as text. The body is
/// decoded into the envelope itself: it is in memory once.
fn envelope(
    event: &Event,
    app: &str,
    time: u64,
    id: &str,
    takes: impl Fn(&str) -> bool,
) -> Result<Vec<u8>, NoRecord> {
    const JSON: &[u8] = b"{\"body-json\":";
    const RAW: &[u8] = b"{\"body-raw\":\"";
    let headers: usize =
        event.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    let body = match &event.body {
        Body::Base64(text) => text.len(),
        Body::Json(text) => text.len(),
        Body::Missing => 0,
    };
    let mut out = Vec::with_capacity(JSON.len() + body + headers + 512);

    out.extend_from_slice(JSON);
    event.body.append_to(&mut out)?;
    let posted = std::str::from_utf8(&out[JSON.len()..]).ok();
    if !posted.is_some_and(|posted| json::is_json(posted) && takes(posted)) {
        match &event.body {
            // it was decoded, so it is base64 and nothing else
            Body::Base64(text) => {
                out.clear();
                out.extend_from_slice(RAW);
                out.extend_from_slice(text);
            }
            Body::Json(_) | Body::Missing => {
                let text = base64_simd::STANDARD.encode_to_string(&out[JSON.len()..]);
                out.clear();
                out.extend_from_slice(RAW);
                out.extend_from_slice(text.as_bytes());
            }
        }
        out.push(b'"');
    }

    out.extend_from_slice(b",\"http-headers\":{");
    let mut first = true;
    // of two with one name the later one counts, as in any JSON reader
    let last = last_of_each(event.headers.iter().map(|(name, _)| name.as_str()));
    for ((name, value), last) in event.headers.iter().zip(last) {
        if !last || LEFT_OUT.iter().any(|out| name.eq_ignore_ascii_case(out)) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        json::write_string(&mut out, name);
        out.push(b':');
        json::write_string(&mut out, value);
    }
    out.extend_from_slice(b"},\"path\":");
    json::write_string(&mut out, event.path.as_deref().unwrap_or_default());
    out.extend_from_slice(b",\"app\":");
    json::write_string(&mut out, app);
    out.extend_from_slice(format!(",\"time\":{time},\"id\":").as_bytes());
    json::write_string(&mut out, id);
    out.push(b'}');
    Ok(out)
}

/// For each name, whether it is the last one of its kind. In one pass: there may be many.
fn last_of_each<T: Eq + Hash>(names: impl DoubleEndedIterator<Item = T>) -> Vec<bool> {
    let mut seen = HashSet::new();
    let mut last: Vec<bool> = names.rev().map(|name| seen.insert(name)).collect();
    last.reverse();
    last
}

fn message(queue_url: &str, body: Vec<u8>) -> Result<Record, NoRecord> {
    if body.len() > MAX_MESSAGE {
        return Err(Refusal::TooLarge.into());
    }
    if body.is_empty() {
        return Err(Refusal::Empty.into());
    }
    let body = String::from_utf8(body).map_err(|_| Refusal::Characters)?;
    if !sqs_takes(&body) {
        return Err(Refusal::Characters.into());
    }
    Ok(Record::Message { queue_url: queue_url.into(), body })
}

/// Source: SendMessage's `MessageBody`: `#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD |
/// #x10000 to #x10FFFF`.
fn sqs_takes(text: &str) -> bool {
    !text.chars().any(|c| matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}'))
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        std::{cell::Cell, hash::Hasher},
    };

    thread_local! {
        static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    /// A name that counts how often it is compared.
    struct Counted(usize);

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            COMPARED.set(COMPARED.get() + 1);
            self.0 == other.0
        }
    }

    impl Eq for Counted {}

    impl Hash for Counted {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    #[test]
    fn the_last_of_each_name_is_found_in_one_pass() {
        let names = ["a", "b", "A", "a", "c", "b", "a"];
        let last = [false, false, true, false, true, true, true];
        assert_eq!(last_of_each(names.into_iter()), last);
        assert_eq!(last_of_each(std::iter::empty::<&str>()), [false; 0]);

        // each with each would be 200 million; a set compares a name with few others
        let count = 20_000;
        assert!(last_of_each((0..count).map(Counted)).into_iter().all(|last| last));
        assert!(COMPARED.get() < 10 * count, "{} comparisons", COMPARED.get());
    }
}
