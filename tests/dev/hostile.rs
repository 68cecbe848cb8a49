//! Callers that keep to no rule: each gets an answer or a closed connection, nothing of theirs gets
//! in, and the server goes on.

use crate::harness::{Dev, JSON, Place};
use crate::support::hostile::{encode, values};
use crate::support::http::Raw;
use crate::support::{query, stack};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const YAML: &str = r#"
stack: field
routes:
  /hostile:
    accept: [application/json, text/plain]
    s3: { bucket: "field-${stage}", prefix: hostile/, allow: ["archive/teamA"] }
stages:
  prod: {}
"#;

fn field() -> (Place, Dev) {
    let place = Place::new(YAML);
    let dev = place.dev();
    // What no request may reach.
    let mut victim = Raw::post(&format!("{}/victim", dev.endpoint()));
    victim.method = "PUT".into();
    assert_eq!(victim.send().unwrap().status, 200);
    (place, dev)
}

/// Sends bytes as they are; what came back until the connection was closed or fell silent.
fn send(dev: &Dev, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(dev.base().strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // It may close before it has read all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn still_there(dev: &Dev) {
    dev.store("prod", "/hostile", JSON, b"{}");
}

#[test]
fn no_hostile_value_gets_in_anywhere_nor_out_of_its_place() {
    let (_place, dev) = field();
    let right = query(&[("token", &dev.token("prod"))]);
    let token = dev.token("prod");
    let url = dev.url("prod", "/hostile");
    let json =
        |query: String| Raw::post(&url).query(&query).header("Content-Type", JSON).body("{}");
    let mut attempts: Vec<(String, bool, Raw)> = Vec::new();
    for value in values() {
        let text = String::from_utf8_lossy(&value).replace("VICTIM", "victim");
        let value = if value.is_ascii() { text.clone().into_bytes() } else { value };
        let shown: String = text.chars().take(40).collect();
        let word = encode(&value);
        let mut add = |what: &str, authorised: bool, raw: Raw| {
            attempts.push((format!("{what} {shown:?}"), authorised, raw))
        };
        add("token", false, json(format!("?token={word}")));
        add("token around the right one", false, json(format!("?token={token}{word}x")));
        add("app", true, json(format!("{right}&app={word}")));
        add("bucket", true, json(format!("{right}&bucket={word}")));
        add("others", true, json(format!("{right}&destination={word}&validToken={word}&{word}=x")));
        add(
            "others with a wrong token",
            false,
            json(format!("?token=wrong&app={word}&bucket={word}&validToken={word}")),
        );
        let line: Vec<u8> =
            value.iter().copied().filter(|byte| !b"\r\n\0".contains(byte)).collect();
        add(
            "headers",
            true,
            json(right.clone())
                .header("X-Custom", &line)
                .header("X-Amzn-RequestId", &line)
                .header("Accept", &line),
        );
        add("body", true, Raw::post(&url).query(&right).header("Content-Type", JSON).body(&value));
        add(
            "text",
            true,
            Raw::post(&url).query(&right).header("Content-Type", "text/plain").body(&value),
        );
    }
    assert!(attempts.len() > 400, "{}", attempts.len());
    let mut ids = BTreeSet::new();
    for (what, authorised, raw) in &attempts {
        // A connection that is closed without an answer has stored nothing that anybody was told
        // of.
        let Some(answer) = raw.send() else { continue };
        let text = answer.text();
        assert!(
            (400..500).contains(&answer.status) || (answer.status == 200 && *authorised),
            "{what}: {} {text}",
            answer.status
        );
        assert!(!text.contains("sha256:") && !text.contains(&token), "{what}: {text}");
        if answer.status == 200 {
            assert!(ids.insert(stack::stored(&answer)), "{what}: an id twice");
        }
    }
    assert_eq!(dev.keys("victim").unwrap(), [] as [String; 0]);
    assert_eq!(dev.keys("archive").unwrap(), [] as [String; 0]);
    let keys = dev.keys("field-prod").unwrap();
    assert!(keys.iter().all(|key| key.starts_with("hostile/")), "{keys:?}");
    assert_eq!(
        keys.iter().map(|key| key.rsplit('_').next().unwrap().to_owned()).collect::<BTreeSet<_>>(),
        ids
    );
    assert!(!dev.log().contains('\u{1b}'), "nothing drives the terminal");
}

#[test]
fn heads_that_are_too_large_or_no_http_are_refused_and_the_server_goes_on() {
    let (_place, dev) = field();
    let right = query(&[("token", &dev.token("prod"))]);
    let head = |more: &str| {
        format!(
            "POST /prod/hostile{right} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nConnection: close\r\n{more}"
        )
    };
    let aws = send(
        &dev,
        format!("{}X-Long: {}\r\nContent-Length: 2\r\n\r\n{{}}", head(""), "x".repeat(20_000))
            .as_bytes(),
    );
    assert!(
        aws.starts_with("HTTP/1.1 413 ")
            && aws.ends_with("HTTP header is larger than 10240 bytes."),
        "{aws}"
    );
    let hundred: String = (0..1000).map(|n| format!("X-{n}: {}\r\n", "y".repeat(92))).collect();
    let many = send(&dev, format!("{}{hundred}Content-Length: 2\r\n\r\n{{}}", head("")).as_bytes());
    assert!(many.starts_with("HTTP/1.1 431 "), "{many}");
    let huge =
        send(&dev, format!("{}X-Long: {}\r\n\r\n", head(""), "x".repeat(2_000_000)).as_bytes());
    assert!(huge.is_empty() || huge.starts_with("HTTP/1.1 431 "), "{huge}");
    for nonsense in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense nonsense nonsense",
        b"POST /prod/hostile HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /prod/hostile HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /prod/hostile HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /prod/hostile HTTP/1.1\r\nBad Header: x\r\n\r\n",
        b"",
    ] {
        let answer = send(&dev, nonsense);
        assert!(!answer.contains(" 200 "), "{nonsense:?}: {answer}");
    }
    still_there(&dev);
    assert_eq!(dev.keys("field-prod").unwrap().len(), 1);
}

#[test]
fn a_body_that_stops_in_the_middle_and_chunked_nonsense_store_nothing_and_the_server_goes_on() {
    let (_place, dev) = field();
    let right = query(&[("token", &dev.token("prod"))]);
    let post = |more: &str| {
        format!("POST /prod/hostile{right} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\n{more}")
    };
    let refused = [
        send(&dev, post("Content-Length: 100\r\n\r\n{\"a\":").as_bytes()),
        send(&dev, post("Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n").as_bytes()),
        send(&dev, post("Transfer-Encoding: chunked\r\n\r\n5\r\n{}\r\n0\r\n\r\n").as_bytes()),
        send(&dev, post("Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n").as_bytes()),
        send(&dev, post("Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n").as_bytes()),
        send(&dev, post("Transfer-Encoding: gzip\r\n\r\n{}").as_bytes()),
    ];
    for answer in &refused {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(dev.keys("field-prod").unwrap(), [] as [String; 0]);
    let whole = send(
        &dev,
        post("Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nTrailer: x\r\n\r\n").as_bytes(),
    );
    assert!(whole.starts_with("HTTP/1.1 200 "), "{whole}");
    // Two at once on one connection: each is answered, and each is a record.
    let two = post("Content-Length: 2\r\n\r\n{}")
        + &post("Connection: close\r\nContent-Length: 2\r\n\r\n[]");
    let answers = send(&dev, two.as_bytes());
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    // Who hangs up before the answer has stored all the same: it arrived.
    let mut stream = TcpStream::connect(dev.base().strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(post("Content-Length: 2\r\n\r\n{}").as_bytes()).unwrap();
    drop(stream);
    let deadline = Instant::now() + Duration::from_secs(10);
    while dev.keys("field-prod").unwrap().len() < 3 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    still_there(&dev);
}

#[test]
fn a_hundred_slow_callers_hold_up_nobody_and_are_cut_off() {
    let (_place, dev) = field();
    let address = dev.base().strip_prefix("http://").unwrap().to_owned();
    let mut slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.write_all(b"POST /prod/hostile HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        still_there(&dev);
    }
    let mut last = slow.pop().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    let mut answer = Vec::new();
    // Closed, with or without a word, or reset.
    let ended = last.read_to_end(&mut answer);
    assert!(
        !ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
        "it was never cut off"
    );
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
    still_there(&dev);
}

#[test]
fn connections_that_never_say_what_they_speak_are_ended() {
    let (_place, dev) = field();
    let address = dev.base().strip_prefix("http://").unwrap();
    let opened: Vec<(&str, TcpStream)> = ["", "P", "PRI * HTTP/2.0\r\n"]
        .into_iter()
        .map(|text| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            (text, stream)
        })
        .collect();
    for (text, mut stream) in opened {
        let mut answer = Vec::new();
        // the end, or a reset: not a timeout of ours
        let end = stream.read_to_end(&mut answer);
        assert!(
            !end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
            "{text:?} is still open"
        );
    }
    still_there(&dev);
}

/// A file that may not grow any more is to the program what a full disk is: `blocks` of 512 bytes.
#[cfg(unix)]
fn on_a_full_disk(place: &Place, blocks: u32) -> Dev {
    let dev = place.command("--port 0 --output json --show-token");
    let mut limited = std::process::Command::new("sh");
    limited
        .arg("-c")
        .arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""))
        .arg(dev.get_program())
        .args(dev.get_args());
    limited
        .env_clear()
        .envs(dev.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(place.path());
    limited
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    Dev::of(limited)
}

#[cfg(unix)]
#[test]
fn a_queue_is_drained_on_a_disk_without_room_and_takes_messages_again() {
    let place = Place::new(
        "stack: full\nfunction: { timeout: 1 }\nroutes:\n  /mail:\n    sqs: { queue: 'full-${stage}', format: body }\nstages:\n  prod: {}\n",
    );
    // The state of a queue has 400 entries' room then, and a message needs two.
    let dev = on_a_full_disk(&place, 50);
    let url = format!("{}/123456789012/full-prod", dev.endpoint());
    let call = |operation: &str, mut arguments: Value| {
        arguments["QueueUrl"] = url.as_str().into();
        dev.sqs(operation, &arguments)
    };
    let mut sent = 0;
    loop {
        let entries: Vec<Value> =
            (0..10).map(|n| json!({"Id": n.to_string(), "MessageBody": "{}"})).collect();
        let stored = call("SendMessageBatch", json!({ "Entries": entries }))["Successful"]
            .as_array()
            .unwrap()
            .len();
        sent += stored;
        if stored < 10 {
            break;
        }
    }
    assert!(sent > 350, "{sent}");
    assert_eq!(dev.post("prod", "/mail", JSON, b"{}").status, 503);
    // A worker takes them by tens, gives some back, and deletes them.
    let mut deleted = 0;
    for round in 0.. {
        let got =
            call("ReceiveMessage", json!({"MaxNumberOfMessages": 10, "VisibilityTimeout": 600}));
        let Some(messages) = got["Messages"].as_array().filter(|messages| !messages.is_empty())
        else {
            break;
        };
        for (at, message) in messages.iter().enumerate() {
            let handle = &message["ReceiptHandle"];
            if at == round % 10 && messages.len() > 1 {
                call(
                    "ChangeMessageVisibility",
                    json!({"ReceiptHandle": handle, "VisibilityTimeout": 0}),
                );
            } else {
                call("DeleteMessage", json!({ "ReceiptHandle": handle }));
                deleted += 1;
            }
        }
    }
    assert_eq!(deleted, sent);
    let count = |dev: &Dev| {
        let attributes = dev.attributes("full-prod");
        ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            .map(|name| attributes[name].clone())
    };
    assert_eq!(count(&dev), ["0", "0"]);
    // None comes back with the next start.
    assert_eq!(dev.stop(), Some(0));
    let dev = place.dev();
    assert_eq!(count(&dev), ["0", "0"]);
    dev.store("prod", "/mail", JSON, b"{}");
    assert_eq!(dev.receive("full-prod"), ["{}"]);
}

#[cfg(unix)]
#[test]
fn a_disk_without_room_answers_503_and_keeps_what_was_answered_200() {
    let place = Place::new(
        "stack: full\nfunction: { timeout: 1 }\nroutes:\n  /mail:\n    sqs: { queue: 'full-${stage}', format: body }\nstages:\n  prod: {}\n",
    );
    let dev = on_a_full_disk(&place, 100);
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(16 * 1024));
    let statuses: Vec<u16> =
        (0..10).map(|_| dev.post("prod", "/mail", JSON, body.as_bytes()).status).collect();
    let stored = statuses.iter().filter(|status| **status == 200).count();
    assert!(
        (1..10).contains(&stored) && statuses.iter().all(|status| [200, 503].contains(status)),
        "{statuses:?}"
    );
    let url = format!("{}/123456789012/full-prod", dev.endpoint());
    let got = dev.sqs(
        "ReceiveMessage",
        &json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 600}),
    );
    let bodies: Vec<&str> = got["Messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|message| message["Body"].as_str())
        .collect();
    assert_eq!(bodies, vec![body.as_str(); stored]);
}
