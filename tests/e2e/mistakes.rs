//! What goes wrong before or while a command works: one error of at most five lines, the right exit
//! code, and the next deploy goes on from there.

use crate::support::proxy::Gate;
use crate::support::{Deployed, Emulator, Proxy, Routeto, Stack, What, Which, aws, http, target};
use serde_json::{Value, json};
use std::time::Duration;

const YAML: &str = r#"
stack: NAME
routes:
  /input:
    s3: { bucket: "NAME-${stage}" }
stages:
  prod: {}
"#;

/// The deploy goes on, and what it makes works.
fn goes_on(stack: &Stack) {
    let deployed = stack.deploy();
    deployed.store("prod", "/input", "application/json", b"{}");
    stack.routeto("plan", "--exit-code").status(0).check();
}

#[test]
fn no_credentials_at_all() {
    let stack = Stack::new(YAML);
    let routeto =
        stack.routeto("deploy", "").without("AWS_ACCESS_KEY_ID").without("AWS_SECRET_ACCESS_KEY");
    routeto.fails(
        1,
        &[
            "sts:GetCallerIdentity couldn't be signed: ",
            "no usable AWS credentials: set AWS_PROFILE",
        ],
    );
    goes_on(&stack);
}

#[test]
fn tail_of_a_stack_that_was_never_deployed() {
    let stack = Stack::new(YAML);
    stack.routeto("tail", "--from aws").fails(1, &["stage prod isn't deployed", "deploy it first"]);
    goes_on(&stack);
}

#[test]
fn no_region_anywhere() {
    let stack = Stack::new(YAML);
    let output = stack.routeto("deploy", "").without("AWS_REGION").output();
    assert!([1, 64, 65].contains(&output.status), "{output:?}");
    let error = output.stderr.lines().filter(|line| !line.is_empty()).count();
    assert!(error <= 5 && output.stderr.contains("--region"), "{}", output.stderr);
}

#[test]
fn a_region_that_does_not_exist() {
    let stack = Stack::new(YAML);
    // of AWS itself: the emulator takes every name for a region
    let output = stack.routeto("deploy", "--region nowhere-1").without("AWS_ENDPOINT_URL").output();
    assert!([1, 64, 65].contains(&output.status), "{output:?}");
    let error: Vec<&str> =
        output.stderr.lines().skip_while(|line| !line.starts_with("error")).collect();
    assert!(
        (1..=5).contains(&error.len()) && output.stderr.contains("region"),
        "{}",
        output.stderr
    );
    assert!(output.seconds < 60, "{output:?}");
}

#[test]
fn a_wrong_region_profile_or_endpoint_is_named_before_anything_is_asked() {
    let stack = Stack::new(YAML);
    let plan = |options: &str| stack.routeto("plan", options);
    plan("--region US-EAST-1").fails(64, &["--region", "`US-EAST-1` is no region's name"]);
    plan("").env("AWS_REGION", "us-east-1 ").fails(64, &["`us-east-1 ` is no region's name"]);
    stack
        .routeto("deploy", "--dry-run")
        .fails(64, &["--dry-run", "`routeto plan` shows what deploy would do"]);
    plan("--profile nobody").fails(64, &["no profile `nobody`"]);
    plan("").env("AWS_PROFILE", "nobody").fails(64, &["no profile `nobody`"]);
    plan("").env("AWS_ENDPOINT_URL", "").fails(64, &["AWS_ENDPOINT_URL: it is set to nothing"]);
    plan("")
        .env("AWS_ENDPOINT_URL_S3", "127.0.0.1:1")
        .fails(64, &["AWS_ENDPOINT_URL_S3: `127.0.0.1:1` is no URL"]);
}

#[test]
fn an_expired_session() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let expired = What::Answer {
        status: 403,
        code: "ExpiredToken",
        message: "The security token included in the request is expired",
    };
    proxy.fault(Which::Every("sts:GetCallerIdentity"), expired);
    stack.routeto("deploy", "").fails(1, &["expired"]);
    assert_eq!(proxy.mutations(), [] as [String; 0]);
    proxy.heal();
    goes_on(&stack);
}

#[test]
fn one_call_that_is_not_permitted_names_the_permission_and_the_next_deploy_goes_on() {
    let denied = [
        ("s3:CreateBucket", "s3:CreateBucket"),
        ("iam:CreateRole", "iam:CreateRole"),
        ("lambda:CreateFunction", "lambda:CreateFunction"),
        ("apigateway:CreateRestApi", "apigateway:POST"),
        ("logs:CreateLogGroup", "logs:CreateLogGroup"),
    ];
    for (operation, permission) in denied {
        let proxy = Proxy::start(Emulator::shared());
        let stack = Stack::through(&proxy, YAML);
        proxy.deny(operation);
        let error = stack.routeto("deploy", "").fails(1, &[]);
        assert!(
            error.contains(permission) || error.contains(operation.split(':').nth(1).unwrap()),
            "{operation}: {error}"
        );
        proxy.heal();
        goes_on(&stack);
    }
}

#[test]
fn a_read_that_is_not_permitted_changes_nothing() {
    for operation in
        ["apigateway:GetRestApis", "lambda:GetFunction", "iam:GetRole", "logs:DescribeLogGroups"]
    {
        let proxy = Proxy::start(Emulator::shared());
        let stack = Stack::through(&proxy, YAML);
        proxy.deny(operation);
        let error = stack.routeto("deploy", "").fails(1, &[]);
        assert!(proxy.calls().iter().any(|call| call.faulty), "{operation} was never called");
        assert!(
            error.contains(operation.split(':').nth(1).unwrap())
                || error.contains("apigateway:GET"),
            "{operation}: {error}"
        );
        assert_eq!(proxy.mutations(), [] as [String; 0]);
    }
}

#[test]
fn a_bucket_that_may_not_be_looked_at_is_not_silently_left_by_a_teardown() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let bucket = format!("bucket {}-prod", stack.name);
    let hidden = || {
        proxy.fault(
            Which::Every("s3:HeadBucket"),
            What::Answer { status: 403, code: "403", message: "" },
        )
    };
    // nothing stands: it may be anybody's
    hidden();
    let output = stack.routeto("teardown", "--yes").check();
    let kept = format!(
        "kept: {bucket}, it belongs to another account, or s3:ListBucket on it is not allowed"
    );
    assert!(
        output.stdout.contains(&kept) && !output.stdout.contains("--delete-data"),
        "{output:?}"
    );
    proxy.heal();
    stack.deploy();
    hidden();
    proxy.clear();
    stack
        .routeto("teardown", "--yes")
        .fails(1, &[&bucket, "the stack stores in it", "allow s3:ListBucket"]);
    assert!(
        proxy.mutations().iter().all(|name| name.starts_with("logs:")),
        "{:?}",
        proxy.mutations()
    );
    proxy.heal();
    stack.teardown();
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

#[test]
fn a_bucket_name_that_somebody_else_has() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let taken = What::Answer {
        status: 409,
        code: "BucketAlreadyExists",
        message: "The requested bucket name is not available.",
    };
    proxy.fault(Which::Every("s3:CreateBucket"), taken);
    stack.routeto("deploy", "").fails(1, &[&format!("{}-prod", stack.name)]);
    proxy.heal();
    goes_on(&stack);
}

#[test]
fn a_resource_of_our_name_without_our_tag_is_never_touched() {
    let stack = Stack::new(YAML);
    let name = format!("{}-prod", stack.name);
    let role = format!("{name}-us-east-1");
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    aws::call(
        "iam",
        "create_role",
        json!({"RoleName": role, "AssumeRolePolicyDocument": trust.to_string()}),
    );
    let before = stack.world();
    stack.routeto("deploy", "").fails(1, &[&role, "routeto:stack"]);
    assert_eq!(stack.world(), before);
    // a status shows what stands and then fails: still one object on stdout
    let status = stack.routeto("status", "--output json").status(1).check();
    let said: Value =
        serde_json::from_str(&status.stdout).unwrap_or_else(|e| panic!("{e}: {status:?}"));
    assert_eq!(said["deployed"], json!(false), "{said:#}");
    assert!(status.stderr.contains(r#"{"event":"error""#), "{status:?}");
    // nor by a teardown
    let output = stack.routeto("teardown", "--yes --delete-data").output();
    assert!([0, 1].contains(&output.status), "{output:?}");
    assert_eq!(stack.world(), before);
    aws::call("iam", "delete_role", json!({ "RoleName": role }));
    goes_on(&stack);
}

#[test]
fn a_bucket_of_our_name_with_an_object_and_without_our_tag_is_never_touched() {
    let stack = Stack::new(YAML);
    let name = format!("{}-prod", stack.name);
    aws::create_bucket(&name);
    aws::call("s3", "put_object", json!({"Bucket": name, "Key": "mine", "Body": "mine"}));
    let before = stack.world();
    stack.routeto("deploy", "").fails(1, &[&name]);
    assert_eq!(stack.world(), before);
    let output = stack.routeto("teardown", "--yes --delete-data").output();
    assert!([0, 1].contains(&output.status), "{output:?}");
    assert_eq!(aws::keys(&name).unwrap(), ["mine"]);
}

/// A bucket without objects and tags is what a crash leaves, but only a deploy's: its lock's log
/// group stands then.
#[test]
fn somebodys_new_bucket_of_our_name_is_neither_taken_nor_removed_by_a_stack_that_never_stood() {
    let stack = Stack::new(YAML);
    let name = format!("{}-prod", stack.name);
    aws::call("s3", "create_bucket", json!({ "Bucket": name }));
    stack.routeto("deploy", "").fails(1, &[&name, "tag"]);
    stack.routeto("teardown", "--yes --delete-data").check();
    assert_eq!(aws::keys(&name).unwrap(), [] as [String; 0]);
    aws::call("s3", "delete_bucket", json!({ "Bucket": name }));
}

#[test]
fn a_stack_file_that_is_a_pipe_is_refused_and_not_waited_for() {
    let stack = Stack::new(YAML);
    assert!(
        std::process::Command::new("mkfifo")
            .arg(stack.path().join("pipe.yaml"))
            .status()
            .unwrap()
            .success()
    );
    Routeto::new(stack.path())
        .args("validate pipe.yaml")
        .fails(65, &["pipe.yaml", "no regular file"]);
}

#[test]
fn an_endpoint_that_is_no_url_is_64() {
    let stack = Stack::new(YAML);
    stack
        .routeto("status", "--endpoint-url localhost:4566")
        .fails(64, &["localhost:4566", "http://"]);
}

#[test]
fn a_profile_asked_for_comes_before_keys_in_the_environment() {
    let stack = Stack::new(YAML);
    stack.file("credentials", "[mine]\naws_access_key_id = test\naws_secret_access_key = test\n");
    let status = |profile: &str| {
        let credentials = stack.path().join("credentials");
        stack
            .routeto("status", profile)
            .env("AWS_SHARED_CREDENTIALS_FILE", credentials)
            .env("AWS_ACCESS_KEY_ID", "222222222222")
            .json()
    };
    assert_eq!(status("")["account"], "222222222222");
    assert_eq!(status("--profile mine")["account"], "000000000000");
}

#[test]
fn a_profile_that_names_a_role_is_used_and_one_that_cant_be_says_what_to_do() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let role = format!("{}-deployer", stack.name);
    let policy =
        |statement: Value| json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    let trust =
        policy(json!({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}));
    let all = policy(json!({"Effect": "Allow", "Action": "*", "Resource": "*"}));
    aws::call("iam", "create_role", json!({"RoleName": role, "AssumeRolePolicyDocument": trust}));
    aws::call(
        "iam",
        "put_role_policy",
        json!({"RoleName": role, "PolicyName": "all", "PolicyDocument": all}),
    );
    let config = "[profile base]\naws_access_key_id = test\naws_secret_access_key = test\n\n[profile role]\nregion = eu-west-1\n\
         role_arn = arn:aws:iam::000000000000:role/ROLE\nsource_profile = base\n\n\
         [profile login]\nlogin_session = arn:aws:iam::000000000000:user/me\n";
    stack.file("config", config.replace("ROLE", &role));
    let status = |options: &str| {
        let status =
            stack.routeto("status", options).env("AWS_CONFIG_FILE", stack.path().join("config"));
        status.without("AWS_ACCESS_KEY_ID").without("AWS_SECRET_ACCESS_KEY")
    };
    let assumed = || {
        let assumed = proxy.calls().iter().filter(|call| call.name() == "sts:AssumeRole").count();
        proxy.clear();
        assumed
    };
    // the region of the environment, and the profile's own
    assert_eq!(status("--profile role").json()["account"], "000000000000");
    assert_eq!(assumed(), 1);
    assert_eq!(status("--profile role").without("AWS_REGION").json()["region"], "eu-west-1");
    assert_eq!(assumed(), 1);
    proxy.deny("sts:AssumeRole");
    let export = "aws configure export-credentials --profile NAME";
    status("--profile role").fails(
        1,
        &["couldn't be signed", "the profile's role can't be assumed", "mfa_serial", export],
    );
    status("--profile login")
        .fails(1, &["couldn't be signed", "`aws login` isn't supported", export]);
}

#[test]
fn no_cargo_to_build_the_function_with() {
    let stack = Stack::new(YAML);
    let cache = tempfile::tempdir().unwrap();
    let routeto = stack
        .routeto("deploy", "")
        .building()
        .env("PATH", "/nonexistent")
        .env("ROUTETO_CACHE", cache.path())
        .env("HOME", "/nonexistent");
    routeto.without("CARGO_HOME").without("RUSTUP_HOME").fails(1, &["cargo"]);
    assert_eq!(stack.world().names(), [] as [String; 0]);
    goes_on(&stack);
}

#[test]
fn a_function_that_does_not_compile_is_an_error_before_anything_is_made() {
    let stack = Stack::new(YAML);
    let cache = tempfile::tempdir().unwrap();
    let bin = tempfile::tempdir().unwrap();
    // rustc is the toolchain's own, whatever stands in the PATH; its linker isn't
    let cc = bin.path().join("cc");
    std::fs::write(&cc, "#!/bin/sh\necho 'cc: broken on purpose' >&2\nexit 1\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&cc, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
    stack
        .routeto("deploy", "")
        .building()
        .env("PATH", path)
        .env("ROUTETO_CACHE", cache.path())
        .fails(1, &["function"]);
    assert_eq!(stack.world().names(), [] as [String; 0]);
    goes_on(&stack);
}

#[test]
fn a_function_zip_that_is_none() {
    let stack = Stack::new(YAML);
    stack.file("function.zip", b"not a zip");
    let output = stack.routeto("deploy", "--function-zip function.zip").output();
    assert!([1, 64, 65].contains(&output.status), "{output:?}");
    assert!(
        output.stderr.contains("function.zip") && output.stderr.lines().count() <= 5,
        "{}",
        output.stderr
    );
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

#[test]
fn no_network() {
    let stack = Stack::new(YAML);
    let nowhere = "http://127.0.0.1:1";
    let output = stack.routeto("deploy", "").env("AWS_ENDPOINT_URL", nowhere).output();
    assert!(output.seconds < 60, "{output:?}");
    stack.routeto("deploy", "").env("AWS_ENDPOINT_URL", nowhere).fails(1, &["network", nowhere]);
    goes_on(&stack);
}

#[test]
fn the_network_goes_away_in_the_middle() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    stack.routeto("plan", "").check();
    let reads = proxy.calls().len();
    proxy.fault(Which::From(reads + 6), What::CutBefore);
    stack.routeto("deploy", "").status(1).check();
    proxy.heal();
    goes_on(&stack);
}

#[test]
fn ctrl_c_in_the_middle_ends_with_130_and_the_next_deploy_goes_on() {
    for operation in ["sts:GetCallerIdentity", "lambda:CreateFunction", "apigateway:PutRestApi"] {
        let proxy = Proxy::start(Emulator::shared());
        let stack = Stack::through(&proxy, YAML);
        let gate = Gate::new();
        proxy.fault(Which::Operation(operation, 1), What::Hold(gate.clone()));
        let running = stack.routeto("deploy", "").spawn();
        assert!(
            gate.reached(Duration::from_secs(60)),
            "{operation} was never called: {:?}",
            proxy.calls()
        );
        running.interrupt();
        std::thread::sleep(Duration::from_millis(300));
        gate.open();
        let output = running.wait();
        assert_eq!(output.status, 130, "{operation}: {output:?}");
        let errors: Vec<&str> =
            output.stderr.lines().skip_while(|line| !line.starts_with("error")).collect();
        assert!((1..=5).contains(&errors.len()), "{}", output.stderr);
        let said = if operation.starts_with("sts:") {
            "stopped before anything was changed"
        } else {
            "it goes on from there"
        };
        assert!(output.stderr.contains(said), "{operation}: {}", output.stderr);
        proxy.heal();
        goes_on(&stack);
    }
}

/// The next run finds the stage and makes no token for it.
#[test]
fn ctrl_c_once_a_new_stage_stands_shows_its_token() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let deploy = |options: &str| {
        stack
            .routeto("deploy", options)
            .without("ROUTETO_TOKEN_PROD")
            .without("ROUTETO_TOKEN_DEV")
            .shows_secrets()
    };
    let output = proxy.interrupted_after("apigateway:CreateStage", deploy("--show-token"));
    let token = output
        .stdout
        .trim()
        .strip_prefix("token of stage prod: ")
        .unwrap_or_else(|| panic!("{output:?}"));
    proxy.heal();
    let deployed = Deployed(deploy("").json());
    let url = format!("{}?token={token}", deployed.url("prod", "/input"));
    assert_eq!(http::post(&url, "application/json", b"{}").status, 200);
}

#[test]
fn a_deploy_that_was_killed_in_the_middle_goes_on_with_the_next() {
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, YAML);
    let gate = Gate::new();
    proxy.fault(Which::Operation("apigateway:CreateRestApi", 1), What::HoldAfter(gate.clone()));
    let mut running = stack.routeto("deploy", "").spawn();
    assert!(gate.reached(Duration::from_secs(60)), "{:?}", proxy.calls());
    running.kill();
    assert_eq!(running.wait().status, 128 + 9);
    gate.open();
    proxy.heal();
    goes_on(&stack);
    assert_eq!(stack.world().0["apis"].as_array().unwrap().len(), 1);
}

#[test]
fn a_command_line_that_can_not_be_is_64() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        "deploi",
        "deploy --nope",
        "deploy --stage",
        "",
        "set-token",
        "--output yaml plan",
        "deploy a b",
    ] {
        let output = Routeto::bare(dir.path()).args(args).output();
        assert_eq!((output.status, output.stdout.as_str()), (64, ""), "routeto {args}: {output:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn another_tools_word_for_a_command_never_leads_to_deploy() {
    let dir = tempfile::tempdir().unwrap();
    for (word, wanted) in [
        ("destroy", "routeto teardown"),
        ("ls", "routeto status"),
        ("logs", "routeto tail"),
        ("version", "--version"),
    ] {
        let said = Routeto::bare(dir.path())
            .args(word)
            .fails(64, &[&format!("there is no command `{word}`"), wanted]);
        assert!(!said.contains("routeto deploy"), "{said}");
    }
    Routeto::bare(dir.path())
        .args("rollback --stage prod --dry-run")
        .fails(64, &["--dry-run", "`routeto status`"]);
}

/// The event on stderr and the object on stdout tell the same.
#[test]
fn an_error_is_the_one_object_on_stdout_where_json_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("stack.yaml"), YAML.replace("NAME", "places")).unwrap();
    for (status, args, words) in [
        // clap's own, ours instead of clap's, a file that isn't there, a stage that isn't there
        (64, "plan --nope", "unexpected argument '--nope'"),
        (64, "--output=json destroy", "there is no command `destroy`"),
        (64, "set-token stack.yaml s3cret-t0ken --stage prod", "an argument is too many"),
        (65, "plan nothing.yaml", "the stack file can't be read"),
        (65, "validate", "there is no stack file here"),
        (64, "plan stack.yaml --stage dev", "has no stage `dev`"),
        (64, "teardown stack.yaml", "nothing was deleted"),
        (1, "status stack.yaml --region us-east-1", "no usable AWS credentials"),
    ] {
        let output = Routeto::bare(dir.path())
            .args(args)
            .args("--output json")
            .secret("s3cret-t0ken")
            .status(status)
            .check();
        let said: Value = serde_json::from_str(&output.stdout)
            .unwrap_or_else(|e| panic!("routeto {args}: {e}: {output:?}"));
        let mut error = said["error"].clone();
        assert_eq!(
            (&said["version"], &error["exit_code"]),
            (&json!(1), &json!(status)),
            "routeto {args}: {said:#}"
        );
        assert!(
            error["text"].as_str().is_some_and(|text| text.contains(words)),
            "routeto {args}: {said:#}"
        );
        let parts = if status == 65 { "diagnostics" } else { "failures" };
        assert!(
            error[parts].as_array().is_some_and(|parts| !parts.is_empty()),
            "routeto {args}: {said:#}"
        );
        error["event"] = json!("error");
        let event: Value =
            serde_json::from_str(output.stderr.lines().last().unwrap_or_default()).unwrap();
        assert_eq!(event, error, "routeto {args}: {output:?}");
    }
    let help = Routeto::bare(dir.path()).args("--output json --version").check();
    assert!(help.stdout.starts_with("routeto "), "{help:?}");
}

#[test]
fn render_tells_the_warnings_of_its_route_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    file(
        "stack.yaml",
        "stack: places\nroutes:\n\
         \x20 /one: { token: none, sqs: { queue: 'one-${stage}' }, templates: { application/json: one.vtl, text/json: one.vtl } }\n\
         \x20 /two: { token: none, sqs: { queue: 'two-${stage}' }, templates: { application/json: two.vtl } }\n\
         stages: { prod: {} }\nbinary: [text/json]\n",
    );
    let event = |slip: &str| {
        format!("{{\"app\": \"{slip}\", \"destination\": \"$destination\", \"body\": \"eA==\"}}")
    };
    file("one.vtl", &event("$context.one"));
    file("two.vtl", &event("$context.two"));
    let stderr = |args: &str| Routeto::bare(dir.path()).args(args).check().stderr;
    let said =
        stderr("render stack.yaml --route /one --header content-type:application/json --body {}");
    assert_eq!(
        (said.matches("warning: ").count(), said.matches("$context.one;").count()),
        (1, 1),
        "{said}"
    );
    // A file that serves two content types is warned of once; `validate` tells all of it.
    let said = stderr("validate stack.yaml");
    let count = |words: &str| said.matches(words).count();
    assert_eq!(
        (count("$context.one;"), count("$context.two;"), count("from anybody")),
        (1, 1, 2),
        "{said}"
    );
}

#[test]
fn a_stack_file_that_is_not_there_says_which_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let output = Routeto::bare(dir.path()).args("validate nothing.yaml").output();
    assert!([64, 65].contains(&output.status), "{output:?}");
    assert!(
        output.stderr.contains("nothing.yaml") && output.stderr.lines().count() <= 5,
        "{}",
        output.stderr
    );
}

#[test]
fn validate_tells_warnings_and_errors_as_objects_where_json_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("stack.yaml"),
        "stack: places\nroutes:\n  /input:\n    token: none\n    sqs: { queue: events }\nstages:\n  prod: {}\n",
    )
    .unwrap();
    let output = Routeto::bare(dir.path()).args("--output json validate stack.yaml").output();
    let said: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((output.status, &said["version"]), (0, &json!(2)), "{output:?}");
    let warning = &said["warnings"][0];
    assert_eq!(
        (&warning["severity"], &warning["file"], &warning["line"], &warning["column"]),
        (&json!("warning"), &json!("stack.yaml"), &json!(4), &json!(12)),
        "{said:#}"
    );
    assert!(warning["message"].as_str().is_some_and(|message| !message.contains('\n')), "{said:#}");

    std::fs::write(dir.path().join("stack.yaml"), "stack: places\nrutes: {}\n").unwrap();
    let output = Routeto::bare(dir.path()).args("--output json validate stack.yaml").output();
    let said: Value = serde_json::from_str(&output.stderr).unwrap();
    assert_eq!((output.status, &said["event"]), (65, &json!("error")), "{output:?}");
    let object: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(object["error"]["diagnostics"], said["diagnostics"], "{output:?}");
    let wrong = json!({"severity": "error", "file": "stack.yaml", "line": 2, "column": 1, "message": "unknown key `rutes` in the stack file", "help": "did you mean `routes`?"});
    assert!(said["diagnostics"].as_array().unwrap().contains(&wrong), "{said:#}");
}

#[test]
fn a_bad_stack_file_is_65_and_every_problem_is_told_with_its_line() {
    let stack = Stack::new(YAML);
    stack.rewrite("stack: NAME\nroutes:\n  /input:\n    s4: { bucket: x }\n    tokn: none\nstages:\n  Prod: {}\n");
    for verb in ["validate", "plan", "deploy"] {
        let output = stack.routeto(verb, "").status(65).check();
        for place in ["stack.yaml:4:5", "stack.yaml:5:5", "stack.yaml:7:3"] {
            assert!(
                output.stderr.contains(place),
                "{verb}: {place} is missing:\n{}",
                output.stderr
            );
        }
        assert!(output.stderr.contains("did you mean"), "{}", output.stderr);
    }
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

#[test]
fn a_stage_that_is_not_in_the_file_is_told_with_those_that_are() {
    let stack = Stack::new(YAML);
    let output = stack.routeto("deploy", "--stage prd").output();
    assert!([64, 65].contains(&output.status), "{output:?}");
    assert!(output.stderr.contains("prod"), "{}", output.stderr);
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

#[test]
fn a_template_that_does_not_parse_is_65_with_its_place() {
    let stack = Stack::new(YAML);
    stack.file(
        "bad.vtl",
        "{\"token\": \"x\", \"validToken\": \"$stageVariables.validToken\", \"destination\": \"$destination\",\n#if($x) \"b\": 2}\n",
    );
    stack.rewrite(
        &YAML.replace("/input:\n", "/input:\n    templates: { application/json: bad.vtl }\n"),
    );
    let output = stack.routeto("deploy", "").status(65).check();
    assert!(output.stderr.contains("bad.vtl:2:1"), "{}", output.stderr);
    assert_eq!(stack.world().names(), [] as [String; 0]);
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let stack = Stack::new(YAML);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_routeto"));
    let output = command
        .args(["validate", "stack.yaml"])
        .current_dir(stack.path())
        .stdout(full)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr
            .starts_with("error: stdout: the result couldn't be written: No space left on device"),
        "{stderr}"
    );
}

#[test]
fn nothing_is_written_beside_the_stack_file() {
    let stack = Stack::new(YAML);
    stack.deploy();
    stack.routeto("plan", "").check();
    stack.teardown();
    let names: Vec<String> = std::fs::read_dir(stack.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["stack.yaml"]);
    assert!(target().join("routeto-cache").exists());
}
