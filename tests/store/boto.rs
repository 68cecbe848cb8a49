//! boto3 against the store, unchanged but for its endpoint.

use crate::{
    place::Place,
    support::{emulator, root},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// A Python with boto3's clients in it.
pub struct Boto(RefCell<(Child, ChildStdin, BufReader<ChildStdout>)>);

impl Boto {
    pub fn new(endpoint: &str) -> Self {
        emulator::install().unwrap();
        let mut command = Command::new(emulator::python());
        command.arg(root().join("tests/support/boto.py")).args([endpoint, "us-east-1"]);
        command.env_clear().env("AWS_CONFIG_FILE", "/nonexistent").env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self(RefCell::new((child, stdin, stdout)))
    }

    pub fn try_call(&self, service: &str, operation: &str, arguments: Value) -> Result<Value, (String, String)> {
        let (_, stdin, stdout) = &mut *self.0.borrow_mut();
        let request = json!({"service": service, "operation": operation, "arguments": arguments});
        writeln!(stdin, "{request}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?} to {request}"));
        match answer["error"].as_str() {
            None => Ok(answer["ok"].take()),
            Some(code) => Err((code.to_owned(), answer["message"].as_str().unwrap_or_default().to_owned())),
        }
    }

    pub fn call(&self, service: &str, operation: &str, arguments: Value) -> Value {
        let shown = arguments.to_string();
        self.try_call(service, operation, arguments)
            .unwrap_or_else(|error| panic!("{service} {operation} {}: {error:?}", shown.chars().take(300).collect::<String>()))
    }

    pub fn code(&self, service: &str, operation: &str, arguments: Value) -> String {
        match self.try_call(service, operation, arguments) {
            Ok(answer) => panic!("{service} {operation} answered {answer}"),
            Err((code, _)) => code,
        }
    }
}

impl Drop for Boto {
    fn drop(&mut self) {
        let _ = self.0.borrow_mut().0.kill();
        let _ = self.0.borrow_mut().0.wait();
    }
}

pub fn blob(bytes: &[u8]) -> Value {
    json!({"base64": STANDARD.encode(bytes)})
}

fn keys(answer: &Value) -> Vec<&str> {
    answer["Contents"].as_array().into_iter().flatten().map(|object| object["Key"].as_str().unwrap()).collect()
}

#[test]
fn an_object_comes_back_with_its_bytes_and_all_that_was_said_of_it() {
    let place = Place::new();
    let boto = Boto::new(&place.endpoint);
    boto.call("s3", "create_bucket", json!({"Bucket": "records"}));
    let bytes: Vec<u8> = (0..=255).collect();
    let put = boto.call("s3", "put_object", json!({"Bucket": "records", "Key": "a/ü b+c%20.bin", "Body": blob(&bytes), "ContentType": "image/png", "CacheControl": "no-cache", "Metadata": {"sender": "someone"}}));
    assert_eq!(put["ETag"], "\"e2c865db4162bed963bfaa9ef6ac18f0\"");
    let place = place.again();
    let boto = Boto::new(&place.endpoint);
    let got = boto.call("s3", "get_object", json!({"Bucket": "records", "Key": "a/ü b+c%20.bin"}));
    assert_eq!(
        (&got["Body"], &got["ContentType"], &got["CacheControl"], &got["Metadata"], &got["ETag"]),
        (&blob(&bytes), &json!("image/png"), &json!("no-cache"), &json!({"sender": "someone"}), &put["ETag"])
    );
    let head = boto.call("s3", "head_object", json!({"Bucket": "records", "Key": "a/ü b+c%20.bin"}));
    assert_eq!((&head["ContentLength"], &head["ContentType"]), (&json!(256), &json!("image/png")));
    let part = boto.call("s3", "get_object", json!({"Bucket": "records", "Key": "a/ü b+c%20.bin", "Range": "bytes=250-"}));
    assert_eq!((&part["Body"], &part["ContentRange"]), (&blob(&bytes[250..]), &json!("bytes 250-255/256")));
    assert_eq!(keys(&boto.call("s3", "list_objects_v2", json!({"Bucket": "records"}))), ["a/ü b+c%20.bin"]);
    assert_eq!(boto.code("s3", "delete_bucket", json!({"Bucket": "records"})), "BucketNotEmpty");
    boto.call("s3", "delete_object", json!({"Bucket": "records", "Key": "a/ü b+c%20.bin"}));
    assert_eq!(boto.code("s3", "get_object", json!({"Bucket": "records", "Key": "a/ü b+c%20.bin"})), "NoSuchKey");
    boto.call("s3", "delete_bucket", json!({"Bucket": "records"}));
    assert_eq!(boto.code("s3", "list_objects_v2", json!({"Bucket": "records"})), "NoSuchBucket");
}

#[test]
fn a_message_is_sent_received_hidden_and_deleted() {
    let place = Place::new();
    let boto = Boto::new(&place.endpoint);
    let url = boto.call("sqs", "create_queue", json!({"QueueName": "events"}))["QueueUrl"].clone();
    assert_eq!(url, format!("{}/123456789012/events", place.endpoint));
    boto.call("sqs", "send_message", json!({"QueueUrl": url, "MessageBody": "hello", "MessageAttributes": {"shoryuken_class": {"DataType": "String", "StringValue": "Worker"}}}));
    let receive =
        || boto.call("sqs", "receive_message", json!({"QueueUrl": url, "MessageAttributeNames": ["All"], "AttributeNames": ["All"]}));
    let got = receive();
    let message = &got["Messages"][0];
    assert_eq!((&message["Body"], &message["Attributes"]["ApproximateReceiveCount"]), (&json!("hello"), &json!("1")));
    assert_eq!(message["MessageAttributes"]["shoryuken_class"]["StringValue"], "Worker");
    assert_eq!(receive()["Messages"], Value::Null);
    boto.call("sqs", "delete_message", json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}));
    let counts = boto.call(
        "sqs",
        "get_queue_attributes",
        json!({"QueueUrl": url, "AttributeNames": ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]}),
    );
    assert_eq!(counts["Attributes"], json!({"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesNotVisible": "0"}));
    assert_eq!(boto.code("sqs", "get_queue_url", json!({"QueueName": "nowhere"})), "AWS.SimpleQueueService.NonExistentQueue");
}
