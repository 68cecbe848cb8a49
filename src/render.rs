//! The event that a request becomes: route → template choice → content handling → prelude → mapping template, as API Gateway does it. Pure.

use crate::{
    desired::{self, Inputs},
    diagnostic::{Diagnostic, Place, Severity},
    observed::Account,
    resource::{Id, Kind, NO_TOKEN, Resource, variable},
    spec::{Route, Stack},
    vtl::{
        self, Data, Limits, Lint, Pairs, Rendered, Template,
        gateway::{Choice, ContentHandling, Passthrough, Payload, choose_template, convert_request},
        lint,
    },
};
use std::{collections::BTreeMap, path::PathBuf};

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
    /// Reads a raw HTTP request: request line, header lines, an empty line, the body as it is. Lines may end with LF alone.
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
        let text = |number: usize, bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| (number, "this line is not UTF-8".to_owned()));
        let wrong = || (1, "a request begins with `POST /path?query HTTP/1.1`".to_owned());
        let (_, first) = line().ok_or_else(wrong)?;
        let first = text(1, first)?;
        let mut words = first.split_whitespace();
        let (Some("POST"), Some(target)) = (words.next(), words.next()) else { return Err(wrong()) };
        let query = target.split_once('?').map(|(_, query)| parse_query(query)).unwrap_or_default();
        let mut headers = vec![];
        loop {
            let Some((number, bytes)) = line() else {
                return Err((headers.len() + 2, "an empty line must end the headers; the body follows it".into()));
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
        self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type")).map(|(_, value)| value.as_str())
    }
}

/// `Name: value`.
pub fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() && !name.contains(' ') => Ok((name.to_owned(), value.trim().to_owned())),
        _ => Err(format!("`{text}` is no header; write `Name: value`")),
    }
}

/// `a=b&c=d`, percent-decoded; `+` is a space.
pub fn parse_query(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(key, value)| (decode(key), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (_, Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', None) => out.push(b' '),
            (byte, None) => out.push(byte),
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
    /// The gateway answers by itself: status and text.
    Answer(u16, String),
    Template(Box<Diagnostic>),
}

/// The account that names are made of while AWS isn't asked.
pub fn offline_account(stack: &Stack) -> Account {
    Account {
        id: "123456789012".into(),
        region: stack.region.clone().unwrap_or_else(|| "us-east-1".into()),
        partition: "aws".into(),
        caller: String::new(),
    }
}

/// Renders the event; with `explain`, each reference is noted.
///
/// # Errors
/// The gateway's own answer, or the template's error with its place in the user's file.
pub fn event(at: &At<'_>, request: &HttpRequest, explain: bool) -> Result<Rendered, Box<NoEvent>> {
    let account = offline_account(at.stack);
    let api = desired::api(at.stack, &account, &BTreeMap::new());
    let integration = api.methods[&at.route.path]["POST"].integration.as_ref().expect("every route has an integration");
    let templates: Vec<(String, &String)> = integration.templates.iter().map(|(media, text)| (media.clone(), text)).collect();
    let text = match choose_template(&templates, request.content_type(), Passthrough::Never) {
        Choice::Template(text) => *text,
        Choice::PassThrough | Choice::Unsupported => return Err(Box::new(NoEvent::Answer(415, "Unsupported Media Type".into()))),
    };
    let media = templates.iter().find(|(_, known)| std::ptr::eq(*known, text)).map(|(media, _)| media.clone()).unwrap_or_default();
    let binary: Vec<String> = api.binary_media_types.iter().cloned().collect();
    let body = match convert_request(&request.body, request.content_type(), &binary, Some(ContentHandling::ConvertToText)) {
        Ok(Payload::Text(text)) => text,
        Ok(Payload::Binary(_)) | Err(_) => return Err(Box::new(NoEvent::Answer(500, "the body can't be made text".into()))),
    };
    let request = velocity_request(at, &account, request, body);
    let template = Template::parse(text).map_err(|error| placed(at.route, &media, &error))?;
    let rendered = if explain { template.explain(&request, &Limits::GATEWAY) } else { template.render(&request, &Limits::GATEWAY) };
    let mut rendered = rendered.map_err(|error| placed(at.route, &media, &error))?;
    // The generated line before the template is not the user's.
    rendered.references.retain(|reference| reference.place.line > 1);
    rendered.references.iter_mut().for_each(|reference| reference.place.line -= 1);
    Ok(rendered)
}

fn velocity_request(at: &At<'_>, account: &Account, request: &HttpRequest, body: String) -> vtl::Request {
    let texts = |pairs: &[(String, String)]| -> Pairs {
        let mut unique: Pairs = vec![];
        for (key, value) in pairs {
            // Of several values the last one counts.
            unique.retain(|(known, _)| known != key);
            unique.push((key.clone(), value.as_str().into()));
        }
        unique
    };
    let context: Pairs = vec![
        ("accountId".into(), account.id.as_str().into()),
        ("apiId".into(), "a1b2c3d4e5".into()),
        ("extendedRequestId".into(), "ZXh0ZW5kZWQ=".into()),
        ("httpMethod".into(), "POST".into()),
        ("identity".into(), Data::Map(vec![("sourceIp".into(), "192.0.2.1".into()), ("userAgent".into(), "routeto".into())])),
        ("path".into(), format!("/{}{}", at.stage, at.route.path).into()),
        ("protocol".into(), "HTTP/1.1".into()),
        ("requestId".into(), "00000000-0000-4000-8000-000000000000".into()),
        ("requestTimeEpoch".into(), Data::Long(at.time)),
        ("resourcePath".into(), at.route.path.as_str().into()),
        ("stage".into(), at.stage.into()),
    ];
    vtl::Request {
        body: Some(body),
        path: vec![],
        query: texts(&request.query),
        header: texts(&request.headers),
        stage_variables: stage_variables(at, account),
        context,
        variables: vec![],
    }
    .with_overrides()
}

fn stage_variables(at: &At<'_>, account: &Account) -> Pairs {
    let mut scope = at.stack.clone();
    scope.stages.retain(|stage| stage.name == at.stage);
    let resources = desired::desired(&scope, &Inputs { account, code_sha256: "", existing: &BTreeMap::new() });
    let mut variables: Pairs = vec![
        (variable::VALID_TOKEN.into(), NO_TOKEN.into()),
        (variable::FUNCTION_NAME.into(), desired::name::function(&at.stack.name, at.stage).into()),
        (variable::FUNCTION_VERSION.into(), "1".into()),
    ];
    if let Some(Resource::Stage(stage)) = resources.get(&Id::new(Kind::Stage, at.stage)) {
        variables.extend(stage.destinations.iter().chain(&stage.variables).map(|(key, value)| (key.clone(), value.as_str().into())));
    }
    variables
}

/// A template's error with its place in the user's file: the generated line before the template doesn't count.
fn placed(route: &Route, media: &str, error: &vtl::Error) -> Box<NoEvent> {
    Box::new(NoEvent::Template(Box::new(diagnostic(route, media, error))))
}

fn diagnostic(route: &Route, media: &str, error: &vtl::Error) -> Diagnostic {
    let file = route
        .templates
        .get(media)
        .map_or_else(|| PathBuf::from(format!("the built-in template for {media}")), |template| template.file.clone());
    let values: Vec<String> = error.variables.iter().map(|(name, value)| format!("{name} is {value}")).collect();
    let mut help = vec![];
    help.extend((!values.is_empty()).then(|| values.join("; ")));
    help.extend(error.help.clone());
    help.push(format!("API Gateway would answer {}", error.status()));
    Diagnostic {
        severity: Severity::Error,
        file,
        place: error.place.map(|place| Place { line: place.line.saturating_sub(1).max(1), column: place.column }),
        source_line: error.source_line.clone(),
        width: error.width,
        message: format!("in the mapping template of {}: {}", route.path, error.message),
        help: Some(help.join("\n  = help: ")),
    }
}

/// Every template of the user's: whether it parses, and whether it makes JSON of a sample.
///
/// # Errors
/// Those that API Gateway would refuse.
pub fn check(stack: &Stack) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let (mut errors, mut warnings) = (vec![], vec![]);
    for route in stack.routes.values() {
        for (media, template) in &route.templates {
            let text = format!("{}{}", desired::prelude(route), template.text);
            match Template::parse(&text) {
                Err(error) => errors.push(diagnostic(route, media, &error)),
                Ok(parsed) => {
                    warnings.extend(lint(&parsed).into_iter().map(|lint| remark(&template.file, &text, lint)));
                    warnings.extend(sample(stack, route, media));
                }
            }
        }
    }
    if errors.is_empty() { Ok(warnings) } else { Err(errors) }
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

/// What a sample request makes of a template: a warning where it fails, or isn't JSON.
fn sample(stack: &Stack, route: &Route, media: &str) -> Option<Diagnostic> {
    let stage = stack.stages.first()?;
    let request = HttpRequest {
        query: vec![("token".into(), "sample-token-0123456789".into())],
        headers: vec![("Content-Type".into(), media.to_owned()), ("Host".into(), "example.com".into())],
        body: br#"{"message": "success", "list": [1, 2], "text": "a \"quoted\" word"}"#.to_vec(),
    };
    let warning = |message: String, help: &str| {
        let file = route.templates.get(media).map(|template| template.file.clone()).unwrap_or_default();
        let help = Some(help.to_owned());
        Diagnostic { severity: Severity::Warning, file, place: None, source_line: None, width: 1, message, help }
    };
    match event(&At { stack, route, stage: &stage.name, time: 1_700_000_000_000 }, &request, false) {
        Ok(rendered) if serde_json::from_str::<serde_json::Value>(&rendered.text).is_ok() => None,
        Ok(_) => Some(warning(
            format!("the mapping template of {} makes no JSON of a sample request", route.path),
            "Lambda refuses what isn't JSON, so callers would get 503; look at it with `routeto render`",
        )),
        Err(no_event) => match *no_event {
            NoEvent::Template(diagnostic) => Some(Diagnostic { severity: Severity::Warning, ..*diagnostic }),
            NoEvent::Answer(..) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Source, World};
    use std::path::Path;

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
        let read = |_: &Path| Ok(b"{\"validToken\": \"$stageVariables.validToken\",\n \"n\": $input.json('$.n')}\n".to_vec());
        let world = World { env: &|_| None, read: &read, region: None };
        crate::spec::load(&Source { path: Path::new("hooks.yaml"), bytes: yaml.as_bytes() }, &world).expect("a good stack").stack
    }

    fn render(path: &str, request: &[u8]) -> Result<Rendered, Box<NoEvent>> {
        let stack = stack();
        let request = HttpRequest::parse(request).expect("a request");
        event(&At { stack: &stack, route: &stack.routes[path], stage: "prod", time: 1_700_000_000_000 }, &request, true)
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
        let refused = render("/input", b"POST /input HTTP/1.1\nContent-Type: text/html\n\n").expect_err("415");
        assert!(matches!(*refused, NoEvent::Answer(415, _)));
    }

    #[test]
    fn references_are_placed_in_the_users_file_without_the_generated_line() {
        let rendered = render("/own", b"POST /own HTTP/1.1\n\n{\"n\": 1.50}").expect("an event");
        let at: Vec<(String, usize)> = rendered.references.iter().map(|seen| (seen.reference.clone(), seen.place.line)).collect();
        assert!(at.contains(&("$input.json('$.n')".into(), 2)), "{at:?}");
    }

    #[test]
    fn a_file_that_is_no_request_is_told_with_its_line() {
        assert_eq!(HttpRequest::parse(b"GET / HTTP/1.1\n\n").expect_err("wrong").0, 1);
        assert_eq!(HttpRequest::parse(b"POST / HTTP/1.1\nno header\n\n").expect_err("wrong").0, 2);
        assert_eq!(HttpRequest::parse(b"POST / HTTP/1.1\nA: b").expect_err("wrong").0, 2);
    }
}
