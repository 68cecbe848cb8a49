//! What the adapters send, and what they make of AWS's answers: the SDK's own clients against a
//! server of this test's.

use super::{
    Aws, apigateway, call::called, execute::AwsExecutor, iam, lambda, logs, observe::Seen, s3, sqs,
};
use crate::{
    apply::{Outcome, Watch, apply},
    error::Failure,
    observed::{Account, Carried, RoleState},
    plan::{Action, BucketPart, Change, Key, Plan, StagePatch, Step, ThrottlePatch, differences},
    resource::{
        Api, Bucket, GatewayResponse, Id, Kind, LogGroup, Queue, Resource, Retention, STACK_TAG,
        Tags,
    },
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A call as it came.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    /// With its query.
    path: String,
    /// The operation of a JSON protocol.
    target: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Asked {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// `CreateQueue`, or method and path.
    fn name(&self) -> String {
        match self.target.rsplit('.').next() {
            Some(operation) if !operation.is_empty() => operation.to_owned(),
            _ => format!("{} {}", self.method, self.path),
        }
    }
}

/// An answer.
#[derive(Clone)]
struct Given {
    status: u16,
    header: Option<(&'static str, &'static str)>,
    body: String,
}

impl Given {
    fn with(self, name: &'static str, value: &'static str) -> Given {
        Given { header: Some((name, value)), ..self }
    }
}

struct Server {
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
    aws: Aws,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers each call as `answer` says, which gets how many of its name came before.
    async fn new(answer: impl Fn(&Asked, usize) -> Given + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url =
            format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (all, answer) = (Arc::clone(&asked), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
                    async move {
                        let call = asked_of(request).await;
                        let before = {
                            let mut all = all.lock().expect("not poisoned");
                            let before =
                                all.iter().filter(|other| other.name() == call.name()).count();
                            all.push(call.clone());
                            before
                        };
                        let Given { status, header, body } = answer(&call, before);
                        let mut response = Response::builder().status(status);
                        if let Some((name, value)) = header {
                            response = response.header(name, value);
                        }
                        Ok::<_, Infallible>(
                            response.body(Full::new(Bytes::from(body))).expect("a good answer"),
                        )
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        let aws = Aws::local(&url, "us-east-1").await.expect("clients");
        Server { asked, task, aws }
    }

    fn names(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").iter().map(Asked::name).collect()
    }

    fn all(&self) -> Vec<Asked> {
        self.asked.lock().expect("not poisoned").clone()
    }

    fn last(&self, name: &str) -> Asked {
        let all = self.all();
        let found = all.iter().rev().find(|asked| asked.name().contains(name)).cloned();
        found.unwrap_or_else(|| panic!("no {name} in {all:#?}"))
    }
}

async fn asked_of(request: Request<Incoming>) -> Asked {
    let (parts, body) = request.into_parts();
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Asked {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        target: parts.headers.get("x-amz-target").map(text).unwrap_or_default(),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

fn given(status: u16, body: impl ToString) -> Given {
    Given { status, header: None, body: body.to_string() }
}

fn fine(body: impl ToString) -> Given {
    given(200, body)
}

fn refused(status: u16, code: &'static str) -> Given {
    given(status, json!({"__type": code, "message": "fault"})).with("x-amzn-errortype", code)
}

fn account() -> Account {
    Account {
        id: "123456789012".into(),
        region: "us-east-1".into(),
        partition: "aws".into(),
        caller: String::new(),
    }
}

fn tags() -> Tags {
    BTreeMap::from([(STACK_TAG.to_owned(), "hooks".to_owned())])
}

fn bucket(expire_after: &[(&str, u32)]) -> Bucket {
    Bucket {
        name: "hooks-dev".into(),
        tags: tags(),
        public_access_blocked: true,
        owner_enforced: true,
        encryption: "AES256".into(),
        tls_only: true,
        expire_after: expire_after
            .iter()
            .map(|(prefix, days)| ((*prefix).to_owned(), *days))
            .collect(),
    }
}

fn group(retention: Retention) -> LogGroup {
    LogGroup { name: "/aws/lambda/hooks-dev".into(), tags: tags(), retention }
}

#[tokio::test]
async fn the_accounts_own_log_retention_is_no_difference() {
    let server = Server::new(|_, _| {
        fine(json!({"logGroups": [
            {"logGroupName": "a", "retentionInDays": 90, "retentionPolicyName": "ninety"},
            {"logGroupName": "b", "retentionPolicyName": "for-ever"},
            {"logGroupName": "c", "retentionInDays": 30},
            {"logGroupName": "d"},
        ]}))
    })
    .await;
    let found = logs::list(&server.aws, "/aws/lambda/hooks").await.expect("a list");
    let found: Vec<Retention> = found.into_iter().map(|(_, retention)| retention).collect();
    let [ninety, ever] = ["ninety", "for-ever"].map(|policy| Retention::Account(policy.into()));
    assert_eq!(found, [ninety, ever, Retention::Days(30), Retention::Forever]);
    let differs = |seen: &Retention, wanted: Retention| {
        let [seen, wanted] = [group(seen.clone()), group(wanted)].map(Resource::LogGroup);
        !differences(Some(&seen), Some(&wanted)).is_empty()
    };
    let wanted = [Retention::Days(30), Retention::Forever];
    let all: Vec<[bool; 2]> =
        found.iter().map(|seen| wanted.clone().map(|wanted| differs(seen, wanted))).collect();
    assert_eq!(all, [[false, false], [false, false], [false, true], [true, false]]);
    // Its tags are looked at all the same.
    let mut other = group(Retention::Days(30));
    other.tags.clear();
    let seen = Resource::LogGroup(LogGroup { retention: found[0].clone(), ..other });
    assert_eq!(
        differences(Some(&seen), Some(&Resource::LogGroup(group(Retention::Days(30))))).len(),
        1
    );
}

#[tokio::test]
async fn every_change_of_a_log_group_waits_for_another_one() {
    let server = Server::new(|_, before| match before {
        0 => refused(400, "OperationAbortedException"),
        _ => fine("{}"),
    })
    .await;
    let (aws, account) = (&server.aws, account());
    logs::update(aws, &account, &group(Retention::Days(30)), true, true, &|_| ())
        .await
        .expect("it is repeated");
    logs::update(aws, &account, &group(Retention::Forever), true, false, &|_| ())
        .await
        .expect("it is repeated");
    logs::delete(aws, "/aws/lambda/hooks-dev", &|_| ()).await.expect("it is repeated");
    let twice = ["PutRetentionPolicy", "TagResource", "DeleteRetentionPolicy", "DeleteLogGroup"];
    assert_eq!(server.names(), twice.map(|name| [name; 2]).concat());
}

#[tokio::test]
async fn a_permission_may_compare_the_source_with_any_operator() {
    let condition =
        |operator: &str| json!({ operator: {"AWS:SourceArn": format!("arn of {operator}")} });
    let statement = move |operator: &str, condition: Value| {
        json!({
            "Sid": operator, "Effect": "Allow", "Action": "lambda:InvokeFunction",
            "Principal": {"Service": "apigateway.amazonaws.com"}, "Condition": condition,
        })
    };
    let operators = ["ArnLike", "ArnEquals", "StringLike", "StringEquals"];
    let mut statements: Vec<Value> =
        operators.iter().map(|operator| statement(operator, condition(operator))).collect();
    // The account may stand beside it, under an operator of its own.
    let both = json!({"StringEquals": {"AWS:SourceAccount": "1"}, "ArnLike": {"AWS:SourceArn": "arn of both"}});
    statements.push(statement("both", both));
    statements.push(statement("not", condition("ArnNotLike")));
    let policy = json!({ "Statement": statements }).to_string();
    let server = Server::new(move |_, _| fine(json!({ "Policy": policy }))).await;
    let found = lambda::permissions(&server.aws, "hooks-dev", 1).await.expect("a policy");
    let names = ["ArnLike", "ArnEquals", "StringLike", "StringEquals", "both"];
    assert_eq!(found, names.map(|name| (name.to_owned(), format!("arn of {name}"))).into());
}

#[tokio::test]
async fn a_lifecycle_rules_id_fits_and_is_one_rules_alone_and_the_buckets_own_setting_stays() {
    const RULES: &str = "<LifecycleConfiguration><Rule><ID>mine</ID><Status>Enabled</Status><Filter><Prefix>x/</Prefix></Filter>\
                         <Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
    let server = Server::new(|_, _| fine(RULES)).await;
    let long = format!("{}/", "a".repeat(300));
    let wanted = bucket(&[("", 1), ("all", 2), ("in/", 3), (&long, 4)]);
    let parts = [BucketPart::Lifecycle];
    s3::update(&server.aws, &account(), &wanted, parts, &tags(), &|_| ()).await.expect("it is set");
    let put = server.last("PUT /hooks-dev/?lifecycle").body;
    let ids: Vec<&str> =
        put.split("<ID>").skip(1).filter_map(|rest| rest.split("</ID>").next()).collect();
    assert!(ids.iter().all(|id| id.len() <= 255), "{ids:?}");
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), unique.len()), (5, 5), "{ids:?}");
    assert_eq!((ids[0], ids[1], ids[4]), ("mine", "routeto-expire-all", "routeto-expire-in/"));
}

#[tokio::test]
async fn a_lifecycle_keeps_the_smallest_size_of_transitions_that_the_bucket_has() {
    const HEADER: &str = "x-amz-transition-default-minimum-object-size";
    let empty = || fine("<LifecycleConfiguration></LifecycleConfiguration>");
    for size in [None, Some("varies_by_storage_class")] {
        let server =
            Server::new(move |_, _| size.map_or_else(empty, |size| empty().with(HEADER, size)))
                .await;
        let wanted = bucket(&[("in/", 3)]);
        s3::update(&server.aws, &account(), &wanted, [BucketPart::Lifecycle], &tags(), &|_| ())
            .await
            .expect("it is set");
        assert_eq!(
            server.last("PUT /hooks-dev/?lifecycle").headers.get(HEADER).map(String::as_str),
            size
        );
    }
}

#[tokio::test]
async fn a_new_buckets_encryption_is_s3s_own_default_and_isnt_sent() {
    let server = Server::new(|_, _| fine("")).await;
    s3::create(&server.aws, &account(), &bucket(&[]), &|_| ()).await.expect("it is made");
    assert!(
        !server.names().iter().any(|name| name.contains("?encryption")),
        "{:?}",
        server.names()
    );
    assert!(
        server.names().iter().any(|name| name.contains("?publicAccessBlock")),
        "{:?}",
        server.names()
    );
}

fn queue() -> Queue {
    Queue {
        name: "events-dev".into(),
        tags: tags(),
        encryption: "SSE-SQS".into(),
        retention: 604_800,
        maximum_message_size: 1_048_576,
        redrive: None,
    }
}

#[tokio::test]
async fn a_queues_key_that_was_set_by_hand_goes_and_is_not_named_where_there_is_none() {
    for key in ["", "alias/mine"] {
        let server = Server::new(move |asked, _| match asked.name().as_str() {
            "GetQueueAttributes" => fine(json!({"Attributes": {"KmsMasterKeyId": key}})),
            _ => fine("{}"),
        })
        .await;
        sqs::update(&server.aws, &account(), &queue(), true, false).await.expect("it is set");
        let set = server.last("SetQueueAttributes").json()["Attributes"].clone();
        assert_eq!(set["SqsManagedSseEnabled"], "true", "{set}");
        let wanted = if key.is_empty() { Value::Null } else { json!("") };
        assert_eq!(set["KmsMasterKeyId"], wanted, "{set}");
    }
}

struct Silent;

impl Watch for Silent {
    fn started(&self, _: &Change) {}
    fn waiting(&self, _: &Change, _: &str) {}
    fn finished(&self, _: &Change, _: &Outcome, _: Duration) {}
    fn failed(&self, _: &Change, _: &Failure) {}
    fn skipped(&self, _: &Change) {}
}

#[tokio::test]
async fn a_dead_letter_queue_is_kept_where_its_source_turns_out_to_hold_messages() {
    let server =
        Server::new(|_, _| fine(json!({"Attributes": {"ApproximateNumberOfMessages": "3"}}))).await;
    let [mail, dead] = ["mail", "dead"].map(|name| Id::new(Kind::Queue, name));
    let key = |id: &Id| Key { id: id.clone(), step: Step::Main };
    let delete = |id: &Id, purge, source: Option<&Id>| Change {
        key: key(id),
        action: Action::DeleteQueue { purge, sources: source.cloned().into_iter().collect() },
        differences: vec![],
        after: source.map(key).into_iter().collect(),
    };
    let plan = Plan {
        changes: vec![delete(&dead, true, Some(&mail)), delete(&mail, false, None)],
        ..Plan::default()
    };
    let account = account();
    let executor = AwsExecutor {
        aws: &server.aws,
        account: &account,
        stack: "hooks",
        zip: &[],
        tokens: &BTreeMap::new(),
        lock: None,
    };
    let applied = apply(&plan, &executor, &Silent).await;
    let why = applied.kept.get(&key(&dead)).map(String::as_str);
    assert_eq!(why, Some("queue mail is kept, and its dead letters come here"), "{applied:?}");
    assert_eq!(server.names(), ["GetQueueAttributes"]);
}

/// What is slept for our own quota counts: the SDK's own limit, in other words, would come first.
#[tokio::test]
async fn a_throttled_call_that_also_waits_for_our_quota_ends_in_time_and_says_that_it_was_throttled()
 {
    let server = Server::new(|_, _| refused(429, "TooManyRequestsException")).await;
    // The quota is one in 30 s, and twenty others come first.
    for _ in 0..20 {
        server.aws.pace.take("DeleteRestApi");
    }
    let request = server.aws.apigateway.delete_rest_api().rest_api_id("x");
    let error = called("apigateway:DeleteRestApi", request.send())
        .await
        .expect_err("it never ends otherwise");
    // All three minutes are one wait for the quota.
    assert_eq!(server.names().len(), 2);
    let text = error.about("api x").now.unwrap_or_default();
    assert!(text.contains("throttles this call and did so for 180 s"), "{text}");
}

/// Each service has its own word for it, and its own protocol to say it in.
#[tokio::test]
async fn a_call_that_is_throttled_more_often_than_faults_are_forgiven_gets_through() {
    const TIMES: usize = 6;
    let throttled = |answer: Given| {
        Server::new(move |_, before| match before {
            0..TIMES => answer.clone(),
            _ => fine("{}"),
        })
    };
    let json = |code: &str| json!({"__type": format!("com.amazonaws#{code}"), "message": "slower"});
    for code in ["OverLimit", "RequestThrottled"] {
        let server = throttled(given(403, json(code))).await;
        sqs::update(&server.aws, &account(), &queue(), false, true).await.expect("SQS");
        assert_eq!(server.names().len(), TIMES + 1, "{code}");
    }
    let server = throttled(given(400, json("ThrottlingException"))).await;
    logs::delete(&server.aws, "x", &|_| ()).await.expect("CloudWatch Logs");
    let server = throttled(refused(429, "TooManyRequestsException")).await;
    lambda::delete(&server.aws, "x", &|_| ()).await.expect("Lambda");
    let server =
        throttled(given(503, "<Error><Code>SlowDown</Code><Message>slower</Message></Error>"))
            .await;
    s3::delete(&server.aws, "x", false, &|_| ()).await.expect("S3");
    let server = throttled(given(503, "")).await;
    s3::head(&server.aws, "x", None).await.expect("the answer to a HEAD has no body");
    let error =
        "<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code></Error></ErrorResponse>";
    let server = Server::new(move |_, before| match before {
        0..TIMES => given(400, error),
        _ => given(404, error.replace("Throttling", "NoSuchEntity")),
    })
    .await;
    assert!(matches!(iam::observe(&server.aws, "hooks", "x").await, Ok(Seen::Absent)), "IAM");
}

#[tokio::test]
async fn a_call_that_stays_throttled_ends_and_says_for_how_long() {
    let server =
        Server::new(|_, _| refused(429, "TooManyRequestsException").with("retry-after", "50"))
            .await;
    let error =
        lambda::delete(&server.aws, "x", &|_| ()).await.expect_err("it never ends otherwise");
    // The fourth wait of 50 s is more than the three minutes.
    assert_eq!(server.names().len(), 4);
    assert!(error.throttled());
    let text = error.about("function x").now.unwrap_or_default();
    assert!(text.contains("throttles this call and did so for 180 s"), "{text}");
}

#[tokio::test]
async fn a_call_that_isnt_idempotent_is_repeated_where_it_was_throttled_and_nowhere_else() {
    use super::apigateway;
    use crate::resource::Api;
    let api = || Api {
        name: "hooks".into(),
        tags: tags(),
        description: String::new(),
        binary_media_types: Default::default(),
        methods: BTreeMap::new(),
        gateway_responses: BTreeMap::new(),
    };
    let create = |asked: &Asked| asked.name() == "POST /restapis";
    let server = Server::new(move |asked, before| match before {
        0..3 if create(asked) => refused(429, "TooManyRequestsException"),
        _ if create(asked) => fine(json!({"id": "abc"})),
        _ => fine("{}"),
    })
    .await;
    assert_eq!(
        apigateway::create(&server.aws, &api(), "hooks", &|_| ()).await.expect("it is made"),
        "abc"
    );
    assert_eq!(server.all().iter().filter(|asked| create(asked)).count(), 4);
    let server = Server::new(move |_, _| refused(400, "BadRequestException")).await;
    apigateway::create(&server.aws, &api(), "hooks", &|_| ()).await.expect_err("it is refused");
    assert_eq!(server.names(), ["POST /restapis"]);
}

#[tokio::test]
async fn other_faults_get_no_more_tries_than_they_had_and_a_reached_quota_neither() {
    let answers = [(503, "ServiceUnavailableException"), (400, "LimitExceededException")];
    let tried = answers.map(|(status, code)| async move {
        let server = Server::new(move |_, _| refused(status, code)).await;
        let error = logs::list(&server.aws, "x").await.expect_err("it is refused");
        (error.throttled(), server.names().len() <= 4)
    });
    assert_eq!(futures_util::future::join_all(tried).await, [(false, true), (false, true)]);
}

#[tokio::test]
async fn credentials_that_a_region_doesnt_know_may_be_right_elsewhere() {
    let error = "<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>The security token is invalid</Message></Error></ErrorResponse>";
    let server = Server::new(move |_, _| given(403, error)).await;
    let failure = server.aws.account().await.expect_err("it is refused").about("AWS");
    let hint = failure.now.unwrap_or_default();
    assert!(
        hint.contains("AWS_ACCESS_KEY_ID")
            && hint.contains("the region isn't enabled for the account"),
        "{hint}"
    );
}

fn api() -> Api {
    let response = GatewayResponse {
        status: "503".into(),
        parameters: BTreeMap::new(),
        templates: BTreeMap::new(),
    };
    Api {
        name: "hooks".into(),
        tags: tags(),
        description: String::new(),
        binary_media_types: Default::default(),
        methods: BTreeMap::new(),
        gateway_responses: [("THROTTLED".to_owned(), response)].into(),
    }
}

#[tokio::test]
async fn a_gateway_response_that_outlives_the_overwrite_is_deleted() {
    let api = api();
    let shown = json!({"item": [
        {"responseType": "THROTTLED", "statusCode": "503", "defaultResponse": false},
        {"responseType": "DEFAULT_5XX", "statusCode": "200", "defaultResponse": false},
        {"responseType": "UNAUTHORIZED", "statusCode": "401", "defaultResponse": true},
    ]});
    let server = Server::new(move |asked, _| match asked.name().as_str() {
        name if name.starts_with("GET /restapis/abc/gatewayresponses") => fine(&shown),
        _ => fine("{}"),
    })
    .await;
    apigateway::write(&server.aws, &api, "abc", &Carried::default(), &|_| ())
        .await
        .expect("it is written");
    let changes: Vec<String> =
        server.names().into_iter().filter(|name| !name.starts_with("GET ")).collect();
    assert_eq!(
        changes,
        [
            "PUT /restapis/abc?mode=overwrite&failonwarnings=true",
            "DELETE /restapis/abc/gatewayresponses/DEFAULT_5XX"
        ]
    );
}

/// What GetRestApis and PutRestApi say of an API whose endpoint a person configured.
fn configured() -> Value {
    json!({
        "id": "abc", "name": "hooks", "tags": {STACK_TAG: "hooks"},
        "endpointConfiguration": {"types": ["PRIVATE"], "ipAddressType": "dualstack", "vpcEndpointIds": ["vpce-1", "vpce-2"]},
        "securityPolicy": "SecurityPolicy_TLS13_1_3_2025_09", "endpointAccessMode": "STRICT",
    })
}

/// Writes the API over one that is [`configured`], and answers what of it is put back where
/// PutRestApi answers this.
async fn put_back(overwritten: Value) -> Vec<(String, String, String)> {
    let server = Server::new(move |asked, _| match asked.name().as_str() {
        name if name.starts_with("GET /restapis?") => fine(json!({"item": [configured()]})),
        name if name.starts_with("PUT /restapis/abc?") => fine(&overwritten),
        _ => fine("{}"),
    })
    .await;
    let found = apigateway::locate(&server.aws, "hooks").await.expect("an answer");
    let (id, carried) = found.expect("it is ours");
    apigateway::write(&server.aws, &api(), &id, &carried, &|_| ()).await.expect("it is written");
    let patches = server.all().into_iter().filter(|asked| asked.method == "PATCH");
    let patches = patches.flat_map(|asked| {
        assert_eq!(asked.path, "/restapis/abc");
        asked.json()["patchOperations"].as_array().cloned().unwrap_or_default()
    });
    let text = |patch: &Value, key: &str| patch[key].as_str().unwrap_or_default().to_owned();
    patches.map(|patch| (text(&patch, "op"), text(&patch, "path"), text(&patch, "value"))).collect()
}

#[tokio::test]
async fn what_an_overwrite_resets_of_the_endpoint_is_put_back() {
    let mut without = configured();
    without["endpointConfiguration"] = json!({"types": ["PRIVATE"], "vpcEndpointIds": ["vpce-2"]});
    let replaced =
        |path: &str, value: &str| ("replace".to_owned(), path.to_owned(), value.to_owned());
    let dualstack = || replaced("/endpointConfiguration/ipAddressType", "dualstack");
    let added = |id: &str| {
        ("add".to_owned(), "/endpointConfiguration/vpcEndpointIds".to_owned(), id.to_owned())
    };
    assert_eq!(put_back(without.clone()).await, [dualstack(), added("vpce-1")]);
    without["endpointConfiguration"] = json!({"types": ["PRIVATE"], "ipAddressType": "ipv4"});
    without["securityPolicy"] = json!("TLS_1_0");
    without["endpointAccessMode"] = json!("BASIC");
    let policy = replaced("/securityPolicy", "SecurityPolicy_TLS13_1_3_2025_09");
    let mode = replaced("/endpointAccessMode", "STRICT");
    assert_eq!(
        put_back(without).await,
        [dualstack(), policy, mode, added("vpce-1"), added("vpce-2")]
    );
    assert_eq!(put_back(configured()).await, []);
}

/// An entry of `methodSettings` as AWS shows it. Source: API reference, the answer of UpdateStage.
fn setting(rate: f64, burst: i32) -> Value {
    json!({
        "metricsEnabled": false, "loggingLevel": "OFF", "dataTraceEnabled": false,
        "throttlingRateLimit": rate, "throttlingBurstLimit": burst,
        "cachingEnabled": false, "cacheTtlInSeconds": 300, "cacheDataEncrypted": false,
        "requireAuthorizationForCacheControl": true,
        "unauthorizedCacheControlHeaderStrategy": "SUCCEED_WITH_RESPONSE_HEADER",
    })
}

/// Of a stage whose `/*/*` is `setting`: its throttle, and whether it sets anything else.
async fn observed_setting(account: Given, setting: Value) -> (Option<(f64, i32)>, bool) {
    let stage = json!({"stageName": "prod", "methodSettings": {"*/*": setting}});
    let server = Server::new(move |asked, _| match asked.name().as_str() {
        "GET /account" => account.clone(),
        "GET /restapis/abc/stages" => fine(json!({"item": [stage]})),
        _ => fine("{}"),
    })
    .await;
    let api = aws_sdk_apigateway::types::RestApi::builder().id("abc").build();
    let found = apigateway::observe(&server.aws, &api).await.expect("it is seen");
    (found.stages[0].throttle, found.stages[0].state.other_settings)
}

#[tokio::test]
async fn a_stage_that_shows_the_accounts_throttle_has_none_of_its_own() {
    let account = |rate: f64, burst: i32| {
        fine(json!({"throttleSettings": {"rateLimit": rate, "burstLimit": burst}}))
    };
    let (most, small) = (account(10_000.0, 5_000), account(2_500.0, 1_250));
    let refused = refused(403, "AccessDeniedException");
    for (account, rate, burst, has) in [
        (&most, 10_000.0, 5_000, false),
        (&most, 2_500.0, 1_250, true),
        (&most, -1.0, -1, false),
        (&most, -1.0, 7, true),
        (&most, 0.0, 0, true),
        (&small, 2_500.0, 1_250, false),
        (&small, 10_000.0, 5_000, false),
        (&small, 5.0, 10, true),
        (&refused, 10_000.0, 5_000, false),
        (&refused, 5.0, 10, true),
    ] {
        let (throttle, _) = observed_setting(account.clone(), setting(rate, burst)).await;
        assert_eq!(
            throttle,
            has.then_some((rate, burst)),
            "where the account has {}",
            account.body
        );
    }
}

#[tokio::test]
async fn whatever_aws_does_not_fill_in_by_itself_is_another_setting() {
    let with = |key: &str, value: Value| {
        let mut setting = setting(5.0, 10);
        setting[key] = value;
        setting
    };
    assert!(!observed_setting(fine("{}"), setting(5.0, 10)).await.1);
    for (key, value) in [
        ("metricsEnabled", json!(true)),
        ("loggingLevel", json!("ERROR")),
        ("dataTraceEnabled", json!(true)),
        ("cachingEnabled", json!(true)),
        ("cacheTtlInSeconds", json!(60)),
        ("cacheDataEncrypted", json!(true)),
        ("requireAuthorizationForCacheControl", json!(false)),
        ("unauthorizedCacheControlHeaderStrategy", json!("FAIL_WITH_403")),
    ] {
        assert!(observed_setting(fine("{}"), with(key, value)).await.1, "{key}");
    }
}

/// What moving a stage sends, call by call, where it takes the throttle away like this. The setting
/// is gone already.
async fn moved(throttle: ThrottlePatch) -> Vec<Vec<String>> {
    let server = Server::new(move |asked, _| match asked.body.contains("\"remove\"") {
        true => {
            let message = "Cannot remove method setting */* because there is no method setting for this method ";
            given(400, json!({ "message": message })).with("x-amzn-errortype", "BadRequestException")
        }
        false => fine(json!({"deploymentId": "d2", "variables": {"functionVersion": "2"}})),
    })
    .await;
    let patch = StagePatch { throttle: Some(throttle), ..StagePatch::default() };
    let to = apigateway::Move { to: Some(("d2", "2")), patch: &patch };
    apigateway::move_stage(&server.aws, "abc", "prod", to, &|_| ()).await.expect("it is moved");
    let text = |patch: &Value| {
        ["op", "path", "value"]
            .map(|key| patch[key].as_str().unwrap_or_default())
            .join(" ")
            .trim_end()
            .to_owned()
    };
    let patches = |asked: Asked| {
        asked.json()["patchOperations"].as_array().into_iter().flatten().map(text).collect()
    };
    server.all().into_iter().map(patches).collect()
}

#[tokio::test]
async fn a_throttle_is_taken_away_alone_and_may_be_gone_already() {
    let stage = ["replace /variables/functionVersion 2", "replace /deploymentId d2"];
    let unlimited =
        ["replace /*/*/throttling/rateLimit -1", "replace /*/*/throttling/burstLimit -1"];
    assert_eq!(moved(ThrottlePatch::Unlimited).await, [[stage, unlimited].concat()]);
    let first = [&stage[..], &["remove /*/*"]].concat();
    assert_eq!(moved(ThrottlePatch::Remove).await, [first, stage.to_vec()]);
}

/// IAM's answers about a role of ours, the lists of its policies in two pages each.
fn about_role(asked: &Asked) -> Given {
    let action =
        asked.body.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default();
    let second = asked.body.contains("Marker=next");
    let page = |first: &str, other: &str| match second {
        false => format!("{first}<IsTruncated>true</IsTruncated><Marker>next</Marker>"),
        true => format!("{other}<IsTruncated>false</IsTruncated>"),
    };
    let names = |name: &str| format!("<PolicyNames><member>{name}</member></PolicyNames>");
    let policies = |name: &str| {
        format!(
            "<AttachedPolicies><member><PolicyName>{name}</PolicyName></member></AttachedPolicies>"
        )
    };
    let result = match action {
        "GetRole" => format!(
            "<Role><Path>/</Path><RoleName>x</RoleName><RoleId>AROA</RoleId><Arn>arn:aws:iam::1:role/x</Arn>\
             <CreateDate>2026-01-01T00:00:00Z</CreateDate><Tags><member><Key>{STACK_TAG}</Key><Value>hooks</Value></member></Tags></Role>"
        ),
        "GetRolePolicy" => "<RoleName>x</RoleName><PolicyName>routeto</PolicyName><PolicyDocument>{}</PolicyDocument>".into(),
        "ListRolePolicies" => page(&names("routeto"), &names("by-hand")),
        _ => page(&policies("AdministratorAccess"), &policies("ReadOnlyAccess")),
    };
    fine(format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"))
}

#[tokio::test]
async fn a_roles_other_policies_are_all_read_and_a_deploy_that_may_not_list_them_goes_on() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let server = Server::new(|asked, _| about_role(asked)).await;
    let Seen::Ours((_, state)) = iam::observe(&server.aws, "hooks", "x").await.expect("it is read")
    else {
        panic!("it is ours")
    };
    let whole = RoleState {
        inline: names(&["by-hand"]),
        attached: names(&["AdministratorAccess", "ReadOnlyAccess"]),
        unread: false,
    };
    assert_eq!(state, whole);

    let refused = |asked: &Asked| {
        let refusal = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
        if asked.body.contains("Action=List") { given(403, refusal) } else { about_role(asked) }
    };
    let server = Server::new(move |asked, _| refused(asked)).await;
    let Seen::Ours((_, state)) = iam::observe(&server.aws, "hooks", "x").await.expect("it is read")
    else {
        panic!("it is ours")
    };
    assert_eq!(state, RoleState { unread: true, ..RoleState::default() });
}

/// Rules as S3 gives them: which of them delete records of a bucket's user.
#[tokio::test]
async fn of_a_buckets_lifecycle_the_rules_that_are_not_ours_and_delete_records_are_seen() {
    let rule = |id: &str, status: &str, filter: &str, action: &str| {
        format!("<Rule><ID>{id}</ID><Status>{status}</Status>{filter}{action}</Rule>")
    };
    let day = "<Expiration><Days>1</Days></Expiration>";
    let old = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>";
    let prefix = "<Filter><Prefix>in/</Prefix></Filter>";
    let tag = "<Tag><Key>a</Key><Value>b</Value></Tag>";
    let rules = [
        rule("routeto-expire-in/", "Enabled", prefix, day),
        rule("days", "Enabled", prefix, day),
        rule(
            "date",
            "Enabled",
            "<Filter/>",
            "<Expiration><Date>2026-01-01T00:00:00Z</Date></Expiration>",
        ),
        rule("outside", "Enabled", "<Prefix>old/</Prefix>", day),
        rule(
            "size",
            "Enabled",
            "<Filter><And><Prefix>in/</Prefix><ObjectSizeGreaterThan>9</ObjectSizeGreaterThan></And></Filter>",
            day,
        ),
        rule("off", "Disabled", prefix, day),
        rule("tagged", "Enabled", &format!("<Filter>{tag}</Filter>"), day),
        rule(
            "tagged-too",
            "Enabled",
            &format!("<Filter><And><Prefix>in/</Prefix>{tag}</And></Filter>"),
            day,
        ),
        rule("versions", "Enabled", prefix, old),
        rule(
            "markers",
            "Enabled",
            prefix,
            "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>",
        ),
    ];
    let lifecycle = format!("<LifecycleConfiguration>{}</LifecycleConfiguration>", rules.concat());
    let tags = format!(
        "<Tagging><TagSet><Tag><Key>{STACK_TAG}</Key><Value>hooks</Value></Tag></TagSet></Tagging>"
    );
    let server = Server::new(move |asked, _| match asked.path.split_once('?').map_or("", |(_, query)| query) {
        query if query.starts_with("lifecycle") => fine(&lifecycle),
        query if query.starts_with("tagging") => fine(&tags),
        query if query.starts_with("policy") => {
            fine(r#"{"Statement": {"Sid": "All", "Effect": "Allow", "Principal": "*", "Action": "s3:*"}}"#)
        }
        query if query.starts_with("publicAccessBlock") => given(404, "<Error><Code>NoSuchPublicAccessBlockConfiguration</Code></Error>"),
        query if query.starts_with("ownershipControls") => given(404, "<Error><Code>OwnershipControlsNotFoundError</Code></Error>"),
        query if query.starts_with("encryption") => {
            given(404, "<Error><Code>ServerSideEncryptionConfigurationNotFoundError</Code></Error>")
        }
        _ => fine(""),
    })
    .await;
    let seen = s3::observe(&server.aws, &account(), "hooks", "hooks-prod", None)
        .await
        .expect("it is read");
    let Seen::Ours((_, _, state)) = seen else { panic!("it is ours") };
    let seen: Vec<String> = state
        .expiries
        .iter()
        .map(|expiry| format!("{} {} {:?}", expiry.rule, expiry.prefix, expiry.days))
        .collect();
    assert_eq!(
        seen,
        ["days in/ Some(1)", "date  None", "outside old/ Some(1)", "size in/ Some(1)"]
    );
    assert_eq!(state.openings.len(), 1);
}

/// Keys as API Gateway has them, and as others write them.
#[tokio::test]
async fn the_settings_of_a_stages_methods_come_in_order_and_by_the_methods_names() {
    let setting = |rate: f64, more: Value| {
        let mut setting = json!({"throttlingRateLimit": rate, "throttlingBurstLimit": 7});
        setting
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().unwrap_or_default());
        setting
    };
    let settings = json!({
        "~1mail~1in/POST": setting(0.0, json!({"dataTraceEnabled": true})),
        "mail/POST": setting(3.0, json!({"cachingEnabled": true})),
        "*/*": setting(0.0, Value::Null),
        "/input/POST": setting(1.5, Value::Null),
    });
    let canary = json!({"deploymentId": "d2", "percentTraffic": 12.5});
    let stage = json!({"stageName": "prod", "methodSettings": settings, "cacheClusterEnabled": true, "canarySettings": canary});
    let server = Server::new(move |asked, _| match asked.path.contains("/stages") {
        true => fine(json!({ "item": [stage] })),
        false => fine(json!({"item": []})),
    })
    .await;
    let api = aws_sdk_apigateway::types::RestApi::builder().id("api1").build();
    let found = apigateway::observe(&server.aws, &api).await.expect("it is read");
    let state = &found.stages[0].state;
    let seen: Vec<_> = state
        .settings
        .iter()
        .map(|s| (s.method.as_deref(), s.rate, s.burst, s.data_trace, s.cached))
        .collect();
    let wanted = [
        (None, 0.0, 7, false, false),
        (Some("POST /input"), 1.5, 7, false, false),
        (Some("POST /mail"), 3.0, 7, false, true),
        (Some("POST /mail/in"), 0.0, 7, true, false),
    ];
    assert_eq!(seen, wanted);
    assert_eq!((state.has_cache, state.canary.clone()), (true, Some(("d2".into(), 12.5))));
    // a limit, though it lets nothing through
    assert_eq!(found.stages[0].throttle, Some((0.0, 7)));
}
