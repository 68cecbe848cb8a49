//! The event: what a mapping template rendered, read without trusting what a caller put into it.
//! Borrows from the event's text; no I/O.
//!
//! Three shapes are taken:
//!
//! - **ours** (`json.vtl`, `binary.vtl`): every value a caller controls is escaped or base64, so it
//!   is JSON and means what it says;
//! - **recipe one** (2016, to S3): `bucket`, `app` and `token` stand in it bare, so a quotation
//!   mark in one of them breaks the JSON or forges keys;
//! - **recipe two** (2015, to SQS): the queue's URL, then the body re-serialised or in base64; no
//!   token.
//!
//! # Why a forged event gets nowhere
//!
//! Recipe one's event is never read as JSON. Its template prints
//!
//! ```text
//! {                                     bucket, app and token: the caller's bytes, any at all
//! "bucket": "…",                        validToken:            a stage variable, [A-Za-z0-9-._~:/?#&=,], so no quotation mark
//! "app": "…",                           body:                  $input.json('$'), JSON that was parsed and printed again, so no raw newline:
//! "token": "…",                                                within a string JSON escapes it, and the printer puts none between tokens
//! "validToken": "…",
//! "body": …
//! }
//! ```
//!
//! and each of the texts between two values holds a newline, so it can't come out of `validToken`
//! or `body`: what is found of it is the template's own, or stands in `bucket`, `app` or `token`.
//! The template prints each of them exactly once. So where one is found exactly once in the text
//! where it can be, it is the template's, and what lies between two of them is the true value,
//! whatever it holds; where one is found twice, a caller wrote it, and the event is refused (400:
//! no honest bucket, app or token holds a quotation mark). `","validToken":"x` as a caller's text
//! without the newline is just part of a value, and that value is then no token (401), no app and
//! no bucket (400).
//!
//! Every other event is read as JSON, in which a key that means anything may stand once. A caller's
//! forged `validToken`, `destination` or `queue_url` stands beside the template's own, and both
//! orders of the two are refused. What a caller can do to a *custom* template that prints a value
//! bare and lacks one of these keys can't be seen in the event: such templates are for `routeto
//! validate` to refuse.

use {
    crate::json,
    serde::{
        Deserialize,
        de::{Deserializer, IgnoredAny, MapAccess, Visitor},
    },
    serde_json::value::RawValue,
    std::{borrow::Cow, fmt},
};

/// One event. Has no `Debug`: it holds a token.
pub struct Event<'a> {
    /// Epoch milliseconds, the gateway's clock.
    pub time: Option<u64>,
    /// The resource's path, from the API and not from the caller.
    pub path: Option<String>,
    pub source_ip: Option<String>,
    /// `None`: the event has no such key. JSON's null is a key with nothing in it.
    pub token: Option<Cow<'a, [u8]>>,
    pub valid_token: Option<Cow<'a, [u8]>>,
    pub app: Cow<'a, [u8]>,
    pub bucket: Cow<'a, [u8]>,
    pub target: Target<'a>,
    /// Names as they were sent; of two with one name the later one counts.
    pub headers: Vec<(String, String)>,
    pub body: Body<'a>,
}

/// Who says where the record goes.
pub enum Target<'a> {
    /// The stage, in the text of a [`crate::Destination`].
    Destination(Cow<'a, [u8]>),
    /// Recipe one: the caller's `bucket`, within what the function's role allows.
    Bucket,
    /// Recipe two: this queue gets the whole event, as it is.
    Queue { url: Cow<'a, [u8]>, event: &'a str },
    /// Nobody.
    Missing,
}

/// The posted body.
pub enum Body<'a> {
    /// Base64 of the exact bytes.
    Base64(Cow<'a, [u8]>),
    /// JSON as the template printed it.
    Json(&'a str),
    Missing,
}

/// Why an event can't be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventError {
    /// A caller's value broke or forged it: the caller's fault.
    Forged,
    /// Not an event at all: the template's fault, so ours.
    Unreadable(String),
}

impl<'a> Event<'a> {
    /// Reads an event of any of the three shapes.
    ///
    /// # Errors
    /// See [`EventError`].
    pub fn parse(event: &'a [u8]) -> Result<Self, EventError> {
        let text = match std::str::from_utf8(event) {
            Ok(text) => text.trim_ascii(),
            Err(error) => {
                return Err(EventError::Unreadable(format!("the event is not UTF-8: {error}")));
            }
        };
        if let Some(event) = recipe_one(text) {
            return event;
        }
        match serde_json::from_str::<Fields>(text) {
            Ok(fields) => fields.event(text),
            // Recipe two's body is printed by a lenient JSON library, which prints `NaN` for `NaN`.
            // The queue's URL is certain even so, but whether the template asks for a
            // token is not, so nothing is stored; and it is the body that is at fault.
            Err(_) if opens_with_queue_url(text) => Err(EventError::Forged),
            // serde_json's messages have places and kinds in them, never a value
            Err(error) => {
                Err(EventError::Unreadable(format!("the event is no JSON object: {error}")))
            }
        }
    }

    /// The value of the header `name`, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .rev()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.header("x-routeto-probe").is_some()
    }
}

impl Body<'_> {
    /// Bytes that [`Self::append_to`] adds, or a little more.
    #[must_use]
    pub fn len_estimate(&self) -> usize {
        match self {
            Self::Base64(text) => text.len() / 4 * 3 + 3,
            Self::Json(text) => text.len(),
            Self::Missing => 0,
        }
    }

    /// Decodes right behind what is in `out`, so that the body is in memory once, in the record
    /// that will hold it.
    ///
    /// # Errors
    /// Not base64: the template's fault.
    pub fn append_to(&self, out: &mut Vec<u8>) -> Result<(), EventError> {
        match self {
            Self::Base64(text) => base64_simd::STANDARD
                .decode_append(text.as_ref(), out)
                .map_err(|_| EventError::Unreadable("the event's body is not base64".into())),
            Self::Json(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            Self::Missing => Ok(()),
        }
    }
}

/// Recipe one's event, `None` if this isn't one. See the module's documentation for why this is
/// safe.
fn recipe_one(text: &str) -> Option<Result<Event<'_>, EventError>> {
    // a template kept on Windows has the other line end, in all its lines
    let newline = if text.starts_with("{\r\n") { "\r\n" } else { "\n" };
    let rest = text.strip_prefix('{')?.strip_prefix(newline)?.strip_prefix("\"bucket\": \"")?;
    let anchor = |name: &str| format!("\",{newline}\"{name}\": ");
    let quoted = |name: &str| anchor(name) + "\"";

    let (callers, own) = rest.split_once(&quoted("validToken"))?;
    if own.contains(&quoted("validToken")) {
        return Some(Err(EventError::Forged));
    }
    // the only one, so the template's; what follows can't hold the next anchor before the template
    // prints it
    let (valid_token, body) = own.split_once(&anchor("body"))?;
    if valid_token.contains('"') {
        return None; // another template: it prints something between the two
    }
    let body = body.strip_suffix('}')?;
    let body = body.strip_suffix(newline).unwrap_or(body);

    let (bucket, rest) = match once(callers, &quoted("app"))? {
        Ok(sides) => sides,
        Err(forged) => return Some(Err(forged)),
    };
    let (app, token) = match once(rest, &quoted("token"))? {
        Ok(sides) => sides,
        Err(forged) => return Some(Err(forged)),
    };
    Some(Ok(Event {
        time: None,
        path: None,
        source_ip: None,
        token: Some(Cow::Borrowed(token.as_bytes())),
        valid_token: Some(Cow::Borrowed(valid_token.as_bytes())),
        app: Cow::Borrowed(app.as_bytes()),
        bucket: Cow::Borrowed(bucket.as_bytes()),
        target: Target::Bucket,
        headers: Vec::new(),
        body: Body::Json(body),
    }))
}

/// Both sides of the one place where the anchor stands: `None` if it stands nowhere, so that this
/// is another template's event.
fn once<'a>(text: &'a str, anchor: &str) -> Option<Result<(&'a str, &'a str), EventError>> {
    let (before, after) = text.split_once(anchor)?;
    Some(if after.contains(anchor) { Err(EventError::Forged) } else { Ok((before, after)) })
}

/// `{"queue_url":"`, with any space between.
fn opens_with_queue_url(text: &str) -> bool {
    ["{", "\"queue_url\"", ":", "\""]
        .iter()
        .try_fold(text, |text, token| text.trim_ascii_start().strip_prefix(token))
        .is_some()
}

/// The keys that mean something, as raw JSON. A key that stands twice is kept as [`Field::Twice`].
#[derive(Default)]
struct Fields<'a> {
    time: Field<'a>,
    path: Field<'a>,
    source_ip: Field<'a>,
    token: Field<'a>,
    valid_token: Field<'a>,
    app: Field<'a>,
    bucket: Field<'a>,
    destination: Field<'a>,
    queue_url: Field<'a>,
    headers: Field<'a>,
    body: Field<'a>,
    body_json: Field<'a>,
    body_raw: Field<'a>,
}

#[derive(Clone, Copy, Default)]
enum Field<'a> {
    #[default]
    Absent,
    Once(&'a str),
    Twice,
}

impl<'a> Field<'a> {
    fn raw(self) -> Result<Option<&'a str>, EventError> {
        match self {
            Self::Absent => Ok(None),
            Self::Once(raw) => Ok(Some(raw)),
            Self::Twice => Err(EventError::Forged),
        }
    }

    fn text(self) -> Result<Option<Cow<'a, [u8]>>, EventError> {
        Ok(self.raw()?.map(json::text))
    }

    fn string(self) -> Result<Option<String>, EventError> {
        Ok(self.text()?.map(|text| json::lossy(&text)))
    }
}

impl<'a> Fields<'a> {
    fn event(self, text: &'a str) -> Result<Event<'a>, EventError> {
        let destination = self.destination.text()?;
        let queue_url = self.queue_url.text()?;
        let bucket = self.bucket.text()?;
        let target = match (destination, queue_url, &bucket) {
            // both: one of the two is a caller's
            (Some(_), Some(_), _) => return Err(EventError::Forged),
            (Some(destination), None, _) => Target::Destination(destination),
            (None, Some(url), _) => Target::Queue { url, event: text },
            (None, None, Some(_)) => Target::Bucket,
            (None, None, None) => Target::Missing,
        };
        let body = match (self.body.raw()?, self.body_json.raw()?, self.body_raw.raw()?) {
            // the whole event is the record
            _ if matches!(target, Target::Queue { .. }) => Body::Missing,
            (None, None, None) => Body::Missing,
            (None, None, Some(raw)) => Body::Base64(json::text(raw)),
            (None, Some(raw), None) => Body::Json(raw),
            // with a destination this is our templates' body; without one it is recipe one's, in a
            // template that somebody edited
            (Some(raw), None, None) if matches!(target, Target::Destination(_)) => {
                Body::Base64(json::text(raw))
            }
            (Some(raw), None, None) => Body::Json(raw),
            _ => {
                return Err(EventError::Unreadable(
                    "the event has more than one of `body`, `body-json` and `body-raw`".into(),
                ));
            }
        };
        Ok(Event {
            time: self.time.raw()?.and_then(|raw| raw.parse().ok()),
            path: self.path.string()?,
            source_ip: self.source_ip.string()?,
            token: self.token.text()?,
            valid_token: self.valid_token.text()?,
            app: self.app.text()?.unwrap_or_default(),
            bucket: bucket.unwrap_or_default(),
            target,
            headers: self.headers.raw()?.map(json::strings).unwrap_or_default(),
            body,
        })
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(json::Bytes(key)) = map.next_key()? {
                    let field = match &*key {
                        b"time" => &mut fields.time,
                        b"path" => &mut fields.path,
                        b"sourceIp" => &mut fields.source_ip,
                        b"token" => &mut fields.token,
                        b"validToken" => &mut fields.valid_token,
                        b"app" => &mut fields.app,
                        b"bucket" => &mut fields.bucket,
                        b"destination" => &mut fields.destination,
                        b"queue_url" => &mut fields.queue_url,
                        b"headers" => &mut fields.headers,
                        b"body" => &mut fields.body,
                        b"body-json" => &mut fields.body_json,
                        b"body-raw" => &mut fields.body_raw,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    let raw = map.next_value::<&RawValue>()?.get();
                    *field = match field {
                        Field::Absent => Field::Once(raw),
                        Field::Once(_) | Field::Twice => Field::Twice,
                    };
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}
