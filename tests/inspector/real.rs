//! The real `routeto dev`, as a process of its own: samples posted to it, and its page in a
//! browser.

use super::browser::{self, Browser};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const STACK: &str = r#"
stack: webhooks
region: us-east-1
routes:
  /input:
    accept: [application/json, multipart/form-data, text/plain, application/octet-stream]
    s3: { bucket: "webhooks-${stage}", prefix: SendGrid/ }
  /lines:
    s3: { bucket: "webhooks-${stage}", prefix: lines/, format: ndjson }
  /mail:
    accept: [multipart/form-data, application/json, application/x-www-form-urlencoded]
    sqs: { queue: "mail-${stage}" }
  /text:
    sqs: { queue: "text-${stage}", format: body }
stages:
  dev: {}
  prod: {}
"#;

pub struct Dev {
    pub directory: TempDir,
    child: Child,
    pub url: String,
    key: String,
    token: String,
}

fn routeto(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_routeto"));
    command
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", directory);
    command
}

impl Dev {
    pub fn start() -> Dev {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("stack.yaml"), STACK).unwrap();
        let mut command = routeto(directory.path());
        let mut child = command
            .args(["dev", "stack.yaml", "--port", "0", "-q"])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let read = |name: &str| -> Option<Value> {
            serde_json::from_slice(
                &std::fs::read(directory.path().join(".routeto").join(name)).ok()?,
            )
            .ok()
        };
        let start = Instant::now();
        let running = loop {
            if let Some(running) = read("dev.json") {
                break running;
            }
            assert!(
                child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(60),
                "routeto dev doesn't start"
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        let token = read("tokens.json").unwrap()["dev"].as_str().unwrap().to_owned();
        let key = running["key"].as_str().unwrap().to_owned();
        Dev { key, url: running["url"].as_str().unwrap().to_owned(), child, token, directory }
    }

    fn routeto(&self, args: &[&str]) -> Output {
        // A proxy that isn't there: what is on this machine is reached without one.
        routeto(self.directory.path())
            .args(args)
            .env("HTTP_PROXY", "http://127.0.0.1:1")
            .output()
            .unwrap()
    }

    fn post(&self, target: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = headers
            .iter()
            .fold(agent.post(format!("{}{target}", self.url)), |request, (name, value)| {
                request.header(*name, *value)
            });
        request.send(body).unwrap().status().as_u16()
    }

    fn get(&self, path: &str) -> ureq::http::Response<ureq::Body> {
        let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
        agent
            .get(format!("{}/_routeto/api/{path}", self.url))
            .header("x-routeto-key", &self.key)
            .call()
            .unwrap()
    }

    /// The exchange as the page gets it.
    fn exchange(&self, id: u64) -> Value {
        let answer = self.get(&format!("requests/{id}"));
        serde_json::from_slice(
            &answer.into_body().with_config().limit(64 << 20).read_to_vec().unwrap(),
        )
        .unwrap()
    }

    fn stored(&self, id: u64) -> Vec<u8> {
        let answer = self.get(&format!("requests/{id}/record"));
        answer.into_body().with_config().limit(64 << 20).read_to_vec().unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn samples_of_every_provider_reach_a_running_dev_and_are_read_back() {
    let dev = Dev::start();
    let output = dev.routeto(&["test", "stack.yaml", "--stage", "dev", "--output", "json"]);
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!((output.status.code(), &said["target"]), (Some(0), &json!("dev")), "{said:#}");
    let results = said["results"].as_array().unwrap().iter();
    let results: Vec<Value> = results
        .map(|result| {
            json!([
                result["route"],
                result["provider"],
                result["coding"],
                result["ok"],
                result["status"],
                result["proof"]
            ])
        })
        .collect();
    let enveloped = "read back: the very bytes, in an envelope";
    assert_eq!(
        results,
        [
            json!(["/input", "sendgrid-events", null, true, 200, "read back: the very bytes"]),
            json!(["/input", "sendgrid-events", "gzip", true, 200, "read back: the very bytes"]),
            json!(["/input", "sendgrid-inbound", null, true, 200, "read back: the very bytes"]),
            json!([
                "/lines",
                "sendgrid-events",
                null,
                true,
                200,
                "read back: a line for each element"
            ]),
            json!(["/mail", "sendgrid-events", null, true, 200, enveloped]),
            json!(["/mail", "twilio", null, true, 200, enveloped]),
            json!(["/mail", "sendgrid-inbound", null, true, 200, enveloped]),
            json!(["/text", "sendgrid-events", null, true, 200, "read back: the very bytes"]),
        ]
    );
    for provider in ["github", "stripe", "twilio", "slack", "shopify"] {
        let output = dev.routeto(&[
            "test",
            "stack.yaml",
            "--stage",
            "prod",
            "--route",
            "/mail",
            "--provider",
            provider,
            "--output",
            "json",
        ]);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (output.status.code(), &said["results"][0]["proof"]),
            (Some(0), &json!(enveloped)),
            "{provider}: {said:#}"
        );
    }
    let text = dev.routeto(&["test", "stack.yaml", "--route", "/lines"]);
    let text = String::from_utf8(text.stdout).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.split(" in ").next().unwrap())
        .filter(|line| !line.starts_with(' '))
        .collect();
    let both = |stage: &str| {
        ["sendgrid-events        ", "sendgrid-events, gzip'd"]
            .map(|sample| format!("ok      {stage}  /lines  {sample}  200"))
    };
    assert_eq!(lines, [both("dev "), both("prod")].concat());
    assert!(!text.contains(&dev.token));
    // The stage is asked for; a `dev` that is gone is not, and there is no account here.
    let (directory, nobody) =
        (dev.directory.path().to_owned(), dev.directory.path().join("nobody"));
    std::fs::create_dir(&nobody).unwrap();
    std::fs::copy(directory.join("stack.yaml"), nobody.join("stack.yaml")).unwrap();
    let alone = routeto(&nobody)
        .args(["test", "stack.yaml"])
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .unwrap();
    assert_eq!(
        (alone.status.code(), alone.stdout.len()),
        (Some(1), 0),
        "{}",
        String::from_utf8_lossy(&alone.stderr)
    );
}

const SCRIPT: &str = "<script>window.__pwned=1</script>";
const IMAGE: &str = "\"><img src=x onerror=window.__pwned=2>";

#[test]
#[ignore = "needs Chromium and chromedriver"]
fn the_page_of_a_real_dev_shows_sends_and_copies_and_runs_nothing_that_came() {
    let dev = Dev::start();
    let browser = Browser::start();
    browser.size(1280, 800);
    browser.cdp("Browser.grantPermissions", json!({"origin": dev.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}));
    browser.enter(&format!("{}/_routeto#key={}", dev.url, dev.key));
    let shows = |id: u64| {
        browser.wait(&format!("state.exchange?.id === {id} && document.querySelector('.facts span:last-child').textContent === '#{id}'"))
    };
    browser.click("#send-first");
    shows(1);
    assert_eq!(browser.text(".top .status"), "200");

    // Hostile through the real gateway, in every field that HTTP lets through.
    let both = format!("{SCRIPT}{IMAGE}");
    let encoded: String = both.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mail = format!(
        "--b\r\nContent-Disposition: form-data; name=\"{SCRIPT}\"; filename=\"<img src=x onerror=window.__pwned=3>\"\r\nContent-Type: text/html\r\n\r\n{both}\r\n--b--\r\n"
    );
    let token = &dev.token;
    let json_body = json!({ &both: &both }).to_string();
    let sent = [
        dev.post(
            &format!("/dev/input?token={token}&app=x&{encoded}={encoded}"),
            &[("content-type", "application/json"), ("x-hostile", &both)],
            json_body.as_bytes(),
        ),
        dev.post(
            &format!("/dev/input?token={token}&app={encoded}"),
            &[("content-type", "application/json")],
            b"{}",
        ),
        dev.post(
            &format!("/dev/mail?token={token}"),
            &[("content-type", "multipart/form-data; boundary=b"), ("user-agent", &both)],
            mail.as_bytes(),
        ),
        dev.post(
            &format!("/{encoded}/{encoded}?{encoded}"),
            &[("content-type", &both)],
            both.as_bytes(),
        ),
        dev.post(
            &format!("/dev/input?token={token}&app=x"),
            &[("content-type", "text/plain"), ("referer", &both)],
            both.as_bytes(),
        ),
        dev.post(
            "/dev/input?token=wrong",
            &[("content-type", "application/json")],
            json_body.as_bytes(),
        ),
    ];
    assert_eq!(sent, [200, 400, 200, 403, 200, 401]);
    browser.wait("state.all.length === 7");
    for id in 2..=7 {
        browser.run(&format!("open({id})"));
        shows(id);
        browser.run("for (const view of document.querySelectorAll('.views button, #show-record')) view.click()");
        browser.wait("!document.querySelector('#show-record')");
        browser.run("for (const view of document.querySelectorAll('.views button')) view.click()");
        browser.run("edit()");
        browser.run("document.querySelector('#edit').close()");
    }
    assert_eq!(browser.troubles(), browser::none());
    // No token is in what the page was given, but for the one that was asked for.
    let page = browser.run("return document.documentElement.outerHTML");
    assert!(!page.as_str().unwrap().contains(token.as_str()));

    // Sent again, the record is the same; edited, it is what was typed.
    browser.run("open(2)");
    shows(2);
    browser.click("#again");
    shows(8);
    let (one, two) = (dev.exchange(2), dev.exchange(8));
    for field in ["method", "path", "query", "body", "token"] {
        assert_eq!(one["request"][field], two["request"][field], "{field}");
    }
    // Its length is the sender's to say.
    let headers = |exchange: &Value| {
        let headers = exchange["request"]["headers"].as_array().unwrap().iter();
        headers.filter(|header| header[0] != "content-length").cloned().collect::<Vec<_>>()
    };
    assert_eq!(headers(&one), headers(&two));
    assert_eq!(
        (two["status"].clone(), dev.stored(8)),
        (json!(200), json_body.clone().into_bytes())
    );
    browser.click("#edit-send");
    browser.clear("#edit-body");
    browser.type_into("#edit-body", "{\"typed\": 1.50}");
    browser.click("#edit-go");
    shows(9);
    assert_eq!(dev.stored(9), b"{\"typed\": 1.50}");

    // A copied command, run by a real shell, stores the same bytes.
    let every: Vec<u8> = (0..=255).collect();
    for body in [&every[..], b"it's $HOME `id` \\ \"quoted\"\n", b""] {
        assert_eq!(
            dev.post(
                &format!("/dev/input?token={token}&app=it's%20%24x"),
                &[("content-type", "application/octet-stream")],
                body
            ),
            400,
            "an app has no blanks"
        );
        assert_eq!(
            dev.post(
                &format!("/dev/input?token={token}&app=x"),
                &[("content-type", "application/octet-stream")],
                body
            ),
            200
        );
        let id = browser
            .until("return state.all[0].id", |id| {
                dev.exchange(id.as_u64().unwrap())["status"] == 200
            })
            .as_u64()
            .unwrap();
        browser.run(&format!("open({id})"));
        shows(id);
        browser.run("document.querySelector('#toast').textContent = ''");
        browser.click("#as-curl");
        browser.wait("document.querySelector('#toast').textContent === \"Copied the command, with the stage's token\"");
        let script = dev.directory.path().join("pasted");
        std::fs::write(&script, browser.clipboard()).unwrap();
        let ran = Command::new("sh").arg(&script).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ran.stderr), "");
        let said: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(said["result"], "success");
        browser.wait(&format!("state.all[0].id === {}", id + 1));
        assert_eq!(dev.stored(id + 1), body);
    }

    // Load, and the list after a reload.
    let before = browser.run("return state.all.length").as_u64().unwrap();
    browser.run("window.__gap = 0");
    let start = Instant::now();
    for n in 0..500_u32 {
        assert_eq!(
            dev.post(
                &format!("/dev/input?token={token}"),
                &[("content-type", "application/json")],
                format!("{{\"n\":{n}}}").as_bytes()
            ),
            200
        );
        std::thread::sleep((Duration::from_millis(20) * n).saturating_sub(start.elapsed()));
    }
    browser.wait(&format!("state.all.length === {}", before + 500));
    let gap = browser.run("return window.__gap");
    assert!(gap.as_f64().unwrap() < 5000.0, "{gap}");
    browser.reload();
    browser.wait(&format!(
        "document.querySelector('#count')?.textContent === '{} requests'",
        before + 500
    ));
    assert_eq!(browser.troubles(), browser::none());
}

#[test]
#[ignore = "needs Chromium and chromedriver"]
fn a_stored_record_that_a_website_or_a_person_opens_runs_nothing_and_is_not_shown_to_the_website() {
    let dev = Dev::start();
    let running: Value = serde_json::from_slice(
        &std::fs::read(dev.directory.path().join(".routeto/dev.json")).unwrap(),
    )
    .unwrap();
    let endpoint = running["endpoint"].as_str().unwrap();
    // What it would do: read all buckets, and tell.
    let html = "<body>the record<script>document.title = 'ran'; fetch('/').then(r => r.text()).then(t => document.title = t)</script>";
    assert_eq!(
        dev.post(
            &format!("/dev/input?token={}", dev.token),
            &[("content-type", "text/plain")],
            html.as_bytes()
        ),
        200
    );
    let record = dev.exchange(1)["record"].clone();
    let url = format!(
        "{endpoint}/{}/{}",
        record["bucket"].as_str().unwrap(),
        record["key"].as_str().unwrap()
    );
    let browser = Browser::start();
    let text = |browser: &Browser| {
        browser.run("return document.body.innerText").as_str().unwrap().to_owned()
    };
    // A link of another site, and one of another port of this machine.
    let refused = "the local S3 and SQS answer no web page";
    browser.open(&format!("data:text/html,<a id=go href=\"{url}\">go</a>"));
    browser.click("#go");
    browser
        .wait(&format!("location.href === {} && document.readyState === 'complete'", json!(url)));
    assert!(text(&browser).contains(refused), "{}", text(&browser));
    browser.enter(&format!("{}/_routeto#key={}", dev.url, dev.key));
    browser.run(&format!("location.href = {}", json!(url)));
    browser
        .wait(&format!("location.href === {} && document.readyState === 'complete'", json!(url)));
    assert!(text(&browser).contains(refused), "{}", text(&browser));
    // As a person types it. No signature is verified, so one may be made up: a browser's doesn't
    // count.
    for signature in ["", "&X-Amz-Credential=x&X-Amz-Signature=x"] {
        browser.open(&format!("{url}?response-content-type=text/html{signature}"));
        browser.wait("document.readyState === 'complete'");
        assert!(
            text(&browser).contains("anonymous GET requests"),
            "{signature}: {}",
            text(&browser)
        );
    }
}
