//! The gateway without a socket: every answer of its own, the event, and what it makes of what the
//! function said.

use super::*;
use crate::{
    render::offline_account,
    spec::{self, Source, World},
};
use std::path::Path;

const TOKEN: &str = "prod-Token_0123456789.~";

const YAML: &str = "
stack: hooks
routes:
  /input:
    s3: { bucket: 'hooks-${stage}', prefix: in/ }
  /any:
    accept: [application/json, text/plain, image/png]
    s3: { bucket: 'hooks-${stage}' }
  /open:
    token: none
    sqs: { queue: 'open-${stage}' }
  /recipe:
    s3: { bucket: 'hooks-${stage}' }
    templates: { application/json: recipe.vtl }
  /broken:
    token: none
    s3: { bucket: 'hooks-${stage}' }
    templates: { application/json: broken.vtl }
stages:
  slow: { throttle: { rate: 2, burst: 3 } }
  prod: {}
";

fn gateway() -> Gateway {
    let read = |path: &Path| {
        Ok(if path.ends_with("recipe.vtl") {
            include_bytes!("../../mapping-templates/recipes/routeto-s3.vtl").to_vec()
        } else {
            b"#set($s = 'x'){\"a\": \"$s.substring(5)\"}".to_vec()
        })
    };
    let world = World { env: &|_| None, read: &read, region: None };
    let stack =
        spec::load(&Source { path: Path::new("hooks.yaml"), bytes: YAML.as_bytes() }, &world)
            .expect("a good stack")
            .stack;
    let tokens = ["slow", "prod"].map(|stage| (stage.to_owned(), Secret(TOKEN.into()))).into();
    Gateway::new(&stack, &offline_account(&stack), &tokens).expect("templates that parse")
}

fn ids() -> Ids {
    Ids { request: "id-1".into(), extended: "ext=".into(), trace: "1-0-0".into() }
}

#[derive(Clone)]
struct Sent {
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    clock: Duration,
}

/// A POST of JSON with the right token.
fn post(path: &str) -> Sent {
    Sent {
        method: "POST",
        target: format!("{path}?token={TOKEN}"),
        headers: vec![("Content-Type".into(), "application/json".into())],
        body: Some(b"{\"a\":1.50}".to_vec()),
        clock: Duration::ZERO,
    }
}

impl Sent {
    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
        self
    }

    fn to<R>(&self, gateway: &Gateway, look: impl FnOnce(Verdict<'_>) -> R) -> R {
        let arrival = Arrival {
            method: self.method,
            target: &Target::parse(&self.target),
            headers: &self.headers,
            body: self.body.as_deref(),
            protocol: "HTTP/1.1",
            source_ip: "192.0.2.7",
            port: 3000,
            time: 1_700_000_000_000,
            clock: self.clock,
            ids: &ids(),
        };
        look(gateway.receive(&arrival))
    }

    /// The gateway's own answer: status, error type, body.
    fn refused(&self, gateway: &Gateway) -> (u16, String, String) {
        self.to(gateway, |verdict| match verdict {
            Verdict::Answer(answered) => shown(&answered.reply),
            Verdict::Invoke(pending) => panic!("{} is an event: {}", self.target, pending.event),
        })
    }

    fn event(&self, gateway: &Gateway) -> serde_json::Value {
        self.to(gateway, |verdict| match verdict {
            Verdict::Answer(answered) => {
                panic!("{} is refused: {:?} {}", self.target, shown(&answered.reply), answered.why)
            }
            Verdict::Invoke(pending) => serde_json::from_str(&pending.event).expect("JSON"),
        })
    }

    fn answered(&self, gateway: &Gateway, outcome: Outcome) -> (Reply, Option<String>) {
        self.to(gateway, |verdict| match verdict {
            Verdict::Answer(answered) => panic!("{} is refused: {}", self.target, answered.why),
            Verdict::Invoke(pending) => gateway.respond(pending, &outcome),
        })
    }
}

fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    reply.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

fn shown(reply: &Reply) -> (u16, String, String) {
    (
        reply.status,
        header(reply, "x-amzn-ErrorType").into(),
        String::from_utf8_lossy(&reply.body).into_owned(),
    )
}

fn row(status: u16, kind: &str, body: &str) -> (u16, String, String) {
    (status, kind.into(), body.into())
}

#[test]
fn what_the_gateway_refuses_it_refuses_as_aws_does() {
    let gateway = gateway();
    let input = post("/prod/input");
    let bad = "BadRequestException";
    let unknown = row(
        403,
        "MissingAuthenticationTokenException",
        r#"{"message":"Missing Authentication Token"}"#,
    );
    for path in [
        "/prod",
        "/prod/",
        "/prod/inputs",
        "/prod/Input",
        "/prod/input/x",
        "/prod//input",
        "/prod/%2Finput",
    ] {
        assert_eq!(post(path).refused(&gateway), unknown, "{path}");
    }
    for method in ["GET", "PUT", "OPTIONS", "post"] {
        assert_eq!(Sent { method, ..input.clone() }.refused(&gateway), unknown, "{method}");
    }
    for path in ["/", "/input", "/prd/input", "//prod/input"] {
        assert_eq!(
            post(path).refused(&gateway),
            row(403, "ForbiddenException", r#"{"message":"Forbidden"}"#),
            "{path}"
        );
    }
    for query in ["", "?", "?token", "?token=", "?token=%20", "?Token=x", "?token=x&token="] {
        let sent = Sent { target: format!("/prod/input{query}"), ..input.clone() };
        assert_eq!(
            sent.refused(&gateway),
            row(400, bad, r#"{"message":"Missing required request parameters: [token]"}"#),
            "{query}"
        );
    }
    for media in [
        "text/plain",
        "application/xml",
        "application/jsonx",
        "nonsense",
        "multipart/form-data; boundary=x",
    ] {
        let sent = input.clone().header("Content-Type", media);
        assert_eq!(
            sent.refused(&gateway),
            row(415, bad, r#"{"message":"Unsupported Media Type"}"#),
            "{media}"
        );
    }
    let large = Sent { body: None, ..input.clone() };
    assert_eq!(
        large.refused(&gateway),
        row(413, "", "HTTP content length exceeded 10485760 bytes.")
    );
    let lambda = Sent { body: Some(vec![b' '; 5_000_000]), ..input.clone() };
    assert_eq!(lambda.refused(&gateway), row(413, bad, r#"{"message":"Request Too Long"}"#));
    let rendering = Sent { body: Some(vec![b' '; LARGEST_BODY]), ..input.clone() };
    assert_eq!(rendering.refused(&gateway), row(413, bad, r#"{"message":"Request Too Long"}"#));
    let heads = input.clone().header("X-Long", &"x".repeat(LARGEST_HEAD));
    assert_eq!(heads.refused(&gateway), row(413, "", "HTTP header is larger than 10240 bytes."));
    assert_eq!(
        post("/prod/broken").refused(&gateway),
        row(500, "InternalServerErrorException", r#"{"message":"Internal server error"}"#)
    );
    let forged = Sent { target: format!("/prod/recipe?token={TOKEN}&app=%22"), ..input };
    let (status, kind, body) = forged.refused(&gateway);
    assert_eq!((status, kind.as_str()), (400, bad));
    assert!(body.starts_with(r#"{"message":"Could not parse request body into json: "#), "{body}");
}

#[test]
fn a_coded_body_is_inflated_before_anything_else_is_looked_at_and_a_false_one_is_refused() {
    let gateway = gateway();
    for path in ["/prod/input", "/prod/any", "/prod/recipe"] {
        let sent = Sent {
            body: Some(coding::gzip(b"{\"a\":1.50}")),
            ..post(path).header("content-encoding", "gzip")
        };
        let plain = post(path).event(&gateway);
        assert_eq!(sent.event(&gateway)["body"], plain["body"], "{path}");
    }
    let sent = Sent {
        body: Some(coding::gzip(b"x")),
        ..post("/prod/input").header("Content-Encoding", "gzip")
    };
    // The header stays.
    assert_eq!(sent.event(&gateway)["headers"]["Content-Encoding"], "gzip");
    let unsupported = row(415, "BadRequestException", r#"{"message":"Unsupported Media Type"}"#);
    for path in ["/prod/input", "/prod/any", "/prod/nowhere", "/nowhere/input"] {
        for coding in ["gzip", "deflate", "br", "x-gzip", "gzip, gzip"] {
            assert_eq!(
                post(path).header("Content-Encoding", coding).refused(&gateway),
                unsupported,
                "{coding} on {path}"
            );
        }
    }
    let bomb = Sent {
        body: Some(coding::gzip(&vec![b' '; 4 * LARGEST_BODY])),
        ..post("/prod/any").header("Content-Encoding", "gzip")
    };
    assert!(bomb.body.as_ref().is_some_and(|body| body.len() < 64 * 1024));
    assert_eq!(
        bomb.refused(&gateway),
        row(413, "BadRequestException", r#"{"message":"Request Too Long"}"#)
    );
}

#[test]
fn a_wrong_path_with_an_authorization_header_is_refused_in_the_words_of_aws() {
    let gateway = gateway();
    let said = |sent: Sent| {
        let (status, kind, body) = sent.refused(&gateway);
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        (status, kind, body["message"].as_str().expect("a message").to_owned())
    };
    let wrong = |value: &str| post("/prod/nowhere").header("Authorization", value);
    // echo -n 'Basic Og==' | openssl dgst -sha256 -binary | base64
    let requires = "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. \
                    Authorization header requires 'SignedHeaders' parameter.";
    let date =
        " Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.";
    let hashed = " (Hashed with SHA-256 and encoded with Base64) Authorization=";
    let kind = "IncompleteSignatureException";
    let basic = "2fopHvoMkkhR8+oU5zsYR1BqtFH7g0txAeWhqI+U9QA=";
    assert_eq!(
        said(wrong("Basic Og==")),
        row(403, kind, &format!("{requires}{date}{hashed}{basic}"))
    );
    assert_eq!(
        said(wrong("Basic Og==").header("Date", "today")),
        row(403, kind, &format!("{requires}{hashed}{basic}"))
    );
    let pair = "Invalid key=value pair (missing equal-sign) in Authorization header \
                (hashed with SHA-256 and encoded with Base64): 'hud0v/kLD+X47AD/2eV5xlNwXKFihdCdmSriv7WLwwg='.";
    assert_eq!(said(wrong("Bearer secret-token")), row(403, kind, pair));
    assert_eq!(said(wrong("")), row(403, kind, "Authorization header cannot be empty: ''"));
    let method = Sent {
        method: "GET",
        ..post("/prod/input").header("Authorization", "Bearer secret-token")
    };
    assert_eq!(said(method), row(403, kind, pair));
    // A whole signature, and none.
    let missing = row(403, "MissingAuthenticationTokenException", "Missing Authentication Token");
    let signed = wrong(
        "AWS4-HMAC-SHA256 Credential=k/20261129/us-east-1/execute-api/aws4_request, SignedHeaders=host, Signature=0",
    );
    assert_eq!(said(signed.header("X-Amz-Date", "20261129T000000Z")), missing);
    assert_eq!(said(post("/prod/nowhere")), missing);
    // A route that exists asks for none and looks at none.
    post("/prod/input").header("Authorization", "Bearer secret-token").event(&gateway);
    // An unknown stage is told first.
    let stage = post("/prd/input").header("Authorization", "Bearer secret-token");
    assert_eq!(said(stage), row(403, "ForbiddenException", "Forbidden"));
}

#[test]
fn a_template_that_fails_shows_its_whole_frame() {
    post("/prod/broken").to(&gateway(), |verdict| match verdict {
        Verdict::Answer(answered) => {
            assert!(answered.why.contains("broken.vtl:1:"), "{}", answered.why);
            assert_eq!(answered.route, Some("/broken"));
            assert_eq!(
                answered.template.and_then(|template| template.file.clone()).as_deref(),
                Some(Path::new("broken.vtl"))
            );
        }
        Verdict::Invoke(pending) => panic!("{}", pending.event),
    });
}

#[test]
fn the_event_is_what_api_gateway_would_make_of_the_request() {
    let sent = Sent {
        target: format!("/prod/input/?token=wrong&token={TOKEN}&app=a+b&x=%E9"),
        ..post("/prod/input")
    };
    let sent = sent
        .header("X-Event", "push")
        .header("User-Agent", "a'b")
        .header("Content-Length", "10")
        .header("connection", "close")
        .header("X-Forwarded-For", "203.0.113.1");
    let event = sent.event(&gateway());
    let valid = token::first(&Secret(TOKEN.into())).0;
    assert_eq!(
        event,
        json!({
            "time": 1_700_000_000_000_u64, "stage": "prod", "path": "/input", "sourceIp": "192.0.2.7", "requestId": "ext=",
            "token": TOKEN, "validToken": valid, "app": "a b", "bucket": "", "destination": "s3://hooks-prod/in/",
            "headers": {
                "Content-Type": "application/json", "X-Event": "push", "User-Agent": "a'b", "X-Amzn-Trace-Id": "Root=1-0-0",
                "X-Forwarded-For": "203.0.113.1, 192.0.2.7", "X-Forwarded-Port": "3000", "X-Forwarded-Proto": "http",
            },
            "query": {"app": "a b", "x": "\u{fffd}"}, "body": "eyJhIjoxLjUwfQ==",
        })
    );
}

#[test]
fn every_byte_of_a_binary_type_is_in_the_event() {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let bytes: Vec<u8> = (0..=255).collect();
    for media in ["text/plain", "text/plain; charset=latin1", "IMAGE/PNG"] {
        let sent =
            Sent { body: Some(bytes.clone()), ..post("/prod/any").header("Content-Type", media) };
        assert_eq!(sent.event(&gateway())["body"], BASE64_STANDARD.encode(&bytes), "{media}");
    }
    // Without a content type, JSON counts; an empty body shows as `{}`.
    let empty = Sent { headers: vec![], body: Some(vec![]), ..post("/prod/any") };
    assert_eq!(empty.event(&gateway())["body"], BASE64_STANDARD.encode("{}"));
}

#[test]
fn the_throttle_is_a_bucket_per_route_and_stage_that_fills_with_time() {
    let gateway = gateway();
    let at = |path: &str, millis: u64| {
        let sent = Sent { clock: Duration::from_millis(millis), ..post(path) };
        sent.to(&gateway, |verdict| match verdict {
            Verdict::Answer(answered) => answered.reply.status,
            Verdict::Invoke(_) => 0,
        })
    };
    // A burst of three, then two a second.
    assert_eq!(
        [0, 0, 0, 0, 499, 501, 502, 1002].map(|millis| at("/slow/input", millis)),
        [0, 0, 0, 503, 503, 0, 503, 0]
    );
    assert_eq!([at("/slow/any", 0), at("/prod/input", 0)], [0, 0], "another route, another stage");
    let refused = Sent { clock: Duration::from_millis(1002), ..post("/slow/input") };
    refused.to(&gateway, |verdict| match verdict {
        Verdict::Answer(answered) => {
            let body = r#"{"result":"fail","reason":"too many requests, try again later"}"#;
            assert_eq!(shown(&answered.reply), row(503, "TooManyRequestsException", body));
            assert_eq!(header(&answered.reply, "Retry-After"), "5");
            assert_eq!(answered.why, "throttled: more than 2 a second, 3 at once");
        }
        Verdict::Invoke(_) => panic!("the bucket is empty"),
    });
    // Long silence fills the bucket to its burst and no further.
    assert_eq!([9000, 9000, 9000, 9000].map(|millis| at("/slow/input", millis)), [0, 0, 0, 503]);
}

#[test]
fn only_the_functions_own_status_raises_the_answer_from_503() {
    let gateway = gateway();
    let answer = |outcome: Outcome| {
        let (reply, why) = post("/prod/input").answered(&gateway, outcome);
        (reply.status, String::from_utf8(reply.body).expect("text"), why)
    };
    let said = |text: &str| answer(Outcome::Answered(text.into()));
    let fail = r#"{"result":"fail","reason":"temporarily unavailable"}"#;
    let stored = r#"{"result":"success","id":"7"}"#;
    assert_eq!(said(&format!(r#"{{"status":200,"answer":{stored}}}"#)), (200, stored.into(), None));
    assert_eq!(
        said(r#"{"status":401,"answer":{"result":"fail"}}"#),
        (401, r#"{"result":"fail"}"#.into(), None)
    );
    for not_ours in ["{}", "null", "\"x\"", "[1]", "", r#"{"status":""}"#] {
        assert_eq!(said(not_ours).0, 503, "{not_ours}");
    }
    let error = r#"{"errorType":"AccessDenied","errorMessage":"no\nright, status 200"}"#;
    let failed = answer(Outcome::Failed(error.into()));
    assert_eq!((failed.0, failed.1.trim_end()), (503, fail));
    assert_eq!(failed.2.as_deref(), Some("the function failed: no\nright, status 200"));
    let late = answer(Outcome::NoAnswer);
    assert_eq!((late.0, late.1.as_str()), (504, r#"{"message":"Endpoint request timed out"}"#));
}

#[test]
fn the_answer_is_json_whatever_the_caller_accepts() {
    let gateway = gateway();
    for accept in ["*/*", "text/html", "image/png", "text/plain, application/json", ""] {
        let outcome =
            Outcome::Answered(r#"{"status":200,"answer":{"result":"success","id":"7"}}"#.into());
        let (reply, _) = post("/prod/any").header("Accept", accept).answered(&gateway, outcome);
        assert_eq!(
            (reply.status, reply.body.as_slice()),
            (200, &br#"{"result":"success","id":"7"}"#[..]),
            "{accept}"
        );
        let names = ["Content-Type", "x-amzn-RequestId", "x-amz-apigw-id", "X-Amzn-Trace-Id"];
        assert_eq!(
            names.map(|name| header(&reply, name)),
            ["application/json", "id-1", "ext=", "Root=1-0-0"]
        );
    }
}

#[test]
fn a_target_is_taken_apart_and_decoded() {
    let target = Target::parse("/prod/a%20b/c?x=1&y=%2B+&x=2");
    assert_eq!((target.stage.as_str(), target.path.as_str()), ("prod", "/a b/c"));
    assert_eq!(
        (target.parameter("x"), target.parameter("y"), target.parameter("z")),
        (Some("2"), Some("+ "), None)
    );
    let odd = Target::parse("*");
    assert_eq!((odd.stage.as_str(), odd.path.as_str(), odd.query.len()), ("*", "/", 0));
}
