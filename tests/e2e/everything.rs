//! One deployed stack with a route of every kind, for the tests that only send requests: deployed
//! once a process, and never changed by any of them.

use crate::support::http::Answer;
use crate::support::{Deployed, Object, Stack, aws};
use std::sync::OnceLock;

pub const YAML: &str = r#"
stack: NAME
function: { timeout: 25 }
routes:
  /raw:
    s3: { bucket: "NAME-${stage}", prefix: raw/ }
  /allow:
    s3: { bucket: "NAME-${stage}", prefix: allow/, allow: ["NAME-archive/teamA"] }
  /hostile:
    accept: [application/json, text/plain, application/x-www-form-urlencoded]
    s3: { bucket: "NAME-${stage}", prefix: hostile/, allow: ["NAME-archive/teamA"] }
  /lines:
    s3: { bucket: "NAME-${stage}", prefix: lines/, format: ndjson }
  /envelope:
    s3: { bucket: "NAME-${stage}", prefix: envelope/, format: envelope }
  /any:
    accept: [application/json, text/plain, application/x-www-form-urlencoded, multipart/form-data, application/octet-stream]
    s3: { bucket: "NAME-${stage}", prefix: any/ }
  /events:
    sqs: { queue: "NAME-events-${stage}" }
  /large:
    sqs: { queue: "NAME-large-${stage}" }
  /plain:
    accept: [application/json, text/plain]
    sqs: { queue: "NAME-plain-${stage}", format: body }
  /mail:
    accept: [multipart/form-data]
    sqs: { queue: "NAME-mail-${stage}" }
  /big-mail:
    accept: [multipart/form-data]
    sqs: { queue: "NAME-big-mail-${stage}" }
  /empty:
    accept: [application/json, text/plain]
    sqs: { queue: "NAME-empty-${stage}" }
  /hostile-queue:
    accept: [application/json, text/plain]
    sqs: { queue: "NAME-hostile-${stage}" }
  /hostile-text:
    accept: [application/json, text/plain]
    sqs: { queue: "NAME-hostile-text-${stage}" }
  /open:
    token: none
    sqs: { queue: "NAME-open-${stage}" }
stages:
  prod: {}
"#;

pub struct Everything {
    pub stack: Stack,
    pub deployed: Deployed,
}

pub fn everything() -> &'static Everything {
    static EVERYTHING: OnceLock<Everything> = OnceLock::new();
    EVERYTHING.get_or_init(|| {
        let stack = Stack::new(YAML);
        aws::create_bucket(&format!("{}-archive", stack.name));
        let deployed = stack.deploy();
        Everything { stack, deployed }
    })
}

impl Everything {
    pub fn bucket(&self) -> String {
        format!("{}-prod", self.stack.name)
    }

    pub fn archive(&self) -> String {
        format!("{}-archive", self.stack.name)
    }

    pub fn queue(&self, name: &str) -> String {
        format!("{}-{name}-prod", self.stack.name)
    }

    pub fn post(&self, route: &str, content_type: &str, body: &[u8]) -> Answer {
        self.deployed.post("prod", route, content_type, body)
    }

    pub fn store(&self, route: &str, content_type: &str, body: &[u8]) -> String {
        self.deployed.store("prod", route, content_type, body)
    }

    /// The object that the answer with this id speaks of.
    pub fn object(&self, prefix: &str, id: &str) -> Object {
        let keys = aws::keys(&self.bucket()).unwrap();
        let found: Vec<&String> =
            keys.iter().filter(|key| key.starts_with(prefix) && key.contains(id)).collect();
        let [key] = found[..] else { panic!("one object {prefix}*{id} in {keys:?}") };
        aws::object(&self.bucket(), key)
    }
}
