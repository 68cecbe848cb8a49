//! Queues, as boto3 and a worker that polls see them.

use crate::{boto::Boto, place::Place};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

struct Queue<'a> {
    boto: &'a Boto,
    url: Value,
}

impl<'a> Queue<'a> {
    fn new(boto: &'a Boto, name: &str, attributes: Value) -> Self {
        let url =
            boto.call("sqs", "create_queue", json!({"QueueName": name, "Attributes": attributes}))
                ["QueueUrl"]
                .clone();
        Self { boto, url }
    }

    fn try_call(&self, operation: &str, mut arguments: Value) -> Result<Value, (String, String)> {
        arguments["QueueUrl"] = self.url.clone();
        self.boto.try_call("sqs", operation, arguments)
    }

    fn call(&self, operation: &str, arguments: Value) -> Value {
        self.try_call(operation, arguments).unwrap_or_else(|error| panic!("{operation}: {error:?}"))
    }

    fn code(&self, operation: &str, arguments: Value) -> String {
        self.try_call(operation, arguments).expect_err("it was to be refused").0
    }

    fn send(&self, body: &str) {
        self.call("send_message", json!({ "MessageBody": body }));
    }

    /// Bodies and receipt handles.
    fn receive(&self, arguments: Value) -> Vec<(String, String)> {
        let got = self.call("receive_message", arguments);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        got["Messages"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|m| (text(&m["Body"]), text(&m["ReceiptHandle"])))
            .collect()
    }

    fn bodies(&self, arguments: Value) -> Vec<String> {
        self.receive(arguments).into_iter().map(|message| message.0).collect()
    }

    fn delete(&self, handle: &str) {
        self.call("delete_message", json!({ "ReceiptHandle": handle }));
    }

    /// Visible, in flight, delayed.
    fn counts(&self) -> (u64, u64, u64) {
        let got = self.call("get_queue_attributes", json!({"AttributeNames": ["All"]}));
        let number = |name: &str| got["Attributes"][name].as_str().unwrap().parse().unwrap();
        let hidden = number("ApproximateNumberOfMessagesNotVisible");
        (
            number("ApproximateNumberOfMessages"),
            hidden,
            number("ApproximateNumberOfMessagesDelayed"),
        )
    }
}

fn open() -> (Place, Boto) {
    let place = Place::new();
    let boto = Boto::new(&place.endpoint);
    (place, boto)
}

#[test]
fn a_message_has_all_that_sqs_gives_it_and_its_sums_are_right() {
    let (_place, boto) = open();
    let queue = Queue::new(&boto, "events", json!({}));
    let attributes = json!({
        "shoryuken_class": {"DataType": "String", "StringValue": "Worker"},
        "weight": {"DataType": "Number.float", "StringValue": "1.50"},
        "raw": {"DataType": "Binary", "BinaryValue": {"base64": "AP8="}},
    });
    // boto3 compares MD5OfMessageBody and MD5OfMessageAttributes itself, in both directions
    let trace = json!({"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}});
    let sent = queue
        .call("send_message", json!({"MessageBody": "<a>é\t\n</a>", "MessageAttributes": attributes, "MessageSystemAttributes": trace}));
    let got = queue.call(
        "receive_message",
        json!({"MessageAttributeNames": ["All"], "AttributeNames": ["All"]}),
    );
    let message = &got["Messages"][0];
    assert_eq!(
        (&message["MessageId"], &message["Body"], &message["MessageAttributes"]),
        (&sent["MessageId"], &json!("<a>é\t\n</a>"), &attributes)
    );
    assert_eq!(
        (&message["MD5OfBody"], &message["MD5OfMessageAttributes"]),
        (&sent["MD5OfMessageBody"], &sent["MD5OfMessageAttributes"])
    );
    let mut system = message["Attributes"].as_object().unwrap().clone();
    assert_eq!(system.remove("SentTimestamp").map(|time| time.as_str().unwrap().len()), Some(13));
    assert_eq!(
        system.remove("ApproximateFirstReceiveTimestamp").map(|time| time.as_str().unwrap().len()),
        Some(13)
    );
    let expected = json!({"SenderId": "123456789012", "ApproximateReceiveCount": "1", "AWSTraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793"});
    assert_eq!(Value::from(system), expected);
    queue.delete(message["ReceiptHandle"].as_str().unwrap());

    queue.call("send_message", json!({"MessageBody": "1", "MessageAttributes": attributes}));
    let some = queue.call(
        "receive_message",
        json!({"MessageAttributeNames": ["shor*"], "AttributeNames": ["SenderId"]}),
    );
    assert_eq!(
        some["Messages"][0]["MessageAttributes"],
        json!({"shoryuken_class": attributes["shoryuken_class"]})
    );
    assert_eq!(some["Messages"][0]["Attributes"], json!({"SenderId": "123456789012"}));
    let text = "\u{20}\u{d7ff}\u{e000}\u{fffd}\u{10ffff}";
    queue.send(text);
    assert_eq!(queue.bodies(json!({})), [text]);
}

#[test]
fn a_message_is_hidden_from_others_until_its_time_is_over_or_it_is_deleted() {
    let (_place, boto) = open();
    let queue = Queue::new(&boto, "events", json!({"VisibilityTimeout": "5"}));
    queue.send("hello");
    let first = queue.receive(json!({})).remove(0);
    assert_eq!((queue.bodies(json!({})), queue.counts()), (vec![], (0, 1, 0)));
    // whoever waits gets it the moment it can be had again
    let since = Instant::now();
    let second = queue.receive(json!({"WaitTimeSeconds": 20, "VisibilityTimeout": 60})).remove(0);
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    assert_eq!((&second.0, second.1 == first.1), (&"hello".to_owned(), false));
    // the handle of the earlier hand-out takes nothing away from the later one
    queue.delete(&first.1);
    assert_eq!(queue.counts(), (0, 1, 0));
    assert_eq!(
        queue.code(
            "change_message_visibility",
            json!({"ReceiptHandle": first.1, "VisibilityTimeout": 5})
        ),
        "InvalidParameterValue"
    );
    queue.call(
        "change_message_visibility",
        json!({"ReceiptHandle": second.1, "VisibilityTimeout": 0}),
    );
    assert_eq!(
        queue.code(
            "change_message_visibility",
            json!({"ReceiptHandle": second.1, "VisibilityTimeout": 5})
        ),
        "AWS.SimpleQueueService.MessageNotInflight"
    );
    let third = queue
        .receive(json!({"VisibilityTimeout": 30, "AttributeNames": ["ApproximateReceiveCount"]}))
        .remove(0);
    queue.delete(&third.1);
    queue.delete(&third.1);
    assert_eq!(queue.counts(), (0, 0, 0));
    for wrong in ["nonsense", "AAAA"] {
        assert_eq!(
            queue.code("delete_message", json!({ "ReceiptHandle": wrong })),
            "ReceiptHandleIsInvalid"
        );
    }
}

#[test]
fn who_polls_long_gets_what_is_sent_meanwhile_and_nothing_at_the_end() {
    let (place, boto) = open();
    let queue = Queue::new(&boto, "events", json!({}));
    let (other, url) = (Boto::new(&place.endpoint), queue.url.clone());
    other.call("sqs", "list_queues", json!({}));
    let since = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            Queue { boto: &other, url }.send("late");
        });
        assert_eq!(queue.bodies(json!({"WaitTimeSeconds": 20})), ["late"]);
    });
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    let since = Instant::now();
    assert_eq!(queue.bodies(json!({"WaitTimeSeconds": 1})), [""; 0]);
    assert!(since.elapsed() >= Duration::from_secs(1), "{:?}", since.elapsed());
}

#[test]
fn a_delayed_message_comes_when_its_time_has_come_and_holds_nobody_up() {
    let (place, boto) = open();
    let queue = Queue::new(&boto, "events", json!({}));
    queue.send("before");
    queue.call("send_message", json!({"MessageBody": "delayed", "DelaySeconds": 900}));
    queue.send("behind");
    assert_eq!(queue.counts(), (2, 0, 1));
    let place = {
        drop(queue);
        drop(boto);
        place.again()
    };
    let boto = Boto::new(&place.endpoint);
    let queue = Queue::new(&boto, "events", json!({}));
    assert_eq!(queue.counts(), (2, 0, 1));
    assert_eq!(queue.bodies(json!({"MaxNumberOfMessages": 10})), ["before", "behind"]);
    queue.call("send_message", json!({"MessageBody": "soon", "DelaySeconds": 2}));
    assert_eq!(queue.bodies(json!({"WaitTimeSeconds": 20})), ["soon"]);
    assert_eq!(queue.counts(), (0, 3, 1));
    assert_eq!(
        queue.code("send_message", json!({"MessageBody": "x", "DelaySeconds": 901})),
        "InvalidParameterValue"
    );
}

#[test]
fn a_message_that_is_received_too_often_goes_to_the_dead_letters_with_its_age() {
    let (place, boto) = open();
    Queue::new(&boto, "dead", json!({}));
    let policy = json!({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:dead", "maxReceiveCount": "2"}).to_string();
    let queue =
        Queue::new(&boto, "events", json!({"RedrivePolicy": policy, "VisibilityTimeout": "0"}));
    let sent = queue
        .call("send_message", json!({"MessageBody": "poison", "MessageAttributes": {"a": {"DataType": "String", "StringValue": "b"}}}));
    assert_eq!(queue.bodies(json!({})), ["poison"]);
    // a restart does not forget how often
    drop(boto);
    let place = place.again();
    let boto = Boto::new(&place.endpoint);
    let dead = Queue::new(&boto, "dead", json!({}));
    let queue = Queue::new(&boto, "events", json!({}));
    let received =
        queue.call("receive_message", json!({"AttributeNames": ["All"]}))["Messages"][0].clone();
    assert_eq!(received["Attributes"]["ApproximateReceiveCount"], "2");
    assert_eq!((queue.bodies(json!({})), queue.counts()), (vec![], (0, 0, 0)));
    let letter = dead.call(
        "receive_message",
        json!({"AttributeNames": ["All"], "MessageAttributeNames": ["All"]}),
    )["Messages"][0]
        .clone();
    assert_eq!((&letter["Body"], &letter["MessageId"]), (&json!("poison"), &sent["MessageId"]));
    assert_eq!(letter["Attributes"]["SentTimestamp"], received["Attributes"]["SentTimestamp"]);
    assert_eq!(
        letter["Attributes"]["DeadLetterQueueSourceArn"],
        "arn:aws:sqs:us-east-1:123456789012:events"
    );
    assert_eq!(letter["MessageAttributes"]["a"]["StringValue"], "b");
    let sources = boto.call("sqs", "list_dead_letter_source_queues", json!({"QueueUrl": dead.url}));
    assert_eq!(sources["queueUrls"], json!([queue.url]));
    // put back where it comes from, it is a message as new as any
    dead.call(
        "change_message_visibility",
        json!({"ReceiptHandle": letter["ReceiptHandle"], "VisibilityTimeout": 0}),
    );
    let source = json!({"SourceArn": "arn:aws:sqs:us-east-1:123456789012:dead"});
    assert!(boto.call("sqs", "start_message_move_task", source.clone())["TaskHandle"].is_string());
    let tasks = boto.call("sqs", "list_message_move_tasks", source);
    assert_eq!(
        (&tasks["Results"][0]["Status"], &tasks["Results"][0]["ApproximateNumberOfMessagesMoved"]),
        (&json!("COMPLETED"), &json!(1))
    );
    let back = queue.call(
        "receive_message",
        json!({"AttributeNames": ["All"], "MessageAttributeNames": ["All"]}),
    )["Messages"][0]
        .clone();
    assert_eq!(
        (&back["Body"], &back["Attributes"]["ApproximateReceiveCount"]),
        (&json!("poison"), &json!("1"))
    );
    assert_eq!(
        (&back["MessageAttributes"]["a"]["StringValue"], dead.counts()),
        (&json!("b"), (0, 0, 0))
    );
    assert_ne!(back["MessageId"], sent["MessageId"]);
    let wrong = json!({"SourceArn": "arn:aws:sqs:us-east-1:123456789012:events"});
    assert_eq!(boto.code("sqs", "start_message_move_task", wrong), "InvalidParameterValue");
}

#[test]
fn one_entry_of_a_batch_fails_alone() {
    let (_place, boto) = open();
    let queue = Queue::new(&boto, "events", json!({}));
    let entries = json!([{"Id": "a", "MessageBody": "1"}, {"Id": "b", "MessageBody": "\u{1}"}, {"Id": "c", "MessageBody": "3"}]);
    let sent = queue.call("send_message_batch", json!({ "Entries": entries }));
    let ids = |answer: &Value, list: &str| {
        answer[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["Id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&sent, "Successful"), ["a", "c"]);
    let failed = &sent["Failed"][0];
    assert_eq!(
        (&failed["Id"], &failed["Code"], &failed["SenderFault"]),
        (&json!("b"), &json!("InvalidMessageContents"), &json!(true))
    );
    let got = queue.receive(json!({"MaxNumberOfMessages": 10}));
    assert_eq!(got.iter().map(|m| m.0.as_str()).collect::<Vec<_>>(), ["1", "3"]);
    let change = json!([{"Id": "a", "ReceiptHandle": got[0].1, "VisibilityTimeout": 0}, {"Id": "b", "ReceiptHandle": "x", "VisibilityTimeout": 0}]);
    let changed = queue.call("change_message_visibility_batch", json!({ "Entries": change }));
    assert_eq!(
        (ids(&changed, "Successful"), ids(&changed, "Failed")),
        (vec!["a".to_owned()], vec!["b".to_owned()])
    );
    let deleted = queue
        .call("delete_message_batch", json!({"Entries": [{"Id": "a", "ReceiptHandle": got[0].1}, {"Id": "b", "ReceiptHandle": got[1].1}]}));
    assert_eq!(ids(&deleted, "Successful"), ["a", "b"]);
    assert_eq!(queue.counts(), (0, 0, 0));
    let batch = |ids: &[&str]| {
        let entries: Vec<_> = ids.iter().map(|id| json!({"Id": id, "MessageBody": "1"})).collect();
        queue.code("send_message_batch", json!({ "Entries": entries }))
    };
    assert_eq!(batch(&["a", "a"]), "AWS.SimpleQueueService.BatchEntryIdsNotDistinct");
    assert_eq!(batch(&["a b"]), "AWS.SimpleQueueService.InvalidBatchEntryId");
    assert_eq!(batch(&[]), "AWS.SimpleQueueService.EmptyBatchRequest");
    assert_eq!(
        batch(&["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]),
        "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"
    );
    let big = json!([{"Id": "a", "MessageBody": "x".repeat(600_000)}, {"Id": "b", "MessageBody": "x".repeat(600_000)}]);
    assert_eq!(
        queue.code("send_message_batch", json!({ "Entries": big })),
        "AWS.SimpleQueueService.BatchRequestTooLong"
    );
}

#[test]
fn queues_are_made_found_changed_and_removed_as_in_aws() {
    let (place, boto) = open();
    let queue = Queue::new(&boto, "events", json!({"VisibilityTimeout": "60"}));
    assert_eq!(queue.url, format!("{}/123456789012/events", place.endpoint));
    assert_eq!(Queue::new(&boto, "events", json!({"VisibilityTimeout": "60"})).url, queue.url);
    let create = |name: &str, attributes: Value| {
        boto.code("sqs", "create_queue", json!({"QueueName": name, "Attributes": attributes}))
    };
    assert_eq!(create("events", json!({"VisibilityTimeout": "61"})), "QueueAlreadyExists");
    assert_eq!(create("a.b", json!({})), "InvalidParameterValue");
    assert_eq!(create("a", json!({"VisibilityTimeout": "99999999"})), "InvalidAttributeValue");
    assert_eq!(create("a", json!({"Nonsense": "1"})), "InvalidAttributeName");
    assert_eq!(
        create("a.fifo", json!({"FifoQueue": "true"})),
        "AWS.SimpleQueueService.UnsupportedOperation"
    );
    Queue::new(&boto, "other", json!({}));
    assert_eq!(
        boto.call("sqs", "list_queues", json!({"QueueNamePrefix": "ev"}))["QueueUrls"],
        json!([queue.url])
    );
    assert_eq!(
        boto.call("sqs", "get_queue_url", json!({"QueueName": "events"}))["QueueUrl"],
        queue.url
    );
    assert_eq!(
        boto.code("sqs", "get_queue_url", json!({"QueueName": "nowhere"})),
        "AWS.SimpleQueueService.NonExistentQueue"
    );
    queue.call(
        "set_queue_attributes",
        json!({"Attributes": {"DelaySeconds": "0", "MaximumMessageSize": "1024"}}),
    );
    queue.call("tag_queue", json!({"Tags": {"a": "b", "c": "d"}}));
    queue.call("untag_queue", json!({"TagKeys": ["a"]}));
    drop(queue);
    drop(boto);
    let place = place.again();
    let boto = Boto::new(&place.endpoint);
    let queue = Queue::new(&boto, "events", json!({}));
    assert_eq!(queue.call("list_queue_tags", json!({}))["Tags"], json!({"c": "d"}));
    let mut attributes =
        queue.call("get_queue_attributes", json!({"AttributeNames": ["All"]}))["Attributes"]
            .clone();
    for time in ["CreatedTimestamp", "LastModifiedTimestamp"] {
        assert_eq!(attributes[time].take().as_str().map(str::len), Some(10));
    }
    let expected = json!({
        "ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesNotVisible": "0", "ApproximateNumberOfMessagesDelayed": "0",
        "CreatedTimestamp": null, "LastModifiedTimestamp": null, "QueueArn": "arn:aws:sqs:us-east-1:123456789012:events", "DelaySeconds": "0",
        "MaximumMessageSize": "1024", "MessageRetentionPeriod": "345600", "ReceiveMessageWaitTimeSeconds": "0", "VisibilityTimeout": "60",
        "SqsManagedSseEnabled": "true",
    });
    assert_eq!(attributes, expected);
    queue.send(&"x".repeat(1024));
    let (code, words) =
        queue.try_call("send_message", json!({"MessageBody": "x".repeat(1025)})).unwrap_err();
    assert_eq!(
        (code.as_str(), words.as_str()),
        (
            "InvalidParameterValue",
            "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes."
        )
    );
    queue.call("purge_queue", json!({}));
    assert_eq!(queue.counts(), (0, 0, 0));
    queue.send("after");
    assert_eq!(queue.bodies(json!({})), ["after"]);
    queue.call("delete_queue", json!({}));
    assert_eq!(
        queue.code("send_message", json!({"MessageBody": "1"})),
        "AWS.SimpleQueueService.NonExistentQueue"
    );
    let again = Queue::new(&boto, "events", json!({}));
    assert_eq!(again.counts(), (0, 0, 0));
}

/// What a Shoryuken worker with retry intervals does: ask for ten with a long poll, work, delete
/// what went well, and give back at once what did not.
#[test]
fn workers_that_poll_get_each_message_and_what_fails_again_until_it_is_dead() {
    let (place, boto) = open();
    let dead = Queue::new(&boto, "dead", json!({}));
    let policy = json!({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:dead", "maxReceiveCount": 3}).to_string();
    let queue =
        Queue::new(&boto, "events", json!({"RedrivePolicy": policy, "VisibilityTimeout": "300"}));
    const MESSAGES: usize = 200;
    for batch in 0..MESSAGES / 10 {
        let entries: Vec<_> = (0..10)
            .map(|n| json!({"Id": n.to_string(), "MessageBody": format!("{}", batch * 10 + n)}))
            .collect();
        queue.call("send_message_batch", json!({ "Entries": entries }));
    }
    // every seventh never works, every fifth works the second time
    let worked: BTreeMap<usize, usize> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let (endpoint, url) = (place.endpoint.clone(), queue.url.clone());
                scope.spawn(move || {
                    let boto = Boto::new(&endpoint);
                    let queue = Queue { boto: &boto, url };
                    let mut worked: BTreeMap<usize, usize> = BTreeMap::new();
                    let mut quiet = Instant::now();
                    while quiet.elapsed() < Duration::from_secs(6) {
                        let got = queue.call(
                            "receive_message",
                            json!({"MaxNumberOfMessages": 10, "WaitTimeSeconds": 2, "AttributeNames": ["ApproximateReceiveCount"]}),
                        );
                        for message in got["Messages"].as_array().into_iter().flatten() {
                            quiet = Instant::now();
                            let number: usize = message["Body"].as_str().unwrap().parse().unwrap();
                            let count: usize = message["Attributes"]["ApproximateReceiveCount"].as_str().unwrap().parse().unwrap();
                            let handle = message["ReceiptHandle"].as_str().unwrap();
                            if !number.is_multiple_of(7) && (!number.is_multiple_of(5) || count > 1) {
                                queue.delete(handle);
                                *worked.entry(number).or_default() += 1;
                            } else {
                                queue.call("change_message_visibility", json!({"ReceiptHandle": handle, "VisibilityTimeout": 0}));
                            }
                        }
                    }
                    worked
                })
            })
            .collect();
        let mut all = BTreeMap::new();
        for worker in workers {
            for (number, times) in worker.join().unwrap() {
                *all.entry(number).or_default() += times;
            }
        }
        all
    });
    let expected: BTreeMap<usize, usize> =
        (0..MESSAGES).filter(|n| n % 7 != 0).map(|n| (n, 1)).collect();
    assert_eq!(worked, expected);
    let mut letters = Vec::new();
    while let more @ [_, ..] = dead.receive(json!({"MaxNumberOfMessages": 10})).as_slice() {
        letters.extend(more.iter().map(|m| m.0.parse::<usize>().unwrap()));
    }
    letters.sort_unstable();
    assert_eq!(letters, (0..MESSAGES).filter(|n| n % 7 == 0).collect::<Vec<_>>());
    assert_eq!(queue.counts(), (0, 0, 0));
}
