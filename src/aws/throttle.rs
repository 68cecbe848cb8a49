//! A throttled call is tried again for minutes, whatever its service calls that. The SDK's own few
//! tries are for faults; AWS throttles an account for as long as others in it are busy.
//!
//! A throttled call wasn't carried out, so it is safe to repeat even where it isn't idempotent. It
//! is repeated inside the SDK: each try is signed again, and the lock's guard sees each.

use super::{
    pace::Pace,
    wait::{Tell, real},
};
use aws_sdk_s3::config::retry::TokenBucket;
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{
                BeforeTransmitInterceptorContextMut, FinalizerInterceptorContextMut,
                InterceptorContext,
            },
        },
        orchestrator::{HttpResponse, Metadata},
        retries::{
            RequestAttempts,
            classifiers::{ClassifyRetry, RetryAction, RetryReason},
        },
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{
    config_bag::{ConfigBag, Storable, StoreReplace},
    retry::{ErrorKind, RetryConfig},
    timeout::TimeoutConfig,
};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a call waits in all while AWS throttles it.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// The first pause is up to this long, each next one up to twice the one before, at random, so that
/// many callers don't come back at one moment.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A wait that is shorter isn't worth a line.
const UNTOLD: Duration = Duration::from_secs(3);
/// Added to the answer to a throttled call, for the classifier: milliseconds to wait for.
const PAUSE: &str = "x-routeto-pause";

/// The services' words for "slower". Sources: botocore's retry tables (`_retry.json`), each API
/// reference's "Common errors", S3's error responses (503 SlowDown), SQS's model (403
/// RequestThrottled, OverLimit).
const CODES: [&str; 15] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "OverLimit",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttled",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "TooManyRequestsException",
];

/// A quota of the account is reached, and waiting doesn't help. API Gateway has one name, and 429,
/// for that and for "slower"; the words differ ("Maximum number of … reached"). Sources: botocore's
/// models, LimitExceededException of apigateway and of logs.
pub fn is_quota(code: &str, message: &str, of_logs: bool) -> bool {
    let too_many = message.to_ascii_lowercase().contains("maximum number");
    code == "LimitExceededException" && (too_many || of_logs)
        || [
            "LimitExceeded",
            "ServiceQuotaExceeded",
            "ServiceQuotaExceededException",
            "TooManyBuckets",
            "CodeStorageExceededException",
            "KeyLimitExceeded",
        ]
        .contains(&code)
}

/// Whether the service asks to go slower, by its code, or by the status where that is all there is.
pub fn is_throttling(code: Option<&str>, status: Option<u16>) -> bool {
    status == Some(429) || code.is_some_and(|code| CODES.contains(&code))
}

/// What an answer says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    code: Option<String>,
    text: String,
}

/// The error's code as each protocol has it: in a header, in JSON's `__type` or `code`, in XML's
/// `Code`.
fn refusal(response: &HttpResponse) -> Refusal {
    let text = response
        .body()
        .bytes()
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let xml =
        || text.split_once("<Code>")?.1.split_once("</Code>").map(|(code, _)| code.to_owned());
    // `Code:http://…`, `namespace#Code`, `Code;Sender`
    let bare = |code: &str| {
        code.split([':', ';']).next().and_then(|code| code.rsplit('#').next()).map(str::to_owned)
    };
    let header = |name| response.headers().get(name).and_then(bare);
    let body = || json["__type"].as_str().or_else(|| json["code"].as_str()).and_then(bare);
    let code = header("x-amzn-query-error")
        .or_else(|| header("x-amzn-errortype"))
        .or_else(body)
        .or_else(xml);
    Refusal { code, text }
}

/// Whether it is a throttled call's answer. A HEAD's has no body to say so: S3 answers it a bare
/// 503.
fn throttles(response: &HttpResponse, service: &str, operation: &str) -> bool {
    let status = response.status().as_u16();
    if status < 400 {
        return false;
    }
    let Refusal { code, text } = refusal(response);
    if code.as_deref().is_some_and(|code| is_quota(code, &text, service == "CloudWatch Logs")) {
        return false;
    }
    is_throttling(code.as_deref(), Some(status)) || operation.starts_with("Head") && status == 503
}

/// What the service asks to wait for. Source: API Gateway's TooManyRequestsException has
/// `Retry-After`, in seconds.
fn asked(response: &HttpResponse) -> Duration {
    let seconds = response.headers().get("retry-after").and_then(|value| value.parse().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs)
}

/// The pause before the next try, where `before` tries were throttled already; `chance` is from 0
/// to 1.
fn pause(before: u32, chance: f64) -> Duration {
    let window = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(before)).min(LONGEST_PAUSE);
    window / 2 + (window / 2).mul_f64(chance)
}

/// Routeto's clock. Unit tests don't wait.
fn by_clock(time: Duration) -> Duration {
    if cfg!(test) { time / 1000 } else { real(time) }
}

fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

/// Who tells a person of a wait.
pub type Told = Arc<dyn Fn(String) + Send + Sync>;

/// What is known of one call's tries.
#[derive(Clone, Debug)]
struct Tries {
    begun: Instant,
    /// How the call is tried again after other faults.
    ordinary: RetryConfig,
    throttled: u32,
    /// For AWS to throttle it no more, and for quotas of our own meanwhile.
    waited: Duration,
    told: bool,
}

impl Storable for Tries {
    type Storer = StoreReplace<Self>;
}

/// Gives a throttled call more tries and tells how long to wait for the next.
#[derive(Clone)]
pub struct Throttle {
    pace: Arc<Pace>,
    tell: Arc<Mutex<Told>>,
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Throttle")
    }
}

impl Throttle {
    pub fn new(pace: Arc<Pace>) -> Self {
        let silent: Told = Arc::new(|_| ());
        Throttle { pace, tell: Arc::new(Mutex::new(silent)) }
    }

    /// Where a person is told of a long wait.
    pub fn tell(&self, tell: Told) {
        *self.tell.lock().unwrap_or_else(PoisonError::into_inner) = tell;
    }
}

impl Intercept for Throttle {
    fn name(&self) -> &'static str {
        "throttle"
    }

    fn modify_before_retry_loop(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let ordinary = config.load::<RetryConfig>().cloned().unwrap_or_else(RetryConfig::disabled);
        let tries = Tries {
            begun: Instant::now(),
            ordinary,
            throttled: 0,
            waited: Duration::ZERO,
            told: false,
        };
        // The SDK's bucket holds for a hundred tries of a whole command: a throttled account takes
        // more.
        config.interceptor_state().store_put(tries).store_put(TokenBucket::unlimited());
        Ok(())
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(mut tries) = config.load::<Tries>().cloned() else { return Ok(()) };
        let this = config.load::<RequestAttempts>().map_or(1, RequestAttempts::attempts);
        let (service, operation) = match config.load::<Metadata>() {
            Some(call) => (call.service().to_owned(), call.name().to_owned()),
            None => Default::default(),
        };
        let throttled = context
            .response()
            .filter(|response| throttles(response, &service, &operation))
            .map(asked);
        let retries = match throttled {
            Some(asked) => {
                let pause = by_clock(pause(tries.throttled, chance()).max(asked));
                // Each try counts against the quotas that are kept here.
                let quota = if service == "API Gateway" {
                    self.pace.take(&operation)
                } else {
                    Duration::ZERO
                };
                // The SDK's limit for all tries has room for so much: what takes longer would end
                // in its words, which say nothing of throttling.
                let left = by_clock(PATIENCE).saturating_sub(tries.waited);
                let next = pause.max(quota.min(left));
                tries.throttled += 1;
                tries.waited += next;
                if tries.waited > by_clock(PATIENCE) {
                    tries.ordinary.clone().with_max_attempts(this)
                } else {
                    if tries.waited > by_clock(UNTOLD) && !tries.told {
                        tries.told = true;
                        let tell: Tell<'_> =
                            &**self.tell.lock().unwrap_or_else(PoisonError::into_inner);
                        tell(format!(
                            "{service} throttles {operation}: trying again for up to {} s",
                            PATIENCE.as_secs()
                        ));
                    }
                    if let Some(response) = context.response_mut() {
                        response.headers_mut().insert(PAUSE, next.as_millis().to_string());
                    }
                    tries.ordinary.clone().with_max_attempts(this + 1).with_max_backoff(next)
                }
            }
            None => {
                // The time for all tries together has room for the waits of a throttled one; other
                // faults get no more of it.
                let time =
                    config.load::<TimeoutConfig>().and_then(TimeoutConfig::operation_timeout);
                let over = time.is_some_and(|time| {
                    tries.begun.elapsed().saturating_sub(tries.waited)
                        >= time.saturating_sub(real(PATIENCE))
                });
                let most =
                    if over { this } else { tries.ordinary.max_attempts() + tries.throttled };
                tries.ordinary.clone().with_max_attempts(most)
            }
        };
        config.interceptor_state().store_put(retries).store_put(tries);
        Ok(())
    }
}

impl ClassifyRetry for Throttle {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let pause =
            context.response().and_then(|response| response.headers().get(PAUSE)?.parse().ok());
        match pause.map(Duration::from_millis) {
            None => RetryAction::NoActionIndicated,
            pause => RetryAction::RetryIndicated(RetryReason::RetryableError {
                kind: ErrorKind::ThrottlingError,
                retry_after: pause,
            }),
        }
    }

    fn name(&self) -> &'static str {
        "throttle"
    }
}
