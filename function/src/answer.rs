//! What the function answers: the status that the response template raises, and the body that the
//! caller sees. Fixed texts alone: nothing that a caller sent comes back.

use serde::Serialize;

/// Serialises as `{"status":200,"answer":{"result":"success","id":"…"}}`. The status is a number:
/// the response template can raise no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    pub status: u16,
    pub answer: Said,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Said {
    /// Stored, under this id.
    Success { id: String },
    /// Not stored, and sending it again would change nothing.
    Fail {
        reason: &'static str,
        /// To a probe with a wrong token: whoever deploys need not know the token to see that the
        /// bytes arrive.
        #[serde(flatten)]
        arrived: Option<Arrived>,
    },
    /// Asked for with the header `x-routeto-probe`: nothing is stored.
    Probe(Arrived),
}

/// The body as it arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Arrived {
    /// Lower-case hex.
    pub sha256: String,
    /// Bytes.
    pub length: usize,
}

/// The caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    MissingToken,
    WrongToken,
    Forged,
    App,
    Bucket,
    NotJson,
    NotLines,
    Characters,
    Empty,
    TooLarge,
}

impl Refusal {
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::WrongToken => 401,
            Self::TooLarge => 413,
            Self::MissingToken
            | Self::Forged
            | Self::App
            | Self::Bucket
            | Self::NotJson
            | Self::NotLines
            | Self::Characters
            | Self::Empty => 400,
        }
    }

    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::MissingToken => "No token provided",
            // the published recipe's words
            Self::WrongToken => "Invalid token provided",
            Self::Forged => "The request does not make a valid event",
            Self::App => "app must be 1 to 64 letters, digits, dots, underscores and dashes",
            Self::Bucket => "bucket is not allowed on this route",
            Self::NotJson => "The body is not valid JSON",
            Self::NotLines => "The body is neither a JSON array nor an object",
            Self::Characters => "The body has characters that the queue does not take",
            Self::Empty => "The body is empty",
            Self::TooLarge => "The body is larger than the destination takes",
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self {
            status: refusal.status(),
            answer: Said::Fail { reason: refusal.reason(), arrived: None },
        }
    }
}
