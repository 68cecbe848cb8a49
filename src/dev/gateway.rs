//! API Gateway as a function: a request becomes an answer of the gateway's own or the event to
//! invoke the function with; what the function said becomes the response. Sockets, clocks and
//! random numbers are the caller's: time and ids come in as arguments.
//!
//! What the API is comes from [`desired`], as a deploy would write it; templates, content handling
//! and selection patterns are [`vtl`]'s. Made once a load: a request parses no template and
//! copies its body once, into the text that the template sees.

use crate::{
    coding::{self, LARGEST_BODY},
    desired,
    diagnostic::Diagnostic,
    observed::{Account, Secret},
    render::{self, Caller, Integration, MappingTemplate, NoEvent},
    resource::{self, NO_TOKEN},
    spec::{Stack, Throttle},
    token,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use vtl::{
    Limits, Pairs, Template,
    gateway::{
        ContentHandling, GatewayResponse, IntegrationResponse, Payload, choose_response_template,
        convert_response, gateway_response, lambda_error, select_response,
    },
};

/// Bytes of the request line and all header values together. Source: API Gateway quotas, "Total
/// combined size of request line and header values".
pub const LARGEST_HEAD: usize = 10_240;
/// Bytes of an event. Source: Lambda quotas, "Invocation payload", synchronous.
const LARGEST_EVENT: usize = 6 * 1024 * 1024;
const JSON: &str = "application/json";

/// Headers that never reach a template. Source: API Gateway developer guide, "Amazon API Gateway
/// important notes", and what its answers show.
const DROPPED: [&str; 13] = [
    "connection",
    "content-length",
    "content-md5",
    "expect",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

/// A stack, ready to answer on all its stages.
pub struct Gateway {
    account: Account,
    routes: BTreeMap<String, Route>,
    stages: BTreeMap<String, Stage>,
    binary_media_types: Vec<String>,
    throttled: resource::GatewayResponse,
}

struct Route {
    path: String,
    /// Query parameters without which the request validator refuses, sorted.
    required: Vec<String>,
    integration: Integration,
    choices: Vec<IntegrationResponse>,
    /// By the choice's status.
    responses: BTreeMap<u16, Response>,
}

struct Response {
    handling: Option<ContentHandling>,
    templates: Vec<(String, (String, Template))>,
}

struct Stage {
    variables: Pairs,
    valid_token: Secret,
    throttle: Option<Throttle>,
    /// By route.
    buckets: BTreeMap<String, Mutex<Bucket>>,
}

/// A token bucket, as the throttle of a method is one. Source: API Gateway developer guide,
/// "Throttle requests to your REST APIs".
struct Bucket {
    tokens: f64,
    filled: Duration,
}

impl Bucket {
    fn take(&mut self, throttle: Throttle, clock: Duration) -> bool {
        let since = clock.saturating_sub(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since * throttle.rate).min(f64::from(throttle.burst));
        self.filled = clock;
        let admitted = self.tokens >= 1.0;
        if admitted {
            self.tokens -= 1.0;
        }
        admitted
    }
}

/// Where a request goes: the target of its request line, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The path's first part, decoded.
    pub stage: String,
    /// The rest of the path, decoded: `/input`.
    pub path: String,
    /// In order, decoded.
    pub query: Vec<(String, String)>,
    /// Bytes as sent.
    length: usize,
}

impl Target {
    /// `/prod/input?token=…`.
    pub fn parse(target: &str) -> Target {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let rest = path.strip_prefix('/').unwrap_or(path);
        let (stage, rest) = rest.split_once('/').map_or((rest, ""), |(stage, rest)| (stage, rest));
        let path = format!("/{}", render::decode_path(rest));
        Target {
            stage: render::decode_path(stage),
            path,
            query: render::parse_query(query),
            length: target.len(),
        }
    }

    /// The last value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A request that arrived.
pub struct Arrival<'a> {
    pub method: &'a str,
    pub target: &'a Target,
    /// In order, names as sent.
    pub headers: &'a [(String, String)],
    /// `None`: more than [`LARGEST_BODY`].
    pub body: Option<&'a [u8]>,
    /// `HTTP/1.1`
    pub protocol: &'a str,
    pub source_ip: &'a str,
    /// The port that it came to.
    pub port: u16,
    /// Milliseconds since the epoch.
    pub time: i64,
    /// Of a clock that never goes back.
    pub clock: Duration,
    pub ids: &'a Ids,
}

impl Arrival<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// What names a request in its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// A UUID; a caller's `x-amzn-RequestId` takes its place in `$context.requestId`, as AWS has
    /// it.
    pub request: String,
    /// `$context.extendedRequestId`.
    pub extended: String,
    /// `1-<8 hex>-<24 hex>`. Source: X-Ray developer guide, "Tracing header".
    pub trace: String,
}

/// What goes back to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What becomes of a request before the function.
pub enum Verdict<'g> {
    Answer(Answered<'g>),
    Invoke(Pending<'g>),
}

/// The gateway answers by itself.
pub struct Answered<'g> {
    pub reply: Reply,
    pub route: Option<&'g str>,
    pub template: Option<&'g MappingTemplate>,
    pub event: Option<String>,
    /// In plain words; a template's error is its whole frame.
    pub why: String,
}

/// The function is to be invoked with `event`.
pub struct Pending<'g> {
    pub event: String,
    pub template: &'g MappingTemplate,
    route: &'g Route,
    request: vtl::Request,
    accept: Option<String>,
    ids: Ids,
}

impl Pending<'_> {
    pub fn route(&self) -> &str {
        &self.route.path
    }
}

/// What the function said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its answer, JSON text.
    Answered(String),
    /// Lambda's form of an error, JSON text.
    Failed(String),
    /// Nothing, for as long as the integration waits.
    NoAnswer,
}

impl Gateway {
    /// `tokens`: the stages' tokens in clear; a stage without one stays shut.
    ///
    /// # Errors
    /// Templates that don't parse.
    pub fn new(
        stack: &Stack,
        account: &Account,
        tokens: &BTreeMap<String, Secret>,
    ) -> Result<Gateway, Vec<Diagnostic>> {
        let api = desired::api(stack, account, &BTreeMap::new());
        let mut routes = BTreeMap::new();
        let mut errors = vec![];
        for (path, route) in &stack.routes {
            match Integration::new(route, &api) {
                Ok(integration) => {
                    routes.insert(path.clone(), self::route(path, &api, integration));
                }
                Err(diagnostic) => errors.push(*diagnostic),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let stages = stack.stages.iter().map(|stage| {
            let valid_token =
                tokens.get(&stage.name).map_or_else(|| Secret(NO_TOKEN.into()), token::first);
            let full = |throttle: Throttle| {
                Mutex::new(Bucket { tokens: f64::from(throttle.burst), filled: Duration::ZERO })
            };
            let ready = Stage {
                variables: render::stage_variables(stack, &stage.name, account, &valid_token.0),
                valid_token,
                throttle: stage.throttle,
                buckets: stage
                    .throttle
                    .iter()
                    .flat_map(|throttle| routes.keys().map(|path| (path.clone(), full(*throttle))))
                    .collect(),
            };
            (stage.name.clone(), ready)
        });
        Ok(Gateway {
            account: account.clone(),
            stages: stages.collect(),
            routes,
            binary_media_types: api.binary_media_types.iter().cloned().collect(),
            throttled: api.gateway_responses["THROTTLED"].clone(),
        })
    }

    /// A stage's `validToken`.
    pub fn valid_token(&self, stage: &str) -> Option<&Secret> {
        self.stages.get(stage).map(|stage| &stage.valid_token)
    }

    /// The route that a path and a method have.
    pub fn route(&self, method: &str, path: &str) -> Option<&str> {
        self.find(method, path).map(|route| route.path.as_str())
    }

    fn find(&self, method: &str, path: &str) -> Option<&Route> {
        // A slash at the end doesn't count in API Gateway.
        self.routes.get(path.trim_end_matches('/')).filter(|_| method == "POST")
    }

    /// Takes a request in.
    pub fn receive(&self, arrival: &Arrival<'_>) -> Verdict<'_> {
        match self.try_receive(arrival) {
            Ok(pending) => Verdict::Invoke(pending),
            Err(answered) => Verdict::Answer(*answered),
        }
    }

    fn try_receive<'g>(&'g self, arrival: &Arrival<'_>) -> Result<Pending<'g>, Box<Answered<'g>>> {
        let Arrival { method, target, ids, .. } = *arrival;
        let early = |reply, why: &str| {
            Box::new(Answered { reply, route: None, template: None, event: None, why: why.into() })
        };
        let head =
            target.length + arrival.headers.iter().map(|(_, value)| value.len()).sum::<usize>();
        if head > LARGEST_HEAD {
            return Err(early(
                plain(413, &format!("HTTP header is larger than {LARGEST_HEAD} bytes.")),
                "the headers are too large",
            ));
        }
        let Some(body) = arrival.body else {
            return Err(early(
                plain(413, &format!("HTTP content length exceeded {LARGEST_BODY} bytes.")),
                "the body is over 10 MB",
            ));
        };
        // An API that isn't found yet doesn't matter: a body that can't be inflated is refused
        // before that.
        let inflated = coding::inflate(arrival.headers, body).map_err(|refused| {
            let why = refused.to_string();
            match refused.answer() {
                GatewayResponse::RequestTooLarge => early(too_long(ids), &why),
                answer => early(gateway_error(answer, ids), &why),
            }
        })?;
        let Some(stage) = self.stages.get(&target.stage) else {
            let whole = format!("/{}{}", target.stage, target.path);
            let why = match (self.find(method, &whole), self.stages.keys().next()) {
                (Some(route), Some(stage)) => {
                    format!("there is no such stage: did you mean /{stage}{}?", route.path)
                }
                _ => "there is no such stage".into(),
            };
            return Err(early(gateway_error(GatewayResponse::InvalidApiKey, ids), &why));
        };
        let Some(route) = self.find(method, &target.path) else {
            let why = match self.find("POST", &target.path) {
                Some(_) => "a route takes only POST",
                None => "no route has this path",
            };
            return Err(early(nothing_there(arrival), why));
        };
        let refuse = |reply, why: String| {
            Box::new(Answered { reply, route: Some(&route.path), template: None, event: None, why })
        };
        let request_id = arrival.header("x-amzn-requestid").unwrap_or(&ids.request);
        let caller = Caller {
            request_id,
            extended_request_id: &ids.extended,
            path: &format!("/{}{}", target.stage, target.path),
            protocol: arrival.protocol,
            source_ip: arrival.source_ip,
            user_agent: arrival.header("user-agent"),
            time: arrival.time,
        };
        let mut request = vtl::Request {
            body: None,
            path: vec![],
            query: render::unique(&target.query),
            header: render::unique(&seen(arrival)),
            stage_variables: stage.variables.clone(),
            context: render::context(&self.account, &target.stage, &route.path, &caller),
            variables: vec![],
        }
        .with_overrides();
        if let (Some(throttle), Some(bucket)) = (stage.throttle, stage.buckets.get(&route.path))
            && !bucket.lock().unwrap_or_else(PoisonError::into_inner).take(throttle, arrival.clock)
        {
            let why = format!(
                "throttled: more than {} a second, {} at once",
                throttle.rate, throttle.burst
            );
            return Err(refuse(
                customised(&self.throttled, GatewayResponse::Throttled, &request, ids),
                why,
            ));
        }
        let blank =
            |name: &&String| target.parameter(name).is_none_or(|value| value.trim().is_empty());
        let missing: Vec<&str> = route.required.iter().filter(blank).map(String::as_str).collect();
        if !missing.is_empty() {
            let message = format!(
                "{}: [{}]",
                GatewayResponse::BadRequestParameters.message(),
                missing.join(", ")
            );
            return Err(refuse(
                error(400, GatewayResponse::BadRequestParameters.error_type(), &message, ids),
                message,
            ));
        }
        let content_type = arrival.header("content-type");
        let template = route.integration.choose(content_type).map_err(|answer| {
            let known: Vec<&str> =
                route.integration.templates.iter().map(|(media, _)| media.as_str()).collect();
            refuse(gateway_error(answer, ids), format!("this route accepts {}", known.join(", ")))
        })?;
        let refuse = |reply, event, why: String| {
            Box::new(Answered {
                reply,
                route: Some(route.path.as_str()),
                template: Some(template),
                event,
                why,
            })
        };
        let too_large = |event| {
            refuse(
                too_long(ids),
                event,
                format!("the event has more than the {LARGEST_EVENT} bytes that Lambda takes"),
            )
        };
        if template.least_event(inflated.len()) > LARGEST_EVENT {
            return Err(too_large(None));
        }
        let text = route.integration.convert(content_type, &inflated);
        // What was inflated isn't needed any more.
        drop(inflated);
        let text = text.map_err(|answer| {
            refuse(gateway_error(answer, ids), None, "the body can't be made text".into())
        })?;
        let large = text.len() > LARGEST_EVENT;
        request.body = Some(text);
        let event = match template.render(&request, false) {
            Ok(rendered) => rendered.text,
            Err(_) if large => return Err(too_large(None)),
            Err(failed) => {
                let (status, why) = match *failed {
                    NoEvent::Template(status, diagnostic) => (status, diagnostic.to_string()),
                    NoEvent::Answer(answer) => (answer.status(), answer.message().into()),
                    NoEvent::Coding(refused) => (refused.answer().status(), refused.to_string()),
                };
                let answer = if status == 400 {
                    GatewayResponse::BadRequestBody
                } else {
                    GatewayResponse::ApiConfigurationError
                };
                return Err(refuse(gateway_error(answer, ids), None, why));
            }
        };
        request.body = None;
        if event.len() > LARGEST_EVENT {
            return Err(too_large(None));
        }
        // Lambda takes no event that isn't JSON, and the gateway's answer to that can't be
        // customised.
        if let Err(wrong) = serde_json::from_str::<serde::de::IgnoredAny>(&event) {
            let message = format!("Could not parse request body into json: {wrong}");
            let reply = error(400, GatewayResponse::BadRequestBody.error_type(), &message, ids);
            return Err(refuse(
                reply,
                Some(event),
                format!("the mapping template made no JSON of this request: {wrong}"),
            ));
        }
        let accept = arrival.header("accept").map(str::to_owned);
        Ok(Pending { event, template, route, request, accept, ids: ids.clone() })
    }

    /// Makes the response of what the function said; with it, why the answer isn't the function's
    /// own.
    pub fn respond(&self, pending: Pending<'_>, outcome: &Outcome) -> (Reply, Option<String>) {
        let Pending { route, mut request, accept, ids, .. } = pending;
        let configuration =
            |why: String| (gateway_error(GatewayResponse::ApiConfigurationError, &ids), Some(why));
        let (text, message) = match outcome {
            Outcome::Answered(text) => (text, None),
            Outcome::Failed(text) => (text, lambda_error(text)),
            Outcome::NoAnswer => {
                let why = "the function gave no answer while API Gateway waits".to_owned();
                return (gateway_error(GatewayResponse::IntegrationTimeout, &ids), Some(why));
            }
        };
        let Some(response) =
            select_response(&route.choices, message.as_deref()).and_then(|choice| {
                route.responses.get(&choice.status).map(|response| (choice.status, response))
            })
        else {
            return configuration("no integration response fits what the function said".into());
        };
        let (mut status, Response { handling, templates }) = response;
        let payload = match convert_response(
            text.as_bytes(),
            Some(JSON),
            accept.as_deref(),
            &self.binary_media_types,
            *handling,
        ) {
            Ok(payload) => payload,
            Err(wrong) => return configuration(wrong.to_string()),
        };
        let mut headers = vec![];
        let mut media = JSON;
        let body = match (choose_response_template(templates, accept.as_deref()), payload) {
            (None, payload) => payload.bytes().to_vec(),
            (Some(_), Payload::Binary(_)) => {
                return configuration("a template can't be rendered over a binary answer".into());
            }
            (Some((of, template)), Payload::Text(text)) => {
                media = of;
                request.body = Some(text);
                match template.render(&request, &Limits::GATEWAY) {
                    Err(wrong) => {
                        return configuration(format!("the response template failed: {wrong}"));
                    }
                    Ok(rendered) => {
                        status = rendered.overrides.response_status.unwrap_or(status);
                        for (name, value) in rendered.overrides.response_header {
                            if let vtl::Data::Text(value) = value {
                                headers.push((name, value));
                            }
                        }
                        rendered.text.into_bytes()
                    }
                }
            }
        };
        headers.insert(0, ("Content-Type".into(), media.to_owned()));
        headers.extend(named(&ids));
        headers.push(("X-Amzn-Trace-Id".into(), format!("Root={}", ids.trace)));
        let why = match (outcome, message) {
            (Outcome::Failed(_), Some(message)) => Some(format!("the function failed: {message}")),
            (Outcome::Failed(text), None) => Some(format!("the function failed: {text}")),
            _ => None,
        };
        (Reply { status, headers, body }, why)
    }
}

fn route(path: &str, api: &resource::Api, integration: Integration) -> Route {
    let method = &api.methods[path]["POST"];
    let required =
        method.parameters.iter().filter(|(_, required)| **required && method.parameters_validated);
    let responses = &method.integration.as_ref().expect("every route has an integration").responses;
    let status = |text: &str| text.parse::<u16>().expect("the API's statuses are numbers");
    let parsed =
        |text: &String| Template::parse(text).expect("the response template is ours, and tested");
    Route {
        path: path.to_owned(),
        required: required
            .filter_map(|(key, _)| key.strip_prefix("method.request.querystring."))
            .map(str::to_owned)
            .collect(),
        integration,
        choices: responses
            .iter()
            .map(|(code, response)| IntegrationResponse {
                status: status(code),
                selection_pattern: response.selection_pattern.clone(),
            })
            .collect(),
        responses: responses
            .iter()
            .map(|(code, response)| {
                let handling = match response.content_handling.as_deref() {
                    Some("CONVERT_TO_TEXT") => Some(ContentHandling::ConvertToText),
                    Some("CONVERT_TO_BINARY") => Some(ContentHandling::ConvertToBinary),
                    _ => None,
                };
                let templates = response
                    .templates
                    .iter()
                    .map(|(media, text)| (media.clone(), (media.clone(), parsed(text))))
                    .collect();
                (status(code), Response { handling, templates })
            })
            .collect(),
    }
}

/// The headers as a template sees them: API Gateway drops some and adds its own.
fn seen(arrival: &Arrival<'_>) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = arrival
        .headers
        .iter()
        .filter(|(name, _)| !DROPPED.iter().any(|dropped| name.eq_ignore_ascii_case(dropped)))
        .cloned()
        .collect();
    let forwarded = match arrival.header("x-forwarded-for") {
        Some(before) => format!("{before}, {}", arrival.source_ip),
        None => arrival.source_ip.to_owned(),
    };
    let own = [
        ("X-Amzn-Trace-Id", format!("Root={}", arrival.ids.trace)),
        ("X-Forwarded-For", forwarded),
        ("X-Forwarded-Port", arrival.port.to_string()),
        ("X-Forwarded-Proto", "http".to_owned()),
    ];
    headers.retain(|(name, _)| !own.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)));
    headers.extend(own.map(|(name, value)| (name.to_owned(), value)));
    headers
}

fn named(ids: &Ids) -> [(String, String); 2] {
    [
        ("x-amzn-RequestId".into(), ids.request.clone()),
        ("x-amz-apigw-id".into(), ids.extended.clone()),
    ]
}

/// What comes from before the API: no JSON, no ids. Source: answers recorded in 2021
/// (koki-develop/lgtm-generator#10).
fn plain(status: u16, text: &str) -> Reply {
    Reply {
        status,
        headers: vec![("Content-Type".into(), "text; charset=utf-8".into())],
        body: text.as_bytes().to_vec(),
    }
}

fn gateway_error(answer: GatewayResponse, ids: &Ids) -> Reply {
    error(answer.status(), answer.error_type(), answer.message(), ids)
}

/// Of a path or a method that no route has. API Gateway tells what an Authorization header lacks of
/// a signature (version 4), with the header's hash. Source: answers of REST APIs in
/// svdgraaf/serverless-basic-authentication#3 and #14, serverless/serverless#3205.
fn nothing_there(arrival: &Arrival<'_>) -> Reply {
    let kind = GatewayResponse::MissingAuthenticationToken;
    match arrival.header("authorization").and_then(|value| unsigned(value, arrival)) {
        Some(message) => {
            error(kind.status(), "IncompleteSignatureException", &message, arrival.ids)
        }
        None => gateway_error(kind, arrival.ids),
    }
}

/// What AWS misses in an Authorization header; `None` where it has all that a signature has.
fn unsigned(authorization: &str, arrival: &Arrival<'_>) -> Option<String> {
    if authorization.trim().is_empty() {
        return Some("Authorization header cannot be empty: ''".into());
    }
    let hash = BASE64_STANDARD.encode(Sha256::digest(authorization.as_bytes()));
    // The scheme, then pairs: `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.
    let pairs = authorization.trim().split_once(' ').map_or("", |(_, pairs)| pairs);
    let mut names = vec![];
    for pair in pairs.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let Some((name, _)) = pair.split_once('=') else {
            return Some(format!(
                "Invalid key=value pair (missing equal-sign) in Authorization header \
                 (hashed with SHA-256 and encoded with Base64): '{hash}'."
            ));
        };
        names.push(name.trim());
    }
    let absent = ["Credential", "Signature", "SignedHeaders"]
        .into_iter()
        .filter(|name| !names.contains(name));
    let mut missing: Vec<String> =
        absent.map(|name| format!("Authorization header requires '{name}' parameter.")).collect();
    if arrival.header("x-amz-date").is_none() && arrival.header("date").is_none() {
        missing.push(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
                .into(),
        );
    }
    (!missing.is_empty()).then(|| {
        format!(
            "{} (Hashed with SHA-256 and encoded with Base64) Authorization={hash}",
            missing.join(" ")
        )
    })
}

/// What a caller hears of a gateway that has no room for the request now: nothing was stored, so it
/// has to come again.
pub fn busy(ids: &Ids) -> Reply {
    let mut reply = error(503, "ServiceUnavailableException", "Service Unavailable", ids);
    reply.headers.push(("Retry-After".into(), "5".into()));
    reply
}

/// Lambda takes no event of this size. The error's type is as recorded, see [`plain`].
fn too_long(ids: &Ids) -> Reply {
    error(
        413,
        GatewayResponse::BadRequestBody.error_type(),
        GatewayResponse::RequestTooLarge.message(),
        ids,
    )
}

fn error(status: u16, kind: &str, message: &str, ids: &Ids) -> Reply {
    let mut headers = vec![("Content-Type".into(), JSON.to_owned())];
    headers.extend(named(ids));
    headers.push(("x-amzn-ErrorType".into(), kind.into()));
    Reply { status, headers, body: json!({ "message": message }).to_string().into_bytes() }
}

/// A gateway response that the API customises.
fn customised(
    response: &resource::GatewayResponse,
    kind: GatewayResponse,
    request: &vtl::Request,
    ids: &Ids,
) -> Reply {
    let mut reply = gateway_error(kind, ids);
    reply.status = response.status.parse().unwrap_or(kind.status());
    for (name, value) in &response.parameters {
        if let Some(header) = name.strip_prefix("gatewayresponse.header.") {
            // A literal stands in quotation marks.
            reply.headers.push((header.to_owned(), value.trim_matches('\'').to_owned()));
        }
    }
    if let Some(template) = response.templates.get(JSON) {
        reply.body =
            gateway_response(template, &request.context, &request.stage_variables).into_bytes();
    }
    reply
}

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;
