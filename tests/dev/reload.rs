//! The stack file and its templates change while it serves.

use crate::harness::{Dev, JSON, Place};
use crate::support::http::post;
use crate::support::query;
use serde_json::Value;
use std::thread::sleep;
use std::time::{Duration, Instant};

const YAML: &str = r#"
stack: change
routes:
  /one:
    s3: { bucket: "change-${stage}" }
    templates: { application/json: own.vtl }
stages:
  dev: {}
"#;

const TEMPLATE: &str = r#"{"token": "$input.params().querystring.get('token')", "validToken": "$stageVariables.validToken", "app": "APP", "destination": "$destination", "body": "$util.base64Encode($input.body)"}"#;

fn place() -> Place {
    let place = Place::new(YAML);
    place.file("own.vtl", TEMPLATE.replace("APP", "first"));
    place
}

fn key(dev: &Dev) -> String {
    let key = dev.object(&dev.store("dev", "/one", JSON, b"{}")).0;
    key.split('_').next().unwrap().to_owned()
}

/// Until it is so: a change takes a moment to be seen.
fn until(what: &str, dev: &Dev, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}:\n{}", dev.log());
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_changed_template_and_a_new_route_and_stage_are_served_without_a_restart() {
    let place = place();
    let dev = place.dev();
    assert_eq!(key(&dev), "first");
    place.file("own.vtl", TEMPLATE.replace("APP", "second"));
    until("the new template", &dev, || key(&dev) == "second");
    place.file(
        "stack.yaml",
        YAML.replace(
            "/one:",
            "/two:\n    token: none\n    sqs: { queue: \"two-${stage}\" }\n  /one:",
        ) + "  prod: {}\n",
    );
    let two = format!("{}/prod/two", dev.base());
    until("the new stage", &dev, || post(&two, JSON, b"{}").status == 200);
    assert_eq!(dev.receive("two-prod").len(), 1);
    // The new stage has a token of its own, and the old one keeps its.
    let tokens: Value =
        serde_json::from_slice(&std::fs::read(place.path().join(".routeto/tokens.json")).unwrap())
            .unwrap();
    let prod =
        format!("{}/prod/one{}", dev.base(), query(&[("token", tokens["prod"].as_str().unwrap())]));
    assert_eq!(post(&prod, JSON, b"{}").status, 200);
    assert_eq!(key(&dev), "second");
}

/// Reading it would wait for a writer.
#[cfg(unix)]
#[test]
fn a_template_that_becomes_a_pipe_is_refused_and_not_waited_for() {
    let place = place();
    let dev = place.dev();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(place.path().join("pipe"))
            .status()
            .unwrap()
            .success()
    );
    std::fs::rename(place.path().join("pipe"), place.path().join("own.vtl")).unwrap();
    dev.event("warning", |event| {
        event["text"].as_str().is_some_and(|text| text.contains("`own.vtl` is not a regular file"))
    });
    assert_eq!(key(&dev), "first");
    place.file("own.vtl", TEMPLATE.replace("APP", "second"));
    until("the new template", &dev, || key(&dev) == "second");
}

#[test]
fn while_the_file_is_broken_the_last_good_one_goes_on_and_what_is_wrong_is_told() {
    let place = place();
    let dev = place.dev();
    place.file("stack.yaml", YAML.replace("routes:", "rutes:"));
    let told = dev.event("warning", |event| {
        event["text"].as_str().is_some_and(|text| text.contains("rutes"))
    });
    let text = told["text"].as_str().unwrap();
    assert!(
        text.contains("unknown key `rutes`")
            && text.contains("stack.yaml:3:1")
            && text.contains("did you mean `routes`"),
        "{text}"
    );
    assert_eq!(key(&dev), "first");
    let overview = || dev.overview();
    assert!(overview()["problem"].as_str().unwrap().contains("rutes"), "{}", overview());
    place.file("own.vtl", TEMPLATE.to_owned() + "#if(");
    place.file("stack.yaml", YAML);
    let refused = |event: &Value| {
        event["text"].as_str().is_some_and(|text| {
            text.contains("own.vtl:1:") && text.contains("the last good one goes on")
        })
    };
    dev.event("warning of the template", refused);
    assert_eq!(key(&dev), "first");
    std::fs::remove_file(place.path().join("own.vtl")).unwrap();
    dev.event("warning of the missing file", |event| {
        event["text"].as_str().is_some_and(|text| text.contains("there is no mapping template"))
    });
    place.file("own.vtl", TEMPLATE.replace("APP", "third"));
    until("the mended template", &dev, || key(&dev) == "third");
    assert_eq!(overview()["problem"], Value::Null);
}

#[test]
fn a_stack_file_that_is_gone_is_told_as_such_and_read_once_it_is_back() {
    let place = place();
    let dev = place.dev();
    std::fs::remove_file(place.path().join("stack.yaml")).unwrap();
    let told = dev.event("warning", |event| {
        event["event"] == "warning"
            && event["text"].as_str().is_some_and(|text| text.contains("gone"))
    });
    assert_eq!(
        told["text"],
        "stack.yaml is gone; what it held last goes on being served\n  = help: put it back, and it is read again"
    );
    assert_eq!(key(&dev), "first");
    place.file("own.vtl", TEMPLATE.replace("APP", "second"));
    place.file("stack.yaml", YAML);
    until("the file that is back", &dev, || key(&dev) == "second");
}

#[test]
fn what_somebody_set_on_a_queue_outlives_a_change_of_the_stack_file_and_a_new_start() {
    const QUEUE: &str = "stack: kept\nroutes:\n  /mail:\n    sqs: { queue: \"mail-${stage}\" }\nstages:\n  dev: {}\n";
    let place = Place::new(QUEUE);
    let dev = place.dev();
    let url = format!("{}/123456789012/mail-dev", dev.endpoint());
    let own = |dev: &Dev| dev.attributes("mail-dev")["VisibilityTimeout"].clone();
    dev.sqs(
        "SetQueueAttributes",
        &serde_json::json!({"QueueUrl": url, "Attributes": {"VisibilityTimeout": "300"}}),
    );
    place.file(
        "stack.yaml",
        QUEUE.replace(
            "queue: \"mail-${stage}\"",
            "queue: \"mail-${stage}\", dead_letter: { queue: \"dead-${stage}\", after: 3 }",
        ),
    );
    until("the redrive policy", &dev, || dev.attributes("mail-dev")["RedrivePolicy"].is_string());
    assert_eq!(own(&dev), "300");
    assert_eq!(dev.stop(), Some(0));
    assert_eq!(own(&place.dev()), "300");
}

#[test]
fn a_renamed_stack_is_found_by_test_and_another_region_wants_a_new_start() {
    let place = place();
    let dev = place.dev();
    place.file("stack.yaml", YAML.replace("stack: ", "stack: new-"));
    let note = place.path().join(".routeto/dev.json");
    until("the new name", &dev, || std::fs::read_to_string(&note).unwrap().contains("new-"));
    place.file("stack.yaml", YAML.replace("stack: ", "region: eu-west-1\nstack: new-"));
    dev.event("warning", |event| {
        event["text"].as_str().is_some_and(|text| text.contains("region: it has changed"))
    });
    assert_eq!(key(&dev), "first");
    assert_eq!(dev.stop(), Some(0));
    assert!(!note.exists());
}

/// A checkout of another branch, or a generator, removes a directory and makes it again.
#[test]
fn a_directory_that_is_removed_and_made_again_is_followed_again() {
    let place = Place::new("");
    let write = |app: &str| {
        place.file("stacks/own.yaml", YAML.replace("own.vtl", "../templates/a/own.vtl"));
        place.file("templates/a/own.vtl", TEMPLATE.replace("APP", app));
    };
    write("first");
    let mut command = place.command("--port 0 --output json --show-token");
    let args: Vec<String> = command
        .get_args()
        .map(|arg| arg.to_str().unwrap().replace("stack.yaml", "stacks/own.yaml"))
        .collect();
    command = {
        let mut other = std::process::Command::new(command.get_program());
        other
            .args(args)
            .env_clear()
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        other.current_dir(place.path()).stdin(std::process::Stdio::null());
        other.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        other
    };
    let dev = Dev::of(command);
    assert_eq!(key(&dev), "first");
    // Both are gone long enough to be missed.
    for name in ["stacks", "templates"] {
        std::fs::remove_dir_all(place.path().join(name)).unwrap();
    }
    dev.event("warning", |event| {
        event["text"].as_str().is_some_and(|text| text.contains("own.yaml is gone"))
    });
    write("second");
    until("the directories that are back", &dev, || key(&dev) == "second");
    place.file("templates/a/own.vtl", TEMPLATE.replace("APP", "third"));
    until("a change in a directory that is back", &dev, || key(&dev) == "third");
    // Too soon to be missed: another directory is in the old one's place at once.
    std::fs::rename(place.path().join("templates"), place.path().join("old")).unwrap();
    write("fourth");
    place.file(
        "stacks/own.yaml",
        YAML.replace("own.vtl", "../templates/a/own.vtl") + "  prod: {}\n",
    );
    until("the directory in the old one's place", &dev, || key(&dev) == "fourth");
    place.file("templates/a/own.vtl", TEMPLATE.replace("APP", "fifth"));
    until("a change in it", &dev, || key(&dev) == "fifth");
}
