//! The main run on a real AWS account, and what only a real account can say. It makes things, costs some cents, and removes them again.
//!
//! `AWS_PROFILE=… AWS_REGION=… cargo test --test live -- --ignored --nocapture`
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::{aws, multipart, query};

const YAML: &str = r#"
stack: NAME
routes:
  /input:
    accept: [application/json, text/plain, application/octet-stream]
    s3: { bucket: "NAME-${account}-${region}-${stage}", prefix: in/ }
  /callbacks/inbound:
    accept: [multipart/form-data]
    sqs: { queue: "NAME-inbound-${stage}", dead_letter: { queue: "NAME-dead-${stage}", after: 5 } }
  /text:
    templates: { application/json: encode.vtl }
    token: none
    sqs: { queue: "NAME-text-${stage}", format: body }
  /broken:
    templates: { application/json: broken.vtl }
    token: none
    sqs: { queue: "NAME-text-${stage}", format: body }
stages:
  prod: { throttle: { rate: 50, burst: 100 } }
"#;

/// What API Gateway makes of text that is not ASCII when a template encodes it.
const ENCODE: &str = r#"{"destination": "$destination", "path": "/text", "time": $context.requestTimeEpoch, "body": "$util.base64Encode($util.base64Encode($input.body))"}"#;
const BROKEN: &str = r#"{"destination": "$destination", "body": "#;

struct Live {
    dir: tempfile::TempDir,
    name: String,
}

impl Live {
    /// With the environment's own credentials, region and all.
    fn routeto(&self, args: &str, stdin: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_routeto"));
        let mut words = args.split_whitespace();
        command.arg(words.next().unwrap()).arg("stack.yaml").args(words).current_dir(self.dir.path());
        command.env("ROUTETO_CACHE", support::target().join("routeto-cache")).env("ROUTETO_TOKEN_PROD", self.token());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.unwrap_or_default().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        println!("routeto {args}: {} after {:.1} s", output.status, started.elapsed().as_secs_f64());
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        output
    }

    fn token(&self) -> String {
        format!("{}-0123456789abcdefghij", self.name)
    }

    fn teardown(&self) {
        self.routeto("teardown --yes --delete-data", None);
    }
}

/// Status, body and seconds of a POST. curl, since the tests' own client knows no TLS.
fn post(url: &str, content_type: &str, body: &[u8]) -> (u16, String, f64) {
    let mut child = Command::new("curl")
        .args(["-sS", "--data-binary", "@-", "-H", &format!("content-type: {content_type}"), "-w", "\n%{http_code} %{time_total}", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // a gateway that refuses a large body closes the connection before it has it all
    let _ = child.stdin.take().unwrap().write_all(body);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, last) = text.rsplit_once('\n').unwrap();
    let (status, seconds) = last.split_once(' ').unwrap();
    (status.parse().unwrap(), body.to_owned(), seconds.parse().unwrap())
}

#[test]
#[ignore = "needs a real AWS account: makes a stack there, costs some cents, removes it again"]
fn a_real_account_runs_both_recipes_and_says_what_was_never_recorded() {
    let region = std::env::var("AWS_REGION").expect("AWS_REGION says where");
    aws::go_live(&region);
    let account = aws::call("sts", "get_caller_identity", json!({}))["Account"].as_str().unwrap().to_owned();
    let live = Live { dir: tempfile::tempdir().unwrap(), name: format!("live-{}", support::stack::unique_name()) };
    let write = |name: &str, text: &str| std::fs::write(Path::new(live.dir.path()).join(name), text).unwrap();
    write("stack.yaml", &YAML.replace("NAME", &live.name));
    write("encode.vtl", ENCODE);
    write("broken.vtl", BROKEN);

    // whatever is found wrong from here on, nothing is left behind
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let deployed: Value = serde_json::from_slice(&live.routeto("deploy --output json", None).stdout).unwrap();
        run(&live, &deployed, &account, &region);
    }));
    live.teardown();
    assert_eq!(support::world::World::of(&live.name).names(), [] as [String; 0]);
    run.unwrap_or_else(|problem| std::panic::resume_unwind(problem));
}

fn run(live: &Live, deployed: &Value, account: &str, region: &str) {
    let url = |route: &str| deployed["stages"]["prod"]["routes"][route].as_str().unwrap().to_owned();
    let token = query(&[("token", &live.token())]);
    let input = url("/input") + &token;
    let bucket = format!("{}-{account}-{region}-prod", live.name);
    let stored = |answer: &(u16, String, f64)| {
        assert_eq!(answer.0, 200, "{}", answer.1);
        let id = serde_json::from_str::<Value>(&answer.1).unwrap()["id"].as_str().unwrap().to_owned();
        let key = aws::keys(&bucket).unwrap().into_iter().find(|key| key.ends_with(&id)).unwrap();
        aws::object(&bucket, &key).body
    };

    // the main run
    let events = std::fs::read(support::fixture("sendgrid-events.json")).unwrap();
    assert_eq!(stored(&post(&input, "application/json", &events)), events);
    let every: Vec<u8> = (0..=255).collect();
    assert_eq!(stored(&post(&input, "application/octet-stream", &every)), every);
    let mail = multipart::mail(700_000);
    let answer = post(&(url("/callbacks/inbound") + &token), multipart::CONTENT_TYPE, &mail);
    assert_eq!(answer.0, 200, "{}", answer.1);
    let envelope = aws::only_message(&format!("{}-inbound-prod", live.name)).json();
    assert!(aws::from_base64(envelope["body-raw"].as_str().unwrap()) == mail);
    assert_eq!(post(&url("/input"), "application/json", b"{}").0, 400);
    assert_eq!(post(&(url("/input") + "?token=wrong"), "application/json", b"{}").0, 401);
    assert_eq!(post(&input, "text/html", b"{}").0, 415);
    live.routeto("plan --exit-code", None);
    let times: Vec<f64> = (0..20).map(|_| post(&input, "application/json", b"{}").2).collect();
    println!(
        "POST, warm: fastest {:.3} s, slowest {:.3} s",
        times.iter().copied().fold(f64::MAX, f64::min),
        times.iter().copied().fold(0.0, f64::max)
    );

    // what was never recorded
    println!("base64Encode of text that is not ASCII:");
    for text in ["é", "€", "😀", "\u{feff}", "é€😀"] {
        let answer = post(&url("/text"), "application/json", text.as_bytes());
        let message = aws::receive_all(&format!("{}-text-prod", live.name)).pop().map(|message| message.body);
        println!("  {text:?} ({} bytes) -> {} {message:?}, as UTF-8 it is {}", text.len(), answer.0, aws::base64(text.as_bytes()));
    }
    let empty = post(&input, "application/octet-stream", b"");
    println!("an empty binary body: {} {} stored as {:?}", empty.0, empty.1, (empty.0 == 200).then(|| stored(&empty)));
    let empty = post(&input, "application/json", b"");
    println!(
        "an empty JSON body: {} {} stored as {:?}",
        empty.0,
        empty.1,
        (empty.0 == 200).then(|| String::from_utf8_lossy(&stored(&empty)).into_owned())
    );
    for mb in [4.0, 4.5, 4.6, 4.7, 4.8, 5.0, 7.0, 11.0_f64] {
        let answer = post(&input, "application/octet-stream", &vec![0x80; (mb * 1e6) as usize]);
        println!("a body of {mb} MB: {} after {:.1} s: {}", answer.0, answer.2, answer.1.chars().take(200).collect::<String>());
    }
    let broken = post(&url("/broken"), "application/json", b"{}");
    println!("a template that renders broken JSON: {} {}", broken.0, broken.1);

    // how long a stage's change takes until it is felt, and that no POST is lost meanwhile
    let new = format!("{}-second", live.token());
    let begun = Instant::now();
    live.routeto("set-token --stage prod --token-stdin --now", Some(&new));
    println!("set-token --now returned after {:.1} s", begun.elapsed().as_secs_f64());
    let mut last_old = None;
    while begun.elapsed() < Duration::from_secs(120) {
        let old = post(&input, "application/json", b"{}").0;
        if old == 200 {
            last_old = Some(begun.elapsed());
        }
        if begun.elapsed() > Duration::from_secs(30) && last_old.is_none_or(|at| begun.elapsed() > at + Duration::from_secs(20)) {
            break;
        }
        sleep(Duration::from_millis(200));
    }
    println!("the old token was last taken {:?} after the command began", last_old);
    assert_eq!(post(&(url("/input") + &query(&[("token", &new)])), "application/json", b"{}").0, 200);
}
