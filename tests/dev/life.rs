//! Start, stop, tokens, and what it says when it can't start.

use crate::harness::{Dev, JSON, Place, directory};
use crate::support::http::{self, Raw, post};
use crate::support::{Signal, query, root, signal};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const YAML: &str = "
stack: life
routes:
  /input:
    s3: { bucket: 'life-${stage}' }
stages:
  dev: {}
  prod: {}
";

#[test]
fn a_signal_lets_what_is_in_flight_finish_and_ends_with_exit_code_0() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::new(YAML);
        let mut dev = place.dev();
        let url = dev.url_with("prod", "/input", &[]);
        let (address, target) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /{target} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {JSON}\r\nContent-Length: 8\r\nExpect: 100-continue\r\n\r\n"
        )
        .unwrap();
        // Asked for its body, so it is in flight.
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"{\"a\"").unwrap();
        // Another connection stays open and idle, and the page listens for news: neither holds up
        // the end.
        let _idle = TcpStream::connect(address).unwrap();
        let mut page = TcpStream::connect(address).unwrap();
        write!(
            page,
            "GET /_routeto/events HTTP/1.1\r\nHost: {address}\r\nX-Routeto-Key: {}\r\n\r\n",
            dev.key()
        )
        .unwrap();
        page.read_exact(&mut [0]).unwrap();
        dev.signal(signal);
        let deadline = Instant::now() + Duration::from_secs(15);
        while TcpStream::connect(address).is_ok() {
            assert!(Instant::now() < deadline, "somebody new is let in:\n{}", dev.log());
            thread::sleep(Duration::from_millis(10));
        }
        stream.write_all(b": 1}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200 OK") && answer.contains(r#""result":"success""#),
            "{answer}"
        );
        assert_eq!(dev.wait(), Some(0), "{signal:?}: {}", dev.log());
        assert!(!directory(&place).join("dev.json").exists());
    }
}

#[test]
fn a_signal_that_comes_with_the_word_that_it_serves_is_heard() {
    let place = Place::new(YAML);
    // While it listened only after that word, one in eighteen was lost.
    for _ in 0..40 {
        let mut dev = place.dev();
        dev.signal(Signal::TERM);
        assert_eq!(dev.wait(), Some(0), "{}", dev.log());
        assert!(!directory(&place).join("dev.json").exists());
    }
}

#[test]
fn what_was_stored_and_the_tokens_are_there_after_a_restart() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let (id, token) = (dev.store("prod", "/input", JSON, b"{\"kept\":1}"), dev.token("prod"));
    let kept = dev.object(&id);
    assert_eq!(dev.stop(), Some(0));
    let dev = place.dev();
    assert_eq!(dev.token("prod"), token);
    assert_eq!(dev.keys("life-prod").unwrap(), [kept.0]);
    assert_eq!(std::fs::read_to_string(directory(&place).join(".gitignore")).unwrap(), "*\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            std::fs::metadata(directory(&place).join("tokens.json")).unwrap().permissions().mode()
                & 0o777,
            0o600
        );
    }
}

#[test]
fn tokens_of_the_environment_count_as_in_a_deploy_and_bad_ones_are_refused_unseen() {
    let place = Place::new(YAML);
    let given = "given-Token_0123456789.~";
    let dev = place.dev_with(
        "",
        &[("ROUTETO_TOKEN_PROD", given), ("ROUTETO_TOKEN", "for-one-new-stage-only-0")],
    );
    assert_eq!(dev.token("prod"), given);
    assert_eq!(dev.token("dev").len(), 43);
    dev.store("prod", "/input", JSON, b"{}");
    drop(dev);
    let output = place
        .command("--port 0")
        .env("ROUTETO_TOKEN_PROD", "bad token with blanks in it")
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{stderr}");
    assert!(stderr.contains("ROUTETO_TOKEN_PROD") && !stderr.contains("bad token"), "{stderr}");
}

#[test]
fn tokens_are_masked_unless_asked_for_and_are_in_no_line_and_no_file_but_theirs() {
    let place = Place::new(YAML);
    let given = "given-Token_0123456789.~";
    let mut child = place.command("--port 0").env("ROUTETO_TOKEN_PROD", given).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut said = String::new();
    let mut buffer = [0; 4096];
    while !said.contains("Ctrl-C") {
        let read = stdout.read(&mut buffer).unwrap();
        assert!(read > 0, "{said}");
        said.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    let url = said
        .lines()
        .find(|line| line.contains("/prod/input"))
        .unwrap()
        .trim()
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    let referer = format!("https://example.com/?x={given}");
    let raw = Raw::post(&url)
        .query(&format!("?token={given}&app=a&copy={given}"))
        .header("Content-Type", JSON)
        .header("Referer", referer);
    assert_eq!(raw.clone().body("{}").send().unwrap().status, 200);
    assert_eq!(
        Raw::post(&url)
            .query("?token=somebody-elses-secret")
            .header("Content-Type", JSON)
            .body("{}")
            .send()
            .unwrap()
            .status,
        401
    );
    thread::sleep(Duration::from_millis(300));
    signal(child.id(), Signal::INT);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(said.contains("/prod/input?token=…"), "{said}");
    assert!(
        said.lines().any(|line| line.starts_with("page ") && line.ends_with("/_routeto")),
        "no key: {said}"
    );
    assert!(said.lines().all(|line| line.chars().count() <= 80), "80 columns: {said}");
    let mut kept = String::new();
    let mut files = vec![directory(&place).join("journal")];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            kept.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
        }
    }
    assert!(kept.contains("/input"), "the journal was found");
    for secret in [given, "somebody-elses-secret"] {
        assert!(!said.contains(secret) && !stderr.contains(secret), "printed: {said}\n{stderr}");
        assert!(!kept.contains(secret), "in the journal");
    }
    assert!(
        stderr.contains(" 200 prod  /input ") && stderr.contains(" 401 prod  /input "),
        "{stderr}"
    );
}

#[test]
fn what_keeps_it_from_starting_is_told_with_what_to_do() {
    let place = Place::new(YAML);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (status, _, stderr) = place.fails(&format!("--port {port}"));
    assert_eq!(status, 1, "{stderr}");
    let expected = format!(
        "error: 127.0.0.1:{port}: port {port} is already in use\n  = help: stop what listens there, or take another port with --port (0 is a free one)\n"
    );
    assert_eq!(stderr, expected);
    let (status, _, stderr) = place.fails(&format!("--port 0 --aws-port {port}"));
    assert_eq!((status, stderr.contains("--aws-port")), (1, true), "{stderr}");
    place.file("stack.yaml", YAML.replace("stages", "stagse"));
    let (status, stdout, stderr) = place.fails("--port 0");
    assert_eq!((status, stdout.as_str()), (65, ""), "{stderr}");
    assert!(
        stderr.contains("stack.yaml:6:1") && stderr.contains("did you mean `stages`"),
        "{stderr}"
    );
    place.file("stack.yaml", YAML);
    let (status, _, stderr) = place.fails("--host somewhere");
    assert_eq!(status, 64, "{stderr}");
    let dev = place.dev();
    let (status, _, stderr) = place.fails("--port 0");
    assert_eq!(status, 1);
    assert!(
        stderr.contains(&format!("another `routeto dev` runs in this directory ({})", dev.base())),
        "{stderr}"
    );
    std::fs::write(directory(&place).join("tokens.json"), "nonsense").unwrap();
    drop(dev);
    let (status, _, stderr) = place.fails("--port 0");
    assert_eq!((status, stderr.contains("tokens.json")), (1, true), "{stderr}");
}

#[test]
fn another_host_is_warned_of() {
    let place = Place::new(YAML);
    let dev = place.dev_with("--host 0.0.0.0", &[]);
    let warning = dev.event("warning", |event| event["event"] == "warning");
    assert!(warning["text"].as_str().unwrap().contains("other machines can reach"), "{warning}");
    assert_eq!(post(&dev.url_with("dev", "/input", &[]), JSON, b"{}").status, 200);
}

#[test]
fn the_environment_fills_in_the_stack_file_and_the_region_names_the_buckets() {
    let place = Place::new(&YAML.replace("life-${stage}", "life-${env.WHO}-${region}-${stage}"));
    let dev = place.dev_with("--region eu-west-1", &[("WHO", "me")]);
    dev.store("prod", "/input", JSON, b"{}");
    assert_eq!(dev.keys("life-me-eu-west-1-prod").unwrap().len(), 1);
    assert_eq!(dev.ready["region"], "eu-west-1");
}

#[test]
fn with_no_argument_it_serves_the_stack_file_that_comes_with_routeto() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["stacks", "mapping-templates"] {
        let status = Command::new("cp")
            .arg("-r")
            .arg(root().join(name))
            .arg(directory.path())
            .status()
            .unwrap();
        assert!(status.success());
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_routeto"));
    command.env_clear().current_dir(directory.path()).args([
        "dev",
        "--port",
        "0",
        "--output",
        "json",
        "--show-token",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let dev = crate::harness::Dev::of(command);
    let stages: Vec<&str> =
        dev.ready["stages"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!((dev.ready["stack"].as_str(), stages), (Some("webhooks"), vec!["dev", "prod"]));
    assert_eq!(dev.ready["version"], 1);
    let port = dev.ready["port"].as_u64().unwrap();
    assert_eq!(
        dev.ready["page"],
        Value::String(format!("http://127.0.0.1:{port}/_routeto#key={}", dev.key()))
    );
    assert_eq!(dev.key().len(), 22);
    let url = dev.url("dev", "/input") + &query(&[("token", &dev.token("dev"))]);
    assert_eq!(post(&url, JSON, b"{}").status, 200);
    assert_eq!(dev.stop(), Some(0));
}

#[test]
fn in_a_directory_without_a_stack_file_it_serves_an_example_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let command = |args: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_routeto"));
        command.env_clear().current_dir(directory.path()).args(args.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let dev = crate::harness::Dev::of(command(
        "dev --port 0 --host localhost --output json --show-token",
    ));
    assert_eq!(dev.ready["stack"], "webhooks");
    dev.event("note", |event| {
        event["text"].as_str().is_some_and(|text| text.contains("this is a built-in example"))
    });
    let url = dev.url("dev", "/input") + &query(&[("token", &dev.token("dev"))]);
    assert_eq!(post(&url, JSON, b"{}").status, 200);
    let tested = command("test --stage prod").output().unwrap();
    let said = String::from_utf8_lossy(&tested.stdout);
    assert!(
        tested.status.success() && said.contains("/callbacks/inbound"),
        "{said}{}",
        String::from_utf8_lossy(&tested.stderr)
    );
    assert_eq!(dev.stop(), Some(0));
    // Only `dev` has an example to fall back on, and only where no file is named.
    for args in ["deploy", "validate", "test", "tail", "render --route /input", "teardown --yes"] {
        let output = command(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "routeto {args}: {stderr}");
        assert!(
            stderr.starts_with("error: there is no stack file here\n"),
            "routeto {args}: {stderr}"
        );
    }
    // A named file that is missing is a mistake, even under the default's name.
    for args in
        ["test stacks/routeto.yaml", "dev --port 0 stacks/routeto.yaml", "dev --port 0 nothing"]
    {
        let output = command(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "routeto {args}: {stderr}");
        assert!(
            stderr.contains("the stack file can't be read: No such file"),
            "routeto {args}: {stderr}"
        );
    }
}

#[test]
fn the_local_s3_and_sqs_answer_no_website_and_the_directory_is_the_users_alone() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let address = dev.endpoint().strip_prefix("http://").unwrap().to_owned();
    let port = address.rsplit_once(':').unwrap().1.to_owned();
    let get = |host: &str, more: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    for host in ["127.0.0.1", "localhost", "[::1]", "life-prod.localhost"] {
        assert_eq!(get(&format!("{host}:{port}"), ""), "200", "{host}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example"] {
        assert_eq!(get(&format!("{host}:{port}"), ""), "421", "{host}");
    }
    for host in
        [format!("127.0.0.1:{port}@evil"), "127.0.0.1:".to_owned(), "127.0.0.1:abc".to_owned()]
    {
        assert_eq!(get(&host, ""), "421", "{host}");
    }
    assert_eq!(get(&address, "Origin: http://evil.example\r\n"), "421");
    for (site, status) in [("cross-site", "403"), ("same-site", "403"), ("none", "200")] {
        assert_eq!(get(&address, &format!("Sec-Fetch-Site: {site}\r\n")), status, "{site}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            std::fs::metadata(directory(&place)).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
}

#[test]
fn on_every_address_of_the_machine_a_websites_name_reads_neither_store_nor_page_and_a_tunnel_posts()
{
    let place = Place::new(YAML);
    let dev = place.dev_with("--host 0.0.0.0 --allow-host store.test --allow-host Hooks.Test", &[]);
    let status = |url: &str, host: &str| {
        http::get_with(url, &[("host", host), ("x-routeto-key", dev.key())]).unwrap().status
    };
    let page = format!("{}/_routeto/api/overview", dev.base());
    for host in [
        "127.0.0.1",
        "localhost:3001",
        "[::1]:3001",
        "192.0.2.2:3001",
        "store.test",
        "hooks.test:3001",
    ] {
        assert_eq!((status(dev.endpoint(), host), status(&page, host)), (200, 200), "{host}");
    }
    for host in ["evil.example:3001", "rebound.store.test", "127.0.0.1.nip.example", "store.test:x"]
    {
        assert_eq!((status(dev.endpoint(), host), status(&page, host)), (421, 421), "{host}");
    }
    let tunnel = dev.raw("dev", "/input").query(&query(&[("token", &dev.token("dev"))])).body("{}");
    let address = dev.base().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let target = &tunnel.target;
    write!(
        stream,
        "POST {target} HTTP/1.1\r\nHost: a.tunnel.example\r\nContent-Type: {JSON}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for name in ["http://store.test", "store.test:3001", "*.test", ""] {
        let mut command = place.command("--port 0");
        let output = command.args(["--allow-host", name]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), stderr.contains("without a scheme, a port or a wildcard")),
            (Some(64), true),
            "{name}: {stderr}"
        );
    }
}

#[test]
fn the_key_of_the_page_is_printed_where_tokens_are_and_kept_for_this_user_alone() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let file = directory(&place).join("dev.json");
    let running: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(running["key"], *dev.key());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let page = format!("{}/_routeto/api/overview", dev.base());
    let shut = http::get(&page).unwrap();
    assert_eq!(
        (shut.status, shut.text().contains("open the address that `routeto dev` printed")),
        (403, true),
        "{}",
        shut.text()
    );
    assert!(!dev.log().contains(dev.key()));
    let before = dev.key().to_owned();
    assert_eq!(dev.stop(), Some(0));
    // Where no token is shown, no key is, either: what is printed may end in the log of a CI job.
    let dev = Dev::of(place.command("--port 0 --output json"));
    assert_eq!(dev.ready["page"], format!("{}/_routeto", dev.base()));
    let running: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(running["key"].as_str().unwrap().len(), 22);
    assert!(!dev.ready.to_string().contains(running["key"].as_str().unwrap()));
    assert_eq!(dev.stop(), Some(0));
    // Another run has another key, and the old one opens nothing.
    let dev = place.dev();
    assert_ne!(dev.key(), before);
    let page = format!("{}/_routeto/api/overview", dev.base());
    assert_eq!(http::get_with(&page, &[("x-routeto-key", &before)]).unwrap().status, 403);
}

#[test]
fn a_worker_that_is_stopped_while_it_waits_takes_no_message() {
    let place = Place::new(
        &YAML.replace("s3: { bucket: 'life-${stage}' }", "sqs: { queue: 'life-${stage}' }"),
    );
    let dev = place.dev();
    let address = dev.endpoint().strip_prefix("http://").unwrap();
    let body = format!(
        "{{\"QueueUrl\":\"{}/123456789012/life-prod\",\"WaitTimeSeconds\":20}}",
        dev.endpoint()
    );
    let mut worker = TcpStream::connect(address).unwrap();
    write!(
        worker,
        "POST / HTTP/1.1\r\nHost: {address}\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    // it waits by now, or gets nothing for another reason
    thread::sleep(Duration::from_millis(500));
    drop(worker);
    thread::sleep(Duration::from_secs(2));
    dev.store("prod", "/input", JSON, b"{}");
    assert_eq!(dev.receive("life-prod").len(), 1);
}

#[test]
fn an_object_is_put_and_got_where_the_bucket_stands_in_the_host() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let address = dev.endpoint().strip_prefix("http://").unwrap().to_owned();
    let port = address.rsplit_once(':').unwrap().1;
    let ask = |method: &str, body: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} /a/b HTTP/1.1\r\nHost: life-prod.localhost:{port}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("PUT", "there").starts_with("HTTP/1.1 200"));
    assert!(ask("GET", "").ends_with("\r\n\r\nthere"));
    assert_eq!(dev.keys("life-prod").unwrap(), ["a/b"]);
}

#[test]
fn tail_prints_each_record_of_dev_and_ends_with_it() {
    let place = Place::new(
        &YAML.replace("stages:", "  /mail:\n    sqs: { queue: 'mail-${stage}' }\nstages:"),
    );
    let dev = place.dev();
    let tail = |options: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_routeto"));
        command
            .env_clear()
            .current_dir(place.path())
            .args(["tail", "stack.yaml"])
            .args(options.split_whitespace());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // it listens once it has said so
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("Ctrl-C ends it"), "{line}");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines, said)
    };
    let (mut all, mut lines, _all) = tail("");
    let (mut mails, mut objects, _mails) = tail("--route /mail --output json");
    let id = dev.store("prod", "/input", JSON, b"{}");
    dev.store("dev", "/mail", JSON, b"{\"a\":1}");
    // they have told it before dev ends
    let both = [lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap()];
    assert!(
        both[0].contains(&id)
            && both[0].contains("s3://life-prod/")
            && both[1].contains("mail-dev"),
        "{both:?}"
    );
    let mail: Value = serde_json::from_str(&objects.next().unwrap().unwrap()).unwrap();
    assert_eq!((mail["stage"].as_str(), mail["route"].as_str()), (Some("dev"), Some("/mail")));
    assert_eq!(dev.stop(), Some(0));
    assert!(lines.next().is_none() && objects.next().is_none());
    assert_eq!((all.wait().unwrap().code(), mails.wait().unwrap().code()), (Some(0), Some(0)));
}

/// Whoever started one doesn't mean what is deployed.
#[test]
fn test_and_tail_do_not_go_to_aws_where_a_dev_runs_and_does_not_answer() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let note = place.path().join(".routeto/dev.json");
    let moved = std::fs::read_to_string(&note).unwrap().replace(dev.base(), "http://127.0.0.1:1");
    std::fs::write(&note, moved).unwrap();
    for verb in ["test", "tail"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_routeto"));
        command
            .env_clear()
            .current_dir(place.path())
            .args([verb, "stack.yaml"])
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(1)
                && said.contains("one runs in this directory, and doesn't answer"),
            "{verb}: {said}"
        );
    }
}

const BOTH: &str = "
stack: gone
function: { timeout: 1 }
routes:
  /object:
    s3: { bucket: 'gone-${stage}' }
  /one:
    sqs: { queue: 'one-${stage}' }
  /two:
    sqs: { queue: 'two-${stage}' }
stages:
  dev: {}
";

/// What was answered 200 is there; nothing else is answered 200.
#[cfg(unix)]
#[test]
fn nothing_is_answered_200_once_the_directory_is_removed_and_another_dev_may_have_its_place() {
    let place = Place::new(BOTH);
    let dev = place.dev();
    let statuses = |dev: &Dev| {
        ["/object", "/one", "/two"].map(|route| dev.post("dev", route, JSON, b"{}").status)
    };
    assert_eq!((statuses(&dev), &dev.overview()["unstored"]), ([200; 3], &Value::Null));
    std::fs::remove_dir_all(directory(&place)).unwrap();
    assert_eq!(statuses(&dev), [503; 3]);
    let told = |event: &Value| {
        event["text"].as_str().is_some_and(|text| text.contains("records can't be stored any more"))
    };
    let warning = dev.event("warning", |event| event["event"] == "warning" && told(event));
    assert!(
        warning["text"].as_str().unwrap().contains(".routeto/store was removed or replaced"),
        "{warning}"
    );
    assert_eq!(dev.overview()["unstored"], warning["text"]);
    // Neither a client of its S3 and SQS nor the stack file makes the directory again.
    let mut bucket = Raw::post(&format!("{}/other", dev.endpoint()));
    bucket.method = "PUT".into();
    assert_eq!(bucket.send().unwrap().status, 500);
    place.file("stack.yaml", BOTH.replace("gone-${stage}", "more-${stage}"));
    dev.event("warning", |event| {
        event["text"].as_str().is_some_and(|text| text.contains("stack.yaml isn't read again"))
    });
    assert!(!directory(&place).exists());
    // A second one takes the place; the first one stores nothing in it.
    let second = place.dev();
    assert_eq!(statuses(&dev), [503; 3]);
    assert_eq!(statuses(&second), [200; 3]);
    assert_eq!(
        (
            second.keys("more-dev").unwrap().len(),
            second.receive("one-dev").len(),
            second.receive("two-dev").len()
        ),
        (1, 1, 1)
    );
    assert_eq!((dev.stop(), statuses(&second)), (Some(0), [200; 3]));
}

#[cfg(unix)]
#[test]
fn a_queue_whose_directory_is_removed_answers_503_says_so_and_the_others_go_on() {
    let place = Place::new(BOTH);
    let dev = place.dev();
    let statuses =
        || ["/object", "/one", "/two"].map(|route| dev.post("dev", route, JSON, b"{}").status);
    let (one, aside) = (directory(&place).join("store/sqs/one-dev"), place.path().join("aside"));
    assert_eq!(statuses(), [200; 3]);
    std::fs::rename(&one, &aside).unwrap();
    assert_eq!(statuses(), [200, 503, 200]);
    let unstored = dev.overview()["unstored"].clone();
    assert!(
        unstored.as_str().unwrap().contains("queue one-dev: .routeto/store/sqs/one-dev/"),
        "{unstored}"
    );
    dev.event("warning", |event| event["text"] == unstored);
    // Put back, it takes messages again; what was answered 503 isn't in it.
    std::fs::rename(&aside, &one).unwrap();
    assert_eq!((statuses(), &dev.overview()["unstored"]), ([200; 3], &Value::Null));
    assert_eq!((dev.receive("one-dev").len(), dev.receive("two-dev").len()), (2, 3));
    std::fs::remove_dir_all(&one).unwrap();
    assert_eq!(statuses(), [200, 503, 200]);
    std::fs::remove_dir_all(directory(&place).join("store/s3/gone-dev")).unwrap();
    assert_eq!(statuses(), [503, 503, 200]);
    assert!(
        dev.overview()["unstored"]
            .as_str()
            .unwrap()
            .contains("bucket gone-dev is gone; queue one-dev:")
    );
    // What the stack file doesn't name any more isn't missed; a queue that a client deleted is.
    place.file(
        "stack.yaml",
        BOTH.replace("gone-${stage}", "more-${stage}").replace("one-${stage}", "new-${stage}"),
    );
    dev.event("note", |event| {
        event["text"].as_str().is_some_and(|text| text.contains("read stack.yaml again"))
    });
    dev.sqs(
        "DeleteQueue",
        &serde_json::json!({"QueueUrl": format!("{}/123456789012/two-dev", dev.endpoint())}),
    );
    assert_eq!(statuses(), [200, 200, 503]);
    let unstored = dev.overview()["unstored"].clone();
    assert!(unstored.as_str().unwrap().contains("any more: queue two-dev is gone\n"), "{unstored}");
}

#[test]
fn a_queue_whose_file_another_program_changes_answers_503_until_a_restart() {
    let place = Place::new(BOTH);
    let dev = place.dev();
    let statuses = |dev: &Dev| {
        ["/object", "/one", "/two"].map(|route| dev.post("dev", route, JSON, b"{}").status)
    };
    assert_eq!(statuses(&dev), [200; 3]);
    let file = directory(&place).join("store/sqs/one-dev/0000000000000001.messages");
    std::fs::File::options().write(true).open(&file).unwrap().set_len(5).unwrap();
    assert_eq!(statuses(&dev), [200, 503, 200]);
    let told = |event: &Value| {
        event["text"]
            .as_str()
            .is_some_and(|text| text.contains("queue one-dev: another program changed"))
    };
    dev.event("warning", |event| event["event"] == "warning" && told(event));
    assert_eq!(dev.stop(), Some(0));
    let dev = place.dev();
    assert_eq!(statuses(&dev), [200; 3]);
    assert_eq!((dev.receive("one-dev").len(), dev.receive("two-dev").len()), (1, 3));
}

/// The state is on disk, the messages' end is not.
#[test]
fn a_queue_that_lost_its_end_in_a_power_cut_delivers_what_comes_after_and_says_so() {
    let place = Place::new(BOTH);
    let dev = place.dev();
    let post = |dev: &Dev| assert_eq!(dev.post("dev", "/one", JSON, b"{}").status, 200);
    (0..4).for_each(|_| post(&dev));
    assert_eq!(dev.receive("one-dev").len(), 4);
    drop(dev);
    let file = directory(&place).join("store/sqs/one-dev/0000000000000001.messages");
    let file = std::fs::File::options().write(true).open(file).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    let dev = place.dev();
    let told = |event: &Value| {
        event["text"]
            .as_str()
            .is_some_and(|text| text.contains("queue one-dev: the end of its file is missing"))
    };
    dev.event("warning", |event| event["event"] == "warning" && told(event));
    (0..5).for_each(|_| post(&dev));
    assert_eq!(dev.receive("one-dev").len(), 5);
    (0..2).for_each(|_| post(&dev));
    assert_eq!(dev.stop(), Some(0));
    assert_eq!(place.dev().receive("one-dev").len(), 2);
}

/// The signal of the limit would end it.
#[cfg(unix)]
#[test]
fn a_record_beyond_the_limit_of_a_files_size_is_answered_503_and_dev_goes_on() {
    let place = Place::new(BOTH);
    let dev = place.command("--port 0 --output json --show-token");
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -f 1024; exec \"$0\" \"$@\""])
        .arg(dev.get_program())
        .args(dev.get_args());
    limited.env_clear().envs(dev.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited
        .current_dir(place.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let dev = Dev::of(limited);
    // 512 KiB or 1 MiB, as the shell counts.
    let large = vec![b'1'; 2 * 1024 * 1024];
    assert_eq!(dev.post("dev", "/object", JSON, &large).status, 503);
    assert_eq!(
        ["/object", "/one", "/two"].map(|route| dev.post("dev", route, JSON, b"{}").status),
        [200; 3]
    );
    assert_eq!(dev.stop(), Some(0));
}

/// Its lock keeps no second one out any more.
#[cfg(unix)]
#[test]
fn without_its_lock_nothing_is_stored_either() {
    let place = Place::new(BOTH);
    let dev = place.dev();
    std::fs::remove_file(directory(&place).join("lock")).unwrap();
    assert_eq!(
        ["/object", "/one"].map(|route| dev.post("dev", route, JSON, b"{}").status),
        [503; 2]
    );
    assert!(
        dev.overview()["unstored"]
            .as_str()
            .unwrap()
            .contains(".routeto/lock was removed or replaced")
    );
}
