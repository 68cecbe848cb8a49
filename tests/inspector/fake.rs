//! A server with the inspector's router in it, and behind it a gateway that records each request as
//! stored.

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use routeto::{
    dev::{
        exchange::{self, Again, Exchange, FunctionSaid, Stored, TemplateUsed, TokenSent},
        inspector::{self, Backend, Entry, Names, Outgoing, Overview, RouteInfo},
        journal::Journal,
    },
    error::Failure,
    observed::Secret,
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::runtime::Runtime;

pub const KEY: &str = "the-key-of-this-run-12";
pub const TOKEN: &str = "a-token-that-only-the-stage-has-0001";

pub struct Fake {
    pub journal: Arc<Journal>,
    pub problem: Mutex<Option<String>>,
    pub unstored: Mutex<Option<String>>,
    url: String,
    stored: Mutex<HashMap<String, Bytes>>,
}

/// A running server; it ends with this.
pub struct Server {
    pub fake: Arc<Fake>,
    pub url: String,
    _runtime: Runtime,
}

impl Server {
    pub fn start(directory: &Path) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let journal = Journal::open(&directory.join("journal")).unwrap();
        let fake = Arc::new(Fake {
            journal: journal.clone(),
            problem: Mutex::default(),
            unstored: Mutex::default(),
            url: url.clone(),
            stored: Mutex::default(),
        });
        let gateway = Router::new().fallback(receive).with_state(fake.clone());
        let bound = std::net::Ipv4Addr::LOCALHOST.into();
        let entry = Entry { bound, port, names: Names::default(), key: Secret(KEY.into()) };
        let app = inspector::router(journal, fake.clone(), entry)
            .merge(gateway)
            .into_make_service_with_connect_info::<SocketAddr>();
        runtime.spawn(async move { axum::serve(listener, app).await });
        Server { fake, url, _runtime: runtime }
    }

    /// With the key, as `dev` prints it.
    pub fn page(&self) -> String {
        format!("{}/_routeto#key={KEY}", self.url)
    }
}

async fn receive(
    State(fake): State<Arc<Fake>>,
    ConnectInfo(_): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut path = parts.uri.path().splitn(3, '/').skip(1);
    let stage = path.next().unwrap_or_default().to_owned();
    let path = format!("/{}", path.next().unwrap_or_default());
    // As dev has it: without such a stage the path is the whole one.
    let (stage, path) = match stage.as_str() {
        "dev" | "prod" => (stage, path),
        _ => (String::new(), parts.uri.path().to_owned()),
    };
    let decode = |text: &str| percent(text);
    let query = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let query = query
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect();
    let headers = parts.headers.iter().map(|(name, value)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let (status, answer) =
        fake.walk(&stage, parts.method.as_str(), &path, query, headers.collect(), body).1;
    Response::builder().status(status).body(Body::from(answer)).unwrap()
}

fn percent(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = vec![];
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Fake {
    /// Takes a request down the path that the real thing has; answers the exchange's id, the status
    /// and the body.
    pub fn walk(
        &self,
        stage: &str,
        method: &str,
        path: &str,
        query: Vec<(String, String)>,
        headers: Vec<(String, String)>,
        body: Bytes,
    ) -> (u64, (u16, Vec<u8>)) {
        self.take(stage, method, path, query, headers, body, None)
    }

    #[allow(clippy::too_many_arguments)]
    fn take(
        &self,
        stage: &str,
        method: &str,
        path: &str,
        query: Vec<(String, String)>,
        headers: Vec<(String, String)>,
        body: Bytes,
        again: Option<Again>,
    ) -> (u64, (u16, Vec<u8>)) {
        let id = self.journal.next_id();
        let token = match query.iter().find(|(name, _)| name == "token") {
            None => TokenSent::Missing,
            Some((_, token)) if token == TOKEN => TokenSent::Right,
            Some(_) => TokenSent::Wrong,
        };
        let query: Vec<_> = query.into_iter().filter(|(name, _)| name != "token").collect();
        let route = ["/input", "/callbacks/events", "/callbacks/inbound"]
            .iter()
            .find(|route| **route == path && method == "POST")
            .map(|route| (*route).to_owned());
        let (status, why) = match (&route, token) {
            (None, _) => (403, Some(format!("no route of the stack is {method} {path}"))),
            (_, TokenSent::Missing) => {
                (400, Some("the request validator found no token".to_owned()))
            }
            (_, TokenSent::Wrong) => (401, Some(format!("the token isn't stage {stage}'s"))),
            (_, TokenSent::Right) if headers.iter().any(|(name, _)| name == "x-fail") => {
                (503, None)
            }
            (_, TokenSent::Right) => (200, None),
        };
        let invocation = format!("0f0e0d0c-0000-4000-8000-{id:012}");
        let answer = match status {
            200 => format!("{{\"result\":\"success\",\"id\":\"{invocation}\"}}"),
            401 => "{\"result\":\"fail\",\"reason\":\"wrong token\"}".to_owned(),
            403 => "{\"message\":\"Missing Authentication Token\"}".to_owned(),
            400 => "{\"message\":\"Missing required request parameters: [token]\"}".to_owned(),
            _ => "{\"result\":\"fail\",\"reason\":\"the destination failed\"}".to_owned(),
        };
        let text = String::from_utf8_lossy(&body).into_owned();
        let rendered = route.is_some() && token != TokenSent::Missing;
        let file =
            (path == "/callbacks/events").then(|| "../mapping-templates/json.vtl".to_owned());
        let record = (status == 200).then(|| match path {
            "/input" => Stored::S3 {
                bucket: "webhooks-dev".into(),
                key: format!("SendGrid/input_{:013}_{invocation}", now()),
                bytes: body.len() as u64,
            },
            _ => Stored::Sqs {
                queue: "sendgrid-events-dev".into(),
                message_id: format!("message-{id}"),
                bytes: body.len() as u64,
            },
        });
        if let Some(record) = &record {
            self.stored.lock().unwrap().insert(key(record), body.clone());
        }
        let event = serde_json::json!({"token": "…", "path": path, "app": "input", "destination": "s3", "headers": headers.iter().cloned().collect::<HashMap<_, _>>(), "body-raw": text});
        let exchange = Exchange {
            id,
            time: now(),
            stage: stage.to_owned(),
            route,
            request: exchange::Request {
                method: method.to_owned(),
                path: path.to_owned(),
                query,
                token,
                version: "HTTP/1.1".into(),
                headers,
                body: body.to_vec(),
            },
            status,
            millis: [0.8, 1.3, 2.4, 12.0, 143.0][usize::try_from(id % 5).unwrap()],
            response: exchange::Response {
                headers: vec![("content-type".into(), "application/json".into()), ("x-amzn-requestid".into(), invocation.clone())],
                body: answer.clone().into_bytes(),
            },
            template: rendered.then(|| TemplateUsed {
                content_type: "application/json".into(),
                file,
                text: "#set($routeto = {\"destination\": \"s3:webhooks-dev/SendGrid/\"})\n{\n  \"token\": \"$util.escapeJavaScript($input.params('token'))\",\n  \"validToken\": \"$stageVariables.validToken\",\n  ## the body as it came\n  \"body-raw\": \"$util.base64Encode($input.body)\"\n}\n".into(),
            }),
            event: rendered.then(|| event.to_string()),
            function: rendered.then(|| FunctionSaid {
                id: invocation,
                answer: format!("{{\"status\":{status},\"answer\":{answer}}}"),
                failed: status == 503,
                log: format!("{{\"level\":\"INFO\",\"path\":\"{path}\",\"bytes\":{},\"millis\":1.50}}", body.len()),
            }),
            record,
            why,
            again,
        };
        self.journal.record(&exchange).unwrap();
        (id, (status, answer.into_bytes()))
    }
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn key(record: &Stored) -> String {
    match record {
        Stored::S3 { bucket, key, .. } => format!("{bucket}/{key}"),
        Stored::Sqs { message_id, .. } => message_id.clone(),
    }
}

#[async_trait]
impl Backend for Fake {
    async fn overview(&self) -> Overview {
        let route = |path: &str, accept: &str, destination: &str| RouteInfo {
            path: path.into(),
            accept: vec![accept.into()],
            token: true,
            destination: destination.into(),
        };
        Overview {
            stack: "webhooks".into(),
            url: self.url.clone(),
            stages: vec!["dev".into(), "prod".into()],
            routes: vec![
                route("/input", "application/json", "s3"),
                route("/callbacks/events", "application/json", "sqs"),
                route("/callbacks/inbound", "multipart/form-data", "sqs"),
            ],
            problem: self.problem.lock().unwrap().clone(),
            unstored: self.unstored.lock().unwrap().clone(),
        }
    }

    async fn send(&self, request: Outgoing) -> Result<u64, Failure> {
        let mut query = request.query;
        if request.with_token {
            query.push(("token".into(), TOKEN.into()));
        }
        if request.method.is_empty() {
            return Err(Failure::new("request", "it has no method"));
        }
        let Outgoing { stage, method, path, headers, body, again, .. } = request;
        Ok(self.take(&stage, &method, &path, query, headers, body, again).0)
    }

    async fn stored(&self, record: &Stored) -> Result<Option<Bytes>, Failure> {
        Ok(self.stored.lock().unwrap().get(&key(record)).cloned())
    }

    async fn token(&self, stage: &str) -> Option<Secret> {
        ["dev", "prod"].contains(&stage).then(|| Secret(TOKEN.into()))
    }
}
