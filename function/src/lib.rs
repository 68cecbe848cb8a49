//! The Lambda function of routeto, as a library: `routeto dev` calls it on the user's machine, the
//! `bootstrap` binary calls it in Lambda.
//!
//! An event goes in, an answer and one line of log come out, and in between a record is stored.
//! Prints nothing, reads no environment, keeps nothing from one event to the next but the SDK's
//! clients. Never panics on an event: a panic would end the process, and the gateway would say 503
//! to a caller's mistake. No token is in anything that comes out.

pub mod answer;
pub mod destination;
pub mod event;
mod json;
pub mod record;
pub mod sink;
pub mod token;

pub use crate::{
    answer::{Answer, Arrived, Refusal, Said},
    destination::{Destination, DestinationError, Place, S3Format, SqsFormat, TokenRule},
    sink::{Settings, Sinks},
};
pub use aws_sdk_s3::config::Credentials;

use {
    crate::{
        event::{Event, EventError, Target},
        record::{NoRecord, Record},
        sink::SinkError,
        token::Verdict,
    },
    aws_smithy_types::{DateTime, date_time::Format},
    serde::Serialize,
    sha2::{Digest, Sha256},
    std::{
        fmt::Write,
        time::{SystemTime, UNIX_EPOCH},
    },
};

/// One call of the function.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Lambda's own id of it, `Lambda-Runtime-Aws-Request-Id`: the record's id.
    pub id: String,
    /// When Lambda will end it.
    pub deadline: SystemTime,
}

/// What came of an event.
#[derive(Debug)]
pub struct Handled {
    /// An error is the stage's, the account's or AWS's fault; it becomes a Lambda error, and the
    /// API answers 503.
    pub answer: Result<Answer, FunctionError>,
    /// One JSON object without a newline, to be written to the log.
    pub log: String,
}

/// An error of Lambda's own form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionError {
    /// One word.
    pub error_type: &'static str,
    /// For whoever reads the log. Callers never see it.
    pub error_message: String,
}

/// Checks the token, stores the body, answers.
pub async fn handle(event: &[u8], invocation: &Invocation, sinks: &Sinks) -> Handled {
    let mut line = Line::new(&invocation.id);
    let answer = process(event, invocation, sinks, &mut line).await;
    Handled { log: line.finish(&answer), answer }
}

async fn process(
    event: &[u8],
    invocation: &Invocation,
    sinks: &Sinks,
    line: &mut Line,
) -> Result<Answer, FunctionError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let event = match Event::parse(event) {
        Ok(event) => event,
        Err(EventError::Forged) => return Ok(Refusal::Forged.into()),
        Err(EventError::Unreadable(why)) => return Err(unreadable(why)),
    };
    line.path = event.path.clone();
    line.source_ip = event.source_ip.clone();

    let destination = match &event.target {
        Target::Destination(text) => Some(Destination::parse(&json::lossy(text))),
        Target::Bucket | Target::Queue { .. } | Target::Missing => None,
    };
    let open = match &destination {
        // it says itself whether a token is asked for, whatever a template calls the keys
        Some(Ok(destination)) => destination.token() == TokenRule::None,
        // one that can't be read lets nobody in: the token is asked for, and its holder gets the
        // 503
        Some(Err(_)) => false,
        // recipe two's events have neither, as their template's owner means it
        None => event.token.is_none() && event.valid_token.is_none(),
    };
    if !open {
        let (token, valid) = (
            event.token.as_deref().unwrap_or_default(),
            event.valid_token.as_deref().unwrap_or_default(),
        );
        match token::check(token, valid, now.as_secs()) {
            Verdict::Right => {}
            Verdict::Missing => return Ok(Refusal::MissingToken.into()),
            Verdict::Wrong => return wrong_token(&event),
        }
    }
    let destination = destination
        .transpose()
        .map_err(|error| unreadable(format!("the event's destination can't be read: {error}")))?;

    if event.is_probe() {
        return Ok(match arrived(&event)? {
            Some(arrived) => Answer { status: 200, answer: Said::Probe(arrived) },
            None => Refusal::Forged.into(),
        });
    }

    let millis = u64::try_from(now.as_millis()).unwrap_or_default();
    let record = match record::record(&event, destination.as_ref(), invocation, millis) {
        Ok(record) => record,
        Err(NoRecord::Refused(refusal)) => return Ok(refusal.into()),
        Err(NoRecord::Unreadable(why)) => return Err(unreadable(why)),
    };
    line.bytes = Some(match &record {
        Record::Object { body, .. } => body.len(),
        Record::Message { body, .. } => body.len(),
    });
    match sinks.store(&record, invocation.deadline).await {
        Ok(stored) => {
            line.stored = Some(stored.place);
            line.attempts = Some(stored.attempts).filter(|attempts| *attempts > 1);
            Ok(Answer { status: 200, answer: Said::Success { id: invocation.id.clone() } })
        }
        Err(SinkError::TooLarge) => Ok(Refusal::TooLarge.into()),
        Err(SinkError::Characters) => Ok(Refusal::Characters.into()),
        Err(SinkError::Failed { kind, message }) => {
            Err(FunctionError { error_type: kind, error_message: message })
        }
    }
}

/// A probe is told what arrived even so: a deploy proves byte-exactness without knowing any token.
fn wrong_token(event: &Event<'_>) -> Result<Answer, FunctionError> {
    let mut answer = Answer::from(Refusal::WrongToken);
    if let (true, Said::Fail { arrived: told, .. }) = (event.is_probe(), &mut answer.answer) {
        *told = arrived(event)?;
    }
    Ok(answer)
}

/// Digest and length of the body; `None` where the event is forged.
fn arrived(event: &Event<'_>) -> Result<Option<Arrived>, FunctionError> {
    let mut body = Vec::with_capacity(event.body.len_estimate());
    match event.body.append_to(&mut body) {
        Ok(()) => Ok(Some(Arrived { sha256: hex(&Sha256::digest(&body)), length: body.len() })),
        Err(EventError::Forged) => Ok(None),
        Err(EventError::Unreadable(why)) => Err(unreadable(why)),
    }
}

fn unreadable(why: String) -> FunctionError {
    FunctionError { error_type: "UnreadableEvent", error_message: why }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // writing to a string can't fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The one line of log. Nothing that a caller chose is in it but what was checked (the app, within
/// the key): a token pasted into the wrong parameter must not end up here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    timestamp: String,
    level: &'static str,
    request_id: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<String>,
    /// Of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    /// Left out where it is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
}

impl Line {
    fn new(id: &str) -> Self {
        Self {
            timestamp: DateTime::from(SystemTime::now()).fmt(Format::DateTime).unwrap_or_default(),
            level: "INFO",
            request_id: id.into(),
            message: String::new(),
            error_type: None,
            status: None,
            path: None,
            source_ip: None,
            stored: None,
            bytes: None,
            attempts: None,
        }
    }

    fn finish(mut self, answer: &Result<Answer, FunctionError>) -> String {
        match answer {
            Ok(answer) => {
                self.status = Some(answer.status);
                match &answer.answer {
                    Said::Success { .. } => self.message = "stored".into(),
                    Said::Probe(_) => self.message = "probe".into(),
                    Said::Fail { reason, .. } => {
                        self.level = "WARN";
                        self.message = (*reason).into();
                    }
                }
            }
            Err(error) => {
                self.level = "ERROR";
                self.error_type = Some(error.error_type);
                self.message = error.error_message.clone();
            }
        }
        serde_json::to_string(&self).unwrap_or_default()
    }
}
