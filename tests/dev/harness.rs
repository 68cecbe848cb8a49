//! A `routeto dev` of a test's own, in a directory of its own, on free ports; ended with the test.

use crate::support::http::{self, Answer, Raw, post_with};
use crate::support::{Signal, query, root};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const JSON: &str = "application/json";
/// A debug build on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with a stack file.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new(yaml: &str) -> Self {
        let place = Self { dir: tempfile::Builder::new().prefix("dev-").tempdir().unwrap() };
        place.file("stack.yaml", yaml);
        place
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// As an editor does: a new file in the old one's place.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = self.path().join(format!("{name}.new"));
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// `routeto dev stack.yaml <options>` with an environment that has nothing of AWS's in it.
    pub fn command(&self, options: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_routeto"));
        command.env_clear().env("HOME", self.path()).env("PATH", std::env::var_os("PATH").unwrap());
        command
            .current_dir(self.path())
            .args(["dev", "stack.yaml"])
            .args(options.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn dev(&self) -> Dev {
        self.dev_with("", &[])
    }

    pub fn dev_with(&self, options: &str, env: &[(&str, &str)]) -> Dev {
        let mut command = self.command(&format!("--port 0 --output json --show-token {options}"));
        command.envs(env.iter().copied());
        Dev::of(command)
    }

    /// Runs it to its end: exit code, stdout, stderr.
    pub fn fails(&self, options: &str) -> (i32, String, String) {
        let output = self.command(options).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }
}

/// A server at work.
pub struct Dev {
    child: Child,
    /// What it printed when it was ready.
    pub ready: Value,
    log: Arc<Mutex<String>>,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Dev {
    pub fn of(mut command: Command) -> Dev {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (mut stderr, kept) = (child.stderr.take().unwrap(), log.clone());
        thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        thread::spawn(move || stdout.lines().for_each(drop));
        let ready = serde_json::from_str(&line).unwrap_or_else(|e| {
            sleep(Duration::from_millis(200));
            panic!("not ready ({e}): {line:?}\n{}", log.lock().unwrap())
        });
        Dev { child, ready, log }
    }

    pub fn url(&self, stage: &str, route: &str) -> String {
        let url = &self.ready["stages"][stage]["routes"][route];
        url.as_str().unwrap_or_else(|| panic!("no {route} on {stage}: {:#}", self.ready)).to_owned()
    }

    pub fn base(&self) -> &str {
        self.ready["url"].as_str().unwrap()
    }

    pub fn endpoint(&self) -> &str {
        self.ready["endpoint"].as_str().unwrap()
    }

    pub fn token(&self, stage: &str) -> String {
        self.ready["stages"][stage]["token"]
            .as_str()
            .unwrap_or_else(|| panic!("no token of {stage}: {:#}", self.ready))
            .to_owned()
    }

    /// With the right token and whatever else.
    pub fn url_with(&self, stage: &str, route: &str, more: &[(&str, &str)]) -> String {
        let token = self.token(stage);
        let pairs: Vec<(&str, &str)> =
            std::iter::once(("token", token.as_str())).chain(more.iter().copied()).collect();
        self.url(stage, route) + &query(&pairs)
    }

    pub fn post(&self, stage: &str, route: &str, content_type: &str, body: &[u8]) -> Answer {
        post_with(&self.url_with(stage, route, &[]), &[("content-type", content_type)], body)
    }

    /// As `post`; the record's id.
    pub fn store(&self, stage: &str, route: &str, content_type: &str, body: &[u8]) -> String {
        crate::support::stack::stored(&self.post(stage, route, content_type, body))
    }

    /// The key of the inspector, from the address that it printed.
    pub fn key(&self) -> &str {
        self.ready["page"].as_str().unwrap().split_once("#key=").unwrap().1
    }

    /// What the page's API answers.
    pub fn api(&self, path: &str) -> Answer {
        let url = format!("{}/_routeto/api/{path}", self.base());
        http::get_with(&url, &[("x-routeto-key", self.key())]).unwrap()
    }

    /// What the page is told of the server.
    pub fn overview(&self) -> Value {
        self.api("overview").json()
    }

    /// All that it said so far on stderr.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The JSON lines of stderr.
    pub fn events(&self) -> Vec<Value> {
        let log = self.log();
        // The last line may be half there.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|e| panic!("no JSON line ({e}): {line}"))
            })
            .collect()
    }

    /// Waits until stderr has an event that fits.
    pub fn event(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.events().into_iter().rev().find(|event| fits(event)) {
                return event;
            }
            assert!(Instant::now() < deadline, "no {what} in:\n{}", self.log());
            sleep(Duration::from_millis(10));
        }
    }

    /// Where the record with this id is: an object's `s3://bucket/key`.
    pub fn place(&self, id: &str) -> String {
        let stored = |event: &Value| {
            event["stored"]
                .as_str()
                .is_some_and(|place| place.starts_with("s3://") && place.contains(id))
        };
        self.event(&format!("record {id}"), stored)["stored"].as_str().unwrap().to_owned()
    }

    /// Key, content type and bytes of the object with this id.
    pub fn object(&self, id: &str) -> (String, String, Vec<u8>) {
        let place = self.place(id);
        let path = place.strip_prefix("s3://").unwrap();
        let answer = http::get(&format!("{}/{path}", self.endpoint())).unwrap();
        assert_eq!(answer.status, 200, "{place}: {}", answer.text());
        let key = path.split_once('/').unwrap().1.to_owned();
        (key, answer.header("content-type").unwrap_or_default().to_owned(), answer.body)
    }

    /// The keys of a bucket; `None` where there is none.
    pub fn keys(&self, bucket: &str) -> Option<Vec<String>> {
        let mut keys = Vec::new();
        let mut after = String::new();
        loop {
            let answer =
                http::get(&format!("{}/{bucket}?list-type=2&start-after={after}", self.endpoint()))
                    .unwrap();
            if answer.status == 404 {
                return None;
            }
            let text = answer.text();
            let found: Vec<String> = text
                .split("<Key>")
                .skip(1)
                .map(|rest| rest.split("</Key>").next().unwrap().to_owned())
                .collect();
            keys.extend(found.iter().cloned());
            match found.last() {
                Some(last) if text.contains("<IsTruncated>true") => {
                    after = last.replace('/', "%2F")
                }
                _ => return Some(keys),
            }
        }
    }

    pub fn sqs(&self, operation: &str, arguments: &Value) -> Value {
        let headers = [
            ("x-amz-target", format!("AmazonSQS.{operation}")),
            ("content-type", "application/x-amz-json-1.0".to_owned()),
        ];
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer =
            post_with(&format!("{}/", self.endpoint()), &headers, arguments.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{operation} {arguments}: {}", answer.text());
        if answer.body.is_empty() { json!({}) } else { answer.json() }
    }

    /// Takes every message out of a queue; their bodies.
    pub fn receive(&self, queue: &str) -> Vec<String> {
        let url = format!("{}/123456789012/{queue}", self.endpoint());
        let mut bodies = Vec::new();
        loop {
            let got =
                self.sqs("ReceiveMessage", &json!({"QueueUrl": url, "MaxNumberOfMessages": 10}));
            let Some(messages) = got["Messages"].as_array().filter(|messages| !messages.is_empty())
            else {
                return bodies;
            };
            for message in messages {
                bodies.push(message["Body"].as_str().unwrap().to_owned());
                self.sqs(
                    "DeleteMessage",
                    &json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}),
                );
            }
        }
    }

    pub fn only_message(&self, queue: &str) -> String {
        let mut messages = self.receive(queue);
        assert_eq!(messages.len(), 1, "one message in {queue}: {messages:#?}");
        messages.remove(0)
    }

    /// Attributes of a queue.
    pub fn attributes(&self, queue: &str) -> Value {
        let url = format!("{}/123456789012/{queue}", self.endpoint());
        self.sqs("GetQueueAttributes", &json!({"QueueUrl": url, "AttributeNames": ["All"]}))["Attributes"].take()
    }

    /// Bytes that it had in memory at most, ever. Source: proc_pid_status(5), `VmHWM`.
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    pub fn signal(&self, signal: Signal) {
        crate::support::signal(self.child.id(), signal);
    }

    /// The exit code, once it is there.
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it doesn't end:\n{}", self.log());
            sleep(Duration::from_millis(5));
        }
    }

    pub fn stop(mut self) -> Option<i32> {
        self.signal(Signal::INT);
        self.wait()
    }

    pub fn raw(&self, stage: &str, route: &str) -> Raw {
        Raw::post(&self.url(stage, route)).header("Content-Type", JSON)
    }
}

/// A template of the repository's.
pub fn recipe(name: &str) -> Vec<u8> {
    std::fs::read(root().join("mapping-templates/recipes").join(name)).unwrap()
}

pub fn directory(place: &Place) -> PathBuf {
    place.path().join(".routeto")
}
