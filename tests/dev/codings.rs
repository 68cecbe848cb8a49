//! Content codings: what is stored is the inflated body, and what can't be inflated is refused.

use crate::harness::{Dev, JSON, Place};
use crate::support::http::{Answer, post_with};
use crate::support::stack;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

const YAML: &str = r#"
stack: coded
routes:
  /raw:
    accept: [application/json, text/plain, multipart/form-data]
    s3: { bucket: "coded-${stage}", prefix: raw/ }
  /lines:
    s3: { bucket: "coded-${stage}", prefix: lines/, format: ndjson }
  /queue:
    sqs: { queue: "coded-${stage}", format: body }
stages:
  prod: {}
"#;

const EVENTS: &[u8] =
    b"[{\"event\":\"open\",\"n\":1.50},\r\n {\"text\":\"\xc3\xbc \xe2\x82\xac\"}]";

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(vec![], Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(vec![], Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn post(dev: &Dev, route: &str, media: &str, coding: &str, body: &[u8]) -> Answer {
    post_with(
        &dev.url_with("prod", route, &[]),
        &[("content-type", media), ("content-encoding", coding)],
        body,
    )
}

#[test]
fn a_coded_body_is_stored_inflated_and_what_is_not_in_its_coding_is_stored_nowhere() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let all: Vec<u8> = (0..=255).collect();
    for (route, media, coding, sent, kept) in [
        ("/raw", JSON, "gzip", gzip(EVENTS), EVENTS),
        ("/raw", JSON, "GZIP", gzip(EVENTS), EVENTS),
        ("/raw", JSON, "deflate", zlib(EVENTS), EVENTS),
        ("/raw", JSON, "identity", EVENTS.to_vec(), EVENTS),
        ("/raw", JSON, "", EVENTS.to_vec(), EVENTS),
        ("/raw", JSON, "gzip", [gzip(&EVENTS[..9]), gzip(&EVENTS[9..])].concat(), EVENTS),
        // Of a binary type, too.
        ("/raw", "text/plain", "gzip", gzip(&all), &all),
        ("/raw", "multipart/form-data; boundary=x", "deflate", zlib(&all), &all),
        ("/lines", JSON, "gzip", gzip(b"[{\"a\":1.50},2]"), b"{\"a\":1.50}\n2\n"),
    ] {
        let id = stack::stored(&post(&dev, route, media, coding, &sent));
        assert_eq!(dev.object(&id).2, kept, "{coding} as {media} on {route}");
    }
    stack::stored(&post(&dev, "/queue", JSON, "gzip", &gzip(EVENTS)));
    assert_eq!(dev.only_message("coded-prod").as_bytes(), EVENTS);

    let stored = dev.keys("coded-prod").unwrap().len();
    let gzipped = gzip(EVENTS);
    for (coding, body) in [
        ("gzip", EVENTS),
        ("gzip", b""),
        ("gzip", &gzipped[..gzipped.len() - 1]),
        ("gzip", &[&gzipped[..], b"more"].concat()),
        ("deflate", &raw_deflate(EVENTS)),
        ("deflate", &gzipped),
        ("br", &gzipped),
        ("br", EVENTS),
        ("zstd", EVENTS),
        ("x-gzip", &gzipped),
        ("gzip, gzip", &gzip(&gzipped)),
        ("utf-8", EVENTS),
    ] {
        for media in [JSON, "text/plain"] {
            let answer = post(&dev, "/raw", media, coding, body);
            let said = (
                answer.status,
                answer.header("x-amzn-errortype").unwrap_or_default().to_owned(),
                answer.text(),
            );
            let wanted = (
                415,
                "BadRequestException".to_owned(),
                r#"{"message":"Unsupported Media Type"}"#.to_owned(),
            );
            assert_eq!(said, wanted, "{coding} as {media}: {}", String::from_utf8_lossy(body));
        }
    }
    // 40 KB that become 40 MB.
    let bomb = gzip(&vec![b' '; 40 << 20]);
    assert!(bomb.len() < 64 << 10);
    let answer = post(&dev, "/raw", JSON, "gzip", &bomb);
    assert_eq!(
        (answer.status, answer.text()),
        (413, r#"{"message":"Request Too Long"}"#.to_owned())
    );
    assert_eq!(dev.keys("coded-prod").unwrap().len(), stored);
    let refused = dev.event("a refusal", |event| {
        event["why"].as_str().is_some_and(|why| why.contains("`Content-Encoding: br`"))
    });
    assert_eq!(refused["status"], 415);
}

fn routeto(place: &Place, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_routeto"));
    command
        .env_clear()
        .env("HOME", place.path())
        .current_dir(place.path())
        .args(words)
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn test_posts_one_sample_of_a_stage_gzipped_and_reads_it_back_inflated() {
    let place = Place::new(YAML);
    let _dev = place.dev();
    let (code, stdout, stderr) = routeto(&place, &["test", "stack.yaml", "--output", "json"]);
    assert_eq!(code, 0, "{stderr}");
    let said: Value = serde_json::from_str(&stdout).unwrap();
    let results = said["results"].as_array().unwrap();
    let gzipped: Vec<&Value> = results.iter().filter(|result| result["coding"] == "gzip").collect();
    assert_eq!(gzipped.len(), 1, "{said:#}");
    assert_eq!(
        (&gzipped[0]["ok"], &gzipped[0]["status"]),
        (&Value::Bool(true), &Value::from(200)),
        "{said:#}"
    );
    assert_eq!(gzipped[0]["provider"], "sendgrid-events");
    assert!(gzipped[0]["proof"].as_str().unwrap().starts_with("read back: "), "{said:#}");
    let (code, stdout, stderr) = routeto(&place, &["test", "stack.yaml", "--route", "/raw"]);
    assert_eq!((code, stdout.matches("gzip'd").count()), (0, 1), "{stdout}{stderr}");
}

#[test]
fn render_inflates_a_request_as_dev_does_and_says_what_is_wrong_with_its_coding() {
    let place = Place::new(YAML);
    let head =
        "POST /raw?token=t HTTP/1.1\nContent-Type: application/json\nContent-Encoding: gzip\n\n";
    place.file("request.http", [head.as_bytes(), &gzip(b"{\"n\":1.50}")].concat());
    let render = ["render", "stack.yaml", "--route", "/raw", "--request", "request.http"];
    let (code, stdout, stderr) = routeto(&place, &render);
    assert_eq!(code, 0, "{stderr}");
    let event: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(event["body"], "eyJuIjoxLjUwfQ==");
    assert_eq!(event["headers"]["Content-Encoding"], "gzip");
    place.file("request.http", [head.as_bytes(), b"{}"].concat());
    let (code, stdout, stderr) = routeto(&place, &render);
    assert_eq!((code, stdout.as_str()), (1, ""));
    for words in [
        "API Gateway answers 415 Unsupported Media Type",
        "the body isn't gzip",
        "Content-Encoding",
    ] {
        assert!(stderr.contains(words), "{words}: {stderr}");
    }
}
