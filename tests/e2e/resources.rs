//! What stands in the account after a deploy, what a deploy changes, and what it never touches.

use crate::support::{
    Emulator, Proxy, Stack, What, Which, aws,
    proxy::Gate,
    world::{World, differences},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

const JSON: &str = "application/json";

const ONE: &str = r#"
stack: NAME
routes:
  /input:
    s3: { bucket: "NAME-${stage}" }
stages:
  prod: {}
"#;

fn with_route(route: &str) -> String {
    format!("stack: NAME\nroutes:\n  /input:\n{route}\nstages:\n  prod: {{}}\n")
}

fn names(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
        .collect()
}

#[test]
fn everything_carries_the_stacks_tag_and_the_files_own_tags() {
    let stack = Stack::new(&format!("{ONE}tags: {{ owner: platform, cost-center: \"42\" }}\n").replace(
        "/input:",
        "/events:\n    sqs: { queue: \"NAME-q-${stage}\", dead_letter: { queue: \"NAME-dead-${stage}\", after: 2 } }\n  /input:",
    ));
    stack.deploy();
    let world = stack.world();
    let mut untagged = Vec::new();
    let mut check = |what: String, tags: &Value| {
        let wanted =
            [("routeto:stack", stack.name.as_str()), ("owner", "platform"), ("cost-center", "42")];
        if wanted.iter().any(|(key, value)| tags[key] != *value) {
            untagged.push(format!("{what}: {tags}"));
        }
    };
    for kind in ["buckets", "queues", "functions", "roles", "log_groups"] {
        let items = world.0[kind].as_object().unwrap();
        assert!(!items.is_empty(), "{kind}");
        items.iter().for_each(|(name, item)| check(format!("{kind} {name}"), &item["tags"]));
    }
    check("api".into(), &world.api()["tags"]);
    check("stage".into(), &world.stage("prod")["tags"]);
    assert_eq!(untagged, [] as [String; 0]);
}

#[test]
fn a_bucket_is_private_encrypted_owner_enforced_tls_only_and_expires_what_it_was_told_to() {
    let stack = Stack::new(&with_route(
        "    s3: { bucket: \"NAME-${stage}\", prefix: SendGrid/, expire_after: 400 }",
    ));
    stack.deploy();
    let name = format!("{}-prod", stack.name);
    let world = stack.world();
    let bucket = world.bucket(&name);
    let all = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];
    assert_eq!(
        bucket["public_access"],
        json!(
            all.map(|k| (k.to_owned(), true))
                .into_iter()
                .collect::<std::collections::BTreeMap<_, _>>()
        )
    );
    assert_eq!(bucket["ownership"]["Rules"], json!([{"ObjectOwnership": "BucketOwnerEnforced"}]));
    assert_eq!(
        bucket["encryption"]["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"],
        "AES256"
    );
    let statement = &bucket["policy"]["Statement"][0];
    assert_eq!(
        (&statement["Effect"], &statement["Condition"]["Bool"]["aws:SecureTransport"]),
        (&json!("Deny"), &json!("false"))
    );
    let resources = names(&statement["Resource"]);
    assert!(
        resources.contains(&format!("arn:aws:s3:::{name}"))
            && resources.contains(&format!("arn:aws:s3:::{name}/*")),
        "{statement}"
    );
    let rule = &bucket["lifecycle"][0];
    assert_eq!((&rule["Expiration"]["Days"], &rule["Status"]), (&json!(400), &json!("Enabled")));
}

#[test]
fn empty_buckets_of_the_users_that_a_route_names_outlive_deploys_and_the_teardown() {
    let stack = Stack::new(&with_route(
        "    s3: { bucket: \"NAME-mine\", existing: true }\n  /other:\n    s3: { bucket: \"NAME-${stage}\", allow: [NAME-allowed] }",
    ));
    let theirs = ["mine", "allowed"].map(|name| format!("{}-{name}", stack.name));
    theirs
        .iter()
        .for_each(|name| drop(aws::call("s3", "create_bucket", json!({ "Bucket": name }))));
    stack.deploy();
    assert!(stack.deploy().changes("deleted").as_array().is_some_and(Vec::is_empty));
    stack.teardown();
    for name in &theirs {
        assert_eq!(aws::keys(name).unwrap(), [] as [String; 0]);
        aws::call("s3", "delete_bucket", json!({ "Bucket": name }));
    }
}

#[test]
fn a_queue_is_encrypted_keeps_seven_days_and_its_dead_letters_fourteen() {
    let stack = Stack::new(&with_route(
        "    sqs: { queue: \"NAME-q-${stage}\", dead_letter: { queue: \"NAME-dead-${stage}\", after: 5 } }",
    ));
    let deployed = stack.deploy();
    let (queue, dead) = (format!("{}-q-prod", stack.name), format!("{}-dead-prod", stack.name));
    let world = stack.world();
    let (first, second) = (&world.queue(&queue)["attributes"], &world.queue(&dead)["attributes"]);
    assert_eq!(
        (&first["MessageRetentionPeriod"], &second["MessageRetentionPeriod"]),
        (&json!("604800"), &json!("1209600"))
    );
    assert_eq!(
        (&first["SqsManagedSseEnabled"], &second["SqsManagedSseEnabled"]),
        (&json!("true"), &json!("true"))
    );
    assert_eq!(first["MaximumMessageSize"], json!("1048576"));
    let redrive: Value = serde_json::from_str(first["RedrivePolicy"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&redrive["deadLetterTargetArn"], redrive["maxReceiveCount"].to_string().trim_matches('"')),
        (&json!(aws::queue_arn(&dead)), "5")
    );

    // a message that is received six times and never deleted is found among the dead
    deployed.store("prod", "/input", JSON, b"{\"dead\":true}");
    let url = aws::queue_url(&queue).unwrap();
    for _ in 0..6 {
        aws::call(
            "sqs",
            "receive_message",
            json!({"QueueUrl": url, "VisibilityTimeout": 0, "WaitTimeSeconds": 1}),
        );
    }
    assert_eq!(aws::only_message(&dead).json()["body-json"], json!({"dead": true}));
}

#[test]
fn a_log_group_is_kept_for_as_long_as_the_file_says() {
    let stack =
        Stack::new(&ONE.replace(
            "routes:",
            "function: { log_retention: 14, memory: 256, timeout: 20 }\nroutes:",
        ));
    stack.deploy();
    let world = stack.world();
    let name = format!("{}-prod", stack.name);
    assert_eq!(world.0["log_groups"][format!("/aws/lambda/{name}")]["retention"], 14);
    let configuration = &world.function(&name)["configuration"];
    assert_eq!(
        (&configuration["MemorySize"], &configuration["Timeout"]),
        (&json!(256), &json!(20))
    );
    assert_eq!(
        (&configuration["Runtime"], &configuration["Architectures"]),
        (&json!("provided.al2023"), &json!(["x86_64"]))
    );
    assert!(
        configuration["Environment"]["Variables"]
            .as_object()
            .is_none_or(|variables| variables.is_empty()),
        "{configuration}"
    );
}

#[test]
fn the_api_has_a_validator_binary_types_and_503_where_the_gateway_refuses_by_itself() {
    let stack = Stack::new(&ONE.replace(
        "/input:",
        "/input:\n    accept: [application/json, multipart/form-data, text/plain]",
    ));
    stack.deploy();
    let world = stack.world();
    let api = world.api();
    assert_eq!(
        (&api["binary"], &api["endpoint"]),
        (&json!(["multipart/form-data", "text/plain"]), &json!(["REGIONAL"]))
    );
    let method = &api["resources"]["/input"]["POST"];
    assert_eq!(method["requestParameters"], json!({"method.request.querystring.token": true}));
    assert_eq!(method["requestValidator"]["validateRequestParameters"], true);
    let integration = &method["methodIntegration"];
    assert_eq!(
        (&integration["type"], &integration["passthroughBehavior"]),
        (&json!("AWS"), &json!("NEVER"))
    );
    assert_eq!(integration["contentHandling"], "CONVERT_TO_TEXT");
    let responses = integration["integrationResponses"].as_object().unwrap();
    assert_eq!(responses.keys().collect::<Vec<_>>(), ["503"], "one response, and it is 503");
    for kind in ["THROTTLED", "QUOTA_EXCEEDED"] {
        assert_eq!(
            api["gateway_responses"][kind]["statusCode"], "503",
            "{}",
            api["gateway_responses"]
        );
        assert!(
            api["gateway_responses"][kind]["responseParameters"]
                .to_string()
                .contains("Retry-After"),
            "{}",
            api["gateway_responses"]
        );
    }
}

#[test]
fn the_throttle_and_the_free_variables_of_a_stage_are_set_on_it() {
    let yaml = r#"
stack: NAME
routes:
  /input:
    s3: { bucket: "NAME-${stage}" }
stages:
  prod:
    throttle: { rate: 12.5, burst: 7 }
    variables: { team: "payments-${stage}" }
"#;
    let stack = Stack::new(yaml);
    stack.deploy();
    let world = stack.world();
    let settings = &world.stage("prod")["settings"]["*/*"];
    assert_eq!(
        (&settings["throttlingRateLimit"], &settings["throttlingBurstLimit"]),
        (&json!(12.5), &json!(7))
    );
    assert_eq!(world.stage("prod")["variables"]["team"], "payments-prod");
}

#[test]
fn an_existing_bucket_and_an_existing_queue_are_used_and_never_changed_or_removed() {
    let yaml = r#"
stack: NAME
routes:
  /input:
    s3: { bucket: NAME-there, existing: true, prefix: in/ }
  /events:
    sqs: { queue: NAME-there, existing: true }
stages:
  prod: {}
"#;
    let stack = Stack::new(yaml);
    let there = format!("{}-there", stack.name);
    aws::create_bucket(&there);
    aws::call(
        "sqs",
        "create_queue",
        json!({"QueueName": there, "Attributes": {"MessageRetentionPeriod": "3600"}}),
    );
    let before = stack.world();
    let deployed = stack.deploy();
    let after = stack.world();
    assert_eq!(after.bucket(&there), before.bucket(&there));
    assert_eq!(after.queue(&there), before.queue(&there));
    let id = deployed.store("prod", "/input", JSON, b"{}");
    deployed.store("prod", "/events", JSON, b"{}");
    assert!(aws::only_object(&there).key.ends_with(&id));
    stack.teardown();
    assert_eq!(stack.world().names(), [format!("bucket {there}"), format!("queue {there}")]);
    assert_eq!((aws::keys(&there).unwrap().len(), aws::depth(&there)), (1, 1));
}

#[test]
fn an_existing_bucket_that_is_not_there_is_an_error_before_anything_is_made() {
    let proxy = Proxy::start(Emulator::shared());
    let stack =
        Stack::through(&proxy, &with_route("    s3: { bucket: NAME-gone, existing: true }"));
    // as for every other mistake in the file: where it stands
    let words = [
        "stack.yaml:3 (route /input)",
        &format!("{}-gone", stack.name),
        "`existing: true`",
        "leave `existing` out",
    ];
    stack.routeto("deploy", "").fails(1, &words);
    assert_eq!(stack.world().names(), [] as [String; 0]);
    stack.rewrite(&with_route("    sqs: { queue: NAME-gone, existing: true }"));
    stack.routeto("deploy", "").fails(1, &words);
    assert_eq!(stack.world().names(), [] as [String; 0]);
    assert_eq!(proxy.mutations(), [] as [String; 0]);
}

#[test]
fn an_allowed_bucket_is_looked_at_before_anything_is_made_and_its_key_is_granted() {
    let proxy = Proxy::start(Emulator::shared());
    let yaml = |allowed: &str| {
        with_route(&format!("    s3: {{ bucket: \"NAME-${{stage}}\", allow: [{allowed}/in] }}"))
    };
    let stack = Stack::through(&proxy, &yaml("NAME-archive"));
    let archive = format!("{}-archive", stack.name);
    stack.routeto("plan", "").fails(
        1,
        &["stack.yaml:3 (route /input)", &format!("bucket {archive}"), "`allow`", "no such bucket"],
    );
    stack.routeto("deploy", "").fails(1, &[&archive]);
    aws::call_in(
        "eu-west-1",
        "s3",
        "create_bucket",
        json!({
            "Bucket": format!("{archive}-far"), "CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"},
        }),
    );
    stack.rewrite(&yaml("NAME-archive-far"));
    stack.routeto("deploy", "").fails(
        1,
        &["stack.yaml:3 (route /input)", "the bucket is in eu-west-1, the stack in us-east-1"],
    );
    assert_eq!(proxy.mutations(), [] as [String; 0]);

    stack.rewrite(&yaml("NAME-archive"));
    aws::create_bucket(&archive);
    let key = "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555";
    let default = json!({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key});
    aws::call(
        "s3",
        "put_bucket_encryption",
        json!({
            "Bucket": archive, "ServerSideEncryptionConfiguration": {"Rules": [{"ApplyServerSideEncryptionByDefault": default}]},
        }),
    );
    // who may not read that would take the right to use the key away from a stage in service
    proxy.fault(
        Which::Every("s3:GetBucketEncryption"),
        What::Answer { status: 403, code: "AccessDenied", message: "no" },
    );
    stack.routeto("deploy", "").fails(
        1,
        &["(route /input)", &archive, "KMS key isn't known", "allow s3:GetEncryptionConfiguration"],
    );
    assert_eq!(proxy.mutations(), [] as [String; 0]);
    proxy.heal();
    stack.deploy();
    let role = format!("{}-prod-us-east-1", stack.name);
    let policy = stack.world().role(&role)["inline"]["routeto"].to_string();
    assert!(policy.contains(key) && policy.contains("kms:GenerateDataKey"), "{policy}");
    // two calls tell all that is to be known of a bucket of the user's, however often it is
    // deployed
    proxy.clear();
    stack.deploy();
    let calls = proxy.calls();
    let asked: std::collections::BTreeSet<String> = calls
        .iter()
        .filter(|call| call.resource().ends_with(&archive))
        .map(|call| call.name())
        .collect();
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), ["s3:GetBucketEncryption", "s3:HeadBucket"]);
    stack.teardown();
}

#[test]
fn a_bucket_that_was_made_and_that_the_file_now_says_exists_is_not_removed() {
    let stack = Stack::new(&with_route("    s3: { bucket: \"NAME-${stage}\" }"));
    stack.deploy();
    stack.rewrite(&with_route("    s3: { bucket: \"NAME-${stage}\", existing: true }"));
    stack.deploy();
    stack.teardown();
    assert_eq!(stack.world().names(), [format!("bucket {}-prod", stack.name)]);
}

#[test]
fn a_binary_type_reaches_its_custom_template_as_base64() {
    let template = r#"{"token": "$util.escapeJavaScript($input.params('token'))", "validToken": "$stageVariables.validToken", "destination": "$destination",
"path": "/image", "time": $context.requestTimeEpoch, "headers": {"Content-Type": "image/png"}, "body": "$input.body"}"#;
    let stack = Stack::new(ONE);
    stack.file("image.vtl", template);
    stack.rewrite(
        &(ONE.replace(
            "/input:\n",
            "/image:\n    accept: [image/png]\n    templates: { image/png: image.vtl }\n",
        ) + "binary: [image/png]\n"),
    );
    let deployed = stack.deploy();
    let png = crate::support::multipart::PNG;
    let id = deployed.store("prod", "/image", "image/png", png);
    let object = aws::only_object(&format!("{}-prod", stack.name));
    assert_eq!((object.body.as_slice(), object.content_type.as_str()), (png, "image/png"));
    assert!(object.key.contains("image_") && object.key.ends_with(&id), "{}", object.key);
}

#[test]
fn a_custom_template_sees_the_stages_variables_and_its_change_is_deployed() {
    let template = |word: &str| {
        format!(
            "{{\"token\": \"$util.escapeJavaScript($input.params('token'))\", \"validToken\": \"$stageVariables.validToken\", \"destination\": \"$destination\",\n\
             \"path\": \"/input\", \"body-json\": {{\"team\": \"$stageVariables.team\", \"word\": \"{word}\", \"sent\": $input.json('$')}}}}"
        )
    };
    let yaml = ONE
        .replace("/input:\n", "/input:\n    templates: { application/json: templates/mine.vtl }\n")
        .replace("prod: {}", "prod: { variables: { team: payments } }");
    let stack = Stack::new(ONE);
    stack.file("templates/mine.vtl", template("one"));
    stack.rewrite(&yaml);
    let deployed = stack.deploy();
    let bucket = format!("{}-prod", stack.name);
    let store = |word: &str| {
        let id = deployed.store("prod", "/input", JSON, b"{\"a\":1}");
        let key = aws::keys(&bucket).unwrap().into_iter().find(|key| key.ends_with(&id)).unwrap();
        let stored: Value = serde_json::from_slice(&aws::object(&bucket, &key).body).unwrap();
        assert_eq!(stored, json!({"team": "payments", "word": word, "sent": {"a": 1}}));
    };
    store("one");
    stack.file("templates/mine.vtl", template("two"));
    let plan = stack.routeto("plan", "--exit-code").status(2).check();
    // the plan shows the template's lines as they were and as they will be
    let lines: Vec<&str> = plan.stdout.lines().map(str::trim_start).collect();
    assert!(
        lines.iter().any(|line| line.starts_with('-') && line.contains("\"one\"")),
        "{}",
        plan.stdout
    );
    assert!(
        lines.iter().any(|line| line.starts_with('+') && line.contains("\"two\"")),
        "{}",
        plan.stdout
    );
    stack.deploy();
    store("two");
}

#[test]
fn what_left_the_file_is_removed_and_a_bucket_with_objects_is_kept_and_told() {
    let two = r#"
stack: NAME
routes:
  /input:
    s3: { bucket: "NAME-full-${stage}" }
  /other:
    s3: { bucket: "NAME-empty-${stage}" }
  /events:
    sqs: { queue: "NAME-full-${stage}" }
  /more:
    sqs: { queue: "NAME-empty-${stage}" }
stages:
  dev: {}
  prod: {}
"#;
    let stack = Stack::new(two);
    let deployed = stack.deploy();
    deployed.store("prod", "/input", JSON, b"{}");
    deployed.store("prod", "/events", JSON, b"{}");
    stack.rewrite(ONE);
    let after = stack.deploy();
    let full = format!("{}-full-prod", stack.name);
    let kept = after.changes("kept").to_string();
    assert!(kept.matches(&full).count() >= 2, "{kept}");
    let world = stack.world();
    let name = |what: &str, rest: &str| format!("{what} {}{rest}", stack.name);
    let wanted = [
        name("api", ""),
        name("bucket", "-full-prod"),
        name("bucket", "-prod"),
        name("function", "-prod"),
        format!("log group /aws/lambda/{}-prod", stack.name),
        format!("log group /routeto/{}", stack.name),
        name("queue", "-full-prod"),
        name("role", "-prod-us-east-1"),
    ];
    assert_eq!(world.names(), wanted);
    assert_eq!(
        world.api()["resources"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, verbs)| verbs["POST"].is_object())
            .count(),
        1
    );
    assert_eq!((aws::keys(&full).unwrap().len(), aws::depth(&full)), (1, 1));
    stack.routeto("plan", "--exit-code").status(0).check();
    // no stage speaks of the two any more, and the teardown finds them all the same
    let gone = stack.teardown();
    assert_eq!(stack.world().names(), [] as [String; 0], "{gone:#}");
}

#[test]
fn a_teardown_keeps_what_has_something_in_it_unless_it_is_told_to_delete_data() {
    let stack = Stack::new(&with_route(
        "    s3: { bucket: \"NAME-${stage}\" }\n  /events:\n    sqs: { queue: \"NAME-${stage}\" }",
    ));
    let deployed = stack.deploy();
    deployed.store("prod", "/input", JSON, b"{\"kept\":1}");
    deployed.store("prod", "/events", JSON, b"{\"kept\":1}");
    let name = format!("{}-prod", stack.name);
    let told = stack.routeto("teardown", "--yes").check();
    assert!(format!("{}{}", told.stdout, told.stderr).contains(&name), "{told:?}");
    assert_eq!(stack.world().names(), [format!("bucket {name}"), format!("queue {name}")]);
    // a deploy takes them up again, with what they hold
    let deployed = stack.deploy();
    deployed.store("prod", "/input", JSON, b"{}");
    assert_eq!(aws::keys(&name).unwrap().len(), 2);
    stack.teardown();
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

/// The list of APIs tells of which document each is: without that a look could only guess, each
/// time anew.
#[test]
fn an_api_that_lost_the_digest_of_its_document_is_written_once_more_and_then_left_alone() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    let id = stack.deploy().api_id();
    let description = || {
        aws::call("apigateway", "get_rest_api", json!({"restApiId": id}))["description"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let whole = description();
    let (plain, _) = whole.split_once(" (sha256:").unwrap();
    let operations = json!([{"op": "replace", "path": "/description", "value": plain}]);
    aws::call(
        "apigateway",
        "update_rest_api",
        json!({"restApiId": id, "patchOperations": operations}),
    );
    assert!(stack.routeto("plan", "").check().stdout.contains("written document"));
    stack.deploy();
    assert_eq!(description(), whole);
    proxy.clear();
    stack.deploy();
    assert_eq!(proxy.mutations(), [] as [String; 0]);
    stack.teardown();
}

#[test]
fn what_a_killed_first_deploy_left_is_told_by_status() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    let refused = What::Answer { status: 400, code: "BadRequestException", message: "no" };
    proxy.fault(Which::Every("apigateway:CreateRestApi"), refused);
    stack.routeto("deploy", "").status(1).check();
    proxy.heal();
    let status = stack.routeto("status", "").check().stdout;
    for words in [
        "isn't deployed in account",
        "left of it: role ",
        "left of it: log group /routeto/",
        "continues from there",
        "history\n",
        " failed ",
    ] {
        assert!(status.contains(words), "{words}:\n{status}");
    }
    stack.teardown();
}

#[test]
fn a_teardown_of_a_stack_that_was_never_there_is_fine_and_changes_nothing() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    stack.routeto("teardown", "--yes").check();
    assert_eq!(proxy.mutations(), [] as [String; 0]);
}

#[test]
fn drift_made_by_hand_is_shown_and_put_right_but_for_variables_that_are_not_ours() {
    let stack = Stack::new(ONE);
    let deployed = stack.deploy();
    let before = stack.world();
    let name = format!("{}-prod", stack.name);
    let id = deployed.api_id();
    aws::call("s3", "delete_public_access_block", json!({ "Bucket": name }));
    aws::call(
        "lambda",
        "update_function_configuration",
        json!({"FunctionName": name, "MemorySize": 512}),
    );
    aws::call(
        "logs",
        "put_retention_policy",
        json!({"logGroupName": format!("/aws/lambda/{name}"), "retentionInDays": 1}),
    );
    let patches = json!([
        {"op": "replace", "path": "/variables/byHand", "value": "kept"},
        {"op": "replace", "path": "/*/*/throttling/rateLimit", "value": "1"},
    ]);
    aws::call(
        "apigateway",
        "update_stage",
        json!({"restApiId": id, "stageName": "prod", "patchOperations": patches}),
    );
    stack.routeto("plan", "--exit-code").status(2).check();
    stack.deploy();
    let after = stack.world();
    assert_eq!(after.stage("prod")["variables"]["byHand"], "kept");
    assert_eq!(after.bucket(&name), before.bucket(&name));
    assert_eq!(after.function(&name)["configuration"], before.function(&name)["configuration"]);
    assert_eq!(after.0["log_groups"], before.0["log_groups"]);
    assert_eq!(
        after.stage("prod")["variables"]["validToken"],
        before.stage("prod")["variables"]["validToken"]
    );
    stack.routeto("plan", "--exit-code").status(0).check();
    deployed.store("prod", "/input", JSON, b"{}");
}

/// One after the other. What didn't show could differ between two worlds that are told to be equal,
/// here and in the faults' table.
#[test]
fn whatever_is_changed_by_hand_shows_in_the_world_and_is_put_right_or_named_here() {
    let stack = Stack::new(
        "stack: NAME\ntags: { team: events }\nroutes:\n  /input:\n    s3: { bucket: \"NAME-${stage}\", expire_after: 30 }\n  /queue:\n    \
         sqs: { queue: \"NAME-${stage}\", dead_letter: { queue: \"NAME-dead-${stage}\", after: 3 } }\nstages:\n  \
         prod: { throttle: { rate: 5, burst: 10 }, variables: { mine: yes } }\n",
    );
    let deployed = stack.deploy();
    let before = stack.world();
    let (api, name) = (deployed.api_id(), format!("{}-prod", stack.name));
    let role = format!("{name}-us-east-1");
    let function = format!("arn:aws:lambda:us-east-1:000000000000:function:{name}");
    let log_group = format!("/aws/lambda/{name}");
    let group = format!("arn:aws:logs:us-east-1:000000000000:log-group:{log_group}");
    let version = before.stage("prod")["variables"]["functionVersion"].as_str().unwrap().to_owned();
    let queue = aws::call("sqs", "get_queue_url", json!({ "QueueName": name }))["QueueUrl"].clone();
    let resources = aws::call("apigateway", "get_resources", json!({ "restApiId": api }));
    let resource = |path: &str| {
        resources["items"].as_array().unwrap().iter().find(|item| item["path"] == path).unwrap()["id"].clone()
    };
    let method = |patches: Value| json!({"restApiId": api, "resourceId": resource("/input"), "httpMethod": "POST", "patchOperations": patches});
    let of_stage =
        |patches: Value| json!({"restApiId": api, "stageName": "prod", "patchOperations": patches});
    let policies: Value =
        serde_json::from_str(
            aws::call("lambda", "get_policy", json!({"FunctionName": name, "Qualifier": version}))
                ["Policy"]
                .as_str()
                .unwrap(),
        )
        .unwrap();
    let statement = policies["Statement"][0]["Sid"].clone();
    let anyone = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}).to_string();
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    let kms =
        json!({"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]});
    // No tag of the API or of its stages among them: the emulator keeps those whatever is untagged.
    let changes = [
        ("s3", "delete_public_access_block", json!({ "Bucket": name })),
        ("s3", "delete_bucket_policy", json!({ "Bucket": name })),
        ("s3", "delete_bucket_ownership_controls", json!({ "Bucket": name })),
        ("s3", "delete_bucket_lifecycle", json!({ "Bucket": name })),
        (
            "s3",
            "put_bucket_encryption",
            json!({"Bucket": name, "ServerSideEncryptionConfiguration": kms}),
        ),
        (
            "s3",
            "put_bucket_tagging",
            json!({"Bucket": name, "Tagging": {"TagSet": [{"Key": "routeto:stack", "Value": stack.name}]}}),
        ),
        (
            "sqs",
            "set_queue_attributes",
            json!({"QueueUrl": queue, "Attributes": {"MessageRetentionPeriod": "60"}}),
        ),
        (
            "sqs",
            "set_queue_attributes",
            json!({"QueueUrl": queue, "Attributes": {"VisibilityTimeout": "1"}}),
        ),
        (
            "sqs",
            "set_queue_attributes",
            json!({"QueueUrl": queue, "Attributes": {"RedrivePolicy": ""}}),
        ),
        (
            "sqs",
            "set_queue_attributes",
            json!({"QueueUrl": queue, "Attributes": {"SqsManagedSseEnabled": "false"}}),
        ),
        (
            "sqs",
            "set_queue_attributes",
            json!({"QueueUrl": queue, "Attributes": {"KmsMasterKeyId": "alias/aws/sqs"}}),
        ),
        ("sqs", "untag_queue", json!({"QueueUrl": queue, "TagKeys": ["team"]})),
        (
            "lambda",
            "update_function_configuration",
            json!({"FunctionName": name, "MemorySize": 512}),
        ),
        ("lambda", "update_function_configuration", json!({"FunctionName": name, "Timeout": 3})),
        (
            "lambda",
            "update_function_configuration",
            json!({"FunctionName": name, "Environment": {"Variables": {"A": "b"}}}),
        ),
        ("lambda", "untag_resource", json!({"Resource": function, "TagKeys": ["team"]})),
        (
            "lambda",
            "remove_permission",
            json!({"FunctionName": name, "Qualifier": version, "StatementId": statement}),
        ),
        (
            "iam",
            "put_role_policy",
            json!({"RoleName": role, "PolicyName": before.policy_of(&role), "PolicyDocument": anyone}),
        ),
        (
            "iam",
            "update_assume_role_policy",
            json!({"RoleName": role, "PolicyDocument": trust.to_string()}),
        ),
        ("iam", "untag_role", json!({"RoleName": role, "TagKeys": ["team"]})),
        ("logs", "put_retention_policy", json!({"logGroupName": log_group, "retentionInDays": 1})),
        ("logs", "untag_resource", json!({"resourceArn": group, "tagKeys": ["team"]})),
        (
            "apigateway",
            "update_stage",
            of_stage(json!([{"op": "replace", "path": "/*/*/throttling/rateLimit", "value": "1"}])),
        ),
        (
            "apigateway",
            "update_stage",
            of_stage(json!([{"op": "replace", "path": "/variables/mine", "value": "theirs"}])),
        ),
        (
            "apigateway",
            "update_integration",
            method(
                json!([{"op": "replace", "path": "/requestTemplates/application~1json", "value": "{\"somebody\": \"elses\"}"}]),
            ),
        ),
        (
            "apigateway",
            "update_method",
            method(json!([{"op": "replace", "path": "/apiKeyRequired", "value": "true"}])),
        ),
        (
            "apigateway",
            "delete_method",
            json!({"restApiId": api, "resourceId": resource("/queue"), "httpMethod": "POST"}),
        ),
        (
            "apigateway",
            "create_resource",
            json!({"restApiId": api, "parentId": resource("/"), "pathPart": "theirs"}),
        ),
        (
            "apigateway",
            "delete_gateway_response",
            json!({"restApiId": api, "responseType": "THROTTLED"}),
        ),
        // a failure would be answered as if the webhook were stored
        (
            "apigateway",
            "put_gateway_response",
            json!({"restApiId": api, "responseType": "DEFAULT_5XX", "statusCode": "200"}),
        ),
        (
            "apigateway",
            "update_rest_api",
            json!({"restApiId": api, "patchOperations": [{"op": "add", "path": "/binaryMediaTypes/image~1png"}]}),
        ),
    ];
    let mut last = before.clone();
    for (service, operation, arguments) in changes {
        aws::call(service, operation, arguments.clone());
        let now = stack.world();
        assert!(
            !differences(&last, &now).is_empty(),
            "{service}.{operation}({arguments}) doesn't show"
        );
        last = now;
    }
    stack.routeto("plan", "--exit-code").status(2).check();
    stack.deploy();
    stack.routeto("plan", "--exit-code").status(0).check();
    let mut after = stack.world();
    let mut first = before.clone();
    // for how long a message is a worker's own is the workers' business
    assert_eq!(after.queue(&name)["attributes"]["VisibilityTimeout"], "1");
    // no key: SQS's own encryption
    assert_eq!(after.queue(&name)["attributes"]["KmsMasterKeyId"], "");
    for world in [&mut after, &mut first] {
        world.0["queues"][&name]["attributes"]["VisibilityTimeout"] = Value::Null;
        world.0["queues"][&name]["attributes"]["KmsMasterKeyId"] = Value::Null;
        // the stage went on to a deployment of its own
        world.0["apis"][0]["deployments"] = Value::Null;
        let stage = &mut world.0["apis"][0]["stages"]["prod"];
        stage["deployment"] = Value::Null;
        stage["variables"].as_object_mut().unwrap().retain(|name, _| !name.starts_with("previous"));
    }
    assert_eq!(differences(&after, &first), [] as [String; 0]);
    deployed.store("prod", "/input", JSON, b"{}");
    stack.teardown();
}

/// Failures of the gateway would be answered as if the webhook were stored.
#[test]
fn a_gateway_response_that_was_set_by_hand_goes() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    let deployed = stack.deploy();
    let by_hand = |kind: &str| {
        let response =
            json!({"restApiId": deployed.api_id(), "responseType": kind, "statusCode": "200"});
        aws::call("apigateway", "put_gateway_response", response);
    };
    let kinds = || {
        stack.world().api()["gateway_responses"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    by_hand("DEFAULT_5XX");
    assert_eq!(kinds().len(), 3);
    // Another back end's overwrite leaves it, and so it is there again when the deploy looks.
    let (running, gate) = proxy.held_after("apigateway:PutRestApi", stack.routeto("deploy", ""));
    by_hand("DEFAULT_5XX");
    gate.open();
    assert_eq!(running.wait().status, 0);
    assert_eq!(kinds(), BTreeSet::from(["QUOTA_EXCEEDED", "THROTTLED"].map(String::from)));
    stack.routeto("plan", "--exit-code").status(0).check();
}

#[test]
fn two_deploys_at_once_make_one_of_everything() {
    let stack = Stack::new(ONE);
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| stack.routeto("deploy", "--output json").output()))
            .collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    // one waits for the other
    assert!(outputs.iter().all(|output| output.status == 0), "{outputs:#?}");
    assert_eq!(stack.world().0["apis"].as_array().unwrap().len(), 1);
    stack.deploy().store("prod", "/input", JSON, b"{}");
    stack.routeto("plan", "--exit-code").status(0).check();
}

#[test]
fn a_stack_ends_in_the_same_state_whatever_it_was_before() {
    let stack = Stack::new(ONE);
    stack.deploy();
    let clean = World::of(&stack.name);
    stack.rewrite(
        &ONE.replace("/input:", "/other:").replace("routes:", "function: { memory: 512 }\nroutes:"),
    );
    // a route in service goes: told before, by plan and by deploy
    let lost = "warning: /input goes: providers that post to it get 403 (stage prod)";
    let plan = stack.routeto("plan", "").check();
    assert!(plan.stdout.lines().any(|line| line == lost), "{plan:?}");
    assert_eq!(
        stack.routeto("plan", "").json()["lost"],
        json!([{"route": "/input", "stages": ["prod"]}])
    );
    let said = stack.routeto("deploy", "").check().stderr;
    let line = |wanted: &str| {
        said.lines()
            .position(|line| line.contains(wanted))
            .unwrap_or_else(|| panic!("{wanted}: {said}"))
    };
    assert!(line(lost) < line("✓"), "{said}");
    stack.rewrite(ONE);
    let quiet = stack.routeto("deploy", "-q").check().stderr;
    assert_eq!(quiet, "warning: /other goes: providers that post to it get 403 (stage prod)\n");
    let mut back = stack.world();
    // versions and what points at them are counted on, and that is all
    let mut first = clean.clone();
    for world in [&mut back, &mut first] {
        let function = &mut world.0["functions"][format!("{}-prod", stack.name)];
        function["versions"] = Value::Null;
        function["policies"] = Value::Null;
        let stage = &mut world.0["apis"][0]["stages"]["prod"];
        stage["deployment"] = Value::Null;
        let variables = stage["variables"].as_object_mut().unwrap();
        variables.retain(|name, _| name != "functionVersion" && !name.starts_with("previous"));
        world.0["apis"][0]["deployments"] = Value::Null;
        // what the stage was before stays allowed until it moves again
        world.0["roles"][format!("{}-prod-us-east-1", stack.name)]["inline"] = Value::Null;
    }
    assert_eq!(differences(&back, &first), [] as [String; 0]);
}

#[test]
fn a_queue_that_got_a_message_while_the_teardown_was_under_way_is_kept() {
    let proxy = Proxy::start(Emulator::shared());
    let second = "\n  /none:\n    sqs: { queue: \"NAME-none-${stage}\" }";
    let stack = Stack::through(
        &proxy,
        &with_route(&format!("    sqs: {{ queue: \"NAME-${{stage}}\" }}{second}")),
    );
    stack.deploy();
    let queue = format!("{}-prod", stack.name);
    let gate = Gate::new();
    proxy.fault(Which::Operation("apigateway:DeleteRestApi", 1), What::HoldAfter(gate.clone()));
    let running = stack.routeto("teardown", "--yes").spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    let url = aws::call("sqs", "get_queue_url", json!({ "QueueName": queue }))["QueueUrl"].clone();
    aws::call("sqs", "send_message", json!({"QueueUrl": url, "MessageBody": "{}"}));
    gate.open();
    let output = running.wait();
    assert!(
        output.status == 0
            && output.stdout.contains(&format!("kept: queue {queue}, it holds a message")),
        "{output:?}"
    );
    assert_eq!(aws::depth(&queue), 1);
    assert!(
        output.stderr.contains("waiting 60 s for messages that are still on their way to queue "),
        "{output:?}"
    );
    // the function went before the wait; the role, which tells that a queue may have been sent to,
    // after it
    let calls = proxy.calls();
    let at = |name: &str| {
        calls
            .iter()
            .position(|call| call.name() == name)
            .unwrap_or_else(|| panic!("{name}: {calls:?}"))
    };
    let times = [at("lambda:DeleteFunction"), at("sqs:DeleteQueue"), at("iam:DeleteRole")];
    assert!(times.is_sorted(), "{calls:?}");
    stack.routeto("teardown", "--yes --delete-data").check();
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

#[test]
fn a_queue_that_leaves_the_file_is_looked_at_a_minute_after_nothing_may_send_there_any_more() {
    let proxy = Proxy::start(Emulator::shared());
    let queues = "\n  /late:\n    sqs: { queue: \"NAME-late-${stage}\" }\n  /none:\n    sqs: { queue: \"NAME-none-${stage}\" }";
    let input = "    s3: { bucket: \"NAME-${stage}\" }";
    let stack = Stack::through(&proxy, &with_route(&format!("{input}{queues}")));
    stack.deploy();
    let [late, none] = ["late", "none"].map(|queue| format!("{}-{queue}-prod", stack.name));
    let url = aws::queue_url(&late).unwrap();
    stack.rewrite(&with_route(input));
    proxy.clear();
    // ten times as fast: the minute is six seconds
    let running = stack.routeto("deploy", "").env("ROUTETO_TEST_SETTLE_CLOCK", "10").spawn();
    let first = |name: &str| {
        let calls = proxy.calls();
        calls
            .iter()
            .position(|call| call.name() == name && call.end.is_some())
            .map(|at| (at, calls[at].clone()))
    };
    let deadline = Instant::now() + Duration::from_secs(120);
    let (trim, trimmed) = loop {
        if let Some(found) = first("iam:PutRolePolicy") {
            break found;
        }
        assert!(Instant::now() < deadline, "{:?}", proxy.calls());
        sleep(Duration::from_millis(20));
    };
    // what the stage sent before it moved comes late
    aws::call("sqs", "send_message", json!({"QueueUrl": url, "MessageBody": "{}"}));
    let output = running.wait();
    assert_eq!(output.status, 0, "{output:?}");
    let policy = trimmed.form("PolicyDocument").unwrap();
    assert!(!policy.contains("SendMessage"), "{policy}");
    let (moved, _) = first("apigateway:UpdateStage").unwrap();
    assert!(moved < trim, "{:?}", proxy.calls());
    let (_, deleted) = first("sqs:DeleteQueue").unwrap();
    assert!(
        deleted.resource().ends_with(&none)
            && deleted.at - trimmed.end.unwrap() >= Duration::from_secs(6),
        "{output:?}"
    );
    let told = format!(
        "waiting 60 s for messages that are still on their way to queue {late}, queue {none}"
    );
    assert!(output.stderr.contains(&told), "{output:?}");
    assert!(
        output.stdout.contains(&format!("kept: queue {late}, it holds a message")),
        "{output:?}"
    );
    assert_eq!((aws::depth(&late), aws::queue_url(&none)), (1, None));
    // the deploy before sent to a queue that is gone, and to one that the role may not send to any
    // more
    stack.routeto("rollback", "--stage prod").status(1).check();
    stack.routeto("plan", "--exit-code").check();
    stack.teardown();
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

#[test]
fn what_somebody_set_on_the_api_by_hand_outlives_a_deploy_that_is_cut_off_after_writing_it() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    let deployed = stack.deploy();
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "execute-api:Invoke", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}},
    ]});
    let patches = json!([
        {"op": "replace", "path": "/policy", "value": policy.to_string()},
        {"op": "replace", "path": "/minimumCompressionSize", "value": "1000"},
        {"op": "replace", "path": "/disableExecuteApiEndpoint", "value": "True"},
    ]);
    let id = deployed.api_id();
    aws::call(
        "apigateway",
        "update_rest_api",
        json!({"restApiId": id, "patchOperations": patches}),
    );
    stack.rewrite(&with_route(
        "    accept: [application/json, text/csv]\n    s3: { bucket: \"NAME-${stage}\" }",
    ));
    // nothing gets through once the API was written
    let after = Which::After {
        change: "apigateway:PutRestApi",
        read: "apigateway:GetResources",
        time: Duration::from_secs(600),
    };
    proxy.fault(after, What::Answer { status: 403, code: "AccessDenied", message: "cut off" });
    proxy.deny("apigateway:UpdateRestApi");
    stack.routeto("deploy", "").status(1).check();
    let api = aws::call("apigateway", "get_rest_api", json!({ "restApiId": id }));
    assert!(api["policy"].as_str().is_some_and(|policy| policy.contains("127.0.0.0")), "{api}");
    assert_eq!(api["minimumCompressionSize"], 1000);
    assert_eq!(api["disableExecuteApiEndpoint"], true);
    proxy.heal();
    stack.deploy();
    let api = aws::call("apigateway", "get_rest_api", json!({ "restApiId": id }));
    assert!(api["policy"].as_str().is_some_and(|policy| policy.contains("127.0.0.0")), "{api}");
    stack.teardown();
}

#[test]
fn a_throttle_of_the_accounts_own_limits_is_none_and_the_plan_ends() {
    let stack =
        Stack::new(&ONE.replace("prod: {}", "prod: { throttle: { rate: 10000, burst: 5000 } }"));
    stack.deploy();
    stack.routeto("plan", "--exit-code").check();
    stack.teardown();
}

/// As in a region where the account has less: AWS shows the account's throttle as the stage's where
/// anything else is set.
#[test]
fn what_was_set_by_hand_for_all_methods_stays_when_the_throttle_leaves_the_file() {
    let proxy = Proxy::start(Emulator::shared());
    let own = ONE.replace("prod: {}", "prod: { throttle: { rate: 5, burst: 10 } }");
    let stack = Stack::through(&proxy, &own);
    let deployed = stack.deploy();
    let patched = |patches: Value| {
        let stage = json!({"restApiId": deployed.api_id(), "stageName": "prod", "patchOperations": patches});
        aws::call("apigateway", "update_stage", stage);
    };
    let settings = || {
        let stage = json!({"restApiId": deployed.api_id(), "stageName": "prod"});
        aws::call("apigateway", "get_stage", stage)["methodSettings"]["*/*"].clone()
    };
    patched(json!([{"op": "replace", "path": "/*/*/metrics/enabled", "value": "true"}]));
    stack.rewrite(ONE);
    stack.deploy();
    let left = settings();
    assert_eq!(
        (&left["metricsEnabled"], &left["throttlingRateLimit"]),
        (&json!(true), &json!(-1.0)),
        "{left}"
    );
    stack.routeto("plan", "--exit-code").check();
    let limits = json!({"throttleSettings": {"rateLimit": 2500.0, "burstLimit": 1250}}).to_string();
    let body = What::Body { status: 200, kind: "application/json", text: limits };
    proxy.fault(Which::Every("apigateway:GetAccount"), body);
    patched(json!([
        {"op": "replace", "path": "/*/*/throttling/rateLimit", "value": "2500"},
        {"op": "replace", "path": "/*/*/throttling/burstLimit", "value": "1250"},
    ]));
    stack.routeto("plan", "--exit-code").check();
    // a caller that may not ask for the account's limits deploys all the same
    proxy.heal();
    proxy.deny("apigateway:GetAccount");
    stack.rewrite(&own);
    stack.deploy();
    stack.routeto("plan", "--exit-code").check();
    stack.teardown();
}

#[test]
fn a_queue_with_a_message_that_its_counts_do_not_show_yet_is_kept() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, &with_route("    sqs: { queue: \"NAME-${stage}\" }"));
    stack.deploy().store("prod", "/input", JSON, b"{}");
    // "may not achieve consistency until at least 1 minute after the producers stop sending
    // messages"
    let counts = [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
    ];
    let zero: serde_json::Map<String, Value> =
        counts.iter().map(|name| ((*name).to_owned(), json!("0"))).collect();
    let text = json!({ "Attributes": zero }).to_string();
    proxy.fault(
        Which::Every("sqs:GetQueueAttributes"),
        What::Body { status: 200, kind: "application/x-amz-json-1.0", text },
    );
    let queue = format!("{}-prod", stack.name);
    let output = stack.routeto("teardown", "--yes").check();
    assert!(
        output.stdout.contains(&format!("kept: queue {queue}, it holds a message")),
        "{output:?}"
    );
    proxy.heal();
    assert_eq!(aws::only_message(&queue).json()["path"], "/input");
    stack.teardown();
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

#[test]
fn a_teardown_of_all_stages_by_name_takes_what_earlier_deploys_kept_though_the_history_comes_in_pages()
 {
    let proxy = Proxy::start(Emulator::shared());
    let named =
        |bucket: &str| with_route(&format!("    s3: {{ bucket: \"NAME-{bucket}-${{stage}}\" }}"));
    let stack = Stack::through(&proxy, &named("one"));
    stack.deploy().store("prod", "/input", JSON, b"{}");
    for bucket in ["two", "three"] {
        stack.rewrite(&named(bucket));
        stack.deploy();
    }
    assert!(aws::keys(&format!("{}-one-prod", stack.name)).is_some_and(|keys| keys.len() == 1));
    // "Partially full or empty pages don't necessarily mean that pagination is finished"
    let text = r#"{"events":[],"nextBackwardToken":"b/99999999999999999999999999999999999999999999999999999999","nextForwardToken":"f/1"}"#;
    proxy.fault(
        Which::First("logs:GetLogEvents", 1),
        What::Body { status: 200, kind: "application/x-amz-json-1.1", text: text.into() },
    );
    stack.routeto("teardown", "--stage prod --yes --delete-data").check();
    assert!(proxy.calls().iter().any(|call| call.faulty));
    assert_eq!(aws::keys(&format!("{}-one-prod", stack.name)), None);
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

#[test]
fn a_deployment_that_was_taken_of_an_api_that_somebody_changed_meanwhile_is_not_believed() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, ONE);
    let id = stack.deploy().api_id();
    stack.rewrite(&with_route(
        "    accept: [application/json, text/csv]\n    s3: { bucket: \"NAME-${stage}\" }",
    ));
    let gate = Gate::new();
    proxy.fault(Which::Operation("apigateway:CreateDeployment", 1), What::Hold(gate.clone()));
    let running = stack.routeto("deploy", "").env("ROUTETO_TEST_CLOCK", "30").spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    // between the writing of the API and the snapshot of it
    let resources = aws::call("apigateway", "get_resources", json!({ "restApiId": id }));
    let input = resources["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|resource| resource["path"] == "/input")
        .unwrap()["id"]
        .clone();
    let template = json!([{"op": "replace", "path": "/requestTemplates/application~1json", "value": "{\"somebody\": \"elses\"}"}]);
    let method = json!({"restApiId": id, "resourceId": input, "httpMethod": "POST", "patchOperations": template});
    aws::call("apigateway", "update_integration", method);
    gate.open();
    // what it took answers wrongly, so the stage went back; or it wasn't seen
    running.wait();
    proxy.heal();
    proxy.clear();
    let deployed = stack.deploy();
    let made = proxy.mutations();
    for call in ["apigateway:PutRestApi", "apigateway:CreateDeployment", "apigateway:UpdateStage"] {
        assert!(made.iter().any(|name| name == call), "{call}: {made:?}");
    }
    stack.routeto("plan", "--exit-code").status(0).check();
    deployed.store("prod", "/input", JSON, b"{}");
    stack.teardown();
}

#[test]
fn quiet_is_quiet_in_json_as_well() {
    let stack = Stack::new(ONE);
    let output = stack.routeto("deploy", "-q --output json").check();
    assert_eq!(output.stderr, "");
    stack.teardown();
}
