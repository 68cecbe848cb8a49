//! What a person sees: the plan, the status, and what only a terminal shows.

use crate::support::{Emulator, Proxy, Stack, http, stack};
use serde_json::{Value, json};

const YAML: &str = r#"
stack: NAME
routes:
  /input:
    s3: { bucket: "NAME-${stage}", prefix: SendGrid/ }
stages:
  prod: {}
"#;

/// Control sequences out, `\r\n` and overwritten lines as lines.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                // CSI: parameters, then a letter
                if rest.next() == Some('[') {
                    rest.by_ref().find(|c| c.is_ascii_alphabetic());
                }
            }
            '\r' => out.push('\n'),
            c => out.push(c),
        }
    }
    out
}

#[test]
fn on_a_terminal_deploy_shows_the_new_token_once_and_it_works() {
    let stack = Stack::new(YAML);
    let deploy = || {
        stack
            .routeto("deploy", "")
            .without("ROUTETO_TOKEN_PROD")
            .without("ROUTETO_TOKEN_DEV")
            .terminal(80)
            .check()
    };
    let shown = plain(&deploy().stdout);
    let url = shown
        .split_whitespace()
        .find(|word| word.contains("/input?token="))
        .unwrap_or_else(|| panic!("no URL in:\n{shown}"));
    let token = url.split_once("?token=").unwrap().1;
    assert_eq!(token.len(), 43, "256 bits as base64url: {shown}");
    assert_eq!(http::post(url, "application/json", b"{}").status, 200, "{shown}");
    assert_eq!(
        shown.matches(token).count(),
        shown.lines().filter(|line| line.contains(token)).count()
    );
    let again = plain(&deploy().stdout);
    assert!(!again.contains(token) && again.contains("/input?token=…"), "{again}");
}

/// Whoever put it into the environment has it.
#[test]
fn on_a_terminal_a_token_from_the_environment_is_not_printed_back() {
    let stack = Stack::new(YAML);
    let shown = plain(&stack.routeto("deploy", "").terminal(80).check().stdout);
    assert!(
        shown.contains("/input?token=…")
            && shown.contains("(the token is the one in ROUTETO_TOKEN_PROD;"),
        "{shown}"
    );
    let stack = Stack::new(YAML);
    let asked = stack
        .routeto("deploy", "--show-token")
        .without("ROUTETO_TOKEN_PROD")
        .env("ROUTETO_TOKEN", stack::token("any"));
    let shown = plain(&asked.terminal(80).check().stdout);
    assert!(
        shown.contains(&format!("/input?token={}", stack::token("any")))
            && shown.contains("one in ROUTETO_TOKEN;"),
        "{shown}"
    );
}

#[test]
fn on_a_terminal_a_deploy_leaves_a_line_per_resource_within_eighty_columns() {
    for term in ["xterm-256color", "dumb"] {
        let stack = Stack::new(YAML);
        let shown = plain(
            &stack
                .routeto("deploy", "")
                .env("TERM", term)
                .terminal(80)
                .shows_secrets()
                .check()
                .stdout,
        );
        let made = [
            "bucket NAME-prod",
            "role NAME-prod-us-east-1",
            "function NAME-prod",
            "api NAME",
            "stage prod",
        ]
        .map(|name| stack.fill(name));
        for name in made {
            let line = format!("created   {name} (");
            assert_eq!(shown.matches(&line).count(), 1, "{term}: {line}\n{shown}");
        }
        // where it draws, lines are filled up to the terminal's edge and follow one another without
        // an end
        let long: Vec<&str> = shown
            .lines()
            .filter(|line| line.chars().count() > 80 && !line.contains("http"))
            .collect();
        assert!(term != "dumb" || long.is_empty(), "{term}: {shown}");
    }
}

#[test]
fn on_a_terminal_teardown_asks_and_only_yes_is_yes() {
    let stack = Stack::new(YAML);
    let deployed = stack.deploy();
    for (answer, options) in [("n\n", ""), ("\n", "-q"), ("nonsense\n", "")] {
        let kept = stack.routeto("teardown", options).terminal(80).stdin(answer).output();
        let shown = plain(&kept.stdout);
        assert!(
            shown.contains(&stack.fill("- function NAME-prod")),
            "it is asked about a list: {shown}"
        );
        assert!(shown.contains('?') && shown.contains(&stack.name), "{shown}");
        assert_eq!(
            deployed.post("prod", "/input", "application/json", b"{}").status,
            200,
            "{shown}"
        );
    }
    let gone = stack.routeto("teardown", "--delete-data").terminal(80).stdin("y\n").check();
    assert_eq!(stack.world().names(), [] as [String; 0], "{}", gone.stdout);
}

#[test]
fn a_teardown_that_cannot_ask_deletes_nothing_and_a_dry_run_lists_what_would_go() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let deployed = stack.deploy();
    deployed.store("prod", "/input", "application/json", b"{}");
    let before = stack.world();
    proxy.clear();
    for options in ["", "--delete-data", "--stage prod --delete-data"] {
        let said =
            stack.routeto("teardown", options).fails(64, &["nothing was deleted", "--dry-run"]);
        let again =
            format!("`routeto teardown stack.yaml {options}").trim_end().to_owned() + " --yes`";
        assert!(said.contains(&again), "{said}");
    }
    // Somebody may seem to type where a CI system lends a terminal, or with nothing but stdin on
    // one.
    stack.routeto("teardown", "").stdin("y\n").status(64).check();
    stack.routeto("teardown", "").env("CI", "true").terminal(80).stdin("y\n").status(64).check();
    assert_eq!(proxy.calls().len(), 0, "refused before anything is asked of AWS");

    let text = |options: &str| {
        stack.routeto("teardown", options).check().stdout.replace(&stack.name, "NAME")
    };
    assert_eq!(
        text("--dry-run"),
        "- log group /aws/lambda/NAME-prod\n- log group /routeto/NAME\n- role NAME-prod-us-east-1\n- function NAME-prod\n- api NAME\n\
         - stage prod\n= bucket NAME-prod: kept, it holds objects\n6 to delete, 1 kept, 0 unchanged\n"
    );
    assert!(
        text("--dry-run --delete-data --yes").starts_with("- bucket NAME-prod\n"),
        "{}",
        text("--dry-run --delete-data")
    );
    let said = stack.routeto("teardown", "--dry-run").json();
    assert_eq!(
        (&said["version"], &said["changes"]["deleted"].as_array().map(Vec::len)),
        (&json!(1), &Some(6)),
        "{said:#}"
    );
    assert_eq!(proxy.mutations(), [] as [String; 0]);
    assert_eq!(stack.world(), before);
    stack.teardown();
    assert_eq!(text("--dry-run"), "nothing of stack NAME stands in us-east-1\n");
}

#[test]
fn stages_are_shown_in_the_files_order() {
    let stack = Stack::new(&YAML.replace("  prod: {}", "  staging: {}\n  prod: {}\n  dev: {}"));
    let tokens = |verb: &str, options: &str| {
        stack.routeto(verb, options).env("ROUTETO_TOKEN_STAGING", "staging-Token_0123456789.~")
    };
    let order = |text: &str| {
        let last = |line: &str| {
            line.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned()
        };
        text.lines()
            .map(last)
            .filter(|word| ["staging", "prod", "dev"].contains(&word.as_str()))
            .collect::<Vec<_>>()
    };
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    const FILE: [&str; 3] = ["staging", "prod", "dev"];
    // buckets, log groups, functions, stages; a role's name ends with the region
    let kinds = |n: usize| FILE.repeat(n);
    assert_eq!(order(&tokens("plan", "").check().stdout), kinds(4));
    assert_eq!(keys(&tokens("deploy", "").json()["stages"]), FILE);
    assert_eq!(order(&tokens("deploy", "").check().stdout), FILE);
    let status = tokens("status", "").json();
    assert_eq!(keys(&status["stages"]), FILE);
    assert_eq!(status["history"][0]["stages"], json!(FILE), "{status:#}");
    assert_eq!(order(tokens("status", "").check().stdout.split("history").next().unwrap()), FILE);
    assert_eq!(order(&tokens("teardown", "--dry-run").check().stdout), kinds(4));
    stack.teardown();
}

#[test]
fn a_plan_and_a_status_read_like_this() {
    let stack = Stack::new(YAML);
    let text = |verb: &str| stack.routeto(verb, "").check().stdout.replace(&stack.name, "NAME");
    assert_eq!(
        text("plan"),
        "+ bucket NAME-prod\n+ log group /aws/lambda/NAME-prod\n+ log group /routeto/NAME\n+ role NAME-prod-us-east-1\n+ function NAME-prod\n\
         + api NAME\n+ stage prod\n7 to create, 0 unchanged\n"
    );
    let deployed = stack.deploy();
    stack.rewrite(
        &YAML
            .replace("SendGrid/", "Mail/")
            .replace("prod: {}", "prod: { throttle: { rate: 7, burst: 9 } }"),
    );
    assert_eq!(
        text("plan"),
        "~ role NAME-prod-us-east-1\n    policy:\n      +s3:PutObject on arn:aws:s3:::NAME-prod/Mail/* in account 000000000000\n       \
         s3:PutObject on arn:aws:s3:::NAME-prod/SendGrid/* in account 000000000000\n~ stage prod\n  + throttle: 7 a second, burst 9\n    \
         variable destination_input: s3://NAME-prod/SendGrid/ → s3://NAME-prod/Mail/\n2 to update, 5 unchanged\n"
    );
    let second = stack.deploy();
    let url = deployed.url("prod", "/input");
    let api = url.strip_suffix("/prod/input").unwrap().rsplit('/').next().unwrap();
    let deployment = second.0["stages"]["prod"]["deployment_id"].as_str().unwrap();
    let status = text("status")
        .replace(&url, "URL")
        .replace(deployment, "DEPLOYMENT")
        .replace(api, "API-ID");
    assert_eq!(
        status.split("history\n").next().unwrap(),
        "stack NAME in account 000000000000, us-east-1, API API-ID\nprod\n  URL → s3://NAME-prod/Mail/\n  function version 1, deployment \
         DEPLOYMENT, token set\n  before: function version 1, deployment DEPLOYMENT (a rollback goes there, with its destination_input)\neverything is as the stack file says\n"
    );
    stack.rewrite(&YAML.replace("/input:", "/in:"));
    let api = |text: &str| {
        text.split("~ api NAME\n")
            .nth(1)
            .unwrap()
            .split("~ stage prod\n")
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        api(&text("plan")),
        "  + POST /in: 11 settings (-v shows)\n  - POST /input: 11 settings (-v shows)\n"
    );
    let whole = api(&stack.routeto("plan", "-v").check().stdout.replace(&stack.name, "NAME"));
    let lines = [
        "  + POST /in timeout: 29000 ms",
        "  - POST /input timeout: 29000 ms",
        "  + POST /in template application/json:",
        "      +#set($destination = $stageVariables.destination_in)",
    ];
    assert!(lines.iter().all(|wanted| whole.lines().any(|line| line == *wanted)), "{whole}");
}
