//! `routeto test`: providers' samples through a deployed stage, read back.

use crate::support::{Stack, aws, stack};
use serde_json::{Value, json};

const YAML: &str = r#"
stack: NAME
routes:
  /input:
    accept: [application/json, application/x-www-form-urlencoded, multipart/form-data]
    s3: { bucket: "NAME-${account}-${stage}", prefix: SendGrid/ }
  /lines:
    s3: { bucket: "NAME-${account}-${stage}", prefix: lines/, format: ndjson }
  /mail:
    accept: [multipart/form-data]
    sqs: { queue: "NAME-mail-${stage}" }
stages:
  dev: {}
"#;

/// The results without what differs from run to run: stage, route, provider, ok, status, the record's beginning, the proof.
fn results(said: &Value) -> Vec<Value> {
    let results = said["results"].as_array().unwrap().iter();
    results
        .map(|result| {
            let place = result["record"].as_str().map(|place| place.rsplit_once("_17").map_or(place, |(begin, _)| begin).to_owned());
            json!([result["stage"], result["route"], result["provider"], result["ok"], result["status"], place, result["proof"]])
        })
        .collect()
}

#[test]
fn samples_go_through_a_deployed_stage_and_what_is_stored_is_read_back() {
    let stack = Stack::new(YAML);
    let nowhere = stack.routeto("test", "").fails(1, &["isn't deployed", "routeto deploy"]);
    assert!(!nowhere.contains("panicked"));
    stack.deploy();
    let bucket = format!("{}-000000000000-dev", stack.name);
    let said = stack.routeto("test", "").json();
    assert_eq!((&said["version"], &said["stack"], &said["target"]), (&json!(1), &json!(stack.name), &json!("deployed")));
    let object = |prefix: &str| format!("s3://{bucket}/{prefix}/routeto-test");
    let queued = "queued: the answer has its id (not read back: that would take it from its consumers)";
    assert_eq!(
        results(&said),
        [
            json!(["dev", "/input", "sendgrid-events", true, 200, object("SendGrid"), "read back: the very bytes"]),
            json!(["dev", "/input", "twilio", true, 200, object("SendGrid"), "read back: the very bytes"]),
            json!(["dev", "/input", "sendgrid-inbound", true, 200, object("SendGrid"), "read back: the very bytes"]),
            json!(["dev", "/lines", "sendgrid-events", true, 200, object("lines"), "read back: a line for each element"]),
            json!(["dev", "/mail", "sendgrid-inbound", true, 200, format!("{}-mail-dev", stack.name), queued]),
        ]
    );
    // It is there, as its provider sent it.
    let place = said["results"][2]["record"].as_str().unwrap();
    let key = place.strip_prefix(&format!("s3://{bucket}/")).unwrap();
    let stored = aws::object(&bucket, key);
    assert!(key.ends_with(said["results"][2]["id"].as_str().unwrap()));
    assert!(stored.body.starts_with(b"--xYzZY\r\n") && stored.body.ends_with(b"\r\n--xYzZY--\r\n"));
    assert_eq!(aws::depth(&format!("{}-mail-dev", stack.name)), 1);

    for provider in ["github", "stripe", "shopify", "slack", "twilio"] {
        let said = stack.routeto("test", &format!("--route /input --provider {provider}")).json();
        assert_eq!(results(&said), [json!(["dev", "/input", provider, true, 200, object("SendGrid"), "read back: the very bytes"])]);
    }
    let text = stack.routeto("test", "--route /lines").check();
    assert!(text.stdout.starts_with("ok      dev  /lines  sendgrid-events  200 in "), "{}", text.stdout);

    // A token on stdin, and what can't be.
    let stdin = stack.routeto("test", "--route /lines --stage dev --token-stdin").without("ROUTETO_TOKEN_DEV").stdin(stack::token("dev"));
    assert_eq!(stdin.json()["results"][0]["ok"], json!(true));
    let none = stack.routeto("test", "").without("ROUTETO_TOKEN_DEV").fails(64, &["its token is needed", "set ROUTETO_TOKEN_DEV"]);
    assert!(!none.contains("answered"));
    let wrong = "another-Token_that-is-long.enough~";
    let shut = stack.routeto("test", "--route /lines").env("ROUTETO_TOKEN_DEV", wrong).secret(wrong);
    shut.fails(1, &["dev /lines as sendgrid-events: answered 401", "is the token the stage's?"]);
    stack.routeto("test", "--route /mail --provider github").fails(64, &["github posts application/json", "multipart/form-data"]);
    stack.routeto("test", "--route /nowhere").fails(64, &["has no route `/nowhere`"]);
    stack.routeto("test", "--stage nowhere").fails(64, &["has no stage `nowhere`"]);
    stack.teardown();
}
