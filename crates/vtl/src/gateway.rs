//! What API Gateway decides around a template: which one is rendered, how the body is converted
//! before, which integration response answers, and what the gateway itself says when something is
//! wrong.
//!
//! Pure functions over plain data. Where AWS's documents leave something open, the doc of the
//! function says what was chosen and why.

use super::{
    json,
    regex::Regex,
    request::{Data, Pairs},
    value::{Text, Value},
};

/// Source: AWS API reference, `Integration.passthroughBehavior`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Passthrough {
    /// The body goes on as it is where no template fits the content type. The default.
    #[default]
    WhenNoMatch,
    /// The body goes on as it is only where there is no template at all.
    WhenNoTemplates,
    /// A body without a template is refused.
    Never,
}

/// What becomes of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'t, T> {
    /// This template is rendered.
    Template(&'t T),
    /// The body goes on as it is.
    PassThrough,
    /// 415 [`GatewayResponse::UnsupportedMediaType`].
    Unsupported,
}

/// The media type of a Content-Type or Accept header: without parameters, in lower case.
/// Source: API Gateway Developer Guide, "Data transformations": only the MIME type counts when a
/// template is chosen.
pub fn media_type(header: &str) -> String {
    header.split([';', ',']).next().unwrap_or("").trim().to_ascii_lowercase()
}

/// Chooses the request template. Without a content type, `application/json` counts; `$default` fits
/// where nothing else does.
pub fn choose_template<'t, T>(
    templates: &'t [(String, T)],
    content_type: Option<&str>,
    passthrough: Passthrough,
) -> Choice<'t, T> {
    let wanted = content_type
        .map(media_type)
        .filter(|wanted| !wanted.is_empty())
        .unwrap_or_else(|| "application/json".to_owned());
    let named = |name: &str| {
        templates
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, template)| template)
    };
    if let Some(template) = named(&wanted).or_else(|| named("$default")) {
        return Choice::Template(template);
    }
    match passthrough {
        Passthrough::WhenNoMatch => Choice::PassThrough,
        Passthrough::WhenNoTemplates if templates.is_empty() => Choice::PassThrough,
        Passthrough::WhenNoTemplates | Passthrough::Never => Choice::Unsupported,
    }
}

/// Chooses the response template by the request's Accept header: its first media type, else
/// `application/json`, else the first there is. `None` without any template: the integration's body
/// is the answer.
pub fn choose_response_template<'t, T>(
    templates: &'t [(String, T)],
    accept: Option<&str>,
) -> Option<&'t T> {
    let named = |name: &str| {
        templates
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, template)| template)
    };
    accept
        .and_then(|accept| named(&media_type(accept)))
        .or_else(|| named("application/json"))
        .or_else(|| templates.first().map(|(_, template)| template))
}

/// Source: AWS API reference, `Integration.contentHandling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentHandling {
    ConvertToText,
    ConvertToBinary,
}

/// A body on its way through the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Text(String),
    /// A template can't be rendered over this: the answer is 500.
    Binary(Vec<u8>),
}

impl Payload {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Payload::Text(text) => text.as_bytes(),
            Payload::Binary(bytes) => bytes,
        }
    }
}

/// The body can't be converted: it isn't base64. API Gateway answers 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBase64;

impl std::fmt::Display for NotBase64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "the body is to be converted to binary but isn't base64; API Gateway answers 500",
        )
    }
}

impl std::error::Error for NotBase64 {}

/// Whether a content type is one of the API's `binaryMediaTypes`. `*/*` takes every type, `image/*`
/// every one of its kind.
pub fn is_binary(content_type: Option<&str>, binary_media_types: &[String]) -> bool {
    let media = content_type.map(media_type).unwrap_or_default();
    binary_media_types.iter().any(|binary| {
        let binary = binary.trim().to_ascii_lowercase();
        binary == media
            || binary == "*/*"
            || binary.strip_suffix("/*").is_some_and(|kind| media.split('/').next() == Some(kind))
    })
}

fn decode(body: &[u8]) -> Result<Payload, NotBase64> {
    let text = std::str::from_utf8(body).map_err(|_| NotBase64)?;
    super::java::base64_decode(text).map(Payload::Binary).ok_or(NotBase64)
}

fn as_text(body: &[u8]) -> Payload {
    Payload::Text(super::text::decode(body))
}

fn encoded(body: &[u8]) -> Payload {
    Payload::Text(super::java::base64_encode(body))
}

/// Converts a request's body for the integration.
/// Source: API Gateway Developer Guide, "Content type conversions in API Gateway", requests.
pub fn convert_request(
    body: &[u8],
    content_type: Option<&str>,
    binary_media_types: &[String],
    handling: Option<ContentHandling>,
) -> Result<Payload, NotBase64> {
    match (is_binary(content_type, binary_media_types), handling) {
        (false, None | Some(ContentHandling::ConvertToText)) => Ok(as_text(body)),
        (false, Some(ContentHandling::ConvertToBinary)) => decode(body),
        (true, None | Some(ContentHandling::ConvertToBinary)) => Ok(Payload::Binary(body.to_vec())),
        (true, Some(ContentHandling::ConvertToText)) => Ok(encoded(body)),
    }
}

/// Converts an integration's body for the caller: by its own content type and by what the request's
/// Accept header asks for. Source: API Gateway Developer Guide, "Content type conversions in API
/// Gateway", responses.
pub fn convert_response(
    body: &[u8],
    content_type: Option<&str>,
    accept: Option<&str>,
    binary_media_types: &[String],
    handling: Option<ContentHandling>,
) -> Result<Payload, NotBase64> {
    let binary_payload = is_binary(content_type, binary_media_types);
    let binary_wanted = is_binary(accept, binary_media_types);
    match (binary_payload, handling, binary_wanted) {
        (false, Some(ContentHandling::ConvertToText), _) | (false, None, false) => {
            Ok(as_text(body))
        }
        (false, Some(ContentHandling::ConvertToBinary), _) | (false, None, true) => decode(body),
        (true, Some(ContentHandling::ConvertToText), _) | (true, None, false) => Ok(encoded(body)),
        (true, Some(ContentHandling::ConvertToBinary), _) | (true, None, true) => {
            Ok(Payload::Binary(body.to_vec()))
        }
    }
}

/// An integration response, as far as it is chosen by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrationResponse {
    pub status: u16,
    /// A Java regular expression that must match the whole value. `None` or empty: the default
    /// response.
    pub selection_pattern: Option<String>,
}

/// Chooses the integration response: the first whose pattern matches the whole value, else the
/// default.
///
/// The value is, for Lambda, the `errorMessage` of a failed invocation (`None` for one that didn't
/// fail), otherwise the back end's status. `None`: no response fits, and API Gateway answers 500.
/// Source: AWS API reference, `IntegrationResponse.selectionPattern`.
pub fn select_response<'r>(
    responses: &'r [IntegrationResponse],
    value: Option<&str>,
) -> Option<&'r IntegrationResponse> {
    let pattern = |response: &'r IntegrationResponse| {
        response.selection_pattern.as_deref().filter(|pattern| !pattern.is_empty())
    };
    let matches = |source: &str, value: &str| {
        Regex::new(source, false)
            .and_then(|regex| regex.matches(value, &mut 10_000_000))
            .unwrap_or(false)
    };
    value
        .filter(|value| !value.is_empty())
        .and_then(|value| {
            responses
                .iter()
                .find(|response| pattern(response).is_some_and(|source| matches(source, value)))
        })
        .or_else(|| responses.iter().find(|response| pattern(response).is_none()))
}

/// The `errorMessage` of a failed Lambda invocation, if its answer is one.
pub fn lambda_error(answer: &str) -> Option<String> {
    match json::parse(&Text::Borrowed(answer)) {
        Ok(Value::Map(map)) => match map.get_text("errorMessage") {
            Some(Value::Text(message)) => Some(message.to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// The status that a MOCK integration takes from its rendered request template: `statusCode`, a
/// whole number, of a permissive JSON object. `None`: API Gateway answers 500.
pub fn mock_status(rendered: &str) -> Option<u16> {
    match json::parse(&Text::Borrowed(rendered)) {
        Ok(Value::Map(map)) => match map.get_text("statusCode") {
            Some(Value::Int(status)) => {
                u16::try_from(status).ok().filter(|status| (100..=599).contains(status))
            }
            _ => None,
        },
        _ => None,
    }
}

/// What the gateway answers by itself.
/// Source: API Gateway Developer Guide, "Gateway response types". The texts of those marked with *
/// are common knowledge, not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayResponse {
    /// * A required parameter is missing.
    BadRequestParameters,
    /// * The body isn't what the model asks for.
    BadRequestBody,
    /// * `Forbidden`
    InvalidApiKey,
    /// An unknown path, or a method that the path doesn't have.
    MissingAuthenticationToken,
    /// * Over 10 MB.
    RequestTooLarge,
    UnsupportedMediaType,
    /// *
    Throttled,
    /// *
    QuotaExceeded,
    /// A template that fails, a body that can't be converted, a mapping that isn't allowed.
    ApiConfigurationError,
    /// *
    IntegrationFailure,
    /// *
    IntegrationTimeout,
}

impl GatewayResponse {
    pub fn status(self) -> u16 {
        match self {
            GatewayResponse::BadRequestParameters | GatewayResponse::BadRequestBody => 400,
            GatewayResponse::InvalidApiKey | GatewayResponse::MissingAuthenticationToken => 403,
            GatewayResponse::RequestTooLarge => 413,
            GatewayResponse::UnsupportedMediaType => 415,
            GatewayResponse::Throttled | GatewayResponse::QuotaExceeded => 429,
            GatewayResponse::ApiConfigurationError => 500,
            GatewayResponse::IntegrationFailure | GatewayResponse::IntegrationTimeout => 504,
        }
    }

    /// The `message` of the default body.
    pub fn message(self) -> &'static str {
        match self {
            GatewayResponse::BadRequestParameters => "Missing required request parameters",
            GatewayResponse::BadRequestBody => "Invalid request body",
            GatewayResponse::InvalidApiKey => "Forbidden",
            GatewayResponse::MissingAuthenticationToken => "Missing Authentication Token",
            GatewayResponse::RequestTooLarge => "Request Too Long",
            GatewayResponse::UnsupportedMediaType => "Unsupported Media Type",
            GatewayResponse::Throttled => "Too Many Requests",
            GatewayResponse::QuotaExceeded => "Limit Exceeded",
            GatewayResponse::ApiConfigurationError => "Internal server error",
            GatewayResponse::IntegrationFailure => "Network error communicating with endpoint",
            GatewayResponse::IntegrationTimeout => "Endpoint request timed out",
        }
    }

    /// The header `x-amzn-errortype`.
    pub fn error_type(self) -> &'static str {
        match self {
            GatewayResponse::BadRequestParameters
            | GatewayResponse::BadRequestBody
            | GatewayResponse::UnsupportedMediaType => "BadRequestException",
            GatewayResponse::InvalidApiKey => "ForbiddenException",
            GatewayResponse::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            GatewayResponse::RequestTooLarge => "RequestTooLargeException",
            GatewayResponse::Throttled => "TooManyRequestsException",
            GatewayResponse::QuotaExceeded => "LimitExceededException",
            GatewayResponse::ApiConfigurationError
            | GatewayResponse::IntegrationFailure
            | GatewayResponse::IntegrationTimeout => "InternalServerErrorException",
        }
    }

    /// The default body.
    pub fn body(self) -> String {
        format!("{{\"message\":\"{}\"}}", self.message())
    }
}

/// Whether a header may not be the target of a parameter mapping: the request is then answered with
/// 500. `aws_integration`: of type AWS or AWS_PROXY, which keeps more headers to itself.
pub fn is_restricted_header(name: &str, aws_integration: bool) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "content-length" | "transfer-encoding")
        || (aws_integration
            && matches!(
                name.as_str(),
                "authorization" | "connection" | "expect" | "proxy-authenticate" | "te"
            ))
}

/// Fills in a gateway response's template, which is no Velocity: only `$context.…` and
/// `$stageVariables.…` are replaced. Source: API Gateway Developer Guide,
/// `x-amazon-apigateway-gateway-responses.responseTemplates`.
pub fn gateway_response(template: &str, context: &Pairs, stage_variables: &Pairs) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest[1..]
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
            .map_or(rest.len(), |end| end + 1);
        let name = rest[1..end].trim_end_matches('.');
        let mut steps = name.split('.');
        let found = match steps.next() {
            Some("context") => look_up(context, steps),
            Some("stageVariables") => look_up(stage_variables, steps),
            _ => None,
        };
        let length = 1 + name.len();
        match found {
            Some(text) => out.push_str(&text),
            None => out.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

fn look_up<'s>(pairs: &Pairs, mut steps: impl Iterator<Item = &'s str>) -> Option<String> {
    let name = steps.next()?;
    let (_, value) = pairs.iter().find(|(known, _)| known == name)?;
    match value {
        Data::Map(inner) => look_up(inner, steps),
        Data::Text(text) => Some(text.clone()),
        other => {
            let mut out = String::new();
            super::value::print(
                &super::eval::from_data(other),
                &mut out,
                0,
                &mut super::value::NoBlocks,
            )
            .ok()?;
            Some(out)
        }
    }
}
