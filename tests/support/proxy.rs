//! A recording HTTP proxy between routeto and the emulator: it says which AWS operations were
//! called, and can fail, delay, cut or hold any of them.
//!
//! It knows the services' wire protocols as far as naming an operation and answering with an error
//! needs it. It may change no request that it passes on.

use super::Signal;
use super::block_on;
use super::emulator::{ACCOUNT, Emulator, REGION};
use super::run::{Output, Routeto, Running};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One request that went through, in the order of arrival.
#[derive(Clone)]
pub struct Call {
    /// The signing name: `s3`, `sqs`, `lambda`, `apigateway`, `iam`, `sts`, `logs`.
    pub service: String,
    /// As botocore names it: `CreateFunction`; method and path where the table below doesn't know
    /// it.
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
    /// When the answer went back; `None` as `status`.
    pub end: Option<Instant>,
    /// Of a proxy in lockstep, from 1.
    pub round: usize,
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
        text.split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(n, _)| *n == name)
            .map(|(_, value)| percent_decode(value))
    }

    /// The ARN that IAM holds the caller's policy against; `*` where the operation has none.
    /// Source: the Service Authorization Reference.
    pub fn resource(&self) -> String {
        let body = self.json();
        let path = self.path.split('?').next().unwrap_or_default();
        let segments: Vec<String> =
            path.split('/').filter(|s| !s.is_empty()).map(percent_decode).collect();
        let text = |key: &str| body[key].as_str().map(str::to_owned);
        match self.service.as_str() {
            "apigateway" if path.starts_with("/tags/") => {
                format!("arn:aws:apigateway:{REGION}::/tags/{}", segments[1..].join("/"))
            }
            "apigateway" => format!("arn:aws:apigateway:{REGION}::{path}"),
            "s3" => match segments.as_slice() {
                [] => "*".into(),
                [bucket] => format!("arn:aws:s3:::{bucket}"),
                [bucket, key @ ..] => format!("arn:aws:s3:::{bucket}/{}", key.join("/")),
            },
            "sqs" => {
                let name = text("QueueName").or_else(|| {
                    text("QueueUrl").and_then(|url| url.rsplit('/').next().map(str::to_owned))
                });
                name.map_or("*".into(), |name| format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"))
            }
            "iam" => match (self.form("RoleName"), self.operation.as_str()) {
                (Some(role), operation) if operation != "ListRoles" => {
                    format!("arn:aws:iam::{ACCOUNT}:role/{role}")
                }
                _ => "*".into(),
            },
            "lambda" => {
                let at = segments
                    .iter()
                    .position(|s| s == "functions" || s == "tags")
                    .and_then(|i| segments.get(i + 1))
                    .cloned();
                match at.or_else(|| text("FunctionName")) {
                    Some(arn) if arn.starts_with("arn:") => arn,
                    Some(name) => format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"),
                    None => "*".into(),
                }
            }
            "logs" => match text("resourceArn")
                .or_else(|| text("logGroupIdentifier"))
                .or_else(|| text("logGroupName"))
            {
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
    /// The n-th call of any that may not.
    Read(usize),
    /// The n-th call at all.
    Any(usize),
    /// Every call from the n-th on: the network is gone.
    From(usize),
    /// The first n calls of an operation.
    First(&'static str, usize),
    /// Calls of an operation for this long, from its first call on.
    During(&'static str, Duration),
    /// The first so many reads that follow the first call of another operation.
    AfterFirst { change: &'static str, read: &'static str, times: usize },
    /// So many of ten calls, the same ones of each operation for a seed; not those of a stage's own
    /// URL.
    Share { tenths: u64, seed: u64 },
    /// As `During`, for reads that follow the first call of another operation: what a change needs
    /// time for to be seen.
    After { change: &'static str, read: &'static str, time: Duration },
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
    /// The caller hears that it is to go slower, in the service's own words; the emulator nothing.
    Throttled,
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
    /// As `Answer`, in whatever form: an HTML page, an empty list.
    Body {
        status: u16,
        kind: &'static str,
        text: String,
    },
    /// The answer ends in its middle.
    Truncate,
    Delay(Duration),
    /// The answer says that it is so many seconds later than it is.
    Later(u64),
    /// As `Body`, by API Gateway itself with this `x-amzn-ErrorType`.
    Gateway {
        status: u16,
        error_type: &'static str,
        message: &'static str,
    },
    /// Nothing ever comes back; the emulator gets nothing.
    Silence,
    /// The caller gets a signal, and its call goes nowhere.
    Signal(Caller, Signal),
    /// The caller gets a signal when the emulator has done what was asked.
    SignalAfter(Caller, Signal),
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
    since: Option<Instant>,
    changed: bool,
    /// Calls so far, by operation.
    counts: HashMap<String, u64>,
}

impl Fault {
    pub fn new(which: Which, what: What) -> Self {
        Fault { which, what, seen: 0, since: None, changed: false, counts: HashMap::new() }
    }

    /// Whether it strikes now; each call is shown once to each fault.
    fn strikes(&mut self, name: &str, mutating: bool) -> bool {
        if let Which::Share { tenths, seed } = self.which {
            let nth = self.counts.entry(name.to_owned()).or_default();
            *nth += 1;
            let mut hasher = DefaultHasher::new();
            (seed, name, *nth).hash(&mut hasher);
            return !name.starts_with("execute-api:") && hasher.finish() % 10 < tenths;
        }
        if let Which::AfterFirst { change, read, times } = self.which {
            let counts = self.changed && read == name;
            self.changed |= change == name;
            self.seen += usize::from(counts);
            return counts && self.seen <= times;
        }
        let counts = match &self.which {
            Which::Operation(operation, _)
            | Which::Every(operation)
            | Which::First(operation, _)
            | Which::During(operation, _) => *operation == name,
            Which::After { change, read, .. } | Which::AfterFirst { change, read, .. } => {
                *change == name || *read == name
            }
            Which::Mutation(_) => mutating,
            Which::Read(_) => !mutating,
            Which::Any(_) | Which::From(_) | Which::Share { .. } => true,
        };
        self.seen += usize::from(counts);
        if let Which::After { change, read, .. } = self.which {
            self.changed |= change == name;
            // from the first such read on: on a busy machine it may come late
            if self.changed && read == name && self.since.is_none() {
                self.since = Some(Instant::now());
            }
        } else if counts && self.since.is_none() {
            self.since = Some(Instant::now());
        }
        counts
            && match self.which {
                Which::Operation(_, n) | Which::Mutation(n) | Which::Read(n) | Which::Any(n) => {
                    self.seen == n
                }
                Which::From(n) => self.seen >= n,
                Which::First(_, n) => self.seen <= n,
                Which::During(_, time) => self.since.is_some_and(|since| since.elapsed() < time),
                Which::After { read, time, .. } => {
                    read == name && self.since.is_some_and(|since| since.elapsed() < time)
                }
                Which::AfterFirst { .. } | Which::Share { .. } => false, // told above
                Which::Every(_) => true,
            }
    }
}

/// The process whose calls go through, once it runs.
#[derive(Clone, Default)]
pub struct Caller(Arc<AtomicI32>, Arc<Mutex<Option<Instant>>>);

impl Caller {
    pub fn is(&self, process: u32) {
        self.0.store(process.cast_signed(), Ordering::SeqCst);
    }

    /// When it got a signal.
    pub fn signalled(&self) -> Option<Instant> {
        *lock(&self.1)
    }

    /// Waits for the process to be known: its first call may come before whoever started it has
    /// said so.
    async fn signal(&self, signal: Signal) {
        for _ in 0..1000 {
            if let Some(process) = Pid::from_raw(self.0.load(Ordering::SeqCst)) {
                *lock(&self.1) = Some(Instant::now());
                let _ = kill_process(process, signal); // it may have ended by itself
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// API Gateway's published quotas for an account. Source: its developer guide, "Quotas for
/// creating, deploying and managing an API".
struct Quotas {
    /// Operation, burst, calls a second; tokens left, and since when.
    buckets: Vec<(&'static str, f64, f64, f64, Instant)>,
}

impl Quotas {
    /// `speed` times as fast as the world's clock.
    fn new(speed: f64) -> Self {
        let quotas = [
            ("", 40.0, 10.0),
            ("CreateRestApi", 1.0, 1.0 / 3.0),
            ("PutRestApi", 1.0, 1.0),
            ("DeleteRestApi", 1.0, 1.0 / 30.0),
            ("CreateDeployment", 1.0, 1.0 / 5.0),
            ("GetResources", 5.0, 5.0 / 2.0),
            ("CreateResource", 5.0, 5.0),
            ("DeleteResource", 5.0, 5.0),
        ];
        Quotas {
            buckets: quotas
                .map(|(name, burst, rate)| (name, burst, rate * speed, burst, Instant::now()))
                .into(),
        }
    }

    /// Seconds to wait for, where it is over one of them.
    fn over(&mut self, operation: &str) -> Option<u64> {
        let mut wait: Option<f64> = None;
        for (name, burst, rate, tokens, since) in &mut self.buckets {
            if name.is_empty() || *name == operation {
                *tokens = (*tokens + since.elapsed().as_secs_f64() * *rate).min(*burst);
                *since = Instant::now();
                *tokens -= 1.0;
                // a call that comes a few milliseconds early is no sign of anything: networks
                // jitter
                if *tokens < -0.1 {
                    wait = Some(wait.unwrap_or(0.0).max(-*tokens / *rate));
                    *tokens += 1.0;
                }
            }
        }
        wait.map(|seconds| seconds.ceil().max(1.0) as u64)
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
        self.0
            .1
            .wait_timeout_while(guard, within, |state| !state.reached)
            .is_ok_and(|(state, _)| state.reached)
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
    quotas: Mutex<Option<Quotas>>,
    rounds: Mutex<Option<Arc<Rounds>>>,
}

/// Calls that go together.
#[derive(Default)]
struct Rounds {
    state: Mutex<RoundState>,
    changed: tokio::sync::Notify,
}

#[derive(Default)]
struct RoundState {
    /// The round that was begun last.
    round: usize,
    /// Calls of the next round, and when the last one or the last answer came.
    waiting: usize,
    since: Option<Instant>,
    /// Calls of this round that are not done yet.
    running: usize,
}

impl Rounds {
    fn start(&self, quiet: Duration) {
        let mut state = lock(&self.state);
        if state.running == 0
            && state.waiting > 0
            && state.since.is_some_and(|since| since.elapsed() >= quiet)
        {
            state.round += 1;
            state.running = std::mem::take(&mut state.waiting);
            self.changed.notify_waiters();
        }
    }

    async fn until(&self, done: impl Fn(&RoundState) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if done(&lock(&self.state)) {
                return;
            }
            changed.await;
        }
    }

    /// Waits for the next round.
    async fn enter(self: &Arc<Self>) -> Member {
        let member = {
            let mut state = lock(&self.state);
            state.waiting += 1;
            state.since = Some(Instant::now());
            Member { rounds: self.clone(), round: state.round + 1 }
        };
        self.until(|state| state.round >= member.round).await;
        member
    }

    /// Waits until all of the round are done.
    async fn leave(&self, member: Member) {
        let round = member.round;
        drop(member);
        self.until(|state| state.round > round || state.running == 0).await;
    }
}

/// A call's place in its round. A caller that goes away before it is answered gives it up, or the
/// round would never end.
struct Member {
    rounds: Arc<Rounds>,
    round: usize,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = lock(&self.rounds.state);
        if state.round < self.round {
            state.waiting -= 1;
            return;
        }
        state.running -= 1;
        if state.running == 0 {
            state.since = Some(Instant::now());
            self.rounds.changed.notify_waiters();
        }
    }
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
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(HttpConnector::new()),
            calls: Mutex::default(),
            faults: Mutex::default(),
            latency: Mutex::default(),
            quotas: Mutex::default(),
            rounds: Mutex::default(),
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

    /// What `ROUTETO_INVOKE_URL` is to be for POSTs to go through as well, as `execute-api:Invoke`.
    pub fn invoke_url(&self) -> String {
        format!("{}/_aws/execute-api/{{api}}/{{stage}}", self.url())
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// The names of the calls so far that may have changed something.
    pub fn mutations(&self) -> Vec<String> {
        self.calls().iter().filter(|call| call.mutating).map(Call::name).collect()
    }

    /// From now on calls go in rounds: all that were sent while nothing was answered are answered
    /// together, when no other came for `quiet`. So a round is a round trip, whatever the
    /// machine is busy with.
    pub fn lockstep(&self, quiet: Duration) {
        let rounds = Arc::new(Rounds::default());
        *lock(&self.shared.rounds) = Some(rounds.clone());
        super::runtime().spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                rounds.start(quiet);
            }
        });
    }

    /// The calls of each round so far; polls for a function's state aside, and rounds that have
    /// nothing else in them.
    pub fn rounds(&self) -> Vec<Vec<Call>> {
        let mut rounds: std::collections::BTreeMap<usize, Vec<Call>> =
            std::collections::BTreeMap::new();
        for call in self.calls() {
            if call.operation != "GetFunctionConfiguration" {
                rounds.entry(call.round).or_default().push(call);
            }
        }
        rounds.into_values().collect()
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

    /// From now on API Gateway's quotas hold, on a clock that goes `speed` times as fast as the
    /// world's.
    pub fn quotas(&self, speed: u32) {
        *lock(&self.shared.quotas) = Some(Quotas::new(f64::from(speed)));
    }

    /// The command at the moment when `operation` was carried out for the first time and it doesn't
    /// know that yet; opening the gate tells it.
    pub fn held_after(&self, operation: &'static str, command: Routeto) -> (Running, Gate) {
        let gate = Gate::new();
        self.fault(Which::Operation(operation, 1), What::HoldAfter(gate.clone()));
        let running = command.spawn();
        assert!(
            gate.reached(Duration::from_secs(60)),
            "{operation} was never called: {:?}",
            self.calls()
        );
        (running, gate)
    }

    /// Starts a command, interrupts it once this operation was carried out and before its answer
    /// came, and gives what it said.
    pub fn interrupted_after(&self, operation: &'static str, command: Routeto) -> Output {
        let (running, gate) = self.held_after(operation, command);
        running.interrupt();
        let interrupted = Instant::now();
        let output = running.wait();
        let ended = interrupted.elapsed();
        gate.open();
        assert_eq!(output.status, 130, "{output:?}");
        // a second, and what a busy machine adds to it
        assert!(ended < Duration::from_secs(3), "{operation}: it ended {ended:?} after Ctrl-C");
        output
    }

    /// As IAM answers who may not call `operation` (`lambda:CreateFunction`), every time.
    pub fn deny(&self, operation: &'static str) {
        self.fault(
            Which::Every(operation),
            What::Answer {
                status: 403,
                code: "AccessDenied",
                message: "User is not authorized to perform this",
            },
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
            let socket = rustix::io::dup(&stream);
            let service = service_fn(|request| handle(request, shared.clone()));
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
            // a cut connection ends here with an error, as it should, and is reset, not closed
            if let (Err(_), Ok(socket)) = (served, socket) {
                let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
            }
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

async fn handle(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Cutting>, Cut> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let path = parts.uri.path_and_query().map_or("/".into(), ToString::to_string);
    let (service, operation) = operation(parts.method.as_str(), &path, &parts.headers, &body);
    let mutating = mutates(&service, &operation);
    let name = format!("{service}:{operation}");
    let struck: Vec<What> = lock(&shared.faults)
        .iter_mut()
        .filter_map(|fault| fault.strikes(&name, mutating).then(|| fault.what.clone()))
        .collect();
    let index = {
        let mut calls = lock(&shared.calls);
        let (method, faulty, at) = (parts.method.to_string(), !struck.is_empty(), Instant::now());
        calls.push(Call {
            service: service.clone(),
            operation: operation.clone(),
            mutating,
            method,
            path: path.clone(),
            body: body.clone(),
            status: None,
            faulty,
            at,
            end: None,
            round: 0,
        });
        (calls.len() - 1, at)
    };
    let latency = *lock(&shared.latency);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let over = lock(&shared.quotas)
        .as_mut()
        .filter(|_| service == "apigateway")
        .and_then(|quotas| quotas.over(&operation));
    if let Some(seconds) = over {
        let mut response = error(&service, 429, "TooManyRequestsException", "Too Many Requests");
        response.headers_mut().insert("retry-after", HeaderValue::from(seconds));
        return Ok(finish(&shared, index, response));
    }
    let mut after = None;
    for what in struck {
        match what {
            What::Delay(time) => tokio::time::sleep(time).await,
            What::Hold(gate) => gate.pass().await,
            What::CutBefore => return Err(Cut),
            What::Silence => std::future::pending().await,
            What::Signal(caller, signal) => {
                caller.signal(signal).await;
                return unheard(signal).await;
            }
            What::Answer { status, code, message } => {
                return Ok(finish(&shared, index, error(&service, status, code, message)));
            }
            What::Throttled => {
                let (status, code) = slower(&service);
                return Ok(finish(&shared, index, error(&service, status, code, "slower")));
            }
            What::Body { status, kind, text } => {
                return Ok(finish(&shared, index, with_body(status, kind, text)));
            }
            What::Gateway { status, error_type, message } => {
                let mut response = with_body(
                    status,
                    "application/json",
                    json!({ "message": message }).to_string(),
                );
                response
                    .headers_mut()
                    .insert("x-amzn-errortype", HeaderValue::from_static(error_type));
                return Ok(finish(&shared, index, response));
            }
            later => after = Some(later),
        }
    }
    let rounds = lock(&shared.rounds).clone();
    let member = match &rounds {
        Some(rounds) => Some(rounds.enter().await),
        None => None,
    };
    if let Some(call) = lock(&shared.calls).get_mut(index.0).filter(|call| call.at == index.1) {
        call.round = member.as_ref().map_or(0, |member| member.round);
    }
    let response = forward(&shared, parts, &path, body).await;
    if let (Some(rounds), Some(member)) = (&rounds, member) {
        rounds.leave(member).await;
    }
    let mut response = response?;
    match after {
        Some(What::Later(seconds)) => {
            let date = SystemTime::now() + Duration::from_secs(seconds);
            let date = HeaderValue::from_str(&httpdate::fmt_http_date(date))
                .expect("a date is a header's value");
            response.headers_mut().insert("date", date);
        }
        Some(What::CutAfter) => return Err(Cut),
        Some(What::AnswerAfter { status, code, message }) => {
            return Ok(finish(&shared, index, error(&service, status, code, message)));
        }
        Some(What::HoldAfter(gate)) => gate.pass().await,
        Some(What::SignalAfter(caller, signal)) => {
            caller.signal(signal).await;
            return unheard(signal).await;
        }
        Some(What::Truncate) => {
            let mut response = finish(&shared, index, response);
            response.body_mut().cut = true;
            return Ok(response);
        }
        _ => {}
    }
    Ok(finish(&shared, index, response))
}

/// No answer to a call whose caller got a signal: one that waits for it waits for ever.
async fn unheard<T>(signal: Signal) -> Result<T, Cut> {
    match signal {
        Signal::KILL => Err(Cut),
        _ => std::future::pending().await,
    }
}

/// A body that may end in its middle.
struct Cutting {
    data: Option<Bytes>,
    length: u64,
    cut: bool,
    /// The first half is on its way before the connection ends.
    pause: std::pin::Pin<Box<tokio::time::Sleep>>,
}

impl hyper::body::Body for Cutting {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Cut>>> {
        let data = self.data.take().filter(|data| !data.is_empty());
        std::task::Poll::Ready(match data {
            Some(data) if self.cut => {
                Some(Ok(hyper::body::Frame::data(data.slice(..data.len() / 2))))
            }
            Some(data) => Some(Ok(hyper::body::Frame::data(data))),
            None if self.cut => {
                std::task::ready!(std::future::Future::poll(self.pause.as_mut(), context));
                Some(Err(Cut))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0 && !self.cut
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.length)
    }
}

/// Notes the status, where the log wasn't cleared in between.
fn finish(
    shared: &Shared,
    (index, at): (usize, Instant),
    response: Response<Full<Bytes>>,
) -> Response<Cutting> {
    if let Some(call) = lock(&shared.calls).get_mut(index).filter(|call| call.at == at) {
        call.status = Some(response.status().as_u16());
        call.end = Some(Instant::now());
    }
    response.map(|body| {
        let length = hyper::body::Body::size_hint(&body).exact().unwrap_or(0);
        let data = futures_util::FutureExt::now_or_never(body.collect())
            .and_then(Result::ok)
            .map(|body| body.to_bytes());
        Cutting {
            data,
            length,
            cut: false,
            pause: Box::pin(tokio::time::sleep(Duration::from_millis(30))),
        }
    })
}

async fn forward(
    shared: &Shared,
    parts: hyper::http::request::Parts,
    path: &str,
    body: Bytes,
) -> Result<Response<Full<Bytes>>, Cut> {
    let mut request =
        Request::builder().method(parts.method).uri(format!("{}{path}", shared.upstream));
    if let Some(headers) = request.headers_mut() {
        // Host stays: it is signed. What belongs to the connection goes.
        headers.extend(
            parts
                .headers
                .into_iter()
                .filter_map(|(name, value)| name.map(|name| (name, value)))
                .filter(|(name, _)| {
                    !["connection", "transfer-encoding", "content-length", "expect"]
                        .contains(&name.as_str())
                }),
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

fn with_body(status: u16, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(status).expect("a fault's status is a status");
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    response
}

/// How each service says that it is to go slower. Sources: botocore's retry tables and models, S3's
/// error responses.
fn slower(service: &str) -> (u16, &'static str) {
    match service {
        "s3" => (503, "SlowDown"),
        "sqs" => (403, "OverLimit"),
        "iam" | "sts" => (400, "Throttling"),
        "logs" => (400, "ThrottlingException"),
        _ => (429, "TooManyRequestsException"),
    }
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
            (
                "application/x-amz-json-1.1",
                json!({"__type": code, "message": message, "Message": message}).to_string(),
            )
        }
    };
    let code = if code == "AccessDenied" && !["s3", "iam", "sts"].contains(&service) {
        "AccessDeniedException"
    } else {
        code
    };
    let mut response = with_body(status, kind, body);
    response.headers_mut().insert("x-amzn-requestid", HeaderValue::from_static("fault"));
    if status == 429 {
        response.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
    }
    if let (Ok(name), Ok(value)) =
        (HeaderName::try_from("x-amzn-errortype"), HeaderValue::from_str(code))
    {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Whether an operation of this name may change something in the account.
fn mutates(service: &str, operation: &str) -> bool {
    const READS: [&str; 9] = [
        "Get",
        "List",
        "Head",
        "Describe",
        "Receive",
        "Filter",
        "Lookup",
        "Simulate",
        "StartQuery",
    ];
    !["sts", "execute-api"].contains(&service)
        && !READS.iter().any(|read| operation.starts_with(read))
}

/// The signing name and the operation of a request. Source: botocore's service models
/// (`requestUri`, `targetPrefix`, `Action`).
fn operation(
    method: &str,
    path_and_query: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> (String, String) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, …
    let scope = header("authorization")
        .and_then(|value| value.split("Credential=").nth(1))
        .and_then(|scope| scope.split('/').nth(3));
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    if path.starts_with("/_aws/execute-api/") {
        return ("execute-api".into(), "Invoke".into());
    }
    let service = scope.unwrap_or("unsigned").to_owned();
    let operation = if let Some(target) = header("x-amz-target") {
        target.rsplit('.').next().map(str::to_owned)
    } else if let Some((_, operation)) =
        path.split_once("/operation/").filter(|(start, _)| start.starts_with("/service/"))
    {
        Some(operation.to_owned()) // smithy's RPC v2
    } else if service == "s3" {
        s3(method, path, query, headers)
    } else if matches!(service.as_str(), "lambda" | "apigateway") {
        rest(method, path)
    } else {
        std::str::from_utf8(body)
            .ok()
            .and_then(|form| form.split('&').find_map(|pair| pair.strip_prefix("Action=")))
            .map(str::to_owned)
    };
    (service, operation.unwrap_or_else(|| format!("{method} {path}")))
}

fn s3(method: &str, path: &str, query: &str, headers: &HeaderMap) -> Option<String> {
    let segments = path.split('/').filter(|s| !s.is_empty()).count();
    let has = |key: &str| {
        query.split('&').any(|pair| {
            pair == key || pair.strip_prefix(key).is_some_and(|rest| rest.starts_with('='))
        })
    };
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
    (
        "PATCH",
        "/restapis/*/resources/*/methods/*/integration/responses/*",
        "UpdateIntegrationResponse",
    ),
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
        let hex = (bytes[i] == b'%')
            .then(|| bytes.get(i + 1..i + 3))
            .flatten()
            .and_then(|h| std::str::from_utf8(h).ok());
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
