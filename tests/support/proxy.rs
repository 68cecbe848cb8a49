//! A recording HTTP proxy between routeto and the emulator: it says which AWS operations were called, and can fail, delay, cut or hold any of them.
//!
//! It knows the services' wire protocols as far as naming an operation and answering with an error needs it. It may change no request that it passes on.

use super::block_on;
use super::emulator::{ACCOUNT, Emulator, REGION};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One request that went through, in the order of arrival.
#[derive(Clone)]
pub struct Call {
    /// The signing name: `s3`, `sqs`, `lambda`, `apigateway`, `iam`, `sts`, `logs`.
    pub service: String,
    /// As botocore names it: `CreateFunction`; method and path where the table below doesn't know it.
    pub operation: String,
    /// Whether it may change something in the account.
    pub mutating: bool,
    pub method: String,
    /// With its query string.
    pub path: String,
    pub body: Bytes,
    /// What the caller got; `None` while it waits, and where the connection was cut.
    pub status: Option<u16>,
    /// Whether a fault was put in its way.
    pub faulty: bool,
    pub at: Instant,
}

impl Call {
    /// `lambda:CreateFunction`
    pub fn name(&self) -> String {
        format!("{}:{}", self.service, self.operation)
    }

    /// The body, where the protocol has JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A parameter of a query protocol's form body.
    pub fn form(&self, name: &str) -> Option<String> {
        let text = std::str::from_utf8(&self.body).ok()?;
        text.split('&').filter_map(|pair| pair.split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| percent_decode(value))
    }

    /// The ARN that IAM holds the caller's policy against; `*` where the operation has none. Source: the Service Authorization Reference.
    pub fn resource(&self) -> String {
        let body = self.json();
        let path = self.path.split('?').next().unwrap_or_default();
        let segments: Vec<String> = path.split('/').filter(|s| !s.is_empty()).map(percent_decode).collect();
        let text = |key: &str| body[key].as_str().map(str::to_owned);
        match self.service.as_str() {
            "apigateway" if path.starts_with("/tags/") => format!("arn:aws:apigateway:{REGION}::/tags/{}", segments[1..].join("/")),
            "apigateway" => format!("arn:aws:apigateway:{REGION}::{path}"),
            "s3" => match segments.as_slice() {
                [] => "*".into(),
                [bucket] => format!("arn:aws:s3:::{bucket}"),
                [bucket, key @ ..] => format!("arn:aws:s3:::{bucket}/{}", key.join("/")),
            },
            "sqs" => {
                let name = text("QueueName").or_else(|| text("QueueUrl").and_then(|url| url.rsplit('/').next().map(str::to_owned)));
                name.map_or("*".into(), |name| format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"))
            }
            "iam" => match (self.form("RoleName"), self.operation.as_str()) {
                (Some(role), operation) if operation != "ListRoles" => format!("arn:aws:iam::{ACCOUNT}:role/{role}"),
                _ => "*".into(),
            },
            "lambda" => {
                let at = segments.iter().position(|s| s == "functions" || s == "tags").and_then(|i| segments.get(i + 1)).cloned();
                match at.or_else(|| text("FunctionName")) {
                    Some(arn) if arn.starts_with("arn:") => arn,
                    Some(name) => format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"),
                    None => "*".into(),
                }
            }
            "logs" => match text("resourceArn").or_else(|| text("logGroupIdentifier")).or_else(|| text("logGroupName")) {
                Some(arn) if arn.starts_with("arn:") => arn,
                Some(group) => format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"),
                None => "*".into(),
            },
            _ => "*".into(),
        }
    }
}

/// Shows no body: it may hold a token's hash, and is long.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.map_or("-".into(), |s| s.to_string());
        write!(
            f,
            "{}:{} {} {} -> {status}{}",
            self.service,
            self.operation,
            self.method,
            self.path,
            if self.faulty { " (fault)" } else { "" }
        )
    }
}

/// Which call a fault is for. Numbers count from 1, from the moment at which the fault was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// `lambda:CreateFunction`, its n-th call.
    Operation(&'static str, usize),
    /// Every call of `lambda:CreateFunction`.
    Every(&'static str),
    /// The n-th call of any operation that may change something.
    Mutation(usize),
    /// The n-th call at all.
    Any(usize),
    /// Every call from the n-th on: the network is gone.
    From(usize),
}

/// What becomes of it.
#[derive(Clone)]
pub enum What {
    /// The caller gets this; the emulator nothing.
    Answer {
        status: u16,
        code: &'static str,
        message: &'static str,
    },
    /// The emulator gets the call and does it; the caller gets this.
    AnswerAfter {
        status: u16,
        code: &'static str,
        message: &'static str,
    },
    /// The connection is closed before the emulator gets the call.
    CutBefore,
    /// The connection is closed after the emulator did what was asked.
    CutAfter,
    Delay(Duration),
    /// The call waits until the gate is opened: time to look, or to end the caller.
    Hold(Gate),
    /// As `Hold`, but the emulator has done the call, and only the answer waits.
    HoldAfter(Gate),
}

#[derive(Clone)]
pub struct Fault {
    pub which: Which,
    pub what: What,
    seen: usize,
}

impl Fault {
    pub fn new(which: Which, what: What) -> Self {
        Fault { which, what, seen: 0 }
    }

    /// Whether it strikes now; each call is shown once to each fault.
    fn strikes(&mut self, name: &str, mutating: bool) -> bool {
        let counts = match &self.which {
            Which::Operation(operation, _) | Which::Every(operation) => *operation == name,
            Which::Mutation(_) => mutating,
            Which::Any(_) | Which::From(_) => true,
        };
        self.seen += usize::from(counts);
        counts
            && match self.which {
                Which::Operation(_, n) | Which::Mutation(n) | Which::Any(n) => self.seen == n,
                Which::From(n) => self.seen >= n,
                Which::Every(_) => true,
            }
    }
}

/// Where a call waits.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<GateState>, Condvar, tokio::sync::Notify)>);

#[derive(Default)]
struct GateState {
    reached: bool,
    open: bool,
}

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until a call stands before it; false when none came in time.
    pub fn reached(&self, within: Duration) -> bool {
        let guard = lock(&self.0.0);
        self.0.1.wait_timeout_while(guard, within, |state| !state.reached).is_ok_and(|(state, _)| state.reached)
    }

    pub fn open(&self) {
        lock(&self.0.0).open = true;
        self.0.2.notify_waiters();
        self.0.2.notify_one();
    }

    async fn pass(&self) {
        lock(&self.0.0).reached = true;
        self.0.1.notify_all();
        while !lock(&self.0.0).open {
            self.0.2.notified().await;
        }
        self.0.2.notify_one(); // whoever else stands there
    }
}

pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    calls: Mutex<Vec<Call>>,
    faults: Mutex<Vec<Fault>>,
    latency: Mutex<Duration>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Proxy {
    /// A proxy on a port of its own, before this emulator.
    pub fn start(emulator: &Emulator) -> Proxy {
        let shared = Arc::new(Shared {
            upstream: emulator.endpoint(),
            client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
            calls: Mutex::default(),
            faults: Mutex::default(),
            latency: Mutex::default(),
        });
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).expect("a port of 127.0.0.1");
        let address = listener.local_addr().expect("a bound socket has an address");
        let server = super::runtime().spawn(serve(listener, shared.clone()));
        Proxy { address, shared, server }
    }

    /// What `AWS_ENDPOINT_URL` is to be.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// The names of the calls so far that may have changed something.
    pub fn mutations(&self) -> Vec<String> {
        self.calls().iter().filter(|call| call.mutating).map(Call::name).collect()
    }

    /// Forgets the calls so far.
    pub fn clear(&self) {
        lock(&self.shared.calls).clear();
    }

    pub fn fault(&self, which: Which, what: What) {
        lock(&self.shared.faults).push(Fault::new(which, what));
    }

    /// From now on nothing is wrong.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// How much longer each call takes.
    pub fn latency(&self, latency: Duration) {
        *lock(&self.shared.latency) = latency;
    }

    /// As IAM answers who may not call `operation` (`lambda:CreateFunction`), every time.
    pub fn deny(&self, operation: &'static str) {
        self.fault(
            Which::Every(operation),
            What::Answer { status: 403, code: "AccessDenied", message: "User is not authorized to perform this" },
        );
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| handle(request, shared.clone()));
            // a cut connection ends here with an error, as it should
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The connection is to be cut.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut by a fault")
    }
}

impl std::error::Error for Cut {}

async fn handle(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Cut> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let path = parts.uri.path_and_query().map_or("/".into(), ToString::to_string);
    let (service, operation) = operation(parts.method.as_str(), &path, &parts.headers, &body);
    let mutating = mutates(&service, &operation);
    let name = format!("{service}:{operation}");
    let struck: Vec<What> =
        lock(&shared.faults).iter_mut().filter_map(|fault| fault.strikes(&name, mutating).then(|| fault.what.clone())).collect();
    let index = {
        let mut calls = lock(&shared.calls);
        let (method, faulty, at) = (parts.method.to_string(), !struck.is_empty(), Instant::now());
        calls.push(Call {
            service: service.clone(),
            operation,
            mutating,
            method,
            path: path.clone(),
            body: body.clone(),
            status: None,
            faulty,
            at,
        });
        (calls.len() - 1, at)
    };
    let latency = *lock(&shared.latency);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let mut after = None;
    for what in struck {
        match what {
            What::Delay(time) => tokio::time::sleep(time).await,
            What::Hold(gate) => gate.pass().await,
            What::CutBefore => return Err(Cut),
            What::Answer { status, code, message } => return Ok(finish(&shared, index, error(&service, status, code, message))),
            later => after = Some(later),
        }
    }
    let response = forward(&shared, parts, &path, body).await?;
    match after {
        Some(What::CutAfter) => return Err(Cut),
        Some(What::AnswerAfter { status, code, message }) => return Ok(finish(&shared, index, error(&service, status, code, message))),
        Some(What::HoldAfter(gate)) => gate.pass().await,
        _ => {}
    }
    Ok(finish(&shared, index, response))
}

/// Notes the status, where the log wasn't cleared in between.
fn finish(shared: &Shared, (index, at): (usize, Instant), response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    if let Some(call) = lock(&shared.calls).get_mut(index).filter(|call| call.at == at) {
        call.status = Some(response.status().as_u16());
    }
    response
}

async fn forward(shared: &Shared, parts: hyper::http::request::Parts, path: &str, body: Bytes) -> Result<Response<Full<Bytes>>, Cut> {
    let mut request = Request::builder().method(parts.method).uri(format!("{}{path}", shared.upstream));
    if let Some(headers) = request.headers_mut() {
        // Host stays: it is signed. What belongs to the connection goes.
        headers.extend(
            parts
                .headers
                .into_iter()
                .filter_map(|(name, value)| name.map(|name| (name, value)))
                .filter(|(name, _)| !["connection", "transfer-encoding", "content-length", "expect"].contains(&name.as_str())),
        );
    }
    let request = request.body(Full::new(body)).map_err(|_| Cut)?;
    let (mut parts, body) = shared.client.request(request).await.map_err(|_| Cut)?.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let head_length = parts.headers.remove("content-length");
    parts.headers.remove("transfer-encoding");
    parts.headers.remove("connection");
    if body.is_empty()
        && let Some(length) = head_length
    {
        parts.headers.insert("content-length", length); // the answer to a HEAD
    }
    Ok(Response::from_parts(parts, Full::new(body)))
}

/// An error as each service's protocol words it. Source: botocore's parsers.
fn error(service: &str, status: u16, code: &str, message: &str) -> Response<Full<Bytes>> {
    let (kind, body) = match service {
        "s3" => (
            "application/xml",
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message><RequestId>fault</RequestId></Error>"
            ),
        ),
        "iam" | "sts" => (
            "text/xml",
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>fault</RequestId></ErrorResponse>"
            ),
        ),
        // the JSON services call it AccessDeniedException
        _ => {
            let code = if code == "AccessDenied" { "AccessDeniedException" } else { code };
            ("application/x-amz-json-1.1", json!({"__type": code, "message": message, "Message": message}).to_string())
        }
    };
    let code = if code == "AccessDenied" && !["s3", "iam", "sts"].contains(&service) { "AccessDeniedException" } else { code };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).expect("a fault's status is a status");
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    response.headers_mut().insert("x-amzn-requestid", HeaderValue::from_static("fault"));
    if let (Ok(name), Ok(value)) = (HeaderName::try_from("x-amzn-errortype"), HeaderValue::from_str(code)) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Whether an operation of this name may change something in the account.
fn mutates(service: &str, operation: &str) -> bool {
    const READS: [&str; 9] = ["Get", "List", "Head", "Describe", "Receive", "Filter", "Lookup", "Simulate", "StartQuery"];
    service != "sts" && !READS.iter().any(|read| operation.starts_with(read))
}

/// The signing name and the operation of a request. Source: botocore's service models (`requestUri`, `targetPrefix`, `Action`).
fn operation(method: &str, path_and_query: &str, headers: &HeaderMap, body: &[u8]) -> (String, String) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, …
    let scope = header("authorization").and_then(|value| value.split("Credential=").nth(1)).and_then(|scope| scope.split('/').nth(3));
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let service = scope.unwrap_or("unsigned").to_owned();
    let operation = if let Some(target) = header("x-amz-target") {
        target.rsplit('.').next().map(str::to_owned)
    } else if let Some((_, operation)) = path.split_once("/operation/").filter(|(start, _)| start.starts_with("/service/")) {
        Some(operation.to_owned()) // smithy's RPC v2
    } else if service == "s3" {
        s3(method, path, query, headers)
    } else if matches!(service.as_str(), "lambda" | "apigateway") {
        rest(method, path)
    } else {
        std::str::from_utf8(body).ok().and_then(|form| form.split('&').find_map(|pair| pair.strip_prefix("Action="))).map(str::to_owned)
    };
    (service, operation.unwrap_or_else(|| format!("{method} {path}")))
}

fn s3(method: &str, path: &str, query: &str, headers: &HeaderMap) -> Option<String> {
    let segments = path.split('/').filter(|s| !s.is_empty()).count();
    let has = |key: &str| query.split('&').any(|pair| pair == key || pair.strip_prefix(key).is_some_and(|rest| rest.starts_with('=')));
    let verb = match method {
        "PUT" => "Put",
        "GET" => "Get",
        "DELETE" => "Delete",
        "HEAD" => "Head",
        "POST" => "Post",
        _ => return None,
    };
    if segments == 0 {
        return (method == "GET").then(|| "ListBuckets".into());
    }
    if segments > 1 {
        return Some(match (method, headers.contains_key("x-amz-copy-source")) {
            ("PUT", true) => "CopyObject".into(),
            _ if has("tagging") => format!("{verb}ObjectTagging"),
            _ => format!("{verb}Object"),
        });
    }
    const PARTS: [(&str, &str); 9] = [
        ("publicAccessBlock", "PublicAccessBlock"),
        ("encryption", "BucketEncryption"),
        ("lifecycle", "BucketLifecycleConfiguration"),
        ("ownershipControls", "BucketOwnershipControls"),
        ("policyStatus", "BucketPolicyStatus"),
        ("policy", "BucketPolicy"),
        ("tagging", "BucketTagging"),
        ("versioning", "BucketVersioning"),
        ("location", "BucketLocation"),
    ];
    if let Some((_, part)) = PARTS.iter().find(|(key, _)| has(key)) {
        return Some(match (method, *part) {
            ("DELETE", "BucketLifecycleConfiguration") => "DeleteBucketLifecycle".into(),
            _ => format!("{verb}{part}"),
        });
    }
    Some(
        match method {
            "GET" if has("versions") => "ListObjectVersions",
            "GET" if has("uploads") => "ListMultipartUploads",
            "GET" if has("list-type") => "ListObjectsV2",
            "GET" => "ListObjects",
            "POST" if has("delete") => "DeleteObjects",
            "PUT" => "CreateBucket",
            "DELETE" => "DeleteBucket",
            "HEAD" => "HeadBucket",
            _ => return None,
        }
        .into(),
    )
}

/// `*` is one segment, `**` the rest.
const REST: &[(&str, &str, &str)] = &[
    ("GET", "/2015-03-31/functions", "ListFunctions"),
    ("POST", "/2015-03-31/functions", "CreateFunction"),
    ("GET", "/2015-03-31/functions/*", "GetFunction"),
    ("DELETE", "/2015-03-31/functions/*", "DeleteFunction"),
    ("GET", "/2015-03-31/functions/*/configuration", "GetFunctionConfiguration"),
    ("PUT", "/2015-03-31/functions/*/configuration", "UpdateFunctionConfiguration"),
    ("PUT", "/2015-03-31/functions/*/code", "UpdateFunctionCode"),
    ("GET", "/2015-03-31/functions/*/versions", "ListVersionsByFunction"),
    ("POST", "/2015-03-31/functions/*/versions", "PublishVersion"),
    ("GET", "/2015-03-31/functions/*/policy", "GetPolicy"),
    ("POST", "/2015-03-31/functions/*/policy", "AddPermission"),
    ("DELETE", "/2015-03-31/functions/*/policy/*", "RemovePermission"),
    ("POST", "/2015-03-31/functions/*/invocations", "Invoke"),
    ("GET", "/2015-03-31/functions/*/aliases", "ListAliases"),
    ("GET", "/2017-03-31/tags/**", "ListTags"),
    ("POST", "/2017-03-31/tags/**", "TagResource"),
    ("DELETE", "/2017-03-31/tags/**", "UntagResource"),
    ("GET", "/restapis", "GetRestApis"),
    ("POST", "/restapis", "CreateRestApi"),
    ("GET", "/restapis/*", "GetRestApi"),
    ("PUT", "/restapis/*", "PutRestApi"),
    ("PATCH", "/restapis/*", "UpdateRestApi"),
    ("DELETE", "/restapis/*", "DeleteRestApi"),
    ("GET", "/restapis/*/resources", "GetResources"),
    ("POST", "/restapis/*/resources/*", "CreateResource"),
    ("GET", "/restapis/*/resources/*", "GetResource"),
    ("DELETE", "/restapis/*/resources/*", "DeleteResource"),
    ("GET", "/restapis/*/resources/*/methods/*", "GetMethod"),
    ("PUT", "/restapis/*/resources/*/methods/*", "PutMethod"),
    ("PATCH", "/restapis/*/resources/*/methods/*", "UpdateMethod"),
    ("DELETE", "/restapis/*/resources/*/methods/*", "DeleteMethod"),
    ("GET", "/restapis/*/resources/*/methods/*/integration", "GetIntegration"),
    ("PUT", "/restapis/*/resources/*/methods/*/integration", "PutIntegration"),
    ("PATCH", "/restapis/*/resources/*/methods/*/integration", "UpdateIntegration"),
    ("GET", "/restapis/*/resources/*/methods/*/integration/responses/*", "GetIntegrationResponse"),
    ("PUT", "/restapis/*/resources/*/methods/*/integration/responses/*", "PutIntegrationResponse"),
    ("PATCH", "/restapis/*/resources/*/methods/*/integration/responses/*", "UpdateIntegrationResponse"),
    ("PUT", "/restapis/*/resources/*/methods/*/responses/*", "PutMethodResponse"),
    ("GET", "/restapis/*/requestvalidators", "GetRequestValidators"),
    ("POST", "/restapis/*/requestvalidators", "CreateRequestValidator"),
    ("DELETE", "/restapis/*/requestvalidators/*", "DeleteRequestValidator"),
    ("GET", "/restapis/*/gatewayresponses", "GetGatewayResponses"),
    ("GET", "/restapis/*/gatewayresponses/*", "GetGatewayResponse"),
    ("PUT", "/restapis/*/gatewayresponses/*", "PutGatewayResponse"),
    ("PATCH", "/restapis/*/gatewayresponses/*", "UpdateGatewayResponse"),
    ("DELETE", "/restapis/*/gatewayresponses/*", "DeleteGatewayResponse"),
    ("GET", "/restapis/*/deployments", "GetDeployments"),
    ("POST", "/restapis/*/deployments", "CreateDeployment"),
    ("GET", "/restapis/*/deployments/*", "GetDeployment"),
    ("DELETE", "/restapis/*/deployments/*", "DeleteDeployment"),
    ("GET", "/restapis/*/stages", "GetStages"),
    ("POST", "/restapis/*/stages", "CreateStage"),
    ("GET", "/restapis/*/stages/*", "GetStage"),
    ("PATCH", "/restapis/*/stages/*", "UpdateStage"),
    ("DELETE", "/restapis/*/stages/*", "DeleteStage"),
    ("GET", "/restapis/*/stages/*/exports/*", "GetExport"),
    ("GET", "/tags/**", "GetTags"),
    ("PUT", "/tags/**", "TagResource"),
    ("DELETE", "/tags/**", "UntagResource"),
    ("GET", "/account", "GetAccount"),
];

fn rest(method: &str, path: &str) -> Option<String> {
    let path: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    REST.iter()
        .find(|(m, pattern, _)| {
            let pattern: Vec<&str> = pattern.split('/').filter(|s| !s.is_empty()).collect();
            let open = pattern.last() == Some(&"**");
            let fixed = if open { &pattern[..pattern.len() - 1] } else { &pattern[..] };
            *m == method
                && (path.len() == fixed.len() || open && path.len() > fixed.len())
                && fixed.iter().zip(&path).all(|(wanted, have)| *wanted == "*" || wanted == have)
        })
        .map(|(_, _, name)| (*name).to_owned())
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = (bytes[i] == b'%').then(|| bytes.get(i + 1..i + 3)).flatten().and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(if bytes[i] == b'+' { b' ' } else { bytes[i] });
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
