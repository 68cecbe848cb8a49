//! The event that a request becomes: route → content coding → template choice → content handling →
//! prelude → mapping template, as API Gateway does it. Pure.

use crate::{
    coding,
    desired::{self, Inputs},
    diagnostic::{Diagnostic, Place, Severity},
    observed::Account,
    partition,
    resource::{self, Id, Kind, NO_TOKEN, Resource, variable},
    spec::{Route, Stack, TokenRule},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};
use vtl::{
    Data, Limits, Lint, LintKind, Pairs, Rendered, Template,
    gateway::{
        Choice, ContentHandling, GatewayResponse, Passthrough, Payload, choose_template,
        convert_request,
    },
    lint, lint_stage_variables,
};

/// A request as somebody would send it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpRequest {
    /// In order, decoded.
    pub query: Vec<(String, String)>,
    /// In order, names as written.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// Reads a raw HTTP request: request line, header lines, an empty line, the body as it is.
    /// Lines may end with LF alone.
    ///
    /// # Errors
    /// What is wrong and in which line, counted from 1.
    pub fn parse(bytes: &[u8]) -> Result<HttpRequest, (usize, String)> {
        let mut rest = bytes;
        let mut number = 0;
        let mut line = || -> Option<(usize, Vec<u8>)> {
            number += 1;
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            Some((number, line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
        };
        let text = |number: usize, bytes: Vec<u8>| {
            String::from_utf8(bytes).map_err(|_| (number, "this line is not UTF-8".to_owned()))
        };
        let wrong = || (1, "a request begins with `POST /path?query HTTP/1.1`".to_owned());
        let (_, first) = line().ok_or_else(wrong)?;
        let first = text(1, first)?;
        let mut words = first.split_whitespace();
        let (Some("POST"), Some(target)) = (words.next(), words.next()) else {
            return Err(wrong());
        };
        let query = target.split_once('?').map(|(_, query)| parse_query(query)).unwrap_or_default();
        let mut headers = vec![];
        loop {
            let Some((number, bytes)) = line() else {
                return Err((
                    headers.len() + 2,
                    "an empty line must end the headers; the body follows it".into(),
                ));
            };
            if bytes.is_empty() {
                break;
            }
            let header = text(number, bytes)?;
            headers.push(parse_header(&header).map_err(|what| (number, what))?);
        }
        Ok(HttpRequest { query, headers, body: rest.to_vec() })
    }

    fn content_type(&self) -> Option<&str> {
        self.headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            .map(|(_, value)| value.as_str())
    }
}

/// `Name: value`.
pub fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() && !name.contains(' ') => {
            Ok((name.to_owned(), value.trim().to_owned()))
        }
        _ => Err(format!("`{text}` is no header; write `Name: value`")),
    }
}

/// `a=b&c=d`, percent-decoded; `+` is a space.
pub fn parse_query(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn decode(text: &str) -> String {
    percent_decode(text, true)
}

/// A path or a part of one, percent-decoded; `+` stays what it is.
pub fn decode_path(text: &str) -> String {
    percent_decode(text, false)
}

fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) if plus_is_space => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where a request is rendered.
pub struct At<'a> {
    pub stack: &'a Stack,
    pub route: &'a Route,
    pub stage: &'a str,
    /// Milliseconds since the epoch.
    pub time: i64,
}

/// Why there is no event.
#[derive(Debug)]
pub enum NoEvent {
    /// The gateway answers by itself.
    Answer(GatewayResponse),
    /// The body isn't in the coding that it claims, or too large in it.
    Coding(coding::Refused),
    /// The template failed, and the gateway answers with this status.
    Template(u16, Box<Diagnostic>),
}

/// The account that names are made of while AWS isn't asked.
pub fn offline_account(stack: &Stack) -> Account {
    let region = stack.region.clone().unwrap_or_else(|| "us-east-1".into());
    Account {
        id: "123456789012".into(),
        partition: partition::of_region(&region).into(),
        region,
        caller: String::new(),
    }
}

/// What a route's integration makes of a request, its templates parsed: made once where many
/// requests are rendered.
pub struct Integration {
    /// The mapping templates by media type, the generated line before each.
    pub templates: Vec<(String, MappingTemplate)>,
    binary_media_types: Vec<String>,
}

/// One mapping template, with what a message about it has to say.
pub struct MappingTemplate {
    template: Template,
    path: String,
    media: String,
    /// As the stack file names it; `None`: a built-in one.
    pub file: Option<PathBuf>,
}

impl Integration {
    /// # Errors
    /// The first template that doesn't parse, with its place in the user's file.
    pub fn new(route: &Route, api: &resource::Api) -> Result<Integration, Box<Diagnostic>> {
        let integration = api.methods[&route.path]["POST"]
            .integration
            .as_ref()
            .expect("every route has an integration");
        let parse = |(media, text): (&String, &String)| {
            let file = route.templates.get(media).map(|template| template.file.clone());
            match Template::parse(text) {
                Ok(template) => Ok((
                    media.clone(),
                    MappingTemplate {
                        template,
                        path: route.path.clone(),
                        media: media.clone(),
                        file,
                    },
                )),
                Err(error) => {
                    Err(Box::new(diagnostic(&route.path, media, file.as_deref(), &error)))
                }
            }
        };
        Ok(Integration {
            templates: integration.templates.iter().map(parse).collect::<Result<_, _>>()?,
            binary_media_types: api.binary_media_types.iter().cloned().collect(),
        })
    }

    /// Chooses the template.
    ///
    /// # Errors
    /// The gateway's own answer.
    pub fn choose(&self, content_type: Option<&str>) -> Result<&MappingTemplate, GatewayResponse> {
        match choose_template(&self.templates, content_type, Passthrough::Never) {
            Choice::Template(template) => Ok(template),
            Choice::PassThrough | Choice::Unsupported => Err(GatewayResponse::UnsupportedMediaType),
        }
    }

    /// Converts an inflated body for the template.
    ///
    /// # Errors
    /// The gateway's own answer.
    pub fn convert(
        &self,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<String, GatewayResponse> {
        match convert_request(
            body,
            content_type,
            &self.binary_media_types,
            Some(ContentHandling::ConvertToText),
        ) {
            Ok(Payload::Text(text)) => Ok(text),
            Ok(Payload::Binary(_)) | Err(_) => Err(GatewayResponse::ApiConfigurationError),
        }
    }
}

impl MappingTemplate {
    /// The media type that it was chosen by.
    pub fn media(&self) -> &str {
        &self.media
    }

    /// With the generated first line.
    pub fn text(&self) -> &str {
        self.template.source()
    }

    /// Bytes that an event has at least which this template makes of a body: a built-in one writes
    /// it in base64.
    pub fn least_event(&self, body: usize) -> usize {
        if self.file.is_none() { body.div_ceil(3) * 4 } else { 0 }
    }

    /// # Errors
    /// The template's own, with its place in the user's file.
    pub fn render(&self, request: &vtl::Request, explain: bool) -> Result<Rendered, Box<NoEvent>> {
        let rendered = if explain {
            self.template.explain(request, &Limits::GATEWAY)
        } else {
            self.template.render(request, &Limits::GATEWAY)
        };
        let mut rendered = rendered.map_err(|error| {
            let told = diagnostic(&self.path, &self.media, self.file.as_deref(), &error);
            Box::new(NoEvent::Template(error.status(), Box::new(told)))
        })?;
        // The generated line before the template is not the user's.
        rendered.references.retain(|reference| reference.place.line > 1);
        rendered.references.iter_mut().for_each(|reference| reference.place.line -= 1);
        Ok(rendered)
    }
}

/// Renders the event; with `explain`, each reference is noted.
///
/// # Errors
/// The gateway's own answer, or the template's error with its place in the user's file.
pub fn event(at: &At<'_>, request: &HttpRequest, explain: bool) -> Result<Rendered, Box<NoEvent>> {
    let account = offline_account(at.stack);
    let api = desired::api(at.stack, &account, &BTreeMap::new());
    let integration = Integration::new(at.route, &api)
        .map_err(|diagnostic| Box::new(NoEvent::Template(500, diagnostic)))?;
    let body = coding::inflate(&request.headers, &request.body)
        .map_err(|refused| Box::new(NoEvent::Coding(refused)))?;
    let answered = |answer| Box::new(NoEvent::Answer(answer));
    let template = integration.choose(request.content_type()).map_err(answered)?;
    let body = integration.convert(request.content_type(), &body).map_err(answered)?;
    let caller = Caller {
        request_id: "00000000-0000-4000-8000-000000000000",
        extended_request_id: "ZXh0ZW5kZWQ=",
        path: &format!("/{}{}", at.stage, at.route.path),
        protocol: "HTTP/1.1",
        source_ip: "192.0.2.1",
        user_agent: Some("routeto"),
        time: at.time,
    };
    let request = vtl::Request {
        body: Some(body),
        path: vec![],
        query: unique(&request.query),
        header: unique(&request.headers),
        stage_variables: stage_variables(at.stack, at.stage, &account, NO_TOKEN),
        context: context(&account, at.stage, &at.route.path, &caller),
        variables: vec![],
    };
    template.render(&request.with_overrides(), explain)
}

/// Of several values the last one counts.
pub fn unique(pairs: &[(String, String)]) -> Pairs {
    let mut unique: Pairs = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        unique.retain(|(known, _)| known != key);
        unique.push((key.clone(), value.as_str().into()));
    }
    unique
}

/// What `$context` says of one request.
pub struct Caller<'a> {
    pub request_id: &'a str,
    pub extended_request_id: &'a str,
    /// With the stage before it.
    pub path: &'a str,
    pub protocol: &'a str,
    pub source_ip: &'a str,
    pub user_agent: Option<&'a str>,
    /// Milliseconds since the epoch.
    pub time: i64,
}

/// What an API's id looks like.
const API_ID: &str = "a1b2c3d4e5";

/// Milliseconds since the epoch as the common log format has them: `09/Apr/2015:12:34:56 +0000`.
fn log_time(millis: i64) -> String {
    // `Thu, 09 Apr 2015 12:34:56 GMT`
    let http = httpdate::fmt_http_date(
        UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default()),
    );
    match http.split([' ', ',']).filter(|part| !part.is_empty()).collect::<Vec<_>>()[..] {
        [_, day, month, year, clock, _] => format!("{day}/{month}/{year}:{clock} +0000"),
        _ => String::new(),
    }
}

/// `$context`. Source: API Gateway developer guide, "$context variables for data models,
/// authorizers, mapping templates".
pub fn context(account: &Account, stage: &str, resource_path: &str, caller: &Caller<'_>) -> Pairs {
    let Caller { request_id, extended_request_id, path, protocol, source_ip, user_agent, time } =
        *caller;
    let user_agent = user_agent.map_or(Data::Null, Data::from);
    vec![
        ("accountId".into(), account.id.as_str().into()),
        ("apiId".into(), API_ID.into()),
        ("deploymentId".into(), "a1b2c3".into()),
        (
            "domainName".into(),
            format!("{API_ID}.execute-api.{}.{}", account.region, account.dns_suffix()).into(),
        ),
        ("domainPrefix".into(), API_ID.into()),
        ("extendedRequestId".into(), extended_request_id.into()),
        ("httpMethod".into(), "POST".into()),
        (
            "identity".into(),
            Data::Map(vec![
                ("sourceIp".into(), source_ip.into()),
                ("userAgent".into(), user_agent),
            ]),
        ),
        ("path".into(), path.into()),
        ("protocol".into(), protocol.into()),
        ("requestId".into(), request_id.into()),
        ("requestTime".into(), log_time(time).into()),
        ("requestTimeEpoch".into(), Data::Long(time)),
        ("resourceId".into(), "a1b2c3".into()),
        ("resourcePath".into(), resource_path.into()),
        ("stage".into(), stage.into()),
    ]
}

/// A stage's variables, as a deploy sets them.
pub fn stage_variables(stack: &Stack, stage: &str, account: &Account, valid_token: &str) -> Pairs {
    let mut scope = stack.clone();
    scope.stages.retain(|known| known.name == stage);
    let resources =
        desired::desired(&scope, &Inputs { account, code_sha256: "", existing: &BTreeMap::new() });
    let mut variables: Pairs = vec![
        (variable::VALID_TOKEN.into(), valid_token.into()),
        (variable::FUNCTION_NAME.into(), desired::name::function(&stack.name, stage).into()),
        (variable::FUNCTION_VERSION.into(), "1".into()),
    ];
    if let Some(Resource::Stage(stage)) = resources.get(&Id::new(Kind::Stage, stage)) {
        variables.extend(
            stage
                .destinations
                .iter()
                .chain(&stage.variables)
                .map(|(key, value)| (key.clone(), value.as_str().into())),
        );
    }
    variables
}

/// A template's error with its place in the user's file: the generated line before the template
/// doesn't count.
fn diagnostic(path: &str, media: &str, file: Option<&Path>, error: &vtl::Error) -> Diagnostic {
    let file = file.map_or_else(
        || PathBuf::from(format!("the built-in template for {media}")),
        Path::to_owned,
    );
    let mut diagnostic = Diagnostic::of_template(path, file, error);
    if let Some(place) = &mut diagnostic.place {
        place.line = place.line.saturating_sub(1).max(1);
    }
    diagnostic
}

/// Every template of the user's: whether it parses (a loaded stack's do), what is likely to go
/// wrong, whether it makes JSON of a sample. What is the same of two routes or content types,
/// because they share a file, is told once.
///
/// # Errors
/// Those that API Gateway would refuse.
pub fn check(stack: &Stack) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    check_routes(stack, stack.routes.values())
}

/// The same of one route's templates.
///
/// # Errors
/// Those that API Gateway would refuse.
pub fn check_route(stack: &Stack, route: &str) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    check_routes(stack, stack.routes.get(route))
}

fn check_routes<'s>(
    stack: &'s Stack,
    routes: impl IntoIterator<Item = &'s Route>,
) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let (mut errors, mut warnings) = (vec![], vec![]);
    let mut tell = |diagnostic: Diagnostic| {
        let list = if diagnostic.severity == Severity::Error { &mut errors } else { &mut warnings };
        if !list.contains(&diagnostic) {
            list.push(diagnostic);
        }
    };
    let account = offline_account(stack);
    let set: Vec<Pairs> = stack
        .stages
        .iter()
        .map(|stage| stage_variables(stack, &stage.name, &account, NO_TOKEN))
        .collect();
    let mut set: Vec<&str> =
        set.iter().flatten().map(|(name, _)| name.as_str()).chain([variable::PREVIOUS]).collect();
    set.sort_unstable();
    set.dedup();
    for route in routes {
        for (media, template) in &route.templates {
            let text = format!("{}{}", desired::prelude(route), template.text);
            match Template::parse(&text) {
                Err(error) => tell(diagnostic(&route.path, media, Some(&template.file), &error)),
                Ok(parsed) => {
                    let mut lints = lint(&parsed);
                    lints.extend(lint_stage_variables(&parsed, &set));
                    if desired::is_binary(route, media, &stack.binary) {
                        // It comes as base64 then, which breaks no string.
                        lints.retain(|lint| {
                            lint.kind != LintKind::Unescaped || !is_body(&lint.reference)
                        });
                    }
                    lints.sort_by_key(|lint| lint.place);
                    lints
                        .into_iter()
                        .map(|lint| remark(&template.file, &text, lint))
                        .for_each(&mut tell);
                    sample(stack, route, media).into_iter().for_each(&mut tell);
                }
            }
        }
    }
    if errors.is_empty() { Ok(warnings) } else { Err(errors) }
}

fn is_body(reference: &str) -> bool {
    matches!(reference, "$input.body" | "$!input.body" | "${input.body}" | "$!{input.body}")
}

/// A remark on a template, with its place in the user's file.
fn remark(file: &std::path::Path, text: &str, lint: Lint) -> Diagnostic {
    let line = lint.place.line;
    Diagnostic {
        severity: Severity::Warning,
        file: file.to_owned(),
        // The generated line before the template is not the user's.
        place: Some(Place { line: line.saturating_sub(1).max(1), column: lint.place.column }),
        source_line: text.lines().nth(line.saturating_sub(1)).map(str::to_owned),
        width: lint.reference.chars().count().max(1),
        message: lint.message,
        help: Some(lint.help),
    }
}

fn is_nothing(value: &serde_json::Value) -> bool {
    value.is_null() || value == ""
}

/// What a sample request makes of a template: a warning where it fails, or isn't JSON.
fn sample(stack: &Stack, route: &Route, media: &str) -> Option<Diagnostic> {
    let stage = stack.stages.first()?;
    let request = HttpRequest {
        query: vec![("token".into(), "sample-token-0123456789".into())],
        headers: vec![
            ("Content-Type".into(), media.to_owned()),
            ("Host".into(), "example.com".into()),
        ],
        body: br#"{"message": "success", "list": [1, 2], "text": "a \"quoted\" word"}"#.to_vec(),
    };
    let warning = |message: String, help: &str| {
        let file =
            route.templates.get(media).map(|template| template.file.clone()).unwrap_or_default();
        let help = Some(help.to_owned());
        Diagnostic {
            severity: Severity::Warning,
            file,
            place: None,
            source_line: None,
            width: 1,
            message,
            help,
        }
    };
    match event(&At { stack, route, stage: &stage.name, time: 1_700_000_000_000 }, &request, false)
    {
        Ok(rendered) => match serde_json::from_str::<serde_json::Value>(&rendered.text) {
            // That the template mentions it says nothing of the key it goes to.
            Ok(event) if route.token == TokenRule::Query && event.get("validToken").is_none() => {
                Some(Diagnostic {
                    severity: Severity::Error,
                    ..warning(
                        format!(
                            "the event that the mapping template of {} makes of a sample request has no `validToken`",
                            route.path
                        ),
                        "the function would take no request; write `\"validToken\": \"$stageVariables.validToken\"`, or say `token: none` on the route",
                    )
                })
            }
            Ok(event) if route.token == TokenRule::Query && event.get("token").is_none() => {
                Some(warning(
                    format!(
                        "the event that the mapping template of {} makes of a sample request has no `token`",
                        route.path
                    ),
                    "the function would answer 400 to every request; write `\"token\": \"$util.escapeJavaScript($input.params().querystring.get('token'))\"`",
                ))
            }
            Ok(event)
                if ["path", "app", "queue_url"].iter().all(|key| event.get(*key).is_none()) =>
            {
                Some(Diagnostic {
                    severity: Severity::Error,
                    ..warning(
                        format!(
                            "the event that the mapping template of {} makes of a sample request has neither `path` nor `app`",
                            route.path
                        ),
                        "the function would have no name for a record and take no request; write `\"path\": \"$context.resourcePath\"`",
                    )
                })
            }
            Ok(event)
                if ["body", "body-raw"].iter().any(|key| {
                    event[*key].as_str().is_some_and(|text| STANDARD.decode(text).is_err())
                }) =>
            {
                Some(Diagnostic {
                    severity: Severity::Error,
                    ..warning(
                        format!(
                            "in the event that the mapping template of {} makes of a sample request, the body's text isn't base64",
                            route.path
                        ),
                        "the function would answer 503 to every request; write `\"body\": \"$util.base64Encode($input.body)\"`, or `$input.body` alone for a type that is binary",
                    )
                })
            }
            Ok(event)
                if route.token == TokenRule::None
                    && event["destination"]
                        .as_str()
                        .is_some_and(|text| !text.contains("token=none")) =>
            {
                Some(warning(
                    format!(
                        "the event that the mapping template of {} makes of a sample request has a `destination` that asks for a token",
                        route.path
                    ),
                    "the function would answer 400 to every request; write `\"destination\": \"$destination\"`: it knows of `token: none`",
                ))
            }
            Ok(event)
                if ["destination", "bucket", "queue_url"]
                    .iter()
                    .all(|key| event.get(*key).is_none()) =>
            {
                Some(warning(
                    format!(
                        "the event that the mapping template of {} makes of a sample request has no `destination`",
                        route.path
                    ),
                    "the function would store nothing and answer 503; write `\"destination\": \"$destination\"`: routeto sets that variable",
                ))
            }
            Ok(event)
                if ["body", "body-json", "body-raw"].iter().all(|key| is_nothing(&event[*key])) =>
            {
                Some(warning(
                    format!(
                        "the event that the mapping template of {} makes of a sample request has nothing in `body`",
                        route.path
                    ),
                    "the function would store an empty record and answer 200; write `\"body\": \"$util.base64Encode($input.body)\"`",
                ))
            }
            Ok(_) => None,
            Err(error) => Some(warning(
                format!(
                    "the mapping template of {} makes no JSON of a sample request: {error} of the event",
                    route.path
                ),
                "Lambda refuses what isn't JSON, and API Gateway answers 400; look at it with `routeto render` (texts stand in quotes: \"$destination\")",
            )),
        },
        Err(no_event) => match *no_event {
            NoEvent::Template(_, diagnostic) => {
                Some(Diagnostic { severity: Severity::Warning, ..*diagnostic })
            }
            NoEvent::Answer(..) | NoEvent::Coding(..) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Source, World};
    use std::path::Path;

    /// The stack of this file, with this one mapping template wherever one is named.
    fn load(yaml: &str, template: &[u8]) -> Stack {
        let read = |_: &Path| Ok(template.to_vec());
        let world = World { env: &|_| None, read: &read, region: None };
        crate::spec::load(&Source { path: Path::new("hooks.yaml"), bytes: yaml.as_bytes() }, &world)
            .expect("a good stack")
            .stack
    }

    fn stack() -> Stack {
        let yaml = "
stack: hooks
routes:
  /input:
    accept: [application/json, text/plain]
    s3: { bucket: 'hooks-${stage}', prefix: in/ }
  /own:
    sqs: { queue: 'own-${stage}' }
    templates: { application/json: own.vtl }
stages: { prod: {} }
";
        load(
            yaml,
            b"{\"validToken\": \"$stageVariables.validToken\",\n \"n\": $input.json('$.n')}\n",
        )
    }

    fn render(path: &str, request: &[u8]) -> Result<Rendered, Box<NoEvent>> {
        let stack = stack();
        let request = HttpRequest::parse(request).expect("a request");
        event(
            &At {
                stack: &stack,
                route: &stack.routes[path],
                stage: "prod",
                time: 1_700_000_000_000,
            },
            &request,
            true,
        )
    }

    #[test]
    fn a_json_post_becomes_the_built_in_event_with_its_exact_bytes() {
        let rendered =
            render("/input", b"POST /input?token=a%22b&app=x+y HTTP/1.1\nContent-Type: application/json\nX-H: 'q'\n\n{\"n\": 1.50}")
                .expect("an event");
        let event: serde_json::Value = serde_json::from_str(&rendered.text).expect("JSON");
        assert_eq!(event["token"], "a\"b");
        assert_eq!(event["app"], "x y");
        assert_eq!(event["destination"], "s3://hooks-prod/in/");
        assert_eq!(event["headers"]["X-H"], "'q'");
        assert_eq!(event["query"], serde_json::json!({"app": "x y"}));
        assert_eq!(event["body"], "eyJuIjogMS41MH0=");
    }

    #[test]
    fn a_binary_type_comes_as_base64_of_its_bytes_and_another_type_gets_415() {
        let rendered = render("/input", b"POST /input?token=t HTTP/1.1\r\ncontent-type: text/plain; charset=latin1\r\n\r\n\xff\x00")
            .expect("an event");
        let event: serde_json::Value = serde_json::from_str(&rendered.text).expect("JSON");
        assert_eq!(event["body"], "/wA=");
        let refused = render("/input", b"POST /input HTTP/1.1\nContent-Type: text/html\n\n")
            .expect_err("415");
        assert!(matches!(*refused, NoEvent::Answer(GatewayResponse::UnsupportedMediaType)));
    }

    #[test]
    fn a_gzipped_body_is_inflated_before_the_template_is_chosen_and_a_false_one_gets_415() {
        let gzip = coding::gzip(b"{\"n\": 1.50}");
        for media in ["application/json", "text/plain"] {
            let head = format!(
                "POST /input?token=t HTTP/1.1\nContent-Type: {media}\ncontent-encoding: GZip\n\n"
            );
            let rendered = render("/input", &[head.as_bytes(), &gzip].concat()).expect("an event");
            let event: serde_json::Value = serde_json::from_str(&rendered.text).expect("JSON");
            assert_eq!(event["body"], STANDARD.encode(b"{\"n\": 1.50}"), "{media}");
            assert_eq!(event["headers"]["content-encoding"], "GZip", "{media}");
        }
        let refused = |head: &str| match *render(
            "/input",
            format!("POST /input HTTP/1.1\n{head}\n\n{{}}").as_bytes(),
        )
        .expect_err("415")
        {
            NoEvent::Coding(refused) => (refused.answer(), refused.to_string()),
            other => panic!("{other:?}"),
        };
        let plain = (
            GatewayResponse::UnsupportedMediaType,
            "the body isn't gzip, as its Content-Encoding says".to_owned(),
        );
        assert_eq!(refused("Content-Encoding: gzip"), plain);
        // Before the content type is looked at.
        assert_eq!(refused("Content-Type: text/html\nContent-Encoding: gzip"), plain);
        assert!(refused("Content-Encoding: br").1.contains("`Content-Encoding: br`"));
    }

    #[test]
    fn references_are_placed_in_the_users_file_without_the_generated_line() {
        let rendered = render("/own", b"POST /own HTTP/1.1\n\n{\"n\": 1.50}").expect("an event");
        let at: Vec<(String, usize)> = rendered
            .references
            .iter()
            .map(|seen| (seen.reference.clone(), seen.place.line))
            .collect();
        assert!(at.contains(&("$input.json('$.n')".into(), 2)), "{at:?}");
    }

    #[test]
    fn an_event_without_a_destination_or_a_body_is_warned_of() {
        let said = |template: &'static str| {
            let yaml = "stack: hooks\nroutes:\n  /own:\n    sqs: { queue: 'own-${stage}' }\n    templates: { application/json: own.vtl }\nstages: { prod: {} }\n";
            let stack = load(yaml, template.as_bytes());
            check(&stack)
                .expect("it parses")
                .iter()
                .map(|warning| warning.message.clone())
                .collect::<Vec<_>>()
        };
        let event = "the event that the mapping template of /own makes of a sample request has";
        assert_eq!(
            said(
                "{\"path\": \"p\", \"token\": \"t\", \"validToken\": \"$stageVariables.validToken\", \"body\": \"$util.base64Encode($input.body)\"}"
            ),
            [format!("{event} no `destination`")]
        );
        let empty = "{\"path\": \"p\", \"token\": \"t\", \"validToken\": \"$stageVariables.validToken\", \"destination\": \"$destination\", \"body\": \"$input.bodi\"}";
        assert_eq!(said(empty).last(), Some(&format!("{event} nothing in `body`")));
        // a byte order mark would be part of the event
        let whole = "\u{feff}{\"path\": \"p\", \"token\": \"t\", \"validToken\": \"$stageVariables.validToken\", \"destination\": \"$destination\", \"body\": \"$util.base64Encode($input.body)\"}";
        assert_eq!(said(whole), [] as [String; 0]);
    }

    #[test]
    fn an_event_that_the_function_can_never_take_is_refused() {
        let said = |rule: &str, template: &str| {
            let yaml = format!(
                "stack: hooks\nroutes:\n  /own:\n    sqs: {{ queue: 'own-${{stage}}' }}\n    templates: {{ application/json: own.vtl }}\n{rule}stages: {{ prod: {{}} }}\n"
            );
            let stack = load(&yaml, template.as_bytes());
            let words = |all: Vec<Diagnostic>| {
                all.iter().map(|one| one.message.clone()).collect::<Vec<_>>()
            };
            check(&stack).map(words).map_err(words)
        };
        let token = "\"token\": \"t\", \"validToken\": \"$stageVariables.validToken\"";
        let nameless =
            format!("{{{token}, \"destination\": \"$destination\", \"body\": \"eA==\"}}");
        let event = "the event that the mapping template of /own makes of a sample request has";
        assert_eq!(said("", &nameless), Err(vec![format!("{event} neither `path` nor `app`")]));
        let text = format!(
            "{{{token}, \"path\": \"p\", \"destination\": \"$destination\", \"body\": \"$util.escapeJavaScript($input.body)\"}}"
        );
        assert!(said("", &text).is_err_and(|errors| {
            errors.iter().any(|error| error.contains("the body's text isn't base64"))
        }));
        let literal = "{\"path\": \"p\", \"destination\": \"s3://b/p/\", \"body\": \"eA==\"}";
        assert_eq!(
            said("    token: none\n", literal),
            Ok(vec![format!("{event} a `destination` that asks for a token")])
        );
    }

    #[test]
    fn a_template_that_calls_the_tokens_key_otherwise_is_refused_where_a_token_is_asked_for() {
        let said = |rule: &str| {
            let yaml = format!(
                "stack: hooks\nroutes:\n  /own:\n    sqs: {{ queue: 'own-${{stage}}' }}\n    templates: {{ application/json: own.vtl }}\n{rule}stages: {{ prod: {{}} }}\n"
            );
            let template = "{\"app\": \"a\", \"secret\": \"$stageVariables.validToken\", \"destination\": \"$destination\", \"body\": \"eA==\"}";
            let stack = load(&yaml, template.as_bytes());
            check(&stack).map_err(|errors| {
                errors.iter().map(|error| error.message.clone()).collect::<Vec<_>>()
            })
        };
        let none = "the event that the mapping template of /own makes of a sample request has no `validToken`";
        assert_eq!(said(""), Err(vec![none.to_owned()]));
        assert_eq!(said("    token: none\n"), Ok(vec![]));
    }

    #[test]
    fn the_context_has_the_time_and_the_host_as_api_gateway_writes_them() {
        assert_eq!(log_time(1_428_582_896_789), "09/Apr/2015:12:34:56 +0000");
        let stack = stack();
        let caller = Caller {
            request_id: "r",
            extended_request_id: "e",
            path: "/prod/input",
            protocol: "HTTP/1.1",
            source_ip: "127.0.0.1",
            user_agent: None,
            time: 1_428_582_896_789,
        };
        let said = context(&offline_account(&stack), "prod", "/input", &caller);
        let has = |name: &str| {
            said.iter().any(|(known, value)| {
                known == name && matches!(value, Data::Text(text) if !text.is_empty())
            })
        };
        let missing: Vec<&str> =
            ["requestTime", "domainName", "domainPrefix", "resourceId", "deploymentId"]
                .into_iter()
                .filter(|name| !has(name))
                .collect();
        assert_eq!(missing, [] as [&str; 0]);
    }

    #[test]
    fn a_body_in_base64_needs_no_escaping_and_another_one_does() {
        let unescaped = |binary: &str| {
            let yaml = format!(
                "stack: hooks\nroutes:\n  /own:\n    sqs: {{ queue: 'own-${{stage}}' }}\n    templates: {{ image/png: own.vtl }}\nstages: {{ prod: {{}} }}\n{binary}"
            );
            let stack = load(&yaml, super::desired::BINARY_TEMPLATE.as_bytes());
            let warnings = check(&stack).expect("it parses");
            warnings.iter().filter(|warning| warning.message.contains("$input.body")).count()
        };
        assert_eq!((unescaped("binary: [image/png]\n"), unescaped("")), (0, 1));
    }

    #[test]
    fn a_slip_in_a_name_is_warned_of_in_the_users_file() {
        let template = "{\"validToken\": \"$stageVariables.validTokn\",\n \"id\": \"$context.requestid\",\n \"app\": \"a\", \"destination\": \"$destination\", \"body\": \"eA==\"}\n";
        let yaml = "
stack: hooks
routes:
  /own:
    sqs: { queue: 'own-${stage}' }
    token: none
    templates: { application/json: own.vtl }
stages: { prod: {} }
";
        let stack = load(yaml, template.as_bytes());
        let warnings: Vec<String> =
            check(&stack).expect("it parses").iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "warning: no stage sets the variable validTokn; $stageVariables.validTokn prints nothing\n  --> own.vtl:1:17\n   |\n 1 | {\"validToken\": \"$stageVariables.validTokn\",\n   |                 ^^^^^^^^^^^^^^^^^^^^^^^^^\n  = help: did you mean $stageVariables.validToken?",
                "warning: API Gateway's documents don't name $context.requestid; it prints nothing\n  --> own.vtl:2:9\n   |\n 2 |  \"id\": \"$context.requestid\",\n   |         ^^^^^^^^^^^^^^^^^^\n  = help: did you mean $context.requestId?",
            ]
        );
    }

    #[test]
    fn a_file_that_is_no_request_is_told_with_its_line() {
        assert_eq!(HttpRequest::parse(b"GET / HTTP/1.1\n\n").expect_err("wrong").0, 1);
        assert_eq!(HttpRequest::parse(b"POST / HTTP/1.1\nno header\n\n").expect_err("wrong").0, 2);
        assert_eq!(HttpRequest::parse(b"POST / HTTP/1.1\nA: b").expect_err("wrong").0, 2);
    }
}
