//! SQS's JSON protocol on [`Queue`]s: requests in, answers and errors in AWS's words out. Standard
//! queues only.
//!
//! Source: the SQS API reference, and botocore's model of it (sqs/2012-11-05), whose
//! `aws-query-compatible` is why an error carries its old code in a header.

use super::{
    Store,
    queue::{About, Changed, Handle, MAX_IN_FLIGHT, Message, Queue, Received, Taken},
};
use crate::{
    dev::{exchange::Stored, now, uuid_text},
    resource::hex,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// The account that every queue here is in. Source: AWS's documentation uses it in its examples.
pub const ACCOUNT: &str = "123456789012";
/// Bytes of a message with its attributes, or of a batch. Source: the SQS Developer Guide, "Amazon
/// SQS message quotas".
const MAX_MESSAGE: usize = 1024 * 1024;
const MAX_ATTRIBUTES: usize = 10;
const MAX_BATCH: usize = 10;
const MAX_DELAY: i64 = 900;
const MAX_VISIBILITY: i64 = 43_200;
const MAX_WAIT: i64 = 20;
/// Milliseconds until a dead letter that could not be moved is tried again, where a client waits.
const RETRY_MOVE: u64 = 1000;
/// How long a letter that is being put back is nobody else's, in milliseconds.
const MOVE_TIME: u64 = 60_000;

/// What a request says beside its body.
pub struct Asked {
    /// `SendMessage`
    pub operation: String,
    /// Where queue URLs are to point.
    pub host: String,
    pub region: String,
}

/// A queue and who waits for its messages.
pub struct Line {
    queue: Mutex<Queue>,
    arrived: Notify,
    /// What `ListMessageMoveTasks` tells, newest first.
    moves: Mutex<Vec<Value>>,
}

impl Line {
    pub fn new(queue: Queue) -> Self {
        Self { queue: Mutex::new(queue), arrived: Notify::new(), moves: Mutex::default() }
    }

    pub fn lock(&self) -> MutexGuard<'_, Queue> {
        // Each change is written down before it is made in memory, so what a panic leaves is sound.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error in AWS's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    status: u16,
    /// The shape's name in the model.
    kind: &'static str,
    /// As the query protocol called it.
    code: &'static str,
    words: String,
}

impl Fault {
    fn new(kind: &'static str, code: &'static str, words: impl Into<String>) -> Self {
        Self { status: 400, kind, code, words: words.into() }
    }

    fn value(words: impl Into<String>) -> Self {
        Self::new("InvalidParameterValueException", "InvalidParameterValue", words)
    }

    fn missing(parameter: &str) -> Self {
        let words = format!("The request must contain the parameter {parameter}.");
        Self::new("MissingRequiredParameterException", "MissingParameter", words)
    }

    fn no_queue() -> Self {
        Self::new(
            "QueueDoesNotExist",
            "AWS.SimpleQueueService.NonExistentQueue",
            "The specified queue does not exist.",
        )
    }

    fn too_long() -> Self {
        Self::value(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {MAX_MESSAGE} bytes."
        ))
    }

    fn response(&self) -> Response<Bytes> {
        let namespace = if matches!(
            self.kind,
            "InvalidParameterValueException"
                | "MissingRequiredParameterException"
                | "InternalFailure"
        ) {
            "com.amazon.coral.service"
        } else {
            "com.amazonaws.sqs"
        };
        let body = json!({"__type": format!("{namespace}#{}", self.kind), "message": self.words});
        let side = if self.status < 500 { "Sender" } else { "Receiver" };
        let mut response = respond(self.status, &body);
        if let Ok(value) = HeaderValue::from_str(&format!("{};{side}", self.code)) {
            response.headers_mut().insert("x-amzn-query-error", value);
        }
        response
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self {
            status: 500,
            kind: "InternalFailure",
            code: "InternalFailure",
            words: format!("The store can't do it: {error}"),
        }
    }
}

fn respond(status: u16, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
    let mut id = [0; 16];
    let _ = getrandom::fill(&mut id);
    if let Ok(id) = HeaderValue::from_str(&uuid_text(id)) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

/// A body that broke off, or that nobody wants to read to its end.
pub fn unread(too_long: bool) -> Response<Bytes> {
    let fault = if too_long {
        Fault::too_long()
    } else {
        Fault::new("SerializationException", "SerializationException", "The body ended early.")
    };
    fault.response()
}

/// For clients from before November 2023.
pub fn query_protocol() -> Response<Bytes> {
    let words = "this endpoint speaks SQS's JSON protocol; take an AWS SDK or CLI from November 2023 or later";
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>UnsupportedProtocol</Code><Message>{words}</Message></Error></ErrorResponse>"
    );
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

pub async fn answer(store: &Arc<Store>, asked: &Asked, body: &[u8]) -> Response<Bytes> {
    match perform(store, asked, body).await {
        Ok(answer) => respond(200, &answer),
        Err(fault) => fault.response(),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        Fault::new("SerializationException", "SerializationException", error.to_string())
    })
}

async fn perform(store: &Arc<Store>, asked: &Asked, body: &[u8]) -> Result<Value, Fault> {
    match asked.operation.as_str() {
        "SendMessage" => send(store, read(body)?),
        "SendMessageBatch" => send_batch(store, read(body)?),
        "ReceiveMessage" => receive(store, asked, read(body)?).await,
        "DeleteMessage" => delete(store, read(body)?),
        "DeleteMessageBatch" => delete_batch(store, read(body)?),
        "ChangeMessageVisibility" => change(store, read(body)?),
        "ChangeMessageVisibilityBatch" => change_batch(store, read(body)?),
        "CreateQueue" => create(store, asked, read(body)?),
        "GetQueueUrl" => url_of(store, asked, read(body)?),
        "ListQueues" => list(store, asked, read(body)?),
        "GetQueueAttributes" => attributes(store, asked, read(body)?),
        "SetQueueAttributes" => set_attributes(store, read(body)?),
        "PurgeQueue" => {
            let named: Named = read(body)?;
            store.line(&named.queue_url)?.lock().purge()?;
            Ok(json!({}))
        }
        "DeleteQueue" => {
            let named: Named = read(body)?;
            store.delete_queue(name_in(&named.queue_url))?;
            Ok(json!({}))
        }
        "ListDeadLetterSourceQueues" => sources(store, asked, read(body)?),
        "StartMessageMoveTask" => start_move(store, read(body)?),
        "ListMessageMoveTasks" => moves(store, &read(body)?),
        "ListQueueTags" => {
            let named: Named = read(body)?;
            let tags = store.line(&named.queue_url)?.lock().about.tags.clone();
            Ok(if tags.is_empty() { json!({}) } else { json!({ "Tags": tags }) })
        }
        "TagQueue" => tag(store, read(body)?),
        "UntagQueue" => untag(store, read(body)?),
        operation => Err(Fault::new(
            "UnsupportedOperation",
            "AWS.SimpleQueueService.UnsupportedOperation",
            format!("routeto's local SQS has no {operation}."),
        )),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    #[serde(default)]
    queue_url: String,
}

/// The queue's name: a URL's last part, whatever its host.
fn name_in(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

impl Store {
    fn line(&self, url: &str) -> Result<Arc<Line>, Fault> {
        if url.is_empty() {
            return Err(Fault::missing("QueueUrl"));
        }
        self.queue(name_in(url)).ok_or_else(Fault::no_queue)
    }
}

fn url(asked: &Asked, name: &str) -> String {
    format!("http://{}/{ACCOUNT}/{name}", asked.host)
}

fn arn(asked: &Asked, name: &str) -> String {
    format!("arn:aws:sqs:{}:{ACCOUNT}:{name}", asked.region)
}

// --- queues

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    #[serde(default)]
    queue_name: String,
    #[serde(default)]
    attributes: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "tags")]
    tags: Option<BTreeMap<String, String>>,
}

fn create(store: &Store, asked: &Asked, request: Create) -> Result<Value, Fault> {
    let Create { queue_name, attributes, tags } = request;
    if queue_name.is_empty() {
        return Err(Fault::missing("QueueName"));
    }
    let attributes = attributes.unwrap_or_default();
    check_attributes(&attributes)?;
    if queue_name.ends_with(".fifo")
        || attributes.get("FifoQueue").is_some_and(|fifo| fifo == "true")
    {
        return Err(Fault::new(
            "UnsupportedOperation",
            "AWS.SimpleQueueService.UnsupportedOperation",
            "routeto's local SQS has standard queues only.",
        ));
    }
    check_name(&queue_name)?;
    store.make_queue(&queue_name, attributes, tags.unwrap_or_default())?;
    Ok(json!({ "QueueUrl": url(asked, &queue_name) }))
}

fn check_name(name: &str) -> Result<(), Fault> {
    let is_one = (1..=80).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if is_one {
        return Ok(());
    }
    Err(Fault::value(
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
    ))
}

impl Store {
    /// Makes a queue; one of this name with the same attributes is left as it is.
    pub(super) fn make_queue(
        &self,
        name: &str,
        attributes: BTreeMap<String, String>,
        tags: BTreeMap<String, String>,
    ) -> Result<(), Fault> {
        check_name(name)?;
        check_attributes(&attributes)?;
        self.objects.here()?;
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = queues.get(name) {
            let queue = line.lock();
            for (attribute, value) in &attributes {
                if !same(attribute, value, &value_of(&queue.about, attribute).unwrap_or_default()) {
                    let words = format!(
                        "A queue already exists with the same name and a different value for attribute {attribute}"
                    );
                    return Err(Fault::new("QueueNameExists", "QueueAlreadyExists", words));
                }
            }
            return Ok(());
        }
        let mut identity = [0; 4];
        getrandom::fill(&mut identity).map_err(io::Error::other)?;
        let created = now() / 1000;
        let identity = u32::from_le_bytes(identity);
        let about =
            About { name: name.to_owned(), identity, attributes, tags, created, modified: created };
        let queue = Queue::create(&self.queue_directory(name), about)?;
        queues.insert(name.to_owned(), Arc::new(Line::new(queue)));
        Ok(())
    }

    fn delete_queue(&self, name: &str) -> Result<(), Fault> {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        let line = queues.get(name).ok_or_else(Fault::no_queue)?.clone();
        // Nobody who has it already may write any more.
        let queue = line.lock();
        let directory = self.queue_directory(name);
        // Without it there is no queue, even if what follows is cut off.
        std::fs::remove_file(directory.join("queue.json"))?;
        queues.remove(name);
        drop(queue);
        line.arrived.notify_waiters();
        Ok(std::fs::remove_dir_all(directory)?)
    }
}

/// The whole numbers among the attributes, their range and what AWS takes where none is given.
const NUMBERS: [(&str, u64, u64, u64); 6] = [
    ("DelaySeconds", 0, 900, 0),
    ("MaximumMessageSize", 1024, MAX_MESSAGE as u64, MAX_MESSAGE as u64),
    ("MessageRetentionPeriod", 60, 1_209_600, 345_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 20, 0),
    ("VisibilityTimeout", 0, 43_200, 30),
    ("KmsDataKeyReusePeriodSeconds", 60, 86_400, 300),
];
/// Those that have no default.
const OTHERS: [&str; 8] = [
    "Policy",
    "RedrivePolicy",
    "RedriveAllowPolicy",
    "KmsMasterKeyId",
    "SqsManagedSseEnabled",
    "FifoQueue",
    "ContentBasedDeduplication",
    "DeduplicationScope",
];
/// Those that SQS computes.
const COMPUTED: [&str; 6] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
];

fn unknown_attribute(name: &str) -> Fault {
    Fault::new("InvalidAttributeName", "InvalidAttributeName", format!("Unknown Attribute {name}."))
}

fn bad_attribute(name: &str) -> Fault {
    Fault::new(
        "InvalidAttributeValue",
        "InvalidAttributeValue",
        format!("Invalid value for the parameter {name}."),
    )
}

fn check_attributes(attributes: &BTreeMap<String, String>) -> Result<(), Fault> {
    for (name, value) in attributes {
        if let Some((_, least, most, _)) = NUMBERS.iter().find(|(number, ..)| number == name) {
            let number: u64 = value.parse().map_err(|_| bad_attribute(name))?;
            if number < *least || number > *most {
                return Err(bad_attribute(name));
            }
        } else if name == "RedrivePolicy" && !value.is_empty() {
            let words = |reason: &str| {
                Fault::value(format!(
                    "Value {value} for parameter RedrivePolicy is invalid. Reason: {reason}"
                ))
            };
            let redrive = Redrive::read(value)
                .ok_or_else(|| words("Redrive policy is not a valid JSON map."))?;
            if !(1..=1000).contains(&redrive.after) {
                return Err(words(
                    "Invalid value for maxReceiveCount: must be between 1 and 1000.",
                ));
            }
        } else if !OTHERS.contains(&name.as_str()) {
            return Err(unknown_attribute(name));
        }
    }
    Ok(())
}

/// An attribute that can be set, or its default.
fn value_of(about: &About, name: &str) -> Option<String> {
    if let Some(value) = about.attributes.get(name) {
        return Some(value.clone()).filter(|value| !value.is_empty());
    }
    if name == "SqsManagedSseEnabled" {
        return Some(
            about.attributes.get("KmsMasterKeyId").is_none_or(String::is_empty).to_string(),
        );
    }
    // Without a key of one's own it is not shown.
    let (_, _, _, default) = NUMBERS
        .iter()
        .find(|(number, ..)| *number == name && name != "KmsDataKeyReusePeriodSeconds")?;
    Some(default.to_string())
}

/// Whether two values of an attribute mean the same: a policy is JSON.
fn same(name: &str, one: &str, other: &str) -> bool {
    let is_json = matches!(name, "Policy" | "RedrivePolicy" | "RedriveAllowPolicy");
    match (serde_json::from_str::<Value>(one), serde_json::from_str::<Value>(other)) {
        (Ok(one), Ok(other)) if is_json => one == other,
        _ => one == other,
    }
}

/// Where messages go that are received too often.
struct Redrive {
    queue: String,
    after: u64,
}

impl Redrive {
    fn read(policy: &str) -> Option<Self> {
        let policy: Value = serde_json::from_str(policy).ok()?;
        let queue = policy["deadLetterTargetArn"].as_str()?.rsplit(':').next()?.to_owned();
        let after = &policy["maxReceiveCount"];
        let after = after.as_u64().or_else(|| after.as_str()?.parse().ok())?;
        Some(Self { queue, after })
    }

    fn of(about: &About) -> Option<Self> {
        Self::read(about.attributes.get("RedrivePolicy")?)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ByName {
    #[serde(default)]
    queue_name: String,
}

fn url_of(store: &Store, asked: &Asked, request: ByName) -> Result<Value, Fault> {
    if request.queue_name.is_empty() {
        return Err(Fault::missing("QueueName"));
    }
    store.queue(&request.queue_name).ok_or_else(Fault::no_queue)?;
    Ok(json!({ "QueueUrl": url(asked, &request.queue_name) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    #[serde(default)]
    queue_name_prefix: Option<String>,
    #[serde(default)]
    max_results: Option<i64>,
    #[serde(default)]
    next_token: Option<String>,
}

fn list(store: &Store, asked: &Asked, request: List) -> Result<Value, Fault> {
    let prefix = request.queue_name_prefix.unwrap_or_default();
    page(
        asked,
        store.queue_names().into_iter().filter(|name| name.starts_with(&prefix)),
        request.max_results,
        request.next_token,
        "QueueUrls",
    )
}

fn page(
    asked: &Asked,
    names: impl Iterator<Item = String>,
    max: Option<i64>,
    token: Option<String>,
    field: &str,
) -> Result<Value, Fault> {
    let size = in_range("MaxResults", max.unwrap_or(1000), 1, 1000)?;
    // The token is the last name of the page before.
    let mut names: Vec<String> =
        names.filter(|name| token.as_ref().is_none_or(|token| name > token)).collect();
    let next = (names.len() > size as usize)
        .then(|| names[size as usize - 1].clone())
        .filter(|_| max.is_some());
    names.truncate(size as usize);
    let mut answer = Map::new();
    if !names.is_empty() || field == "queueUrls" {
        answer.insert(field.into(), names.iter().map(|name| url(asked, name)).collect());
    }
    if let Some(next) = next {
        answer.insert("NextToken".into(), next.into());
    }
    Ok(answer.into())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sources {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    max_results: Option<i64>,
    #[serde(default)]
    next_token: Option<String>,
}

impl Store {
    /// The queues whose dead letters go to this one.
    fn sources_of(&self, target: &str) -> impl Iterator<Item = String> {
        self.queue_names().into_iter().filter(move |name| {
            self.queue(name).is_some_and(|line| {
                Redrive::of(&line.lock().about).is_some_and(|redrive| redrive.queue == target)
            })
        })
    }
}

fn sources(store: &Store, asked: &Asked, request: Sources) -> Result<Value, Fault> {
    store.line(&request.queue_url)?;
    let target = name_in(&request.queue_url);
    page(asked, store.sources_of(target), request.max_results, request.next_token, "queueUrls")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Move {
    #[serde(default)]
    source_arn: String,
    #[serde(default)]
    destination_arn: Option<String>,
    #[serde(default)]
    max_results: Option<i64>,
}

impl Store {
    fn by_arn(&self, arn: &str) -> Result<Arc<Line>, Fault> {
        let found = arn.rsplit(':').next().and_then(|name| self.queue(name));
        found.ok_or_else(|| {
            Fault::new(
                "ResourceNotFoundException",
                "ResourceNotFoundException",
                "The resource that you specified for the ARN parameter doesn't exist.",
            )
        })
    }
}

/// Puts dead letters back where they come from, or where it is told; here all of them before it
/// answers. They are new messages there. Source: SQS API reference, StartMessageMoveTask.
fn start_move(store: &Store, request: Move) -> Result<Value, Fault> {
    let from = store.by_arn(&request.source_arn)?;
    let to = request.destination_arn.as_deref().map(|arn| store.by_arn(arn)).transpose()?;
    let name = from.lock().about.name.clone();
    if to.as_ref().is_some_and(|to| Arc::ptr_eq(to, &from)) {
        return Err(Fault::value("Source queue and destination queue can't be the same."));
    }
    if store.sources_of(&name).next().is_none() {
        return Err(Fault::value("Source queue must be configured as a Dead Letter Queue."));
    }
    let started = now();
    let (mut moved, mut left) = (0_u64, vec![]);
    loop {
        let received = from.lock().receive(MAX_BATCH, now() + MOVE_TIME, None)?.received;
        if received.is_empty() {
            break;
        }
        for Received { mut message, handle, .. } in received {
            let mut extras = Extras::read(&message.extras);
            let source = extras.source.take();
            let Some(target) = to.clone().or_else(|| store.by_arn(source.as_deref()?).ok()) else {
                left.push(handle);
                continue;
            };
            message = Message {
                id: [0; 16],
                sent: now(),
                visible_from: 0,
                extras: extras.write(),
                ..message
            };
            // There first, gone from here then: a kill in between leaves it twice, never lost.
            target.lock().send(message)?;
            from.lock().delete(handle)?;
            target.arrived.notify_waiters();
            moved += 1;
        }
    }
    for handle in left {
        from.lock().hide(handle, now())?;
    }
    let mut task = json!({
        "Status": "COMPLETED", "SourceArn": request.source_arn, "ApproximateNumberOfMessagesMoved": moved,
        "ApproximateNumberOfMessagesToMove": moved, "StartedTimestamp": started,
    });
    if let Some(arn) = request.destination_arn {
        task["DestinationArn"] = arn.into();
    }
    let handle = STANDARD.encode(format!("{name} {started}"));
    let mut moves = from.moves.lock().unwrap_or_else(PoisonError::into_inner);
    moves.insert(0, task);
    moves.truncate(MAX_BATCH);
    Ok(json!({ "TaskHandle": handle }))
}

/// The last moves out of a queue, newest first; of those before dev's start nothing is known.
fn moves(store: &Store, request: &Move) -> Result<Value, Fault> {
    let line = store.by_arn(&request.source_arn)?;
    let most =
        in_range("MaxResults", request.max_results.unwrap_or(1), 1, MAX_BATCH as i64)? as usize;
    let moves = line.moves.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(json!({ "Results": moves.iter().take(most).collect::<Vec<_>>() }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetAttributes {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    attribute_names: Option<Vec<String>>,
}

fn attributes(store: &Store, asked: &Asked, request: GetAttributes) -> Result<Value, Fault> {
    let line = store.line(&request.queue_url)?;
    let mut queue = line.lock();
    let names = request.attribute_names.unwrap_or_default();
    let all = names.iter().any(|name| name == "All");
    let known = || COMPUTED.into_iter().chain(NUMBERS.iter().map(|number| number.0)).chain(OTHERS);
    if let Some(unknown) = names.iter().find(|name| {
        *name != "All" && *name != "FifoThroughputLimit" && !known().any(|k| k == *name)
    }) {
        return Err(unknown_attribute(unknown));
    }
    let counts = queue.counts();
    let mut attributes = Map::new();
    for name in known().filter(|known| all || names.iter().any(|name| name == known)) {
        let value = match name {
            "ApproximateNumberOfMessages" => Some(counts.visible.to_string()),
            "ApproximateNumberOfMessagesNotVisible" => Some(counts.in_flight.to_string()),
            "ApproximateNumberOfMessagesDelayed" => Some(counts.delayed.to_string()),
            "CreatedTimestamp" => Some(queue.about.created.to_string()),
            "LastModifiedTimestamp" => Some(queue.about.modified.to_string()),
            "QueueArn" => Some(arn(asked, &queue.about.name)),
            _ => value_of(&queue.about, name),
        };
        if let Some(value) = value {
            attributes.insert(name.into(), value.into());
        }
    }
    Ok(if attributes.is_empty() { json!({}) } else { json!({ "Attributes": attributes }) })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SetAttributes {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

fn set_attributes(store: &Store, request: SetAttributes) -> Result<Value, Fault> {
    let line = store.line(&request.queue_url)?;
    check_attributes(&request.attributes)?;
    if request.attributes.contains_key("FifoQueue") {
        return Err(unknown_attribute("FifoQueue"));
    }
    change_about(&line, |about| about.attributes.extend(request.attributes))
}

/// Changes what is kept of a queue, on disk first.
fn change_about(line: &Line, change: impl FnOnce(&mut About)) -> Result<Value, Fault> {
    let mut queue = line.lock();
    let before = queue.about.clone();
    change(&mut queue.about);
    queue.about.modified = now() / 1000;
    if let Err(error) = queue.save() {
        queue.about = before;
        return Err(error.into());
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

fn tag(store: &Store, request: Tag) -> Result<Value, Fault> {
    change_about(&*store.line(&request.queue_url)?, |about| about.tags.extend(request.tags))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Untag {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    tag_keys: Vec<String>,
}

fn untag(store: &Store, request: Untag) -> Result<Value, Fault> {
    change_about(&*store.line(&request.queue_url)?, |about| {
        about.tags.retain(|tag, _| !request.tag_keys.contains(tag))
    })
}

// --- messages

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Attribute {
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<String>,
    /// Base64, as it comes and goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
    data_type: String,
}

type Attributes = BTreeMap<String, Attribute>;

/// What a message carries beside its body; JSON on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Extras {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: Attributes,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    system: Attributes,
    /// The queue that a dead letter comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

impl Extras {
    fn read(text: &str) -> Self {
        if text.is_empty() {
            Self::default()
        } else {
            serde_json::from_str(text).unwrap_or_default()
        }
    }

    fn write(&self) -> String {
        if *self == Self::default() {
            String::new()
        } else {
            serde_json::to_string(self).unwrap_or_default()
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Send {
    #[serde(default)]
    queue_url: String,
    #[serde(flatten)]
    entry: Entry,
}

/// A message to be sent, alone or in a batch.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default)]
    id: String,
    #[serde(default)]
    message_body: Option<String>,
    #[serde(default)]
    delay_seconds: Option<i64>,
    #[serde(default)]
    message_attributes: Option<Attributes>,
    #[serde(default)]
    message_system_attributes: Option<Attributes>,
    #[serde(default)]
    message_deduplication_id: Option<String>,
}

/// A message that may be sent, and what is answered.
struct Ready {
    message: Message,
    answer: Map<String, Value>,
}

fn prepare(about: &About, entry: Entry) -> Result<Ready, Fault> {
    let Entry {
        message_body,
        delay_seconds,
        message_attributes,
        message_system_attributes,
        message_deduplication_id,
        ..
    } = entry;
    let body = message_body.ok_or_else(|| Fault::missing("MessageBody"))?;
    if body.is_empty() {
        return Err(Fault::missing("MessageBody"));
    }
    if message_deduplication_id.is_some() {
        return Err(Fault::value(
            "Value for parameter MessageDeduplicationId is invalid. Reason: The request includes a parameter that is not valid for this queue type.",
        ));
    }
    let delay = match delay_seconds {
        None => about.number("DelaySeconds", 0),
        Some(seconds) => in_range("DelaySeconds", seconds, 0, MAX_DELAY)?,
    };
    if !body.chars().all(is_allowed) {
        let words = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF";
        return Err(Fault::new("InvalidMessageContents", "InvalidMessageContents", words));
    }
    let attributes = message_attributes.unwrap_or_default();
    let system = message_system_attributes.unwrap_or_default();
    let mut size = body.len();
    if attributes.len() > MAX_ATTRIBUTES {
        let words = format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{MAX_ATTRIBUTES}].",
            attributes.len()
        );
        return Err(Fault::value(words));
    }
    for (name, attribute) in &attributes {
        size += check_attribute(name, attribute)?;
    }
    if let Some(unknown) = system.keys().find(|name| *name != "AWSTraceHeader") {
        return Err(Fault::value(format!("Message system attribute name {unknown} is not valid.")));
    }
    for (name, attribute) in &system {
        check_attribute(name, attribute)?;
    }
    let most = usize::try_from(about.number("MaximumMessageSize", MAX_MESSAGE as u64))
        .unwrap_or(MAX_MESSAGE);
    if size > most {
        return Err(Fault::value(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {most} bytes."
        )));
    }
    let mut answer = Map::new();
    answer.insert("MD5OfMessageBody".into(), md5(body.as_bytes()).into());
    if !attributes.is_empty() {
        answer.insert("MD5OfMessageAttributes".into(), md5_of_attributes(&attributes).into());
    }
    if !system.is_empty() {
        answer.insert("MD5OfMessageSystemAttributes".into(), md5_of_attributes(&system).into());
    }
    let sent = now();
    let visible_from = if delay == 0 { 0 } else { sent + delay * 1000 };
    let extras = Extras { attributes, system, source: None }.write();
    Ok(Ready { message: Message { id: [0; 16], sent, visible_from, body, extras }, answer })
}

/// Characters of XML 1.0.
fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Its bytes in the message's size.
fn check_attribute(name: &str, attribute: &Attribute) -> Result<usize, Fault> {
    let is_name =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    let reserved =
        ["aws.", "amazon."].iter().any(|prefix| name.to_ascii_lowercase().starts_with(prefix));
    let dots = name.starts_with('.') || name.ends_with('.') || name.contains("..");
    if name.is_empty() || name.len() > 256 || !is_name || reserved || dots {
        return Err(Fault::value(format!(
            "The message attribute name '{name}' is not valid: 1 to 256 of A-Z a-z 0-9 _ - . are allowed."
        )));
    }
    let kind = attribute.data_type.split('.').next().unwrap_or_default();
    let value = match (kind, &attribute.string_value, &attribute.binary_value) {
        ("String" | "Number", Some(value), None) => value.len(),
        ("Binary", None, Some(value)) => {
            STANDARD.decode(value).map_err(|_| empty_attribute(name, kind))?.len()
        }
        ("String" | "Number" | "Binary", ..) => 0,
        _ => {
            return Err(Fault::value(format!(
                "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String."
            )));
        }
    };
    if value == 0 {
        return Err(empty_attribute(name, kind));
    }
    if let Some(text) = &attribute.string_value {
        if !text.chars().all(is_allowed) {
            return Err(Fault::value(format!(
                "The message attribute '{name}' has characters that SQS does not take."
            )));
        }
        if kind == "Number" && text.trim().parse::<f64>().is_err() {
            return Err(Fault::value(format!(
                "Can't cast the value of message (user) attribute '{name}' to a number."
            )));
        }
    }
    Ok(name.len() + attribute.data_type.len() + value)
}

fn empty_attribute(name: &str, kind: &str) -> Fault {
    Fault::value(format!(
        "The message attribute '{name}' must contain non-empty message attribute value for message attribute type '{kind}'."
    ))
}

fn md5(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

/// Source: the SQS Developer Guide, "Calculating the MD5 message digest for message attributes".
fn md5_of_attributes(attributes: &Attributes) -> String {
    fn add(bytes: &mut Vec<u8>, part: &[u8]) {
        bytes.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(part);
    }
    let mut bytes = Vec::new();
    for (name, attribute) in attributes {
        add(&mut bytes, name.as_bytes());
        add(&mut bytes, attribute.data_type.as_bytes());
        match (&attribute.binary_value, &attribute.string_value) {
            (Some(value), _) => {
                bytes.push(2);
                add(&mut bytes, &STANDARD.decode(value).unwrap_or_default());
            }
            (None, value) => {
                bytes.push(1);
                add(&mut bytes, value.as_deref().unwrap_or_default().as_bytes());
            }
        }
    }
    md5(&bytes)
}

fn send(store: &Store, request: Send) -> Result<Value, Fault> {
    let line = store.line(&request.queue_url)?;
    let Ready { answer, .. } = put(store, &line, request.entry)?;
    Ok(answer.into())
}

/// Sends one message; its id is in the answer.
fn put(store: &Store, line: &Line, entry: Entry) -> Result<Ready, Fault> {
    let mut queue = line.lock();
    let mut ready = prepare(&queue.about, entry)?;
    store.objects.here()?;
    let bytes = ready.message.body.len() as u64;
    let id = uuid_text(queue.send(std::mem::take(&mut ready.message))?);
    let name = queue.about.name.clone();
    drop(queue);
    ready.answer.insert("MessageId".into(), id.clone().into());
    line.arrived.notify_waiters();
    store.tell(Stored::Sqs { queue: name, message_id: id, bytes });
    Ok(ready)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch<T> {
    #[serde(default)]
    queue_url: String,
    #[serde(default = "Vec::new")]
    entries: Vec<T>,
}

/// One entry's failure does not touch the others.
fn each<T>(
    entries: Vec<T>,
    id: impl Fn(&T) -> String,
    mut perform: impl FnMut(T) -> Result<Map<String, Value>, Fault>,
) -> Result<Value, Fault> {
    let ids: Vec<String> = entries.iter().map(id).collect();
    check_batch(&ids)?;
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, entry) in ids.into_iter().zip(entries) {
        match perform(entry) {
            Ok(mut answer) => {
                answer.insert("Id".into(), id.into());
                successful.push(Value::from(answer));
            }
            Err(fault) => failed.push(json!({
                "Id": id,
                "SenderFault": fault.status < 500,
                "Code": fault.code,
                "Message": fault.words,
            })),
        }
    }
    let mut answer = Map::new();
    answer.insert("Successful".into(), successful.into());
    if !failed.is_empty() {
        answer.insert("Failed".into(), failed.into());
    }
    Ok(answer.into())
}

fn check_batch(ids: &[String]) -> Result<(), Fault> {
    if ids.is_empty() {
        let words = "There should be at least one entry in the request.";
        return Err(Fault::new(
            "EmptyBatchRequest",
            "AWS.SimpleQueueService.EmptyBatchRequest",
            words,
        ));
    }
    if ids.len() > MAX_BATCH {
        let words = format!(
            "Maximum number of entries per request are {MAX_BATCH}. You have sent {}.",
            ids.len()
        );
        return Err(Fault::new(
            "TooManyEntriesInBatchRequest",
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            words,
        ));
    }
    let is_id = |id: &String| {
        (1..=80).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if !ids.iter().all(is_id) {
        let words = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.";
        return Err(Fault::new(
            "InvalidBatchEntryId",
            "AWS.SimpleQueueService.InvalidBatchEntryId",
            words,
        ));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = ids.iter().find(|id| !seen.insert(*id)) {
        let words = format!("Id {twice} repeated.");
        return Err(Fault::new(
            "BatchEntryIdsNotDistinct",
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            words,
        ));
    }
    Ok(())
}

fn send_batch(store: &Store, request: Batch<Entry>) -> Result<Value, Fault> {
    let line = store.line(&request.queue_url)?;
    let size = |entry: &Entry| {
        let attributes = entry.message_attributes.iter().flatten();
        let attributes = attributes
            .map(|(name, attribute)| check_attribute(name, attribute).unwrap_or_default());
        entry.message_body.as_ref().map_or(0, String::len) + attributes.sum::<usize>()
    };
    let total: usize = request.entries.iter().map(size).sum();
    if total > MAX_MESSAGE && request.entries.len() <= MAX_BATCH {
        let words = format!(
            "Batch requests cannot be longer than {MAX_MESSAGE} bytes. You have sent {total} bytes."
        );
        return Err(Fault::new(
            "BatchRequestTooLong",
            "AWS.SimpleQueueService.BatchRequestTooLong",
            words,
        ));
    }
    each(
        request.entries,
        |entry| entry.id.clone(),
        |entry| put(store, &line, entry).map(|ready| ready.answer),
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Receive {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    attribute_names: Option<Vec<String>>,
    #[serde(default)]
    message_system_attribute_names: Option<Vec<String>>,
    #[serde(default)]
    message_attribute_names: Option<Vec<String>>,
    #[serde(default)]
    max_number_of_messages: Option<i64>,
    #[serde(default)]
    visibility_timeout: Option<i64>,
    #[serde(default)]
    wait_time_seconds: Option<i64>,
}

async fn receive(store: &Arc<Store>, asked: &Asked, request: Receive) -> Result<Value, Fault> {
    let line = store.line(&request.queue_url)?;
    let max = in_range(
        "MaxNumberOfMessages",
        request.max_number_of_messages.unwrap_or(1),
        1,
        MAX_BATCH as i64,
    )?;
    let (visibility, wait) = {
        let about = &line.lock().about;
        let visibility = match request.visibility_timeout {
            None => about.number("VisibilityTimeout", 30),
            Some(seconds) => in_range("VisibilityTimeout", seconds, 0, MAX_VISIBILITY)?,
        };
        let wait = match request.wait_time_seconds {
            None => about.number("ReceiveMessageWaitTimeSeconds", 0),
            Some(seconds) => in_range("WaitTimeSeconds", seconds, 0, MAX_WAIT)?,
        };
        (visibility, wait)
    };
    let deadline = Instant::now() + Duration::from_secs(wait);
    loop {
        // Asked for before looking, so that what arrives in between is not slept over.
        let arrived = line.arrived.notified();
        tokio::pin!(arrived);
        arrived.as_mut().enable();
        let (received, wake) = take(store, asked, &line, max as usize, visibility)?;
        if !received.is_empty() || Instant::now() >= deadline || store.is_closing() {
            return Ok(shown(&request, received));
        }
        // It was deleted while somebody waited.
        store.line(&request.queue_url)?;
        let wake = wake.map_or(deadline, |at| {
            deadline.min(Instant::now() + Duration::from_millis(at.saturating_sub(now()).max(1)))
        });
        let closing = store.closing();
        tokio::select! {
            _ = tokio::time::timeout_at(wake, arrived) => {}
            () = closing => {}
        }
    }
}

/// Hands out what there is, and moves to the dead-letter queue what was handed out too often.
fn take(
    store: &Store,
    asked: &Asked,
    line: &Line,
    max: usize,
    visibility: u64,
) -> Result<(Vec<Received>, Option<u64>), Fault> {
    let mut queue = line.lock();
    if queue.in_flight() >= MAX_IN_FLIGHT {
        let words = format!(
            "Too many messages in flight: {MAX_IN_FLIGHT}. Delete some, or let their visibility timeout end."
        );
        return Err(Fault::new("OverLimit", "OverLimit", words));
    }
    let redrive = Redrive::of(&queue.about);
    // Without the queue that it names it has no effect.
    let target = redrive.as_ref().and_then(|redrive| store.queue(&redrive.queue));
    let limit = redrive.filter(|_| target.is_some()).map(|redrive| redrive.after);
    let Taken { received, dead } = queue.receive(max, now() + visibility * 1000, limit)?;
    let source = arn(asked, &queue.about.name);
    let mut wake = queue.next_wake();
    drop(queue);
    if let Some(target) = target {
        for (handle, mut message) in dead {
            let mut extras = Extras::read(&message.extras);
            extras.source = Some(source.clone());
            message.extras = extras.write();
            message.visible_from = 0;
            // There first, gone from here then: a kill in between leaves it twice, never lost.
            let sent = target.lock().send(message);
            if sent.is_err() || line.lock().delete(handle).is_err() {
                // On a full disk, say. What was received is in flight and counted already, so it is
                // answered. The dead ones stay in flight here, and a later receive moves them.
                wake = wake.map(|at| at.max(now() + RETRY_MOVE));
                break;
            }
        }
        target.arrived.notify_waiters();
    }
    Ok((received, wake))
}

fn shown(request: &Receive, received: Vec<Received>) -> Value {
    let (older, newer) = (
        request.attribute_names.iter().flatten(),
        request.message_system_attribute_names.iter().flatten(),
    );
    let system: BTreeSet<&str> = older.chain(newer).map(String::as_str).collect();
    let wanted: Vec<&str> =
        request.message_attribute_names.iter().flatten().map(String::as_str).collect();
    let messages: Vec<Value> =
        received.into_iter().map(|received| message(received, &system, &wanted)).collect();
    if messages.is_empty() { json!({}) } else { json!({ "Messages": messages }) }
}

fn message(received: Received, system: &BTreeSet<&str>, wanted: &[&str]) -> Value {
    let Received { message, handle, count, first, identity } = received;
    let extras = Extras::read(&message.extras);
    let mut shown = Map::new();
    shown.insert("MessageId".into(), uuid_text(message.id).into());
    shown.insert("ReceiptHandle".into(), write_handle(identity, handle).into());
    shown.insert("MD5OfBody".into(), md5(message.body.as_bytes()).into());
    let mut known = vec![
        ("SenderId", Some(ACCOUNT.to_owned())),
        ("SentTimestamp", Some(message.sent.to_string())),
        ("ApproximateReceiveCount", Some(count.to_string())),
        ("ApproximateFirstReceiveTimestamp", Some(first.to_string())),
        ("DeadLetterQueueSourceArn", extras.source),
    ];
    known.push((
        "AWSTraceHeader",
        extras.system.get("AWSTraceHeader").and_then(|header| header.string_value.clone()),
    ));
    shown.insert("Body".into(), message.body.into());
    let all = system.contains("All");
    let known: Map<String, Value> = known
        .into_iter()
        .filter(|(name, _)| all || system.contains(name))
        .filter_map(|(name, value)| Some((name.into(), value?.into())))
        .collect();
    if !known.is_empty() {
        shown.insert("Attributes".into(), known.into());
    }
    let is_wanted = |name: &str| {
        wanted.iter().any(|wanted| {
            match wanted.strip_suffix(".*").or_else(|| wanted.strip_suffix('*')) {
                Some(prefix) => name.starts_with(prefix),
                None => *wanted == "All" || *wanted == name,
            }
        })
    };
    let attributes: Attributes =
        extras.attributes.into_iter().filter(|(name, _)| is_wanted(name)).collect();
    if !attributes.is_empty() {
        shown.insert("MD5OfMessageAttributes".into(), md5_of_attributes(&attributes).into());
        shown.insert(
            "MessageAttributes".into(),
            serde_json::to_value(attributes).unwrap_or_default(),
        );
    }
    shown.into()
}

fn write_handle(identity: u32, handle: Handle) -> String {
    let mut bytes = identity.to_be_bytes().to_vec();
    bytes.extend(handle.number.to_be_bytes());
    bytes.extend(handle.count.to_be_bytes());
    STANDARD.encode(bytes)
}

fn read_handle(text: &str, queue: &Queue) -> Result<Handle, Fault> {
    let wrong = || {
        let words = format!("The input receipt handle \"{text}\" is not a valid receipt handle.");
        Fault {
            status: 404,
            ..Fault::new("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", words)
        }
    };
    if text.is_empty() {
        return Err(Fault::missing("ReceiptHandle"));
    }
    let bytes = STANDARD.decode(text).map_err(|_| wrong())?;
    let (identity, rest) = bytes.split_first_chunk::<4>().ok_or_else(wrong)?;
    let (number, count) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
    let count: [u8; 4] = count.try_into().map_err(|_| wrong())?;
    if u32::from_be_bytes(*identity) != queue.about.identity {
        return Err(wrong());
    }
    Ok(Handle { number: u64::from_be_bytes(*number), count: u32::from_be_bytes(count) })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Delete {
    #[serde(default)]
    queue_url: String,
    #[serde(flatten)]
    entry: ByHandle,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ByHandle {
    #[serde(default)]
    id: String,
    #[serde(default)]
    receipt_handle: String,
    #[serde(default)]
    visibility_timeout: Option<i64>,
}

fn delete(store: &Store, request: Delete) -> Result<Value, Fault> {
    let line = store.line(&request.queue_url)?;
    delete_one(&line, &request.entry).map(Value::from)
}

/// A message that is gone already, or was handed out again since, is no fault: SQS says nothing of
/// it either.
fn delete_one(line: &Line, entry: &ByHandle) -> Result<Map<String, Value>, Fault> {
    let mut queue = line.lock();
    let handle = read_handle(&entry.receipt_handle, &queue)?;
    queue.delete(handle)?;
    Ok(Map::new())
}

fn delete_batch(store: &Store, request: Batch<ByHandle>) -> Result<Value, Fault> {
    let line = store.line(&request.queue_url)?;
    each(request.entries, |entry| entry.id.clone(), |entry| delete_one(&line, &entry))
}

fn change(store: &Store, request: Delete) -> Result<Value, Fault> {
    let line = store.line(&request.queue_url)?;
    change_one(&line, &request.entry).map(Value::from)
}

fn change_one(line: &Line, entry: &ByHandle) -> Result<Map<String, Value>, Fault> {
    let mut queue = line.lock();
    let handle = read_handle(&entry.receipt_handle, &queue)?;
    let seconds = entry.visibility_timeout.ok_or_else(|| Fault::missing("VisibilityTimeout"))?;
    let seconds = in_range("VisibilityTimeout", seconds, 0, MAX_VISIBILITY)?;
    let changed = queue.hide(handle, now() + seconds * 1000)?;
    drop(queue);
    // Who waits has to look anew at when the next message can be had.
    line.arrived.notify_waiters();
    match changed {
        Changed::Done => Ok(Map::new()),
        Changed::NotInFlight => {
            let words = "The specified message isn't in flight.";
            Err(Fault::new(
                "MessageNotInflight",
                "AWS.SimpleQueueService.MessageNotInflight",
                words,
            ))
        }
        Changed::Gone => Err(Fault::value(format!(
            "Value {} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.",
            entry.receipt_handle
        ))),
    }
}

fn change_batch(store: &Store, request: Batch<ByHandle>) -> Result<Value, Fault> {
    let line = store.line(&request.queue_url)?;
    each(request.entries, |entry| entry.id.clone(), |entry| change_one(&line, &entry))
}

fn in_range(name: &str, value: i64, least: i64, most: i64) -> Result<u64, Fault> {
    u64::try_from(value).ok().filter(|_| (least..=most).contains(&value)).ok_or_else(|| {
        Fault::value(format!("Value {value} for parameter {name} is invalid. Reason: Must be between {least} and {most}, if provided."))
    })
}

/// What the stack file has a say in.
const OURS: [&str; 3] = ["MaximumMessageSize", "MessageRetentionPeriod", "RedrivePolicy"];

/// Makes a queue, or gives these attributes to the one that is there. Others that somebody has set
/// stay, as they do in an account.
pub fn ensure(
    store: &Store,
    name: &str,
    attributes: BTreeMap<String, String>,
) -> Result<(), String> {
    if let Some(line) = store.queue(name) {
        check_attributes(&attributes).map_err(|fault| fault.words)?;
        let before = line.lock().about.attributes.clone();
        let mut wanted = before.clone();
        wanted.retain(|name, _| !OURS.contains(&name.as_str()));
        wanted.extend(attributes);
        if before == wanted {
            return Ok(());
        }
        return change_about(&line, |about| about.attributes = wanted)
            .map(drop)
            .map_err(|fault| fault.words);
    }
    store.make_queue(name, attributes, BTreeMap::new()).map_err(|fault| fault.words)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_dead_letter_that_cannot_be_moved_stays_and_the_others_are_received() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("opened");
        let policy = json!({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:dead", "maxReceiveCount": 1});
        store.create_queue("dead", BTreeMap::new()).expect("made");
        store
            .create_queue("work", BTreeMap::from([("RedrivePolicy".into(), policy.to_string())]))
            .expect("made");
        let asked = Asked {
            operation: "ReceiveMessage".into(),
            host: "localhost".into(),
            region: "us-east-1".into(),
        };
        let (line, dead) =
            (store.queue("work").expect("there"), store.queue("dead").expect("there"));
        let receive = |max| {
            let (received, wake) = take(&store, &asked, &line, max, 0).expect("no fault");
            (
                received
                    .into_iter()
                    .map(|received| (received.message.body, received.count))
                    .collect::<Vec<_>>(),
                wake,
            )
        };
        for body in ["one", "two"] {
            line.lock()
                .send(Message { sent: now(), body: body.into(), ..Message::default() })
                .expect("sent");
        }
        assert_eq!(receive(1).0, [("one".to_owned(), 1)]);
        // What is sent to a queue whose files are away fails, as on a full disk.
        let (files, aside) = (store.queue_directory("dead"), directory.path().join("aside"));
        fs::rename(&files, &aside).expect("moved");
        assert_eq!(receive(10).0, [("two".to_owned(), 1)]);
        // Both are dead now. A client that waits doesn't try it all the time.
        let before = now();
        let (received, wake) = receive(10);
        assert!(
            received.is_empty() && wake.is_some_and(|wake| wake >= before + RETRY_MOVE),
            "{received:?} {wake:?}"
        );
        assert_eq!(line.lock().counts().visible, 2);
        fs::rename(&aside, &files).expect("moved back");
        assert_eq!(receive(10).0, []);
        assert_eq!((line.lock().counts().visible, dead.lock().counts().visible), (0, 2));
    }
}
