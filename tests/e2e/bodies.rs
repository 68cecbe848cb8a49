//! What is stored is what was sent, byte for byte.

use crate::everything::everything;
use crate::support::{aws, fixture, multipart, post, query};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::thread;

const JSON: &str = "application/json";

/// All eleven event types, with numbers, spaces and escapes that no JSON library would print again
/// as they are.
fn batch() -> Vec<u8> {
    std::fs::read(fixture("sendgrid-events.json")).unwrap()
}

/// Events as SendGrid sends them, `count` in an array.
fn events(count: usize) -> Vec<u8> {
    let one = |i: usize| {
        format!(
            r#"{{"email":"user{i}@example.com","timestamp":{},"event":"delivered","sg_event_id":"id-{i}==","price":1.50,"n":1e5,"name":"Zoë 😀 \u00e9","x":"{}"}}"#,
            1_513_299_569 + i,
            "y".repeat(i % 50)
        )
    };
    format!("[{}]", (0..count).map(one).collect::<Vec<_>>().join(",\r\n")).into_bytes()
}

/// The largest batch that SendGrid sends.
fn largest() -> Vec<u8> {
    let mut body = events(4000);
    body.truncate(768 * 1024 - 4);
    let end = body.windows(3).rposition(|w| w == b"},\r").unwrap();
    body.truncate(end + 1);
    body.push(b']');
    body.resize(768 * 1024, b' ');
    assert!(serde_json::from_slice::<Value>(&body).is_ok());
    body
}

/// The exact text of `body-json` in an envelope.
fn body_json(envelope: &str) -> &str {
    let rest = envelope
        .strip_prefix(r#"{"body-json":"#)
        .unwrap_or_else(|| panic!("no body-json: {}", &envelope[..envelope.len().min(200)]));
    &rest[..rest.rfind(r#","http-headers":"#).unwrap()]
}

#[test]
fn all_eleven_event_types_of_sendgrid_are_stored_as_they_were_sent() {
    let all = everything();
    let id = all.store("/raw", JSON, &batch());
    let object = all.object("raw/", &id);
    assert_eq!(object.body, batch());
    assert_eq!(object.content_type, JSON);
    let time = object
        .key
        .strip_prefix("raw/raw_")
        .and_then(|rest| rest.strip_suffix(&format!("_{id}")))
        .unwrap();
    assert!(time.len() == 13 && time.bytes().all(|b| b.is_ascii_digit()), "{}", object.key);
}

#[test]
fn a_batch_of_one_and_one_of_a_thousand_events_are_stored_as_they_were_sent() {
    let all = everything();
    for count in [1, 1000] {
        let id = all.store("/raw", JSON, &events(count));
        assert_eq!(all.object("raw/", &id).body, events(count), "{count} events");
    }
}

#[test]
fn the_largest_batch_of_768_kb_goes_into_a_bucket_and_into_a_queue() {
    let all = everything();
    let id = all.store("/raw", JSON, &largest());
    assert!(all.object("raw/", &id).body == largest());
    all.store("/large", JSON, &largest());
    let message = aws::only_message(&all.queue("large"));
    assert!(body_json(&message.body).as_bytes() == largest());
}

#[test]
fn a_queue_gets_the_exact_text_of_the_json_and_the_headers_beside_it() {
    let all = everything();
    let url = all.deployed.url_with("prod", "/events", &[("app", "SendGrid")]);
    let headers = [
        ("content-type", JSON),
        ("X-GitHub-Event", "push"),
        ("authorization", "Bearer abc"),
        ("cookie", "a=b"),
    ];
    let answer = crate::support::http::post_with(&url, &headers, &batch());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.json()["id"].clone();
    let message = aws::only_message(&all.queue("events"));
    assert_eq!(body_json(&message.body).as_bytes(), batch(), "{}", message.body);
    let mut envelope: Value = serde_json::from_str(&message.body.replace("\\ud800", "?")).unwrap();
    let headers: Vec<(String, String)> = envelope["http-headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.as_str().unwrap().to_owned()))
        .collect();
    let header =
        |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    assert_eq!((header("x-github-event"), header("content-type")), (Some("push"), Some(JSON)));
    assert_eq!((header("authorization"), header("cookie")), (None, None));
    assert!(
        envelope["time"].as_u64().is_some_and(|time| time.to_string().len() == 13),
        "{envelope}"
    );
    for key in ["body-json", "http-headers", "time"] {
        envelope.as_object_mut().unwrap().remove(key);
    }
    assert_eq!(envelope, json!({"path": "/events", "app": "SendGrid", "id": id}));
}

#[test]
fn ndjson_is_an_event_a_line_with_its_numbers_untouched() {
    let all = everything();
    let id = all.store("/lines", JSON, &batch());
    let object = all.object("lines/", &id);
    let sent = String::from_utf8(batch()).unwrap();
    // the fixture has an event a line, so its lines without indent and comma are the elements'
    // exact texts
    let lines: Vec<&str> = sent
        .lines()
        .map(|line| line.trim().trim_end_matches(','))
        .filter(|line| line.starts_with('{'))
        .collect();
    assert_eq!(lines.len(), 11);
    assert_eq!(String::from_utf8(object.body).unwrap().lines().collect::<Vec<_>>(), lines);
}

#[test]
fn an_envelope_in_a_bucket_has_the_exact_text_too() {
    let all = everything();
    let id = all.store("/envelope", JSON, br#"{"price":1.50,"n":1e5}"#);
    let object = all.object("envelope/", &id);
    assert_eq!(body_json(std::str::from_utf8(&object.body).unwrap()), r#"{"price":1.50,"n":1e5}"#);
    let envelope: Value = serde_json::from_slice(&object.body).unwrap();
    assert_eq!(
        (&envelope["path"], &envelope["app"], &envelope["id"]),
        (&json!("/envelope"), &json!("envelope"), &json!(id))
    );
}

#[test]
fn a_mail_of_4_mb_with_a_png_and_a_latin_1_field_goes_into_a_bucket_as_it_was_sent() {
    let all = everything();
    let mail = multipart::mail(4_000_000);
    let id = all.store("/any", multipart::CONTENT_TYPE, &mail);
    let object = all.object("any/", &id);
    assert!(object.body == mail, "{} bytes of {}", object.body.len(), mail.len());
    assert_eq!(object.content_type, multipart::CONTENT_TYPE);
}

#[test]
fn a_mail_of_700_kb_goes_into_a_queue_as_it_was_sent() {
    let all = everything();
    let mail = multipart::mail(700_000);
    all.store("/mail", multipart::CONTENT_TYPE, &mail);
    let envelope = aws::only_message(&all.queue("mail")).json();
    assert!(aws::from_base64(envelope["body-raw"].as_str().unwrap()) == mail);
    let headers = envelope["http-headers"].as_object().unwrap();
    let content_type = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map(|(_, value)| value);
    assert_eq!(content_type, Some(&json!(multipart::CONTENT_TYPE)));
}

#[test]
fn a_mail_of_4_mb_is_too_large_for_a_queue_and_the_answer_says_so() {
    let all = everything();
    let answer = all.post("/big-mail", multipart::CONTENT_TYPE, &multipart::mail(4_000_000));
    assert_eq!(
        (answer.status, answer.json()),
        (413, json!({"result": "fail", "reason": "The body is larger than the destination takes"}))
    );
    assert_eq!(aws::depth(&all.queue("big-mail")), 0);
}

#[test]
fn a_form_in_latin_1_is_stored_as_it_was_sent() {
    let all = everything();
    for body in
        [&b"name=Zo%EB&text=d\xe9j\xe0+vu&plus=%2B"[..], b"a=1&a=2&=&&b", b"\xff\xfe\x00\x80"]
    {
        let id = all.store("/any", "application/x-www-form-urlencoded", body);
        assert_eq!(all.object("any/", &id).body, body);
    }
}

#[test]
fn every_byte_value_is_stored_as_it_was_sent() {
    let all = everything();
    let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    for content_type in [
        "application/octet-stream",
        "text/plain",
        "text/plain; charset=iso-8859-1",
        "multipart/form-data; boundary=x",
    ] {
        let id = all.store("/any", content_type, &bytes);
        let object = all.object("any/", &id);
        assert_eq!((object.body, object.content_type.as_str()), (bytes.clone(), content_type));
    }
}

#[test]
fn every_kind_of_utf_8_in_json_is_stored_as_it_was_sent() {
    let all = everything();
    let texts = [
        "\"\u{e9}\u{20ac}\u{1f600}\u{2028}\u{2029}\u{feff}\u{fffd}\u{10ffff}\"".to_owned(),
        "  [ 1.50 , 1e5 , -0 , 1E400, 0.1000000000000000055511151231257827 ]\r\n".to_owned(),
        r#"{"a":"\\\"\/\b\f\n\r\t\u0000\ud83d\ude00","'":"$input.body ${x} #set($a=1)"}"#
            .to_owned(),
        "null".to_owned(),
        "\"\"".to_owned(),
        "[]".to_owned(),
        format!("\"{}\"", "\\\"'".repeat(3000)),
        // not JSON at all: a bucket takes what comes
        "{\"a\": NaN, 'b': undefined,}".to_owned(),
        "\u{1}\u{7f}<>&".to_owned(),
    ];
    for text in texts {
        let id = all.store("/raw", JSON, text.as_bytes());
        assert_eq!(String::from_utf8(all.object("raw/", &id).body).unwrap(), text);
    }
}

#[test]
fn an_empty_body_is_stored_empty_and_as_braces_where_it_is_json() {
    let all = everything();
    let id = all.store("/raw", JSON, b"");
    // API Gateway shows templates an empty JSON body as `{}`
    assert_eq!(all.object("raw/", &id).body, b"{}");
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"]
    {
        let id = all.store("/any", content_type, b"");
        assert_eq!(all.object("any/", &id).body, b"", "{content_type}");
    }
    all.store("/empty", JSON, b"");
    let first = aws::only_message(&all.queue("empty")).json();
    all.store("/empty", "text/plain", b"");
    let second = aws::only_message(&all.queue("empty")).json();
    assert_eq!((&first["body-json"], &second["body-raw"]), (&json!({}), &json!("")));
}

#[test]
fn a_queue_of_format_body_gets_the_posted_text_alone() {
    let all = everything();
    all.store("/plain", JSON, br#" {"price": 1.50} "#);
    assert_eq!(aws::only_message(&all.queue("plain")).body, r#" {"price": 1.50} "#);
    all.store("/plain", "text/plain", "Grüße\u{1f600}\n".as_bytes());
    assert_eq!(aws::only_message(&all.queue("plain")).body, "Grüße\u{1f600}\n");
    let refused = all.post("/plain", "text/plain", b"a\x00b");
    assert_eq!(
        (refused.status, refused.json()),
        (
            400,
            json!({"result": "fail", "reason": "The body has characters that the queue does not take"})
        )
    );
    assert_eq!(aws::depth(&all.queue("plain")), 0);
}

#[test]
fn sixty_posts_at_once_are_sixty_records() {
    let all = everything();
    let url = all.deployed.url("prod", "/raw")
        + &query(&[("token", &crate::support::stack::token("prod")), ("app", "crowd")]);
    let ids: BTreeSet<String> = thread::scope(|scope| {
        let posts: Vec<_> = (0..60)
            .map(|i| {
                let url = &url;
                scope.spawn(move || {
                    crate::support::stack::stored(&post(
                        url,
                        JSON,
                        format!("{{\"i\":{i}}}").as_bytes(),
                    ))
                })
            })
            .collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 60);
    let keys = aws::keys(&all.bucket()).unwrap();
    let stored: BTreeSet<&str> = keys
        .iter()
        .filter(|key| key.starts_with("raw/crowd_"))
        .filter_map(|key| key.splitn(3, '_').nth(2))
        .collect();
    assert_eq!(stored, ids.iter().map(String::as_str).collect());
}
