//! The HTTP server around the [`gateway`]: takes requests off the wire, has the function called,
//! sends the answer, tells of it. Decides nothing.
//!
//! Every request is carried to its end in a task of its own, as Lambda would: a caller that hangs
//! up stops nothing.

use super::{
    PIECE_PATIENCE,
    exchange::{
        Again, Exchange, FunctionSaid, Request as Sent, Response as Answer, Stored, TemplateUsed,
        TokenSent,
    },
    gateway::{Arrival, Gateway, Ids, Outcome, Reply, Target, Verdict, busy},
    inspector::{Backend, Outgoing, Overview, RouteInfo},
    journal::Journal,
    mask::{Mask, Secrets},
    now,
    room::{Held, NoRoom, Room, SMALL},
    store::noting,
    tape::{self, Tape, Taped},
    uuid_text,
};
use crate::{
    coding::{self, LARGEST_BODY},
    error::Failure,
    observed::Secret,
    render::decode_path,
    report::Report,
    spec::{Destination, Stack, TokenRule},
};
use axum::{Router, body::Body, extract::ConnectInfo};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::service::{Service, service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use routeto_function::{Handled, Invocation, Sinks, handle};
use serde_json::json;
use std::{
    collections::BTreeMap,
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{Notify, oneshot, watch},
    task::block_in_place,
    time::timeout,
};

/// Why a request isn't looked at.
const TOO_MANY: &str = "too many large requests at once; send it again";
/// Until a request's head is complete.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// For a whole body. Source: API Gateway quotas, "Idle connection timeout", 310 s: a slower caller
/// gets no answer from AWS either.
const BODY_PATIENCE: Duration = Duration::from_secs(310);
/// What is over [`LARGEST_BODY`] is read and dropped up to here, so that the caller, who is still
/// sending, gets to see the answer.
const DROPPED_BODY: usize = 8 * LARGEST_BODY;
/// From its room on, a body may be late by this much.
const PACE_GRACE: Duration = Duration::from_secs(10);
/// Bytes a second, about as many as bring the largest body within [`BODY_PATIENCE`].
const PACE: usize = 32 * 1024;
/// More than the gateway takes, so that its own answer to that can be seen; beyond it hyper answers
/// 431.
const HEAD_BUFFER: usize = 256 * 1024;
const HEADERS: usize = 400;
/// What is in flight when the server stops gets as long as a request may take.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// For answers to leave, and for requests to the S3 and SQS endpoint to end, when all else is done.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// What is served at a moment; replaced as a whole when the stack file changes.
pub struct Live {
    pub stack: Stack,
    pub gateway: Gateway,
    /// Of the stages, in clear.
    pub tokens: BTreeMap<String, Secret>,
    /// The same, and what the stages compare them with.
    secrets: Secrets,
}

impl Live {
    pub fn new(stack: Stack, gateway: Gateway, tokens: BTreeMap<String, Secret>) -> Live {
        let valid = stack.stages.iter().filter_map(|stage| gateway.valid_token(&stage.name));
        let secrets = Secrets::new(tokens.values().chain(valid).map(|secret| secret.0.as_str()));
        Live { stack, gateway, tokens, secrets }
    }
}

/// Where the function puts records.
#[async_trait::async_trait]
pub trait Destinations: Send + Sync {
    /// # Errors
    /// No credentials.
    async fn sinks(&self) -> Result<Arc<Sinks>, Failure>;

    /// A record's bytes; `None` where it is no longer there.
    ///
    /// # Errors
    /// It can't be read from here.
    async fn stored(&self, record: &Stored) -> Result<Option<Bytes>, Failure>;

    /// Why no more records can be stored, where that is known here; in plain words.
    fn unstored(&self) -> Option<String> {
        None
    }
}

pub struct Server {
    live: RwLock<Arc<Live>>,
    /// What is wrong with the stack file since it was last changed.
    problem: RwLock<Option<String>>,
    /// Why records can't be stored any more.
    unstored: RwLock<Option<String>>,
    destinations: Box<dyn Destinations>,
    journal: Arc<Journal>,
    room: Room,
    report: Report,
    /// `http://127.0.0.1:3000`
    url: String,
    port: u16,
    started: Instant,
    flight: Flight,
}

/// The requests that are under way.
#[derive(Default)]
struct Flight {
    count: AtomicUsize,
    landed: Notify,
}

struct Aboard(Arc<Server>);

impl Drop for Aboard {
    fn drop(&mut self) {
        if self.0.flight.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.flight.landed.notify_waiters();
        }
    }
}

/// A request as it came.
pub struct Arrived {
    pub method: String,
    /// Path and query, percent-encoded.
    pub target: String,
    /// `HTTP/1.1`
    pub version: &'static str,
    /// In order, names as sent.
    pub headers: Vec<(String, String)>,
    pub body: Content,
    /// Of the body.
    pub held: Held,
    pub peer: SocketAddr,
    /// Which request the page sends again with it.
    pub again: Option<Again>,
}

/// A request's body, if it is here.
pub enum Content {
    Whole(Vec<u8>),
    /// More than the gateway takes.
    TooLarge,
    /// Read and dropped: too many large ones are here.
    NoRoom,
}

/// What belongs to one connection.
#[derive(Clone)]
struct Connection {
    tape: Tape,
    peer: SocketAddr,
}

impl Server {
    pub fn new(
        live: Live,
        destinations: Box<dyn Destinations>,
        journal: Arc<Journal>,
        report: Report,
        url: String,
        port: u16,
    ) -> Arc<Server> {
        let live = RwLock::new(Arc::new(live));
        let (problem, unstored, started, flight) =
            (RwLock::default(), RwLock::default(), Instant::now(), Flight::default());
        let room = Room::default();
        Arc::new(Server {
            live,
            problem,
            unstored,
            destinations,
            journal,
            room,
            report,
            url,
            port,
            started,
            flight,
        })
    }

    pub fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From the next request on.
    pub fn replace(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        self.complain(None);
    }

    /// Shows on the page what is wrong with the stack file, or that nothing is any more.
    pub fn complain(&self, problem: Option<String>) {
        *self.problem.write().unwrap_or_else(PoisonError::into_inner) = problem;
        self.journal.changed();
    }

    /// Says in the log and on the page when records can't be stored any more, and when they can
    /// again.
    fn look_at_the_store(&self, status: u16) {
        let known = self.unstored.read().unwrap_or_else(PoisonError::into_inner).is_some();
        if status < 500 && !known {
            return;
        }
        let found = self.destinations.unstored();
        let mut unstored = self.unstored.write().unwrap_or_else(PoisonError::into_inner);
        if *unstored == found {
            return;
        }
        unstored.clone_from(&found);
        // Printing may block, and the page must still get its overview then.
        drop(unstored);
        match found {
            Some(why) => self.report.warning(&why),
            None => self.report.note(&format!("{} records can be stored again", clock(now()))),
        }
        self.journal.changed();
    }

    fn board(self: &Arc<Self>) -> Aboard {
        self.flight.count.fetch_add(1, Ordering::AcqRel);
        Aboard(self.clone())
    }

    /// Until nothing is under way.
    async fn landed(&self) {
        loop {
            let landed = self.flight.landed.notified();
            if self.flight.count.load(Ordering::Acquire) == 0 {
                return;
            }
            landed.await;
        }
    }

    /// All paths that nothing else answers.
    pub fn router(self: &Arc<Self>) -> Router {
        let server = self.clone();
        Router::new().fallback(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.answer(request).await }
        })
    }

    async fn answer(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let aboard = self.board();
        let (head, body) = request.into_parts();
        let Some(Connection { tape, peer }) = head.extensions.get::<Connection>().cloned() else {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "no connection");
        };
        let length = head
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        let read = read_body(body, length, &self.room).await;
        let mut headers = tape.headers(&head.headers).unwrap_or_else(|| {
            head.headers
                .iter()
                .map(|(name, value)| (name.to_string(), tape::text(value.as_bytes())))
                .collect()
        });
        // HTTP/2 has it in the request's own line.
        if let Some(authority) = head.uri.authority()
            && !head.headers.contains_key(header::HOST)
        {
            headers.push(("Host".to_owned(), authority.to_string()));
        }
        let (body, held) = match read {
            Ok(read) => read,
            Err(unread) => {
                self.report.note(&format!("{} a request was dropped: {unread}", clock(now())));
                return refusal(unread.status(), &unread.to_string());
            }
        };
        tape.rewind();
        let arrived = Arrived {
            method: head.method.to_string(),
            target: head.uri.path_and_query().map_or_else(|| "/".into(), ToString::to_string),
            version: if head.version == http::Version::HTTP_2 { "HTTP/2.0" } else { "HTTP/1.1" },
            headers,
            body,
            held,
            peer,
            again: None,
        };
        let without_body = head.method == http::Method::HEAD;
        let (send, reply) = oneshot::channel();
        tokio::spawn(async move {
            self.take(arrived, Some(send)).await;
            drop(aboard);
        });
        match reply.await {
            Ok(reply) => response(reply, without_body),
            // The task panicked: what the caller sees of a gateway that failed.
            Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
        }
    }

    /// Carries a request to its end; `reply` hears the answer as soon as it is there. Answers the
    /// exchange's id once it is recorded.
    pub async fn take(
        &self,
        mut arrived: Arrived,
        reply: Option<oneshot::Sender<Reply>>,
    ) -> Option<u64> {
        let begun = Instant::now();
        let time = now();
        let id = self.journal.next_id();
        let live = self.live();
        let target = Target::parse(&arrived.target);
        let ids = match ids(time) {
            Ok(ids) => ids,
            Err(what) => {
                self.report.warning(&format!("a request can't be answered: {what}"));
                return None;
            }
        };
        let length = match &arrived.body {
            Content::Whole(body) => body.len(),
            Content::TooLarge | Content::NoRoom => 0,
        };
        // To the end, which is the journal's line.
        let held = std::mem::take(&mut arrived.held);
        let becomes_large = match &arrived.body {
            Content::Whole(body) => {
                length <= SMALL && coding::inflates_over(SMALL, &arrived.headers, body)
            }
            Content::TooLarge | Content::NoRoom => false,
        };
        // What only matters of it is whether it is large.
        let inflated = if becomes_large { SMALL + 1 } else { length };
        let mut at_work = self.room.work(inflated).await;
        if at_work.is_err() {
            arrived.body = Content::NoRoom;
        }
        let arrival = Arrival {
            method: &arrived.method,
            target: &target,
            headers: &arrived.headers,
            body: match &arrived.body {
                Content::Whole(body) => Some(body),
                Content::TooLarge | Content::NoRoom => None,
            },
            protocol: arrived.version,
            source_ip: &arrived.peer.ip().to_string(),
            port: self.port,
            time: i64::try_from(time).unwrap_or(i64::MAX),
            clock: self.started.elapsed(),
            ids: &ids,
        };
        let verdict = match arrived.body {
            Content::NoRoom => None,
            Content::Whole(_) | Content::TooLarge => {
                Some(aside(inflated, || live.gateway.receive(&arrival)))
            }
        };
        let made = match verdict {
            None => Made {
                reply: busy(&ids),
                route: live.gateway.route(&arrived.method, &target.path).map(str::to_owned),
                template: None,
                event: None,
                function: None,
                stored: None,
                why: Some(TOO_MANY.into()),
            },
            Some(Verdict::Answer(answered)) => Made {
                reply: answered.reply,
                route: answered.route.map(str::to_owned),
                template: answered.template.map(used),
                event: answered.event,
                function: None,
                stored: None,
                why: Some(answered.why),
            },
            Some(Verdict::Invoke(mut pending)) => {
                if length.max(pending.event.len()) <= 2 * SMALL {
                    // It might have become large, and didn't.
                    at_work = Ok(Held::default());
                }
                let (route, template) = (pending.route().to_owned(), used(pending.template));
                let event = std::mem::take(&mut pending.event);
                let (outcome, function, stored) = self.invoke(&live, &event).await;
                let (reply, why) = live.gateway.respond(pending, &outcome);
                Made {
                    reply,
                    route: Some(route),
                    template: Some(template),
                    event: Some(event),
                    function,
                    stored,
                    why,
                }
            }
        };
        let millis = begun.elapsed().as_secs_f64() * 1000.0;
        self.look_at_the_store(made.reply.status);
        if let Some(send) = reply {
            // Who hung up hears nothing.
            let _ = send.send(made.reply.clone());
        }
        let when = When { id, time, millis };
        let exchange = aside(length, || exchange(&live, &when, target, arrived, made));
        self.report.exchange(&exchange, &clock(time));
        let large = exchange.request.body.len().max(exchange.event.as_ref().map_or(0, String::len));
        if let Err(failure) = aside(large, || self.journal.record(&exchange)) {
            self.report.warning(&format!("a request is missing on the page: {failure}"));
        }
        drop((at_work, held));
        Some(exchange.id)
    }

    async fn invoke(
        &self,
        live: &Live,
        event: &str,
    ) -> (Outcome, Option<FunctionSaid>, Option<Stored>) {
        let sinks = match self.destinations.sinks().await {
            Ok(sinks) => sinks,
            Err(failure) => {
                let error =
                    json!({"errorType": "NoDestination", "errorMessage": failure.to_string()})
                        .to_string();
                return (Outcome::Failed(error), None, None);
            }
        };
        let id = match ids(now()) {
            Ok(ids) => ids.request,
            Err(_) => return (Outcome::NoAnswer, None, None),
        };
        let patience = Duration::from_secs(u64::from(live.stack.function.timeout));
        let invocation = Invocation { id: id.clone(), deadline: SystemTime::now() + patience };
        let Some((handled, noted)) = call(event, &invocation, patience, &sinks).await else {
            let error = json!({"errorMessage": format!("{id} Task timed out after {:.2} seconds", patience.as_secs_f64())}).to_string();
            return (
                Outcome::Failed(error.clone()),
                Some(FunctionSaid { id, answer: error, failed: true, log: String::new() }),
                None,
            );
        };
        let stored = noted.or_else(|| stored(&handled.log));
        let (outcome, answer, failed) = match handled.answer {
            Ok(answer) => {
                let text = serde_json::to_string(&answer).expect("an answer is plain data");
                (Outcome::Answered(text.clone()), text, false)
            }
            Err(error) => {
                let text = serde_json::to_string(&error).expect("an error is plain data");
                (Outcome::Failed(text.clone()), text, true)
            }
        };
        (outcome, Some(FunctionSaid { id, answer, failed, log: handled.log }), stored)
    }
}

/// Work on so many bytes: where it takes its time, others are served meanwhile.
fn aside<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes > SMALL { block_in_place(work) } else { work() }
}

/// Calls the function's library; `None` where it takes longer than `patience`. Beside what it said
/// is what it stored here: a record in the account is not noted.
async fn call(
    event: &str,
    invocation: &Invocation,
    patience: Duration,
    sinks: &Sinks,
) -> Option<(Handled, Option<Stored>)> {
    let calling = timeout(patience, noting(handle(event.as_bytes(), invocation, sinks)));
    let called = if event.len() > SMALL {
        block_in_place(|| Handle::current().block_on(calling))
    } else {
        calling.await
    };
    called.ok()
}

#[async_trait::async_trait]
impl Backend for Server {
    async fn overview(&self) -> Overview {
        let live = self.live();
        let routes = live.stack.routes.values().map(|route| RouteInfo {
            path: route.path.clone(),
            accept: route.accept.iter().cloned().collect(),
            token: route.token == TokenRule::Query,
            destination: match route.destination {
                Destination::S3(_) => "s3".into(),
                Destination::Sqs(_) => "sqs".into(),
            },
        });
        Overview {
            stack: live.stack.name.clone(),
            url: self.url.clone(),
            stages: live.stack.stages.iter().map(|stage| stage.name.clone()).collect(),
            routes: routes.collect(),
            problem: self.problem.read().unwrap_or_else(PoisonError::into_inner).clone(),
            unstored: self.unstored.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    async fn send(&self, request: Outgoing) -> Result<u64, Failure> {
        let Outgoing { stage, method, path, mut query, headers, body, with_token, again } = request;
        if let (true, Some(token)) = (with_token, self.live().tokens.get(&stage)) {
            query.push(("token".into(), token.0.clone()));
        }
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let path = path.replace('?', "%3F");
        // Without a stage the path is the whole one.
        let path = match stage.as_str() {
            "" if path.starts_with('/') => path,
            "" => format!("/{path}"),
            stage => format!("/{}/{}", encode(stage), path.trim_start_matches('/')),
        };
        let target = format!("{path}{mark}{}", query.join("&"));
        let (body, held) = if body.len() > LARGEST_BODY {
            (Content::TooLarge, Held::default())
        } else {
            match self.room.hold(body.len()).await {
                Ok(held) => (Content::Whole(body.to_vec()), held),
                Err(NoRoom) => (Content::NoRoom, Held::default()),
            }
        };
        let peer = SocketAddr::from(([127, 0, 0, 1], 0));
        let arrived =
            Arrived { method, target, version: "HTTP/1.1", headers, body, held, peer, again };
        self.take(arrived, None)
            .await
            .ok_or_else(|| Failure::new("send", "the request can't be answered now"))
    }

    async fn stored(&self, record: &Stored) -> Result<Option<Bytes>, Failure> {
        self.destinations.stored(record).await
    }

    async fn token(&self, stage: &str) -> Option<Secret> {
        self.live().tokens.get(stage).cloned()
    }
}

/// All but the unreserved characters percent-encoded. Source: RFC 3986, section 2.3.
fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte.into())
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// What became of a request.
struct Made {
    reply: Reply,
    route: Option<String>,
    template: Option<TemplateUsed>,
    event: Option<String>,
    function: Option<FunctionSaid>,
    stored: Option<Stored>,
    why: Option<String>,
}

fn used(template: &crate::render::MappingTemplate) -> TemplateUsed {
    TemplateUsed {
        content_type: template.media().to_owned(),
        file: template.file.as_ref().map(|file| file.display().to_string()),
        text: template.text().to_owned(),
    }
}

/// Which request it was, when, and how long it took.
struct When {
    id: u64,
    /// Milliseconds since the epoch.
    time: u64,
    millis: f64,
}

/// What is recorded: all of it, but no token.
fn exchange(live: &Live, when: &When, target: Target, arrived: Arrived, made: Made) -> Exchange {
    let When { id, time, millis } = *when;
    let Reply { status, headers, body } = made.reply;
    let sent = target.parameter("token").unwrap_or_default();
    let valid = live.gateway.valid_token(&target.stage);
    let token = match valid {
        _ if sent.trim().is_empty() => TokenSent::Missing,
        Some(valid) => {
            match routeto_function::token::check(sent.as_bytes(), valid.0.as_bytes(), time / 1000) {
                routeto_function::token::Verdict::Right => TokenSent::Right,
                routeto_function::token::Verdict::Wrong => TokenSent::Wrong,
                routeto_function::token::Verdict::Missing => TokenSent::Missing,
            }
        }
        None => TokenSent::Wrong,
    };
    let why = made
        .why
        .or_else(|| (status == 401).then(|| unauthorized(live, &target.stage, sent)).flatten());
    let (path, query) = arrived.target.split_once('?').unwrap_or((&arrived.target, ""));
    let mask = Mask::new(&live.secrets, query);
    let text = |text: String| mask.text(text);
    let hidden = |pairs: Vec<(String, String)>| {
        pairs.into_iter().map(|(name, value)| (text(name), text(value))).collect()
    };
    let (stage, path) = match valid {
        Some(_) => (target.stage, target.path),
        None => (String::new(), decode_path(path)),
    };
    Exchange {
        id,
        time,
        stage,
        route: made.route,
        request: Sent {
            method: text(arrived.method),
            path: text(path),
            query: hidden(target.query.into_iter().filter(|(name, _)| name != "token").collect()),
            token,
            version: arrived.version.into(),
            headers: hidden(arrived.headers),
            body: match arrived.body {
                Content::Whole(body) => body,
                Content::TooLarge | Content::NoRoom => vec![],
            },
        },
        status,
        millis,
        response: Answer { headers: hidden(headers), body: mask.bytes(body) },
        template: made.template,
        event: made.event.map(text),
        function: made.function.map(|said| FunctionSaid {
            answer: text(said.answer),
            log: text(said.log),
            ..said
        }),
        record: made.stored.map(|stored| match stored {
            Stored::S3 { bucket, key, bytes } => {
                Stored::S3 { bucket: text(bucket), key: text(key), bytes }
            }
            queued @ Stored::Sqs { .. } => queued,
        }),
        why: why.map(text),
        again: arrived.again,
    }
}

/// What is wrong with a token that the stage refused, and what to do; `None` where it is the
/// stage's own.
fn unauthorized(live: &Live, stage: &str, sent: &str) -> Option<String> {
    let now = "use the URL that `routeto dev --show-token` prints when it starts";
    if sent.trim().is_empty() {
        return Some(format!("no token was sent to stage {stage}: {now}"));
    }
    let of = live.tokens.iter().find(|(_, token)| token.0 == sent).map(|(of, _)| of.as_str());
    match of {
        Some(of) if of == stage => None,
        Some(of) => Some(format!(
            "this is the token of stage {of}, and the request went to stage {stage}: {now}"
        )),
        None => Some(format!("the token isn't stage {stage}'s: {now}")),
    }
}

/// Where the function's line of log says that the record is: of one in the account nothing more is
/// known.
fn stored(log: &str) -> Option<Stored> {
    #[derive(serde::Deserialize)]
    struct Line {
        stored: Option<String>,
        bytes: Option<u64>,
    }
    let line: Line = serde_json::from_str(log).ok()?;
    let (place, bytes) = (line.stored?, line.bytes.unwrap_or_default());
    match place.strip_prefix("s3://") {
        Some(object) => object.split_once('/').map(|(bucket, key)| Stored::S3 {
            bucket: bucket.into(),
            key: key.into(),
            bytes,
        }),
        None => Some(Stored::Sqs {
            queue: place.rsplit('/').next()?.to_owned(),
            message_id: String::new(),
            bytes,
        }),
    }
}

/// Why a request has no body to look at.
enum Unread {
    Slow,
    Broken(String),
}

impl Unread {
    fn status(&self) -> StatusCode {
        match self {
            Unread::Slow => StatusCode::REQUEST_TIMEOUT,
            Unread::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unread::Slow => write!(f, "its body came too slowly"),
            Unread::Broken(why) => write!(f, "its body stopped in the middle ({why})"),
        }
    }
}

/// The whole body, or why it isn't here.
async fn read_body(
    body: Body,
    length: Option<usize>,
    room: &Room,
) -> Result<(Content, Held), Unread> {
    match timeout(BODY_PATIENCE, read_pieces(body, length, room)).await {
        Ok(read) => read,
        Err(_) => Err(Unread::Slow),
    }
}

/// When the next piece has to be here, of a body that holds room and of which so much came.
fn due(seen: usize) -> Duration {
    PACE_GRACE + Duration::from_secs((seen / PACE) as u64)
}

async fn read_pieces(
    mut body: Body,
    length: Option<usize>,
    room: &Room,
) -> Result<(Content, Held), Unread> {
    let mut bytes = Vec::new();
    let mut held = Held::default();
    // Why nothing of it is kept.
    let mut dropped = match length {
        Some(length) if length > LARGEST_BODY => Some(Content::TooLarge),
        _ => None,
    };
    let mut room_for = SMALL;
    // Since when it holds room that others may wait for.
    let mut since: Option<tokio::time::Instant> = None;
    let mut seen = 0;
    loop {
        let patience = since.map_or(PIECE_PATIENCE, |since| {
            due(seen).saturating_sub(since.elapsed()).min(PIECE_PATIENCE)
        });
        let frame = match timeout(patience, body.frame()).await {
            Err(_) => return Err(Unread::Slow),
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(Unread::Broken(causes(&error))),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen > LARGEST_BODY {
            dropped = Some(Content::TooLarge);
        } else if seen > room_for && dropped.is_none() {
            // Only now: a length that is announced costs its caller nothing. Where it wasn't said,
            // the body may become as long as any.
            let whole = length.unwrap_or(LARGEST_BODY).clamp(seen, LARGEST_BODY);
            match room.hold(whole).await {
                Ok(room) => {
                    bytes.reserve_exact(length.map_or(0, |_| whole - bytes.len()));
                    (held, room_for, since) = (room, whole, Some(tokio::time::Instant::now()));
                }
                Err(NoRoom) => dropped = Some(Content::NoRoom),
            }
        }
        if dropped.is_none() {
            bytes.extend_from_slice(&data);
            continue;
        }
        // The rest is read all the same: the caller, who is still sending, gets to see the answer.
        (bytes, held, since) = (Vec::new(), Held::default(), None);
        if seen > DROPPED_BODY {
            break;
        }
    }
    held.shrink(seen);
    Ok((dropped.unwrap_or(Content::Whole(bytes)), held))
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said: Vec<String> = std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect();
    said.dedup();
    said.join(": ")
}

fn response(reply: Reply, without_body: bool) -> Response<Body> {
    let mut response = Response::new(if without_body {
        Body::empty()
    } else {
        Body::from(Bytes::from(reply.body))
    });
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        // What a template set and HTTP doesn't know is left out.
        if let (Ok(name), Ok(value)) =
            (http::HeaderName::try_from(name), HeaderValue::try_from(value))
        {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Answers what never was a whole request, and ends its connection.
fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(json!({ "message": message }).to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// New ids of a request.
fn ids(time: u64) -> Result<Ids, String> {
    let mut bytes = [0_u8; 38];
    getrandom::fill(&mut bytes)
        .map_err(|error| format!("the system gives no random numbers: {error}"))?;
    // A random UUID: version 4, variant 1. Source: RFC 9562.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let (id, rest) = bytes.split_first_chunk::<16>().expect("38 bytes");
    use base64::{Engine, prelude::BASE64_STANDARD};
    Ok(Ids {
        request: uuid_text(*id),
        extended: BASE64_STANDARD.encode(&rest[..11]),
        trace: format!("1-{:08x}-{}", time / 1000, crate::resource::hex(&rest[10..])),
    })
}

/// `12:34:56Z`: UTC, as the records' keys and the account's logs have it.
pub fn clock(millis: u64) -> String {
    let seconds = millis / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Serves a router until `stop`; then finishes what is in flight of `server`.
///
/// `half_close`: who closes his half after the request still wants the answer. Where nobody does, a
/// closed connection ends what was asked for on it: a worker that is stopped while it waits for a
/// message takes none any more.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    server: Arc<Server>,
    half_close: bool,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BUFFER)
        .max_headers(HEADERS)
        .half_close(half_close);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BUFFER as u32)
        .keep_alive_interval(PIECE_PATIENCE)
        .keep_alive_timeout(HEAD_PATIENCE);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // Out of file descriptors, say: others end, then there are some again.
                Err(_) => {
                    let _ = timeout(Duration::from_millis(50), pending::<()>()).await;
                    continue;
                }
            },
            () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
        };
        // Small answers should not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let tape = Tape::default();
        let connection = Connection { tape: tape.clone(), peer };
        let inner = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(connection.clone());
            request.extensions_mut().insert(ConnectInfo(connection.peer));
            inner.call(request)
        });
        let serving = builder
            .serve_connection(TokioIo::new(Taped::new(stream, tape, HEAD_PATIENCE)), service)
            .into_owned();
        let serving = graceful.watch(serving);
        tokio::spawn(async move {
            // A connection that breaks is its caller's affair.
            let _ = serving.await;
        });
    }
    drop(listener);
    server.journal.close();
    let all = async {
        server.landed().await;
        let _ = timeout(LAST_MOMENT, pending::<()>()).await;
    };
    let _ = timeout(STOP_PATIENCE, async {
        tokio::select! {
            () = graceful.shutdown() => server.landed().await,
            // Streams of news and long polls don't end by themselves.
            () = all => {}
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::Cli,
        dev::room::SMALL,
        render::offline_account,
        spec::{self, Source, World},
    };
    use clap::Parser;
    use std::path::Path;

    const MB: usize = 1024 * 1024;

    struct Nowhere;

    #[async_trait::async_trait]
    impl Destinations for Nowhere {
        async fn sinks(&self) -> Result<Arc<Sinks>, Failure> {
            Err(Failure::new("here", "nothing is stored"))
        }

        async fn stored(&self, _: &Stored) -> Result<Option<Bytes>, Failure> {
            Ok(None)
        }
    }

    fn server(directory: &Path, room: Room) -> Arc<Server> {
        let yaml = "stack: hooks\nroutes:\n  /open: { token: none, s3: { bucket: hooks } }\nstages: { prod: {} }\n";
        let world = World { env: &|_| None, read: &|_| Ok(vec![]), region: None };
        let loaded =
            spec::load(&Source { path: Path::new("hooks.yaml"), bytes: yaml.as_bytes() }, &world);
        let stack = loaded.expect("a good stack").stack;
        let tokens = BTreeMap::new();
        let gateway =
            Gateway::new(&stack, &offline_account(&stack), &tokens).expect("templates that parse");
        let journal = Journal::open(directory).expect("a directory of one's own");
        let report = Report::new(
            &Cli::try_parse_from(["routeto", "--quiet", "validate"]).expect("words").global,
        );
        let live = Live::new(stack, gateway, tokens);
        let mut server =
            Server::new(live, Box::new(Nowhere), journal, report, "http://127.0.0.1:1".into(), 1);
        Arc::get_mut(&mut server).expect("it is nobody else's yet").room = room;
        server
    }

    async fn answered(server: &Server, coding: &str, body: Content) -> (Reply, Exchange) {
        let arrived = Arrived {
            method: "POST".into(),
            target: "/prod/open".into(),
            version: "HTTP/1.1",
            headers: vec![("Content-Encoding".into(), coding.into())],
            body,
            held: Held::default(),
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            again: None,
        };
        let (send, reply) = oneshot::channel();
        let id = server.take(arrived, Some(send)).await.expect("it is recorded");
        let exchange = server.journal.get(id).expect("it can be read").expect("it is there");
        (reply.await.expect("an answer"), exchange)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_large_body_that_finds_no_room_is_answered_503_and_told_of() {
        let directory = tempfile::tempdir().expect("a directory");
        let server = server(directory.path(), Room::of(8 * MB, 0, Duration::ZERO));
        // Read, but nothing more can be done with it; not even read; small, but it may become
        // large.
        for (coding, body) in [
            ("identity", Content::Whole(vec![b' '; SMALL + 1])),
            ("identity", Content::NoRoom),
            ("gzip", Content::Whole(coding::gzip(&vec![b' '; SMALL + 1]))),
        ] {
            let (reply, exchange) = answered(&server, coding, body).await;
            let retry = reply
                .headers
                .iter()
                .find(|(name, _)| name == "Retry-After")
                .map(|(_, value)| value.as_str());
            assert_eq!(
                (reply.status, reply.body.as_slice(), retry),
                (503, &br#"{"message":"Service Unavailable"}"#[..], Some("5"))
            );
            assert_eq!(
                (exchange.status, exchange.route.as_deref(), exchange.event),
                (503, Some("/open"), None)
            );
            assert!(exchange.why.is_some_and(|why| why.starts_with("too many large requests")));
        }
        // A small one is let through: here it ends at a destination that doesn't work.
        let (reply, exchange) =
            answered(&server, "identity", Content::Whole(vec![b' '; SMALL])).await;
        assert!(reply.status == 503 && exchange.event.is_some(), "{reply:?}");
        // So is one in a coding that stays small: it needs none of the places that large ones hold.
        for body in
            [coding::gzip(&vec![b' '; SMALL]), coding::gzip(&[b' '; 200]), b"no gzip".repeat(200)]
        {
            let (reply, exchange) = answered(&server, "gzip", Content::Whole(body)).await;
            assert!(exchange.why.is_none_or(|why| !why.starts_with("too many")), "{reply:?}");
        }
        let (reply, _) = answered(&server, "identity", Content::TooLarge).await;
        assert_eq!(reply.status, 413);
    }

    #[tokio::test]
    async fn a_length_that_is_only_announced_takes_no_room() {
        let room = Room::of(10 * MB, 1, Duration::ZERO);
        let (send, pieces) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
        let pieces = futures_util::stream::unfold(pieces, |mut pieces| async move {
            let piece = pieces.recv().await?;
            Some((Ok::<_, std::io::Error>(piece), pieces))
        });
        let reading = read_body(Body::from_stream(pieces), Some(10 * MB), &room);
        tokio::pin!(reading);
        for (bytes, is_held) in [(0, false), (SMALL, false), (1, true)] {
            send.send(vec![b'x'; bytes]).expect("it is read");
            // It is polled until it waits for the next piece.
            assert!(futures_util::poll!(reading.as_mut()).is_pending());
            assert_eq!(room.hold(10 * MB).await.is_err(), is_held, "{bytes}");
        }
        drop(send);
        let Ok((Content::Whole(body), _)) = reading.await else { panic!("it is whole") };
        assert_eq!(body.len(), SMALL + 1);
    }

    #[test]
    fn a_body_that_holds_room_has_to_come_at_a_pace_and_the_largest_has_its_time() {
        assert_eq!(due(SMALL), Duration::from_secs(14));
        let largest = due(LARGEST_BODY);
        assert!(
            largest > BODY_PATIENCE && largest < BODY_PATIENCE + Duration::from_secs(30),
            "{largest:?}"
        );
    }

    #[tokio::test]
    async fn a_body_is_read_only_where_there_is_room_for_it() {
        let room = Room::of(10 * MB, 1, Duration::ZERO);
        let pieces = |bytes: usize| {
            let pieces =
                (0..bytes.div_ceil(SMALL)).map(move |at| vec![b'x'; SMALL.min(bytes - at * SMALL)]);
            Body::from_stream(futures_util::stream::iter(pieces.map(Ok::<_, std::io::Error>)))
        };
        let read = async |bytes: usize, length: Option<usize>| {
            let (content, held) = read_body(pieces(bytes), length, &room)
                .await
                .unwrap_or_else(|unread| panic!("{unread}"));
            let what = match content {
                Content::Whole(body) => format!("{} bytes", body.len()),
                Content::TooLarge => "too large".into(),
                Content::NoRoom => "no room".into(),
            };
            (what, held)
        };
        for bytes in [0, SMALL, SMALL + 1, 3 * MB, 10 * MB] {
            for length in [Some(bytes), None] {
                assert_eq!(read(bytes, length).await.0, format!("{bytes} bytes"), "{length:?}");
            }
        }
        for length in [Some(10 * MB + 1), None] {
            assert_eq!(read(10 * MB + 1, length).await.0, "too large", "{length:?}");
        }
        // What has no length holds no more in the end than what it has.
        let (_, held) = read(4 * MB, None).await;
        assert_eq!(read(6 * MB, Some(6 * MB)).await.0, format!("{} bytes", 6 * MB));
        for length in [Some(6 * MB + 1), None] {
            assert_eq!(read(6 * MB + 1, length).await.0, "no room", "{length:?}");
        }
        assert_eq!(read(SMALL, None).await.0, format!("{SMALL} bytes"));
        drop(held);
        assert_eq!(read(10 * MB, None).await.0, format!("{} bytes", 10 * MB));
    }
}
