//! Each line of README's table of answers, over HTTP.

use crate::harness::{Dev, JSON, Place};
use crate::support::http::{Answer, Raw, get, post_with};
use crate::support::stack::stored;
use crate::support::{multipart, query};
use serde_json::{Value, json};

pub const YAML: &str = r#"
stack: hooks
routes:
  /input:
    s3: { bucket: "hooks-${stage}", prefix: in/, allow: ["archive/teamA"] }
  /queue:
    sqs: { queue: "hooks-${stage}", dead_letter: { queue: "a-dead-${stage}", after: 5 } }
  /mail:
    accept: [multipart/form-data]
    sqs: { queue: "mail-${stage}" }
  /any:
    accept: [application/json, text/plain, application/octet-stream, image/png]
    s3: { bucket: "hooks-${stage}" }
  /open:
    token: none
    sqs: { queue: "open-${stage}" }
  /theirs:
    s3: { bucket: theirs, existing: true }
stages:
  dev: { throttle: { rate: 1, burst: 3 } }
  prod: {}
"#;

fn row(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.json())
}

fn fail(status: u16, reason: &str) -> (u16, Value) {
    (status, json!({"result": "fail", "reason": reason}))
}

fn says(status: u16, message: &str) -> (u16, Value) {
    (status, json!({ "message": message }))
}

#[test]
fn a_stored_post_gets_200_and_its_id_and_the_headers_of_api_gateway() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let answer = dev.post("prod", "/input", JSON, b"{\"a\":1.50}");
    let id = stored(&answer);
    assert_eq!(answer.header("content-type"), Some(JSON));
    let request = answer.header("x-amzn-requestid").unwrap();
    assert!(request.len() == 36 && request != id, "{request}");
    assert!(answer.header("x-amz-apigw-id").unwrap().ends_with('='));
    assert!(answer.header("x-amzn-trace-id").unwrap().starts_with("Root=1-"));
    let (key, media, body) = dev.object(&id);
    assert!(key.starts_with("in/input_") && key.ends_with(&id), "{key}");
    assert_eq!((media.as_str(), body), (JSON, b"{\"a\":1.50}".to_vec()));
    let event = dev.event("request", |event| event["event"] == "request");
    let expected = ("prod", "/input", "POST", "/input", 200, 10, Value::Null);
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    let seen = (
        text("stage"),
        text("route"),
        text("method"),
        text("path"),
        event["status"].as_u64().unwrap(),
        event["bytes"].as_u64().unwrap(),
        event["why"].clone(),
    );
    assert_eq!(seen, expected, "{event:#}");
}

#[test]
fn each_refusal_has_the_status_and_the_words_that_aws_would_give() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let right = dev.token("prod");
    let to = |route: &str, more: &str, media: &str, body: &[u8]| {
        post_with(&format!("{}{more}", dev.url("prod", route)), &[("content-type", media)], body)
    };
    let token = format!("?token={right}");
    let missing = says(400, "Missing required request parameters: [token]");
    for query in ["", "?token=", "?token=%20", "?Token=x"] {
        assert_eq!(row(&to("/input", query, JSON, b"{}")), missing, "{query}");
    }
    assert_eq!(to("/open", "", JSON, b"{}").status, 200);
    for wrong in [
        "?token=x",
        &format!("?token={}", dev.token("dev")),
        &format!("?token={}", right.to_uppercase()),
    ] {
        assert_eq!(
            row(&to("/input", wrong, JSON, b"{}")),
            fail(401, "Invalid token provided"),
            "{wrong}"
        );
    }
    let bad_app = fail(400, "app must be 1 to 64 letters, digits, dots, underscores and dashes");
    assert_eq!(row(&to("/input", &format!("{token}&app=a/b"), JSON, b"{}")), bad_app);
    assert_eq!(
        row(&to("/input", &format!("{token}&bucket=other"), JSON, b"{}")),
        fail(400, "bucket is not allowed on this route")
    );
    assert_eq!(to("/input", &format!("{token}&bucket=archive/teamA"), JSON, b"{}").status, 200);
    assert_eq!(
        row(&to("/input", &token, "text/plain", b"{}")),
        says(415, "Unsupported Media Type")
    );
    let nowhere =
        post_with(&format!("{}/prod/nowhere", dev.base()), &[("content-type", JSON)], b"{}");
    assert_eq!(row(&nowhere), says(403, "Missing Authentication Token"));
    assert_eq!(
        row(&get(&dev.url_with("prod", "/input", &[])).unwrap()),
        says(403, "Missing Authentication Token")
    );
    let unknown =
        post_with(&format!("{}/prd/input{token}", dev.base()), &[("content-type", JSON)], b"{}");
    assert_eq!(row(&unknown), says(403, "Forbidden"));
    assert_eq!(unknown.header("x-amzn-errortype"), Some("ForbiddenException"));
    let mail = to("/mail", &token, multipart::CONTENT_TYPE, &multipart::mail(1_000_000));
    assert_eq!(row(&mail), fail(413, "The body is larger than the destination takes"));
    assert_eq!(
        row(&to("/input", &token, JSON, &vec![b' '; 5_000_000])),
        says(413, "Request Too Long")
    );
    let large = to("/input", &token, JSON, &vec![b' '; 10 * 1024 * 1024 + 1]);
    assert_eq!(
        (large.status, large.text().as_str()),
        (413, "HTTP content length exceeded 10485760 bytes.")
    );
    assert_eq!(
        dev.keys("hooks-prod").unwrap(),
        [] as [String; 0],
        "nothing that was refused is stored"
    );
}

#[test]
fn over_its_throttle_a_route_answers_503_with_retry_after_and_another_route_goes_on() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let answers: Vec<Answer> = (0..8).map(|_| dev.post("dev", "/input", JSON, b"{}")).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses[..3], [200; 3], "the burst");
    let refused = answers
        .iter()
        .find(|answer| answer.status != 200)
        .unwrap_or_else(|| panic!("one a second: {statuses:?}"));
    assert_eq!(row(refused), fail(503, "too many requests, try again later"));
    assert_eq!(
        (refused.header("retry-after"), refused.header("x-amzn-errortype")),
        (Some("5"), Some("TooManyRequestsException"))
    );
    assert_eq!(dev.post("dev", "/queue", JSON, b"{}").status, 200);
    assert_eq!(dev.post("prod", "/input", JSON, b"{}").status, 200);
}

#[test]
fn a_destination_that_is_gone_is_our_fault_503_and_the_provider_retries() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let endpoint = dev.endpoint().to_owned();
    let delete = |bucket: &str| {
        let mut raw = Raw::post(&format!("{endpoint}/{bucket}"));
        raw.method = "DELETE".into();
        raw.send().unwrap().status
    };
    assert_eq!(delete("hooks-prod"), 204);
    let answer = dev.post("prod", "/input", JSON, b"{}");
    assert_eq!(
        (answer.status, answer.json()["reason"].clone()),
        (503, json!("temporarily unavailable"))
    );
    let event = dev.event("request", |event| event["status"] == 503);
    let why = event["why"].as_str().unwrap();
    assert!(why.starts_with("the function failed: there is no bucket hooks-prod"), "{why}");
}

#[test]
fn the_buckets_and_queues_of_every_stage_are_there_before_the_first_request() {
    let place = Place::new(YAML);
    let dev = place.dev();
    for bucket in ["hooks-dev", "hooks-prod", "archive", "theirs"] {
        assert_eq!(dev.keys(bucket).as_deref(), Some(&[] as &[String]), "{bucket}");
    }
    assert_eq!(dev.keys("hooks"), None);
    let queue = dev.attributes("hooks-prod");
    assert_eq!(
        (&queue["MessageRetentionPeriod"], &queue["MaximumMessageSize"]),
        (&json!("604800"), &json!("1048576"))
    );
    let policy: Value = serde_json::from_str(queue["RedrivePolicy"].as_str().unwrap()).unwrap();
    assert_eq!(
        policy,
        json!({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:a-dead-prod", "maxReceiveCount": 5})
    );
    assert_eq!(dev.attributes("a-dead-prod")["MessageRetentionPeriod"], "1209600");
}

#[test]
fn a_queue_gets_an_envelope_with_the_header_names_as_they_were_sent() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let right = dev.token("prod");
    let raw = dev
        .raw("prod", "/queue")
        .query(&format!("?token={right}&app=hub"))
        .header("X-GitHub-EVENT", "push")
        .body("{\"n\":1.50}");
    let id = stored(&raw.send().unwrap());
    let message = dev.only_message("hooks-prod");
    assert!(message.starts_with(r#"{"body-json":{"n":1.50},"#), "{message}");
    let envelope: Value = serde_json::from_str(&message).unwrap();
    assert_eq!(
        (&envelope["id"], &envelope["app"], &envelope["path"]),
        (&json!(id), &json!("hub"), &json!("/queue"))
    );
    let headers = &envelope["http-headers"];
    let host = dev.base().strip_prefix("http://").unwrap();
    assert_eq!(
        (&headers["X-GitHub-EVENT"], &headers["Host"], &headers["X-Forwarded-For"]),
        (&json!("push"), &json!(host), &json!("127.0.0.1"))
    );
    assert_eq!(headers["Content-Length"], Value::Null);
    let event = dev.event("request", |event| event["stored"].is_string());
    assert!(event["stored"].as_str().unwrap().starts_with("sqs hooks-prod "), "{event}");
}

#[test]
fn an_answer_is_json_whatever_the_caller_accepts() {
    let place = Place::new(YAML);
    let dev = place.dev();
    for accept in [
        "*/*",
        "text/html",
        "application/octet-stream",
        "image/png, application/json",
        "multipart/form-data",
    ] {
        let url = dev.url_with("prod", "/any", &[]);
        let answer = post_with(&url, &[("content-type", "text/plain"), ("accept", accept)], b"x");
        stored(&answer);
        assert_eq!(answer.header("content-type"), Some(JSON), "{accept}");
    }
}

#[test]
fn a_probe_is_answered_with_the_bodys_digest_and_stored_nowhere() {
    let place = Place::new(YAML);
    let dev: Dev = place.dev();
    let headers = [("content-type", "application/octet-stream"), ("x-routeto-probe", "1")];
    let answer = post_with(
        &(dev.url("prod", "/any") + &query(&[("token", &dev.token("prod"))])),
        &headers,
        b"\x00\xffabc",
    );
    // printf '\0\377abc' | sha256sum
    let sha256 = "24397706eb32f8691116fe4728d18eda7eacc40925e0ae26a5780cd8b8b13f80";
    assert_eq!(row(&answer), (200, json!({"result": "probe", "sha256": sha256, "length": 5})));
    assert_eq!(dev.keys("hooks-prod").unwrap(), [] as [String; 0]);
}
