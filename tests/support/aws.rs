//! Real AWS clients, boto3's, to prepare an account with and to read back what routeto and its
//! function did.
//!
//! They share no code with routeto: what both get wrong in one way would not show otherwise.

use super::emulator::{ACCOUNT, Emulator, REGION};
use super::root;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// An S3 object, read back.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    pub key: String,
    pub body: Vec<u8>,
    pub content_type: String,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.body);
        write!(
            f,
            "{} ({}, {} bytes): {}",
            self.key,
            self.content_type,
            self.body.len(),
            text.chars().take(200).collect::<String>()
        )
    }
}

/// An SQS message, received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub body: String,
    pub receipt: String,
}

impl Message {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|e| panic!("a message without JSON ({e}): {}", self.body))
    }
}

/// What AWS refused: its code and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: String,
    pub message: String,
}

struct Boto {
    _child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// The clients that nobody uses just now. Each is a Python that ends when its input does, that is
/// with this process.
static IDLE: Mutex<Vec<Boto>> = Mutex::new(Vec::new());

fn ask(request: &Value) -> Result<Value, Refused> {
    let idle = IDLE.lock().unwrap().pop();
    let mut boto = idle.unwrap_or_else(|| {
        let emulator = Emulator::shared();
        let mut command = Command::new(emulator.python());
        command.arg(root().join("tests/support/boto.py")).args([&emulator.endpoint(), REGION]);
        command
            .env_clear()
            .env("AWS_CONFIG_FILE", "/nonexistent")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Boto { _child: child, stdin, stdout }
    });
    writeln!(boto.stdin, "{request}").unwrap();
    let mut line = String::new();
    boto.stdout.read_line(&mut line).unwrap();
    let mut answer: Value = serde_json::from_str(&line)
        .unwrap_or_else(|e| panic!("the AWS client answered no JSON ({e}) to {request}: {line:?}"));
    IDLE.lock().unwrap().push(boto);
    match answer.get("error") {
        Some(code) => Err(Refused {
            code: code.as_str().unwrap_or_default().into(),
            message: answer["message"].as_str().unwrap_or_default().into(),
        }),
        None => Ok(answer["ok"].take()),
    }
}

/// One call, as boto3 names it: `try_call("s3", "create_bucket", json!({"Bucket": "b"}))`.
pub fn try_call(service: &str, operation: &str, arguments: Value) -> Result<Value, Refused> {
    ask(&json!({"service": service, "operation": operation, "arguments": arguments}))
}

/// As `try_call`, where a refusal is the test's end. A function whose update is in progress is waited
/// for, as a person would.
pub fn call(service: &str, operation: &str, arguments: Value) -> Value {
    super::soon(operation, || match try_call(service, operation, arguments.clone()) {
        Err(refused) if refused.code == "ResourceConflictException" && service == "lambda" => None,
        Err(refused) => panic!("{service}.{operation}({arguments}): {refused:?}"),
        Ok(answer) => Some(answer),
    })
}

/// As `call`, in another region.
pub fn call_in(region: &str, service: &str, operation: &str, arguments: Value) -> Value {
    ask(&json!({"service": service, "operation": operation, "arguments": arguments, "region": region}))
        .unwrap_or_else(|refused| panic!("{service}.{operation}({arguments}) in {region}: {refused:?}"))
}

/// All that stands for a stack; the shape is `boto.py`'s `world`.
pub fn world(stack: &str) -> Value {
    ask(&json!({ "world": stack }))
        .unwrap_or_else(|refused| panic!("the world of {stack}: {refused:?}"))
}

/// Every object of a bucket, by key.
pub fn objects(bucket: &str) -> Vec<Object> {
    let mut objects = Vec::new();
    let mut after = json!({ "Bucket": bucket });
    loop {
        let page = call("s3", "list_objects_v2", after.clone());
        for item in page["Contents"].as_array().into_iter().flatten() {
            objects.push(object(bucket, item["Key"].as_str().unwrap()));
        }
        match page["NextContinuationToken"].as_str() {
            Some(token) => after = json!({"Bucket": bucket, "ContinuationToken": token}),
            None => return objects,
        }
    }
}

pub fn object(bucket: &str, key: &str) -> Object {
    let got = call("s3", "get_object", json!({"Bucket": bucket, "Key": key}));
    let content_type = got["ContentType"].as_str().unwrap_or_default().to_owned();
    Object { key: key.into(), body: bytes(&got["Body"]), content_type }
}

/// The only object of a bucket.
pub fn only_object(bucket: &str) -> Object {
    let mut objects = objects(bucket);
    assert_eq!(objects.len(), 1, "one object in {bucket}: {objects:#?}");
    objects.remove(0)
}

/// The keys in a bucket; `None` where there is no such bucket.
pub fn keys(bucket: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut arguments = json!({ "Bucket": bucket });
    loop {
        let page = match try_call("s3", "list_objects_v2", arguments) {
            Ok(page) => page,
            Err(refused) if refused.code == "NoSuchBucket" => return None,
            Err(refused) => panic!("the keys of {bucket}: {refused:?}"),
        };
        keys.extend(
            page["Contents"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|o| o["Key"].as_str().unwrap().to_owned()),
        );
        match page["NextContinuationToken"].as_str() {
            Some(token) => arguments = json!({"Bucket": bucket, "ContinuationToken": token}),
            None => return Some(keys),
        }
    }
}

pub fn create_bucket(bucket: &str) {
    call("s3", "create_bucket", json!({ "Bucket": bucket }));
}

/// Empties and deletes a bucket.
pub fn remove_bucket(bucket: &str) {
    for key in keys(bucket).unwrap_or_default() {
        call("s3", "delete_object", json!({"Bucket": bucket, "Key": key}));
    }
    call("s3", "delete_bucket", json!({ "Bucket": bucket }));
}

pub fn queue_url(queue: &str) -> Option<String> {
    match try_call("sqs", "get_queue_url", json!({ "QueueName": queue })) {
        Ok(found) => found["QueueUrl"].as_str().map(str::to_owned),
        Err(refused)
            if refused.code.contains("NonExistentQueue")
                || refused.code.contains("QueueDoesNotExist") =>
        {
            None
        }
        Err(refused) => panic!("the URL of {queue}: {refused:?}"),
    }
}

pub fn queue_arn(queue: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}")
}

/// How many messages a queue holds, in flight or not.
pub fn depth(queue: &str) -> usize {
    let url = queue_url(queue).unwrap_or_else(|| panic!("there is no queue {queue}"));
    let names = [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
    ];
    let got =
        call("sqs", "get_queue_attributes", json!({"QueueUrl": url, "AttributeNames": names}));
    names
        .iter()
        .map(|name| {
            got["Attributes"][name].as_str().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0)
        })
        .sum()
}

/// Takes every message out of a queue.
pub fn receive_all(queue: &str) -> Vec<Message> {
    let url = queue_url(queue).unwrap_or_else(|| panic!("there is no queue {queue}"));
    let mut messages = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(180);
    while depth(queue) > 0 {
        assert!(
            Instant::now() < deadline,
            "{queue} isn't empty after 180 s and {} messages",
            messages.len()
        );
        let got = call(
            "sqs",
            "receive_message",
            json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0}),
        );
        for message in got["Messages"].as_array().into_iter().flatten() {
            let (body, receipt) = (
                message["Body"].as_str().unwrap().to_owned(),
                message["ReceiptHandle"].as_str().unwrap().to_owned(),
            );
            call("sqs", "delete_message", json!({"QueueUrl": url, "ReceiptHandle": receipt}));
            messages.push(Message { body, receipt });
        }
        if got["Messages"].is_null() {
            sleep(Duration::from_millis(50));
        }
    }
    messages
}

/// The only message of a queue.
pub fn only_message(queue: &str) -> Message {
    let mut messages = receive_all(queue);
    assert_eq!(messages.len(), 1, "one message in {queue}: {messages:#?}");
    messages.remove(0)
}

/// All that a function logged. The emulator writes it a moment after the answer.
pub fn function_log(function: &str) -> String {
    let group = format!("/aws/lambda/{function}");
    match try_call("logs", "filter_log_events", json!({ "logGroupName": group })) {
        Ok(found) => found["events"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| format!("{}\n", e["message"].as_str().unwrap_or_default()))
            .collect(),
        Err(refused) if refused.code == "ResourceNotFoundException" => String::new(),
        Err(refused) => panic!("the log of {function}: {refused:?}"),
    }
}

pub fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value["base64"].as_str().unwrap()).unwrap()
}

pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub fn from_base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap_or_else(|e| panic!("no base64 ({e}): {text}"))
}
