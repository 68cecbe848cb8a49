//! The function's own sinks on a store in the same process.

use crate::{place::Place, support::block_on};
use routeto::dev::{exchange::Stored, store};
use routeto_function::{record::Record, sink::SinkError};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

fn object(key: &str, body: &str) -> Record {
    Record::Object {
        bucket: "records".into(),
        key: key.into(),
        content_type: "application/json".into(),
        body: body.as_bytes().to_vec().into(),
    }
}

fn message(queue: &str, body: &str) -> Record {
    Record::Message {
        queue_url: format!("https://sqs.us-east-1.amazonaws.com/123456789012/{queue}"),
        body: body.into(),
    }
}

fn soon() -> SystemTime {
    SystemTime::now() + Duration::from_secs(10)
}

#[test]
fn the_functions_records_are_stored_and_still_there_when_the_store_is_opened_again() {
    let place = Place::new();
    place.store.create_bucket("records").unwrap();
    place.store.create_bucket("records").unwrap();
    place.store.create_queue("events", BTreeMap::new()).unwrap();
    let sinks = store::sinks(&place.store, "us-east-1");
    let mut told = place.store.subscribe();

    let (stored, noted) =
        block_on(store::noting(sinks.store(&object("SendGrid/input_1_a", "{\"a\":1.50}"), soon())));
    assert_eq!(
        stored.map(|stored| (stored.place, stored.attempts)),
        Ok(("s3://records/SendGrid/input_1_a".into(), 1))
    );
    let expected =
        Stored::S3 { bucket: "records".into(), key: "SendGrid/input_1_a".into(), bytes: 10 };
    assert_eq!(noted, Some(expected.clone()));
    assert_eq!(told.try_recv(), Ok(expected));

    let (stored, noted) =
        block_on(store::noting(sinks.store(&message("events", "<héllo> \u{1f980}"), soon())));
    assert_eq!(stored.map(|stored| stored.attempts), Ok(1));
    let Some(Stored::Sqs { queue, message_id, bytes }) = noted.clone() else { panic!("{noted:?}") };
    assert_eq!((queue.as_str(), bytes), ("events", 13));
    assert_eq!(told.try_recv().ok(), noted);
    drop((sinks, told));

    let place = place.again();
    let kept = place.store.object("records", "SendGrid/input_1_a");
    assert_eq!(kept, Some(("application/json".into(), b"{\"a\":1.50}".to_vec())));
    assert_eq!(place.store.object("records", "SendGrid/input_1_b"), None);
    assert_eq!(place.store.message("events", &message_id).as_deref(), Some("<héllo> \u{1f980}"));
    assert_eq!(place.store.message("events", "00000000-0000-4000-8000-000000000000"), None);
    assert_eq!(place.store.message("other", &message_id), None);
}

#[test]
fn the_function_is_told_in_awss_words_what_it_may_not_store() {
    let place = Place::new();
    place.store.create_bucket("records").unwrap();
    place.store.create_queue("events", BTreeMap::new()).unwrap();
    let sinks = store::sinks(&place.store, "us-east-1");
    let kind = |record: Record| match block_on(sinks.store(&record, soon())) {
        Ok(_) => "stored".to_owned(),
        Err(SinkError::Failed { kind, .. }) => kind.to_owned(),
        Err(error) => format!("{error:?}"),
    };
    assert_eq!(kind(object("a", "1")), "stored");
    assert_eq!(kind(object("a", "2")), "KeyExists");
    assert_eq!(place.store.object("records", "a").unwrap().1, b"1");
    assert_eq!(
        kind(Record::Object {
            bucket: "nowhere".into(),
            key: "a".into(),
            content_type: "a/b".into(),
            body: vec![].into()
        }),
        "NoSuchBucket"
    );
    assert_eq!(kind(message("nowhere", "1")), "NoSuchQueue");
    assert_eq!(kind(message("events", "a\u{1}b")), "Characters");
    assert_eq!(kind(message("events", &"x".repeat(1024 * 1024))), "stored");
    assert_eq!(kind(message("events", &"x".repeat(1024 * 1024 + 1))), "TooLarge");
}
