//! Two deploys of one stack at the same moment: one after the other, whatever the moment.

use crate::support::proxy::{Call, Gate};
use crate::support::{Emulator, Output, Proxy, Signal, Stack, What, Which, aws, http};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const ONE: &str = r#"
stack: NAME
routes:
  /input:
    s3: { bucket: "NAME-${stage}", prefix: one/ }
stages:
  prod: {}
"#;

/// A whole number below `n`, from the clock's last digits.
fn random(n: u64) -> u64 {
    let nanos =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    ((nanos ^ nanos >> 17).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % n
}

/// It did its work, or said that another was at it.
fn fine(output: &Output) -> bool {
    output.status == 0
        || output.status == 1
            && output.stderr.contains("another deploy of this stack has been running")
}

/// Rounds: some in an ordinary run, `ROUTETO_ROUNDS` for more.
#[test]
fn two_deploys_at_once_end_as_one_of_their_files_and_never_as_a_mixture() {
    let rounds: u64 =
        std::env::var("ROUTETO_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let two = ONE
        .replace("one/", "two/")
        .replace("/input:", "/other:")
        .replace("routes:", "function: { memory: 256 }\nroutes:");
    let mut refused = 0;
    for round in 0..rounds {
        let first = Stack::new(ONE);
        // The same file from two places, or two files.
        let equal = round % 4 >= 2;
        let second = first.twin(if equal { ONE } else { &two });
        let mut delays = [random(1500), random(1500)];
        if round % 3 == 0 {
            delays = [0, 0]; // the very same moment
        }
        if round % 2 == 1 {
            first.deploy(); // it stands already, and both change it or one does
        }
        let outputs = thread::scope(|scope| {
            [(&first, delays[0]), (&second, delays[1])]
                .map(|(stack, delay)| {
                    scope.spawn(move || {
                        thread::sleep(Duration::from_millis(delay));
                        stack.routeto("deploy", "").output()
                    })
                })
                .map(|running| running.join().unwrap())
        });
        assert!(
            outputs.iter().all(fine) && outputs.iter().any(|output| output.status == 0),
            "round {round}, {delays:?}: {outputs:#?}"
        );
        refused += outputs.iter().filter(|output| output.status != 0).count();
        let world = first.world();
        assert_eq!(
            world.0["apis"].as_array().unwrap().len(),
            1,
            "round {round}: {:#?}",
            world.names()
        );
        let each = |kind: &str| world.0[kind].as_object().unwrap().len();
        let kinds = ["functions", "roles", "buckets", "queues", "log_groups"];
        assert_eq!(kinds.map(each), [1, 1, 1, 0, 2], "round {round}: {:#?}", world.names());
        // of each version one permission, and the role may write where that one file says
        let name = &first.name;
        let function = world.function(&format!("{name}-prod"));
        for (version, policy) in function["policies"].as_object().unwrap() {
            let statements = policy["Statement"].as_array().map_or(0, Vec::len);
            assert!(statements <= 1, "round {round}: version {version}: {policy:#}");
        }
        assert_eq!(
            world.0["log_groups"][format!("/routeto/{name}")]["lock"],
            "free",
            "round {round}"
        );
        // the end is one file's: nothing is to be done for it, and something for the other
        let codes =
            [&first, &second].map(|stack| stack.routeto("plan", "--exit-code").output().status);
        let fits = if equal { codes == [0, 0] } else { codes == [0, 2] || codes == [2, 0] };
        assert!(fits, "round {round}, {delays:?}: {codes:?}");
        // and it isn't only said to be: the stage serves that file's route to that file's place,
        // and not the other's
        let (stack, route, prefix, others) = match codes {
            [0, _] => (&first, "/input", "one/", "/other"),
            _ => (&second, "/other", "two/", "/input"),
        };
        let deployed = stack.deploy();
        deployed.store("prod", route, "application/json", b"{}");
        let keys = aws::keys(&stack.fill("NAME-prod")).unwrap();
        assert!(keys.len() == 1 && keys[0].starts_with(prefix), "round {round}: {keys:?}");
        let stray = deployed.url_with("prod", route, &[]).replace(route, others);
        assert_ne!(http::post(&stray, "application/json", b"{}").status, 200, "round {round}");
        first.teardown();
        assert_eq!(first.world().names(), [] as [String; 0], "round {round}");
    }
    println!("{rounds} rounds, {refused} deploys told that another was running");
}

/// Its first wave came before the other took the lock, and its second one met a bucket that has no
/// tags yet.
#[test]
fn a_deploy_that_meets_the_half_made_bucket_of_another_waits_for_it() {
    let (proxy, other_proxy) = (Proxy::start(Emulator::shared()), Proxy::start(Emulator::shared()));
    let first = Stack::through(&proxy, ONE);
    let (looking, tagging) = (Gate::new(), Gate::new());
    proxy.fault(Which::Operation("s3:HeadBucket", 1), What::Hold(looking.clone()));
    let waiting = first.routeto("deploy", "").spawn();
    assert!(looking.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    other_proxy.fault(Which::Operation("s3:PutBucketTagging", 1), What::Hold(tagging.clone()));
    let other = first.twin(ONE);
    let making = other.routeto("deploy", "").env("AWS_ENDPOINT_URL", other_proxy.url()).spawn();
    assert!(tagging.reached(Duration::from_secs(60)), "{:?}", other_proxy.calls());
    looking.open();
    thread::sleep(Duration::from_millis(500));
    tagging.open();
    let outputs = [waiting.wait(), making.wait()];
    assert!(outputs.iter().all(|output| output.status == 0), "{outputs:#?}");
    assert_eq!(first.world().0["apis"].as_array().unwrap().len(), 1);
    first.teardown();
}

/// The slowest answer of its first look comes after most of the second was read: what was read by
/// then is too old to count.
#[test]
fn what_somebody_changed_while_a_look_took_its_time_is_put_right() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    stack.deploy();
    proxy.clear();
    let gate = Gate::new();
    proxy.fault(Which::Operation("iam:GetRole", 1), What::Hold(gate.clone()));
    let running = stack.routeto("deploy", "").spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    until_answered(&proxy, "s3:GetPublicAccessBlock", 200, Duration::from_secs(60));
    aws::call("s3", "delete_public_access_block", json!({"Bucket": stack.fill("NAME-prod")}));
    thread::sleep(Duration::from_millis(5200));
    gate.open();
    let output = running.wait();
    assert_eq!(output.status, 0, "{output:?}");
    assert!(
        proxy.mutations().contains(&"s3:PutPublicAccessBlock".to_owned()),
        "{:?}",
        proxy.mutations()
    );
    stack.routeto("plan", "--exit-code").status(0).check();
    stack.teardown();
}

#[test]
fn a_look_that_fails_because_a_teardown_took_away_what_it_looks_at_is_taken_again() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    stack.deploy();
    let gate = Gate::new();
    proxy.fault(Which::Operation("apigateway:GetResources", 1), What::Hold(gate.clone()));
    let running = stack.routeto("deploy", "").spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    let other = stack.twin(ONE);
    other.routeto("teardown", "--yes").check();
    gate.open();
    let output = running.wait();
    assert_eq!(output.status, 0, "{output:?}");
    let lost = |call: &Call| call.name() == "apigateway:GetResources" && call.status == Some(404);
    assert!(proxy.calls().iter().any(lost), "the look met nothing: {:?}", proxy.calls());
    other.routeto("plan", "--exit-code").status(0).check();
    other.teardown();
}

/// Somebody makes what a first deploy is about to make with this operation, after its look: it is
/// refused as somebody else's.
fn meets_a_strangers(
    kind: &str,
    stack: &Stack,
    proxy: &Proxy,
    operation: &'static str,
    make: impl FnOnce(),
) {
    let gate = Gate::new();
    proxy.fault(Which::Operation(operation, 1), What::Hold(gate.clone()));
    let running = stack.routeto("deploy", "").spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    make();
    gate.open();
    let output = running.wait();
    assert_eq!(output.status, 1, "{output:?}");
    let words = format!(
        "a {kind} of this name is there already and isn't this stack's (it lacks the tag routeto:stack="
    );
    assert!(output.stderr.contains(&words), "{output:?}");
}

#[test]
fn a_queue_that_somebody_made_since_the_look_stays_as_it_is() {
    let proxy = Proxy::start(Emulator::shared());
    let yaml = ONE.replace(
        "s3: { bucket: \"NAME-${stage}\", prefix: one/ }",
        "sqs: { queue: \"NAME-${stage}\" }",
    );
    let stack = Stack::through(&proxy, &yaml);
    let name = stack.fill("NAME-prod");
    meets_a_strangers("queue", &stack, &proxy, "sqs:CreateQueue", || {
        aws::call(
            "sqs",
            "create_queue",
            json!({"QueueName": name, "Attributes": {"MessageRetentionPeriod": "60"}}),
        );
    });
    let url = aws::queue_url(&name).unwrap();
    assert!(aws::call("sqs", "list_queue_tags", json!({"QueueUrl": url}))["Tags"].is_null());
    let attributes = aws::call(
        "sqs",
        "get_queue_attributes",
        json!({"QueueUrl": url, "AttributeNames": ["MessageRetentionPeriod"]}),
    );
    assert_eq!(attributes["Attributes"]["MessageRetentionPeriod"], "60");
    aws::call("sqs", "delete_queue", json!({"QueueUrl": url}));
    stack.teardown();
}

/// It saw nothing at all, so it doesn't look again after it took the lock.
#[test]
fn a_log_group_that_somebody_made_since_the_look_stays_as_it_is() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    let group = stack.fill("/aws/lambda/NAME-prod");
    // the first one that is made is the lock's
    meets_a_strangers("log group", &stack, &proxy, "logs:CreateLogGroup", || {
        aws::call("logs", "create_log_group", json!({"logGroupName": group}));
    });
    let found = aws::call("logs", "describe_log_groups", json!({"logGroupNamePrefix": group}));
    assert_eq!(found["logGroups"][0]["retentionInDays"], json!(null), "{found:#}");
    aws::call("logs", "delete_log_group", json!({"logGroupName": group}));
    stack.deploy();
    stack.teardown();
}

#[test]
fn a_deploy_whose_lock_was_taken_stops_and_the_end_is_the_other_ones() {
    let proxy = Proxy::start(Emulator::shared());
    let slow = Stack::through(&proxy, ONE);
    let gate = Gate::new();
    proxy.fault(Which::Operation("apigateway:PutRestApi", 1), What::Hold(gate.clone()));
    let running = slow.routeto("deploy", "").spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    let others = Proxy::start(Emulator::shared());
    let other = Stack::through(&others, &ONE.replace("one/", "two/").replace("NAME", &slow.name));
    let took =
        other.routeto("deploy", "--break-lock").env("ROUTETO_TEST_LOCK_CLOCK", HURRY).check();
    let from = "took the lock from another deploy by arn:aws:";
    assert!(
        took.stderr.contains(from) && took.stderr.contains("last sign of life "),
        "{}",
        took.stderr
    );
    // for as long as the slow one may send something, and gets an answer, nothing is looked at
    assert!(
        took.stderr.contains("waiting 50 s until the other command notices that it lost the lock"),
        "{}",
        took.stderr
    );
    let calls = others.calls();
    let taken = calls
        .iter()
        .find(|call| call.name() == "logs:CreateLogStream")
        .unwrap_or_else(|| panic!("{calls:?}"));
    let next = calls
        .iter()
        .find(|call| call.at > taken.end.unwrap() && call.service != "logs")
        .unwrap_or_else(|| panic!("{calls:?}"));
    let waited = next.at - taken.end.unwrap();
    assert!(waited * 5 >= Duration::from_secs(50), "{next:?} came after {waited:?}");
    // it signs the lock every five seconds, and finds it gone
    let output = running.wait();
    gate.open();
    assert_eq!(output.status, 1, "{output:?}");
    assert!(
        output.stderr.contains(
            "error: lock: another deploy took it while this one was at work, so this one stopped"
        ),
        "{output:?}"
    );
    other.routeto("plan", "--exit-code").status(0).check();
    other.routeto("teardown", "--yes").check();
}

/// Signs of a lock's holder are due five times as often, and it is given up five times as soon: on
/// a busy machine its first one has three seconds.
const HURRY: &str = "5";

/// Waits until a call of this operation got an answer with this status.
fn until_answered(proxy: &Proxy, operation: &str, status: u16, longest: Duration) {
    let begun = Instant::now();
    while !proxy.calls().iter().any(|call| call.name() == operation && call.status == Some(status))
    {
        assert!(begun.elapsed() < longest, "{:?}", proxy.calls());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_deploy_that_can_not_sign_its_lock_stops_before_another_may_take_it() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    let gate = Gate::new();
    proxy.fault(Which::Operation("apigateway:CreateRestApi", 1), What::Hold(gate.clone()));
    let message = "User is not authorized to perform this";
    proxy.fault(
        Which::Every("logs:PutLogEvents"),
        What::Answer { status: 400, code: "AccessDeniedException", message },
    );
    let output =
        stack.routeto("deploy", "").env("ROUTETO_TEST_LOCK_CLOCK", HURRY).status(1).check();
    for words in [
        "error: lock: it couldn't be signed for ",
        "logs:PutLogEvents answered AccessDeniedException",
        "so this one stopped",
    ] {
        assert!(output.stderr.contains(words), "{words}:\n{}", output.stderr);
    }
    gate.open();
    proxy.heal();
    stack.routeto("deploy", "--break-lock").env("ROUTETO_TEST_LOCK_CLOCK", HURRY).check();
    assert_eq!(stack.world().0["apis"].as_array().unwrap().len(), 1);
    stack.teardown();
}

#[test]
fn nothing_is_changed_once_a_sign_got_no_answer_and_another_took_the_lock() {
    let proxy = Proxy::start(Emulator::shared());
    let slow = Stack::through(&proxy, ONE);
    let gate = Gate::new();
    proxy.fault(Which::Operation("apigateway:PutRestApi", 1), What::Hold(gate.clone()));
    let running = slow.routeto("deploy", "").env("ROUTETO_TEST_LOCK_CLOCK", HURRY).spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    // once it was signed: else its first seconds would have to be enough for all that comes before
    until_answered(&proxy, "logs:PutLogEvents", 200, Duration::from_secs(5));
    proxy.fault(Which::Every("logs:PutLogEvents"), What::Silence);
    let other = Stack::new(&ONE.replace("one/", "two/").replace("NAME", &slow.name));
    let making = other.routeto("deploy", "").env("ROUTETO_TEST_LOCK_CLOCK", HURRY).check();
    assert!(making.stderr.contains("another deploy of this stack is running"), "{}", making.stderr);
    let output = running.wait();
    gate.open();
    assert_eq!(output.status, 1, "{output:?}");
    assert!(
        output.stderr.contains("error: lock: it couldn't be signed for ")
            && output.stderr.contains("CloudWatch Logs gave no answer within"),
        "{output:?}"
    );
    other.routeto("plan", "--exit-code").status(0).check();
    proxy.heal();
    slow.teardown();
}

/// Its last sign is older than it may trust, and not yet so old that it gives up.
#[test]
fn nothing_is_changed_while_signs_fail_until_one_comes_through() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    let gate = Gate::new();
    proxy.fault(Which::Operation("apigateway:PutRestApi", 1), What::Hold(gate.clone()));
    let running = stack.routeto("deploy", "").env("ROUTETO_TEST_LOCK_CLOCK", "3").spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    until_answered(&proxy, "logs:PutLogEvents", 200, Duration::from_secs(5));
    let no = What::Answer { status: 400, code: "InvalidParameterException", message: "no" };
    proxy.fault(Which::Every("logs:PutLogEvents"), no);
    // five seconds of fifteen until it signs before a change
    thread::sleep(Duration::from_millis(6500));
    let before = proxy.mutations().len();
    gate.open();
    until_answered(&proxy, "apigateway:PutRestApi", 200, Duration::from_secs(30));
    thread::sleep(Duration::from_secs(3));
    let meanwhile = proxy.mutations().split_off(before);
    assert!(meanwhile.iter().all(|name| name.starts_with("logs:")), "{meanwhile:?}");
    proxy.heal();
    let output = running.wait();
    // on a very busy machine it may have given up by then
    assert!(
        output.status == 0 || output.stderr.contains("error: lock: it couldn't be signed for "),
        "{output:?}"
    );
    stack.deploy();
    stack.teardown();
}

/// CloudWatch Logs may not find or list for a moment what was just made.
#[test]
fn a_stream_that_is_not_found_right_after_it_was_made_is_no_lost_lock() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    stack.deploy();
    stack.rewrite(&ONE.replace("one/", "two/"));
    let (proxy_gate, gate) = (Gate::new(), Gate::new());
    let none = What::Answer {
        status: 400,
        code: "ResourceNotFoundException",
        message: "The specified log stream does not exist.",
    };
    proxy.fault(Which::Operation("logs:PutLogEvents", 1), none);
    proxy.fault(Which::Operation("logs:PutLogEvents", 2), What::Hold(proxy_gate.clone()));
    proxy.fault(Which::Operation("apigateway:UpdateStage", 1), What::Hold(gate.clone()));
    let running = stack.routeto("deploy", "").env("ROUTETO_TEST_LOCK_CLOCK", HURRY).spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    // it is signed again
    assert!(proxy_gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    proxy_gate.open();
    until_answered(&proxy, "logs:PutLogEvents", 200, Duration::from_secs(60));
    gate.open();
    let output = running.wait();
    assert_eq!(output.status, 0, "{output:?}");
    stack.teardown();
}

/// Its holder ended, so its process is gone: as if it had left the lock behind.
#[test]
fn a_lock_whose_end_is_not_listed_yet_is_not_taken_for_left_behind() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    stack.deploy();
    let group = stack.fill("/routeto/NAME");
    let mut listed = aws::call("logs", "describe_log_streams", json!({ "logGroupName": group }));
    listed.as_object_mut().unwrap().remove("ResponseMetadata");
    let streams = listed["logStreams"].as_array_mut().unwrap();
    let before = streams.len();
    streams.retain(|stream| stream["logStreamName"] != "free-1");
    assert_eq!(streams.len(), before - 1);
    let stale =
        What::Body { status: 200, kind: "application/x-amz-json-1.1", text: listed.to_string() };
    proxy.fault(Which::First("logs:DescribeLogStreams", 2), stale);
    stack.rewrite(&ONE.replace("one/", "two/"));
    let output = stack.routeto("deploy", "").check();
    assert!(!output.stderr.contains("took the lock from"), "{}", output.stderr);
    proxy.heal();
    stack.teardown();
}

#[test]
fn a_machine_that_slept_in_the_middle_of_a_change_sends_nothing_of_it_once_another_took_the_lock() {
    let proxy = Proxy::start(Emulator::shared());
    let slow = Stack::through(&proxy, ONE);
    slow.deploy();
    slow.rewrite(&ONE.replace("one/", "three/"));
    let busy = What::Answer {
        status: 429,
        code: "TooManyRequestsException",
        message: "Too Many Requests",
    };
    proxy.fault(Which::Every("apigateway:UpdateStage"), busy);
    let running = slow.routeto("deploy", "").env("ROUTETO_TEST_LOCK_CLOCK", HURRY).spawn();
    until_answered(&proxy, "apigateway:UpdateStage", 429, Duration::from_secs(60));
    running.signal(Signal::STOP);
    proxy.heal();
    let other = Stack::new(&ONE.replace("one/", "two/").replace("NAME", &slow.name));
    other.routeto("deploy", "").env("ROUTETO_TEST_LOCK_CLOCK", HURRY).check();
    proxy.clear();
    running.signal(Signal::CONT);
    let output = running.wait();
    assert_eq!(output.status, 1, "{output:?}");
    assert!(output.stderr.contains("another deploy"), "{output:?}");
    let changes = proxy.mutations();
    assert!(changes.iter().all(|name| name.starts_with("logs:")), "{changes:?}");
    other.routeto("plan", "--exit-code").status(0).check();
    slow.teardown();
}

/// The answer comes after Ctrl-C, and nobody waits for it any more.
#[test]
fn a_lock_that_was_taken_as_the_command_was_interrupted_is_given_back() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    let group = stack.fill("/routeto/NAME");
    // the first is taken by making its group, the second by a stream of it
    for operation in ["logs:CreateLogGroup", "logs:CreateLogStream"] {
        // It waits 0.8 s for that, which a busy machine may need for a call.
        let free = (0..3).any(|_| {
            let gate = Gate::new();
            proxy.clear();
            proxy.fault(Which::Operation(operation, 1), What::HoldAfter(gate.clone()));
            let running = stack.routeto("deploy", "").spawn();
            assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
            running.interrupt();
            thread::sleep(Duration::from_millis(50));
            gate.open();
            let output = running.wait();
            assert_eq!(output.status, 130, "{output:?}");
            let free = stack.world().0["log_groups"][&group]["lock"] == "free";
            if !free {
                aws::call("logs", "delete_log_group", json!({ "logGroupName": group }));
                proxy.heal();
            }
            free
        });
        assert!(free, "{operation}: {:?}", proxy.calls());
        let again = stack.routeto("deploy", "").check();
        assert!(!again.stderr.contains("another deploy"), "{operation}: {}", again.stderr);
        stack.rewrite(&ONE.replace("one/", "two/"));
    }
    stack.teardown();
}

/// As another machine signs the stack's second lock.
fn sign(stack: &Stack, number: usize) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let sign = json!({"who": "arn:aws:iam::000000000000:user/ann", "host": "ci-7", "machine": "another", "process": 1, "n": number});
    let event = json!({"timestamp": now, "message": sign.to_string()});
    let group = stack.fill("/routeto/NAME");
    aws::call(
        "logs",
        "put_log_events",
        json!({"logGroupName": group, "logStreamName": "lock-2", "logEvents": [event]}),
    );
}

#[test]
fn a_lock_that_was_left_behind_elsewhere_is_taken_over_and_one_that_is_held_is_told_with_its_holder()
 {
    let stack = Stack::new(ONE);
    stack.deploy();
    stack.rewrite(&ONE.replace("one/", "two/"));
    aws::call(
        "logs",
        "create_log_stream",
        json!({"logGroupName": stack.fill("/routeto/NAME"), "logStreamName": "lock-2"}),
    );
    let deploy = || stack.routeto("deploy", "").env("ROUTETO_TEST_LOCK_CLOCK", HURRY);
    let done = AtomicBool::new(false);
    let output = thread::scope(|scope| {
        // alive: it gives signs
        scope.spawn(|| {
            for number in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                sign(&stack, number);
                thread::sleep(Duration::from_millis(500));
            }
        });
        let output = deploy().output();
        done.store(true, Ordering::Relaxed);
        output
    });
    assert_eq!(output.status, 1, "{output:?}");
    let status = stack.routeto("status", "").check().stdout;
    assert!(
        status.contains(
            "the stack's lock is held: deploy by arn:aws:iam::000000000000:user/ann on ci-7, begun "
        ),
        "{status}"
    );
    for words in [
        "another deploy of this stack is running by arn:aws:iam::000000000000:user/ann on ci-7; waiting for it",
        "another deploy of this stack has been running for ",
        " s by arn:aws:iam::000000000000:user/ann on ci-7",
        "--break-lock",
    ] {
        assert!(output.stderr.contains(words), "{words}:\n{}", output.stderr);
    }
    // dead: it gives none any more
    let output = deploy().check();
    assert!(output.stderr.contains("user/ann on ci-7; waiting for it"), "{}", output.stderr);
    stack.routeto("plan", "--exit-code").status(0).check();
    stack.teardown();
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

/// Who made the group was killed before the lock's stream: nothing tells of whose it is.
#[test]
fn a_group_without_any_lock_in_it_is_in_the_way_for_half_a_minute_at_most() {
    let stack = Stack::new(ONE);
    let group = stack.fill("/routeto/NAME");
    aws::call(
        "logs",
        "create_log_group",
        json!({"logGroupName": group, "tags": {"routeto:stack": stack.name}}),
    );
    let output = stack.routeto("deploy", "").env("ROUTETO_TEST_LOCK_CLOCK", HURRY).check();
    assert!(
        output.stderr.contains("another deploy of this stack is running; waiting for it"),
        "{}",
        output.stderr
    );
    stack.routeto("plan", "--exit-code").status(0).check();
    stack.teardown();
}

#[test]
fn who_is_interrupted_while_another_has_the_lock_changed_nothing() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    stack.deploy();
    stack.rewrite(&ONE.replace("one/", "two/"));
    aws::call(
        "logs",
        "create_log_stream",
        json!({"logGroupName": stack.fill("/routeto/NAME"), "logStreamName": "lock-2"}),
    );
    proxy.clear();
    let running = stack.routeto("deploy", "").spawn();
    let begun = Instant::now();
    let looks =
        || proxy.calls().iter().filter(|call| call.name() == "logs:DescribeLogStreams").count();
    // the first of them is the deploy's own look; it waits from the second on
    while looks() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", proxy.calls());
        thread::sleep(Duration::from_millis(20));
    }
    running.signal(Signal::INT);
    let output = running.wait();
    assert_eq!(output.status, 130, "{output:?}");
    assert!(output.stderr.contains("stopped before anything was changed"), "{output:?}");
    assert_eq!(proxy.mutations(), [] as [String; 0]);
    stack.routeto("teardown", "--yes --break-lock").env("ROUTETO_TEST_LOCK_CLOCK", HURRY).check();
}

#[test]
fn a_teardown_whose_lock_was_taken_leaves_what_the_other_made() {
    let proxy = Proxy::start(Emulator::shared());
    let slow = Stack::through(&proxy, ONE);
    slow.deploy();
    let gate = Gate::new();
    proxy.fault(Which::Operation("apigateway:DeleteRestApi", 1), What::HoldAfter(gate.clone()));
    let running = slow.routeto("teardown", "--yes").env("ROUTETO_TEST_LOCK_CLOCK", HURRY).spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    let other = Stack::new(&ONE.replace("NAME", &slow.name));
    other.routeto("deploy", "--break-lock").env("ROUTETO_TEST_LOCK_CLOCK", HURRY).check();
    let output = running.wait();
    gate.open();
    assert_eq!(output.status, 1, "{output:?}");
    assert!(output.stderr.contains("error: lock: another deploy took it"), "{output:?}");
    other.routeto("plan", "--exit-code").status(0).check();
    slow.teardown();
    assert_eq!(slow.world().names(), [] as [String; 0]);
}

#[test]
fn streams_of_locks_long_past_go_and_younger_ones_stay() {
    let stack = Stack::new(ONE);
    let group = stack.fill("/routeto/NAME");
    let streams = || {
        let found = aws::call("logs", "describe_log_streams", json!({ "logGroupName": group }));
        let names = found["logStreams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stream| stream["logStreamName"].as_str().unwrap().to_owned());
        names.filter(|name| name != "deploys").collect::<Vec<_>>()
    };
    for memory in [128, 192, 256, 320] {
        stack.rewrite(
            &ONE.replace("routes:", &format!("function: {{ memory: {memory} }}\nroutes:")),
        );
        if memory == 256 {
            thread::sleep(Duration::from_secs(7));
        }
        // ten minutes are six seconds
        stack
            .routeto("deploy", "")
            .env("ROUTETO_TEST_STAY_CLOCK", if memory == 320 { "100" } else { "1" })
            .check();
    }
    // those of the third are older or younger than that, as the machine is fast
    let left: Vec<String> = streams().into_iter().filter(|name| !name.ends_with("-3")).collect();
    assert_eq!(left, ["free-4", "lock-4"]);
    stack.teardown();
}
