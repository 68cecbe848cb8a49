//! `routeto test`: providers' samples through a deployed stage, read back. And the two others that
//! reach from the laptop into the account: `dev --destinations aws` and `tail --from aws`.

use crate::support::{Emulator, Proxy, Stack, aws, http, query, soon, stack};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

const YAML: &str = r#"
stack: NAME
routes:
  /input:
    accept: [application/json, application/x-www-form-urlencoded, multipart/form-data]
    s3: { bucket: "NAME-${account}-${stage}", prefix: SendGrid/ }
  /lines:
    s3: { bucket: "NAME-${account}-${stage}", prefix: lines/, format: ndjson }
  /mail:
    accept: [multipart/form-data]
    sqs: { queue: "NAME-mail-${stage}" }
  /slack:
    accept: [application/json, application/x-www-form-urlencoded]
    s3: { bucket: "NAME-${account}-${stage}", prefix: slack/ }
stages:
  dev: {}
"#;

/// A proxy that lets nothing through: its URL, and what ends it and gives the first line of each
/// request.
fn connect_proxy() -> (String, impl FnOnce() -> Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let mut asked = vec![];
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            if line.is_empty() {
                break;
            }
            asked.push(line.trim_end().to_owned());
            stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").unwrap();
        }
        asked
    });
    let end = move || {
        // a connection that asks for nothing
        drop(TcpStream::connect(address).unwrap());
        served.join().unwrap()
    };
    (format!("http://{address}"), end)
}

/// The results without what differs from run to run: stage, route, provider, ok, status, the
/// record's beginning, the proof.
fn results(said: &Value) -> Vec<Value> {
    let results = said["results"].as_array().unwrap().iter();
    results
        .map(|result| {
            // An object's key ends with `_<milliseconds>_<request id>`.
            let begin = |place: &str| {
                if place.starts_with("s3://") {
                    place.rsplitn(3, '_').last().unwrap().to_owned()
                } else {
                    place.to_owned()
                }
            };
            let place = result["record"].as_str().map(begin);
            json!([
                result["stage"],
                result["route"],
                result["provider"],
                result["ok"],
                result["status"],
                place,
                result["proof"]
            ])
        })
        .collect()
}

#[test]
fn samples_go_through_a_deployed_stage_and_what_is_stored_is_read_back() {
    let stack = Stack::new(YAML);
    let nowhere = stack.routeto("test", "").fails(1, &["isn't deployed", "routeto deploy"]);
    assert!(!nowhere.contains("panicked"));
    stack.deploy();
    let bucket = format!("{}-000000000000-dev", stack.name);
    let said = stack.routeto("test", "").json();
    assert_eq!(
        (&said["version"], &said["stack"], &said["target"]),
        (&json!(1), &json!(stack.name), &json!("deployed"))
    );
    let object = |prefix: &str| format!("s3://{bucket}/{prefix}/routeto-test");
    let queued =
        "queued: the answer has its id (not read back: that would take it from its consumers)";
    assert_eq!(
        results(&said),
        [
            json!([
                "dev",
                "/input",
                "sendgrid-events",
                true,
                200,
                object("SendGrid"),
                "read back: the very bytes"
            ]),
            json!([
                "dev",
                "/input",
                "twilio",
                true,
                200,
                object("SendGrid"),
                "read back: the very bytes"
            ]),
            json!([
                "dev",
                "/input",
                "sendgrid-inbound",
                true,
                200,
                object("SendGrid"),
                "read back: the very bytes"
            ]),
            json!([
                "dev",
                "/lines",
                "sendgrid-events",
                true,
                200,
                object("lines"),
                "read back: a line for each element"
            ]),
            json!([
                "dev",
                "/mail",
                "sendgrid-inbound",
                true,
                200,
                format!("{}-mail-dev", stack.name),
                queued
            ]),
            // What Slack posts is a form; for JSON another provider's sample stands.
            json!([
                "dev",
                "/slack",
                "sendgrid-events",
                true,
                200,
                object("slack"),
                "read back: the very bytes"
            ]),
            json!([
                "dev",
                "/slack",
                "slack",
                true,
                200,
                object("slack"),
                "read back: the very bytes"
            ]),
        ]
    );
    // Behind a proxy the stage is reached through it, as AWS is. The name exists nowhere.
    let (proxy, asked) = connect_proxy();
    let behind = stack.routeto("test", "--route /mail").env("HTTPS_PROXY", &proxy);
    let failed =
        behind.env("ROUTETO_INVOKE_URL", "https://hooks.example.invalid/{api}/{stage}").output();
    assert!(failed.status == 1 && failed.stdout.contains("through the proxy"), "{failed:?}");
    let asked = asked();
    assert!(
        !asked.is_empty()
            && asked.iter().all(|line| line == "CONNECT hooks.example.invalid:443 HTTP/1.1"),
        "{asked:?}"
    );
    // It is there, as its provider sent it.
    let place = said["results"][2]["record"].as_str().unwrap();
    let key = place.strip_prefix(&format!("s3://{bucket}/")).unwrap();
    let stored = aws::object(&bucket, key);
    assert!(key.ends_with(said["results"][2]["id"].as_str().unwrap()));
    assert!(stored.body.starts_with(b"--xYzZY\r\n") && stored.body.ends_with(b"\r\n--xYzZY--\r\n"));
    assert_eq!(aws::depth(&format!("{}-mail-dev", stack.name)), 1);

    for provider in ["github", "stripe", "shopify", "slack", "twilio"] {
        let said = stack.routeto("test", &format!("--route /input --provider {provider}")).json();
        assert_eq!(
            results(&said),
            [json!([
                "dev",
                "/input",
                provider,
                true,
                200,
                object("SendGrid"),
                "read back: the very bytes"
            ])]
        );
    }
    let text = stack.routeto("test", "--route /lines").check();
    assert!(
        text.stdout.starts_with("ok      dev  /lines  sendgrid-events  200 in "),
        "{}",
        text.stdout
    );

    // A token on stdin, and what can't be.
    let stdin = stack
        .routeto("test", "--route /lines --stage dev --token-stdin")
        .without("ROUTETO_TOKEN_DEV")
        .stdin(stack::token("dev"));
    assert_eq!(stdin.json()["results"][0]["ok"], json!(true));
    let none = stack
        .routeto("test", "")
        .without("ROUTETO_TOKEN_DEV")
        .fails(64, &["its token is needed", "set ROUTETO_TOKEN_DEV"]);
    assert!(!none.contains("answered"));
    let wrong = "another-Token_that-is-long.enough~";
    let shut =
        stack.routeto("test", "--route /lines").env("ROUTETO_TOKEN_DEV", wrong).secret(wrong);
    shut.fails(1, &["dev /lines as sendgrid-events: answered 401", "is the token the stage's?"]);
    stack
        .routeto("test", "--route /mail --provider github")
        .fails(64, &["github posts application/json", "multipart/form-data"]);
    stack.routeto("test", "--route /nowhere").fails(64, &["has no route `/nowhere`"]);
    stack.routeto("test", "--stage nowhere").fails(64, &["has no stage `nowhere`"]);
    stack.teardown();
}

#[test]
fn dev_puts_records_into_the_account_where_it_is_told_to_and_tail_tells_what_a_stage_stored() {
    let stack = Stack::new(YAML);
    let deployed = stack.deploy();
    let (bucket, queue) =
        (format!("{}-000000000000-dev", stack.name), format!("{}-mail-dev", stack.name));

    let dev = stack.routeto("dev", "--destinations aws --port 0").spawn();
    let note = stack.path().join(".routeto/dev.json");
    let running = soon("dev", || serde_json::from_slice::<Value>(&std::fs::read(&note).ok()?).ok());
    assert_eq!(running["endpoint"], Value::Null, "it has no S3 and SQS of its own");
    let token = stack::token("dev");
    let url = |route: &str| {
        format!("{}/dev{route}{}", running["url"].as_str().unwrap(), query(&[("token", &token)]))
    };
    let id = stack::stored(&http::post(&url("/input"), "application/json", b"{\"here\": 1.50}"));
    let key = aws::keys(&bucket)
        .unwrap_or_default()
        .into_iter()
        .find(|key| key.ends_with(&id))
        .unwrap_or_else(|| panic!("no object of {id}"));
    assert_eq!(aws::object(&bucket, &key).body, b"{\"here\": 1.50}");
    let mail = b"--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nhi\r\n--b--\r\n";
    stack::stored(&http::post(&url("/mail"), "multipart/form-data; boundary=b", mail));
    assert_eq!(aws::depth(&queue), 1);
    assert!(!stack.path().join(".routeto/store").exists());
    let said = stack.routeto("test", "").json();
    assert_eq!(said["target"], "dev");
    let ok: Vec<&Value> =
        said["results"].as_array().unwrap().iter().map(|result| &result["ok"]).collect();
    assert!(ok.iter().all(|ok| **ok == json!(true)), "{said:#}");
    let queued = said["results"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|result| result["route"] == "/mail")
        .count();
    assert_eq!(aws::depth(&queue), 1 + queued, "left for its consumers");
    dev.interrupt();
    assert_eq!(dev.wait().status, 0);

    let proxy = Proxy::start(Emulator::shared());
    let tail = stack.routeto("tail", "--from aws").env("AWS_ENDPOINT_URL", proxy.url()).spawn();
    let looked = || {
        proxy
            .calls()
            .iter()
            .filter(|call| call.operation == "FilterLogEvents" && call.end.is_some())
            .count()
    };
    let looks = |more: usize| {
        let wanted = looked() + more;
        soon("a look", || (looked() >= wanted).then_some(()));
    };
    let logged = |id: &str| {
        soon("the log", || {
            aws::function_log(&format!("{}-dev", stack.name)).contains(id).then_some(())
        })
    };
    looks(1);
    let id = deployed.store("dev", "/input", "application/json", b"{\"there\": 1}");
    logged(&id);
    // A second one for certain comes after the first was looked for.
    looks(2);
    let second = deployed.store("dev", "/mail", "multipart/form-data; boundary=b", mail);
    logged(&second);
    looks(2);
    tail.interrupt();
    let output = tail.wait();
    assert_eq!(output.status, 130, "{output:?}");
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{output:?}");
    assert!(
        lines[0].contains(&format!("  dev  /input  s3://{bucket}/SendGrid/input_"))
            && lines[0].contains(&id),
        "{output:?}"
    );
    assert!(
        lines[1].ends_with(&format!(
            "  dev  /mail  {queue}  {} bytes",
            lines[1].rsplit(' ').nth(1).unwrap()
        )),
        "{output:?} {second}"
    );
    stack.teardown();
}
