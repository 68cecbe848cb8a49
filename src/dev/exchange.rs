//! One request and all that became of it: what the journal keeps on disk and the page at
//! `/_routeto` shows. Plain data.
//!
//! No token is in it: neither the one that was sent nor a stage's own. [`TokenSent`] says how it
//! compared; whoever sends a request again puts the stage's token back in.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// From 1, in the order of arrival; never used twice in one `.routeto/`.
    pub id: u64,
    /// Of arrival; milliseconds since the epoch.
    pub time: u64,
    /// Empty where the path begins with no stage of the stack's.
    pub stage: String,
    /// The route of the stack file; `None` where none has this path and method.
    pub route: Option<String>,
    pub request: Request,
    pub status: u16,
    /// From the request's last byte to the answer's first; milliseconds.
    pub millis: f64,
    pub response: Response,
    /// What was rendered; `None` where the gateway answered before.
    pub template: Option<TemplateUsed>,
    /// What the template made, tokens masked; `None` where it made nothing.
    pub event: Option<String>,
    /// `None` where the function was not called.
    pub function: Option<FunctionSaid>,
    /// `None` where nothing was stored.
    pub record: Option<Stored>,
    /// Why the gateway answered by itself or changed the answer, or what is wrong with the token,
    /// in plain words; a template's error is its whole frame.
    pub why: Option<String>,
    /// Which request the page sent again with this; `None` where it came from elsewhere.
    #[serde(default)]
    pub again: Option<Again>,
}

impl Exchange {
    /// Bytes of nearly every one's JSON at most: a vector of this size need not grow.
    pub fn size_estimate(&self) -> usize {
        let base64 = |bytes: &[u8]| bytes.len().div_ceil(3) * 4;
        // quotation marks of the event's own JSON get a backslash each
        let event = self.event.as_ref().map_or(0, |event| event.len() + event.len() / 8);
        let template = self
            .template
            .as_ref()
            .map_or(0, |template| template.text.len() + template.text.len() / 8);
        base64(&self.request.body) + base64(&self.response.body) + event + template + 4096
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub method: String,
    /// Without the stage and the query: `/input`. The whole path where there is no such stage.
    pub path: String,
    /// In order, percent-decoded, without `token`.
    pub query: Vec<(String, String)>,
    pub token: TokenSent,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// In order, names as received.
    pub headers: Vec<(String, String)>,
    #[serde(with = "as_base64")]
    pub body: Vec<u8>,
}

/// A request that the page sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// The exchange's id that it was.
    pub of: u64,
    /// Whether it went through "edit and send".
    pub edited: bool,
}

/// How the query's `token` compared to the stage's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenSent {
    Missing,
    Wrong,
    Right,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    pub headers: Vec<(String, String)>,
    #[serde(with = "as_base64")]
    pub body: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateUsed {
    /// The media type that it was chosen by.
    pub content_type: String,
    /// As the stack file names it; `None`: a built-in one.
    pub file: Option<String>,
    /// With the generated first line.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionSaid {
    /// Of the invocation, which is the record's.
    pub id: String,
    /// Its answer, or Lambda's form of an error: JSON text.
    pub answer: String,
    pub failed: bool,
    /// Its line of log: JSON text.
    pub log: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Stored {
    S3 { bucket: String, key: String, bytes: u64 },
    Sqs { queue: String, message_id: String, bytes: u64 },
}

mod as_base64 {
    use base64::{Engine, display::Base64Display, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        // Piece by piece: a second copy of a large body need not be.
        serializer.collect_str(&Base64Display::new(bytes, &STANDARD))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
