//! What is set by hand, opens doors or endangers records, and isn't routeto's to put right: told.

use crate::support::{Stack, aws};
use serde_json::{Value, json};

/// A change by hand, what undoes it, and what is told of it: of which resource, in which words.
struct ByHand {
    set: (&'static str, &'static str, Value),
    undo: (&'static str, &'static str, Value),
    resource: String,
    words: &'static str,
}

/// Resource and text of each risk, in the plan's order.
fn risks(object: &Value) -> Vec<(String, String)> {
    let text = |risk: &Value, key: &str| risk[key].as_str().unwrap().to_owned();
    object["risks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|risk| (text(risk, "resource"), text(risk, "what")))
        .collect()
}

#[test]
fn what_opens_doors_or_endangers_records_is_told_until_it_is_undone() {
    let stack = Stack::new(
        "stack: NAME\nroutes:\n  /input:\n    s3: { bucket: \"NAME-${stage}\", prefix: in/, expire_after: 400 }\n  /queue:\n    \
         sqs: { queue: \"NAME-${stage}\" }\nstages:\n  prod: { throttle: { rate: 5, burst: 10 } }\n  dev: {}\n",
    );
    let deployed = stack.deploy();
    let name = format!("{}-prod", stack.name);
    let role = format!("{name}-us-east-1");
    let (of_role, of_queue, of_bucket) =
        (format!("role {role}"), format!("queue {name}"), format!("bucket {name}"));
    let queue = aws::call("sqs", "get_queue_url", json!({ "QueueName": name }))["QueueUrl"].clone();
    let attribute = |name: &str, value: &str| {
        ("sqs", "set_queue_attributes", json!({"QueueUrl": queue, "Attributes": {name: value}}))
    };
    let of_stage = |stage: &str, path: &str, value: &str| {
        let patch = json!([{"op": "replace", "path": path, "value": value}]);
        (
            "apigateway",
            "update_stage",
            json!({"restApiId": deployed.api_id(), "stageName": stage, "patchOperations": patch}),
        )
    };
    let anyone = |action: &str, arn: String| json!({"Sid": "Public", "Effect": "Allow", "Principal": "*", "Action": action, "Resource": arn});
    let policy =
        |statements: Value| json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let ours = aws::call("s3", "get_bucket_policy", json!({ "Bucket": name }))["Policy"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut statements = serde_json::from_str::<Value>(&ours).unwrap()["Statement"].clone();
    statements
        .as_array_mut()
        .unwrap()
        .push(anyone("s3:GetObject", format!("arn:aws:s3:::{name}/*")));
    let bucket_policy =
        |text: &str| ("s3", "put_bucket_policy", json!({"Bucket": name, "Policy": text}));
    let rules =
        aws::call("s3", "get_bucket_lifecycle_configuration", json!({ "Bucket": name }))["Rules"]
            .clone();
    let lifecycle = |rules: Value| {
        (
            "s3",
            "put_bucket_lifecycle_configuration",
            json!({"Bucket": name, "LifecycleConfiguration": {"Rules": rules}}),
        )
    };
    let mut more = rules.clone();
    let clean = json!({"ID": "clean", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}});
    more.as_array_mut().unwrap().push(clean);
    let administrator =
        json!({"RoleName": role, "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"});
    let anything = policy(json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*"}));
    let inline = json!({"RoleName": role, "PolicyName": "by-hand"});
    let permission = json!({"FunctionName": name, "StatementId": "open"});
    let mut may_call = permission.clone();
    may_call["Principal"] = json!("*");
    may_call["Action"] = json!("lambda:InvokeFunction");
    let (mut put_inline, function) = (inline.clone(), json!({ "FunctionName": name }));
    put_inline["PolicyDocument"] = json!(anything);
    let open_queue = policy(json!([anyone("sqs:SendMessage", aws::queue_arn(&name))]));
    let all = [
        ByHand {
            set: bucket_policy(&policy(statements)),
            undo: bucket_policy(&ours),
            resource: of_bucket.clone(),
            words: "has the statement \"Public\" in its policy that allows anyone s3:GetObject",
        },
        ByHand {
            set: lifecycle(more),
            undo: lifecycle(rules),
            resource: of_bucket,
            words: "has the lifecycle rule \"clean\", which deletes records below \"in/\" after a day",
        },
        ByHand {
            set: attribute("Policy", &open_queue),
            undo: attribute("Policy", ""),
            resource: of_queue.clone(),
            words: "has the statement \"Public\" in its policy that allows anyone sqs:SendMessage",
        },
        ByHand {
            set: attribute("DelaySeconds", "900"),
            undo: attribute("DelaySeconds", "0"),
            resource: of_queue.clone(),
            words: "holds each message back for 900 s",
        },
        ByHand {
            set: attribute("VisibilityTimeout", "1"),
            undo: attribute("VisibilityTimeout", "30"),
            resource: of_queue,
            words: "hides a received message for 1 s only",
        },
        ByHand {
            set: ("iam", "attach_role_policy", administrator.clone()),
            undo: ("iam", "detach_role_policy", administrator),
            resource: of_role.clone(),
            words: "has the policy AdministratorAccess attached: the function may do anything in the account",
        },
        ByHand {
            set: ("iam", "put_role_policy", put_inline),
            undo: ("iam", "delete_role_policy", inline),
            resource: of_role,
            words: "has the inline policy \"by-hand\"",
        },
        ByHand {
            set: (
                "lambda",
                "put_function_concurrency",
                json!({"FunctionName": name, "ReservedConcurrentExecutions": 0}),
            ),
            undo: ("lambda", "delete_function_concurrency", function),
            resource: format!("function {name}"),
            words: "has a reserved concurrency of 0",
        },
        ByHand {
            set: ("lambda", "add_permission", may_call),
            undo: ("lambda", "remove_permission", permission),
            resource: format!("function {name}"),
            words: "has the statement \"open\" in its policy that allows anyone lambda:InvokeFunction",
        },
        ByHand {
            set: of_stage("prod", "/~1input/POST/throttling/rateLimit", "0"),
            undo: of_stage("prod", "/~1input/POST/throttling/rateLimit", "1000"),
            resource: "stage prod".into(),
            words: "limits POST /input to 0 requests a second",
        },
        // After the method's own: a new one begins with what is set for all.
        ByHand {
            set: of_stage("prod", "/*/*/logging/dataTrace", "true"),
            undo: of_stage("prod", "/*/*/logging/dataTrace", "false"),
            resource: "stage prod".into(),
            words: "logs whole requests of every route",
        },
    ];
    let plan = || stack.routeto("plan", "--exit-code").json();
    assert_eq!(risks(&plan()), []);
    let call = |(service, operation, arguments): &(&str, &str, Value)| {
        drop(aws::call(service, operation, arguments.clone()))
    };
    all.iter().for_each(|by_hand| call(&by_hand.set));

    // Every command tells all of them; none is a difference, and a deploy changes none.
    let is = |told: &[(String, String)], by_hand: &ByHand| {
        told.iter()
            .filter(|(resource, what)| {
                *resource == by_hand.resource && what.contains(by_hand.words)
            })
            .count()
            == 1
    };
    let said = |text: &str, from: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix("warning: "));
        let told: Vec<&str> = lines.collect();
        assert_eq!(told.len(), all.len(), "{from}: {text}");
        for ByHand { resource, words, .. } in &all {
            assert!(
                told.iter().any(|line| line.starts_with(resource.as_str()) && line.contains(words)),
                "{from}, {words}: {text}"
            );
        }
    };
    let (planned, status) = (risks(&plan()), risks(&stack.routeto("status", "").json()));
    assert!(all.iter().all(|by_hand| is(&planned, by_hand)), "{planned:#?}");
    assert_eq!(planned.len(), all.len(), "{planned:#?}");
    assert_eq!(status, planned);
    said(&stack.routeto("plan", "").check().stdout, "plan");
    said(&stack.routeto("status", "").check().stdout, "status");
    said(&stack.routeto("deploy", "").check().stderr, "deploy");
    assert_eq!(risks(&stack.deploy().0), planned);

    for (undone, by_hand) in all.iter().enumerate() {
        call(&by_hand.undo);
        let told = risks(&plan());
        let left = all.iter().skip(undone + 1);
        assert!(
            told.len() == left.clone().count()
                && left.into_iter().all(|by_hand| is(&told, by_hand)),
            "{}: {told:#?}",
            by_hand.words
        );
    }
    assert_eq!(risks(&stack.routeto("status", "").json()), []);

    // What is set for all routes is the stack file's: no throttle there means none, and 0 is put
    // right.
    call(&of_stage("dev", "/*/*/throttling/rateLimit", "0"));
    stack.routeto("plan", "--exit-code").status(2).check();
    stack.deploy();
    stack.routeto("plan", "--exit-code").status(0).check();
    stack.teardown();
}
