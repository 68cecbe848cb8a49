//! `routeto dev` itself, killed with SIGKILL in the middle of load and started again: every POST
//! that was answered 200 is on disk, once.
//!
//! `ROUTETO_TEST_POSTS` says how many POSTs there are to be.

use crate::{place::Place, support::target};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const TOKEN: &str = "durability-Token_0123456789";
const STACK: &str = "
stack: hooks
region: us-east-1
routes:
  /input: { s3: { bucket: 'records-${stage}', prefix: SendGrid/ } }
  /events: { sqs: { queue: 'events-${stage}' } }
stages:
  dev: { throttle: { rate: 10000, burst: 5000 } }
";
const SENDERS: u64 = 8;

/// Started, and its stage's URL.
fn start(directory: &Path) -> (Child, String) {
    let note = directory.join(".routeto/dev.json");
    let _ = fs::remove_file(&note);
    let mut command = Command::new(env!("CARGO_BIN_EXE_routeto"));
    command
        .args(["dev", "stack.yaml", "--port", "0"])
        .current_dir(directory)
        .env("ROUTETO_TOKEN", TOKEN);
    command
        .env("ROUTETO_CACHE", target().join("routeto-cache"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(running) =
            fs::read(&note).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok())
        {
            return (child, format!("{}/dev", running["url"].as_str().unwrap()));
        }
        assert!(
            child.try_wait().unwrap().is_none() && Instant::now() < deadline,
            "dev did not start"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// `{"number":7,"text":"…"}`, 100 bytes to 4 KB.
fn body(number: u64) -> String {
    let size = usize::try_from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52).unwrap();
    format!("{{\"number\":{number},\"text\":\"{}\"}}", "x".repeat(size))
}

#[test]
fn dev_killed_in_the_middle_of_load_has_each_post_that_it_answered_once() {
    let posts: u64 = std::env::var("ROUTETO_TEST_POSTS")
        .ok()
        .and_then(|posts| posts.parse().ok())
        .unwrap_or(1200);
    let kills = (posts / 2500).clamp(4, 40);
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("stack.yaml"), STACK).unwrap();
    let next = AtomicU64::new(0);
    // the record's id, as it was answered, to the number that was sent
    let answered: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let statuses: Mutex<BTreeMap<u16, u64>> = Mutex::default();
    let mut round = 0;
    while next.load(Ordering::Relaxed) < posts {
        let (mut child, url) = start(directory.path());
        let ended = AtomicBool::new(false);
        let until = if round == kills {
            posts
        } else {
            posts * (round + 1) / (kills + 1) + (round * 37) % 23
        };
        thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    let config = ureq::Agent::config_builder()
                        .http_status_as_error(false)
                        .timeout_global(Some(Duration::from_secs(60)));
                    let agent: ureq::Agent = config.build().into();
                    while !ended.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= posts {
                            return;
                        }
                        let path = if number.is_multiple_of(2) { "input" } else { "events" };
                        let post = agent
                            .post(format!("{url}/{path}?token={TOKEN}"))
                            .header("content-type", "application/json");
                        let Ok(mut answer) = post.send(body(number)) else {
                            // killed: its numbers must not be used up until that is known
                            std::thread::sleep(Duration::from_millis(5));
                            continue;
                        };
                        let status = answer.status().as_u16();
                        *statuses.lock().unwrap().entry(status).or_default() += 1;
                        if let (200, Ok(text)) = (status, answer.body_mut().read_to_string()) {
                            let said: Value = serde_json::from_str(&text).unwrap();
                            let before = answered
                                .lock()
                                .unwrap()
                                .insert(said["id"].as_str().unwrap().to_owned(), number);
                            assert_eq!(before, None, "an id is answered once");
                        }
                    }
                });
            }
            while next.load(Ordering::Relaxed) < until {
                thread::sleep(Duration::from_millis(1));
            }
            if round < kills {
                child.kill().unwrap();
            }
            ended.store(true, Ordering::Relaxed);
        });
        child.kill().unwrap();
        child.wait().unwrap();
        round += 1;
    }
    let answered = answered.into_inner().unwrap();
    let statuses = statuses.into_inner().unwrap();
    assert!(
        answered.len() as u64 > posts / 2,
        "{} of {posts} were answered: {statuses:?}",
        answered.len()
    );

    let kept = TempDir::new().unwrap();
    fs::rename(directory.path().join(".routeto/store"), kept.path().join("store")).unwrap();
    let place = Place::in_directory(kept, "store");
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let mut keep = |id: &str, text: &str| {
        let number = serde_json::from_str::<Value>(text).unwrap()["number"].as_u64().unwrap();
        assert_eq!(text, body(number), "whole");
        assert_eq!(found.insert(id.to_owned(), number), None, "{id} is there once");
    };
    for key in keys(&place) {
        let (_, bytes) = place.store.object("records-dev", &key).unwrap();
        keep(key.rsplit('_').next().unwrap(), std::str::from_utf8(&bytes).unwrap());
    }
    let agent = ureq::agent();
    loop {
        let receive =
            agent.post(&place.endpoint).header("x-amz-target", "AmazonSQS.ReceiveMessage");
        let mut answer = receive
            .send(
                r#"{"QueueUrl":"/events-dev","MaxNumberOfMessages":10,"VisibilityTimeout":43200}"#,
            )
            .unwrap();
        let got: Value =
            serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        let Some(messages) = got["Messages"].as_array() else { break };
        for message in messages {
            let envelope: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
            keep(envelope["id"].as_str().unwrap(), &envelope["body-json"].to_string());
        }
    }
    let lost: Vec<_> =
        answered.iter().filter(|(id, number)| found.get(*id) != Some(number)).collect();
    assert_eq!(lost, [], "answered 200 and lost, of {}", answered.len());
    // no POST was stored under two ids either
    let numbers: BTreeSet<u64> = found.values().copied().collect();
    assert_eq!(numbers.len(), found.len());
    println!("{posts} POSTs, {kills} kills, answers {statuses:?}, {} records", found.len());
}

/// All keys of the bucket, page by page.
fn keys(place: &Place) -> Vec<String> {
    let agent = ureq::agent();
    let mut keys: Vec<String> = Vec::new();
    loop {
        // a key is its own continuation: the listing starts after it
        let after = keys.last().map(|key| format!("&start-after={key}")).unwrap_or_default();
        let mut answer =
            agent.get(format!("{}/records-dev?list-type=2{after}", place.endpoint)).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let page: Vec<String> = text
            .split("<Key>")
            .skip(1)
            .map(|rest| rest.split("</Key>").next().unwrap().to_owned())
            .collect();
        if page.is_empty() {
            return keys;
        }
        keys.extend(page);
    }
}
