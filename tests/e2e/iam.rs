//! The policy that the docs give the person who deploys: enough for a full run, enforced, and
//! nothing in it that a run never needs.

use crate::support::proxy::Call;
use crate::support::{Emulator, Proxy, Stack, aws, root, stack};
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeSet;

/// The policy of docs/permissions.md: its only block of JSON that has a Statement.
fn policy() -> Value {
    let page = std::fs::read_to_string(root().join("docs/permissions.md")).unwrap();
    let blocks: Vec<Value> = page
        .split("```json")
        .skip(1)
        .filter_map(|rest| serde_json::from_str(rest.split("```").next()?).ok())
        .filter(|block: &Value| block.get("Statement").is_some())
        .collect();
    let [policy] = &blocks[..] else {
        panic!("docs/permissions.md has one policy, not {}", blocks.len())
    };
    policy.clone()
}

fn many(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        other => other.as_str().map(str::to_owned).into_iter().collect(),
    }
}

/// What IAM calls an operation, where it has another name for it. Source: the Service Authorization
/// Reference.
fn actions(service: &str, operation: &str, method: &str) -> Vec<String> {
    let name = match (service, operation) {
        ("apigateway", _) => return vec![format!("apigateway:{method}")],
        ("s3", "ListBuckets") => "ListAllMyBuckets",
        ("s3", "HeadBucket" | "ListObjects" | "ListObjectsV2") => "ListBucket",
        ("s3", "ListObjectVersions") => "ListBucketVersions",
        ("s3", "HeadObject") => "GetObject",
        ("s3", "DeleteObjects") => {
            return vec!["s3:DeleteObject".into(), "s3:DeleteObjectVersion".into()];
        }
        ("s3", "GetPublicAccessBlock") => "GetBucketPublicAccessBlock",
        ("s3", "PutPublicAccessBlock") => "PutBucketPublicAccessBlock",
        ("s3", "GetBucketEncryption") => "GetEncryptionConfiguration",
        ("s3", "PutBucketEncryption") => "PutEncryptionConfiguration",
        ("s3", "GetBucketLifecycleConfiguration") => "GetLifecycleConfiguration",
        ("s3", "PutBucketLifecycleConfiguration" | "DeleteBucketLifecycle") => {
            "PutLifecycleConfiguration"
        }
        ("lambda", "Invoke") => "InvokeFunction",
        // what needs a second permission because tags or a role go with it
        ("lambda", "GetFunction") => {
            return ["lambda:GetFunction", "lambda:ListTags"].map(String::from).into();
        }
        ("lambda", "CreateFunction") => {
            return ["lambda:CreateFunction", "lambda:TagResource", "iam:PassRole"]
                .map(String::from)
                .into();
        }
        ("iam", "CreateRole") => return ["iam:CreateRole", "iam:TagRole"].map(String::from).into(),
        ("sqs", "CreateQueue") => {
            return ["sqs:CreateQueue", "sqs:TagQueue"].map(String::from).into();
        }
        ("logs", "CreateLogGroup") => {
            return ["logs:CreateLogGroup", "logs:TagResource"].map(String::from).into();
        }
        ("s3", "CreateBucket") => {
            return ["s3:CreateBucket", "s3:TagResource"].map(String::from).into();
        }
        (_, other) => other,
    };
    vec![format!("{service}:{name}")]
}

/// All that a call needs. Source: API Gateway developer guide, "Create and attach an API Gateway
/// resource policy to an API": whoever sets one needs `apigateway:UpdateRestApiPolicy` beside the
/// right to the call.
fn needed(call: &Call) -> Vec<String> {
    let mut actions = actions(&call.service, &call.operation, &call.method);
    let body = String::from_utf8_lossy(&call.body);
    let sets = call.service == "apigateway"
        && ["x-amazon-apigateway-policy", "\"/policy\""].iter().any(|word| body.contains(word));
    actions.extend(sets.then(|| "apigateway:UpdateRestApiPolicy".to_owned()));
    actions
}

/// Both kinds of destinations, everything that a stack file can ask of them, existing ones, and
/// what a teardown with data needs.
const YAML: &str = r#"
stack: NAME
routes:
  /input:
    s3: { bucket: "NAME-${stage}", prefix: in/, expire_after: 400, allow: [archive-NAME] }
  /there:
    s3: { bucket: acme-NAME, existing: true }
  /events:
    accept: [application/json, text/plain]
    sqs: { queue: "NAME-${stage}", dead_letter: { queue: "NAME-dead-${stage}", after: 5 } }
  /there-too:
    sqs: { queue: "acme-NAME-${stage}", existing: true }
stages:
  dev: { throttle: { rate: 5, burst: 10 } }
  prod: { throttle: { rate: 100, burst: 200 } }
tags: { owner: platform }
"#;

#[test]
fn the_documented_policy_is_enough_for_a_full_run_and_has_nothing_that_no_run_needs() {
    let policy = policy();
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    // named otherwise than what the stack makes: what that permits doesn't reach them
    let (there, archive) = (format!("acme-{}", stack.name), format!("archive-{}", stack.name));
    [&there, &archive].into_iter().for_each(|bucket| aws::create_bucket(bucket));
    for stage in ["dev", "prod"] {
        aws::call(
            "sqs",
            "create_queue",
            serde_json::json!({ "QueueName": format!("{there}-{stage}") }),
        );
    }
    // the account, the region and the names are placeholders: as the page says itself
    let page = std::fs::read_to_string(root().join("docs/permissions.md")).unwrap();
    assert!(page.contains(
        "replace the account, the region, `webhooks` (your stack's name), and the names\nunder `Buckets`, `Queues` and `Existing`"
    ));
    assert!(page.contains("`Existing` names the buckets and queues of your own"));
    let text =
        policy.to_string().replace("123456789012", "000000000000").replace("webhooks", &stack.name);
    let text = text
        .replace("acme-archive", &archive)
        .replace("acme-events", &there)
        .replace("acme-mail", &format!("{there}-*"));
    let key = stack::user(&format!("{}-user", stack.name), &serde_json::from_str(&text).unwrap());
    let gone = Cell::new(false);
    let run = |verb: &str, options: &str| {
        let routeto = stack.routeto(verb, options).env("AWS_ACCESS_KEY_ID", &key);
        let output = routeto.clone().output();
        // What left the file may be the stack's to remove or the user's own: to be refused an
        // answer is one.
        let own = |call: &Call| {
            gone.get() && (call.resource().contains(&there) || call.resource().contains(&archive))
        };
        let refused = |call: &&Call| call.status == Some(403) && !own(call);
        let refused: Vec<String> =
            proxy.calls().iter().filter(refused).map(|call| format!("{call:?}")).collect();
        assert!(
            output.status == 0 && refused.is_empty(),
            "routeto {verb}: {}\nrefused: {refused:#?}",
            output.stderr
        );
        output
    };
    run("plan", "");
    let deployed: Value = serde_json::from_str(&run("deploy", "--output json").stdout).unwrap();
    let deployed = crate::support::Deployed(deployed);
    for route in ["/input", "/there", "/events", "/there-too"] {
        deployed.store("prod", route, "application/json", b"{}");
    }
    // other code: the same zip with a comment at its end has another digest
    stack.routeto("package", "--out function.zip").check();
    let mut zip = std::fs::read(stack.path().join("function.zip")).unwrap();
    let end = zip.len() - 2;
    assert_eq!(zip[end..], [0, 0], "the length of a zip's comment is its last two bytes");
    zip[end] = 1;
    zip.push(b'x');
    stack.file("other.zip", zip);
    stack.rewrite(
        &YAML
            .replace("prefix: in/, expire_after: 400", "prefix: other/")
            .replace("after: 5", "after: 4")
            .replace("owner: platform", "owner: other, more: yes-")
            .replace("routes:", "function: { memory: 256, log_retention: 7 }\nroutes:"),
    );
    run("deploy", "--function-zip other.zip");
    // a resource policy that was set by hand is in the document that is written next
    let open = serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "execute-api:Invoke", "Resource": "execute-api:/*"}]});
    let set = serde_json::json!({"op": "replace", "path": "/policy", "value": open.to_string()});
    aws::call(
        "apigateway",
        "update_rest_api",
        serde_json::json!({"restApiId": deployed.api_id(), "patchOperations": [set]}),
    );
    // and a bucket's encryption
    let kms = serde_json::json!({"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]});
    let bucket = format!("{}-prod", stack.name);
    aws::call(
        "s3",
        "put_bucket_encryption",
        serde_json::json!({"Bucket": bucket, "ServerSideEncryptionConfiguration": kms}),
    );
    // a route, a destination and a stage go
    gone.set(true);
    stack.rewrite("stack: NAME\nroutes:\n  /input:\n    s3: { bucket: \"NAME-${stage}\" }\nstages:\n  prod: {}\n");
    run("deploy", "");
    run("set-token", "--stage prod --now --show-token");
    run("status", "");
    // what was changed by hand is put right: a permission, a trust policy, a retention that
    // somebody's cleaning gave to the history
    let function = format!("{}-prod", stack.name);
    // the function is again what it was at first
    let version = "1";
    let of_version = serde_json::json!({"FunctionName": function, "Qualifier": version});
    let granted: Value = serde_json::from_str(
        aws::call("lambda", "get_policy", of_version)["Policy"].as_str().unwrap(),
    )
    .unwrap();
    let statement = &granted["Statement"][0]["Sid"];
    let named = serde_json::json!({"FunctionName": function, "Qualifier": version, "StatementId": statement});
    aws::call("lambda", "remove_permission", named);
    let elsewhere = serde_json::json!({
        "FunctionName": function, "Qualifier": version, "StatementId": statement, "Action": "lambda:InvokeFunction",
        "Principal": "apigateway.amazonaws.com", "SourceArn": "arn:aws:execute-api:us-east-1:000000000000:elsewhere/*",
    });
    aws::call("lambda", "add_permission", elsewhere);
    let role = format!("{}-prod-us-east-1", stack.name);
    let trust = serde_json::json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": ["lambda.amazonaws.com", "ec2.amazonaws.com"]}, "Action": "sts:AssumeRole",
    }]});
    aws::call(
        "iam",
        "update_assume_role_policy",
        serde_json::json!({"RoleName": role, "PolicyDocument": trust.to_string()}),
    );
    let history = format!("/routeto/{}", stack.name);
    aws::call(
        "logs",
        "put_retention_policy",
        serde_json::json!({"logGroupName": history, "retentionInDays": 30}),
    );
    run("deploy", "");
    // what hangs on a role by hand has to be found before the role can go
    let by_hand = serde_json::json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]});
    aws::call(
        "iam",
        "put_role_policy",
        serde_json::json!({"RoleName": role, "PolicyName": "by-hand", "PolicyDocument": by_hand.to_string()}),
    );
    aws::call(
        "iam",
        "attach_role_policy",
        serde_json::json!({"RoleName": role, "PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}),
    );
    run("teardown", "--yes --delete-data");
    assert_eq!(stack.world().names(), [] as [String; 0]);
    // those of the user's own stand as they did
    assert!([&there, &archive].iter().all(|bucket| aws::keys(bucket).is_some()));
    assert!(
        ["dev", "prod"].iter().all(|stage| aws::queue_url(&format!("{there}-{stage}")).is_some())
    );

    let calls: Vec<_> = proxy.calls().into_iter().filter(|call| call.status != Some(403)).collect();
    // what only a deploy ten minutes after another does: `together.rs` has it in less
    let later = "logs:DeleteLogStream".to_owned();
    let used: BTreeSet<String> = calls.iter().flat_map(needed).chain([later]).collect();
    let given: BTreeSet<String> = policy["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|statement| many(&statement["Action"]))
        .collect();
    let too_many: Vec<&String> = given.difference(&used).collect();
    // sts:GetCallerIdentity needs no permission; a policy may have it all the same
    let missing: Vec<&String> =
        used.difference(&given).filter(|action| *action != "sts:GetCallerIdentity").collect();
    assert_eq!((missing, too_many), (vec![], vec![]));
    for statement in policy["Statement"].as_array().unwrap() {
        if many(&statement["Action"]).iter().any(|action| action == "iam:PassRole") {
            assert_eq!(
                statement["Condition"]["StringEquals"]["iam:PassedToService"],
                "lambda.amazonaws.com"
            );
        }
    }
}
