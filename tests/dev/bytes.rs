//! What is stored is what was sent, byte for byte.

use crate::harness::{Dev, JSON, Place};
use crate::support::multipart;
use serde_json::{Value, json};

const YAML: &str = r#"
stack: bytes
routes:
  /raw:
    s3: { bucket: "bytes-${stage}", prefix: raw/ }
  /any:
    accept: [application/json, text/plain, application/x-www-form-urlencoded, multipart/form-data, application/octet-stream]
    s3: { bucket: "bytes-${stage}", prefix: any/ }
  /lines:
    s3: { bucket: "bytes-${stage}", format: ndjson }
  /mail:
    accept: [multipart/form-data]
    sqs: { queue: "mail-${stage}" }
  /plain:
    accept: [application/json, text/plain]
    sqs: { queue: "plain-${stage}", format: body }
stages:
  prod: {}
"#;

fn stored(dev: &Dev, route: &str, media: &str, body: &[u8]) -> (String, Vec<u8>) {
    let (_, kept, bytes) = dev.object(&dev.store("prod", route, media, body));
    (kept, bytes)
}

#[test]
fn every_byte_value_and_every_kind_of_body_is_stored_as_it_was_sent() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    for media in [
        "application/octet-stream",
        "text/plain",
        "text/plain; charset=iso-8859-1",
        "multipart/form-data; boundary=x",
    ] {
        assert_eq!(stored(&dev, "/any", media, &all), (media.to_owned(), all.clone()));
    }
    for body in
        [&b"name=Zo%EB&text=d\xe9j\xe0+vu&plus=%2B"[..], b"a=1&a=2&=&&b", b"\xff\xfe\x00\x80", b""]
    {
        assert_eq!(stored(&dev, "/any", "application/x-www-form-urlencoded", body).1, body);
    }
    let mail = multipart::mail(4_000_000);
    assert!(stored(&dev, "/any", multipart::CONTENT_TYPE, &mail).1 == mail);
    let texts = [
        "\"\u{e9}\u{20ac}\u{1f600}\u{2028}\u{feff}\u{fffd}\u{10f7ff}\"".to_owned(),
        "  [ 1.50 , 1e5 , -0 , 1E400, 0.1000000000000000055511151231257827 ]\r\n".to_owned(),
        r#"{"a":"\\\"\/\b\f\n\r\t\u0000\ud83d\ude00","'":"$input.body ${x} #set($a=1)"}"#
            .to_owned(),
        "null".to_owned(),
        format!("\"{}\"", "\\\"'".repeat(3000)),
        "{\"a\": NaN, 'b': undefined,}".to_owned(),
        "\u{1}\u{7f}<>&".to_owned(),
        format!("[{}]", vec!["{\"x\":1.50}"; 70_000].join(",")),
    ];
    for text in texts {
        assert_eq!(String::from_utf8(stored(&dev, "/raw", JSON, text.as_bytes()).1).unwrap(), text);
    }
    // API Gateway shows templates an empty JSON body as `{}`.
    assert_eq!(stored(&dev, "/raw", JSON, b"").1, b"{}");
    assert_eq!(stored(&dev, "/lines", JSON, b"[{\"a\":1.50},\n 2]").1, b"{\"a\":1.50}\n2\n");
}

#[test]
fn a_queue_gets_the_exact_bytes_in_base64_or_the_posted_text_alone() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let mail = multipart::mail(600_000);
    dev.store("prod", "/mail", multipart::CONTENT_TYPE, &mail);
    let envelope: Value = serde_json::from_str(&dev.only_message("mail-prod")).unwrap();
    assert!(crate::support::aws::from_base64(envelope["body-raw"].as_str().unwrap()) == mail);
    assert_eq!(envelope["http-headers"]["content-type"], multipart::CONTENT_TYPE);
    dev.store("prod", "/plain", "text/plain", "Grüße\u{1f600}\n".as_bytes());
    assert_eq!(dev.only_message("plain-prod"), "Grüße\u{1f600}\n");
    let refused = dev.post("prod", "/plain", "text/plain", b"a\x00b");
    let expected =
        json!({"result": "fail", "reason": "The body has characters that the queue does not take"});
    assert_eq!((refused.status, refused.json()), (400, expected));
    assert_eq!(dev.receive("plain-prod"), [] as [String; 0]);
}
