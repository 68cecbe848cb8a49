//! A stack of a test's own: a name that no other test has, a directory with its file and templates,
//! a token for each stage.

use super::emulator::{ACCOUNT, REGION};
use super::http::{Answer, post, query};
use super::run::Routeto;
use super::world::World;
use super::{Emulator, Proxy, target};
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

pub struct Stack {
    /// Unique in the emulator's account.
    pub name: String,
    dir: TempDir,
    endpoint: String,
}

/// Never two of one name, in whatever process and run.
pub fn unique_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
        & 0xff_ffff;
    format!("e{:x}-{time:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The token that a test's stage gets.
pub fn token(stage: &str) -> String {
    format!("{stage}-Token_0123456789.~")
}

impl Stack {
    /// A stack file; `NAME` in it becomes the stack's name.
    pub fn new(yaml: &str) -> Self {
        function_is_built();
        let dir =
            tempfile::Builder::new().prefix("stack-").tempdir().expect("a temporary directory");
        let stack = Stack { name: unique_name(), dir, endpoint: Emulator::shared().endpoint() };
        stack.rewrite(yaml);
        stack
    }

    /// As `new`, with every call of routeto going through this proxy.
    pub fn through(proxy: &Proxy, yaml: &str) -> Self {
        Stack { endpoint: proxy.url(), ..Self::new(yaml) }
    }

    /// A second file of the same name: another person's, or the same one's after an edit elsewhere.
    pub fn twin(&self, yaml: &str) -> Self {
        let dir =
            tempfile::Builder::new().prefix("stack-").tempdir().expect("a temporary directory");
        let stack = Stack { name: self.name.clone(), dir, endpoint: self.endpoint.clone() };
        stack.rewrite(yaml);
        stack
    }

    pub fn rewrite(&self, yaml: &str) {
        self.file("stack.yaml", self.fill(yaml));
    }

    /// The text with the stack's name for `NAME`.
    pub fn fill(&self, text: &str) -> String {
        text.replace("NAME", &self.name)
    }

    /// A file beside the stack file.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.dir.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a directory in a temporary directory");
        }
        fs::write(path, content).expect("a file in a temporary directory");
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `routeto <verb> stack.yaml <options>`, with both usual stages' tokens in the environment and
    /// the order never to print them.
    pub fn routeto(&self, verb: &str, options: &str) -> Routeto {
        let zip = function_zip()
            .filter(|_| ["deploy", "plan"].contains(&verb) && !options.contains("--function-zip"));
        let zip = zip.map_or(String::new(), |path| format!("--function-zip {path}"));
        ["dev", "prod"].iter().fold(
            Routeto::new(self.path())
                .env("AWS_ENDPOINT_URL", &self.endpoint)
                .args(verb)
                .arg("stack.yaml")
                .args(options)
                .args(&zip),
            |routeto, stage| {
                routeto
                    .env(&format!("ROUTETO_TOKEN_{}", stage.to_uppercase()), token(stage))
                    .secret(token(stage))
            },
        )
    }

    pub fn deploy(&self) -> Deployed {
        self.deploy_with("")
    }

    pub fn deploy_with(&self, options: &str) -> Deployed {
        Deployed(self.routeto("deploy", options).json())
    }

    pub fn teardown(&self) -> Value {
        self.routeto("teardown", "--yes --delete-data").json()
    }

    pub fn world(&self) -> World {
        World::of(&self.name)
    }
}

/// What `deploy --output json` printed.
#[derive(Clone, Debug)]
pub struct Deployed(pub Value);

impl Deployed {
    /// The URL of a route on a stage, without the token.
    pub fn url(&self, stage: &str, route: &str) -> String {
        self.0["stages"][stage]["routes"][route]
            .as_str()
            .unwrap_or_else(|| panic!("no URL of {route} on {stage}: {:#}", self.0))
            .to_owned()
    }

    /// The API's id.
    pub fn api_id(&self) -> String {
        let url = self.0["stages"]
            .as_object()
            .and_then(|stages| stages.values().next()?["url"].as_str())
            .unwrap_or_default();
        let id = url.split("/execute-api/").nth(1).and_then(|rest| rest.split('/').next());
        id.unwrap_or_else(|| panic!("no API in {url:?}: {:#}", self.0)).to_owned()
    }

    /// With the token and whatever else.
    pub fn url_with(&self, stage: &str, route: &str, more: &[(&str, &str)]) -> String {
        let token = token(stage);
        let pairs: Vec<(&str, &str)> =
            std::iter::once(("token", token.as_str())).chain(more.iter().copied()).collect();
        self.url(stage, route) + &query(&pairs)
    }

    /// POSTs these bytes with the right token.
    pub fn post(&self, stage: &str, route: &str, content_type: &str, body: &[u8]) -> Answer {
        post(&self.url_with(stage, route, &[]), content_type, body)
    }

    /// As `post`; the record's id of a 200, and the end of the test for anything else.
    pub fn store(&self, stage: &str, route: &str, content_type: &str, body: &[u8]) -> String {
        stored(&self.post(stage, route, content_type, body))
    }

    /// Names under `changes.<what>`.
    pub fn changes(&self, what: &str) -> &Value {
        &self.0["changes"][what]
    }
}

/// The record's id in an answer that says that it is stored.
pub fn stored(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    assert_eq!(json["result"], "success", "{json}");
    json["id"].as_str().unwrap_or_else(|| panic!("no id in {json}")).to_owned()
}

/// `<name>-<account>-<region>`, as a test's bucket is called.
pub fn bucket(stack: &Stack, stage: &str) -> String {
    format!("{}-{ACCOUNT}-{REGION}-{stage}", stack.name)
}

/// A zip to deploy instead of building one, to save minutes while something else than the function
/// is worked on.
fn function_zip() -> Option<String> {
    std::env::var("ROUTETO_TEST_FUNCTION_ZIP").ok()
}

/// The function is built once for all tests of all processes: cargo at eight at once would only
/// take turns.
fn function_is_built() {
    static BUILT: OnceLock<()> = OnceLock::new();
    if function_zip().is_some() {
        return;
    }
    BUILT.get_or_init(|| {
        let lock = File::options()
            .create(true)
            .append(true)
            .open(target().join("routeto-cache.lock"))
            .expect("target can be written to");
        lock.lock().expect("a file can be locked");
        Routeto::bare(super::root()).args("package").check();
    });
}

/// An IAM user who may do what this policy allows and nothing else; its access key. The emulator
/// checks no signatures, so any secret goes with it.
pub fn user(name: &str, policy: &Value) -> String {
    super::aws::call("iam", "create_user", serde_json::json!({ "UserName": name }));
    let document = policy.to_string();
    super::aws::call(
        "iam",
        "put_user_policy",
        serde_json::json!({"UserName": name, "PolicyName": "all", "PolicyDocument": document}),
    );
    let made =
        super::aws::call("iam", "create_access_key", serde_json::json!({ "UserName": name }));
    made["AccessKey"]["AccessKeyId"].as_str().expect("IAM gives a key").to_owned()
}
