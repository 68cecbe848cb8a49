//! The store in a child process that is killed with SIGKILL in the middle of load, again and again,
//! and opened anew.

use crate::{place::Place, support::block_on};
use routeto::dev::store::Store;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const DIRECTORY: &str = "ROUTETO_TEST_STORE";
const ROUNDS: u64 = 8;

/// Not a test of its own: what the test below starts and kills.
#[test]
#[ignore = "the child process of another test"]
fn a_store_that_serves_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = Store::open(Path::new(&directory)).unwrap();
    store.create_bucket("records").unwrap();
    store.create_queue("events", BTreeMap::new()).unwrap();
    block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Path::new(&directory).join("address");
        std::fs::write(address.with_extension("new"), listener.local_addr().unwrap().to_string())
            .unwrap();
        std::fs::rename(address.with_extension("new"), address).unwrap();
        axum::serve(listener, store.router()).await.unwrap();
    });
}

/// A body that its number tells, 1 to 40 KB.
fn expected(number: u64) -> String {
    let size = 1000 + (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) % 40_000;
    let mut body = format!("{number}:");
    while body.len() < usize::try_from(size).unwrap() {
        body.push_str(&format!("{:x}.", number.wrapping_mul(body.len() as u64 + 1)));
    }
    body
}

fn start(directory: &Path) -> (Child, String) {
    let address = directory.join("address");
    let _ = std::fs::remove_file(&address);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::a_store_that_serves_until_it_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Ok(address) = std::fs::read_to_string(&address) {
            return (child, format!("http://{address}"));
        }
        assert!(
            child.try_wait().unwrap().is_none() && Instant::now() < deadline,
            "the store did not start"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

fn sqs(
    agent: &ureq::Agent,
    endpoint: &str,
    operation: &str,
    mut body: Value,
) -> Result<Value, String> {
    body["QueueUrl"] = json!("http://x/events");
    let request = agent.post(endpoint).header("x-amz-target", &format!("AmazonSQS.{operation}"));
    let mut answer = request.send(body.to_string()).map_err(|error| error.to_string())?;
    let text = answer
        .body_mut()
        .with_config()
        .limit(100_000_000)
        .read_to_string()
        .map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// What the clients know at the end: what they tried, and what was answered 200.
#[derive(Default)]
struct Known {
    put: BTreeSet<u64>,
    sent: BTreeSet<u64>,
    tried_to_delete: BTreeSet<u64>,
    deleted: BTreeSet<u64>,
}

fn number(body: &str) -> u64 {
    body.split(':').next().unwrap().parse().unwrap()
}

#[test]
fn killed_in_the_middle_of_load_the_store_has_all_that_it_answered_once_and_nothing_half() {
    let directory = TempDir::new().unwrap();
    let known = Mutex::new(Known::default());
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30))).build().into();
    let mut tried: u64 = 0;
    for round in 0..ROUNDS {
        let (mut child, endpoint) = start(directory.path());
        let first = round * 1_000_000;
        thread::scope(|scope| {
            for writer in 0..2 {
                let (agent, endpoint, known) = (&agent, &endpoint, &known);
                scope.spawn(move || {
                    for number in (first + writer..).step_by(2) {
                        let put = agent
                            .put(format!("{endpoint}/records/{number}"))
                            .header("if-none-match", "*")
                            .header("content-type", "text/plain");
                        if put.send(expected(number)).is_err() {
                            return;
                        }
                        known.lock().unwrap().put.insert(number);
                    }
                });
            }
            scope.spawn(|| {
                for number in first.. {
                    if sqs(
                        &agent,
                        &endpoint,
                        "SendMessage",
                        json!({"MessageBody": expected(number)}),
                    )
                    .is_err()
                    {
                        return;
                    }
                    known.lock().unwrap().sent.insert(number);
                }
            });
            scope.spawn(|| {
                // half of what it gets it deletes, the rest comes back
                let receive =
                    json!({"MaxNumberOfMessages": 4, "VisibilityTimeout": 1, "WaitTimeSeconds": 1});
                while let Ok(got) = sqs(&agent, &endpoint, "ReceiveMessage", receive.clone()) {
                    for message in got["Messages"].as_array().into_iter().flatten() {
                        let number = number(message["Body"].as_str().unwrap());
                        if number.is_multiple_of(2) {
                            known.lock().unwrap().tried_to_delete.insert(number);
                            if sqs(
                                &agent,
                                &endpoint,
                                "DeleteMessage",
                                json!({"ReceiptHandle": message["ReceiptHandle"]}),
                            )
                            .is_err()
                            {
                                return;
                            }
                            known.lock().unwrap().deleted.insert(number);
                        }
                    }
                }
            });
            // after so many answers, which are others in each round and the same in every run
            let count = || {
                let known = known.lock().unwrap();
                known.put.len() + known.sent.len()
            };
            let enough = count() + 60 + usize::try_from((round * 7919) % 97).unwrap();
            while count() < enough {
                thread::sleep(Duration::from_millis(1));
            }
            child.kill().unwrap();
            child.wait().unwrap();
        });
        tried = first;
    }
    let known = known.into_inner().unwrap();
    assert!(
        known.put.len() > 100 && known.sent.len() > 100 && known.deleted.len() > 10,
        "there was load"
    );

    let place = Place::at(directory);
    for number in &known.put {
        assert_eq!(
            place.store.object("records", &number.to_string()),
            Some(("text/plain".into(), expected(*number).into_bytes()))
        );
    }
    // what was under way when it was killed is there whole, or not at all
    for round in (0..=tried).step_by(1_000_000) {
        for number in round..round + 100_000 {
            match place.store.object("records", &number.to_string()) {
                Some((_, body)) => assert_eq!(body, expected(number).into_bytes()),
                None if known.put.contains(&number) => panic!("{number} is gone"),
                None if number
                    > known
                        .put
                        .range(..round + 1_000_000)
                        .next_back()
                        .copied()
                        .unwrap_or(round)
                        + 4 =>
                {
                    break;
                }
                None => {}
            }
        }
    }
    let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
    let mut left = BTreeSet::new();
    let receive =
        json!({"MaxNumberOfMessages": 10, "VisibilityTimeout": 600, "WaitTimeSeconds": 3});
    loop {
        let got = sqs(&agent, &place.endpoint, "ReceiveMessage", receive.clone()).unwrap();
        let Some(messages) = got["Messages"].as_array() else { break };
        for message in messages {
            let body = message["Body"].as_str().unwrap();
            assert_eq!(body, expected(number(body)));
            assert!(left.insert(number(body)), "{} is there twice", number(body));
        }
    }
    let gone: Vec<_> = known
        .sent
        .iter()
        .filter(|n| !left.contains(n) && !known.tried_to_delete.contains(n))
        .collect();
    assert_eq!(gone, [&0; 0], "sent, answered, and lost");
    let back: Vec<_> = known.deleted.iter().filter(|n| left.contains(n)).collect();
    assert_eq!(back, [&0; 0], "deleted, answered, and back");
    assert_eq!(std::fs::read_dir(place.directory.path().join("tmp")).unwrap().count(), 0);
}
