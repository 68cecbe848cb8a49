//! What each request of a stage gets: the answer, the record and the log line.
#![allow(clippy::unwrap_used)]

mod common;

use {
    base64::{Engine, prelude::BASE64_STANDARD},
    common::{Event, ID, Server, TOKEN, VALID, fail, json, ok, run, sqs_ok, success},
    routeto_function::FunctionError,
    serde_json::json,
    sha2::{Digest, Sha256},
};

const QUEUE: &str = "https://sqs.us-east-1.amazonaws.com/123456789012/name";
const TAIL: &str = r#""http-headers":{"Content-Type":"application/json","Host":"api.example"},"path":"/input","app":"SendGrid","time":1700000000000,"id":"5d2d8e5a-6f4b-4f0e-9d3b-0a1b2c3d4e5f"}"#;

/// The answer, and what was stored: an object's path and bytes, or a message.
async fn post(event: &str) -> (serde_json::Value, Vec<(String, Vec<u8>)>) {
    let server = Server::new([ok()]);
    let handled = run(&server.sinks(), event).await;
    let answer = json(&handled.answer.unwrap_or_else(|error| panic!("{error:?} {event}")));
    let stored = server.requests().into_iter().map(|request| match request.method.as_str() {
        "PUT" => {
            (request.target.strip_suffix("?x-id=PutObject").unwrap().to_string(), request.body)
        }
        _ => (
            request.json()["QueueUrl"].as_str().unwrap().into(),
            request.json()["MessageBody"].as_str().unwrap().into(),
        ),
    });
    (answer, stored.collect())
}

async fn error(event: &str) -> FunctionError {
    let server = Server::new([ok()]);
    let error = run(&server.sinks(), event).await.answer.unwrap_err();
    assert_eq!(server.requests().len(), 0);
    error
}

#[tokio::test]
async fn every_byte_value_arrives_in_each_format_that_takes_it() {
    let bytes: Vec<u8> = (0..=255).collect();
    let base64 = BASE64_STANDARD.encode(&bytes);
    let path = format!("/bucket/SendGrid_1700000000000_{ID}");
    for (destination, stored) in [
        ("s3://bucket", (path.clone(), bytes.clone())),
        (
            "s3://bucket?format=envelope",
            (path.clone(), format!("{{\"body-raw\":\"{base64}\",{TAIL}").into_bytes()),
        ),
        (QUEUE, (QUEUE.into(), format!("{{\"body-raw\":\"{base64}\",{TAIL}").into_bytes())),
    ] {
        assert_eq!(
            post(&Event::new(destination, &bytes).text()).await,
            (success(), vec![stored]),
            "{destination}"
        );
    }
}

#[tokio::test]
async fn json_keeps_its_exact_text_in_an_envelope_and_as_a_body() {
    let body = " {\"a\" : 1.50, \"b\":1e5,\r\n\t\"c\":12345678901234567890, \"d\":\"\\u00e9 é \\/ \\ud800\", \"a\":2}\n";
    for (destination, message) in [
        (QUEUE.to_string(), format!("{{\"body-json\":{body},{TAIL}")),
        (format!("{QUEUE}?format=body"), body.to_string()),
    ] {
        assert_eq!(
            post(&Event::new(&destination, body.as_bytes()).text()).await,
            (success(), vec![(QUEUE.into(), message.into_bytes())])
        );
    }
}

/// API Gateway inflated the body and left the header.
#[tokio::test]
async fn an_envelope_does_not_name_a_coding_that_the_body_no_longer_has() {
    for (name, value) in [
        ("Content-Encoding", "gzip"),
        ("content-encoding", "deflate"),
        ("CONTENT-ENCODING", "identity"),
        ("Content-encoding", "x-gzip"),
        ("content-Encoding", ""),
    ] {
        let headers =
            json!({"Content-Type": "application/json", name: value, "Host": "api.example"});
        for (destination, body) in
            [("s3://bucket?format=envelope", &b"{}"[..]), (QUEUE, b"{}"), (QUEUE, b"\xff")]
        {
            let (answer, stored) =
                post(&Event::new(destination, body).with("headers", headers.clone()).text()).await;
            assert_eq!(answer, success());
            let envelope = String::from_utf8(stored[0].1.clone()).unwrap();
            assert!(envelope.ends_with(&format!(",{TAIL}")), "{envelope}");
        }
    }
    // others whose names begin or end so are the sender's
    let headers = json!({"X-Content-Encoding": "gzip", "Content-Encoding-2": "br"});
    let (_, stored) = post(&Event::new(QUEUE, b"{}").with("headers", headers.clone()).text()).await;
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&stored[0].1).unwrap()["http-headers"],
        headers
    );
}

#[tokio::test]
async fn what_is_no_json_or_no_message_goes_in_base64() {
    // sqs takes no U+FFFF, as text that is; s3 takes all
    for (body, s3, sqs) in [
        ("a=b&c", false, false),
        ("", false, false),
        ("[NaN]", false, false),
        ("\"\u{ffff}\"", true, false),
        ("\"\u{7f}\u{85}\"", true, true),
    ] {
        for (destination, text) in [("s3://bucket?format=envelope", s3), (QUEUE, sqs)] {
            let (answer, stored) = post(&Event::new(destination, body.as_bytes()).text()).await;
            assert_eq!(answer, success());
            let expected = if text {
                format!("{{\"body-json\":{body},{TAIL}")
            } else {
                format!("{{\"body-raw\":\"{}\",{TAIL}", BASE64_STANDARD.encode(body))
            };
            assert_eq!(String::from_utf8(stored[0].1.clone()).unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn a_body_that_the_queue_or_the_format_does_not_take_gets_a_400() {
    let characters = "The body has characters that the queue does not take";
    for (destination, body, reason) in [
        (format!("{QUEUE}?format=body"), &b"a\0b"[..], characters),
        (format!("{QUEUE}?format=body"), b"\x0b", characters),
        (format!("{QUEUE}?format=body"), b"\x1f", characters),
        (format!("{QUEUE}?format=body"), "\u{fffe}".as_bytes(), characters),
        (format!("{QUEUE}?format=body"), b"\xe9", characters),
        (format!("{QUEUE}?format=body"), b"", "The body is empty"),
        ("s3://bucket?format=ndjson".into(), b"a=b", "The body is not valid JSON"),
        ("s3://bucket?format=ndjson".into(), b"[\"\xe9\"]", "The body is not valid JSON"),
        ("s3://bucket?format=ndjson".into(), b"", "The body is not valid JSON"),
        (
            "s3://bucket?format=ndjson".into(),
            b"12",
            "The body is neither a JSON array nor an object",
        ),
    ] {
        assert_eq!(
            post(&Event::new(&destination, body).text()).await,
            (fail(400, reason), vec![]),
            "{body:?}"
        );
    }
    // all that SQS's reference lists
    let edges = "\t\n\r \u{7f}\u{d7ff}\u{e000}\u{fffd}\u{10000}\u{10ffff}";
    assert_eq!(
        post(&Event::new(&format!("{QUEUE}?format=body"), edges.as_bytes()).text()).await,
        (success(), vec![(QUEUE.into(), edges.into())])
    );
}

#[tokio::test]
async fn ndjson_is_a_line_each() {
    let body = b"[\n  {\"a\": 1.50, \"t\": \"x\\ny\"},\n  {\"a\": [\n 1e5 ]}\n]";
    let expected = b"{\"a\": 1.50, \"t\": \"x\\ny\"}\n{\"a\": [1e5 ]}\n".to_vec();
    let path = format!("/bucket/p/SendGrid_1700000000000_{ID}");
    assert_eq!(
        post(&Event::new("s3://bucket/p/?format=ndjson", body).text()).await,
        (success(), vec![(path, expected)])
    );
}

#[tokio::test]
async fn one_mebibyte_is_what_a_queue_takes_its_envelope_included() {
    let whole = 1024 * 1024;
    let text = |length: usize| vec![b'x'; length];
    let large = fail(413, "The body is larger than the destination takes");
    let body = format!("{QUEUE}?format=body");
    assert_eq!(post(&Event::new(&body, &text(whole)).text()).await.0, success());
    assert_eq!(post(&Event::new(&body, &text(whole + 1)).text()).await, (large.clone(), vec![]));
    let json = |length: usize| format!("\"{}\"", "x".repeat(length - 2)).into_bytes();
    let room = whole - "{\"body-json\":,".len() - TAIL.len();
    let (answer, stored) = post(&Event::new(QUEUE, &json(room)).text()).await;
    assert_eq!((answer, stored[0].1.len()), (success(), whole));
    assert_eq!(post(&Event::new(QUEUE, &json(room + 1)).text()).await, (large.clone(), vec![]));
    // about 780 KB of binary
    assert_eq!(post(&Event::new(QUEUE, &vec![0xff; 780_000]).text()).await.0, success());
    assert_eq!(post(&Event::new(QUEUE, &vec![0xff; 790_000]).text()).await, (large, vec![]));
}

#[tokio::test]
async fn four_megabytes_reach_s3_whole() {
    let body: Vec<u8> =
        (0..4_700_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (answer, stored) = post(&Event::new("s3://bucket", &body).text()).await;
    assert_eq!(answer, success());
    assert!(stored[0].1 == body);
}

#[tokio::test]
async fn the_token_is_checked_before_all_else() {
    let event = Event::new("s3://bucket?format=ndjson", b"no json")
        .with("app", "../")
        .with("bucket", "../");
    assert_eq!(
        post(&event.clone().with("token", "wrong").text()).await,
        (fail(401, "Invalid token provided"), vec![])
    );
    assert_eq!(
        post(&event.clone().with("token", " ").text()).await,
        (fail(400, "No token provided"), vec![])
    );
    let app = fail(400, "app must be 1 to 64 letters, digits, dots, underscores and dashes");
    assert_eq!(post(&event.clone().text()).await, (app, vec![]));
    assert_eq!(
        post(&event.clone().with("app", "x").text()).await,
        (fail(400, "bucket is not allowed on this route"), vec![])
    );
    assert_eq!(
        post(&event.with("app", "x").with("bucket", "").text()).await,
        (fail(400, "The body is not valid JSON"), vec![])
    );
}

#[tokio::test]
async fn token_none_comes_from_the_destination_alone() {
    let path = format!("/bucket/SendGrid_1700000000000_{ID}");
    let stored = vec![(path, b"{}".to_vec())];
    for token in ["", "wrong", TOKEN] {
        assert_eq!(
            post(&Event::new("s3://bucket?token=none", b"{}").with("token", token).text()).await,
            (success(), stored.clone())
        );
    }
    let shut = format!("sha256:{}", "0".repeat(64));
    for (token, valid, answer) in [
        (TOKEN, TOKEN, success()),
        (TOKEN, VALID, success()),
        (TOKEN, &*format!("{shut},{VALID}:99999999999"), success()),
        (TOKEN, &*format!("{VALID}:1700000000"), fail(401, "Invalid token provided")),
        (TOKEN, &shut, fail(401, "Invalid token provided")),
        (TOKEN, "", fail(401, "Invalid token provided")),
        ("none", "none", success()),
        ("none", VALID, fail(401, "Invalid token provided")),
    ] {
        let (got, stored) = post(
            &Event::new("s3://bucket", b"{}").with("token", token).with("validToken", valid).text(),
        )
        .await;
        assert_eq!(
            (got, stored.len()),
            (answer.clone(), usize::from(answer == success())),
            "{token} {valid}"
        );
    }
}

#[tokio::test]
async fn app_and_bucket_name_the_object_within_what_the_route_allows() {
    let app = fail(400, "app must be 1 to 64 letters, digits, dots, underscores and dashes");
    let bucket = fail(400, "bucket is not allowed on this route");
    let event = Event::new("s3://bucket/own/?allow=acme-archive/teamA&allow=whole", b"{}");
    for (field, value, expected) in [
        ("app", "a.B_c-9", Ok("bucket/own/a.B_c-9")),
        ("app", "", Ok("bucket/own/input")),
        ("bucket", "", Ok("bucket/own/SendGrid")),
        ("bucket", "bucket", Ok("bucket/own/SendGrid")),
        ("bucket", "bucket/", Ok("bucket/own/SendGrid")),
        ("bucket", "bucket/own", Ok("bucket/own/SendGrid")),
        ("bucket", "bucket/own/x", Ok("bucket/own/x/SendGrid")),
        ("bucket", "bucket/other", Err(&bucket)),
        ("bucket", "bucket/ownx", Err(&bucket)),
        ("bucket", "acme-archive/teamA", Ok("acme-archive/teamA/SendGrid")),
        ("bucket", "acme-archive/teamA/", Ok("acme-archive/teamA/SendGrid")),
        ("bucket", "acme-archive/teamA/2024", Ok("acme-archive/teamA/2024/SendGrid")),
        ("bucket", "acme-archive", Err(&bucket)),
        ("bucket", "acme-archive/teamB", Err(&bucket)),
        ("bucket", "acme-archive/teamA/../teamB", Err(&bucket)),
        ("bucket", "whole", Ok("whole/SendGrid")),
        ("bucket", "whole/any/path", Ok("whole/any/path/SendGrid")),
        ("bucket", "else", Err(&bucket)),
        ("bucket", TOKEN, Err(&bucket)),
        ("app", TOKEN, Err(&app)),
        ("app", "a/b", Err(&app)),
        ("app", "é", Err(&app)),
        ("app", &"x".repeat(65), Err(&app)),
        ("app", " ", Err(&app)),
    ] {
        let expected = match expected {
            Ok(path) => (success(), vec![(format!("/{path}_1700000000000_{ID}"), b"{}".to_vec())]),
            Err(answer) => (answer.clone(), vec![]),
        };
        assert_eq!(
            post(&event.clone().with(field, value).text()).await,
            expected,
            "{field}={value}"
        );
    }
    // a prefix that ends within a name is no path
    let event = Event::new("s3://bucket/SendGrid_", b"{}");
    assert_eq!(
        post(&event.clone().with("bucket", "bucket").text()).await.1[0].0,
        format!("/bucket/SendGrid_SendGrid_1700000000000_{ID}")
    );
    assert_eq!(post(&event.with("bucket", "bucket/SendGrid_").text()).await, (bucket, vec![]));
}

/// Where no token is asked for, whoever sends one all the same may put it into any parameter.
#[tokio::test]
async fn a_token_of_the_stage_as_app_or_bucket_is_refused_and_not_logged() {
    let app = fail(400, "app must be 1 to 64 letters, digits, dots, underscores and dashes");
    let bucket = fail(400, "bucket is not allowed on this route");
    let shut = format!("sha256:{}", "0".repeat(64));
    for valid in [
        VALID,
        TOKEN,
        &*format!("{shut},{VALID}:1700000000"),
        &*format!("{shut}:9,{VALID}:99999999999"),
    ] {
        let event = |token: &str| {
            Event::new("s3://bucket?token=none", b"{}")
                .with("validToken", valid)
                .with("token", token)
        };
        for sent in ["", "another"] {
            for (field, value, answer) in [
                ("app", TOKEN.to_string(), &app),
                ("bucket", TOKEN.into(), &bucket),
                ("bucket", format!("bucket/{TOKEN}"), &bucket),
                ("bucket", format!("bucket/a/{TOKEN}/b"), &bucket),
            ] {
                // `post` looks for the token in the log
                let (got, stored) = post(&event(sent).with(field, value.as_str()).text()).await;
                assert_eq!((&got, stored.len()), (answer, 0), "{field}={value} {valid}");
            }
        }
        for (field, value) in
            [("app", "left-token-0123456789"), ("bucket", "bucket/left-token-0123456789")]
        {
            assert_eq!(post(&event("").with(field, value).text()).await.0, success());
        }
    }
    // an old token beside the one that is sent
    let both = format!("{VALID}:99999999999,new-token-0123456789");
    let event = Event::new("s3://bucket", b"{}")
        .with("validToken", both)
        .with("token", "new-token-0123456789");
    assert_eq!(post(&event.clone().with("app", TOKEN).text()).await, (app, vec![]));
    assert_eq!(post(&event.text()).await.0, success());
}

#[tokio::test]
async fn without_an_app_the_path_s_last_part_is_it() {
    let event = Event::new("s3://bucket", b"{}").without("app");
    for (path, app) in [
        ("/callbacks/events", "events"),
        ("/", "root"),
        ("/a:b,c", "a_b_c"),
        ("/x/{id+}", "_id__"),
        (&*format!("/{}", "y".repeat(80)), &*"y".repeat(64)),
    ] {
        let (_, stored) = post(&event.clone().with("path", path).text()).await;
        assert_eq!(stored[0].0, format!("/bucket/{app}_1700000000000_{ID}"));
    }
}

#[tokio::test]
async fn a_time_that_is_no_time_is_the_functions_own() {
    for time in [
        json!("x"),
        json!(-1),
        json!(1.5),
        json!(17),
        json!(99_999_999_999_999_u64),
        json!(null),
        json!([]),
    ] {
        let (_, stored) = post(&Event::new("s3://bucket", b"{}").with("time", time).text()).await;
        let time: u64 = stored[0].0.split('_').nth(1).unwrap().parse().unwrap();
        assert!((1_750_000_000_000..9_999_999_999_999).contains(&time));
    }
}

#[tokio::test]
async fn an_envelope_has_the_headers_but_not_those_that_open_doors() {
    let headers = json!({
        "AUTHORIZATION": "Bearer x", "cookie": "y", "Cookie2": "kept", "X-GitHub-Event": "push", "Empty": "", "Uni": "é\u{1f600}\"\\\u{0}\u{ffff}",
    });
    let text = Event::new(QUEUE, b"{}").with("headers", headers).text();
    // a lone surrogate, and a name twice: the later one counts
    let text = text.replacen(
        "\"headers\":{",
        "\"headers\":{\"Empty\":\"first\",\"L\\ud800\":\"\\udfff\",",
        1,
    );
    let (answer, stored) = post(&text).await;
    assert_eq!(answer, success());
    let envelope: serde_json::Value = serde_json::from_slice(&stored[0].1).unwrap();
    let expected = json!({"Cookie2": "kept", "X-GitHub-Event": "push", "Empty": "", "Uni": "é\u{1f600}\"\\\u{0}\u{ffff}", "L\u{fffd}": "\u{fffd}"});
    assert_eq!(
        envelope,
        json!({"body-json": {}, "http-headers": expected, "path": "/input", "app": "SendGrid", "time": 1_700_000_000_000_u64, "id": ID})
    );
    assert_eq!(String::from_utf8(stored[0].1.clone()).unwrap().matches("Empty").count(), 1);
}

#[tokio::test]
async fn the_content_type_is_kept_where_a_header_can_hold_it() {
    for (headers, format, expected) in [
        (
            json!({"content-type": " text/plain; charset=latin-1 "}),
            "",
            "text/plain; charset=latin-1",
        ),
        (
            json!({"CONTENT-TYPE": "multipart/form-data; boundary=xYzZY"}),
            "",
            "multipart/form-data; boundary=xYzZY",
        ),
        (json!({"Content-Type": "a/b", "content-type": "c/d"}), "", "c/d"),
        (json!({}), "", "application/json"),
        (json!({"content-type": ""}), "", "application/json"),
        (json!("odd"), "", "application/json"),
        (json!({"content-type": "a/b\r\nx-evil: 1"}), "", "application/octet-stream"),
        (json!({"content-type": "text/é"}), "", "application/octet-stream"),
        (json!({"content-type": "x".repeat(2000)}), "", "application/octet-stream"),
        (json!({"content-type": "text/plain"}), "?format=ndjson", "application/x-ndjson"),
        (json!({"content-type": "text/plain"}), "?format=envelope", "application/json"),
    ] {
        let server = Server::new([ok()]);
        let event =
            Event::new(&format!("s3://bucket{format}"), b"[]").with("headers", headers).text();
        assert_eq!(json(&run(&server.sinks(), &event).await.answer.unwrap()), success());
        assert_eq!(server.requests()[0].header("content-type"), Some(expected));
    }
}

#[tokio::test]
async fn a_probe_stores_nothing_and_says_what_arrived() {
    let bytes: Vec<u8> = (0..=255).collect();
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let right =
        json!({"status": 200, "answer": {"result": "probe", "sha256": sha256, "length": 256}});
    let wrong = json!({"status": 401, "answer": {"result": "fail", "reason": "Invalid token provided", "sha256": sha256, "length": 256}});
    for destination in
        ["s3://bucket", "s3://bucket?format=ndjson", QUEUE, &format!("{QUEUE}?format=body")]
    {
        let probe = Event::new(destination, &bytes)
            .with("headers", json!({"X-ROUTETO-Probe": "1"}))
            .with("app", "../")
            .with("bucket", "../");
        assert_eq!(post(&probe.clone().text()).await, (right.clone(), vec![]));
        assert_eq!(
            post(&probe.clone().with("token", "wrong").text()).await,
            (wrong.clone(), vec![])
        );
        assert_eq!(
            post(&probe.with("token", "").text()).await,
            (fail(400, "No token provided"), vec![])
        );
    }
    let broken = Event::new("", &bytes).with("headers", json!({"x-routeto-probe": ""})).text();
    assert_eq!(error(&broken).await.error_type, "UnreadableEvent");
}

#[tokio::test]
async fn a_missing_or_unreadable_destination_is_our_fault_but_opens_nothing() {
    for (destination, message) in [
        ("", "the event's destination can't be read: the destination is empty"),
        ("s3://", "the event's destination can't be read: `` is no bucket's name"),
        (
            "s3://bucket?token=none&x=y",
            "the event's destination can't be read: the destination has the unknown setting `x`",
        ),
        (
            "s3://bucket?token=none&token=none",
            "the event's destination can't be read: the destination has `token` twice",
        ),
    ] {
        let event = Event::new(destination, b"{}");
        assert_eq!(
            error(&event.text()).await,
            FunctionError { error_type: "UnreadableEvent", error_message: message.into() }
        );
        assert_eq!(
            post(&event.clone().with("token", "wrong").text()).await,
            (fail(401, "Invalid token provided"), vec![])
        );
        assert_eq!(
            post(&event.with("token", "").text()).await,
            (fail(400, "No token provided"), vec![])
        );
    }
    for (event, message) in [
        (
            Event::new("", b"").without("destination").without("bucket").text(),
            "the event has no destination",
        ),
        (
            Event::new("s3://bucket", b"").with("body", "no base64!").text(),
            "the event's body is not base64",
        ),
        (
            Event::new("s3://bucket", b"").with("body", "AA").text(),
            "the event's body is not base64",
        ),
        (
            Event::new("s3://bucket", b"").with("body", "AB==").text(),
            "the event's body is not base64",
        ),
        (
            Event::new("s3://bucket", b"").with("body", "AA==\n").text(),
            "the event's body is not base64",
        ),
        (
            Event::new("s3://bucket", b"").with("body-raw", "").text(),
            "the event has more than one of `body`, `body-json` and `body-raw`",
        ),
        (
            r#"{"queue_url":"","body-json":{}}"#.into(),
            "the event's `queue_url` is no URL of a queue: is the stage variable set?",
        ),
    ] {
        assert_eq!(
            error(&event).await,
            FunctionError { error_type: "UnreadableEvent", error_message: message.into() }
        );
    }
}

#[tokio::test]
async fn what_is_no_event_is_our_fault_and_is_not_shown() {
    for event in [
        "",
        "null",
        "[]",
        "\"x\"",
        "{",
        "{\"a\":1}x",
        "{\"token\":\"secret-of-somebody\"",
        "[{\"token\":\"secret-of-somebody\"}]",
    ] {
        let error = error(event).await;
        assert_eq!(error.error_type, "UnreadableEvent");
        assert!(!error.error_message.contains("secret"), "{}", error.error_message);
    }
    let server = Server::new([ok()]);
    let latin1 = common::invocation(std::time::Duration::from_secs(1));
    let error = routeto_function::handle(b"{\"a\":\"\xe9\"}", &latin1, &server.sinks())
        .await
        .answer
        .unwrap_err();
    assert_eq!(
        error.error_message,
        "the event is not UTF-8: invalid utf-8 sequence of 1 bytes from index 6"
    );
}

#[tokio::test]
async fn the_log_has_one_line_with_the_record_s_place() {
    let server = Server::new([ok()]);
    let line = |handled: routeto_function::Handled| {
        serde_json::from_str::<serde_json::Value>(&handled.log).unwrap()
    };
    let log = line(run(&server.sinks(), &Event::new("s3://bucket/p/", b"abc").text()).await);
    assert!(log["timestamp"].as_str().unwrap().ends_with('Z'));
    let about = |rest: serde_json::Value| {
        let mut all = json!({"timestamp": log["timestamp"], "requestId": ID, "path": "/input", "sourceIp": "192.0.2.1"});
        all.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        all
    };
    let stored = format!("s3://bucket/p/SendGrid_1700000000000_{ID}");
    assert_eq!(
        log,
        about(
            json!({"level": "INFO", "message": "stored", "status": 200, "stored": stored, "bytes": 3})
        )
    );
    let mut log = line(
        run(&server.sinks(), &Event::new("s3://bucket/p/", b"abc").with("token", "wrong").text())
            .await,
    );
    log["timestamp"] = about(json!({}))["timestamp"].clone();
    assert_eq!(
        log,
        about(json!({"level": "WARN", "message": "Invalid token provided", "status": 401}))
    );
}

/// Custom templates may mix: a destination of ours with a recipe's body.
#[tokio::test]
async fn a_destination_takes_the_recipes_bodies_too() {
    let event = Event::new("s3://bucket", b"").without("body");
    assert_eq!(post(&event.clone().with("body-raw", "AP8=").text()).await.1[0].1, [0, 255]);
    let json = event.text().replacen('{', "{\"body-json\": [1.50, {} ],", 1);
    assert_eq!(post(&json).await.1[0].1, b"[1.50, {} ]");
    assert_eq!(post(&event.text()).await.1[0].1, b"");
}

#[tokio::test]
async fn recipe_two_with_a_token_checks_it() {
    let server = Server::new([sqs_ok()]);
    let event = |token: &str| {
        format!(
            "{{\"queue_url\":\"{QUEUE}\",\"token\":\"{token}\",\"validToken\":\"{VALID}\",\"body-json\":{{}}}}"
        )
    };
    assert_eq!(run(&server.sinks(), &event("wrong")).await.answer.unwrap().status, 401);
    // broken by a caller so that the token could not be read
    assert_eq!(run(&server.sinks(), &event("\"")).await.answer.unwrap().status, 400);
    assert_eq!(server.requests().len(), 0);
    let handled = routeto_function::handle(
        event(TOKEN).as_bytes(),
        &common::invocation(std::time::Duration::from_secs(5)),
        &server.sinks(),
    )
    .await;
    assert_eq!(handled.answer.unwrap().status, 200);
}

#[tokio::test]
async fn a_template_that_calls_the_tokens_keys_otherwise_opens_nothing() {
    let event = |destination: &str| {
        json!({"path": "/input", "time": 1_700_000_000_000_u64, "auth": "x", "secret": VALID, "destination": destination, "body": "e30="})
            .to_string()
    };
    assert_eq!(post(&event("s3://bucket")).await, (fail(400, "No token provided"), vec![]));
    // it says itself that nobody is asked
    assert_eq!(post(&event("s3://bucket?token=none")).await.1.len(), 1);
}
