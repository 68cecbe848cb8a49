//! What is ours to mend answers 503, so that the provider comes again, and nothing that was
//! answered 200 is missing.

use crate::support::{Deployed, Stack, aws, stack};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const YAML: &str = r#"
stack: NAME
routes:
  /input:
    s3: { bucket: "NAME-${stage}" }
  /events:
    sqs: { queue: "NAME-${stage}" }
stages:
  prod: {}
"#;

fn unavailable(deployed: &Deployed, route: &str) {
    let answer = deployed.post("prod", route, "application/json", b"{}");
    assert_eq!(
        (answer.status, answer.json()["result"].clone()),
        (503, json!("fail")),
        "{}",
        answer.text()
    );
    // neither Lambda's words nor S3's are the caller's business
    for word in ["AccessDenied", "NoSuchBucket", "arn:", "errorMessage", "Nonexistent"] {
        assert!(!answer.text().contains(word), "{}", answer.text());
    }
}

/// The function's log, once it has this word in it.
fn log_with(function: &str, word: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let log = aws::function_log(function);
        if log.contains(word) || Instant::now() > deadline {
            assert!(log.contains(word), "{word} in {log}");
            assert!(!log.contains(&stack::token("prod")), "the log has the token: {log}");
            return log;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_route_whose_bucket_was_taken_away_answers_503_until_a_deploy_brings_it_back() {
    let stack = Stack::new(YAML);
    let deployed = stack.deploy();
    let bucket = format!("{}-prod", stack.name);
    deployed.store("prod", "/input", "application/json", b"{\"n\":1}");
    aws::remove_bucket(&bucket);
    unavailable(&deployed, "/input");
    log_with(&format!("{}-prod", stack.name), "NoSuchBucket");
    let again = stack.deploy();
    assert_eq!(again.changes("created").as_array().map(Vec::len), Some(1), "{:#}", again.0);
    let id = deployed.store("prod", "/input", "application/json", b"{\"n\":2}");
    let object = aws::only_object(&bucket);
    assert!(object.key.contains(&id) && object.body == b"{\"n\":2}", "{object:?}");
}

#[test]
fn a_route_whose_role_lost_a_permission_answers_503_and_the_log_names_the_permission() {
    let stack = Stack::new(YAML);
    let deployed = stack.deploy();
    let name = format!("{}-prod", stack.name);
    let role = format!("{name}-us-east-1");
    deployed.store("prod", "/input", "application/json", b"{}");
    deployed.store("prod", "/events", "application/json", b"{}");
    let policies =
        aws::call("iam", "list_role_policies", json!({ "RoleName": role }))["PolicyNames"].clone();
    for policy in policies.as_array().unwrap() {
        aws::call("iam", "delete_role_policy", json!({"RoleName": role, "PolicyName": policy}));
    }
    unavailable(&deployed, "/input");
    unavailable(&deployed, "/events");
    log_with(&name, "s3:PutObject");
    log_with(&name, "sqs:SendMessage");
    stack.deploy();
    deployed.store("prod", "/input", "application/json", b"{}");
    deployed.store("prod", "/events", "application/json", b"{}");
    assert_eq!((aws::keys(&name).unwrap().len(), aws::depth(&name)), (2, 2));
}

#[test]
fn the_role_may_write_to_its_own_destinations_and_nowhere_else() {
    let stack = Stack::new(YAML);
    let deployed = stack.deploy();
    let world = stack.world();
    let policy = &world.role(&format!("{}-prod-us-east-1", stack.name))["inline"];
    let text = policy.to_string();
    let policies: Vec<&Value> = policy.as_object().unwrap().values().collect();
    assert_eq!(policies.len(), 1, "{text}");
    let mut actions: Vec<&str> = Vec::new();
    for statement in policies[0]["Statement"].as_array().unwrap() {
        match &statement["Action"] {
            Value::String(action) => actions.push(action),
            Value::Array(more) => actions.extend(more.iter().filter_map(Value::as_str)),
            other => panic!("{other}"),
        }
        assert_ne!(statement["Resource"], "*", "{text}");
    }
    actions.sort_unstable();
    assert_eq!(
        actions,
        ["logs:CreateLogStream", "logs:PutLogEvents", "s3:PutObject", "sqs:SendMessage"],
        "{text}"
    );
    deployed.store("prod", "/input", "application/json", b"{}");
}

#[test]
fn a_route_whose_queue_is_gone_answers_503_and_the_other_route_goes_on() {
    let stack = Stack::new(YAML);
    let deployed = stack.deploy();
    let name = format!("{}-prod", stack.name);
    aws::call("sqs", "delete_queue", json!({ "QueueUrl": aws::queue_url(&name).unwrap() }));
    unavailable(&deployed, "/events");
    deployed.store("prod", "/input", "application/json", b"{}");
    assert_eq!(aws::keys(&name).unwrap().len(), 1);
}

#[test]
fn nothing_that_was_answered_200_is_missing_while_a_permission_comes_and_goes() {
    let stack = Stack::new(YAML);
    let deployed = stack.deploy();
    let name = format!("{}-prod", stack.name);
    let role = format!("{name}-us-east-1");
    let policies =
        aws::call("iam", "list_role_policies", json!({ "RoleName": role }))["PolicyNames"].clone();
    let policy = policies[0].as_str().unwrap();
    let got = aws::call("iam", "get_role_policy", json!({"RoleName": role, "PolicyName": policy}));
    let document = got["PolicyDocument"]
        .as_str()
        .map_or_else(|| got["PolicyDocument"].to_string(), str::to_owned);
    let done = AtomicBool::new(false);
    let (many, some) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (stored, refused) = thread::scope(|scope| {
        let posts = scope.spawn(|| {
            let (mut stored, mut refused) = (BTreeSet::new(), 0);
            while !done.load(Ordering::Relaxed) {
                let answer = deployed.post("prod", "/input", "application/json", b"{}");
                match answer.status {
                    200 => {
                        assert!(stored.insert(stack::stored(&answer)));
                        many.fetch_add(1, Ordering::Relaxed);
                    }
                    503 => {
                        refused += 1;
                        some.fetch_add(1, Ordering::Relaxed);
                    }
                    other => panic!("{other}: {}", answer.text()),
                }
            }
            (stored, refused)
        });
        // until there were enough of both, however slow the machine is
        for round in 0..100 {
            if round >= 4 && many.load(Ordering::Relaxed) > 5 && some.load(Ordering::Relaxed) > 0 {
                break;
            }
            thread::sleep(Duration::from_millis(400));
            aws::call("iam", "delete_role_policy", json!({"RoleName": role, "PolicyName": policy}));
            thread::sleep(Duration::from_millis(400));
            aws::call(
                "iam",
                "put_role_policy",
                json!({"RoleName": role, "PolicyName": policy, "PolicyDocument": document}),
            );
        }
        done.store(true, Ordering::Relaxed);
        posts.join().unwrap()
    });
    let keys = aws::keys(&name).unwrap();
    assert!(stored.len() > 5 && refused > 0, "{} stored, {refused} refused", stored.len());
    for id in &stored {
        assert_eq!(
            keys.iter().filter(|key| key.ends_with(id.as_str())).count(),
            1,
            "{id} in {keys:?}"
        );
    }
}

#[test]
fn a_function_that_cannot_start_answers_503() {
    let stack = Stack::new(YAML);
    let deployed = stack.deploy();
    let name = format!("{}-prod", stack.name);
    // no concurrency at all: Lambda throttles every invocation
    aws::call(
        "lambda",
        "put_function_concurrency",
        json!({"FunctionName": name, "ReservedConcurrentExecutions": 0}),
    );
    let answer = deployed.post("prod", "/input", "application/json", b"{}");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(aws::keys(&name).unwrap(), [] as [String; 0]);
}
