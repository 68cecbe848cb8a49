//! How few calls a deploy needs, and how few of them wait for each other. Nothing here is timed:
//! `benches/deploy.rs` does that.

use crate::support::proxy::Call;
use crate::support::{Emulator, Proxy, Routeto, Stack, root};
use std::fmt::Write;
use std::time::Duration;

/// Longer than routeto thinks between an answer and the calls that follow from it, on a busy
/// machine, too.
const QUIET: Duration = Duration::from_millis(1000);

/// `stacks/sendgrid-s3.yaml` under names of a test's own.
fn yaml() -> String {
    let text = std::fs::read_to_string(root().join("stacks/sendgrid-s3.yaml")).unwrap();
    text.replace("sendgrid-", "NAME-").replace("stack: NAME-s3", "stack: NAME")
}

/// The round trips of a command; the probe, which goes to the stage, and polls for a function's
/// state aside.
fn rounds(proxy: &Proxy, routeto: Routeto) -> Vec<Vec<String>> {
    proxy.clear();
    routeto.check();
    // A sign of the lock's holder, and the look that comes with it, every five seconds whatever
    // else is going on; nothing waits for it.
    let signs = |call: &Call| {
        call.name() == "logs:PutLogEvents"
            && String::from_utf8_lossy(&call.body).contains("\"lock-")
    };
    let only_signs = |calls: &[Call]| {
        calls.iter().any(signs)
            && calls.iter().all(|call| signs(call) || call.name() == "logs:DescribeLogStreams")
    };
    proxy
        .rounds()
        .into_iter()
        .filter(|calls| !only_signs(calls))
        .map(|calls| calls.iter().map(Call::name).collect())
        .collect()
}

#[test]
fn a_first_deploy_takes_ten_round_trips_no_change_two_one_template_seven_and_a_teardown_five() {
    // What is not the program's doing (a call that the emulator answered 500, another test at work,
    // and that was sent again) only ever adds a round: one try of a command in which there are
    // none shows how many it needs.
    let wanted = [10, 2, 7, 5];
    let mut tries: Vec<[Vec<Vec<String>>; 4]> = vec![];
    for _ in 0..6 {
        tries.push(all_rounds());
        let least = |command: usize| tries.iter().map(|rounds| rounds[command].len()).min();
        if (0..4).all(|command| least(command) <= Some(wanted[command])) {
            return;
        }
    }
    panic!("each at most {wanted:?} rounds in one of the tries: {tries:#?}");
}

/// The round trips of a first deploy, of one that has nothing to do, of one with a changed
/// template, and of a teardown.
fn all_rounds() -> [Vec<Vec<String>>; 4] {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, &yaml());
    proxy.lockstep(QUIET);
    let deploy = || stack.routeto("deploy", "");
    let first = rounds(&proxy, deploy());

    let nothing = rounds(&proxy, deploy());
    assert_eq!(proxy.mutations(), [] as [String; 0]);

    stack.file(
        "own.vtl",
        std::fs::read_to_string(root().join("mapping-templates/json.vtl")).unwrap() + "\n",
    );
    stack.rewrite(
        &yaml().replace("    s3:\n", "    templates: { application/json: own.vtl }\n    s3:\n"),
    );
    let changed = rounds(&proxy, deploy());
    let wanted = ["apigateway:PutRestApi", "apigateway:CreateDeployment", "apigateway:UpdateStage"];
    let mut made: Vec<String> =
        proxy.mutations().into_iter().filter(|name| !name.starts_with("logs:")).collect();
    // the SDK sends again what the emulator under load answers 500
    made.dedup();
    assert_eq!(made, wanted);

    let gone = rounds(&proxy, stack.routeto("teardown", "--yes"));
    assert_eq!(stack.world().names(), [] as [String; 0]);
    [first, nothing, changed, gone]
}

/// Who it is, the API and the lock; the stage; the lock is taken; the token is set; the lock goes
/// back. As above, one try shows how few it needs.
#[test]
fn a_new_token_takes_five_round_trips() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, &yaml());
    stack.deploy();
    proxy.lockstep(QUIET);
    let mut tries = vec![];
    for n in 0..6 {
        let token = format!("number-{n}-Token_0123456789abc");
        tries.push(rounds(
            &proxy,
            stack
                .routeto("set-token", "--stage prod --now --token-stdin")
                .stdin(&token)
                .secret(&token),
        ));
        if tries.iter().any(|rounds| rounds.len() <= 5) {
            return;
        }
    }
    panic!("at most five rounds in one of the tries: {tries:#?}");
}

/// So many routes, all of them to one bucket.
fn many(routes: usize) -> String {
    let mut yaml = String::from(
        "stack: NAME\nstages:\n  prod: { throttle: { rate: 1000, burst: 2000 } }\nroutes:\n",
    );
    for n in 1..=routes {
        let _ =
            writeln!(yaml, "  /r{n}: {{ s3: {{ bucket: \"NAME-${{stage}}\", prefix: r{n}/ }} }}");
    }
    yaml
}

#[test]
fn sixty_routes_take_as_many_calls_as_three_and_none_is_throttled() {
    let calls = [3, 30, 60].map(|routes| {
        let proxy = Proxy::start(Emulator::shared());
        let stack = Stack::through(&proxy, &many(routes));
        // The emulator loads a service when it is first asked of, longer than a hurried call waits
        // for its answer.
        stack.routeto("plan", "").check();
        proxy.quotas(10);
        let run = |verb: &str, options: &str| {
            proxy.clear();
            stack.routeto(verb, options).env("ROUTETO_TEST_CLOCK", "10").check();
            let calls = proxy.calls();
            let throttled: Vec<&Call> =
                calls.iter().filter(|call| call.status == Some(429)).collect();
            assert!(throttled.is_empty(), "{routes} routes, {verb}: {throttled:?}");
            calls
                .iter()
                .filter(|call| call.service == "apigateway")
                .map(Call::name)
                .collect::<Vec<_>>()
        };
        let deploy = run("deploy", "");
        let nothing = run("deploy", "");
        stack.rewrite(&many(routes).replace("/r1:", "/other:"));
        let change = run("deploy", "");
        let teardown = run("teardown", "--yes");
        [deploy, nothing, change, teardown].map(|mut names| {
            names.sort();
            names
        })
    });
    assert_eq!(calls[0], calls[1]);
    assert_eq!(calls[0], calls[2]);
    assert!(calls[0][0].len() <= 10, "{:?}", calls[0][0]);
}

/// The emulator as its makers made it takes less of the document than API Gateway does: gateway
/// responses and the content handling of responses are put singly, before the deployment is made.
#[test]
fn what_a_back_end_does_not_take_from_the_document_is_put_singly() {
    let proxy = Proxy::start(Emulator::shared());
    let mut stack = Stack::through(&proxy, &yaml());
    let name = format!("as-it-is-{}", stack.name);
    stack.name = name;
    stack.rewrite(&yaml());
    stack.deploy();
    let names = proxy.mutations();
    let at = |name: &str| {
        names
            .iter()
            .position(|other| other == name)
            .unwrap_or_else(|| panic!("no {name} in {names:?}"))
    };
    assert_eq!(names.iter().filter(|name| *name == "apigateway:PutGatewayResponse").count(), 2);
    assert!(at("apigateway:UpdateIntegrationResponse") < at("apigateway:CreateDeployment"));
    stack.routeto("plan", "--exit-code").check();
    stack.teardown();
    assert_eq!(stack.world().names(), [] as [String; 0]);
}
