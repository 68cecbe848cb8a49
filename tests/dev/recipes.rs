//! The published templates, unchanged.

use crate::harness::{JSON, Place, recipe};
use crate::support::http::post;
use crate::support::{multipart, query, stack};
use serde_json::{Value, json};

#[test]
fn the_published_template_of_recipe_one_does_its_job_unchanged() {
    let place = Place::new("stack: one\n");
    place.file("recipe.vtl", recipe("routeto-s3.vtl"));
    place.file(
        "stack.yaml",
        "stack: one\nroutes:\n  /input:\n    s3: { bucket: \"one-${stage}\", allow: [\"one-${stage}/routeToS3/SendGrid\"] }\n    \
         templates: { application/json: recipe.vtl }\nstages:\n  dev: {}\n  prod: { variables: { team: payments } }\n",
    );
    let dev = place.dev();
    let named = "one-prod/routeToS3/SendGrid";
    let answer = post(
        &dev.url_with("prod", "/input", &[("app", "SendGrid"), ("bucket", named)]),
        JSON,
        br#"{"message": "success"}"#,
    );
    let id = stack::stored(&answer);
    let (key, _, body) = dev.object(&id);
    assert!(key.starts_with("routeToS3/SendGrid/SendGrid_") && key.ends_with(&id), "{key}");
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!({"message": "success"}));
    for bad in ["\"", "x\",\n\"validToken\": \"x", "a\\"] {
        let answer =
            post(&dev.url_with("prod", "/input", &[("app", bad), ("bucket", named)]), JSON, b"{}");
        assert_eq!(answer.status, 400, "{bad:?}: {}", answer.text());
    }
    let wrong = post(
        &(dev.url("prod", "/input")
            + &query(&[("token", "wrong"), ("app", "a"), ("bucket", named)])),
        JSON,
        b"{}",
    );
    assert_eq!(
        (wrong.status, wrong.json()),
        (401, json!({"result": "fail", "reason": "Invalid token provided"}))
    );
    assert_eq!(dev.keys("one-prod").unwrap(), [key]);
    // dev's token opens nothing of prod's
    let other =
        post(&(dev.url("prod", "/input") + &query(&[("token", &dev.token("dev"))])), JSON, b"{}");
    assert_eq!(other.status, 401);
}

#[test]
fn the_published_templates_of_recipe_two_do_their_job_unchanged() {
    let place = Place::new("stack: two\n");
    place.file("json.vtl", recipe("sqs-json.vtl"));
    place.file("multipart.vtl", recipe("sqs-multipart.vtl"));
    place.file(
        "stack.yaml",
        r#"
stack: two
routes:
  /callbacks/events:
    token: none
    sqs: { queue: "two-${stage}" }
    templates: { application/json: json.vtl }
  /callbacks/inbound:
    token: none
    accept: [multipart/form-data]
    sqs: { queue: "two-${stage}" }
    templates: { multipart/form-data: multipart.vtl }
stages:
  prod: { variables: { appropriate_queue_url: "https://sqs.${region}.amazonaws.com/${account}/two-${stage}" } }
"#,
    );
    let dev = place.dev();
    assert_eq!(
        post(&dev.url("prod", "/callbacks/events"), JSON, "{\"text\":\"Grüße\"}".as_bytes()).status,
        200
    );
    let message: Value = serde_json::from_str(&dev.only_message("two-prod")).unwrap();
    assert_eq!(message["body-json"], json!({"text": "Grüße"}));
    assert_eq!(message["queue_url"], "https://sqs.us-east-1.amazonaws.com/123456789012/two-prod");
    let mail =
        "--xYzZY\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nGrüße\r\n--xYzZY--\r\n";
    assert_eq!(
        post(&dev.url("prod", "/callbacks/inbound"), multipart::CONTENT_TYPE, mail.as_bytes())
            .status,
        200
    );
    let message: Value = serde_json::from_str(&dev.only_message("two-prod")).unwrap();
    let base64 = |key: &str| {
        String::from_utf8(crate::support::aws::from_base64(message[key].as_str().unwrap())).unwrap()
    };
    assert_eq!(base64("body-raw"), mail);
    assert!(
        base64("http-headers").contains("content-type=multipart/form-data; boundary=xYzZY"),
        "{}",
        base64("http-headers")
    );
}

#[test]
fn the_stack_file_that_comes_with_routeto_is_served_as_it_is() {
    let place = Place::new(
        &std::fs::read_to_string(crate::support::root().join("stacks/routeto.yaml")).unwrap(),
    );
    let dev = place.dev();
    for stage in ["dev", "prod"] {
        for (route, media) in [
            ("/input", JSON),
            ("/callbacks/events", JSON),
            ("/callbacks/inbound", multipart::CONTENT_TYPE),
        ] {
            dev.store(stage, route, media, &multipart::mail(10));
        }
    }
    assert_eq!(dev.keys("webhooks-123456789012-us-east-1-prod").unwrap().len(), 1);
    assert_eq!(
        (dev.receive("sendgrid-events-dev").len(), dev.receive("inbound-mail-prod").len()),
        (1, 1)
    );
    // A burst of GitHub's, which never sends again what was throttled.
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..80)
            .map(|_| scope.spawn(|| dev.post("dev", "/input", JSON, b"{}").status))
            .collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; 80]);
}
