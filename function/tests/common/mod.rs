//! A server on this machine that says what a test tells it to, and keeps what it was asked.
#![allow(clippy::unwrap_used, dead_code, reason = "each test file uses its own part of it")]

use {
    aws_smithy_runtime_api::{
        client::{
            http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
            orchestrator::{HttpRequest, HttpResponse},
        },
        http::StatusCode,
        shared::IntoShared,
    },
    aws_smithy_types::body::SdkBody,
    base64::{Engine, prelude::BASE64_STANDARD},
    md5::{Digest, Md5},
    routeto_function::{Answer, Handled, Invocation, Settings, Sinks, handle},
    std::{
        collections::VecDeque,
        io::{BufRead, BufReader, Write},
        net::{SocketAddr, TcpListener, TcpStream},
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
        time::{Duration, SystemTime},
    },
};

pub const ID: &str = "5d2d8e5a-6f4b-4f0e-9d3b-0a1b2c3d4e5f";
pub const TOKEN: &str = "right-token-0123456789";
pub const VALID: &str = "sha256:a78e48780414055376661667594cf02f91d6a522cd1b2cea4bf99022fb1e9dc2";

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

#[derive(Clone, Debug)]
pub enum Reply {
    /// As S3 or SQS answers what it stored.
    Stored,
    Status(u16, String),
    /// With one header.
    Header(u16, &'static str, String, String),
    /// Takes the request and closes the connection.
    HangUp,
    /// Takes the request and says nothing for so long.
    Silence(Duration),
}

/// What S3 answers to a PUT, and SQS to a SendMessage.
pub fn ok() -> Reply {
    Reply::Stored
}

pub fn s3_error(status: u16, code: &str, message: &str) -> Reply {
    Reply::Status(
        status,
        format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message><RequestId>R</RequestId></Error>"
        ),
    )
}

pub fn sqs_ok() -> Reply {
    Reply::Stored
}

fn stored(request: &Request) -> (u16, String, String) {
    if request.method == "PUT" {
        return (200, format!("ETag: \"{}\"\r\n", md5(&request.body)), String::new());
    }
    let md5 = md5(request.json()["MessageBody"].as_str().unwrap().as_bytes());
    (200, String::new(), format!(r#"{{"MessageId":"m-1","MD5OfMessageBody":"{md5}"}}"#))
}

pub fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// AWS's own endpoints, as far as the function's side of the wire goes: keeps each request that
/// would go there, and answers it.
#[derive(Clone)]
pub struct Aws {
    pub requests: Arc<Mutex<Vec<HttpRequest>>>,
    answer: fn(&HttpRequest) -> HttpResponse,
}

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Aws")
    }
}

impl HttpConnector for Aws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = (self.answer)(&request);
        self.requests.lock().unwrap().push(request);
        HttpConnectorFuture::ready(Ok(answer))
    }
}

impl Aws {
    pub fn new(answer: fn(&HttpRequest) -> HttpResponse) -> Self {
        Self { requests: Arc::default(), answer }
    }

    /// Sinks without an endpoint of their own, in this region.
    pub fn sinks(&self, region: &str) -> Sinks {
        let connector: SharedHttpConnector = self.clone().into_shared();
        let lambda = Settings::from_env(environment("")).unwrap();
        let settings = Settings { region: region.into(), ..lambda };
        assert_eq!((&settings.s3_endpoint, &settings.sqs_endpoint), (&None, &None));
        Sinks::new(&settings, http_client_fn(move |_, _| connector.clone()))
    }
}

/// As S3 and SQS answer what they stored.
pub fn aws_stores(request: &HttpRequest) -> HttpResponse {
    let body = request.body().bytes().unwrap();
    if request.method() == "PUT" {
        return response(200, Some(("etag", "\"0\"")), "");
    }
    let message: serde_json::Value = serde_json::from_slice(body).unwrap();
    let md5 = md5(message["MessageBody"].as_str().unwrap().as_bytes());
    response(200, None, &format!(r#"{{"MessageId":"m-1","MD5OfMessageBody":"{md5}"}}"#))
}

pub fn response(status: u16, header: Option<(&'static str, &str)>, body: &str) -> HttpResponse {
    let body = SdkBody::from(body.to_owned());
    let mut response = HttpResponse::new(StatusCode::try_from(status).unwrap(), body);
    if let Some((name, value)) = header {
        response.headers_mut().insert(name, value.to_owned());
    }
    response
}

pub fn sqs_error(status: u16, code: &str, query_code: &str, message: &str) -> Reply {
    let body = format!(
        r#"{{"__type":"com.amazonaws.sqs#{code}","message":{}}}"#,
        serde_json::to_string(message).unwrap()
    );
    Reply::Header(status, "x-amzn-query-error", format!("{query_code};Sender"), body)
}

/// Answers with the replies in their order, the last one for ever.
pub struct Server {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let replies = Arc::new(Mutex::new(replies.into_iter().collect::<VecDeque<_>>()));
        let (requests, connections) = (server.requests.clone(), server.connections.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (requests, replies) = (requests.clone(), replies.clone());
                thread::spawn(move || serve(stream.unwrap(), &requests, &replies));
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn sinks(&self) -> Sinks {
        sinks(&self.url())
    }
}

pub fn environment(endpoint: &str) -> impl Fn(&str) -> Option<String> + use<'_> {
    move |name: &str| match name {
        "AWS_REGION" => Some("us-east-1".into()),
        "AWS_ACCESS_KEY_ID" => Some("AKIDEXAMPLE".into()),
        "AWS_SECRET_ACCESS_KEY" => Some("secret".into()),
        "AWS_SESSION_TOKEN" => Some("session".into()),
        "AWS_ENDPOINT_URL" => Some(endpoint.into()),
        _ => None,
    }
}

pub fn sinks(endpoint: &str) -> Sinks {
    let settings = Settings::from_env(environment(endpoint)).unwrap();
    Sinks::new(&settings, settings.http_client(|_| None))
}

fn serve(stream: TcpStream, requests: &Mutex<Vec<Request>>, replies: &Mutex<VecDeque<Reply>>) {
    stream.set_nodelay(true).unwrap();
    let mut out = stream.try_clone().unwrap();
    let mut input = BufReader::new(stream);
    while let Some(request) = read_request(&mut input) {
        let reply = {
            let mut replies = replies.lock().unwrap();
            if replies.len() > 1 {
                replies.pop_front().unwrap()
            } else {
                replies.front().cloned().unwrap_or_else(ok)
            }
        };
        requests.lock().unwrap().push(request.clone());
        let (status, header, body) = match reply {
            Reply::Stored => stored(&request),
            Reply::Status(status, body) => (status, String::new(), body),
            Reply::Header(status, name, value, body) => {
                (status, format!("{name}: {value}\r\n"), body)
            }
            Reply::HangUp => return,
            Reply::Silence(time) => {
                thread::sleep(time);
                return;
            }
        };
        let answer =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{header}\r\n{body}", body.len());
        if out.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads a request whose body has a Content-Length; panics on any other coding: what stores records
/// is to send none.
pub fn read_request(input: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    if input.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut parts = line.split_whitespace();
    let (method, target) = (parts.next()?.to_string(), parts.next()?.to_string());
    let mut headers = Vec::new();
    loop {
        line.clear();
        input.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_string(), value.trim().to_string()));
    }
    let mut request = Request { method, target, headers, body: Vec::new() };
    for coding in ["transfer-encoding", "expect", "content-encoding", "x-amz-trailer"] {
        assert_eq!(request.header(coding), None, "{coding}");
    }
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body = vec![0; length];
    input.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// An event as `json.vtl` and `binary.vtl` render it.
#[derive(Clone)]
pub struct Event(pub serde_json::Map<String, serde_json::Value>);

impl Event {
    pub fn new(destination: &str, body: &[u8]) -> Self {
        let serde_json::Value::Object(fields) = serde_json::json!({
            "time": 1_700_000_000_000_u64, "stage": "prod", "path": "/input", "sourceIp": "192.0.2.1", "requestId": "c2FtcGxl",
            "token": TOKEN, "validToken": VALID, "app": "SendGrid", "bucket": "", "destination": destination,
            "headers": {"Content-Type": "application/json", "Host": "api.example"}, "query": {}, "body": BASE64_STANDARD.encode(body),
        }) else {
            unreachable!()
        };
        Self(fields)
    }

    pub fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.0.insert(key.into(), value.into());
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.0.remove(key);
        self
    }

    pub fn text(&self) -> String {
        serde_json::to_string(&self.0).unwrap()
    }
}

pub fn invocation(time: Duration) -> Invocation {
    Invocation { id: ID.into(), deadline: SystemTime::now() + time }
}

pub async fn run(sinks: &Sinks, event: &str) -> Handled {
    let handled = handle(event.as_bytes(), &invocation(Duration::from_secs(10)), sinks).await;
    assert!(!handled.log.contains('\n') && !handled.log.contains(TOKEN), "{}", handled.log);
    if let Err(error) = &handled.answer {
        assert!(!error.error_message.contains(TOKEN), "{error:?}");
    }
    handled
}

/// The answer as the response template sees it.
pub fn json(answer: &Answer) -> serde_json::Value {
    serde_json::to_value(answer).unwrap()
}

pub fn fail(status: u16, reason: &str) -> serde_json::Value {
    serde_json::json!({"status": status, "answer": {"result": "fail", "reason": reason}})
}

pub fn success() -> serde_json::Value {
    serde_json::json!({"status": 200, "answer": {"result": "success", "id": ID}})
}
