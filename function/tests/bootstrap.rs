//! The `bootstrap` binary, run as Lambda runs it: against a Runtime API and an S3 on this machine.
#![allow(clippy::unwrap_used)]

mod common;

use {
    common::{Event, Reply, Request, Server, TOKEN, environment, ok, read_request},
    std::{
        io::{BufReader, ErrorKind, Read, Write},
        net::{TcpListener, TcpStream},
        process::{Child, Command, Stdio},
        thread,
        time::{Duration, SystemTime, UNIX_EPOCH},
    },
};

/// The Runtime API, played by hand: what the function asks next, and what it is told.
struct Runtime {
    listener: TcpListener,
    child: Child,
    stream: Option<BufReader<TcpStream>>,
}

impl Runtime {
    fn start(endpoint: &str, without: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", listener.local_addr().unwrap().to_string());
        for name in [
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_ENDPOINT_URL",
        ] {
            if without != Some(name) {
                command.env(name, environment(endpoint)(name).unwrap());
            }
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { listener, child, stream: None }
    }

    /// The next request, on the kept connection or a new one.
    fn asked(&mut self) -> Request {
        loop {
            if let Some(request) = self.stream.as_mut().and_then(read_request) {
                return request;
            }
            self.stream = Some(BufReader::new(self.connection()));
        }
    }

    /// The next connection; a function that ended instead fails the test rather than hanging it.
    fn connection(&mut self) -> TcpStream {
        self.listener.set_nonblocking(true).unwrap();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
                    return stream;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert_eq!(self.child.try_wait().unwrap(), None, "the function ended");
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn say(&mut self, text: &str) {
        self.stream.as_mut().unwrap().get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn event(&mut self, id: &str, event: &str) {
        self.event_within(Duration::from_secs(30), id, event);
    }

    /// An event for a function that has so much time left.
    fn event_within(&mut self, time: Duration, id: &str, event: &str) {
        let next = self.asked();
        assert_eq!(
            (next.method.as_str(), next.target.as_str()),
            ("GET", "/2018-06-01/runtime/invocation/next")
        );
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + time;
        self.say(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: {id}\r\nLambda-Runtime-Deadline-Ms: {}\r\n\
             Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:1:function:f\r\nContent-Length: {}\r\n\r\n{event}",
            deadline.as_millis(),
            event.len()
        ));
    }

    fn accepted(&mut self) {
        self.say("HTTP/1.1 202 Accepted\r\nContent-Length: 15\r\n\r\n{\"status\":\"OK\"}");
    }

    /// Ends it, and gives its log.
    fn end(mut self) -> (String, String) {
        self.child.kill().unwrap();
        self.finish()
    }

    fn finish(mut self) -> (String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        self.child.wait().unwrap();
        (out, err)
    }
}

#[test]
fn events_are_stored_answered_and_logged_one_after_the_other() {
    let s3 = Server::new([ok()]);
    let mut runtime = Runtime::start(&s3.url(), None);
    let body = vec![0xff; 3_000_000];
    for (id, event, answer) in [
        (
            "id-1",
            Event::new("s3://bucket", &body),
            r#"{"status":200,"answer":{"result":"success","id":"id-1"}}"#,
        ),
        (
            "id-2",
            Event::new("s3://bucket", b"{}").with("token", "wrong"),
            r#"{"status":401,"answer":{"result":"fail","reason":"Invalid token provided"}}"#,
        ),
        (
            "id-3",
            Event::new("s3://bucket", b"{}"),
            r#"{"status":200,"answer":{"result":"success","id":"id-3"}}"#,
        ),
    ] {
        runtime.event(id, &event.text());
        let said = runtime.asked();
        assert_eq!(
            (said.method.as_str(), said.target.clone()),
            ("POST", format!("/2018-06-01/runtime/invocation/{id}/response"))
        );
        assert_eq!(said.text(), answer);
        runtime.accepted();
    }
    let (out, err) = runtime.end();
    let lines: Vec<_> = out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["requestId"].clone())
        .collect();
    assert_eq!((lines, err.as_str()), (vec!["id-1".into(), "id-2".into(), "id-3".into()], ""));
    assert!(!out.contains(TOKEN));
    let stored: Vec<_> =
        s3.requests().iter().map(|request| (request.target.clone(), request.body.len())).collect();
    let path = |id: &str| format!("/bucket/SendGrid_1700000000000_{id}?x-id=PutObject");
    assert_eq!(stored, [(path("id-1"), 3_000_000), (path("id-3"), 2)]);
}

#[test]
fn a_failure_is_a_lambda_error_and_the_next_event_is_served() {
    let s3 = Server::new([
        common::s3_error(404, "NoSuchBucket", "The specified bucket does not exist"),
        ok(),
    ]);
    let mut runtime = Runtime::start(&s3.url(), None);
    runtime.event("id-1", &Event::new("s3://bucket", b"{}").text());
    let said = runtime.asked();
    assert_eq!(said.target, "/2018-06-01/runtime/invocation/id-1/error");
    assert_eq!(said.header("lambda-runtime-function-error-type"), Some("NoSuchBucket"));
    assert_eq!(
        said.text(),
        r#"{"errorType":"NoSuchBucket","errorMessage":"there is no bucket bucket: it was deleted, or the destination misspells it (status 404)"}"#
    );
    runtime.accepted();
    runtime.event("id-2", "no event");
    assert_eq!(runtime.asked().target, "/2018-06-01/runtime/invocation/id-2/error");
    runtime.accepted();
    runtime.event("id-3", &Event::new("s3://bucket", b"{}").text());
    assert_eq!(runtime.asked().target, "/2018-06-01/runtime/invocation/id-3/response");
    runtime.end();
}

#[test]
fn a_connection_that_the_runtime_api_closed_is_made_anew() {
    let s3 = Server::new([ok()]);
    let mut runtime = Runtime::start(&s3.url(), None);
    for id in ["id-1", "id-2"] {
        runtime.event(id, &Event::new("s3://bucket", b"{}").text());
        assert_eq!(runtime.asked().target, format!("/2018-06-01/runtime/invocation/{id}/response"));
        runtime.accepted();
        runtime.stream = None;
    }
    assert_eq!(runtime.asked().target, "/2018-06-01/runtime/invocation/next");
    runtime.end();
}

#[test]
fn what_was_asked_on_a_connection_that_closed_beside_it_is_asked_again() {
    let s3 = Server::new([ok()]);
    let mut runtime = Runtime::start(&s3.url(), None);
    runtime.event("id-1", &Event::new("s3://bucket", b"{}").text());
    assert_eq!(runtime.asked().target, "/2018-06-01/runtime/invocation/id-1/response");
    // read, and no answer
    runtime.stream = None;
    assert_eq!(runtime.asked().target, "/2018-06-01/runtime/invocation/id-1/response");
    runtime.accepted();
    assert_eq!(runtime.asked().target, "/2018-06-01/runtime/invocation/next");
    runtime.stream = None;
    runtime.event("id-2", &Event::new("s3://bucket", b"{}").text());
    assert_eq!(runtime.asked().target, "/2018-06-01/runtime/invocation/id-2/response");
    runtime.end();
}

#[test]
fn an_environment_that_lacks_something_is_an_init_error() {
    let mut runtime = Runtime::start("http://127.0.0.1:1", Some("AWS_SECRET_ACCESS_KEY"));
    let said = runtime.asked();
    assert_eq!(said.target, "/2018-06-01/runtime/init/error");
    assert_eq!(said.header("lambda-runtime-function-error-type"), Some("Runtime.Environment"));
    let message = "the environment variable AWS_SECRET_ACCESS_KEY is not set; Lambda sets it for a function that has a role";
    assert_eq!(
        said.json(),
        serde_json::json!({"errorType": "Runtime.Environment", "errorMessage": message})
    );
    runtime.accepted();
    assert_eq!(runtime.finish(), (String::new(), format!("{message}\n")));
}

#[test]
fn it_ends_when_the_runtime_api_says_so() {
    let mut runtime = Runtime::start("http://127.0.0.1:1", None);
    runtime.asked();
    runtime.say("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(runtime.finish().1, "the Runtime API answered 500 Internal Server Error to /next\n");
}

#[test]
fn by_hand_it_says_what_it_is() {
    let output = Command::new(env!("CARGO_BIN_EXE_bootstrap")).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "AWS_LAMBDA_RUNTIME_API is not set: this is a Lambda function, not a command\n"
    );
}

#[test]
fn an_event_that_finds_no_store_fails_before_lambda_ends_it() {
    let s3 = Server::new([Reply::Silence(Duration::from_secs(20))]);
    let mut runtime = Runtime::start(&s3.url(), None);
    runtime.event_within(Duration::from_secs(3), "id-1", &Event::new("s3://bucket", b"{}").text());
    let started = std::time::Instant::now();
    let said = runtime.asked();
    assert_eq!(said.target, "/2018-06-01/runtime/invocation/id-1/error");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    runtime.end();
}
