//! Stages stand alone: what is done to dev is not felt on prod.

use crate::support::{Emulator, Proxy, Stack, aws, stack};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const YAML: &str = r#"
stack: NAME
routes:
  /input:
    s3: { bucket: "NAME-${stage}", prefix: in/ }
stages:
  dev: {}
  prod: {}
"#;

#[test]
fn dev_is_deployed_ten_times_while_every_post_to_prod_is_stored() {
    let stack = Stack::new(YAML);
    let deployed = stack.deploy();
    let before = stack.world();
    let done = AtomicBool::new(false);
    let stored: BTreeSet<String> = thread::scope(|scope| {
        let posts = scope.spawn(|| {
            let mut stored = BTreeSet::new();
            let mut next = Instant::now();
            while !done.load(Ordering::Relaxed) {
                let answer = deployed.post("prod", "/input", "application/json", b"{}");
                assert!(stored.insert(stack::stored(&answer)));
                next += Duration::from_millis(50);
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            stored
        });
        // whatever is wrong here, the posts have to end
        let deploys = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..10 {
                // each round another thing of dev's: the API, the function's memory, the
                // destination
                let yaml = YAML
                    .replace("prefix: in/", &format!("prefix: in{round}/"))
                    .replace(
                        "routes:",
                        &format!("function: {{ memory: {} }}\nroutes:", 128 + round),
                    )
                    .replace(
                        "/input:",
                        &format!("/input:\n    accept: [application/json, text/x-{round}]"),
                    );
                stack.rewrite(&yaml);
                stack.deploy_with("--stage dev");
                deployed.store("dev", "/input", &format!("text/x-{round}"), b"x");
            }
        }));
        done.store(true, Ordering::Relaxed);
        let stored = posts.join().unwrap();
        deploys.unwrap_or_else(|problem| std::panic::resume_unwind(problem));
        stored
    });
    let bucket = format!("{}-prod", stack.name);
    let keys = aws::keys(&bucket).unwrap();
    let found: BTreeSet<String> = keys
        .iter()
        .filter_map(|key| key.strip_prefix("in/")?.rsplit('_').next().map(str::to_owned))
        .collect();
    assert_eq!(found, stored);
    assert!(stored.len() > 50, "{} posts", stored.len());

    let after = stack.world();
    let prod = format!("{}-prod", stack.name);
    assert_eq!(after.stage("prod"), before.stage("prod"));
    assert_eq!(after.function(&prod), before.function(&prod));
    assert_eq!(after.role(&format!("{prod}-us-east-1")), before.role(&format!("{prod}-us-east-1")));
    let dev = aws::keys(&format!("{}-dev", stack.name)).unwrap();
    assert_eq!(dev.len(), 10, "{dev:?}");
}

#[test]
fn a_deploy_of_one_stage_makes_no_call_that_names_the_other() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    stack.deploy();
    stack.rewrite(
        &YAML
            .replace("prefix: in/", "prefix: other/")
            .replace("routes:", "function: { memory: 256 }\nroutes:"),
    );
    proxy.clear();
    stack.deploy_with("--stage dev");
    let prod = format!("{}-prod", stack.name);
    let touched: Vec<String> = proxy
        .calls()
        .iter()
        .filter(|call| {
            call.mutating
                && (call.path.contains(&prod)
                    || call.path.contains("/stages/prod")
                    || call.resource().contains(&prod))
        })
        .map(|call| format!("{call:?}"))
        .collect();
    assert_eq!(touched, [] as [String; 0]);
    // and the other stage's change is still to be done
    stack.routeto("plan", "--exit-code --stage dev").status(0).check();
    stack.routeto("plan", "--exit-code").status(2).check();
}

#[test]
fn a_stage_alone_can_be_made_and_torn_down() {
    let stack = Stack::new(YAML);
    let deployed = stack.deploy_with("--stage prod");
    assert_eq!(deployed.0["stages"].as_object().unwrap().keys().collect::<Vec<_>>(), ["prod"]);
    let world = stack.world();
    assert_eq!(world.api()["stages"].as_object().unwrap().keys().collect::<Vec<_>>(), ["prod"]);
    assert!(world.bucket(&format!("{}-dev", stack.name)).is_null());
    stack.deploy();
    let both = stack.world();
    stack.routeto("teardown", "--yes --delete-data --stage dev").json();
    let left = stack.world();
    assert_eq!(left.api()["stages"].as_object().unwrap().keys().collect::<Vec<_>>(), ["prod"]);
    assert!(left.names().iter().all(|name| !name.contains("-dev")), "{:?}", left.names());
    assert_eq!(left.stage("prod"), both.stage("prod"));
    deployed.store("prod", "/input", "application/json", b"{}");
    let status = stack.routeto("status", "").check().stdout;
    let newest = status.lines().skip_while(|line| *line != "history").nth(1).unwrap_or_default();
    assert!(newest.contains("Z torn down dev by "), "{status}");
    stack.teardown();
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

#[test]
fn code_api_and_destinations_of_a_stage_change_in_one_call() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    stack.deploy();
    stack.rewrite(
        &YAML
            .replace("prefix: in/", "prefix: other/")
            .replace("routes:", "function: { memory: 256 }\nroutes:")
            .replace("/input:", "/input:\n    accept: [application/json, text/plain]"),
    );
    proxy.clear();
    stack.deploy_with("--stage prod");
    let calls = proxy.calls();
    let updates: Vec<Value> = calls
        .iter()
        .filter(|call| call.name() == "apigateway:UpdateStage")
        .map(|call| call.json())
        .collect();
    assert_eq!(updates.len(), 1, "{updates:#?}");
    let paths: BTreeSet<&str> = updates[0]["patchOperations"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|patch| patch["path"].as_str())
        .collect();
    assert!(
        paths.contains("/deploymentId") && paths.contains("/variables/functionVersion"),
        "{paths:?}"
    );
    assert!(!paths.contains("/variables/validToken"), "{paths:?}");
    // never with a stage's name: that would reset the stage's settings
    let made: Vec<Value> = calls
        .iter()
        .filter(|call| call.name() == "apigateway:CreateDeployment")
        .map(|call| call.json())
        .collect();
    assert_eq!(made.len(), 1);
    assert!(made[0]["stageName"].is_null(), "{}", made[0]);
}

#[test]
fn a_stage_in_service_moves_to_a_new_destination_when_iam_has_had_ten_seconds() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    // five times as fast: ten seconds are two
    let deploy = || {
        proxy.clear();
        stack.routeto("deploy", "--stage prod").env("ROUTETO_TEST_SETTLE_CLOCK", "5").check()
    };
    let told = "waiting 10 s until IAM has applied role ";
    assert!(!deploy().stderr.contains(told), "nobody has the URL of a new stage");
    stack.rewrite(&YAML.replace("prefix: in/", "prefix: other/"));
    let output = deploy();
    assert!(output.stderr.contains(told), "{output:?}");
    let calls = proxy.calls();
    let of = |name: &str| {
        calls.iter().find(|call| call.name() == name).unwrap_or_else(|| panic!("{name}: {calls:?}"))
    };
    let (granted, moved) = (of("iam:PutRolePolicy").end.unwrap(), of("apigateway:UpdateStage").at);
    assert!(moved > granted && moved - granted >= Duration::from_secs(2), "{calls:?}");
    // it moves, and its role gets nothing
    stack.rewrite(
        &YAML
            .replace("prefix: in/", "prefix: other/")
            .replace("/input:", "/input:\n    accept: [text/plain]"),
    );
    let output = deploy();
    assert!(!output.stderr.contains("until IAM"), "{output:?}");
    assert!(proxy.calls().iter().any(|call| call.name() == "apigateway:UpdateStage"));
    stack.teardown();
}
