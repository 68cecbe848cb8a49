//! What the mapping templates render of hostile requests, by Apache Velocity 1.7 set up as API
//! Gateway behaves (`events/cases.py`), goes through the function: never a 200 without the right
//! token, never a record outside the destination, never an error of ours.
#![allow(clippy::unwrap_used)]

mod common;

use {
    base64::{Engine, prelude::BASE64_STANDARD},
    common::{ID, Reply, Server, TOKEN, ok, run, sqs_ok},
    serde::Deserialize,
    std::collections::{BTreeMap, BTreeSet},
};

#[derive(Deserialize)]
struct Case {
    template: String,
    r#where: String,
    token: Option<String>,
    app: Option<String>,
    bucket: Option<String>,
    value: Option<String>,
    body: Option<String>,
    event: String,
}

fn cases() -> Vec<Case> {
    include_str!("events/rendered.jsonl")
        .lines()
        // lone surrogates: Rust's strings can't hold what was sent, so those cases are read with
        // U+FFFD in their place
        .map(|line| {
            serde_json::from_str(line)
                .unwrap_or_else(|_| serde_json::from_str(&without_surrogates(line)).unwrap())
        })
        .collect()
}

/// Only in what describes the request: in the event they stand with one more backslash before them,
/// and stay.
fn without_surrogates(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("\\u") {
        let escaped = rest[..at].bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        let digits = &rest[at + 2..at + 6];
        let high = !escaped && ["d8", "d9", "da", "db"].contains(&&digits[..2]);
        let pair =
            high && rest[at + 6..].starts_with("\\ud") && "cdef".contains(&rest[at + 9..at + 10]);
        let low = !escaped && ["dc", "dd", "de", "df"].contains(&&digits[..2]);
        out.push_str(&rest[..at]);
        if pair {
            out.push_str(&rest[at..at + 12]);
            rest = &rest[at + 12..];
        } else {
            out.push_str(if high || low { "\\ufffd" } else { &rest[at..at + 6] });
            rest = &rest[at + 6..];
        }
    }
    out + rest
}

/// The bucket and the prefix that a request may write to, by the stage variables of
/// `events/cases.py`, written down anew here.
fn place(template: &str, bucket: &str) -> Option<String> {
    match (template, bucket) {
        ("recipes/routeto-s3.vtl", "own-bucket" | "other-bucket" | "allowed-bucket") => {
            Some(format!("/{bucket}/"))
        }
        (
            "recipes/routeto-s3.vtl",
            "allowed-bucket/teamB" | "allowed-bucket/teamAB" | "other-bucket/x",
        ) => Some(format!("/{bucket}/")),
        ("recipes/routeto-s3.vtl", "null" | "true" | "right-token-012345678") => {
            Some(format!("/{bucket}/"))
        }
        ("recipes/routeto-s3.vtl", _) => None,
        (_, "" | "own-bucket") => Some("/own-bucket/SendGrid/".into()),
        _ => None,
    }
}

fn app_is_good(app: &str) -> bool {
    // a token pasted there would end up in a key and a log
    !app.is_empty()
        && app.len() <= 64
        && !app.contains(TOKEN)
        && app.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[tokio::test]
async fn a_hostile_request_gets_a_4xx_and_stores_nothing_unless_its_token_app_and_bucket_are_right()
{
    let server = Server::new([ok()]);
    let sinks = server.sinks();
    let mut statuses = BTreeMap::<(String, u16), usize>::new();
    let mut values = BTreeSet::new();
    for case in cases().iter().filter(|case| !case.template.contains("sqs")) {
        let all = (case.r#where == "all").then(|| case.value.clone().unwrap());
        let get = |own: &Option<String>, default: &str| {
            own.clone().or(all.clone()).unwrap_or(default.into())
        };
        let (token, app, bucket) =
            (get(&case.token, TOKEN), get(&case.app, "SendGrid"), get(&case.bucket, "own-bucket"));
        values.insert(
            case.value.clone().or(case.token.clone()).or(case.app.clone()).or(case.bucket.clone()),
        );
        let recipe = case.template == "recipes/routeto-s3.vtl";

        let answer = run(&sinks, &case.event)
            .await
            .answer
            .unwrap_or_else(|error| panic!("{error:?}: {}", case.event));
        let stored = server.take();
        let about = format!(
            "{} {} token {token:?} app {app:?} bucket {bucket:?}: {answer:?}",
            case.template, case.r#where
        );

        // what counts is the status, not which of a request's faults is named first
        let blank = token.trim_ascii().is_empty();
        let app_counts = app_is_good(&app) || (app.is_empty() && !recipe);
        match (token == TOKEN, app_counts, place(&case.template, &bucket)) {
            (true, true, Some(prefix)) => {
                assert_eq!(answer.status, 200, "{about}");
                assert_eq!(stored.len(), 1, "{about}");
                let key = stored[0]
                    .target
                    .strip_prefix(&prefix)
                    .unwrap_or_else(|| panic!("{about}: {}", stored[0].target));
                let (app_and_time, id) = key.split_once(&format!("_{ID}")).unwrap();
                assert!(
                    app_and_time.starts_with(if app.is_empty() { "input_" } else { &app }),
                    "{about}: {key}"
                );
                assert_eq!(id, "?x-id=PutObject");
            }
            (true, _, _) => assert_eq!((answer.status, stored.len()), (400, 0), "{about}"),
            (false, _, _) if blank => {
                assert_eq!((answer.status, stored.len()), (400, 0), "{about}")
            }
            // with a newline in a value, the recipe's event may not say where that value ends
            (false, _, _) if recipe && format!("{token}{app}{bucket}").contains(",\n\"") => {
                assert!(matches!(answer.status, 400 | 401) && stored.is_empty(), "{about}");
            }
            (false, _, _) => assert_eq!((answer.status, stored.len()), (401, 0), "{about}"),
        }
        *statuses.entry((case.template.clone(), answer.status)).or_default() += 1;
    }
    assert!(values.len() >= 100, "{}", values.len());
    for template in ["json.vtl", "recipes/routeto-s3.vtl"] {
        for status in [200, 400, 401] {
            assert!(
                statuses.get(&(template.into(), status)).is_some_and(|count| *count >= 5),
                "{template} {status}: {statuses:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_hostile_header_or_query_reaches_the_record_as_it_was_sent() {
    let server = Server::new([ok()]);
    let sinks = server.sinks();
    for case in
        cases().iter().filter(|case| case.template == "json.vtl" && case.r#where == "header")
    {
        let event = case
            .event
            .replace("s3://own-bucket/SendGrid/?", "s3://own-bucket/SendGrid/?format=envelope&");
        assert_eq!(run(&sinks, &event).await.answer.unwrap().status, 200);
        let value = case.value.clone().unwrap();
        let headers = server.take().remove(0).json()["http-headers"].clone();
        assert_eq!(headers["X-Hostile"], value.as_str());
        assert_eq!(headers["Content-Type"], value.as_str());
        assert_eq!(headers[&value], "v");
    }
}

#[tokio::test]
async fn recipe_ones_object_is_the_exact_text_of_its_body() {
    let server = Server::new([ok()]);
    let sinks = server.sinks();
    let mut count = 0;
    for case in cases()
        .iter()
        .filter(|case| case.template == "recipes/routeto-s3.vtl" && case.r#where == "body")
    {
        assert_eq!(run(&sinks, &case.event).await.answer.unwrap().status, 200, "{}", case.event);
        let request = server.take().remove(0);
        let start = case.event.find("\n\"body\": ").unwrap() + "\n\"body\": ".len();
        assert_eq!(request.text(), case.event[start..].strip_suffix("\n}\n").unwrap());
        assert_eq!(request.header("content-type"), Some("application/json"));
        count += 1;
    }
    assert_eq!(count, 13);
}

/// As `binary.vtl` and `json.vtl` render it: an empty body of a binary type shows as `{}` and means
/// nothing, one of JSON's shows as `{}` and is that.
#[tokio::test]
async fn our_templates_bodies_arrive_as_they_were_sent() {
    let server = Server::new([ok()]);
    let sinks = server.sinks();
    let mut count = 0;
    for case in cases().iter().filter(|case| {
        ["json.vtl", "binary.vtl"].contains(&&*case.template) && case.r#where == "body"
    }) {
        let sent = case.body.as_deref().unwrap();
        let expected = match (&*case.template, sent) {
            ("json.vtl", "") => b"{}".to_vec(),
            ("json.vtl", sent) => sent.as_bytes().to_vec(),
            (_, sent) => BASE64_STANDARD.decode(sent).unwrap(),
        };
        assert_eq!(run(&sinks, &case.event).await.answer.unwrap().status, 200, "{}", case.event);
        let stored = server.take().remove(0);
        assert_eq!(stored.body, expected);
        let kind = if case.template == "json.vtl" { "application/json" } else { "image/png" };
        assert_eq!(
            (
                stored.header("content-type"),
                stored.target.starts_with("/own-bucket/SendGrid/SendGrid_1700000000000_")
            ),
            (Some(kind), true)
        );
        count += 1;
    }
    assert_eq!(count, 16);
}

/// A template that was kept on Windows renders the other line end.
#[tokio::test]
async fn recipe_one_with_the_other_line_end_is_recipe_one() {
    let server = Server::new([ok()]);
    let sinks = server.sinks();
    let event = |token: &str| {
        format!("{{\n\"bucket\": \"own-bucket/a/b\",\n\"app\": \"x\",\n\"token\": \"{token}\",\n\"validToken\": \"{TOKEN}\",\n\"body\": [1.50]\n}}\n")
            .replace('\n', "\r\n")
    };
    for hostile in [
        "x\",\"validToken\":\"x",
        "x\",\r\n\"validToken\": \"x",
        "x\",\r\n\"validToken\": \"x\",\r\n\"body\": 1\r\n}",
    ] {
        assert!(matches!(run(&sinks, &event(hostile)).await.answer.unwrap().status, 400 | 401));
    }
    assert_eq!(server.requests().len(), 0);
    assert_eq!(run(&sinks, &event(TOKEN)).await.answer.unwrap().status, 200);
    let stored = server.take().remove(0);
    assert!(
        stored.target.starts_with("/own-bucket/a/b/x_1") && stored.body == b"[1.50]",
        "{stored:?}"
    );
}

#[tokio::test]
async fn recipe_twos_message_is_the_whole_event_or_a_400_where_the_queue_can_not_take_it() {
    let server = Server::new([sqs_ok()]);
    let sinks = server.sinks();
    let mut stored = 0;
    for case in cases().iter().filter(|case| case.template.contains("sqs")) {
        let event = case.event.trim_ascii();
        let handled = run(&sinks, &case.event).await;
        let requests = server.take();
        let taken = serde_json::from_str::<serde::de::IgnoredAny>(event).is_ok()
            && !event.contains(['\u{fffe}', '\u{ffff}']);
        let status =
            handled.answer.unwrap_or_else(|error| panic!("{error:?} {:?}", case.body)).status;
        assert_eq!((status, requests.len()), if taken { (200, 1) } else { (400, 0) }, "{event}");
        if taken {
            assert_eq!(
                requests[0].json(),
                serde_json::json!({"QueueUrl": "http://127.0.0.1/1/q", "MessageBody": event})
            );
            stored += 1;
        }
    }
    assert!(stored > 200, "{stored}");
}

#[tokio::test]
async fn a_key_that_stands_twice_is_nobodys() {
    let server = Server::new([ok()]);
    let sinks = server.sinks();
    let event = common::Event::new("s3://own-bucket", b"{}").text();
    for (key, value) in [
        ("token", format!("\"{TOKEN}\"")),
        ("validToken", format!("\"{TOKEN}\"")),
        ("valid\\u0054oken", format!("\"{TOKEN}\"")),
        ("destination", "\"s3://own-bucket?token=none\"".into()),
        ("app", "\"SendGrid\"".into()),
        ("bucket", "\"\"".into()),
        ("body", "\"\"".into()),
        ("headers", "{}".into()),
        ("path", "\"/\"".into()),
        ("time", "1".into()),
    ] {
        for forged in [
            event.replacen('{', &format!("{{\"{key}\":{value},"), 1),
            format!("{},\"{key}\":{value}}}", &event[..event.len() - 1]),
        ] {
            let answer = run(&sinks, &forged).await.answer.unwrap();
            assert_eq!(
                common::json(&answer),
                common::fail(400, "The request does not make a valid event"),
                "{forged}"
            );
        }
    }
    let both =
        event.replacen('{', "{\"queue_url\":\"https://sqs.us-east-1.amazonaws.com/1/q\",", 1);
    assert_eq!(run(&sinks, &both).await.answer.unwrap().status, 400);
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn null_is_not_absent_so_it_opens_nothing() {
    let server = Server::new([Reply::HangUp]);
    let sinks = server.sinks();
    let event = common::Event::new("s3://own-bucket", b"{}");
    for (token, valid, status) in [
        ("null", "null", 400),
        ("\"x\"", "null", 401),
        ("null", "\"x\"", 400),
        ("\"\"", "\"\"", 400),
        ("\"x\"", "\"\"", 401),
    ] {
        let text = event.clone().without("token").without("validToken").text();
        let text = text.replacen('{', &format!("{{\"token\":{token},\"validToken\":{valid},"), 1);
        assert_eq!(run(&sinks, &text).await.answer.unwrap().status, status, "{token} {valid}");
    }
    for (key, status) in [("token", 400), ("validToken", 401)] {
        assert_eq!(
            run(&sinks, &event.clone().without(key).text()).await.answer.unwrap().status,
            status,
            "{key}"
        );
    }
    assert_eq!(server.requests().len(), 0);
}
