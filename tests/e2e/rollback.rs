//! A stage goes back to what it was, by hand or because its new state answers wrongly; what nobody
//! can go back to is pruned.

use crate::support::proxy::Gate;
use crate::support::{Deployed, Emulator, Proxy, Routeto, Stack, What, Which, aws, soon};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

const YAML: &str = r#"
stack: NAME
routes:
  /input:
    s3: { bucket: "NAME-${stage}", prefix: in/ }
  /events:
    sqs: { queue: "NAME-${stage}" }
stages:
  prod: { variables: { team: payments } }
"#;

/// Code (its memory), API (what it accepts), destinations and a variable are others; a route goes
/// and one comes.
fn changed() -> String {
    YAML.replace("prefix: in/", "prefix: other/")
        .replace("routes:", "function: { memory: 256 }\nroutes:")
        .replace("/input:", "/input:\n    accept: [application/json, text/plain]")
        .replace("team: payments", "team: refunds")
        .replace(
            "  /events:\n    sqs: { queue: \"NAME-${stage}\" }",
            "  /more:\n    sqs: { queue: \"NAME-${stage}\" }",
        )
}

const JSON: &str = "application/json";

/// Mutations but for the lock's and the history's.
fn mutations(proxy: &Proxy) -> Vec<String> {
    proxy.mutations().into_iter().filter(|call| !call.starts_with("logs:")).collect()
}

fn prefixes(stack: &Stack) -> Vec<String> {
    let keys = aws::keys(&format!("{}-prod", stack.name)).unwrap();
    keys.iter().map(|key| key.split('/').next().unwrap().to_owned()).collect()
}

/// What the stage is, without what it was.
fn variables(stack: &Stack) -> Value {
    let mut variables = stack.world().stage("prod")["variables"].clone();
    variables.as_object_mut().unwrap().retain(|name, _| !name.starts_with("previous"));
    variables
}

fn rollback(stack: &Stack) -> Routeto {
    stack.routeto("rollback", "--stage prod")
}

#[test]
fn a_rollback_brings_code_api_destinations_and_variables_back_in_one_call_and_a_second_one_returns()
{
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let first = stack.deploy();
    let old = variables(&stack);
    stack.rewrite(&changed());
    let second = Deployed(
        stack
            .routeto("deploy", "")
            .env("GITHUB_SHA", "0123456789abcdef0123456789abcdef01234567")
            .json(),
    );
    let new = variables(&stack);
    assert_ne!(old, new);
    second.store("prod", "/input", JSON, b"{}");

    proxy.clear();
    let back = rollback(&stack).json();
    assert_eq!(mutations(&proxy), ["apigateway:UpdateStage"]);
    assert_eq!(variables(&stack), old);
    let serving = |deployed: &Deployed| {
        let stage = &deployed.0["stages"]["prod"];
        json!({"deployment_id": stage["deployment_id"], "function_version": stage["function_version"]})
    };
    assert_eq!(
        (&back["from"], &back["to"], &back["stage"]),
        (&serving(&second), &serving(&first), &json!("prod"))
    );
    // the old state works: its bucket's prefix, its route to the queue, what it accepts
    first.store("prod", "/input", JSON, b"{}");
    assert_eq!(first.post("prod", "/input", "text/plain", b"x").status, 415);
    first.store("prod", "/events", JSON, b"{}");
    assert_eq!(prefixes(&stack), ["in", "other"]);
    assert_eq!(second.post("prod", "/more", JSON, b"{}").status, 403);
    stack.routeto("plan", "--exit-code").status(2).check();

    rollback(&stack).check();
    assert_eq!(variables(&stack), new);
    second.store("prod", "/more", JSON, b"{}");
    second.store("prod", "/input", "text/plain", b"x");
    stack.routeto("plan", "--exit-code").status(0).check();

    let status = stack.routeto("status", "").check().stdout;
    let before = &first.0["stages"]["prod"];
    let (version, deployment) =
        (before["function_version"].as_str().unwrap(), before["deployment_id"].as_str().unwrap());
    assert!(
        status.contains(&format!(
            "\n  before: function version {version}, deployment {deployment} (a rollback goes there, with its destination_"
        )),
        "{status}"
    );
    let mut before = serving(&first);
    before["wrong"] = json!(false);
    assert_eq!(&stack.routeto("status", "").json()["stages"]["prod"]["before"], &before);
    let history: Vec<&str> = status.lines().skip_while(|line| *line != "history").skip(1).collect();
    let what: Vec<&str> = history
        .iter()
        .map(|line| line.trim_start().split_once(' ').unwrap().1.split(" prod").next().unwrap())
        .collect();
    assert_eq!(what, ["rolled back", "rolled back", "deployed", "deployed"], "{status}");
    assert!(
        history.iter().all(|line| line.trim_start().starts_with("20")
            && line.contains("Z ")
            && line.contains(" by ")),
        "{status}"
    );
    assert!(
        history[2].contains("(version 2, deployment ")
            && history[2].contains("commit 0123456")
            && history[2].contains(", code ")
            && history[2].contains(", API "),
        "{status}"
    );
    // and all of it goes
    stack.teardown();
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

/// The API has the new route by then, and the stage the old one again.
#[test]
fn after_a_rollback_a_token_is_proven_by_a_route_that_the_stage_serves_and_status_lists_it() {
    let proxy = Proxy::start(Emulator::shared());
    let yaml = "stack: NAME\nroutes:\n  /input:\n    accept: [text/csv]\n    s3: { bucket: \"NAME-${stage}\" }\nstages:\n  prod: {}\n";
    let stack = Stack::through(&proxy, yaml);
    let first = stack.deploy();
    let url = first.url("prod", "/input").replace("/input", "");
    // another path, another content type
    stack.rewrite(&yaml.replace("/input", "/events").replace("text/csv", "application/json"));
    stack.deploy();
    let status = || stack.routeto("status", "").check().stdout;
    assert!(
        status().contains(&format!("{url}/events → s3://")) && !status().contains("/input"),
        "{}",
        status()
    );
    rollback(&stack).check();
    let (gone, live) = (
        format!("  {url}/events → not deployed\n"),
        format!("  {url}/input (not in the stack file)\n"),
    );
    assert!(status().contains(&gone) && status().contains(&live), "{}", status());
    assert_eq!(stack.routeto("status", "").json()["stages"]["prod"]["serves"], json!(["/input"]));

    let token = "another-Token_0123456789.~";
    proxy.clear();
    let set =
        stack.routeto("set-token", "--stage prod --now --token-stdin").stdin(token).secret(token);
    let output = hurried(set.clone(), &proxy).check();
    assert!(
        output.stdout.contains("stage prod has a new token\n")
            && output.stdout.contains("/input?token=…\n"),
        "{output:?}"
    );
    assert!(
        output.stdout.contains("  /events is in the stack file, but this stage doesn't serve it"),
        "{output:?}"
    );
    assert!(!output.stderr.contains("not waited for"), "{output:?}");
    let probed: Vec<String> = proxy
        .calls()
        .into_iter()
        .filter(|call| call.service == "execute-api")
        .map(|call| call.path)
        .collect();
    assert!(!probed.is_empty() && probed.iter().all(|path| path.contains("/input?")), "{probed:?}");
    let routes = &hurried(set.clone(), &proxy).json()["routes"];
    assert_eq!(
        routes.as_object().map(|routes| routes.keys().collect::<Vec<_>>()),
        Some(vec![&"/input".to_owned()])
    );

    // who may not ask what the stage serves sets the token all the same, and no route of the file
    // can show it
    proxy.deny("apigateway:GetExport");
    let output = hurried(set, &proxy).check();
    assert!(output.stderr.contains("not waited for: no route can show it from here"), "{output:?}");
    assert!(status().contains(&gone), "{}", status());
    proxy.heal();
    stack.teardown();
}

/// Both saw the stage as it was; the second step back would be one forward, to what both wanted to
/// leave.
#[test]
fn of_two_rollbacks_at_once_the_second_changes_nothing() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    stack.deploy();
    let old = variables(&stack);
    stack.rewrite(&YAML.replace("prefix: in/", "prefix: other/"));
    stack.deploy();
    let gate = Gate::new();
    proxy.fault(Which::Operation("apigateway:UpdateStage", 1), What::Hold(gate.clone()));
    let first = rollback(&stack).spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    let second = thread::scope(|scope| {
        let second = scope.spawn(|| rollback(&stack).output());
        let waits =
            || proxy.calls().iter().filter(|call| call.name() == "logs:GetLogEvents").count();
        let (begun, before) = (Instant::now(), waits());
        while waits() < before + 2 && begun.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(20));
        }
        gate.open();
        second.join().unwrap()
    });
    assert_eq!(first.wait().status, 0);
    assert_eq!(second.status, 1, "{second:?}");
    for words in [
        "another rollback of this stack is running by ",
        "error: stage prod: another command changed it meanwhile (it serves deployment ",
        "so nothing was rolled back",
        "see with `routeto status`",
    ] {
        assert!(second.stderr.contains(words), "{words}:\n{}", second.stderr);
    }
    assert_eq!(variables(&stack), old);
    stack.teardown();
}

#[test]
fn a_rollback_that_would_not_work_says_why_and_changes_nothing() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    rollback(&stack).fails(1, &["stage prod", "deploy it first"]);
    stack.deploy();
    proxy.clear();
    rollback(&stack).fails(1, &["stage prod", "nothing to go back to"]);
    // the queue of before was empty, so it went with its route
    stack.rewrite(&YAML.replace("queue: \"NAME-${stage}\"", "queue: \"NAME-new-${stage}\""));
    stack.deploy();
    assert!(aws::queue_url(&format!("{}-prod", stack.name)).is_none());
    proxy.clear();
    rollback(&stack)
        .fails(1, &["stage prod", &format!("queue {}-prod is gone", stack.name), "routeto status"]);
    assert_eq!(proxy.mutations(), [] as [String; 0]);
    stack.routeto("rollback", "--stage prd").fails(64, &["prod"]);
}

#[test]
fn old_versions_and_deployments_beyond_five_go_and_a_deploy_with_nothing_to_do_still_changes_nothing()
 {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let rewrite = |round: u32| {
        let accept = format!("/input:\n    accept: [application/json, text/x-{round}]");
        stack.rewrite(
            &YAML
                .replace("/input:", &accept)
                .replace("routes:", &format!("function: {{ memory: {} }}\nroutes:", 128 + round)),
        );
    };
    for round in 1..=6 {
        rewrite(round);
        stack.deploy();
    }
    rewrite(7);
    let plan = stack.routeto("plan", "").check().stdout;
    assert!(
        plan.contains("- old versions: 2\n")
            && plan.contains("old versions and deployments to prune"),
        "{plan}"
    );
    let deployed = stack.deploy();
    let world = stack.world();
    let function = world.function(&format!("{}-prod", stack.name)).clone();
    let versions: Vec<&String> = function["versions"].as_object().unwrap().keys().collect();
    assert_eq!(versions, ["$LATEST", "3", "4", "5", "6", "7"]);
    assert_eq!(world.api()["deployments"], 5);
    deployed.store("prod", "/input", JSON, b"{}");
    proxy.clear();
    stack.deploy();
    assert_eq!(proxy.mutations(), [] as [String; 0]);
    rollback(&stack).check();
    deployed.store("prod", "/input", "text/x-6", b"{}");
    stack.teardown();
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

/// Each deploy that gives wrong answers leaves a version, and none of them is pruned.
#[test]
fn a_rollback_finds_its_version_behind_a_dozen_that_came_to_nothing() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let first = stack.deploy();
    let function = stack.fill("NAME-prod");
    // refused as long as the one before is under way
    let call = |operation: &str, arguments: Value| {
        while let Err(refused) = aws::try_call("lambda", operation, arguments.clone()) {
            assert!(refused.code == "ResourceConflictException", "{refused:?}");
            thread::sleep(Duration::from_millis(100));
        }
    };
    for memory in 200..212 {
        call(
            "update_function_configuration",
            json!({"FunctionName": function, "MemorySize": memory}),
        );
        call("publish_version", json!({"FunctionName": function}));
    }
    stack.rewrite(&changed());
    wrong(&proxy);
    let output = hurried(stack.routeto("deploy", ""), &proxy).status(1).check();
    assert!(
        output.stderr.contains("so it was rolled back to deployment ")
            && output.stderr.contains("function version 1\n"),
        "{output:?}"
    );
    proxy.heal();
    first.store("prod", "/input", JSON, b"{}");
}

/// As fast as the tests can wait: 90 seconds take 3.
fn hurried(routeto: Routeto, proxy: &Proxy) -> Routeto {
    routeto.env("ROUTETO_TEST_CLOCK", "30").env("ROUTETO_INVOKE_URL", proxy.invoke_url())
}

fn wrong(proxy: &Proxy) {
    let text = json!({"message": "Internal server error"}).to_string();
    proxy.fault(
        Which::Every("execute-api:Invoke"),
        What::Body { status: 500, kind: "application/json", text },
    );
}

#[test]
fn a_stage_whose_new_state_answers_wrongly_goes_back_by_itself() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let first = stack.deploy();
    let old = variables(&stack);
    stack.rewrite(
        &YAML
            .replace("prefix: in/", "prefix: other/")
            .replace("routes:", "function: { memory: 256 }\nroutes:"),
    );
    wrong(&proxy);
    let output = hurried(stack.routeto("deploy", ""), &proxy).status(1).check();
    for words in [
        "error: probe of /input as application/json on prod: after 90 s still: /input answers 500",
        "error: stage prod: its new state gave wrong answers, so it was rolled back to deployment ",
        "function version 1",
    ] {
        assert!(output.stderr.contains(words), "{words}:\n{}", output.stderr);
    }
    assert_eq!(variables(&stack), old);
    first.store("prod", "/input", JSON, b"{}");
    assert_eq!(prefixes(&stack), ["in"]);
    // nobody is brought to what was found wrong
    let refused = stack.routeto("rollback", "--stage prod").status(1).check();
    assert!(
        refused.stderr.contains("it came back by itself from what it was before"),
        "{}",
        refused.stderr
    );
    assert_eq!(variables(&stack), old);
    assert_eq!(stack.routeto("status", "").json()["stages"]["prod"]["before"]["wrong"], true);
    assert!(stack.routeto("status", "").check().stdout.contains("(it gave wrong answers, "));
    // the history doesn't say that the stage serves what failed
    let status = stack.routeto("status", "").check().stdout;
    let newest = status.lines().skip_while(|line| *line != "history").nth(1).unwrap_or_default();
    assert!(
        newest.contains(" failed prod") && newest.contains("(version 1, deployment "),
        "{status}"
    );
    // the cause is gone: the next deploy goes forward again
    proxy.heal();
    hurried(stack.routeto("deploy", ""), &proxy).check();
    first.store("prod", "/input", JSON, b"{}");
    assert_eq!(prefixes(&stack), ["in", "other"]);
    stack.routeto("plan", "--exit-code").status(0).check();
}

#[test]
fn a_stage_stays_where_it_was_told_to_where_it_is_new_and_where_nothing_is_heard_of_it() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    wrong(&proxy);
    let output = hurried(stack.routeto("deploy", ""), &proxy).status(1).check();
    assert!(
        output.stderr.contains("stage prod: it is new, so there is nothing to go back to"),
        "{}",
        output.stderr
    );
    proxy.heal();
    let other = YAML.replace("prefix: in/", "prefix: other/");
    stack.rewrite(&other);
    wrong(&proxy);
    let output = hurried(stack.routeto("deploy", "--no-rollback"), &proxy).status(1).check();
    assert!(
        output.stderr.contains("stage prod: it stays as it is, as --no-rollback says"),
        "{}",
        output.stderr
    );
    // and the next one, which finds nothing to do, leaves it there as well
    let output = hurried(stack.routeto("deploy", ""), &proxy).status(1).check();
    assert!(
        output.stderr.contains("stage prod: this deploy didn't move it, so it stays as it is"),
        "{}",
        output.stderr
    );
    assert_eq!(variables(&stack)["destination_input"], format!("s3://{}-prod/other/", stack.name));
    proxy.heal();
    // a network without answers says nothing about the new state
    stack.rewrite(YAML);
    proxy.fault(Which::Every("execute-api:Invoke"), What::CutBefore);
    let output = hurried(stack.routeto("deploy", ""), &proxy).status(1).check();
    assert!(
        output.stderr.contains("gives no answer") && !output.stderr.contains("rolled back"),
        "{}",
        output.stderr
    );
    assert_eq!(variables(&stack)["destination_input"], format!("s3://{}-prod/in/", stack.name));
    // there is nothing left to do, and nothing is proven either
    let output = hurried(stack.routeto("deploy", ""), &proxy).status(1).check();
    assert!(output.stderr.contains("gives no answer"), "{}", output.stderr);
    proxy.heal();
    hurried(stack.routeto("deploy", ""), &proxy).check();
    // now it is
    proxy.clear();
    hurried(stack.routeto("deploy", ""), &proxy).check();
    assert!(!proxy.calls().iter().any(|call| call.service == "execute-api"), "{:?}", proxy.calls());
    assert_eq!(proxy.mutations(), [] as [String; 0]);
}

#[test]
fn where_a_deploy_was_killed_after_it_moved_a_stage_the_next_one_probes_it_and_takes_it_back_if_it_is_wrong()
 {
    // nothing but a variable is another; and all that can be
    for (new, kill) in [(YAML.replace("prefix: in/", "prefix: other/"), false), (changed(), true)] {
        let proxy = Proxy::start(Emulator::shared());
        let stack = Stack::through(&proxy, YAML);
        stack.deploy();
        let old = variables(&stack);
        stack.rewrite(&new);
        let killed = || {
            let deploy = stack.routeto("deploy", "");
            if !kill {
                proxy.interrupted_after("apigateway:UpdateStage", deploy);
                return;
            }
            // it leaves the lock behind
            let (mut running, gate) = proxy.held_after("apigateway:UpdateStage", deploy);
            running.kill();
            running.wait();
            gate.open();
        };
        killed();
        proxy.heal();
        let moved = variables(&stack);
        assert_ne!(moved, old);
        wrong(&proxy);
        let output = hurried(stack.routeto("deploy", "--no-rollback"), &proxy).status(1).check();
        assert!(
            output.stderr.contains("stage prod: it stays as it is, as --no-rollback says"),
            "{}",
            output.stderr
        );
        assert_eq!(variables(&stack), moved);
        let output = hurried(stack.routeto("deploy", ""), &proxy).status(1).check();
        assert!(
            output
                .stderr
                .contains("stage prod: its new state gave wrong answers, so it was rolled back to"),
            "{}",
            output.stderr
        );
        assert_eq!(variables(&stack), old);
        assert_eq!(stack.routeto("status", "").json()["stages"]["prod"]["before"]["wrong"], true);
        // it was given back
        assert_eq!(stack.routeto("status", "").json()["lock"], Value::Null);
        proxy.heal();
        killed();
        proxy.heal();
        let deployed = Deployed(hurried(stack.routeto("deploy", ""), &proxy).json());
        deployed.store("prod", "/input", JSON, b"{}");
        assert_eq!(variables(&stack), moved);
        stack.teardown();
    }
}

/// Whether the next deploy has the lock already, for the stage that it moves itself, or takes it
/// for both.
#[test]
fn stages_that_deploys_of_their_own_left_half_done_go_back_together() {
    for cut_off in [&["test"][..], &["test", "prod"]] {
        let proxy = Proxy::start(Emulator::shared());
        let yaml = YAML.replace("stages:", "stages:\n  test: { variables: { team: payments } }");
        let stack = Stack::through(&proxy, &yaml);
        stack.deploy();
        let both = || {
            let world = stack.world();
            ["test", "prod"].map(|stage| world.stage(stage)["variables"]["team"].clone())
        };
        stack.rewrite(&yaml.replace("team: payments", "team: refunds"));
        for stage in cut_off {
            proxy.interrupted_after(
                "apigateway:UpdateStage",
                stack.routeto("deploy", &format!("--stage {stage}")),
            );
            proxy.heal();
        }
        assert_eq!(both(), ["refunds", if cut_off.len() == 2 { "refunds" } else { "payments" }]);
        wrong(&proxy);
        let output = hurried(stack.routeto("deploy", ""), &proxy).status(1).check();
        let back = output
            .stderr
            .matches(": its new state gave wrong answers, so it was rolled back to")
            .count();
        assert_eq!(back, 2, "{}", output.stderr);
        assert_eq!(both(), ["payments", "payments"]);
        assert_eq!(stack.routeto("status", "").json()["lock"], Value::Null);
        stack.teardown();
    }
}

/// What looks cut off may be under way: the other one proves its work after all.
#[test]
fn a_stage_that_another_deploy_is_about_to_prove_does_not_go_back() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    stack.deploy();
    stack.rewrite(&changed());
    let (slow, gate) = proxy.held_after("apigateway:UpdateStage", stack.routeto("deploy", ""));
    let moved = variables(&stack);
    let other = Proxy::start(Emulator::shared());
    wrong(&other);
    let quick =
        hurried(stack.routeto("deploy", "").env("AWS_ENDPOINT_URL", other.url()), &other).spawn();
    // it probes, finds the stage wrong, and looks who has the lock
    soon("a look at the lock", || {
        let calls = other.calls();
        let probed = calls.iter().rposition(|call| call.service == "execute-api")?;
        calls[probed..].iter().any(|call| call.operation == "DescribeLogStreams").then_some(())
    });
    gate.open();
    assert_eq!(slow.wait().status, 0);
    let output = quick.wait();
    assert_eq!(output.status, 1);
    assert!(
        output
            .stderr
            .contains("it couldn't be rolled back: stage prod: another command came to its end"),
        "{}",
        output.stderr
    );
    assert_eq!(variables(&stack), moved);
    stack.teardown();
}

#[test]
fn many_routes_that_answer_wrongly_are_waited_for_together() {
    let proxy = Proxy::start(Emulator::shared());
    let routes: String = (1..=12)
        .map(|n| format!("  /r{n}: {{ s3: {{ bucket: \"NAME-${{stage}}\", prefix: r{n}/ }} }}\n"))
        .collect();
    let stack =
        Stack::through(&proxy, &format!("stack: NAME\nroutes:\n{routes}stages:\n  prod: {{}}\n"));
    wrong(&proxy);
    let output = hurried(stack.routeto("deploy", ""), &proxy).status(1).check();
    let probed = output.stderr.matches("error: probe of /r").count();
    assert_eq!(
        (probed, output.stderr.matches("after 90 s still").count()),
        (4, 4),
        "{}",
        output.stderr
    );
    stack.teardown();
}

#[test]
fn an_api_whose_own_settings_keep_the_probe_out_is_no_failure() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let id = stack.deploy().api_id();
    let operations =
        json!([{"op": "replace", "path": "/disableExecuteApiEndpoint", "value": "True"}]);
    aws::call(
        "apigateway",
        "update_rest_api",
        json!({"restApiId": id, "patchOperations": operations}),
    );
    stack.rewrite(&YAML.replace("prefix: in/", "prefix: other/"));
    let refusal =
        What::Gateway { status: 403, error_type: "ForbiddenException", message: "Forbidden" };
    proxy.fault(Which::Every("execute-api:Invoke"), refusal);
    let output = hurried(stack.routeto("deploy", ""), &proxy).check();
    assert!(
        output.stderr.contains("stage prod is not probed: the API's own settings"),
        "{}",
        output.stderr
    );
    assert_eq!(variables(&stack)["destination_input"], format!("s3://{}-prod/other/", stack.name));
    let token = "another-Token_0123456789.~";
    let set = stack.routeto("set-token", "--stage prod --token-stdin").stdin(token).secret(token);
    let output = hurried(set, &proxy).check();
    assert!(output.stderr.contains("not waited for"), "{}", output.stderr);
    stack.teardown();
}

/// Whose requests AWS WAF lets through is the user's affair: a deploy from elsewhere hears 403, and
/// that is no fault of what it deployed.
#[test]
fn a_stage_with_a_web_acl_that_keeps_the_probe_out_is_no_failure() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let id = stack.deploy().api_id();
    stack.rewrite(&YAML.replace("prefix: in/", "prefix: other/"));
    // the emulator has no WAF: what it says of the stage, and what GetStages says besides of one
    // that has a web ACL
    let mut stage =
        aws::call("apigateway", "get_stages", json!({"restApiId": id}))["item"][0].take();
    let fields = stage.as_object_mut().unwrap();
    fields.retain(|name, _| !name.ends_with("Date"));
    fields.insert(
        "webAclArn".into(),
        json!("arn:aws:wafv2:us-east-1:000000000000:regional/webacl/senders/1"),
    );
    for (operation, body) in
        [("apigateway:GetStages", json!({"item": [stage]})), ("apigateway:GetStage", stage.clone())]
    {
        proxy.fault(
            Which::Every(operation),
            What::Body { status: 200, kind: "application/json", text: body.to_string() },
        );
    }
    let refusal =
        What::Gateway { status: 403, error_type: "ForbiddenException", message: "Forbidden" };
    proxy.fault(Which::Every("execute-api:Invoke"), refusal);
    let output = hurried(stack.routeto("deploy", ""), &proxy).check();
    assert!(
        output.stderr.contains("stage prod is not probed: the API's own settings"),
        "{}",
        output.stderr
    );
    let token = "another-Token_0123456789.~";
    let set = stack.routeto("set-token", "--stage prod --token-stdin").stdin(token).secret(token);
    let output = hurried(set, &proxy).check();
    assert!(output.stderr.contains("not waited for"), "{}", output.stderr);
    proxy.heal();
    assert_eq!(variables(&stack)["destination_input"], format!("s3://{}-prod/other/", stack.name));
    stack.teardown();
}

#[test]
fn a_rollback_that_was_cut_off_is_not_to_be_simply_repeated() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    stack.deploy();
    stack.rewrite(&YAML.replace("prefix: in/", "prefix: other/"));
    stack.deploy();
    let output = proxy.interrupted_after("apigateway:UpdateStage", rollback(&stack));
    assert!(
        output.stderr.contains("see with `routeto status` what the stage serves"),
        "{}",
        output.stderr
    );
    assert!(!output.stderr.contains("run the same command again"), "{}", output.stderr);
    proxy.heal();
    proxy.fault(
        Which::Every("apigateway:UpdateStage"),
        What::Answer { status: 400, code: "BadRequestException", message: "no" },
    );
    rollback(&stack).fails(1, &["stage prod", "BadRequestException", "see with `routeto status`"]);
    proxy.heal();
    stack.teardown();
}

#[test]
fn a_stage_goes_back_to_a_bucket_that_left_the_file_and_was_kept() {
    let yaml = "stack: NAME\nroutes:\n  /input:\n    s3: { bucket: \"NAME-old-${stage}\" }\nstages:\n  prod: {}\n";
    let stack = Stack::new(yaml);
    stack.deploy().store("prod", "/input", JSON, b"{}");
    stack.rewrite(&yaml.replace("-old-", "-new-"));
    let second = stack.deploy();
    second.store("prod", "/input", JSON, b"{}");
    rollback(&stack).check();
    second.store("prod", "/input", JSON, b"{}");
    let count = |bucket: &str| aws::keys(&stack.fill(bucket)).unwrap().len();
    assert_eq!((count("NAME-old-prod"), count("NAME-new-prod")), (2, 1));
    stack.teardown();
}
