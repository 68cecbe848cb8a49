//! What is told of a stack as a deploy leaves it, with one thing set by hand.

use super::*;
use crate::{
    desired::{Inputs, desired},
    observed::Account,
    plan::{Options, plan},
    report::json,
    spec::{self, Source, World},
};
use std::path::Path;

const YAML: &str = "
stack: hooks
routes:
  /input:
    s3: { bucket: 'hooks-${stage}', prefix: in/, expire_after: 400 }
  /kept:
    s3: { bucket: 'hooks-${stage}', prefix: kept/ }
  /mail:
    sqs: { queue: 'mail-${stage}' }
stages:
  prod: { throttle: { rate: 5, burst: 10 } }
";

fn wanted(yaml: &str) -> Resources {
    let source = Source { path: Path::new("hooks.yaml"), bytes: yaml.as_bytes() };
    let world = World {
        env: &|_| None,
        read: &|_| Err(std::io::Error::other("no files here")),
        region: Some("us-east-1"),
    };
    let account = Account {
        id: "123456789012".into(),
        region: "us-east-1".into(),
        partition: "aws".into(),
        caller: "arn:aws:iam::1:user/me".into(),
    };
    let stack = spec::load(&source, &world).expect("a good stack").stack;
    desired(
        &stack,
        &Inputs { account: &account, code_sha256: "code1=", existing: &BTreeMap::new() },
    )
}

/// All of the stack is there, and this was set.
fn told_of(yaml: &str, set: impl Fn(&mut Observed)) -> Vec<String> {
    let desired = wanted(yaml);
    let mut observed = Observed { resources: desired.clone(), ..Observed::default() };
    set(&mut observed);
    let risks = of(&desired, &observed);
    // The plan has them, and so has what a program reads; what goes or isn't there yet has none.
    let planned = plan(&desired, &observed, Options::default()).expect("no obstacles");
    assert_eq!(planned.risks, risks);
    assert_eq!(
        json::plan("hooks", "us-east-1", &planned)["risks"].as_array().map(Vec::len),
        Some(risks.len())
    );
    assert_eq!(of(&Resources::new(), &observed), []);
    let absent = Observed { resources: Resources::new(), ..observed };
    assert_eq!(of(&desired, &absent), []);
    risks.iter().map(ToString::to_string).collect()
}

fn told(set: impl Fn(&mut Observed)) -> Vec<String> {
    told_of(YAML, set)
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_stack_as_a_deploy_leaves_it_has_no_risks() {
    assert_eq!(told(|_| ()), NOTHING);
}

#[test]
fn other_policies_of_a_role_are_told_by_name() {
    let set = |state: RoleState| {
        move |observed: &mut Observed| {
            drop(observed.roles.insert("hooks-prod-us-east-1".into(), state.clone()))
        }
    };
    let attached =
        |name: &str| RoleState { attached: [name.to_owned()].into(), ..RoleState::default() };
    assert_eq!(
        told(set(attached("AdministratorAccess"))),
        [
            "role hooks-prod-us-east-1 has the policy AdministratorAccess attached: the function may do anything in the account. \
          Detach it if that isn't meant."
        ]
    );
    assert_eq!(
        told(set(attached("ReadOnlyAccess"))),
        [
            "role hooks-prod-us-east-1 has the policy ReadOnlyAccess attached: the function may do what that allows, beyond \
          storing webhooks. Detach it if that isn't meant."
        ]
    );
    assert_eq!(
        told(set(RoleState { inline: ["by-hand".to_owned()].into(), ..RoleState::default() })),
        [
            "role hooks-prod-us-east-1 has the inline policy \"by-hand\": the function may do what that allows, beyond storing \
          webhooks. Delete it if that isn't meant."
        ]
    );
    assert_eq!(
        told(set(RoleState { unread: true, ..RoleState::default() })),
        [
            "role hooks-prod-us-east-1 may have more policies: these credentials may not list them. Allow \
          iam:ListRolePolicies and iam:ListAttachedRolePolicies (docs/permissions.md)."
        ]
    );
    assert_eq!(told(set(RoleState::default())), NOTHING);
}

#[test]
fn a_function_that_may_never_run_is_told() {
    let set = |reserved_concurrency| {
        let state = FunctionState { reserved_concurrency, ..FunctionState::default() };
        move |observed: &mut Observed| {
            drop(observed.functions.insert("hooks-prod".into(), state.clone()))
        }
    };
    assert_eq!(
        told(set(Some(0))),
        [
            "function hooks-prod has a reserved concurrency of 0: it never runs, so every webhook is answered 503 and none is \
          stored. Raise or remove its reserved concurrency to store webhooks."
        ]
    );
    assert_eq!(told(set(Some(1))), NOTHING);
    assert_eq!(told(set(None)), NOTHING);
}

#[test]
fn a_function_that_others_may_call_is_told() {
    let actions = ["lambda:InvokeFunctionUrl".to_owned()].into();
    let open = Opening { sid: "url".into(), whom: "anyone".into(), actions };
    let state = FunctionState { openings: vec![open], ..FunctionState::default() };
    assert_eq!(
        told(|observed| drop(observed.functions.insert("hooks-prod".into(), state.clone()))),
        ["function hooks-prod has the statement \"url\" in its policy that allows anyone \
          lambda:InvokeFunctionUrl: records can be made up without a token. Remove the statement if \
          that isn't meant."]
    );
}

#[test]
fn a_queue_that_delays_repeats_or_lets_others_in_is_told() {
    let set = |delay, visibility_timeout, openings: &[Opening]| {
        let state = QueueState { openings: openings.to_vec(), delay, visibility_timeout };
        move |observed: &mut Observed| {
            drop(observed.queues.insert("mail-prod".into(), state.clone()))
        }
    };
    assert_eq!(
        told(set(900, 30, &[])),
        [
            "queue mail-prod holds each message back for 900 s (DelaySeconds): workers get webhooks that much later. \
          Set it to 0 if that isn't meant."
        ]
    );
    assert_eq!(
        told(set(0, 1, &[])),
        [
            "queue mail-prod hides a received message for 1 s only (VisibilityTimeout): a worker that takes longer shares it \
          with others, and it may end as a dead letter though it was handled. Set it to more than a worker needs for a \
          message (30 is SQS's default)."
        ]
    );
    let actions = ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage", "sqs:SendMessage"];
    let open = Opening {
        sid: String::new(),
        whom: "anyone".into(),
        actions: actions.map(str::to_owned).into(),
    };
    assert_eq!(
        told(set(0, 30, &[open])),
        [
            "queue mail-prod has a statement in its policy that allows anyone sqs:DeleteMessage, sqs:GetQueueUrl, \
          sqs:ReceiveMessage, …: messages are open to more than this account. Remove the statement if that isn't meant."
        ]
    );
    for visibility_timeout in [5, 30, 43_200] {
        assert_eq!(told(set(0, visibility_timeout, &[])), NOTHING);
    }
}

#[test]
fn a_methods_own_throttle_is_told_where_it_is_lower_than_the_files_or_an_accounts() {
    const NO_THROTTLE: &str = "prod: {}";
    let says = |throttle: &str, method: Option<&str>, rate: f64, burst: i32| {
        let setting = MethodSetting {
            method: method.map(str::to_owned),
            rate,
            burst,
            data_trace: false,
            cached: false,
        };
        let state = StageState { settings: vec![setting], ..StageState::default() };
        let yaml = YAML.replace("prod: { throttle: { rate: 5, burst: 10 } }", throttle);
        told_of(&yaml, |observed| drop(observed.stages.insert("prod".into(), state.clone())))
    };
    let file = "prod: { throttle: { rate: 5, burst: 10 } }";
    let input = Some("POST /input");
    assert_eq!(
        says(file, input, 0.0, 0),
        [
            "stage prod limits POST /input to 0 requests a second, burst 0; the stack file says 5 a second, burst 10: every \
          webhook is answered 503 and isn't stored. Remove the method's own throttle if that isn't meant."
        ]
    );
    assert_eq!(
        says(NO_THROTTLE, input, 5.0, 100),
        [
            "stage prod limits POST /input to 5 requests a second, burst 100; the stack file says no limit: what is beyond is \
          answered 503 and isn't stored. Remove the method's own throttle if that isn't meant."
        ]
    );
    let lower = [
        (file, 4.9, 10),
        (file, 5.0, 9),
        (file, 10_000.0, 0),
        (NO_THROTTLE, 0.0, 5_000),
        (NO_THROTTLE, 2_499.0, 5_000),
    ];
    for (file, rate, burst) in lower {
        assert_eq!(says(file, input, rate, burst).len(), 1, "{file} {rate} {burst}");
    }
    // as high, an account's limits, none; and what is set for all routes is a difference of the
    // plan
    let harmless = [
        (file, 5.0, 10),
        (file, 10_000.0, 5_000),
        (NO_THROTTLE, 2_500.0, 1_250),
        (file, -1.0, -1),
        (NO_THROTTLE, -1.0, -1),
    ];
    for (file, rate, burst) in harmless {
        assert_eq!(says(file, input, rate, burst), NOTHING, "{file} {rate} {burst}");
    }
    assert_eq!(says(file, None, 0.0, 0), NOTHING);
}

#[test]
fn data_tracing_a_cache_that_is_on_and_a_canary_are_told() {
    let set = |method: Option<&str>, data_trace, cached, has_cache, canary: Option<f64>| {
        let setting = MethodSetting {
            method: method.map(str::to_owned),
            rate: -1.0,
            burst: -1,
            data_trace,
            cached,
        };
        let canary = canary.map(|percent| ("d2".to_owned(), percent));
        let state =
            StageState { settings: vec![setting], has_cache, canary, ..StageState::default() };
        move |observed: &mut Observed| drop(observed.stages.insert("prod".into(), state.clone()))
    };
    assert_eq!(
        told(set(None, true, false, false, None)),
        [
            "stage prod logs whole requests of every route (data tracing): bodies and tokens stand in API Gateway's log. Turn \
          data tracing off and delete that log, unless that is meant."
        ]
    );
    assert_eq!(
        told(set(Some("POST /mail"), false, true, true, None)),
        [
            "stage prod answers POST /mail from a cache: a webhook that is answered from there isn't stored. Turn the cache off."
        ]
    );
    assert_eq!(
        told(set(None, false, false, false, Some(12.5))),
        [
            "stage prod sends 12.5 % of its requests to the canary deployment d2, which routeto doesn't set or probe. Delete or \
          promote the canary if that isn't meant."
        ]
    );
    for harmless in
        [(false, true, false, None), (false, false, true, None), (false, false, false, Some(0.0))]
    {
        let (data_trace, cached, has_cache, canary) = harmless;
        assert_eq!(told(set(None, data_trace, cached, has_cache, canary)), NOTHING, "{harmless:?}");
    }
}

#[test]
fn a_rule_that_deletes_records_before_the_file_says_so_is_told() {
    let set = |prefix: &str, days: Option<u32>| {
        let rule = Expiry { rule: "clean".into(), prefix: prefix.into(), days };
        let state = BucketState { expiries: vec![rule], ..BucketState::default() };
        move |observed: &mut Observed| {
            drop(observed.buckets.insert("hooks-prod".into(), state.clone()))
        }
    };
    let text = |what: &str| {
        let rule =
            "bucket hooks-prod has the lifecycle rule \"clean\", which deletes records below";
        [format!("{rule} {what}. Remove or lengthen the rule if that isn't meant.")]
    };
    assert_eq!(
        told(set("in/", Some(1))),
        text("\"in/\" after a day; the stack file says 400 days")
    );
    assert_eq!(
        told(set("in/2026/", Some(399))),
        text("\"in/2026/\" after 399 days; the stack file says 400 days")
    );
    assert_eq!(told(set("in/", None)), text("\"in/\" at a date; the stack file says 400 days"));
    assert_eq!(
        told(set("kept/", Some(3650))),
        text("\"kept/\" after 3650 days; the stack file keeps them")
    );
    // the whole bucket's: later than the one prefix's, and earlier than never
    assert_eq!(
        told(set("", Some(3650))),
        text("\"kept/\" after 3650 days; the stack file keeps them")
    );
    // as late as the file says, and where no route stores anything
    for (prefix, days) in [("in/", 400), ("in/", 3650), ("reports/", 1), ("input/", 1)] {
        assert_eq!(told(set(prefix, Some(days))), NOTHING, "{prefix} {days}");
    }
}

#[test]
fn a_statement_of_a_buckets_policy_that_lets_others_in_is_told() {
    let open = Opening {
        sid: "Public".into(),
        whom: "anyone".into(),
        actions: ["s3:GetObject".to_owned()].into(),
    };
    let state = BucketState { openings: vec![open], ..BucketState::default() };
    assert_eq!(
        told(|observed| drop(observed.buckets.insert("hooks-prod".into(), state.clone()))),
        [
            "bucket hooks-prod has the statement \"Public\" in its policy that allows anyone s3:GetObject: records are open to \
          more than this account. Remove the statement if that isn't meant."
        ]
    );
}
