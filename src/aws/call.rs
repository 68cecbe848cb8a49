//! One call to AWS and how it failed: the typed code where AWS gives one, and the words for a
//! person.

use super::{lock::Unsure, throttle};
use crate::{
    error::{Error, Failure},
    resource::Kind,
};
use aws_smithy_runtime_api::{client::result::SdkError, http::Response};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::{fmt, future::Future, sync::OnceLock};

/// The code of a call that was held back.
const NOT_SENT: &str = "NotSent";
/// The same, where an earlier try was sent.
const NOT_SENT_AGAIN: &str = "NotSentAgain";
/// The code of what took longer than it is waited for.
pub const WAITED_TOO_LONG: &str = "WaitedTooLong";
/// The code of what AWS couldn't make ready.
pub const FAILED: &str = "Failed";

/// Why a call brought no answer.
#[derive(Clone, Debug)]
pub struct CallError {
    /// `service:Operation`, as IAM names it; of API Gateway the operation, which IAM knows only as
    /// `apigateway:POST` and the like.
    pub call: &'static str,
    /// AWS's error code, where it answered.
    pub code: Option<String>,
    pub status: Option<u16>,
    pub message: String,
}

/// Sends a request and names the call in its error.
pub async fn called<T, E>(
    call: &'static str,
    request: impl Future<Output = Result<T, SdkError<E, Response>>>,
) -> Result<T, CallError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    request.await.map_err(|error| CallError::new(call, error))
}

impl CallError {
    /// What a creating call met, and whose it seems to be: AWS's error may only have said that
    /// there is one.
    pub fn foreign(call: &'static str, code: &str, kind: Kind, whose: &str) -> Self {
        let message =
            format!("a {kind} of this name is there already and isn't this stack's ({whose})");
        CallError { call, code: Some(code.into()), status: None, message }
    }

    pub fn new<E>(call: &'static str, error: SdkError<E, Response>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let response = error.raw_response();
        let status = response.map(|response| response.status().as_u16());
        let (code, message) = match &error {
            SdkError::ServiceError(service) => (
                service.err().code().map(str::to_owned),
                service.err().message().unwrap_or_default().to_owned(),
            ),
            other => match cause::<Unsure>(other) {
                Some(unsure) => {
                    let code = if unsure.tried { NOT_SENT_AGAIN } else { NOT_SENT };
                    (Some(code.to_owned()), unsure.to_string())
                }
                None => (None, chain(other)),
            },
        };
        Self { call, code, status, message }
    }

    pub fn is(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// There is no such thing: by code, or by status where the service sends no body (HeadBucket).
    pub fn not_found(&self) -> bool {
        self.is(&[
            "NotFoundException",
            "NotFound",
            "NoSuchEntity",
            "NoSuchEntityException",
            "NoSuchBucket",
            "ResourceNotFoundException",
            "AWS.SimpleQueueService.NonExistentQueue",
            "QueueDoesNotExist",
        ]) || (self.code.is_none() && self.status == Some(404))
    }

    /// The caller may not do this.
    pub fn refused(&self) -> bool {
        self.is(&["AccessDenied", "AccessDeniedException"])
    }

    /// It may have reached AWS, and no answer tells what became of it.
    pub fn may_have_arrived(&self) -> bool {
        // An answer that was cut off, or that is no answer of AWS's, has no code.
        let unheard = self.code.is_none() || self.status.is_some_and(|status| status >= 500);
        self.is(&[NOT_SENT_AGAIN]) || unheard && !self.without_credentials()
    }

    /// The service asks to go slower. It was waited for already, see [`throttle`].
    pub fn throttled(&self) -> bool {
        !self.quota() && throttle::is_throttling(self.code.as_deref(), self.status)
    }

    /// A quota of the account is reached.
    fn quota(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        throttle::is_quota(code, &self.message, self.call.starts_with("logs:"))
    }

    /// The answer began and didn't end; the SDK says so only in words.
    fn cut_off(&self) -> bool {
        self.code.is_none() && self.message.contains("error reading a body")
    }

    /// It never left this machine: there was nothing to sign it with.
    fn without_credentials(&self) -> bool {
        self.code.is_none()
            && self.status.is_none()
            && self.message.to_ascii_lowercase().contains("credentials")
    }

    /// The failure as a person is told it, for the resource that the call was about.
    pub fn about(self, place: impl fmt::Display) -> Failure {
        let hint = self.hint();
        let what = match &self.code {
            Some(code) if [NOT_SENT, NOT_SENT_AGAIN].contains(&code.as_str()) => {
                format!("{} wasn't sent any more: {}", self.call, self.message)
            }
            // Our own words of what AWS answered again and again, or of a state.
            Some(code) if [WAITED_TOO_LONG, FAILED].contains(&code.as_str()) => {
                format!("{}: {}", self.call, first_line(&self.message))
            }
            Some(code) if self.message.is_empty() => format!("{} answered {code}", self.call),
            Some(code) => format!("{} answered {code}: {}", self.call, first_line(&self.message)),
            None => match self.status {
                Some(_) if self.cut_off() => {
                    format!("{}'s answer was cut off: {}", self.call, first_line(&self.message))
                }
                Some(status) => {
                    let more = if self.message.is_empty() {
                        String::new()
                    } else {
                        format!(": {}", first_line(&self.message))
                    };
                    format!(
                        "{} answered HTTP {status}, and it is no answer of AWS's{more}",
                        self.call
                    )
                }
                // The SDK asks for credentials while it sends.
                None if self.without_credentials() => {
                    let line = first_line(&self.message);
                    let why =
                        line.trim_start_matches("dispatch failure: ").trim_start_matches("other: ");
                    format!(
                        "{} couldn't be signed: {}",
                        self.call,
                        why.trim_end_matches(" Attempted:")
                    )
                }
                None => {
                    let from = ENDPOINT.get().map_or(String::new(), |url| format!(" from {url}"));
                    format!("{} got no answer{from}: {}", self.call, first_line(&self.message))
                }
            },
        };
        let failure = Failure::new(place.to_string(), what);
        failure.now(hint)
    }

    fn hint(&self) -> String {
        let code = self.code.as_deref().unwrap_or_default();
        let message = &self.message;
        match code {
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
                "the session has expired: sign in again (aws sso login, or new temporary credentials), then run the same command".into()
            }
            // Source: IAM User Guide, "Enable or disable AWS Regions": a region that isn't enabled doesn't know the account's keys.
            "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" | "AuthFailure" => {
                "AWS doesn't know these credentials, or the region isn't enabled for the account: check AWS_ACCESS_KEY_ID, --profile and --region"
                    .into()
            }
            "RequestTimeTooSkewed" | "RequestExpired" => "this machine's clock is off: set it, then run the same command".into(),
            // Source: Signature Version 4, "Troubleshooting": "Signature expired: … is now earlier than …", "Signature not yet current: …".
            "SignatureDoesNotMatch" | "InvalidSignatureException"
                if message.contains("Signature expired") || message.contains("not yet current") =>
            {
                "this machine's clock is off: set it, then run the same command".into()
            }
            "SignatureDoesNotMatch" | "IncompleteSignature" | "InvalidSignatureException" => {
                "the secret key doesn't fit the access key, or this machine's clock is off".into()
            }
            NOT_SENT | NOT_SENT_AGAIN => "run the same command again: it goes on from where it stopped".into(),
            WAITED_TOO_LONG => "AWS takes longer than usual: run the same command again later, it goes on from where it stopped".into(),
            "AccessDenied" | "AccessDeniedException" | "AuthorizationError" | "UnauthorizedOperation" | "403" => {
                let call = if self.call.starts_with("apigateway:") { "API Gateway's actions" } else { self.call };
                format!("allow {call} to whoever deploys (docs/permissions.md), then run the same command")
            }
            FAILED => {
                "put right what Lambda complains of; if it stays so, change the function (its memory, say), so that it gets another version"
                    .into()
            }
            "OptInRequired" => "this region or service isn't enabled for the account: choose another --region or enable it".into(),
            _ if self.throttled() => {
                let seconds = throttle::PATIENCE.as_secs();
                format!("AWS throttles this call and did so for {seconds} s: run the same command again in a few minutes")
            }
            // The SDK has no `aws login`, and assumes a profile's role without its MFA device.
            _ if self.without_credentials() && message.contains("credentials-login") => {
                format!("a profile made by `aws login` isn't supported: {EXPORT}")
            }
            _ if self.without_credentials() && ["AssumeRole", "assume role", "AccessDenied"].iter().any(|word| message.contains(word)) => {
                format!("the profile's role can't be assumed; if it has an `mfa_serial`, which isn't supported: {EXPORT}")
            }
            _ if self.without_credentials() => {
                "no usable AWS credentials: set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws sso login`".into()
            }
            _ if code.is_empty() && message.contains("dispatch failure") => {
                "check the network, the region's name and AWS_ENDPOINT_URL, then run the same command".into()
            }
            _ if self.cut_off() => "check the network and any proxy on the way, then run the same command again".into(),
            _ if self.is(&["UnsupportedProtocol"]) || code.is_empty() && self.status.is_some_and(|status| status != 500) => {
                let endpoint = ENDPOINT.get().map_or(String::new(), |url| format!(" (it is {url})"));
                format!(
                    "something else than AWS answers: check AWS_ENDPOINT_URL or --endpoint-url{endpoint}, and whether a proxy or a sign-in page stands between"
                )
            }
            _ if code.is_empty() => "run the same command again; it goes on from where it stopped".into(),
            _ if self.quota() => {
                "a quota of the account is reached: remove what nobody uses, or have it raised (Service Quotas), then run the same command"
                    .into()
            }
            "BucketAlreadyExists" => "somebody else has a bucket of this name: choose another in the stack file".into(),
            _ => "put right what AWS complains of, then run the same command again: it goes on from where it stopped".into(),
        }
    }
}

/// How to use credentials that only the AWS CLI can get.
const EXPORT: &str = "run eval \"$(aws configure export-credentials --profile NAME --format env)\", then this command without --profile";

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > 400 {
        line.chars().take(400).chain(['…']).collect()
    } else {
        line.to_owned()
    }
}

/// The causes of an error, outermost first, without the SDK's struct dumps.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        cause = error.source();
    }
    parts.join(": ")
}

/// The first cause of this type.
fn cause<'a, T: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a T> {
    std::iter::successors(error.source(), |error| error.source())
        .find_map(|error| error.downcast_ref())
}

/// Where calls go instead of AWS's own endpoints: told with an error that brought no answer.
static ENDPOINT: OnceLock<String> = OnceLock::new();

/// Remembers the endpoint for errors; the first one counts.
pub fn remember_endpoint(url: &str) {
    let _ = ENDPOINT.set(url.to_owned());
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        error.about("AWS")
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Error {
        Failure::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_may_have_arrived_unless_it_was_answered_or_never_sent() {
        let error = |code: Option<&str>, status, message: &str| CallError {
            call: "apigateway:UpdateStage",
            code: code.map(str::to_owned),
            status,
            message: message.into(),
        };
        for (may, error) in [
            (true, error(None, None, "dispatch failure: io error: connection reset")),
            (true, error(None, Some(200), "error reading a body from connection")),
            (true, error(Some("InternalFailure"), Some(500), "")),
            (true, error(Some(NOT_SENT_AGAIN), None, "the stack's lock is lost")),
            (false, error(Some(NOT_SENT), None, "the stack's lock is lost")),
            (
                false,
                error(
                    None,
                    None,
                    "dispatch failure: other: no providers in chain provided credentials",
                ),
            ),
            (false, error(Some("BadRequestException"), Some(400), "")),
            (false, error(Some(WAITED_TOO_LONG), None, "after 300 s still: busy")),
        ] {
            assert_eq!(error.may_have_arrived(), may, "{error:?}");
        }
    }
}
