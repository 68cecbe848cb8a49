//! Tokens: how a stage gets one, how it is changed without losing a POST, and that it is shown
//! nowhere it shouldn't be.

use crate::support::http::Answer;
use crate::support::proxy::{Caller, Gate};
use crate::support::{
    Deployed, Emulator, Proxy, Routeto, Signal, Stack, What, Which, aws, post, query, soon, stack,
};
use serde_json::json;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const YAML: &str = r#"
stack: NAME
routes:
  /input:
    sqs: { queue: "NAME-${stage}" }
stages:
  prod: {}
"#;

fn with(deployed: &Deployed, token: &str) -> Answer {
    post(&(deployed.url("prod", "/input") + &query(&[("token", token)])), "application/json", b"{}")
}

#[test]
fn an_overlapping_token_works_beside_the_old_one_until_now_shuts_it() {
    let stack = Stack::new(YAML);
    let deployed = stack.deploy();
    let old = stack::token("prod");
    let new = "second-Token_0123456789abcdef";
    let set = |options: &str| {
        stack
            .routeto("set-token", &format!("--stage prod --token-stdin {options}"))
            .stdin(format!("{new}\n"))
            .secret(new)
            .check()
    };
    set("--overlap 1h");
    // once more: the old one keeps its end
    let again = set("--overlap 24h").stdout;
    assert!(
        again.contains("has this token already")
            && ["59 min", "1 h"]
                .iter()
                .any(|time| again.contains(&format!("goes on working for {time}: "))),
        "{again}"
    );
    assert_eq!((with(&deployed, &old).status, with(&deployed, new).status), (200, 200));
    let status = stack.routeto("status", "").check().stdout;
    let until = stack.routeto("status", "").json()["stages"]["prod"]["old_token_until"]
        .as_str()
        .map(str::to_owned);
    let until = until.unwrap_or_else(|| panic!("no end of the old token in {status}"));
    assert!(status.contains(&format!("token set (an older one works until {until})")), "{status}");
    let third = "third-Token_0123456789abcdef";
    stack
        .routeto("set-token", "--stage prod --token-stdin --now")
        .stdin(third)
        .secret(third)
        .check();
    let statuses = [&old, new, third].map(|token| with(&deployed, token).status);
    assert_eq!(statuses, [401, 401, 200]);
    assert!(stack.routeto("status", "").check().stdout.contains("token set\n"));
}

#[test]
fn the_overlap_is_counted_by_awss_clock_and_not_by_this_machines() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    stack.deploy();
    proxy.fault(Which::Every("sts:GetCallerIdentity"), What::Later(600));
    let new = "second-Token_0123456789abcdef";
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let set = stack
        .routeto("set-token", "--stage prod --overlap 5m --token-stdin")
        .stdin(new)
        .secret(new)
        .json();
    let entries = stack.world().stage("prod")["variables"]["validToken"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let until: u64 = entries
        .rsplit(':')
        .next()
        .and_then(|until| until.parse().ok())
        .unwrap_or_else(|| panic!("{entries}"));
    assert!(
        (before + 895..before + 1500).contains(&until),
        "{until} is not 15 minutes after {before}"
    );
    let status = stack.routeto("status", "").json();
    assert!(set["old_token_until"].is_string());
    assert_eq!(set["old_token_until"], status["stages"]["prod"]["old_token_until"]);
    // by AWS's clock it is over, and by this machine's it has 15 minutes
    proxy.heal();
    proxy.fault(Which::Every("sts:GetCallerIdentity"), What::Later(3600));
    let status = stack.routeto("status", "").check().stdout;
    assert!(status.contains("token set\n"), "{status}");
    assert!(stack.routeto("status", "").json()["stages"]["prod"]["old_token_until"].is_null());
    proxy.heal();
    stack.teardown();
}

#[test]
fn a_command_that_waits_for_its_input_hears_a_signal() {
    let stack = Stack::new(YAML);
    for command in [
        stack.routeto("set-token", "--stage prod --token-stdin"),
        Routeto::new(stack.path()).args("render --batch"),
    ] {
        let running = command.stdin("").stdin_stays_open().spawn();
        thread::sleep(Duration::from_millis(1000));
        running.interrupt();
        assert_eq!(running.wait().status, 130);
    }
}

#[test]
fn a_token_that_nobody_gave_is_random_and_shown_only_on_demand() {
    let stack = Stack::new(YAML);
    let hidden = stack
        .routeto("deploy", "")
        .without("ROUTETO_TOKEN_PROD")
        .without("ROUTETO_TOKEN_DEV")
        .json();
    assert!(hidden["stages"]["prod"]["token"].is_null(), "{hidden:#}");
    let valid = stack.world().stage("prod")["variables"]["validToken"].clone();
    let deployed = Deployed(hidden);
    assert_eq!(with(&deployed, "0".repeat(43).as_str()).status, 401);
    let shown =
        stack.routeto("set-token", "--stage prod --now --show-token").shows_secrets().check();
    let token = shown
        .stdout
        .split("token=")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| c.is_whitespace() || c == '&').next());
    let token = token.unwrap_or_else(|| panic!("no URL with a token in {}", shown.stdout));
    assert_eq!(token.len(), 43, "256 bits as base64url: {}", shown.stdout);
    assert_eq!(with(&deployed, token).status, 200);
    assert_ne!(stack.world().stage("prod")["variables"]["validToken"], valid);
}

#[test]
fn show_token_gives_the_new_token_once_in_json() {
    let stack = Stack::new(YAML);
    let first = stack
        .routeto("deploy", "--show-token")
        .without("ROUTETO_TOKEN_PROD")
        .without("ROUTETO_TOKEN_DEV")
        .shows_secrets()
        .json();
    let token =
        first["stages"]["prod"]["token"].as_str().unwrap_or_else(|| panic!("{first:#}")).to_owned();
    assert_eq!(with(&Deployed(first), &token).status, 200);
    let second = stack.routeto("deploy", "--show-token").secret(&token).json();
    assert!(second["stages"]["prod"]["token"].is_null(), "{second:#}");
}

#[test]
fn only_the_tokens_hash_is_kept() {
    let stack = Stack::new(YAML);
    stack.deploy();
    let world = stack.world();
    assert!(!world.0.to_string().contains(&stack::token("prod")));
    let valid = world.stage("prod")["variables"]["validToken"].as_str().unwrap().to_owned();
    let hash = valid.strip_prefix("sha256:").unwrap();
    assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{valid}");
}

#[test]
fn set_token_refuses_what_no_url_should_carry() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    stack.deploy();
    proxy.clear();
    for bad in [
        "short",
        "",
        "has a space in it, and more",
        "0123456789012345678+",
        "0123456789012345678\u{e9}",
        "\"012345678901234567890",
        &"x".repeat(257),
    ] {
        let output = stack.routeto("set-token", "--stage prod --token-stdin").stdin(bad).output();
        assert!([1, 64].contains(&output.status), "{bad:?}: {output:?}");
        assert!(
            bad.len() < 8 || !output.stderr.contains(bad),
            "the refused token is shown: {}",
            output.stderr
        );
    }
    assert_eq!(proxy.mutations(), [] as [String; 0]);
}

#[test]
fn set_token_for_a_stage_that_is_not_in_the_file_says_which_there_are() {
    let stack = Stack::new(YAML);
    stack.deploy();
    let output =
        stack.routeto("set-token", "--stage prdo --token-stdin").stdin(stack::token("x")).output();
    assert!([64, 65].contains(&output.status), "{output:?}");
    assert!(output.stderr.contains("prod"), "{}", output.stderr);
}

#[test]
fn status_says_what_stands_where_and_no_token() {
    let stack = Stack::new(YAML);
    let deployed = stack.deploy();
    let status = stack.routeto("status", "").check();
    assert!(status.stdout.contains(&deployed.url("prod", "/input")), "{}", status.stdout);
    let value = stack.routeto("status", "").json();
    let valid = stack.world().stage("prod")["variables"]["validToken"].as_str().unwrap().to_owned();
    assert!(valid.starts_with("sha256:") && !value.to_string().contains(&valid), "{value:#}");
    assert_eq!(value["stack"], json!(stack.name));
}

#[test]
fn a_token_on_the_command_line_is_refused_and_not_repeated() {
    let stack = Stack::new(YAML);
    let token = "mistaken-Token_0123456789abc";
    for args in [
        format!("--stage prod {token}"),
        format!("--stage prod --token-stdin={token}"),
        format!("--stage prod --token-stdin {token} more"),
    ] {
        let error = stack.routeto("set-token", &args).secret(token).fails(64, &["--token-stdin"]);
        assert!(!error.contains(token), "{error}");
    }
    // in place of the stack file
    let error = Routeto::bare(stack.path())
        .args("set-token --stage prod --token-stdin")
        .arg(token)
        .secret(token)
        .fails(64, &["no stack file"]);
    assert!(error.contains("isn't shown"), "{error}");
}

#[test]
fn a_token_that_the_environment_changed_is_told_of_and_one_that_is_there_already_is_too() {
    let stack = Stack::new(YAML);
    stack.deploy();
    let other = "rotated-Token_0123456789abcd";
    let again = stack.routeto("deploy", "").env("ROUTETO_TOKEN_PROD", other).secret(other).check();
    let wanted = "warning: ROUTETO_TOKEN_PROD is none of stage prod's tokens, and a deploy changes none: printf %s \"$ROUTETO_TOKEN_PROD\" | routeto \
                  set-token stack.yaml --stage prod --token-stdin";
    assert!(again.stderr.contains(wanted), "{}", again.stderr);
    assert!(!stack.routeto("deploy", "").check().stderr.contains("ROUTETO_TOKEN_PROD"));
    let same = stack
        .routeto("set-token", "--stage prod --token-stdin")
        .stdin(stack::token("prod"))
        .check();
    assert!(
        same.stdout.starts_with("stage prod has this token already")
            && !same.stdout.contains("old token"),
        "{}",
        same.stdout
    );
}

#[test]
fn a_deploy_after_one_that_was_killed_says_how_to_get_a_token() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let caller = Caller::default();
    proxy.fault(
        Which::Operation("apigateway:CreateStage", 1),
        What::SignalAfter(caller.clone(), Signal::KILL),
    );
    let deploy = || {
        stack
            .routeto("deploy", "")
            .without("ROUTETO_TOKEN_PROD")
            .env("ROUTETO_INVOKE_URL", proxy.invoke_url())
    };
    let running = deploy().args("--show-token").spawn();
    caller.is(running.id());
    assert_eq!(running.wait().status, 137);
    proxy.heal();
    let said = "stage prod has a token from an interrupted deploy; if you don't have it, make another: routeto set-token ";
    let output = deploy().check();
    assert!(output.stderr.contains(said), "{output:?}");
    // that one did end
    let output = deploy().check();
    assert!(!output.stderr.contains("interrupted deploy"), "{output:?}");
}

#[test]
fn a_token_is_shown_though_nothing_was_heard_of_whether_it_was_set() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let deployed = stack.deploy();
    for unheard in [
        What::AnswerAfter { status: 500, code: "InternalFailure", message: "fault" },
        What::Truncate,
    ] {
        proxy.fault(Which::Every("apigateway:UpdateStage"), unheard);
        let set = stack
            .routeto("set-token", "--stage prod --now --show-token")
            .env("ROUTETO_TEST_CLOCK", "20");
        let output = set.shows_secrets().status(1).check();
        let token = output
            .stdout
            .trim()
            .strip_prefix("token of stage prod: ")
            .unwrap_or_else(|| panic!("{output:?}"));
        proxy.heal();
        assert_eq!(with(&deployed, token).status, 200);
    }
}

#[test]
fn a_stage_that_is_not_the_stacks_own_gets_no_token() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    stack.deploy();
    let stage =
        json!({"stageName": "prod", "deploymentId": "d1", "variables": {"validToken": "-"}})
            .to_string();
    proxy.fault(
        Which::Every("apigateway:GetStage"),
        What::Body { status: 200, kind: "application/json", text: stage },
    );
    proxy.clear();
    let set = stack.routeto("set-token", "--stage prod --show-token").shows_secrets();
    set.fails(
        1,
        &["stage prod: it isn't this stack's", "routeto never touches what doesn't carry its tag"],
    );
    assert_eq!(proxy.mutations(), [] as [String; 0]);
}

/// Nobody could make it again, and with `--now` it is the only one that works.
#[test]
fn a_token_that_was_set_is_shown_though_the_command_is_interrupted_before_it_is_live() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let deployed = stack.deploy();
    let set = stack.routeto("set-token", "--stage prod --now --show-token").shows_secrets();
    let output = proxy.interrupted_after("apigateway:UpdateStage", set);
    let token = output
        .stdout
        .trim()
        .strip_prefix("token of stage prod: ")
        .unwrap_or_else(|| panic!("{output:?}"));
    assert_eq!(with(&deployed, token).status, 200);
}

/// A token of a test's own.
fn numbered(n: usize) -> String {
    format!("number-{n}-Token_0123456789abc")
}

fn set_numbered(stack: &Stack, n: usize, options: &str) -> Routeto {
    stack
        .routeto("set-token", &format!("--stage prod --token-stdin {options}"))
        .stdin(numbered(n))
        .secret(numbered(n))
}

#[test]
fn six_overlapping_tokens_all_work_and_a_seventh_is_refused_before_anything_is_written() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let deployed = stack.deploy();
    // the second is shorter than the first, and takes nothing from it
    for (n, overlap) in ["7d", "1h", "24h", "30m", "2h"].iter().enumerate() {
        let set = set_numbered(&stack, n + 1, &format!("--overlap {overlap}")).check().stdout;
        let first = if n == 0 {
            "the old token goes on working for 7 days"
        } else {
            " old tokens go on working, the first of them for "
        };
        assert!(set.contains(first), "{set}");
    }
    let valid =
        || stack.world().stage("prod")["variables"]["validToken"].as_str().unwrap().to_owned();
    let six = valid();
    assert_eq!(six.split(',').count(), 6, "{six}");
    let all: Vec<String> =
        std::iter::once(stack::token("prod")).chain((1..=5).map(numbered)).collect();
    let statuses = || all.iter().map(|token| with(&deployed, token).status).collect::<Vec<_>>();
    assert_eq!(statuses(), [200; 6]);
    let status = stack.routeto("status", "").check().stdout;
    let until = stack.routeto("status", "").json()["stages"]["prod"]["old_token_until"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        status.contains("token set (older ones work until ")
            && status.contains(&format!(", {until})")),
        "{status}"
    );

    proxy.clear();
    let refused = set_numbered(&stack, 6, "")
        .fails(1, &["stage prod: it has 6 tokens that work", "wait until 2", "--now"]);
    assert!(refused.contains(&until), "{refused}");
    let shown =
        stack.routeto("set-token", "--stage prod --show-token").shows_secrets().status(1).check();
    assert_eq!(shown.stdout, "");
    assert_eq!((proxy.mutations(), valid()), (vec![], six));
    // one that is there already needs no room
    set_numbered(&stack, 3, "").check();
    assert_eq!(statuses(), [200; 6]);
    set_numbered(&stack, 6, "--now").check();
    assert_eq!(statuses(), [401; 6]);
    assert_eq!(with(&deployed, &numbered(6)).status, 200);
}

/// Each reads what the one before wrote, and the stage has room for five beside its first.
#[test]
fn of_ten_tokens_set_at_once_each_that_is_said_to_be_set_works() {
    let stack = Stack::new(YAML);
    let deployed = stack.deploy();
    let running: Vec<_> = (0..10).map(|n| set_numbered(&stack, n, "").spawn()).collect();
    let outputs: Vec<_> = running.into_iter().map(|running| running.wait()).collect();
    let set: Vec<usize> = (0..10).filter(|n| outputs[*n].status == 0).collect();
    assert_eq!(set.len(), 5, "{outputs:#?}");
    for (n, output) in outputs.iter().enumerate() {
        let wanted = if output.status == 0 { 200 } else { 401 };
        assert_eq!(with(&deployed, &numbered(n)).status, wanted, "{n}: {output:?}");
        let refused = output.status == 1
            && output.stdout.is_empty()
            && output.stderr.contains("it has 6 tokens that work");
        assert!(output.status == 0 || refused, "{output:?}");
    }
    assert_eq!(with(&deployed, &stack::token("prod")).status, 200);
    assert_eq!(stack.routeto("status", "").json()["lock"], json!(null));
}

#[test]
fn a_token_for_a_stage_that_a_deploy_is_making_waits_for_it_and_takes_nothing_from_it() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let gate = Gate::new();
    proxy.fault(Which::Operation("apigateway:CreateStage", 1), What::Hold(gate.clone()));
    let making = stack.routeto("deploy", "--output json").spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    let other = Proxy::start(Emulator::shared());
    let setting = set_numbered(&stack, 1, "").env("AWS_ENDPOINT_URL", other.url()).spawn();
    // it looks who has the lock
    soon("a look at the lock's signs", || {
        other.calls().iter().any(|call| call.name() == "logs:GetLogEvents").then_some(())
    });
    gate.open();
    let deployed = making.wait();
    assert_eq!(deployed.status, 0, "{deployed:?}");
    let set = setting.wait();
    assert_eq!(set.status, 0, "{set:?}");
    assert!(set.stderr.contains("another deploy of this stack is running by "), "{set:?}");
    let deployed = Deployed(serde_json::from_str(&deployed.stdout).unwrap());
    assert_eq!(
        [stack::token("prod"), numbered(1)].map(|token| with(&deployed, &token).status),
        [200, 200]
    );
}

#[test]
fn a_token_that_was_set_stands_in_the_history_without_any_sign_of_itself() {
    let stack = Stack::new(YAML);
    stack.deploy();
    let until = set_numbered(&stack, 1, "").json()["old_token_until"].as_str().unwrap().to_owned();
    // each old token has an end of its own
    let both = set_numbered(&stack, 3, "--overlap 10m").json();
    let ends: Vec<&str> = both["old_tokens_until"]
        .as_array()
        .unwrap()
        .iter()
        .map(|end| end.as_str().unwrap())
        .collect();
    assert!(ends.len() == 2 && ends[0] < ends[1] && ends[1] == until, "{both}");
    assert_eq!(
        stack.routeto("status", "").json()["stages"]["prod"]["old_tokens_until"],
        both["old_tokens_until"]
    );
    set_numbered(&stack, 2, "--now").check();
    let status = stack.routeto("status", "").check().stdout;
    let history: Vec<&str> = status.lines().skip_while(|line| *line != "history").skip(1).collect();
    assert!(
        history[0].contains("Z token set prod by ") && history[0].ends_with(", no older one works"),
        "{status}"
    );
    assert!(
        history[2].contains("Z token set prod by ")
            && history[2].ends_with(&format!(", old tokens work until {until}")),
        "{status}"
    );
    let group = stack.fill("/routeto/NAME");
    let lines = aws::call(
        "logs",
        "get_log_events",
        json!({"logGroupName": group, "logStreamName": "deploys"}),
    )
    .to_string();
    assert!(
        lines.contains("token set") && (1..=3).all(|n| !lines.contains(&numbered(n))),
        "{lines}"
    );
    let hashes =
        stack.world().stage("prod")["variables"]["validToken"].as_str().unwrap().to_owned();
    assert!(!lines.contains(hashes.trim_start_matches("sha256:")), "{lines}");
}
