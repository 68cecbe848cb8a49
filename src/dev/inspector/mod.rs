//! The inspector: the page at `/_routeto` and what it asks for. Reads the [`Journal`]; everything
//! else it gets from the server, its [`Backend`].
//!
//! It shows what strangers sent and can send with a stage's token, so it answers nobody but a
//! browser on this machine that was pointed at it: the peer is local and the `Host` is no website's
//! name (DNS rebinding), no proxy's header is on the request (a tunnel that makes `dev`
//! public doesn't make this public), and what changes anything or tells a token is a POST with our
//! `Origin` and a header that no form can set. Other users of this machine are kept out by a key
//! that is new in every run: the printed address has it behind the `#`, which a browser sends to no
//! server and in no referrer; `door.js` posts it once and gets a cookie for it. Nothing
//! that was sent to `dev` is ever part of a page: it goes out as JSON, and the page shows it as
//! text, under a policy that would run nothing else.

mod guard;

pub use guard::{Entry, KEY, Names, no_websites};

use super::{
    exchange::{Again, Exchange, Stored},
    journal::{Journal, News, Summary},
    mask::MASKED,
    search::{MOST_WORDS, Search},
};
use crate::{error::Failure, observed::Secret};
use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, broadcast},
    time::timeout,
};

/// Where the page is; the server gives us this path and all below it.
pub const ROOT: &str = "/_routeto";
/// Bytes of a request of the page's: 10 MB and some, in base64, in JSON. More than the gateway
/// takes, so that its own answer to that can be seen.
const LONGEST: usize = 24 * 1024 * 1024;
/// A silent stream says that it is there, so that a dead one is noticed.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// What the inspector asks of the server.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// What is served, at this moment.
    async fn overview(&self) -> Overview;

    /// Sends a request through the gateway, just as if it had come in by the port; it is recorded
    /// before this returns. Answers its exchange's id.
    async fn send(&self, request: Outgoing) -> Result<u64, Failure>;

    /// A stored record's bytes; `None` where it is no longer there (a message that a worker took
    /// and deleted, say).
    async fn stored(&self, record: &Stored) -> Result<Option<Bytes>, Failure>;

    /// The stage's token; `None` where there is no such stage. Asked only when somebody presses
    /// "copy as curl".
    async fn token(&self, stage: &str) -> Option<Secret>;
}

/// What is served.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// The stack's name.
    pub stack: String,
    /// Where callers post to, without stage and slash: `http://127.0.0.1:3000`.
    pub url: String,
    pub stages: Vec<String>,
    pub routes: Vec<RouteInfo>,
    /// What is wrong with the stack file or a template since it was last changed, while the last
    /// good one is served: the diagnostics' text.
    pub problem: Option<String>,
    /// Why records can't be stored any more: the store's directory was removed, say.
    pub unstored: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteInfo {
    /// `/callbacks/events`
    pub path: String,
    /// Content types that it takes.
    pub accept: Vec<String>,
    /// Whether it asks for a token.
    pub token: bool,
    /// Where its events go: `s3` or `sqs`.
    pub destination: String,
}

/// A request that the page sends.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outgoing {
    /// Empty: the path is the whole one.
    pub stage: String,
    pub method: String,
    /// Without the stage: `/input`. May be anything that a person types.
    pub path: String,
    /// In order, not percent-encoded, without the stage's token.
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    #[serde(deserialize_with = "from_base64")]
    pub body: Bytes,
    /// Whether the server is to add the stage's token to the query.
    pub with_token: bool,
    /// Which request is sent again with it.
    #[serde(default)]
    pub again: Option<Again>,
}

fn from_base64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64_STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
}

struct Inspector {
    journal: Arc<Journal>,
    backend: Arc<dyn Backend>,
    /// One search at a time: however many pages are open, one exchange is in memory for them.
    searching: Arc<Semaphore>,
    entry: Arc<Entry>,
}

type Shared = State<Arc<Inspector>>;

/// Answers for [`ROOT`] and everything below it. Requests must carry their peer as the extension
/// `axum::extract::ConnectInfo<SocketAddr>`: without it they are refused.
pub fn router(journal: Arc<Journal>, backend: Arc<dyn Backend>, entry: Entry) -> Router {
    let entry = Arc::new(entry);
    let guarding = entry.clone();
    let guard = move |request: Request, next: Next| guard::guard(guarding.clone(), request, next);
    let below = Router::new()
        .route("/", get(page))
        .route("/page.css", get(style))
        .route("/page.js", get(script))
        .route("/door.js", get(door_script))
        .route("/events", get(events))
        .route("/api/overview", get(overview))
        .route("/api/requests", get(requests))
        .route("/api/requests/{id}", get(request))
        .route("/api/requests/{id}/record", get(record))
        .route("/api/search", get(search))
        .route("/api/send", post(send))
        .route("/api/token", post(token))
        .route("/api/key", post(key))
        .fallback(async || {
            failure(StatusCode::NOT_FOUND, "there is nothing here; the page is at /_routeto")
        })
        .method_not_allowed_fallback(async || {
            failure(StatusCode::METHOD_NOT_ALLOWED, "this takes another method")
        })
        .with_state(Arc::new(Inspector {
            journal,
            backend,
            searching: Arc::new(Semaphore::new(1)),
            entry,
        }))
        .layer(middleware::from_fn(guard.clone()));
    // The slash at the end makes no difference; nested routers don't see it that way.
    let with_slash =
        Router::new().route(&format!("{ROOT}/"), get(page)).layer(middleware::from_fn(guard));
    with_slash.nest(ROOT, below)
}

async fn page() -> Response {
    asset("text/html; charset=utf-8", include_str!("page.html"))
}

async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("page.css"))
}

async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("page.js"))
}

async fn door_script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("door.js"))
}

/// What a browser without the key gets in the page's place.
fn door() -> Response {
    answer(StatusCode::FORBIDDEN, "text/html; charset=utf-8", include_str!("door.html"))
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    answer(StatusCode::OK, content_type, text)
}

async fn overview(State(inspector): Shared) -> Response {
    to_json(&inspector.backend.overview().await)
}

async fn requests(State(inspector): Shared) -> Response {
    let (list, last) = inspector.journal.since(0);
    to_json(&json!({"last": last, "requests": plain(&list)}))
}

async fn request(State(inspector): Shared, Path(id): Path<u64>) -> Response {
    match read(inspector.clone(), move |journal| journal.json(id)).await {
        Ok(Some(json)) => answer(StatusCode::OK, "application/json", json),
        Ok(None) => gone(&inspector.journal, id),
        Err(error) => failed(&error),
    }
}

/// `q`: words. `after` and `before`: a `seq` each, between which is searched. Answers the ids that
/// were found, newest first, and in `before` where the page goes on: one answer is a bounded piece
/// of work.
async fn search(State(inspector): Shared, uri: Uri) -> Response {
    let pairs = crate::render::parse_query(uri.query().unwrap_or_default());
    let value = |wanted: &str| {
        pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    };
    let number = |name: &str, default: u64| value(name).map_or(Ok(default), str::parse);
    let (Ok(after), Ok(before)) = (number("after", 0), number("before", u64::MAX)) else {
        return failure(StatusCode::BAD_REQUEST, "`after` and `before` are numbers");
    };
    let Some(search) = Search::parse(value("q").unwrap_or_default()) else {
        return failure(StatusCode::BAD_REQUEST, &format!("search for at most {MOST_WORDS} words"));
    };
    let permit = inspector.searching.clone().acquire_owned().await;
    let found = read(inspector, move |journal| {
        let _permit = permit;
        journal.search(&search, after, before).map(Some)
    });
    match found.await {
        Ok(Some(found)) => {
            to_json(&json!({"ids": found.ids, "before": found.before, "last": found.last}))
        }
        Ok(None) => failure(StatusCode::INTERNAL_SERVER_ERROR, "the search ended early"),
        Err(error) => failed(&error),
    }
}

async fn record(State(inspector): Shared, Path(id): Path<u64>) -> Response {
    let exchange: Option<Exchange> =
        match read(inspector.clone(), move |journal| journal.get(id)).await {
            Ok(exchange) => exchange,
            Err(error) => return failed(&error),
        };
    let Some(exchange) = exchange else { return gone(&inspector.journal, id) };
    let Some(stored) = exchange.record else {
        return failure(StatusCode::NOT_FOUND, &format!("request {id} stored nothing"));
    };
    let masked = matches!(&stored, Stored::S3 { bucket, key, .. } if bucket.contains(MASKED) || key.contains(MASKED));
    match inspector.backend.stored(&stored).await {
        // Never as what its sender called it: the page decides how to show it.
        Ok(Some(bytes)) => answer(StatusCode::OK, "application/octet-stream", bytes),
        Ok(None) if masked => failure(
            StatusCode::GONE,
            "a token is part of the record's name, which isn't kept for that: the record can't be found",
        ),
        Ok(None) => failure(
            StatusCode::GONE,
            "the record is no longer there: it was deleted, by a worker say",
        ),
        Err(error) => failed(&error),
    }
}

/// The disk may be slow, and a record large.
async fn read<T: Send + 'static>(
    inspector: Arc<Inspector>,
    get: impl FnOnce(&Journal) -> Result<Option<T>, Failure> + Send + 'static,
) -> Result<Option<T>, Failure> {
    let read = tokio::task::spawn_blocking(move || get(&inspector.journal)).await;
    read.map_err(|error| Failure::new("journal", error.to_string()))?
}

async fn send(State(inspector): Shared, request: Request) -> Response {
    match body::<Outgoing>(request).await {
        Ok(outgoing) => match inspector.backend.send(outgoing).await {
            Ok(id) => to_json(&json!({"id": id})),
            Err(error) => failed(&error),
        },
        Err(answer) => *answer,
    }
}

#[derive(Deserialize)]
struct WhichStage {
    stage: String,
}

async fn token(State(inspector): Shared, request: Request) -> Response {
    match body::<WhichStage>(request).await {
        Ok(WhichStage { stage }) => match inspector.backend.token(&stage).await {
            Some(token) => to_json(&json!({"token": token.0})),
            None => failure(StatusCode::NOT_FOUND, "there is no such stage"),
        },
        Err(answer) => *answer,
    }
}

#[derive(Deserialize)]
struct GivenKey {
    key: String,
}

/// Changes the key of the printed address for a cookie.
async fn key(State(inspector): Shared, request: Request) -> Response {
    let given: GivenKey = match body(request).await {
        Ok(given) => given,
        Err(answer) => return *answer,
    };
    match inspector.entry.set_cookie().filter(|_| inspector.entry.is_key(given.key.as_bytes())) {
        Some(cookie) => {
            let mut response = to_json(&json!({}));
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            response
        }
        None => failure(
            StatusCode::FORBIDDEN,
            "this is not the key of the `routeto dev` that runs here now",
        ),
    }
}

async fn body<T: for<'de> Deserialize<'de>>(request: Request) -> Result<T, Box<Response>> {
    let wrong = |what: String| Box::new(failure(StatusCode::BAD_REQUEST, &what));
    let body = Limited::new(request.into_body(), LONGEST)
        .collect()
        .await
        .map_err(|error| wrong(format!("the body can't be read: {error}")))?;
    serde_json::from_slice(&body.to_bytes())
        .map_err(|error| wrong(format!("not what the page sends: {error}")))
}

/// Server-sent events: `requests`, an array of summaries whose last `seq` is the event's id;
/// `changed`, when the overview is to be read anew. A browser that comes back names the last id it
/// saw and gets what it missed; without one it gets what comes from now on.
async fn events(State(inspector): Shared, headers: HeaderMap) -> Response {
    let named =
        headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // Subscribed first: what comes between the two is then heard twice, never missed.
    let receiver = inspector.journal.subscribe();
    let (missed, last) = inspector.journal.since(named.unwrap_or(u64::MAX));
    // A number from another journal, one that was removed since, say: all of this one is news.
    let (missed, last) = if named.is_some_and(|seq| seq > last) {
        inspector.journal.since(0)
    } else {
        (missed, last)
    };
    // How soon a browser that lost us comes back; and proof that the stream stands.
    let mut first = String::from("retry: 1000\n\n");
    if !missed.is_empty() {
        first.push_str(&event_of(&missed));
    }
    let state =
        receiver.map(|receiver| Following { receiver, journal: inspector.journal.clone(), last });
    let news = stream::unfold(state, |state| async {
        let mut following = state?;
        following.next().await.map(|text| (text, Some(following)))
    });
    let all = futures_util::StreamExt::chain(stream::iter([first]), news);
    let body = Body::from_stream(futures_util::StreamExt::map(all, |text| {
        Ok::<_, std::convert::Infallible>(Bytes::from(text))
    }));
    answer(StatusCode::OK, "text/event-stream", body)
}

struct Following {
    receiver: broadcast::Receiver<News>,
    journal: Arc<Journal>,
    /// The greatest `seq` that was told.
    last: u64,
}

impl Following {
    /// The next text of the stream; `None` at its end.
    async fn next(&mut self) -> Option<String> {
        use broadcast::error::{RecvError, TryRecvError};
        let Ok(first) = timeout(SIGN_OF_LIFE, self.receiver.recv()).await else {
            return Some(": still here\n\n".into());
        };
        let before = self.last;
        let mut list = vec![];
        let mut changed = false;
        let mut lagged = false;
        let mut take = |news, last: &mut u64| match news {
            News::Recorded(summary) if summary.seq > *last => {
                *last = summary.seq;
                list.push(summary);
            }
            News::Recorded(_) => {}
            News::Changed => changed = true,
        };
        match first {
            Ok(news) => take(news, &mut self.last),
            Err(RecvError::Lagged(_)) => lagged = true,
            Err(RecvError::Closed) => return None,
        }
        // What came meanwhile goes with it: under load a few large events are far less work for the
        // page than many small ones.
        loop {
            match self.receiver.try_recv() {
                Ok(news) => take(news, &mut self.last),
                Err(TryRecvError::Lagged(_)) => lagged = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if lagged {
            (list, _) = self.journal.since(before);
            self.last = list.last().map_or(before, |summary| summary.seq);
            changed = true;
        }
        let mut text = String::new();
        if !list.is_empty() {
            text.push_str(&event_of(&list));
        }
        if changed {
            text.push_str("event: changed\ndata: \n\n");
        }
        // An empty text would be an empty chunk; a comment is nothing, too.
        Some(if text.is_empty() { ":\n\n".into() } else { text })
    }
}

fn event_of(list: &[Arc<Summary>]) -> String {
    let seq = list.last().map_or(0, |summary| summary.seq);
    // JSON has its newlines escaped, so it is one line.
    format!("id: {seq}\nevent: requests\ndata: {}\n\n", json!(plain(list)))
}

fn plain(list: &[Arc<Summary>]) -> Vec<&Summary> {
    list.iter().map(Arc::as_ref).collect()
}

fn to_json<T: Serialize>(value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(json) => answer(StatusCode::OK, "application/json", json),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn gone(journal: &Journal, id: u64) -> Response {
    let last = journal.last_id();
    let what = match id {
        _ if last == 0 => format!("there is no request {id}: none came yet"),
        _ if id == 0 || id > last => format!("there is no request {id}: the last one is {last}"),
        _ => format!("request {id} is no longer kept"),
    };
    failure(StatusCode::NOT_FOUND, &what)
}

fn failed(error: &Failure) -> Response {
    failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
}

fn failure(status: StatusCode, what: &str) -> Response {
    let body: Value = json!({"error": what});
    answer(status, "application/json", body.to_string())
}

/// Every answer of the inspector's, with all that keeps a browser from running, framing, keeping or
/// handing on anything of it.
fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    const HEADERS: [(HeaderName, &str); 6] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
