//! The destination of a route as one stage variable carries it: written by `routeto`, handed on by
//! the mapping template, read by the function.
//!
//! `s3://bucket/prefix?format=ndjson&allow=acme-archive/teamA&token=none`, or the queue's URL with
//! `?format=body&token=none` behind it. What is the default is left out. Nothing is escaped: a
//! stage variable takes only `[A-Za-z0-9-._~:/?#&=,]`, and what would need escaping is refused.
//! This module does no I/O and knows nothing of events.

use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
};

/// Characters. Source: `StageVariables` of API Gateway, "variable values must be 1 to 512
/// characters".
pub const MAX_LENGTH: usize = 512;

/// Where the records of one route on one stage go, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    S3 { bucket: String, prefix: String, format: S3Format, allow: Vec<Place>, token: TokenRule },
    Sqs { queue_url: String, format: SqsFormat, token: TokenRule },
}

/// What an S3 object holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum S3Format {
    /// The bytes that came.
    #[default]
    Raw,
    /// A JSON array's elements, a line each.
    Ndjson,
    /// A JSON object with the body, the headers and where they came from.
    Envelope,
}

/// What an SQS message holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SqsFormat {
    /// A JSON object with the body, the headers and where they came from.
    #[default]
    Envelope,
    /// The posted text alone.
    Body,
}

/// Whether a request must bring the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenRule {
    /// In the query string.
    #[default]
    Query,
    /// No token is asked for: the provider is kept out by other means.
    None,
}

/// A bucket and, optionally, a path in it: what `allow` lists and `?bucket=` names. The path has no
/// slash at either end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub bucket: String,
    pub path: String,
}

/// Why a text is no destination. Says what, never the whole text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationError {
    Empty,
    TooLong(usize),
    Scheme,
    Bucket(String),
    Path(String),
    QueueUrl,
    Setting(String),
    Value { key: &'static str, value: String },
    Twice(&'static str),
    Alphabet(char),
}

impl std::error::Error for DestinationError {}

impl Display for DestinationError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the destination is empty"),
            Self::TooLong(length) => write!(
                f,
                "the destination has {length} characters, a stage variable takes {MAX_LENGTH}"
            ),
            Self::Scheme => write!(f, "the destination starts with neither `s3://` nor `http`"),
            Self::Bucket(bucket) => write!(f, "`{bucket}` is no bucket's name"),
            Self::Path(path) => {
                write!(
                    f,
                    "`{path}` is no path in a bucket: no empty, `.` or `..` part, only letters, digits and `-._~:=,`"
                )
            }
            Self::QueueUrl => {
                write!(f, "the queue's URL is not of the form `https://HOST/ACCOUNT/QUEUE`")
            }
            Self::Setting(key) => write!(f, "the destination has the unknown setting `{key}`"),
            Self::Value { key, value } => {
                write!(f, "`{value}` is no value for the destination's `{key}`")
            }
            Self::Twice(key) => write!(f, "the destination has `{key}` twice"),
            Self::Alphabet(c) => write!(f, "{c:?} can't stand in a stage variable"),
        }
    }
}

impl Destination {
    /// Reads what [`Display`] wrote.
    ///
    /// # Errors
    /// Whatever is not exactly a destination: an unknown setting could be one that keeps records
    /// from where they must not go.
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        let text = text.trim_ascii();
        if text.is_empty() {
            return Err(DestinationError::Empty);
        }
        if text.chars().count() > MAX_LENGTH {
            return Err(DestinationError::TooLong(text.chars().count()));
        }
        if let Some(c) = text.chars().find(|c| !stage_variable(*c)) {
            return Err(DestinationError::Alphabet(c));
        }
        let (place, settings) = text.split_once('?').unwrap_or((text, ""));
        let settings = Settings::parse(settings)?;
        if let Some(rest) = place.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if !is_bucket(bucket) {
                return Err(DestinationError::Bucket(bucket.into()));
            }
            // the prefix may end within a name ("SendGrid_") as well as with a slash
            if !prefix.is_empty() && !is_path(prefix.strip_suffix('/').unwrap_or(prefix)) {
                return Err(DestinationError::Path(prefix.into()));
            }
            let format = match settings.format {
                None => S3Format::default(),
                Some("raw") => S3Format::Raw,
                Some("ndjson") => S3Format::Ndjson,
                Some("envelope") => S3Format::Envelope,
                Some(other) => {
                    return Err(DestinationError::Value { key: "format", value: other.into() });
                }
            };
            let allow = settings.allow.into_iter().map(Place::parse).collect::<Result<_, _>>()?;
            Ok(Self::S3 {
                bucket: bucket.into(),
                prefix: prefix.into(),
                format,
                allow,
                token: settings.token,
            })
        } else if place.starts_with("https://") || place.starts_with("http://") {
            if !is_queue_url(place) {
                return Err(DestinationError::QueueUrl);
            }
            let format = match settings.format {
                None => SqsFormat::default(),
                Some("envelope") => SqsFormat::Envelope,
                Some("body") => SqsFormat::Body,
                Some(other) => {
                    return Err(DestinationError::Value { key: "format", value: other.into() });
                }
            };
            if !settings.allow.is_empty() {
                return Err(DestinationError::Setting("allow".into()));
            }
            Ok(Self::Sqs { queue_url: place.into(), format, token: settings.token })
        } else {
            Err(DestinationError::Scheme)
        }
    }

    /// The stage variable's value, of which it is certain that [`Self::parse`] gives this
    /// destination back.
    ///
    /// # Errors
    /// What a stage variable can't hold.
    pub fn encode(&self) -> Result<String, DestinationError> {
        let text = self.to_string();
        match Self::parse(&text)? {
            back if back == *self => Ok(text),
            // a `?` within a prefix, say, reads back as something else
            _ => Err(DestinationError::Path(match self {
                Self::S3 { prefix, .. } => prefix.clone(),
                Self::Sqs { queue_url, .. } => queue_url.clone(),
            })),
        }
    }

    #[must_use]
    pub fn token(&self) -> TokenRule {
        match self {
            Self::S3 { token, .. } | Self::Sqs { token, .. } => *token,
        }
    }
}

impl Display for Destination {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let mut sign = '?';
        let mut setting = |f: &mut Formatter, key: &str, value: &dyn Display| {
            let written = write!(f, "{sign}{key}={value}");
            sign = '&';
            written
        };
        let token = match self {
            Self::S3 { bucket, prefix, format, allow, token } => {
                write!(f, "s3://{bucket}")?;
                if !prefix.is_empty() {
                    write!(f, "/{prefix}")?;
                }
                match format {
                    S3Format::Raw => {}
                    S3Format::Ndjson => setting(f, "format", &"ndjson")?,
                    S3Format::Envelope => setting(f, "format", &"envelope")?,
                }
                for place in allow {
                    setting(f, "allow", place)?;
                }
                token
            }
            Self::Sqs { queue_url, format, token } => {
                write!(f, "{queue_url}")?;
                match format {
                    SqsFormat::Envelope => {}
                    SqsFormat::Body => setting(f, "format", &"body")?,
                }
                token
            }
        };
        match token {
            TokenRule::Query => Ok(()),
            TokenRule::None => setting(f, "token", &"none"),
        }
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        Self::parse(text)
    }
}

impl Place {
    /// Reads `bucket` or `bucket/path`; one slash at the end is let pass, people type it.
    ///
    /// # Errors
    /// A bucket's name or a path that can't be one.
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        let (bucket, path) = text.split_once('/').unwrap_or((text, ""));
        if !is_bucket(bucket) {
            return Err(DestinationError::Bucket(bucket.into()));
        }
        let bare = path.strip_suffix('/').unwrap_or(path);
        if !path.is_empty() && !is_path(bare) {
            return Err(DestinationError::Path(path.into()));
        }
        Ok(Self { bucket: bucket.into(), path: bare.into() })
    }

    /// Whether `other` is this place or lies within it, by whole parts of the path: `teamAB` does
    /// not lie within `teamA`.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.bucket == other.bucket
            && match other.path.strip_prefix(&self.path) {
                Some(rest) => self.path.is_empty() || rest.is_empty() || rest.starts_with('/'),
                None => false,
            }
    }

    /// What goes before the record's name in the key: the path with a slash at its end, or nothing.
    #[must_use]
    pub fn prefix(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!("{}/", self.path) }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "{}", self.bucket),
            path => write!(f, "{}/{path}", self.bucket),
        }
    }
}

#[derive(Default)]
struct Settings<'a> {
    format: Option<&'a str>,
    allow: Vec<&'a str>,
    token: TokenRule,
}

impl<'a> Settings<'a> {
    fn parse(text: &'a str) -> Result<Self, DestinationError> {
        let mut settings = Self::default();
        let mut token = None;
        for setting in text.split('&').filter(|setting| !setting.is_empty()) {
            let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
            match key {
                "format" if settings.format.is_some() => {
                    return Err(DestinationError::Twice("format"));
                }
                "format" => settings.format = Some(value),
                "allow" => settings.allow.push(value),
                "token" if token.is_some() => return Err(DestinationError::Twice("token")),
                "token" => token = Some(value),
                other => return Err(DestinationError::Setting(other.into())),
            }
        }
        settings.token = match token {
            None | Some("query") => TokenRule::Query,
            Some("none") => TokenRule::None,
            Some(other) => {
                return Err(DestinationError::Value { key: "token", value: other.into() });
            }
        };
        Ok(settings)
    }
}

/// Source: `StageVariables` of API Gateway: `[A-Za-z0-9-._~:/?#&=,]+`.
fn stage_variable(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:/?#&=,".contains(c)
}

/// Source: "General purpose bucket naming rules": 3 to 63 of `a-z0-9.-`, a letter or digit at both
/// ends, no two dots side by side.
#[must_use]
pub fn is_bucket(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    let outer = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (3..=63).contains(&name.len())
        && name.bytes().all(inner)
        && outer(name.as_bytes().first())
        && outer(name.as_bytes().last())
        && !name.contains("..")
}

/// A path in a bucket as a caller or a stage variable may name it: parts of `A-Za-z0-9-._~:=,` with
/// single slashes between them, and no part that some client would take for "here" or "one up".
#[must_use]
pub fn is_path(path: &str) -> bool {
    path.len() <= MAX_LENGTH
        && path.split('/').all(|part| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:=,".contains(&b))
        })
}

/// `https://HOST/ACCOUNT/QUEUE`; emulators have http, a port and more parts.
fn is_queue_url(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let mut parts = rest.split('/');
    let host = parts.next().unwrap_or("");
    let rest: Vec<_> = parts.collect();
    !host.is_empty()
        && rest.len() >= 2
        && rest.iter().all(|part| !part.is_empty())
        && !url.contains(['#', ','])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn s3(
        bucket: &str,
        prefix: &str,
        format: S3Format,
        allow: &[&str],
        token: TokenRule,
    ) -> Destination {
        let allow = allow.iter().map(|place| Place::parse(place).unwrap()).collect();
        Destination::S3 { bucket: bucket.into(), prefix: prefix.into(), format, allow, token }
    }

    fn sqs(queue_url: &str, format: SqsFormat, token: TokenRule) -> Destination {
        Destination::Sqs { queue_url: queue_url.into(), format, token }
    }

    #[test]
    fn what_is_written_is_read_back_and_the_defaults_are_left_out() {
        let url = "https://sqs.us-east-1.amazonaws.com/123456789012/name";
        let local =
            "http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/inbound-mail_dev.x";
        for (destination, text) in [
            (s3("bucket", "", S3Format::Raw, &[], TokenRule::Query), "s3://bucket".to_string()),
            (s3("bucket", "SendGrid/", S3Format::Raw, &[], TokenRule::Query), "s3://bucket/SendGrid/".into()),
            (s3("bucket", "a/b/SendGrid_", S3Format::Raw, &[], TokenRule::None), "s3://bucket/a/b/SendGrid_?token=none".into()),
            (
                s3("my.bucket-1", "dt=1/", S3Format::Ndjson, &["acme-archive/teamA", "bbb"], TokenRule::None),
                "s3://my.bucket-1/dt=1/?format=ndjson&allow=acme-archive/teamA&allow=bbb&token=none".into(),
            ),
            (s3("bucket", "", S3Format::Envelope, &["bbb"], TokenRule::Query), "s3://bucket?format=envelope&allow=bbb".into()),
            (sqs(url, SqsFormat::Envelope, TokenRule::Query), url.into()),
            (sqs(url, SqsFormat::Body, TokenRule::None), format!("{url}?format=body&token=none")),
            (sqs(local, SqsFormat::Envelope, TokenRule::None), format!("{local}?token=none")),
            (sqs(local, SqsFormat::Body, TokenRule::Query), format!("{local}?format=body")),
        ] {
            assert_eq!(destination.encode(), Ok(text.clone()));
            assert_eq!(Destination::parse(&text), Ok(destination.clone()));
            assert_eq!(text.parse::<Destination>().map(|d| d.to_string()), Ok(text));
        }
    }

    #[test]
    fn spelled_out_defaults_are_the_defaults() {
        assert_eq!(
            Destination::parse("s3://bucket?format=raw&token=query").unwrap().to_string(),
            "s3://bucket"
        );
        assert_eq!(Destination::parse("s3://bucket/?").unwrap().to_string(), "s3://bucket");
        assert_eq!(
            Destination::parse(" http://h/1/q?format=envelope\n").unwrap().to_string(),
            "http://h/1/q"
        );
        assert_eq!(
            Destination::parse("s3://bucket?allow=b-b/x/").unwrap().to_string(),
            "s3://bucket?allow=b-b/x"
        );
    }

    #[test]
    fn what_is_not_exactly_a_destination_is_refused() {
        use DestinationError::*;
        for (text, error) in [
            ("", Empty),
            ("  ", Empty),
            ("bucket/prefix", Scheme),
            ("S3://bucket", Scheme),
            ("ftp://host/1/q", Scheme),
            ("s3://", Bucket("".into())),
            ("s3://Bucket", Bucket("Bucket".into())),
            ("s3://ab", Bucket("ab".into())),
            ("s3://a..b", Bucket("a..b".into())),
            ("s3://-bucket", Bucket("-bucket".into())),
            ("s3://bucket//x", Path("/x".into())),
            ("s3://bucket/x//", Path("x//".into())),
            ("s3://bucket/../x", Path("../x".into())),
            ("s3://bucket/a/./x", Path("a/./x".into())),
            ("s3://bucket?format=body", Value { key: "format", value: "body".into() }),
            ("s3://bucket?format=", Value { key: "format", value: "".into() }),
            ("s3://bucket?format=raw&format=raw", Twice("format")),
            ("s3://bucket?token=none&token=query", Twice("token")),
            ("s3://bucket?token=maybe", Value { key: "token", value: "maybe".into() }),
            ("s3://bucket?allow=", Bucket("".into())),
            ("s3://bucket?allow=other/../x", Path("../x".into())),
            ("s3://bucket?allow=other//", Path("/".into())),
            ("s3://bucket?acl=public", Setting("acl".into())),
            (
                "s3://bucket?format=raw?token=none",
                Value { key: "format", value: "raw?token=none".into() },
            ),
            ("s3://bucket/%2e%2e", Alphabet('%')),
            ("s3://bucket/a b", Alphabet(' ')),
            ("http://host", QueueUrl),
            ("http://host/q", QueueUrl),
            ("http:///1/q", QueueUrl),
            ("http://host/1/", QueueUrl),
            ("http://host/1/q?format=raw", Value { key: "format", value: "raw".into() }),
            ("http://host/1/q?allow=bbb", Setting("allow".into())),
        ] {
            assert_eq!(Destination::parse(text), Err(error), "{text}");
        }
        assert_eq!(
            Destination::parse(&format!("s3://bucket/{}", "x".repeat(501))),
            Err(TooLong(513))
        );
    }

    #[test]
    fn what_would_read_back_as_something_else_is_not_written() {
        for destination in [
            s3("bucket", "a?token=none", S3Format::Raw, &[], TokenRule::Query),
            s3("bucket", "a b", S3Format::Raw, &[], TokenRule::Query),
            s3("bucket", "/a", S3Format::Raw, &[], TokenRule::Query),
            sqs("https://h/1/q?format=body", SqsFormat::Envelope, TokenRule::Query),
        ] {
            assert!(destination.encode().is_err(), "{destination}");
        }
    }

    #[test]
    fn a_place_holds_what_lies_within_it_by_whole_parts() {
        for (place, other, holds) in [
            ("bbb", "bbb", true),
            ("bbb", "bbb/", true),
            ("bbb", "bbb/any/where", true),
            ("bbb/a", "bbb/a", true),
            ("bbb/a", "bbb/a/b", true),
            ("bbb/a", "bbb", false),
            ("bbb/a", "bbb/ab", false),
            ("bbb/a", "ccc/a", false),
        ] {
            assert_eq!(
                Place::parse(place).unwrap().contains(&Place::parse(other).unwrap()),
                holds,
                "{place} {other}"
            );
        }
    }
}
