//! What AWS needs time for, and what answers in its stead: each is waited out with its reason told,
//! up to a limit, and an error names call, resource and what to do.

use crate::support::proxy::Gate;
use crate::support::{Emulator, Output, Proxy, Routeto, Stack, What, Which, aws};
use serde_json::json;
use std::time::Duration;

/// routeto's clock goes this much faster than the world's, and so do the delays.
const SPEED: u32 = 20;

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

const fn seconds(seconds: u64) -> Duration {
    Duration::from_millis(seconds * 1000 / SPEED as u64)
}

fn deploy(stack: &Stack, proxy: &Proxy) -> Routeto {
    stack
        .routeto("deploy", "")
        .env("ROUTETO_TEST_CLOCK", SPEED.to_string())
        .env("ROUTETO_INVOKE_URL", proxy.invoke_url())
}

fn told(output: &Output, reason: &str) {
    assert!(output.stderr.contains(reason), "{reason:?} is missing in:\n{}", output.stderr);
}

/// A first deploy with this in the way: the reason is told and the deploy goes on.
fn waited_out(which: Which, what: What, reason: &str) {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    proxy.fault(which, what);
    let output = deploy(&stack, &proxy).check();
    assert!(
        proxy.calls().iter().any(|call| call.faulty),
        "nothing was in the way: {:?}",
        proxy.calls()
    );
    told(&output, reason);
    proxy.heal();
    stack.routeto("plan", "--exit-code").status(0).check();
    assert_eq!(stack.world().0["apis"].as_array().unwrap().len(), 1);
}

/// As `waited_out`, for something that only a change meets.
fn waited_out_by_a_change(which: Which, what: What, reason: &str) {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    deploy(&stack, &proxy).check();
    stack.rewrite(&YAML.replace("routes:", "function: { memory: 256 }\nroutes:"));
    proxy.fault(which, what);
    told(&deploy(&stack, &proxy).check(), reason);
    proxy.heal();
    stack.routeto("plan", "--exit-code").status(0).check();
}

fn answer(status: u16, code: &'static str, message: &'static str) -> What {
    What::Answer { status, code, message }
}

#[test]
fn a_role_that_can_not_be_assumed_for_thirty_seconds() {
    let refused = answer(
        400,
        "InvalidParameterValueException",
        "The role defined for the function cannot be assumed by Lambda.",
    );
    waited_out(
        Which::During("lambda:CreateFunction", seconds(30)),
        refused,
        "the new role can't be assumed by Lambda yet",
    );
}

#[test]
fn a_role_that_shows_no_tags_yet_when_its_deploy_was_cut_off() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    // the reply is lost, the SDK's own second try is told that the role exists, and who looks sees
    // no tags
    proxy.fault(Which::Operation("iam:CreateRole", 1), What::CutAfter);
    let role = format!("{}-prod-us-east-1", stack.name);
    let text = format!(
        "<GetRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><GetRoleResult><Role><Path>/</Path><RoleName>{role}</RoleName>\
         <RoleId>AROATEST</RoleId><Arn>arn:aws:iam::000000000000:role/{role}</Arn><CreateDate>{}</CreateDate>\
         <Description>of a routeto function</Description></Role></GetRoleResult></GetRoleResponse>",
        now()
    );
    let read = Which::AfterFirst { change: "iam:CreateRole", read: "iam:GetRole", times: 6 };
    proxy.fault(read, What::Body { status: 200, kind: "text/xml", text });
    // two looks on a busy machine took longer than the 2 s that the tests' usual clock makes of the
    // 20 s that tags are waited for
    told(
        &deploy(&stack, &proxy).env("ROUTETO_TEST_CLOCK", "1").check(),
        "was just made and shows no tags yet",
    );
    let untagged =
        proxy.calls().iter().filter(|call| call.faulty && call.name() == "iam:GetRole").count();
    assert_eq!(untagged, 6, "{:?}", proxy.calls());
    proxy.heal();
    stack.routeto("plan", "--exit-code").status(0).check();
}

/// The time in UTC, as IAM writes it.
fn now() -> String {
    let date =
        std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    String::from_utf8(date.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_role_that_some_of_iam_does_not_know_yet() {
    let unknown = || answer(404, "NoSuchEntity", "The role with name r cannot be found.");
    let told = "IAM doesn't know the role everywhere yet";
    waited_out(Which::During("iam:PutRolePolicy", seconds(40)), unknown(), told);
    // its making got no answer, the second try says that it is there, and who looks is told that it
    // isn't
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    proxy.fault(Which::Operation("iam:CreateRole", 1), What::CutAfter);
    proxy.fault(
        Which::AfterFirst { change: "iam:CreateRole", read: "iam:GetRole", times: 8 },
        unknown(),
    );
    proxy.fault(Which::First("iam:TagRole", 4), unknown());
    // counted in calls, and on a slower clock: a busy machine would miss a time
    self::told(&deploy(&stack, &proxy).env("ROUTETO_TEST_CLOCK", "2").check(), told);
    let faulty =
        proxy.calls().into_iter().filter(|call| call.faulty && call.service == "iam").count();
    assert_eq!(faulty, 1 + 8 + 4, "{:?}", proxy.calls());
    proxy.heal();
    stack.routeto("plan", "--exit-code").status(0).check();
}

#[test]
fn a_function_that_some_of_lambda_does_not_know_yet() {
    let unknown = || {
        answer(
            404,
            "ResourceNotFoundException",
            "Function not found: arn:aws:lambda:us-east-1:000000000000:function:f:1",
        )
    };
    for operation in ["lambda:AddPermission", "lambda:GetFunctionConfiguration"] {
        waited_out(
            Which::During(operation, seconds(30)),
            unknown(),
            "Lambda doesn't know its new function or version everywhere yet",
        );
    }
    let busy = answer(
        409,
        "ResourceConflictException",
        "The operation cannot be performed at this time. The function is in state Pending",
    );
    waited_out(
        Which::During("lambda:AddPermission", seconds(30)),
        busy,
        "Lambda is still busy with the function",
    );
}

#[test]
fn a_function_that_is_pending_before_it_is_active() {
    let text =
        r#"{"FunctionName":"x","State":"Pending","LastUpdateStatus":"Successful"}"#.to_owned();
    let pending = What::Body { status: 200, kind: "application/json", text };
    waited_out(
        Which::During("lambda:GetFunctionConfiguration", seconds(40)),
        pending,
        "version 1 is Pending",
    );
}

/// Not by the first run, and not by another, which finds the version published already.
#[test]
fn a_version_that_lambda_can_not_make_ready_is_moved_to_by_no_run() {
    let text = r#"{"FunctionName":"x","State":"Failed","StateReason":"its key is gone","LastUpdateStatus":"Successful"}"#;
    let failed = || What::Body { status: 200, kind: "application/json", text: text.to_owned() };
    let every = || Which::Every("lambda:GetFunctionConfiguration");
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let function = format!("function {}-prod", stack.name);
    let words = [
        function.as_str(),
        "Lambda couldn't make the function ready: its key is gone",
        "so that it gets another version",
    ];
    // the stage of a new API is there, and the next run still says why it gives no right answers
    proxy.fault(every(), failed());
    for _ in 0..2 {
        deploy(&stack, &proxy).fails(1, &words);
        assert!(stack.world().stage("prod").is_object());
    }
    // nor does one that has something else to do
    stack.rewrite(&YAML.replace("prod: {}", "prod: { throttle: { rate: 5, burst: 10 } }"));
    deploy(&stack, &proxy).fails(1, &words);
    proxy.heal();
    deploy(&stack, &proxy).check();
    stack.rewrite(&YAML.replace("routes:", "function: { memory: 256 }\nroutes:"));
    proxy.fault(every(), failed());
    proxy.clear();
    for _ in 0..2 {
        deploy(&stack, &proxy).fails(1, &words);
    }
    assert!(
        !proxy.mutations().contains(&"apigateway:UpdateStage".to_owned()),
        "{:?}",
        proxy.mutations()
    );
    proxy.heal();
    // the throttle goes in the same call
    deploy(&stack, &proxy).check();
    stack.routeto("plan", "--exit-code").status(0).check();
}

#[test]
fn an_update_of_the_function_that_is_in_progress() {
    let busy =
        "The operation cannot be performed at this time. An update is in progress for resource";
    for operation in ["lambda:UpdateFunctionConfiguration", "lambda:PublishVersion"] {
        let refused = answer(409, "ResourceConflictException", busy);
        waited_out_by_a_change(
            Which::During(operation, seconds(30)),
            refused,
            "Lambda is still busy with the function",
        );
    }
}

#[test]
fn a_bucket_that_some_of_s3_does_not_know_yet() {
    let unknown = answer(404, "NoSuchBucket", "The specified bucket does not exist");
    waited_out(
        Which::During("s3:PutBucketPolicy", seconds(20)),
        unknown,
        "S3 doesn't know the bucket everywhere yet",
    );
}

#[test]
fn a_bucket_whose_name_s3_is_still_deleting() {
    let refused = answer(
        409,
        "OperationAborted",
        "A conflicting conditional operation is currently in progress against this resource.",
    );
    waited_out(
        Which::During("s3:CreateBucket", seconds(60)),
        refused,
        "S3 is still deleting a bucket of this name",
    );
}

#[test]
fn a_bucket_that_s3_will_not_delete_while_it_is_at_something_else() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    deploy(&stack, &proxy).check();
    let refused = answer(
        409,
        "OperationAborted",
        "A conflicting conditional operation is currently in progress against this resource.",
    );
    proxy.fault(Which::During("s3:DeleteBucket", seconds(40)), refused);
    told(
        &stack.routeto("teardown", "--yes").env("ROUTETO_TEST_CLOCK", SPEED.to_string()).check(),
        "another change of the bucket",
    );
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

#[test]
fn a_role_that_iam_is_changing_when_it_is_to_go() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    deploy(&stack, &proxy).check();
    let refused = answer(
        409,
        "ConcurrentModification",
        "The request was rejected because multiple requests to change this object were submitted",
    );
    // longer than the lock's signs may be missing, by its clock: it goes with its group meanwhile,
    // and then wants none
    proxy.fault(Which::During("iam:DeleteRolePolicy", Duration::from_secs(11)), refused);
    let teardown = stack
        .routeto("teardown", "--yes")
        .env("ROUTETO_TEST_CLOCK", SPEED.to_string())
        .env("ROUTETO_TEST_LOCK_CLOCK", "5");
    told(&teardown.check(), "IAM is changing the role");
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

/// The lock has gone with its group by then, so that another deploy may have made the role anew.
#[test]
fn a_role_that_was_made_anew_while_the_old_one_went_stays() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    stack.deploy();
    let role = stack.fill("NAME-prod-us-east-1");
    let gate = Gate::new();
    proxy.fault(Which::Operation("iam:DeleteRole", 1), What::Hold(gate.clone()));
    let running = stack.routeto("teardown", "--yes").spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    aws::call("iam", "delete_role", json!({"RoleName": role}));
    aws::call("iam", "create_role", json!({"RoleName": role, "AssumeRolePolicyDocument": "{}"}));
    let statement = json!({"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"});
    let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    aws::call(
        "iam",
        "put_role_policy",
        json!({"RoleName": role, "PolicyName": "routeto", "PolicyDocument": policy}),
    );
    gate.open();
    let output = running.wait();
    assert_eq!(output.status, 0, "{output:?}");
    let policies = aws::call("iam", "list_role_policies", json!({"RoleName": role}));
    assert_eq!(policies["PolicyNames"], json!(["routeto"]));
    aws::call("iam", "delete_role_policy", json!({"RoleName": role, "PolicyName": "routeto"}));
    aws::call("iam", "delete_role", json!({"RoleName": role}));
}

#[test]
fn a_quota_that_is_reached_is_no_throttling() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let reached = answer(429, "LimitExceededException", "Maximum number of Regional APIs reached");
    proxy.fault(Which::Every("apigateway:CreateRestApi"), reached);
    let words = [
        &format!("api {}", stack.name),
        "apigateway:CreateRestApi",
        "Maximum number",
        "a quota of the account is reached",
    ];
    deploy(&stack, &proxy).fails(1, &words);
    proxy.heal();
    stack.teardown();
}

#[test]
fn a_queue_whose_name_sqs_keeps_for_sixty_seconds() {
    let refused = answer(
        400,
        "QueueDeletedRecently",
        "You must wait 60 seconds after deleting a queue before you can create another.",
    );
    waited_out(
        Which::During("sqs:CreateQueue", seconds(60)),
        refused,
        "SQS keeps the name of a deleted queue for 60 s",
    );
}

#[test]
fn an_update_of_the_function_that_takes_its_time() {
    let text = r#"{"FunctionName":"f","State":"Active","LastUpdateStatus":"InProgress"}"#;
    let body = What::Body { status: 200, kind: "application/json", text: text.into() };
    waited_out_by_a_change(
        Which::During("lambda:GetFunctionConfiguration", seconds(20)),
        body,
        "Lambda is carrying out the update",
    );
}

/// It answers as it did, and no stage uses it: SQS says that it is about to go only when it is to
/// be made.
#[test]
fn a_queue_that_was_deleted_a_moment_ago_and_still_answers() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    proxy.fault(Which::Every("apigateway:CreateStage"), answer(403, "AccessDenied", "no"));
    deploy(&stack, &proxy).fails(1, &["CreateStage"]);
    proxy.heal();
    let refused = answer(
        400,
        "QueueDeletedRecently",
        "You must wait 60 seconds after deleting a queue before you can create another.",
    );
    proxy.fault(Which::During("sqs:CreateQueue", seconds(60)), refused);
    told(&deploy(&stack, &proxy).check(), "SQS keeps the name of a deleted queue for 60 s");
    proxy.heal();
    // a stage uses it now: it is there
    proxy.clear();
    deploy(&stack, &proxy).check();
    assert_eq!(proxy.mutations(), [] as [String; 0]);
}

#[test]
fn an_api_whose_making_got_no_answer_and_that_is_not_listed_yet() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    proxy.fault(Which::Operation("apigateway:CreateRestApi", 1), What::CutAfter);
    // counted in calls, and on a slower clock: a busy machine would miss a time
    let unlisted = Which::AfterFirst {
        change: "apigateway:CreateRestApi",
        read: "apigateway:GetRestApis",
        times: 9,
    };
    proxy.fault(
        unlisted,
        What::Body { status: 200, kind: "application/json", text: r#"{"item":[]}"#.into() },
    );
    told(
        &deploy(&stack, &proxy).env("ROUTETO_TEST_CLOCK", "2").check(),
        "CreateRestApi got no answer; looking whether it was carried out",
    );
    assert_eq!(stack.world().0["apis"].as_array().unwrap().len(), 1);
    assert_eq!(
        proxy.mutations().iter().filter(|call| *call == "apigateway:CreateRestApi").count(),
        1
    );
}

#[test]
fn a_second_api_that_nobody_lists_until_it_is_too_late_is_removed_by_the_next_change() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    proxy.fault(Which::Operation("apigateway:CreateRestApi", 1), What::CutAfter);
    let unlisted = Which::After {
        change: "apigateway:CreateRestApi",
        read: "apigateway:GetRestApis",
        time: seconds(60),
    };
    proxy.fault(
        unlisted,
        What::Body { status: 200, kind: "application/json", text: r#"{"item":[]}"#.into() },
    );
    let first = deploy(&stack, &proxy).args("--output json").check();
    proxy.heal();
    assert_eq!(stack.world().0["apis"].as_array().unwrap().len(), 2);
    // the one that serves stays, though it is the younger: its URL is known to the providers
    let second = deploy(&stack, &proxy).args("--output json").check();
    let url = |output: &Output| {
        serde_json::from_str::<serde_json::Value>(&output.stdout).unwrap()["stages"]["prod"]["url"]
            .clone()
    };
    assert_eq!(url(&first), url(&second));
    assert_eq!(stack.world().0["apis"].as_array().unwrap().len(), 1);
    stack.routeto("plan", "--exit-code").status(0).check();
}

#[test]
fn another_change_of_the_api_under_way() {
    let reason = "another change of the API is under way";
    let during = |operation| Which::During(operation, seconds(20));
    let modified =
        "Unable to complete operation due to concurrent modification. Please try again later.";
    waited_out(during("apigateway:PutRestApi"), answer(409, "ConflictException", modified), reason);
    let deploying = "Unable to deploy API because another deployment is in progress: Another Deployment is in progress";
    waited_out(
        during("apigateway:CreateDeployment"),
        answer(409, "ConflictException", deploying),
        reason,
    );
    let updating = answer(400, "BadRequestException", "There is already an update in progress");
    waited_out_by_a_change(during("apigateway:UpdateStage"), updating, reason);
}

#[test]
fn a_stage_that_answers_403_and_500_for_a_minute_after_it_was_made_or_moved() {
    for (status, text) in [
        (403, r#"{"message":"Missing Authentication Token"}"#),
        (500, r#"{"message":"Internal server error"}"#),
    ] {
        let wrong = || What::Body { status, kind: "application/json", text: text.into() };
        let reason = format!("probing: /input answers {status}");
        waited_out(Which::During("execute-api:Invoke", seconds(60)), wrong(), &reason);
        waited_out_by_a_change(Which::During("execute-api:Invoke", seconds(60)), wrong(), &reason);
    }
}

#[test]
fn what_takes_longer_than_the_limit_is_an_error_with_the_reason_and_what_to_do() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let refused = answer(
        409,
        "OperationAborted",
        "A conflicting conditional operation is currently in progress against this resource.",
    );
    proxy.fault(Which::Every("s3:CreateBucket"), refused);
    let words = [
        &format!("bucket {}-prod", stack.name),
        "s3:CreateBucket",
        "after 300 s still: S3 is still deleting a bucket of this name",
        "later",
    ];
    deploy(&stack, &proxy).fails(1, &words);
    proxy.heal();
    deploy(&stack, &proxy).check();
}

#[test]
fn no_wait_is_for_ever() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let never = |change: bool, operation: &'static str, what: What, reason: &str| {
        if change {
            stack.rewrite(&YAML.replace("routes:", "function: { memory: 256 }\nroutes:"));
        }
        proxy.fault(Which::Every(operation), what);
        // 300 s in five
        let error = deploy(&stack, &proxy)
            .env("ROUTETO_TEST_CLOCK", "60")
            .fails(1, &[operation, reason, "run the same command again later"]);
        assert!(error.contains(" s still: "), "{error}");
        proxy.heal();
        deploy(&stack, &proxy).check();
    };
    let refused = answer(
        400,
        "InvalidParameterValueException",
        "The role defined for the function cannot be assumed by Lambda.",
    );
    never(
        false,
        "lambda:CreateFunction",
        refused,
        "after 300 s still: the new role can't be assumed by Lambda yet",
    );
    let busy =
        "The operation cannot be performed at this time. An update is in progress for resource";
    let refused = answer(409, "ResourceConflictException", busy);
    never(
        true,
        "lambda:UpdateFunctionConfiguration",
        refused,
        "after 300 s still: Lambda is still busy with the function",
    );
    stack.rewrite(&YAML.replace("/input:", "/other:"));
    let modified =
        "Unable to complete operation due to concurrent modification. Please try again later.";
    let refused = answer(409, "ConflictException", modified);
    never(
        false,
        "apigateway:PutRestApi",
        refused,
        "after 300 s still: another change of the API is under way",
    );
}

#[test]
fn quotas_are_kept_with_any_number_of_routes_so_that_nothing_is_ever_throttled() {
    for routes in [3, 30] {
        let proxy = Proxy::start(Emulator::shared());
        proxy.quotas(SPEED);
        let paths: String = (0..routes)
            .map(|n| {
                format!("  /route-{n}:\n    s3: {{ bucket: \"NAME-${{stage}}\", prefix: r{n}/ }}\n")
            })
            .collect();
        let stack = Stack::through(
            &proxy,
            &format!("stack: NAME\nroutes:\n{paths}stages:\n  dev: {{}}\n  prod: {{}}\n"),
        );
        // POSTs go directly: these quotas are the control plane's
        stack.routeto("deploy", "").env("ROUTETO_TEST_CLOCK", SPEED.to_string()).check();
        stack.routeto("teardown", "--yes").env("ROUTETO_TEST_CLOCK", SPEED.to_string()).check();
        let throttled: Vec<String> = proxy
            .calls()
            .iter()
            .filter(|call| call.status == Some(429))
            .map(|call| format!("{call:?}"))
            .collect();
        assert_eq!(throttled, [] as [String; 0], "{routes} routes");
    }
}

/// API Gateway deletes one API in 30 s.
#[test]
fn two_apis_that_go_with_a_stack_go_as_far_apart_as_the_quota_wants() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    deploy(&stack, &proxy).check();
    let other = serde_json::json!({"name": stack.name, "tags": {"routeto:stack": stack.name}});
    crate::support::aws::call("apigateway", "create_rest_api", other);
    proxy.quotas(SPEED);
    proxy.clear();
    let output =
        stack.routeto("teardown", "--yes").env("ROUTETO_TEST_CLOCK", SPEED.to_string()).check();
    told(&output, "API Gateway's quota for DeleteRestApi");
    let calls = proxy.calls();
    let deletes: Vec<_> =
        calls.iter().filter(|call| call.name() == "apigateway:DeleteRestApi").collect();
    assert!(calls.iter().all(|call| call.status != Some(429)), "{deletes:?}");
    let [first, second] = deletes[..] else { panic!("{deletes:?}") };
    let apart = second.at - first.at;
    assert!(apart >= seconds(29), "{apart:?}");
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

/// Each service has its own word for it. Sources: the API references' "Common errors" and
/// botocore's retry tables (`_retry.json`).
#[test]
fn every_service_may_ask_to_go_slower_in_its_own_words() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let words = [
        ("iam:CreateRole", 400, "Throttling", "Rate exceeded"),
        ("sqs:CreateQueue", 403, "RequestThrottled", "Request is throttled."),
        ("s3:CreateBucket", 503, "SlowDown", "Please reduce your request rate."),
        ("logs:CreateLogGroup", 400, "ThrottlingException", "Rate exceeded"),
        ("lambda:CreateFunction", 429, "TooManyRequestsException", "Rate exceeded"),
    ];
    for (operation, status, code, message) in words {
        proxy.fault(Which::First(operation, 2), answer(status, code, message));
    }
    deploy(&stack, &proxy).check();
    for (operation, ..) in words {
        let struck =
            proxy.calls().iter().filter(|call| call.faulty && call.name() == operation).count();
        assert_eq!(struck, 2, "{operation}");
    }
    proxy.heal();
    stack.routeto("plan", "--exit-code").status(0).check();
}

/// As in an account in which much else is going on.
#[test]
fn with_four_of_ten_calls_throttled_a_deploy_and_a_teardown_get_through() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    proxy.fault(Which::Share { tenths: 4, seed: 26 }, What::Throttled);
    let output = deploy(&stack, &proxy).check();
    let calls = proxy.calls();
    let share = calls.iter().filter(|call| call.faulty).count() * 100 / calls.len();
    assert!((25..55).contains(&share), "{share} %");
    told(&output, "trying again for up to 180 s");
    proxy.heal();
    stack.routeto("plan", "--exit-code").status(0).check();
    proxy.fault(Which::Share { tenths: 4, seed: 27 }, What::Throttled);
    stack.routeto("teardown", "--yes").env("ROUTETO_TEST_CLOCK", SPEED.to_string()).check();
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

#[test]
fn a_call_that_is_throttled_all_the_same_is_made_again_when_aws_asks_for_it() {
    for operation in [
        "apigateway:CreateRestApi",
        "apigateway:PutRestApi",
        "apigateway:CreateDeployment",
        "apigateway:CreateStage",
    ] {
        let proxy = Proxy::start(Emulator::shared());
        let stack = Stack::through(&proxy, YAML);
        proxy.fault(
            Which::First(operation, 5),
            answer(429, "TooManyRequestsException", "Too Many Requests"),
        );
        deploy(&stack, &proxy).check();
        let world = stack.world();
        assert_eq!(
            (world.0["apis"].as_array().unwrap().len(), &world.api()["deployments"]),
            (1, &serde_json::json!(1)),
            "{operation}"
        );
    }
}

/// One deploy with this in place of AWS's answers: an error with these words, and nothing was
/// changed.
fn refused(what: What, words: &[&str]) {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    proxy.fault(Which::From(1), what);
    let url = proxy.url();
    let words: Vec<&str> =
        words.iter().map(|word| if *word == "URL" { url.as_str() } else { *word }).collect();
    let error = deploy(&stack, &proxy).fails(1, &words);
    // of the first calls, which go out at once, the one whose answer came first
    let first = [
        "sts:GetCallerIdentity",
        "apigateway:GET",
        "apigateway:GetRestApis",
        "logs:",
        "iam:Get",
        "lambda:",
    ];
    assert!(first.iter().any(|call| error.contains(call)), "no call is named in {error}");
    proxy.heal();
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

#[test]
fn a_clock_that_is_ten_minutes_off() {
    let expired = "Signature expired: 20260101T000000Z is now earlier than 20260101T000500Z (20260101T001000Z - 5 min.)";
    refused(
        answer(403, "SignatureDoesNotMatch", expired),
        &["looking at stack", "clock is off: set it"],
    );
    let skewed = "The difference between the request time and the current time is too large.";
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    proxy.fault(Which::Every("s3:CreateBucket"), answer(403, "RequestTimeTooSkewed", skewed));
    deploy(&stack, &proxy).fails(
        1,
        &[&format!("bucket {}-prod", stack.name), "s3:CreateBucket", "clock is off: set it"],
    );
}

#[test]
fn a_proxy_that_answers_html() {
    let page =
        || "<!DOCTYPE html><html><body><h1>Sign in to the network</h1></body></html>".to_owned();
    for status in [200, 403, 407, 502] {
        let html = What::Body { status, kind: "text/html", text: page() };
        refused(
            html,
            &["looking at stack", &status.to_string(), "something else than AWS answers", "URL"],
        );
    }
    // in the middle of a deploy
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    proxy.fault(
        Which::Every("apigateway:CreateRestApi"),
        What::Body { status: 407, kind: "text/html", text: page() },
    );
    deploy(&stack, &proxy).fails(
        1,
        &[
            &format!("api {}", stack.name),
            "apigateway:CreateRestApi",
            "407",
            "something else than AWS answers",
        ],
    );
}

#[test]
fn an_endpoint_that_is_no_aws() {
    for status in [200, 404, 405] {
        let nothing =
            What::Body { status, kind: "application/json", text: r#"{"hello":"world"}"#.into() };
        refused(nothing, &["looking at stack", "URL"]);
    }
}

#[test]
fn an_answer_that_ends_in_its_middle() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    // once is nothing
    for operation in [
        "sts:GetCallerIdentity",
        "lambda:CreateFunction",
        "apigateway:CreateRestApi",
        "apigateway:CreateStage",
    ] {
        proxy.fault(Which::Operation(operation, 1), What::Truncate);
    }
    deploy(&stack, &proxy).check();
    assert_eq!(proxy.calls().iter().filter(|call| call.faulty).count(), 4);
    assert_eq!(stack.world().0["apis"].as_array().unwrap().len(), 1);
    proxy.heal();
    proxy.fault(Which::Every("apigateway:GetResources"), What::Truncate);
    stack.rewrite(&YAML.replace("/input:", "/other:"));
    deploy(&stack, &proxy)
        .fails(1, &["looking at stack", "apigateway:GetResources", "run the same command"]);
}
