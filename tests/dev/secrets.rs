//! Tokens: whatever a caller sends for one, and wherever, no log, no file and no page has it.

use crate::harness::{Dev, JSON, Place, directory};
use crate::support::hostile::encode;
use crate::support::http::{self, Raw};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const YAML: &str = r#"
stack: secrets
routes:
  /input:
    s3: { bucket: "secrets-${stage}" }
  /own:
    s3: { bucket: "secrets-${stage}" }
    templates: { application/json: own.vtl }
  /recipe:
    s3: { bucket: "secrets-${stage}" }
    templates: { application/json: recipe.vtl }
  /open:
    token: none
    s3: { bucket: "secrets-${stage}" }
stages:
  dev: {}
  prod: {}
"#;

/// A token in as many spellings as a template can make.
const OWN: &str = r#"#set($token = $input.params('token'))
{"token": "$util.escapeJavaScript($token).replaceAll("\\'","'")", "validToken": "$stageVariables.validToken",
"url": "$util.urlEncode($token)", "base64": "$util.base64Encode($token)", "both": "$util.urlEncode($util.base64Encode($token))",
"twice": "$util.escapeJavaScript($util.escapeJavaScript($token)).replaceAll("\\'","'")",
"query": "$util.base64Encode($input.params().querystring)", "headers": "$util.base64Encode($input.params().header)",
"path": "/own", "app": "", "destination": "$destination", "body": "$util.base64Encode($input.body)"}"#;

const RECIPE: &str = r#"{"bucket": "", "app": "", "token": "$input.params('token')", "validToken": "$stageVariables.validToken", "body": $input.json('$')}"#;

fn start() -> (Place, Dev) {
    let place = Place::new(YAML);
    place.file("own.vtl", OWN);
    place.file("recipe.vtl", RECIPE);
    let dev = place.dev();
    (place, dev)
}

/// An exchange, once it is in the journal: its line of log comes a moment before.
fn exchange(dev: &Dev, id: usize) -> Value {
    crate::support::soon("the exchange", || {
        let answer = dev.api(&format!("requests/{id}"));
        (answer.status == 200).then(|| answer.json())
    })
}

/// Its line in the list.
fn listed(dev: &Dev, id: u64) -> Value {
    let list = dev.api("requests").json();
    list["requests"].as_array().unwrap().iter().find(|summary| summary["id"] == id).unwrap().clone()
}

/// All that is kept below a directory.
fn kept(directory: &std::path::Path) -> String {
    let mut kept = String::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        kept += &format!("{}\n", path.display());
        if path.is_dir() {
            kept += &self::kept(&path);
        } else if path.file_name().is_some_and(|name| name != "tokens.json") {
            kept += &String::from_utf8_lossy(&std::fs::read(&path).unwrap());
        }
    }
    kept
}

/// The texts within a JSON value.
fn leaves(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(out.insert(text.clone())),
        Value::Array(list) => list.iter().for_each(|value| leaves(value, out)),
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            out.insert(key.clone());
            leaves(value, out);
        }),
        _ => {}
    }
}

/// A text, and what it is when percent signs, escapes and base64 are taken off it, in any order.
fn unfolded(text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::from([text.to_owned()]);
    for _ in 0..3 {
        for text in all.clone() {
            let query = text.replace('+', " ");
            for text in [&text, &query] {
                let bytes = text.as_bytes();
                let (mut plain, mut at) = (vec![], 0);
                while at < bytes.len() {
                    let byte = text
                        .get(at + 1..at + 3)
                        .filter(|_| bytes[at] == b'%')
                        .and_then(|hex| u8::from_str_radix(hex, 16).ok());
                    plain.push(byte.unwrap_or(bytes[at]));
                    at += if byte.is_some() { 3 } else { 1 };
                }
                all.insert(String::from_utf8_lossy(&plain).into_owned());
            }
            if let Ok(value) = serde_json::from_str(&text) {
                leaves(&value, &mut all);
            }
            if let Ok(Value::String(text)) =
                serde_json::from_str(&format!("\"{}\"", text.replace("\\'", "'")))
            {
                all.insert(text);
            }
            for run in text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c))) {
                all.extend(
                    BASE64_STANDARD
                        .decode(run)
                        .ok()
                        .and_then(|bytes| String::from_utf8(bytes).ok()),
                );
            }
        }
    }
    all
}

#[test]
fn no_spelling_of_a_wrong_token_is_logged_kept_or_shown() {
    let (place, dev) = start();
    let tokens = [
        "plain-wrong-token-0123",
        "with/slashes/and'quotes'",
        "say \"hi\" + more & = ?",
        "gehéim-日本-😀-token",
        "back\\slash\\\\twice",
        "line\nand\ttab and\u{7f}",
        "percent%41%2F%252F-signs",
        "$util.escapeJavaScript('x')",
        "</script><b>bold</b>",
        "eyJhbGciOiJub25lIn0=",
        "\\\\\\\\\\\\\\\\\\\\",
        "12345678",
    ];
    let mut wanted = 0;
    for token in tokens {
        let word = encode(token.as_bytes());
        for route in ["/input", "/own", "/recipe"] {
            let url = dev.url("prod", route);
            let page = format!("{url}?token={word}");
            let raw =
                Raw::post(&url).header("Content-Type", JSON).header("Referer", page).body("{}");
            let raw = raw.query(&format!("?token={word}&copy={word}&{word}=1"));
            let status = raw.send().unwrap().status;
            assert!([400, 401].contains(&status), "{token} at {route}: {status}");
            wanted += 1;
        }
    }
    let requests = || dev.api("requests").json()["requests"].as_array().unwrap().clone();
    crate::support::soon("the last request", || (requests().len() == wanted).then_some(()));
    let mut shown = BTreeSet::new();
    leaves(&dev.api("requests").json(), &mut shown);
    let mut events = 0;
    for id in 1..=wanted {
        let exchange = exchange(&dev, id);
        events += usize::from(exchange["event"].as_str().is_some_and(|event| event.contains('…')));
        leaves(&exchange, &mut shown);
    }
    assert!(
        events >= wanted - tokens.len(),
        "{events} of {wanted} have an event with a masked token"
    );
    let (log, kept) = (dev.log(), kept(&directory(&place)));
    let unfolded: BTreeSet<String> = shown.iter().flat_map(|text| unfolded(text)).collect();
    for token in tokens {
        let json = json!(token).to_string();
        for spelling in [
            token,
            &encode(token.as_bytes()),
            json.trim_matches('"'),
            &BASE64_STANDARD.encode(token),
        ] {
            assert!(!log.contains(spelling), "{token} in the log, as {spelling}");
            assert!(!kept.contains(spelling), "{token} in a file, as {spelling}");
        }
        let found = unfolded.iter().find(|text| text.contains(token));
        assert_eq!(found, None, "{token} is shown");
    }
}

#[test]
fn a_token_too_short_to_be_masked_anywhere_is_masked_where_it_stands_as_the_token() {
    let (_place, dev) = start();
    for (n, token) in ["x", "a/b", "it's", "é", "\"", "%41"].into_iter().enumerate() {
        let word = encode(token.as_bytes());
        let url = dev.url("prod", "/input");
        let raw = Raw::post(&url)
            .header("Content-Type", JSON)
            .header("Referer", format!("{url}?token={word}&a=b"))
            .body("{}");
        assert_eq!(
            raw.query(&format!("?token={word}&app=input")).send().unwrap().status,
            401,
            "{token}"
        );
        let exchange = exchange(&dev, n + 1);
        let event: Value = serde_json::from_str(exchange["event"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&event["token"], &event["app"]),
            (&json!("…"), &json!("input")),
            "{token}: {event:#}"
        );
        assert_eq!(exchange["request"]["query"], json!([["app", "input"]]), "{token}");
        let headers = exchange["request"]["headers"].as_array().unwrap();
        assert!(
            headers.contains(&json!(["Referer", format!("{url}?token=…&a=b")])),
            "{token}: {headers:#?}"
        );
    }
}

#[test]
fn a_right_token_in_a_wrong_place_is_not_shown_either() {
    let (place, dev) = start();
    let tokens = [dev.token("prod"), dev.token("dev")];
    for token in &tokens {
        let url = dev.url("prod", "/open");
        let escaped: String = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for query in [
            format!("?app={token}"),
            format!("?app={escaped}"),
            format!("?bucket={token}"),
            format!("?{token}=x"),
            format!("?x={escaped}"),
        ] {
            let raw = Raw::post(&url)
                .query(&query)
                .header("Content-Type", JSON)
                .header("X-Custom", &escaped)
                .body("{}");
            raw.send().unwrap();
        }
        Raw::post(&format!("{}/{token}/{escaped}", dev.base()))
            .header("Content-Type", JSON)
            .body("{}")
            .send()
            .unwrap();
    }
    let mut shown: String = (1..=12).map(|id| exchange(&dev, id).to_string()).collect();
    shown += &dev.api("requests").json().to_string();
    let journal = kept(&directory(&place).join("journal"));
    for token in &tokens {
        let escaped: String = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for spelling in [token, &escaped] {
            assert!(!dev.log().contains(spelling), "in the log: {}", dev.log());
            assert!(!journal.contains(spelling), "in the journal");
            assert!(!shown.contains(spelling), "on the page");
        }
    }
    // In the list and by itself, of each stage's token.
    assert_eq!(shown.matches("\"path\":\"/…/…\"").count(), 4);
}

/// A part of a token would be found by no mask.
#[test]
fn a_token_as_the_bodys_coding_is_not_shown_in_part_either() {
    let (place, dev) = start();
    let token = dev.token("prod");
    for coding in [token.clone(), format!("br, {token}"), format!("{token}, gzip, {token}")] {
        let raw = Raw::post(&dev.url("prod", "/input")).header("Content-Type", JSON);
        assert_eq!(raw.header("Content-Encoding", coding).body("{}").send().unwrap().status, 415);
    }
    let shown: String = (1..=3).map(|id| exchange(&dev, id).to_string()).collect();
    let (log, journal) = (dev.log(), kept(&directory(&place).join("journal")));
    for (place, text) in [("log", &log), ("page", &shown), ("journal", &journal)] {
        for part in [&token[..30], &token[token.len() - 30..]] {
            assert!(!text.contains(part), "in the {place}: {text}");
        }
    }
    assert!(shown.contains("Content-Encoding of more than 40 characters"), "{shown}");
}

#[test]
fn a_refused_token_is_explained() {
    let (_place, dev) = start();
    let post = |token: &str| {
        let raw = Raw::post(&dev.url("prod", "/input"))
            .query(&format!("?token={token}"))
            .header("Content-Type", JSON);
        assert_eq!(raw.body("{}").send().unwrap().status, 401);
    };
    post(&dev.token("dev"));
    post("nobody's");
    let why = |id: u64| dev.event("the request", |event| event["id"] == id)["why"].clone();
    let now = "use the URL that `routeto dev --show-token` prints when it starts";
    assert_eq!(
        why(1),
        json!(format!("this is the token of stage dev, and the request went to stage prod: {now}"))
    );
    assert_eq!(why(2), json!(format!("the token isn't stage prod's: {now}")));
}

#[test]
fn a_path_without_a_stage_is_told_as_it_came_and_sent_again_as_it_came() {
    let (_place, dev) = start();
    let mut statuses = vec![];
    for (method, path) in
        [("POST", "/input?a=1"), ("GET", "/"), ("GET", "/favicon.ico"), ("POST", "/nostage/input")]
    {
        let mut raw = Raw::post(&format!("{}{path}", dev.base())).header("Content-Type", JSON);
        raw.method = method.into();
        statuses.push(raw.send().unwrap().status);
    }
    assert_eq!(statuses, [403; 4]);
    let event = |id: u64| dev.event("the request", |event| event["id"] == id);
    let told = |id: u64| {
        json!([event(id)["stage"], event(id)["method"], event(id)["path"], event(id)["why"]])
    };
    assert_eq!(
        told(1),
        json!([null, "POST", "/input", "there is no such stage: did you mean /dev/input?"])
    );
    assert_eq!(told(2), json!([null, "GET", "/", "there is no such stage"]));
    assert_eq!(told(3), json!([null, "GET", "/favicon.ico", "there is no such stage"]));
    assert_eq!(told(4), json!([null, "POST", "/nostage/input", "there is no such stage"]));
    exchange(&dev, 1);
    let first = listed(&dev, 1);
    assert_eq!((&first["stage"], &first["path"]), (&json!(""), &json!("/input?a=1")));

    // From the page: the same path, and marked as what it is.
    let again = json!({"stage": "", "method": "POST", "path": "/input", "query": [["a", "1"]], "headers": [], "body": "", "with_token": false, "again": {"of": 1, "edited": false}});
    let headers = [
        ("origin", dev.base()),
        ("x-routeto-inspector", "1"),
        ("x-routeto-key", dev.key()),
        ("content-type", JSON),
    ];
    let answer = http::post_with(
        &format!("{}/_routeto/api/send", dev.base()),
        &headers,
        again.to_string().as_bytes(),
    );
    assert_eq!((answer.status, answer.json()), (200, json!({"id": 5})));
    assert_eq!(told(5), told(1));
    let exchange = exchange(&dev, 5);
    assert_eq!(
        (&exchange["again"], &exchange["request"]["path"]),
        (&json!({"of": 1, "edited": false}), &json!("/input"))
    );
    assert_eq!(listed(&dev, 5)["again"], json!({"of": 1, "edited": false}));
}
