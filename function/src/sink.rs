//! S3 and SQS: stores a record, tries again while there is time, and says in plain words why it
//! could not. The only module that knows the SDK.
//!
//! The SDK's own retries are off. They would hide from us what a 412 means (was it our own PUT that
//! made the key, or somebody else's?) and they know nothing of the time that this invocation has
//! left; so the loop here does both, and there is only one.

use {
    crate::{hex, record::Record},
    aws_sdk_s3::{
        config::{
            BehaviorVersion, Credentials, Region, RequestChecksumCalculation, SharedHttpClient,
        },
        error::{ProvideErrorMetadata, SdkError},
        primitives::ByteStream,
    },
    aws_smithy_http_client::{
        Connector,
        tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
    },
    aws_smithy_runtime_api::{
        client::{
            http::{HttpConnectorSettings, SharedHttpConnector, http_client_fn},
            orchestrator::HttpResponse,
        },
        shared::IntoShared,
    },
    aws_smithy_types::retry::RetryConfig,
    md5::{Digest, Md5},
    std::{
        error::Error,
        fmt,
        time::{Duration, SystemTime},
    },
};

/// Kept back from the function's time: to answer, and for a clock that is not quite the gateway's.
const MARGIN: Duration = Duration::from_millis(300);
/// The first pause is up to this long, each next one up to twice the one before, at random so that
/// many functions don't come back at one moment.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// With less than this left another attempt would only be cut off.
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(100);
/// An attempt gets half of what is left, so that a lost packet leaves time for another, but no less
/// than this, if there is as much.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Within a region a connection takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);
/// Characters of a service's own words in an error. They name principals and resources, and can be
/// long.
const MAX_WORDS: usize = 400;

/// Amazon Root CA 1 to 4 and Starfield Services Root CA - G2, from which every endpoint of S3 and
/// SQS has its certificate. Source: https://www.amazontrust.com/repository/
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// Region prefix, partition and DNS suffix. A region with none of these prefixes is in `aws`.
/// Source: botocore's partitions.json (1.44).
const PARTITIONS: [(&str, &str, &str); 7] = [
    ("cn-", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-", "aws-us-gov", "amazonaws.com"),
    ("eusc-", "aws-eusc", "amazonaws.eu"),
    ("us-iso-", "aws-iso", "c2s.ic.gov"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov"),
    ("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"),
    ("us-isof-", "aws-iso-f", "csp.hci.ic.gov"),
];

/// Parts of the codes that mean throttling: `RequestThrottled`, `KmsThrottled`,
/// `KMS.ThrottlingException` and `OverLimit` of SQS, `SlowDown` and `BandwidthLimitExceeded` of S3,
/// and the names that AWS's services share.
/// Source: `THROTTLING_ERRORS` of the crate aws-runtime; SQS's API reference, "Common errors".
const THROTTLED: [&str; 7] = [
    "Throttl",
    "SlowDown",
    "OverLimit",
    "LimitExceeded",
    "TooManyRequests",
    "ThroughputExceeded",
    "PriorRequestNotComplete",
];

/// What the clients need to know of where they run.
#[derive(Clone)]
pub struct Settings {
    pub region: String,
    pub credentials: Credentials,
    /// Takes the place of AWS's endpoint; buckets then stand in the path, since names under an
    /// emulator's host seldom resolve.
    pub s3_endpoint: Option<String>,
    pub sqs_endpoint: Option<String>,
}

/// What the environment lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingVariable(pub &'static str);

impl Error for MissingVariable {}

impl fmt::Display for MissingVariable {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "the environment variable {} is not set; Lambda sets it for a function that has a role",
            self.0
        )
    }
}

impl Settings {
    /// Reads what Lambda sets: the region and the role's credentials, which hold as long as the
    /// process lives, and `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL_SQS`.
    ///
    /// # Errors
    /// The first variable that is missing.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Self, MissingVariable> {
        let get = |name: &'static str| variable(name).filter(|value| !value.is_empty());
        let need = |name: &'static str| get(name).ok_or(MissingVariable(name));
        let endpoint = get("AWS_ENDPOINT_URL");
        Ok(Self {
            region: get("AWS_REGION")
                .or_else(|| get("AWS_DEFAULT_REGION"))
                .ok_or(MissingVariable("AWS_REGION"))?,
            credentials: Credentials::new(
                need("AWS_ACCESS_KEY_ID")?,
                need("AWS_SECRET_ACCESS_KEY")?,
                get("AWS_SESSION_TOKEN"),
                None,
                "environment",
            ),
            s3_endpoint: get("AWS_ENDPOINT_URL_S3").or_else(|| endpoint.clone()),
            sqs_endpoint: get("AWS_ENDPOINT_URL_SQS").or(endpoint),
        })
    }

    /// AWS's own endpoints have Amazon's certificates. Others, and a machine that names its
    /// certificates, are trusted as the machine says.
    fn native_roots(&self, variable: impl Fn(&str) -> Option<String>) -> bool {
        let https = |endpoint: &Option<String>| {
            endpoint.as_deref().is_some_and(|url| url.starts_with("https"))
        };
        https(&self.s3_endpoint)
            || https(&self.sqs_endpoint)
            || ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| variable(name).is_some())
    }

    /// The HTTP client for these endpoints: HTTPS by rustls and ring, its configuration made once,
    /// here, for both services.
    ///
    /// Made in init and not at the first request: a function with 128 MB has a fourteenth of a
    /// processor while it answers, and a whole one during init. Amazon's roots alone, because
    /// reading a Linux's 144 more than doubles the time to the first event (docs/performance.md).
    #[must_use]
    pub fn http_client(&self, variable: impl Fn(&str) -> Option<String>) -> SharedHttpClient {
        let trust = TrustStore::empty()
            .with_native_roots(self.native_roots(variable))
            .with_pem_certificate(AMAZON_ROOTS);
        let tls = TlsContext::builder()
            .with_trust_store(trust)
            .build()
            .expect("a trust store alone always builds");
        let connector: SharedHttpConnector = Connector::builder()
            .connector_settings(
                HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build(),
            )
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls)
            .build()
            .into_shared();
        http_client_fn(move |_, _| connector.clone())
    }
}

/// The clients, made once.
pub struct Sinks {
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
    region: String,
    /// The queue's URL then says nothing of its region: it is an emulator's.
    custom_sqs: bool,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// `s3://bucket/key`, or the queue's URL.
    pub place: String,
    /// From 1.
    pub attempts: u32,
}

/// Why a record is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkError {
    /// The caller's fault: more than this queue takes.
    TooLarge,
    /// The caller's fault: characters that SQS does not take.
    Characters,
    /// Ours. `kind` is one word for a metric's filter, `message` is for whoever reads the log.
    Failed { kind: &'static str, message: String },
}

impl Sinks {
    #[must_use]
    pub fn new(settings: &Settings, http: SharedHttpClient) -> Self {
        let region = Region::new(settings.region.clone());
        // A bucket with a default retention (Object Lock) takes no object without a checksum. The
        // SDK sends a CRC32 in a header, since the body is in memory. Another store may not know
        // these headers, so it gets none. Source: S3's API reference, PutObject, `Content-MD5`.
        let checksum = match settings.s3_endpoint {
            None => RequestChecksumCalculation::WhenSupported,
            Some(_) => RequestChecksumCalculation::WhenRequired,
        };
        let mut s3 = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region.clone())
            .credentials_provider(settings.credentials.clone())
            .http_client(http.clone())
            .retry_config(RetryConfig::disabled())
            .request_checksum_calculation(checksum)
            .response_checksum_validation(
                aws_sdk_s3::config::ResponseChecksumValidation::WhenRequired,
            )
            .stalled_stream_protection(
                aws_sdk_s3::config::StalledStreamProtectionConfig::disabled(),
            );
        if let Some(endpoint) = &settings.s3_endpoint {
            s3 = s3.endpoint_url(endpoint).force_path_style(true);
        }
        let mut sqs = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .region(region)
            .credentials_provider(settings.credentials.clone())
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(
                aws_sdk_sqs::config::StalledStreamProtectionConfig::disabled(),
            );
        if let Some(endpoint) = &settings.sqs_endpoint {
            sqs = sqs.endpoint_url(endpoint);
        }
        Self {
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()),
            region: settings.region.clone(),
            custom_sqs: settings.sqs_endpoint.is_some(),
        }
    }

    /// Stores a record, with as many attempts as fit before `deadline`.
    ///
    /// # Errors
    /// See [`SinkError`]. After one it is not certain that nothing was stored: an answer may have
    /// been lost.
    pub async fn store(&self, record: &Record, deadline: SystemTime) -> Result<Stored, SinkError> {
        let until = deadline.checked_sub(MARGIN).unwrap_or(deadline);
        let place = match record {
            Record::Object { bucket, key, .. } => format!("s3://{bucket}/{key}"),
            Record::Message { queue_url, .. } => queue_url.clone(),
        };
        let mut reached = false;
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let left = until.duration_since(SystemTime::now()).unwrap_or_default();
            let patience = (left / 2).max(PATIENCE).min(left.max(SHORTEST_ATTEMPT));
            let fault = match tokio::time::timeout(patience, self.attempt(record, reached)).await {
                Ok(Ok(())) => return Ok(Stored { place, attempts }),
                Ok(Err(fault)) => fault,
                Err(_) => {
                    let message = format!("no answer within {} ms", patience.as_millis());
                    Fault {
                        error: SinkError::Failed { kind: "NoAnswer", message },
                        again: true,
                        reached: true,
                    }
                }
            };
            reached |= fault.reached;
            // at least half of it: a pause of nothing is no pause
            let next = pause / 2 + pause.mul_f64(fastrand::f64() / 2.0);
            let left = until.duration_since(SystemTime::now()).unwrap_or_default();
            if !fault.again || left < next + SHORTEST_ATTEMPT {
                return Err(match fault.error {
                    SinkError::Failed { kind, message } if attempts > 1 => SinkError::Failed {
                        kind,
                        message: format!("{message}; given up after {attempts} attempts"),
                    },
                    error => error,
                });
            }
            tokio::time::sleep(next).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One request. `reached`: whether an earlier one may have been carried out.
    async fn attempt(&self, record: &Record, reached: bool) -> Result<(), Fault> {
        match record {
            Record::Object { bucket, key, content_type, body } => {
                let put = self
                    .s3
                    .put_object()
                    .bucket(bucket)
                    .key(key)
                    .content_type(content_type)
                    .if_none_match("*");
                match put.body(ByteStream::from(body.clone())).send().await {
                    Ok(put) => confirmed_by_s3(put.e_tag()),
                    // the key holds this invocation's id, so what is there is the PUT whose answer
                    // never came
                    Err(error) if reached && is_precondition_failed(&error) => Ok(()),
                    Err(error) => {
                        Err(fault(&error, |code, words| self.s3_fault(bucket, key, code, words)))
                    }
                }
            }
            Record::Message { queue_url, body } => {
                let send = self.sqs.send_message().queue_url(queue_url).message_body(body.as_str());
                let answer = match self.elsewhere(queue_url) {
                    None => send.send().await,
                    Some(region) => {
                        let region = aws_sdk_sqs::config::Region::new(region.to_string());
                        send.customize()
                            .config_override(aws_sdk_sqs::Config::builder().region(region))
                            .send()
                            .await
                    }
                };
                match answer {
                    Ok(sent) => {
                        confirmed_by_sqs(body, sent.message_id(), sent.md5_of_message_body())
                    }
                    Err(error) => {
                        Err(fault(&error, |code, words| sqs_fault(queue_url, code, words)))
                    }
                }
            }
        }
    }

    /// The queue's region, where it is another than the function's.
    fn elsewhere<'a>(&self, queue_url: &'a str) -> Option<&'a str> {
        let (region, _) = queue(queue_url)?;
        (!self.custom_sqs && region != self.region).then_some(region)
    }

    fn s3_fault(&self, bucket: &str, key: &str, code: &str, words: &str) -> Named {
        let (partition, _) = partition(&self.region);
        let prefix = key.rsplit_once('/').map_or("", |(prefix, _)| prefix);
        let object =
            if prefix.is_empty() { format!("{bucket}/*") } else { format!("{bucket}/{prefix}/*") };
        match code {
            "AccessDenied" | "AllAccessDisabled" | "Forbidden" | "403"
                if words.contains("kms:") =>
            {
                Named::ours(
                    "KmsAccessDenied",
                    format!(
                        "the function's role may not use the KMS key of the bucket {bucket}: it needs kms:GenerateDataKey on that key. S3 says: {words}"
                    ),
                )
            }
            "AccessDenied" | "AllAccessDisabled" | "Forbidden" | "403" => Named::ours(
                "AccessDenied",
                format!(
                    "the function's role lacks s3:PutObject on arn:{partition}:s3:::{object}, or the bucket's policy denies it, or there is no such \
                     bucket in this account. S3 says: {words}"
                ),
            ),
            "NoSuchBucket" => Named::ours(
                "NoSuchBucket",
                format!(
                    "there is no bucket {bucket}: it was deleted, or the destination misspells it"
                ),
            ),
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "301" | "307" => Named::ours(
                "WrongRegion",
                format!(
                    "the bucket {bucket} is not in the function's region {}. S3 says: {words}",
                    self.region
                ),
            ),
            "PreconditionFailed" => Named::ours(
                "KeyExists",
                format!(
                    "s3://{bucket}/{key} is there already, and this invocation did not write it"
                ),
            ),
            // "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with
            // Object Lock parameters"
            "InvalidRequest" => Named::ours(
                "InvalidRequest",
                format!(
                    "S3 refuses the request: the bucket {bucket} may need a checksum with each \
                     object (Object Lock). routeto sends one to AWS, but not to a custom endpoint. \
                     S3 says: {words}"
                ),
            ),
            "KMS.DisabledException" | "KMS.NotFoundException" | "KMS.KMSInvalidStateException" => {
                Named::ours(
                    "KmsUnusable",
                    format!("the KMS key of the bucket {bucket} can't be used. S3 says: {words}"),
                )
            }
            _ => Named::unforeseen("S3", code, words),
        }
    }
}

fn sqs_fault(queue_url: &str, code: &str, words: &str) -> Named {
    let queue = queue_arn(queue_url);
    match code {
        // "One or more parameters are invalid. Reason: Message must be shorter than 262144 bytes."
        // SQS has no code of its own for it.
        "InvalidParameterValue" | "InvalidParameterValueException"
            if words.contains("shorter than") =>
        {
            Named::Caller(SinkError::TooLarge)
        }
        "BatchRequestTooLong" | "AWS.SimpleQueueService.BatchRequestTooLong" => {
            Named::Caller(SinkError::TooLarge)
        }
        "InvalidMessageContents" => Named::Caller(SinkError::Characters),
        "KmsAccessDenied" | "KMS.AccessDeniedException" => kms_denied(&queue, words),
        "AccessDenied" | "AccessDeniedException" if words.contains("kms:") => {
            kms_denied(&queue, words)
        }
        "AccessDenied" | "AccessDeniedException" => Named::ours(
            "AccessDenied",
            format!(
                "the function's role lacks sqs:SendMessage on {queue}, or the queue's policy denies it. SQS says: {words}"
            ),
        ),
        "QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue" => Named::ours(
            "NoSuchQueue",
            format!("there is no queue {queue}: it was deleted, or the destination misspells it"),
        ),
        "KmsDisabled" | "KmsInvalidState" | "KmsNotFound" | "KmsInvalidKeyUsage"
        | "KmsOptInRequired" => Named::ours(
            "KmsUnusable",
            format!("the KMS key of the queue {queue} can't be used. SQS says: {words}"),
        ),
        _ => Named::unforeseen("SQS", code, words),
    }
}

fn kms_denied(queue: &str, words: &str) -> Named {
    Named::ours(
        "KmsAccessDenied",
        format!(
            "the function's role may not use the KMS key of the queue {queue}: it needs kms:GenerateDataKey and kms:Decrypt on that key. SQS says: {words}"
        ),
    )
}

/// `arn:aws:sqs:REGION:ACCOUNT:NAME` of `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`; the URL itself where it is not one of AWS's.
fn queue_arn(url: &str) -> String {
    let parts = || {
        let (region, path) = queue(url)?;
        let mut path = path.split('/');
        let (partition, _) = partition(region);
        Some(format!("arn:{partition}:sqs:{region}:{}:{}", path.next()?, path.next()?))
    };
    parts().unwrap_or_else(|| url.to_string())
}

/// The region and the path of `https://sqs.REGION.SUFFIX/ACCOUNT/NAME`; `None` of any other URL.
fn queue(url: &str) -> Option<(&str, &str)> {
    let (host, path) = url.strip_prefix("https://sqs.")?.split_once('/')?;
    let (region, suffix) = host.split_once('.')?;
    (suffix == partition(region).1).then_some((region, path))
}

/// The partition of a region, and the suffix of its services' host names.
fn partition(region: &str) -> (&'static str, &'static str) {
    PARTITIONS
        .iter()
        .find(|(prefix, ..)| region.starts_with(prefix))
        .map_or(("aws", "amazonaws.com"), |(_, name, suffix)| (name, suffix))
}

/// S3 answers a PutObject that it carried out with the object's ETag. A proxy's page, or a server
/// that isn't S3, answers 200 as well.
fn confirmed_by_s3(e_tag: Option<&str>) -> Result<(), Fault> {
    match e_tag.map(|tag| tag.trim_matches('"')) {
        None | Some("") => Err(Fault::unconfirmed("the answer has no ETag")),
        Some(_) => Ok(()),
    }
}

/// SQS answers with the message's id and the MD5 of what it took. The SDK for Rust doesn't compare
/// it with the body.
fn confirmed_by_sqs(body: &str, id: Option<&str>, md5: Option<&str>) -> Result<(), Fault> {
    if id.unwrap_or_default().is_empty() {
        return Err(Fault::unconfirmed("the answer has no MessageId"));
    }
    let why = match md5 {
        Some(md5) if md5.eq_ignore_ascii_case(&hex(&Md5::digest(body))) => return Ok(()),
        Some(_) => "SQS took another text (MD5OfMessageBody differs)",
        None => "the answer has no MD5OfMessageBody",
    };
    // There is a message with this id: each further attempt would make another.
    Err(Fault { again: false, ..Fault::unconfirmed(why) })
}

/// A service's error in our words.
enum Named {
    Caller(SinkError),
    Ours { kind: &'static str, message: String },
}

impl Named {
    fn ours(kind: &'static str, message: String) -> Self {
        Self::Ours { kind, message }
    }

    fn unforeseen(service: &str, code: &str, words: &str) -> Self {
        Self::ours("SinkFailed", format!("{service} answered {code}: {words}"))
    }
}

/// One attempt's failure.
struct Fault {
    error: SinkError,
    again: bool,
    /// Whether the service may have carried out the request.
    reached: bool,
}

impl Fault {
    /// An answer that is no failure, but doesn't say that the record is stored.
    fn unconfirmed(why: &str) -> Self {
        let message = format!(
            "{why}, so the record may not be stored. Check whether a proxy or another service \
             answers at the endpoint"
        );
        let error = SinkError::Failed { kind: "NotConfirmed", message };
        Self { error, again: true, reached: true }
    }
}

/// Names an SDK error. `name` gets the service's code, or the status where the answer had none, and
/// its words.
fn fault<E>(error: &SdkError<E, HttpResponse>, name: impl Fn(&str, &str) -> Named) -> Fault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let Some(status) = status(error) else {
        let connecting = chain(error).any(|cause| {
            cause.downcast_ref().is_some_and(hyper_util::client::legacy::Error::is_connect)
        });
        let kind = if connecting { "NoConnection" } else { "NoAnswer" };
        let message = chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
        // a request that could not even be made will be no other the second time
        let again = !matches!(error, SdkError::ConstructionFailure(_));
        return Fault {
            error: SinkError::Failed { kind, message: shorten(&message) },
            again,
            reached: again && !connecting,
        };
    };
    if (200..300).contains(&status) {
        return Fault::unconfirmed(&format!("the answer (status {status}) can't be read"));
    }
    let code = match error.code() {
        Some(code) => code.to_string(),
        None => status.to_string(),
    };
    let throttled = status == 429 || THROTTLED.iter().any(|word| code.contains(word));
    let again = status >= 500
        || throttled
        || status == 408
        || matches!(
            code.as_str(),
            "RequestTimeout" | "BadDigest" | "ConditionalRequestConflict" | "OperationAborted"
        );
    // "Requests that receive an InternalError response might not have processed" (S3's error best
    // practices), so they may have been carried out. Throttling (503 SlowDown, too) refuses a
    // request, and so does any answer below 500. If one of them is wrong, the 412 that follows
    // makes a 503 and the sender sends again: two records, where the opposite mistake would
    // lose one.
    let reached = status >= 500 && !throttled;
    let error = match name(&code, &shorten(error.message().unwrap_or("nothing more"))) {
        Named::Caller(error) => error,
        Named::Ours { kind, message } => SinkError::Failed {
            kind: if throttled { "Throttled" } else { kind },
            message: format!("{message} (status {status})"),
        },
    };
    Fault { error, again, reached }
}

/// S3's own 412, not a proxy's.
fn is_precondition_failed<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    status(error) == Some(412) && error.code() == Some("PreconditionFailed")
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn shorten(words: &str) -> String {
    match words.char_indices().nth(MAX_WORDS) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.into(),
    }
}
