//! The same requests to the same stack, deployed in the emulator and served by dev: status, body
//! and record are the same, or the difference is known.

use crate::harness::{Dev, JSON, Place};
use crate::support::http::{Answer, Raw};
use crate::support::{Stack, aws, multipart, query, stack};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const YAML: &str = r#"
stack: NAME
routes:
  /raw:
    s3: { bucket: "NAME-${stage}", prefix: raw/ }
  /any:
    accept: [application/json, text/plain, application/x-www-form-urlencoded, multipart/form-data, application/octet-stream, image/png]
    s3: { bucket: "NAME-${stage}", prefix: any/, allow: ["NAME-archive/teamA"] }
  /lines:
    s3: { bucket: "NAME-${stage}", prefix: lines/, format: ndjson }
  /envelope:
    accept: [application/json, text/plain]
    s3: { bucket: "NAME-${stage}", prefix: envelope/, format: envelope }
  /queue/events:
    accept: [application/json, multipart/form-data]
    sqs: { queue: "NAME-events-${stage}" }
  /queue/text:
    accept: [application/json, text/plain]
    sqs: { queue: "NAME-text-${stage}", format: body }
  /open:
    token: none
    s3: { bucket: "NAME-${stage}", prefix: open/, format: envelope }
  /recipe:
    s3: { bucket: "NAME-${stage}", allow: ["NAME-${stage}/recipe"] }
    templates: { application/json: recipe.vtl }
stages:
  prod: {}
"#;

/// Why, and for which requests.
type Difference = (&'static str, fn(&Sent) -> bool);

/// What the emulator does otherwise than API Gateway, and how that is known. Each must turn up, and
/// whatever else differs fails the test.
const KNOWN: [Difference; 4] = [
    (
        "the emulator's validator lets a blank parameter through; AWS refuses a missing or blank one (developer guide, request validation)",
        |sent| sent.token == Token::Blank,
    ),
    ("the emulator answers an unknown stage 404; AWS 403 Forbidden", |sent| {
        sent.path.starts_with("/prd")
    }),
    (
        "the emulator hands the function an event that is no JSON; AWS answers 400 itself (serverless/serverless#2270)",
        |sent| {
            sent.path == "/prod/recipe"
                && (sent.more.contains("%22") || sent.body == b"{\"a\": NaN}")
        },
    ),
    ("AWS answers a body over 10 MB itself (koki-develop/lgtm-generator#10)", |sent| {
        sent.body.len() > 10 * 1024 * 1024
    }),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Right,
    Wrong,
    Missing,
    Blank,
    WrongThenRight,
    RightThenWrong,
}

#[derive(Clone, Debug)]
struct Sent {
    method: &'static str,
    /// With the stage.
    path: String,
    token: Token,
    /// Further query.
    more: String,
    media: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

impl Sent {
    fn new(route: &str) -> Self {
        let (path, body) = (format!("/prod{route}"), b"{\"a\":1.50}".to_vec());
        Sent {
            method: "POST",
            path,
            token: Token::Right,
            more: String::new(),
            media: Some(JSON),
            headers: vec![],
            body,
        }
    }

    fn send(&self, base: &str) -> Option<Answer> {
        let right = stack::token("prod");
        let tokens: &[(&str, &str)] = match self.token {
            Token::Right => &[("token", &right)],
            Token::Wrong => &[("token", "wrong")],
            Token::Missing => &[],
            Token::Blank => &[("token", "")],
            Token::WrongThenRight => &[("token", "wrong"), ("token", &right)],
            Token::RightThenWrong => &[("token", &right), ("token", "wrong")],
        };
        let mark = if tokens.is_empty() { "?" } else { "&" };
        let more =
            if self.more.is_empty() { String::new() } else { format!("{mark}{}", self.more) };
        let mut raw = Raw::post(&format!("{base}{}{}{more}", self.path, query(tokens)));
        raw.method = self.method.into();
        if let Some(media) = self.media {
            raw = raw.header("Content-Type", media);
        }
        self.headers
            .iter()
            .fold(raw, |raw, (name, value)| raw.header(name, value))
            .body(&self.body)
            .send()
    }

    fn shown(&self) -> String {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(40).collect();
        format!(
            "{} {} {:?} {:?} {:?} {:?} {body:?}",
            self.method, self.path, self.token, self.more, self.media, self.headers
        )
    }
}

/// Content types, bodies, tokens, parameters, headers, paths: each with several of the others.
fn requests() -> Vec<Sent> {
    let routes =
        ["/raw", "/any", "/lines", "/envelope", "/queue/events", "/queue/text", "/open", "/recipe"];
    let medias = [
        None,
        Some(JSON),
        Some("application/json; charset=utf-8"),
        Some("Application/JSON"),
        Some("text/plain"),
        Some("text/plain; charset=iso-8859-1"),
        Some("application/x-www-form-urlencoded"),
        Some(multipart::CONTENT_TYPE),
        Some("application/octet-stream"),
        Some("image/png"),
        Some("application/xml"),
        Some("application/jsonx"),
        Some("*/*"),
    ];
    let all: Vec<u8> = (0..=255).collect();
    let bodies: Vec<Vec<u8>> = [
        "",
        "{}",
        "{\"a\":1.50,\"b\":1e5,\"c\":-0}",
        "[{\"x\":1},{\"x\":2.50},\n  {\"y\":\"\\u00e9\"}]",
        "\"text\"",
        "null",
        "plain words",
        "Grüße \u{1f600} \u{2028} 'q' \"d\" \\ $input ${x} #set($a=1)",
        "{\"q\":\"'\\\"\\\\/\\b\\f\\n\\r\\t\"}",
        " [ 1 , 2 ] \r\n",
        "{\"a\": NaN}",
        "a=1&b=%20+c&d=",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([
        format!("{{\"long\":\"{}\"}}", "x\\\"".repeat(20_000)).into_bytes(),
        format!("[{}0]", "[0],".repeat(900)).into_bytes(),
    ])
    .collect();
    let mut sent = vec![];
    for route in routes {
        for media in medias {
            sent.push(Sent { media, ..Sent::new(route) });
        }
        for body in &bodies {
            sent.push(Sent { body: body.clone(), ..Sent::new(route) });
        }
        for token in [
            Token::Wrong,
            Token::Missing,
            Token::Blank,
            Token::WrongThenRight,
            Token::RightThenWrong,
        ] {
            sent.push(Sent { token, ..Sent::new(route) });
        }
        for more in [
            "app=a",
            "app=a%20b",
            "app=Send.Grid_1-x",
            "app=",
            "app=a&app=b",
            "bucket=somebody-elses",
            "x=%22%27%5C&y=%C3%A9",
            "&&=&b",
        ] {
            sent.push(Sent { more: more.into(), ..Sent::new(route) });
        }
        for headers in [
            vec![("X-Custom", "it's \"quoted\" \\ and $input.body"), ("x-lower", "1")],
            vec![("Accept", "text/html, application/xhtml+xml")],
            vec![("Accept", "image/png")],
            vec![("Authorization", "Bearer abc"), ("Cookie", "a=b")],
            vec![("X-Amzn-RequestId", "\",\"token\":\"x")],
        ] {
            sent.push(Sent { headers, ..Sent::new(route) });
        }
    }
    for media in medias.into_iter().flatten().filter(|media| {
        !media.contains("xml") && !media.to_lowercase().contains("json") && *media != "*/*"
    }) {
        for body in [&all, &b"d\xe9j\xe0\x00\xff".to_vec(), &vec![], &multipart::mail(2000)] {
            sent.push(Sent { media: Some(media), body: body.clone(), ..Sent::new("/any") });
        }
    }
    for path in [
        "/prod/nowhere",
        "/prod/raw/x",
        "/prod/RAW",
        "/prd/raw",
        "/prod/raw/",
        "/prod/queue",
        "/prod",
    ] {
        sent.push(Sent { path: path.into(), ..Sent::new("/raw") });
    }
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        sent.push(Sent { method, ..Sent::new("/raw") });
    }
    sent.push(Sent { more: "app=%22".into(), ..Sent::new("/recipe") });
    sent.push(Sent {
        media: Some(multipart::CONTENT_TYPE),
        body: multipart::mail(1_500_000),
        ..Sent::new("/queue/events")
    });
    sent.push(Sent { body: vec![b' '; 10 * 1024 * 1024 + 1], ..Sent::new("/raw") });
    sent
}

/// The answer with its id masked; the id.
fn masked(answer: &Answer) -> (Value, Option<String>) {
    let mut body = serde_json::from_slice(&answer.body).unwrap_or_else(|_| json!(answer.text()));
    let id = body.get("id").and_then(Value::as_str).map(str::to_owned);
    if id.is_some() {
        body["id"] = json!("ID");
    }
    (json!({"status": answer.status, "body": body}), id)
}

/// A record without what names this one request: its id, time and the headers that each gateway
/// adds.
fn record(bytes: &[u8]) -> Value {
    let Ok(Value::Object(mut envelope)) = serde_json::from_slice::<Value>(bytes) else {
        return json!(String::from_utf8_lossy(bytes));
    };
    let Some(headers) = envelope.remove("http-headers") else { return json!(bytes) };
    let own = [
        "host",
        "x-amzn-trace-id",
        "x-forwarded-for",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-localstack-edge",
        "connection",
    ];
    let headers: BTreeMap<String, Value> = headers
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.clone()))
        .filter(|(name, _)| !own.contains(&name.to_lowercase().as_str()))
        .collect();
    envelope.remove("id");
    envelope.remove("time");
    let text = std::str::from_utf8(bytes).unwrap();
    let exact = text.split(",\"http-headers\":").next().unwrap_or_default().to_owned();
    json!({"headers": headers, "rest": envelope, "exact": exact})
}

/// What was stored, by record id; of queues' bare bodies, which have none, the sorted texts.
struct Records {
    by_id: BTreeMap<String, (String, Value)>,
    texts: Vec<String>,
}

fn of_emulator(stack: &Stack) -> Records {
    let mut by_id = BTreeMap::new();
    for object in aws::objects(&format!("{}-prod", stack.name)) {
        let (head, id) = object.key.rsplit_once('_').unwrap();
        let place = format!("{} {}", head.rsplit_once('_').unwrap().0, object.content_type);
        by_id.insert(id.to_owned(), (place, record(&object.body)));
    }
    for message in aws::receive_all(&format!("{}-events-prod", stack.name)) {
        let id = message.json()["id"].as_str().unwrap().to_owned();
        by_id.insert(id, ("events".into(), record(message.body.as_bytes())));
    }
    let mut texts: Vec<String> = aws::receive_all(&format!("{}-text-prod", stack.name))
        .into_iter()
        .map(|message| message.body)
        .collect();
    texts.sort();
    Records { by_id, texts }
}

fn of_dev(dev: &Dev, name: &str) -> Records {
    let mut by_id = BTreeMap::new();
    for key in dev.keys(&format!("{name}-prod")).unwrap() {
        let (head, id) = key.rsplit_once('_').unwrap();
        let answer =
            crate::support::http::get(&format!("{}/{name}-prod/{key}", dev.endpoint())).unwrap();
        let place = format!(
            "{} {}",
            head.rsplit_once('_').unwrap().0,
            answer.header("content-type").unwrap()
        );
        by_id.insert(id.to_owned(), (place, record(&answer.body)));
    }
    for body in dev.receive(&format!("{name}-events-prod")) {
        let id = serde_json::from_str::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned();
        by_id.insert(id, ("events".into(), record(body.as_bytes())));
    }
    let mut texts = dev.receive(&format!("{name}-text-prod"));
    texts.sort();
    Records { by_id, texts }
}

#[test]
fn the_emulator_and_dev_give_the_same_answers_and_keep_the_same_records() {
    let stack = Stack::new(
        "stack: NAME\nroutes:\n  /a:\n    sqs: { queue: \"NAME-${stage}\" }\nstages:\n  prod: {}\n",
    );
    stack.file("recipe.vtl", crate::harness::recipe("routeto-s3.vtl"));
    stack.rewrite(YAML);
    aws::create_bucket(&format!("{}-archive", stack.name));
    let deployed = stack.deploy();
    let place = Place::new("stack: not-yet\n");
    place.file("recipe.vtl", crate::harness::recipe("routeto-s3.vtl"));
    place.file("stack.yaml", stack.fill(YAML));
    let dev = place.dev_with("", &[("ROUTETO_TOKEN_PROD", &stack::token("prod"))]);
    let emulator = deployed.url("prod", "/raw").strip_suffix("/prod/raw").unwrap().to_owned();

    let requests = requests();
    assert!(requests.len() >= 300, "{}", requests.len());
    let (mut differences, mut seen, mut pairs) = (vec![], BTreeSet::new(), vec![]);
    for sent in &requests {
        let known = KNOWN.iter().find(|(_, is)| is(sent)).map(|(why, _)| *why);
        let (theirs, ours) = (sent.send(&emulator), sent.send(dev.base()));
        let (Some(theirs), Some(ours)) = (theirs, ours) else {
            differences.push(format!("{}: no answer", sent.shown()));
            continue;
        };
        let ((theirs, their_id), (ours, our_id)) = (masked(&theirs), masked(&ours));
        if theirs != ours {
            match known {
                Some(why) => drop(seen.insert(why)),
                None => differences
                    .push(format!("{}\n  emulator {theirs}\n  dev      {ours}", sent.shown())),
            }
        }
        if let (Some(theirs), Some(ours)) = (their_id, our_id) {
            pairs.push((sent, theirs, ours));
        }
    }
    let (theirs, ours) = (of_emulator(&stack), of_dev(&dev, &stack.name));
    let mut compared = 0;
    for (sent, their_id, our_id) in pairs {
        match (theirs.by_id.get(&their_id), ours.by_id.get(&our_id)) {
            (None, None) if sent.path == "/prod/queue/text" => {}
            (theirs, ours) if theirs.is_some() && theirs == ours => compared += 1,
            (theirs, ours) => {
                let short = |found: Option<&(String, Value)>| {
                    format!("{found:?}").chars().take(1500).collect::<String>()
                };
                differences.push(format!(
                    "record of {}\n  emulator {}\n  dev      {}",
                    sent.shown(),
                    short(theirs),
                    short(ours)
                ));
            }
        }
    }
    if theirs.texts != ours.texts {
        differences
            .push(format!("messages\n  emulator {:?}\n  dev      {:?}", theirs.texts, ours.texts));
    }
    assert!(
        differences.is_empty(),
        "{} of {}:\n{}",
        differences.len(),
        requests.len(),
        differences.join("\n")
    );
    assert!(compared >= 100, "{compared} records");
    let stale: Vec<&str> =
        KNOWN.iter().map(|(why, _)| *why).filter(|why| !seen.contains(why)).collect();
    assert_eq!(stale, [] as [&str; 0], "known differences that are none");
    stack.teardown();
}
