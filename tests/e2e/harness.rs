//! What the other tests stand on: the emulator is there, and the proxy names, records and breaks
//! what goes through it.

use crate::support::http::{self, Raw};
use crate::support::proxy::Gate;
use crate::support::{Emulator, Proxy, What, Which, aws, query};
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

fn scope(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

fn call(
    proxy: &Proxy,
    service: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<http::Answer> {
    let mut raw = Raw::post(&format!("{}{path}", proxy.url()))
        .header("Authorization", scope(service))
        .body(body);
    raw.method = method.into();
    headers.iter().fold(raw, |raw, (name, value)| raw.header(name, value)).send()
}

#[test]
fn two_processes_would_get_the_same_emulator() {
    let emulator = Emulator::shared();
    assert_eq!(
        http::get(&format!("{}/_localstack/health", emulator.endpoint())).unwrap().status,
        200
    );
    assert_eq!(aws::call("sts", "get_caller_identity", json!({}))["Account"], "000000000000");
}

#[test]
fn the_proxy_names_the_operations_of_every_protocol() {
    let proxy = Proxy::start(Emulator::shared());
    let name = crate::support::stack::unique_name();
    let json11 = ("content-type", "application/x-amz-json-1.1");
    let form = ("content-type", "application/x-www-form-urlencoded");
    call(&proxy, "s3", "PUT", &format!("/{name}"), &[], "");
    call(&proxy, "s3", "GET", &format!("/{name}?policy"), &[], "");
    call(&proxy, "s3", "PUT", &format!("/{name}/a/b"), &[], "x");
    call(
        &proxy,
        "sqs",
        "POST",
        "/",
        &[("x-amz-target", "AmazonSQS.CreateQueue"), json11],
        &json!({"QueueName": name}).to_string(),
    );
    let none = json!({"logGroupName": name, "logStreamName": "none"}).to_string();
    call(
        &proxy,
        "logs",
        "POST",
        "/",
        &[("x-amz-target", "Logs_20140328.GetLogEvents"), json11],
        &none,
    );
    call(
        &proxy,
        "iam",
        "POST",
        "/",
        &[form],
        &format!("Action=GetRole&RoleName={name}&Version=2010-05-08"),
    );
    call(&proxy, "sts", "POST", "/", &[form], "Action=GetCallerIdentity&Version=2011-06-15");
    call(
        &proxy,
        "lambda",
        "GET",
        &format!("/2015-03-31/functions/{name}/versions?MaxItems=1"),
        &[],
        "",
    );
    call(&proxy, "apigateway", "GET", "/restapis?limit=500", &[], "");
    call(
        &proxy,
        "apigateway",
        "PUT",
        "/tags/arn%3Aaws%3Aapigateway%3Aus-east-1%3A%3A%2Frestapis%2Fnone",
        &[json11],
        r#"{"tags":{}}"#,
    );
    let seen: Vec<(String, bool, u16, String)> = proxy
        .calls()
        .iter()
        .map(|c| (c.name(), c.mutating, c.status.unwrap_or(0), c.resource().replace(&name, "NAME")))
        .collect();
    let row = |name: &str, mutating, status, resource: &str| {
        (name.to_owned(), mutating, status, resource.to_owned())
    };
    assert_eq!(
        seen,
        [
            row("s3:CreateBucket", true, 200, "arn:aws:s3:::NAME"),
            row("s3:GetBucketPolicy", false, 404, "arn:aws:s3:::NAME"),
            row("s3:PutObject", true, 200, "arn:aws:s3:::NAME/a/b"),
            row("sqs:CreateQueue", true, 200, "arn:aws:sqs:us-east-1:000000000000:NAME"),
            row(
                "logs:GetLogEvents",
                false,
                400,
                "arn:aws:logs:us-east-1:000000000000:log-group:NAME"
            ),
            row("iam:GetRole", false, 404, "arn:aws:iam::000000000000:role/NAME"),
            row("sts:GetCallerIdentity", false, 200, "*"),
            row(
                "lambda:ListVersionsByFunction",
                false,
                404,
                "arn:aws:lambda:us-east-1:000000000000:function:NAME"
            ),
            row("apigateway:GetRestApis", false, 200, "arn:aws:apigateway:us-east-1::/restapis"),
            row(
                "apigateway:TagResource",
                true,
                204,
                "arn:aws:apigateway:us-east-1::/tags/arn:aws:apigateway:us-east-1::/restapis/none"
            ),
        ]
    );
    assert_eq!(aws::objects(&name)[0].body, b"x");
    assert_eq!(
        proxy.mutations(),
        ["s3:CreateBucket", "s3:PutObject", "sqs:CreateQueue", "apigateway:TagResource"]
    );
}

#[test]
fn the_proxy_fails_the_call_it_was_told_to_and_no_other() {
    let proxy = Proxy::start(Emulator::shared());
    let name = crate::support::stack::unique_name();
    let create = |n: usize| {
        call(&proxy, "s3", "PUT", &format!("/{name}-{n}"), &[], "").map(|answer| answer.status)
    };
    proxy.fault(
        Which::Operation("s3:CreateBucket", 2),
        What::Answer { status: 409, code: "BucketAlreadyExists", message: "taken" },
    );
    proxy.fault(Which::Mutation(3), What::CutBefore);
    proxy.fault(Which::Any(4), What::CutAfter);
    proxy.fault(
        Which::Operation("s3:CreateBucket", 5),
        What::AnswerAfter { status: 503, code: "SlowDown", message: "slower" },
    );
    assert_eq!(
        (1..=6).map(create).collect::<Vec<_>>(),
        [Some(200), Some(409), None, None, Some(503), Some(200)]
    );
    let made = |n: usize| aws::keys(&format!("{name}-{n}")).is_some();
    assert_eq!((1..=6).map(made).collect::<Vec<_>>(), [true, false, false, true, true, true]);
    assert_eq!(
        proxy.calls().iter().map(|c| c.faulty).collect::<Vec<_>>(),
        [false, true, true, true, true, false]
    );
    proxy.deny("s3:CreateBucket");
    let refused = call(&proxy, "s3", "PUT", &format!("/{name}-7"), &[], "").unwrap();
    assert_eq!((refused.status, refused.text().contains("<Code>AccessDenied</Code>")), (403, true));
    proxy.heal();
    assert_eq!(create(7), Some(200));
}

#[test]
fn the_proxy_holds_a_call_until_the_gate_is_opened() {
    let proxy = Proxy::start(Emulator::shared());
    let name = crate::support::stack::unique_name();
    let gate = Gate::new();
    proxy.fault(Which::Operation("s3:CreateBucket", 1), What::Hold(gate.clone()));
    thread::scope(|scope| {
        let answer = scope.spawn(|| {
            call(&proxy, "s3", "PUT", &format!("/{name}"), &[], "").map(|answer| answer.status)
        });
        assert!(gate.reached(Duration::from_secs(60)));
        assert_eq!(aws::keys(&name), None);
        gate.open();
        assert_eq!(answer.join().unwrap(), Some(200));
    });
    proxy.latency(Duration::from_millis(300));
    let before = Instant::now();
    call(&proxy, "s3", "GET", &format!("/{name}"), &[], "");
    assert!(before.elapsed() >= Duration::from_millis(300));
}

#[test]
fn the_proxy_keeps_the_quotas_of_api_gateway_where_it_is_told_to() {
    let proxy = Proxy::start(Emulator::shared());
    proxy.quotas(1);
    let delete = || call(&proxy, "apigateway", "DELETE", "/restapis/nosuchapi0", &[], "").unwrap();
    assert_eq!(delete().status, 404);
    let second = delete();
    assert_eq!(second.status, 429);
    assert!(second.text().contains("Too Many Requests"), "{}", second.text());
    let wait: u64 = second.header("retry-after").unwrap().parse().unwrap();
    assert!((28..=30).contains(&wait), "one every 30 s: {wait}");
    // another operation has another quota
    assert_eq!(call(&proxy, "apigateway", "GET", "/restapis", &[], "").unwrap().status, 200);
}

#[test]
fn every_byte_of_a_query_value_is_encoded() {
    assert_eq!(
        query(&[("a", "x y&=\"\n\u{e9}"), ("b", "-._~9Z")]),
        "?a=x%20y%26%3D%22%0A%C3%A9&b=-._~9Z"
    );
}

#[test]
fn the_emulator_refuses_whoever_has_a_policy_what_it_does_not_allow() {
    let name = crate::support::stack::unique_name();
    let key = crate::support::stack::user(
        &name,
        &json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["s3:CreateBucket", "s3:PutObject"], "Resource": [format!("arn:aws:s3:::{name}"), format!("arn:aws:s3:::{name}/in/*")]},
        ]}),
    );
    let sign = |service: &str, method: &str, path: &str| {
        let mut raw = Raw::post(&format!("{}{path}", Emulator::shared().endpoint()))
            .header("Authorization", scope(service).replace("=test/", &format!("={key}/")));
        raw.method = method.into();
        raw.send().map(|answer| answer.status)
    };
    let seen = [
        sign("s3", "PUT", &format!("/{name}")),
        sign("s3", "PUT", &format!("/{name}/in/a")),
        sign("s3", "PUT", &format!("/{name}/out/a")),
        sign("s3", "GET", &format!("/{name}/in/a")),
        sign("s3", "DELETE", &format!("/{name}")),
        sign("lambda", "GET", "/2015-03-31/functions"),
        sign("apigateway", "GET", "/restapis"),
    ];
    assert_eq!(seen, [Some(200), Some(200), Some(403), Some(403), Some(403), Some(403), Some(403)]);
    assert_eq!(aws::keys(&name).unwrap(), ["in/a"]);
}
