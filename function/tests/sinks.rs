//! What goes to S3 and SQS, byte for byte, and what becomes of each of their answers.
#![allow(clippy::unwrap_used)]

mod common;

use {
    common::{
        Aws, Event, ID, Reply, Server, TOKEN, aws_stores, environment, fail, invocation, json, ok,
        response, run, s3_error, sqs_error, sqs_ok, success,
    },
    routeto_function::{FunctionError, Settings, handle},
    std::time::{Duration, Instant, UNIX_EPOCH},
};

const QUEUE: &str = "https://sqs.us-east-1.amazonaws.com/123456789012/name";
const KEY: &str = "SendGrid_1700000000000_5d2d8e5a-6f4b-4f0e-9d3b-0a1b2c3d4e5f";

fn s3() -> String {
    Event::new("s3://bucket/in/", b"{}").text()
}

fn sqs() -> String {
    Event::new(QUEUE, b"{}").text()
}

#[tokio::test]
async fn an_object_is_put_whole_in_one_request_with_its_type_and_only_if_the_key_is_free() {
    let server = Server::new([ok()]);
    let bytes: Vec<u8> = (0..=255).collect();
    let headers = serde_json::json!({"content-TYPE": "image/png; x=\"a  b\""});
    let event = Event::new("s3://bucket/in/", &bytes).with("headers", headers);
    assert_eq!(json(&run(&server.sinks(), &event.text()).await.answer.unwrap()), success());

    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    let put = &requests[0];
    assert_eq!(
        (put.method.as_str(), put.target.as_str()),
        ("PUT", format!("/bucket/in/{KEY}?x-id=PutObject").as_str())
    );
    assert_eq!(put.body, bytes);
    assert_eq!(put.header("if-none-match"), Some("*"));
    assert_eq!(put.header("content-type"), Some("image/png; x=\"a  b\""));
    assert_eq!(put.header("x-amz-security-token"), Some("session"));
    // the body's own hash is signed, so nothing can change on its way
    assert_eq!(
        put.header("x-amz-content-sha256").unwrap(),
        "40aff2e9d2d8922e47afd4648e6967497158785fbd1da870e7110266bf944880"
    );
    let mut amz: Vec<_> = put
        .headers
        .iter()
        .map(|(name, _)| name.to_lowercase())
        .filter(|name| name.starts_with("x-amz-"))
        .collect();
    amz.sort();
    assert_eq!(
        amz,
        ["x-amz-content-sha256", "x-amz-date", "x-amz-security-token", "x-amz-user-agent"]
    );
}

#[tokio::test]
async fn a_message_is_sent_whole_in_one_request() {
    let server = Server::new([sqs_ok()]);
    assert_eq!(json(&run(&server.sinks(), &sqs()).await.answer.unwrap()), success());
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].method.as_str(), requests[0].target.as_str()), ("POST", "/"));
    assert_eq!(requests[0].header("x-amz-target"), Some("AmazonSQS.SendMessage"));
    let envelope = r#"{"body-json":{},"http-headers":{"Content-Type":"application/json","Host":"api.example"},"path":"/input","app":"SendGrid","time":1700000000000,"id":"5d2d8e5a-6f4b-4f0e-9d3b-0a1b2c3d4e5f"}"#;
    assert_eq!(requests[0].json(), serde_json::json!({"QueueUrl": QUEUE, "MessageBody": envelope}));
}

#[tokio::test]
async fn one_connection_serves_many_events() {
    let server = Server::new([ok()]);
    let sinks = server.sinks();
    for _ in 0..20 {
        assert_eq!(run(&sinks, &s3()).await.answer.unwrap().status, 200);
    }
    assert_eq!((server.requests().len(), server.connections()), (20, 1));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_until_it_works() {
    let slow = || s3_error(503, "SlowDown", "Please reduce your request rate.");
    for (event, replies) in [
        (
            s3(),
            vec![
                slow(),
                slow(),
                s3_error(500, "InternalError", "We encountered an internal error."),
                ok(),
            ],
        ),
        (s3(), vec![s3_error(409, "ConditionalRequestConflict", "conflict"), ok()]),
        (
            s3(),
            vec![
                s3_error(
                    400,
                    "BadDigest",
                    "The CRC32 you specified did not match the calculated checksum.",
                ),
                ok(),
            ],
        ),
        (s3(), vec![s3_error(400, "RequestTimeout", "Your socket connection was not read"), ok()]),
        (s3(), vec![Reply::Status(502, "<html>".into()), ok()]),
        (s3(), vec![Reply::HangUp, ok()]),
        (
            sqs(),
            vec![sqs_error(403, "RequestThrottled", "RequestThrottled", "slow down"), sqs_ok()],
        ),
        (sqs(), vec![sqs_error(400, "OverLimit", "OverLimit", "too many"), sqs_ok()]),
        (sqs(), vec![sqs_error(400, "KmsThrottled", "KMS.ThrottlingException", "rate"), sqs_ok()]),
        (
            sqs(),
            vec![
                sqs_error(500, "InternalFailure", "InternalFailure", "x"),
                Reply::HangUp,
                sqs_ok(),
            ],
        ),
    ] {
        let server = Server::new(replies.clone());
        let handled = run(&server.sinks(), &event).await;
        assert_eq!(json(&handled.answer.unwrap()), success(), "{replies:?}");
        let requests = server.requests();
        assert_eq!(requests.len(), replies.len());
        assert!(requests.iter().all(
            |request| request.body == requests[0].body && request.target == requests[0].target
        ));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&handled.log).unwrap()["attempts"],
            replies.len()
        );
    }
}

/// The error of an event that gets this reply only, and the number of its requests.
async fn given_up_after(event: String, reply: Reply) -> (FunctionError, usize) {
    let server = Server::new([reply]);
    let short = invocation(Duration::from_millis(900));
    let handled = handle(event.as_bytes(), &short, &server.sinks()).await;
    (handled.answer.unwrap_err(), server.requests().len())
}

/// In the words of each service, and of those that stand behind it.
#[tokio::test]
async fn throttling_is_tried_again_and_called_by_its_name() {
    let mut given_up = Vec::new();
    for (event, status, code, query_code) in [
        (s3(), 503, "SlowDown", ""),
        (s3(), 429, "TooManyRequests", ""),
        (s3(), 509, "BandwidthLimitExceeded", ""),
        (s3(), 400, "RequestLimitExceeded", ""),
        (s3(), 400, "ThrottlingException", ""),
        (s3(), 400, "KMS.ThrottlingException", ""),
        (s3(), 400, "LimitExceededException", ""),
        (s3(), 429, "", ""),
        (sqs(), 403, "OverLimit", "OverLimit"),
        (sqs(), 403, "OverLimit", "AWS.SimpleQueueService.OverLimit"),
        (sqs(), 403, "RequestThrottled", "RequestThrottled"),
        (sqs(), 400, "ThrottlingException", "Throttling"),
        (sqs(), 400, "ThrottlingException", "ThrottlingException"),
        (sqs(), 400, "KmsThrottled", "KMS.ThrottlingException"),
        (sqs(), 400, "KmsThrottled", "KmsThrottled"),
        (sqs(), 400, "RequestThrottledException", "RequestThrottledException"),
        (sqs(), 400, "PriorRequestNotComplete", "PriorRequestNotComplete"),
        (
            sqs(),
            400,
            "ProvisionedThroughputExceededException",
            "ProvisionedThroughputExceededException",
        ),
        (sqs(), 429, "TooManyRequestsException", "TooManyRequestsException"),
    ] {
        let reply = match (code, query_code) {
            ("", _) => Reply::Status(status, String::new()),
            (_, "") => s3_error(status, code, "slower"),
            _ => sqs_error(status, code, query_code, "slower"),
        };
        let server = Server::new([reply.clone(), reply.clone(), ok()]);
        let handled = run(&server.sinks(), &event).await;
        assert_eq!(json(&handled.answer.unwrap()), success(), "{reply:?}");
        assert_eq!(server.requests().len(), 3);
        given_up.push((reply.clone(), tokio::spawn(given_up_after(event, reply))));
    }
    for (reply, task) in given_up {
        let (error, _) = task.await.unwrap();
        // A busy machine may not answer the last attempt in time.
        assert!(["Throttled", "NoAnswer"].contains(&error.error_type), "{reply:?} {error:?}");
    }
}

#[tokio::test]
async fn a_412_counts_as_stored_only_after_a_put_that_may_have_been_carried_out() {
    let exists = || {
        s3_error(
            412,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        )
    };
    // the answer was lost or is no answer of S3's, or the server failed after it had stored
    for first in [
        vec![Reply::HangUp],
        vec![Reply::Status(200, "<html></html>".into())],
        vec![s3_error(500, "InternalError", "x")],
        vec![Reply::Status(502, "<html></html>".into())],
        vec![s3_error(503, "ServiceUnavailable", "x")],
        // what was said to the next attempt doesn't undo the first
        vec![Reply::HangUp, s3_error(503, "SlowDown", "x")],
        vec![s3_error(500, "InternalError", "x"), s3_error(429, "TooManyRequests", "x")],
    ] {
        let attempts = first.len() + 1;
        let server = Server::new(first.into_iter().chain([exists()]));
        assert_eq!(json(&run(&server.sinks(), &s3()).await.answer.unwrap()), success());
        assert_eq!(server.requests().len(), attempts);
    }
    // nothing was sent before, or each of those was turned away: somebody else's object
    for first in [
        vec![],
        vec![s3_error(429, "TooManyRequests", "x")],
        vec![s3_error(503, "SlowDown", "Please reduce your request rate.")],
        vec![s3_error(409, "ConditionalRequestConflict", "x")],
        vec![s3_error(400, "RequestTimeout", "x"), s3_error(503, "SlowDown", "x")],
    ] {
        let attempts = first.len() + 1;
        let server = Server::new(first.into_iter().chain([exists()]));
        let error = run(&server.sinks(), &s3()).await.answer.unwrap_err();
        let more = if attempts == 1 {
            String::new()
        } else {
            format!("; given up after {attempts} attempts")
        };
        assert_eq!(
            error,
            FunctionError {
                error_type: "KeyExists",
                error_message: format!(
                    "s3://bucket/in/{KEY} is there already, and this invocation did not write it (status 412){more}"
                ),
            }
        );
        assert_eq!(server.requests().len(), attempts);
    }
    // a proxy's 412 is none of S3's
    let server = Server::new([Reply::HangUp, Reply::Status(412, "<html></html>".into())]);
    let error = run(&server.sinks(), &s3()).await.answer.unwrap_err();
    assert_eq!(
        error.error_message,
        "S3 answered 412: nothing more (status 412); given up after 2 attempts"
    );
}

/// Each of these was taken for stored, whatever had answered.
#[tokio::test]
async fn an_answer_that_does_not_say_that_the_record_is_stored_is_tried_again_and_then_a_503() {
    let html = "<html><body>Sign in to the network</body></html>";
    let page = Reply::Header(200, "Content-Type", "text/html".into(), html.into());
    let no_tag = "the answer has no ETag";
    let no_id = "the answer has no MessageId";
    let unread = "the answer (status 200) can't be read";
    let mut given_up = Vec::new();
    for (event, reply, why) in [
        (s3(), page.clone(), no_tag),
        (s3(), Reply::Status(200, String::new()), no_tag),
        (s3(), Reply::Status(200, "{}".into()), no_tag),
        (s3(), Reply::Status(204, String::new()), no_tag),
        (s3(), Reply::Header(200, "ETag", "\"\"".into(), String::new()), no_tag),
        (sqs(), page, unread),
        (sqs(), Reply::Status(200, "{\"MessageId\":".into()), unread),
        (sqs(), Reply::Status(200, String::new()), no_id),
        (sqs(), Reply::Status(200, "{}".into()), no_id),
        (sqs(), Reply::Status(202, "{}".into()), no_id),
        (sqs(), Reply::Status(200, r#"{"MessageId":"","MD5OfMessageBody":"0"}"#.into()), no_id),
    ] {
        // once, and it works the second time
        let server = Server::new([reply.clone(), ok()]);
        let handled = run(&server.sinks(), &event).await;
        assert_eq!(json(&handled.answer.unwrap()), success(), "{reply:?}");
        assert_eq!(server.requests().len(), 2);
        given_up.push((reply.clone(), why, tokio::spawn(given_up_after(event, reply))));
    }
    // always: the function's time goes by, and then it is an error
    for (reply, why, task) in given_up {
        let (error, attempts) = task.await.unwrap();
        // A busy machine may not answer the last attempt in time.
        if error.error_type != "NoAnswer" {
            assert_eq!(error.error_type, "NotConfirmed", "{reply:?}");
            assert_eq!(
                error.error_message,
                format!(
                    "{why}, so the record may not be stored. Check whether a proxy or another service answers at the endpoint; \
                     given up after {attempts} attempts"
                )
            );
        }
        assert!(attempts > 1, "{reply:?}");
    }
}

/// There is a message by then, and each further attempt would make another.
#[tokio::test]
async fn a_message_that_has_an_id_is_not_sent_again_though_its_md5_is_not_right() {
    let md5 = common::md5(b"another text");
    let other = "SQS took another text (MD5OfMessageBody differs)";
    for (body, why) in [
        (r#"{"MessageId":"m"}"#.to_owned(), "the answer has no MD5OfMessageBody"),
        (r#"{"MessageId":"m","MD5OfMessageBody":""}"#.to_owned(), other),
        (format!(r#"{{"MessageId":"m","MD5OfMessageBody":"{md5}"}}"#), other),
    ] {
        let server = Server::new([Reply::Status(200, body.clone()), ok()]);
        let error = run(&server.sinks(), &sqs()).await.answer.unwrap_err();
        assert_eq!(error.error_type, "NotConfirmed", "{body}");
        assert_eq!(
            error.error_message,
            format!(
                "{why}, so the record may not be stored. Check whether a proxy or another service answers at the endpoint"
            )
        );
        assert_eq!(server.requests().len(), 1, "{body}");
    }
}

/// A bucket with a default retention refuses each object without a checksum. It goes in a header:
/// a trailer would need the body in chunks.
#[tokio::test]
async fn a_bucket_with_object_lock_takes_the_object_since_aws_gets_a_checksum() {
    let aws = Aws::new(|request| match request.headers().get("x-amz-checksum-crc32") {
        Some(_) => aws_stores(request),
        None => response(
            400,
            None,
            "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is required</Message></Error>",
        ),
    });
    let bytes: Vec<u8> = (0..=255).collect();
    let event = Event::new("s3://bucket/in/", &bytes).text();
    assert_eq!(json(&run(&aws.sinks("us-east-1"), &event).await.answer.unwrap()), success());

    let requests = aws.requests.lock().unwrap();
    assert_eq!(requests.len(), 1);
    let (headers, body) = (requests[0].headers(), requests[0].body().bytes().unwrap());
    assert_eq!(body, bytes);
    // CRC-32 of the 256 bytes is 29058c73
    assert_eq!(headers.get("x-amz-checksum-crc32"), Some("KQWMcw=="));
    assert_eq!(headers.get("x-amz-sdk-checksum-algorithm"), Some("CRC32"));
    assert!(headers.get("authorization").unwrap().contains("x-amz-checksum-crc32"));
    assert_eq!(headers.get("if-none-match"), Some("*"));
    assert_eq!(headers.get("content-length"), Some("256"));
    for streamed in ["x-amz-trailer", "content-encoding", "transfer-encoding"] {
        assert_eq!(headers.get(streamed), None);
    }
}

#[tokio::test]
async fn a_connection_that_never_came_about_sent_nothing() {
    let started = Instant::now();
    let sinks = common::sinks("http://127.0.0.1:1");
    let error = handle(s3().as_bytes(), &invocation(Duration::from_millis(900)), &sinks)
        .await
        .answer
        .unwrap_err();
    assert_eq!(error.error_type, "NoConnection");
    assert!(
        error.error_message.contains("Connection refused")
            && error.error_message.contains("; given up after "),
        "{}",
        error.error_message
    );
    // as long as there was time, less what is kept back for the answer
    assert!(
        (Duration::from_millis(150)..Duration::from_secs(5)).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn attempts_end_before_lambda_would() {
    let server = Server::new([Reply::Silence(Duration::from_secs(20))]);
    let started = Instant::now();
    let error = handle(s3().as_bytes(), &invocation(Duration::from_secs(3)), &server.sinks())
        .await
        .answer
        .unwrap_err();
    assert!(
        (Duration::from_millis(2400)..Duration::from_secs(12)).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(error.error_type, "NoAnswer");
    assert!((1..=2).contains(&server.requests().len()), "{error:?}");

    let server = Server::new([s3_error(503, "SlowDown", "Please reduce your request rate.")]);
    let started = Instant::now();
    let error = handle(s3().as_bytes(), &invocation(Duration::from_secs(2)), &server.sinks())
        .await
        .answer
        .unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    let attempts = server.requests().len();
    // The last one may have had too little time.
    if error.error_type != "NoAnswer" {
        assert_eq!(error.error_type, "Throttled");
        assert_eq!(
            error.error_message,
            format!(
                "S3 answered SlowDown: Please reduce your request rate. (status 503); given up after {attempts} attempts"
            )
        );
    }
    assert!((3..=12).contains(&attempts), "{attempts}");
}

#[tokio::test]
async fn with_no_time_left_there_is_one_attempt_and_an_error() {
    let server = Server::new([s3_error(503, "SlowDown", "x")]);
    let mut late = invocation(Duration::ZERO);
    late.deadline = UNIX_EPOCH;
    let error = handle(s3().as_bytes(), &late, &server.sinks()).await.answer.unwrap_err();
    // A busy machine may not answer in time.
    assert!(["Throttled", "NoAnswer"].contains(&error.error_type), "{error:?}");
    assert!(server.requests().len() <= 1);
}

#[tokio::test]
async fn what_can_not_pass_is_said_at_once_and_names_what_is_missing() {
    let denied = "User: arn:aws:sts::1:assumed-role/r is not authorized to perform: s3:PutObject";
    let kms = "User: arn:aws:sts::1:assumed-role/r is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:us-east-1:1:key/k";
    for (event, reply, kind, message) in [
        (
            s3(),
            s3_error(403, "AccessDenied", denied),
            "AccessDenied",
            format!(
                "the function's role lacks s3:PutObject on arn:aws:s3:::bucket/in/*, or the bucket's policy denies it, or there is no such bucket in this \
                 account. S3 says: {denied} (status 403)"
            ),
        ),
        (
            Event::new("s3://bucket", b"{}").text(),
            Reply::Status(403, String::new()),
            "AccessDenied",
            "the function's role lacks s3:PutObject on arn:aws:s3:::bucket/*, or the bucket's policy denies it, or there is no such bucket in this \
             account. S3 says: nothing more (status 403)"
                .into(),
        ),
        (
            s3(),
            s3_error(403, "AccessDenied", kms),
            "KmsAccessDenied",
            format!("the function's role may not use the KMS key of the bucket bucket: it needs kms:GenerateDataKey on that key. S3 says: {kms} (status 403)"),
        ),
        (
            s3(),
            s3_error(404, "NoSuchBucket", "The specified bucket does not exist"),
            "NoSuchBucket",
            "there is no bucket bucket: it was deleted, or the destination misspells it (status 404)".into(),
        ),
        (
            s3(),
            s3_error(301, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint."),
            "WrongRegion",
            "the bucket bucket is not in the function's region us-east-1. S3 says: The bucket you are attempting to access must be addressed using the \
             specified endpoint. (status 301)"
                .into(),
        ),
        (
            s3(),
            s3_error(400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"),
            "InvalidRequest",
            "S3 refuses the request: the bucket bucket may need a checksum with each object (Object Lock). routeto sends one to AWS, but not to a \
             custom endpoint. S3 says: Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock \
             parameters (status 400)"
                .into(),
        ),
        (s3(), s3_error(400, "ExpiredToken", "The provided token has expired."), "SinkFailed", "S3 answered ExpiredToken: The provided token has expired. (status 400)".into()),
        (
            sqs(),
            sqs_error(403, "AccessDeniedException", "AccessDenied", "no"),
            "AccessDenied",
            "the function's role lacks sqs:SendMessage on arn:aws:sqs:us-east-1:123456789012:name, or the queue's policy denies it. SQS says: no (status 403)".into(),
        ),
        (
            sqs(),
            sqs_error(400, "KmsAccessDenied", "KMS.AccessDeniedException", "no"),
            "KmsAccessDenied",
            "the function's role may not use the KMS key of the queue arn:aws:sqs:us-east-1:123456789012:name: it needs kms:GenerateDataKey and \
             kms:Decrypt on that key. SQS says: no (status 400)"
                .into(),
        ),
        (
            sqs(),
            sqs_error(400, "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist."),
            "NoSuchQueue",
            "there is no queue arn:aws:sqs:us-east-1:123456789012:name: it was deleted, or the destination misspells it (status 400)".into(),
        ),
        (
            sqs(),
            sqs_error(400, "InvalidParameterValueException", "InvalidParameterValue", "Value x is invalid."),
            "SinkFailed",
            "SQS answered InvalidParameterValue: Value x is invalid. (status 400)".into(),
        ),
    ] {
        let server = Server::new([reply]);
        let handled = run(&server.sinks(), &event).await;
        assert_eq!(handled.answer, Err(FunctionError { error_type: kind, error_message: message.clone() }));
        assert_eq!(server.requests().len(), 1, "{kind}");
        let log: serde_json::Value = serde_json::from_str(&handled.log).unwrap();
        let sent = if event == sqs() { 186 } else { 2 };
        assert_eq!(
            log,
            serde_json::json!({
                "timestamp": log["timestamp"], "level": "ERROR", "requestId": ID, "message": message, "errorType": kind,
                "path": "/input", "sourceIp": "192.0.2.1", "bytes": sent,
            })
        );
    }
}

#[tokio::test]
async fn a_queue_with_its_own_lower_limit_makes_a_413_and_characters_it_refuses_a_400() {
    for (reply, answer) in [
        (
            sqs_error(
                400,
                "InvalidParameterValueException",
                "InvalidParameterValue",
                "One or more parameters are invalid. Reason: Message must be shorter than 262144 bytes.",
            ),
            fail(413, "The body is larger than the destination takes"),
        ),
        (
            sqs_error(
                400,
                "InvalidMessageContents",
                "InvalidMessageContents",
                "Invalid characters",
            ),
            fail(400, "The body has characters that the queue does not take"),
        ),
    ] {
        let server = Server::new([reply]);
        assert_eq!(json(&run(&server.sinks(), &sqs()).await.answer.unwrap()), answer);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn services_words_are_cut_where_they_are_long() {
    let server = Server::new([s3_error(400, "Odd", &"é".repeat(5000))]);
    let error = run(&server.sinks(), &s3()).await.answer.unwrap_err();
    assert_eq!(error.error_message, format!("S3 answered Odd: {}… (status 400)", "é".repeat(400)));
}

#[test]
fn the_environment_is_lambdas() {
    let without = |missing: &'static str| {
        let all = environment("http://127.0.0.1:1");
        Settings::from_env(move |name| if name == missing { None } else { all(name) })
    };
    for variable in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        assert_eq!(
            without(variable).err().unwrap().to_string(),
            format!(
                "the environment variable {variable} is not set; Lambda sets it for a function that has a role"
            )
        );
    }
    assert!(without("AWS_SESSION_TOKEN").is_ok());
    assert_eq!(without("AWS_ENDPOINT_URL").unwrap().s3_endpoint, None);
    let settings = Settings::from_env(|name| match name {
        "AWS_ENDPOINT_URL_SQS" => Some("http://127.0.0.1:2".into()),
        "AWS_ENDPOINT_URL_S3" => Some(String::new()),
        other => environment("http://127.0.0.1:1")(other),
    })
    .unwrap();
    assert_eq!(
        (settings.s3_endpoint.as_deref(), settings.sqs_endpoint.as_deref()),
        (Some("http://127.0.0.1:1"), Some("http://127.0.0.1:2"))
    );
}

/// A queue's region is in its URL. Seen from the signature: the request itself goes to AWS, which
/// this machine can't reach.
#[tokio::test]
async fn a_queue_elsewhere_is_asked_for_where_it_is() {
    let aws = Aws::new(aws_stores);
    let sinks = aws.sinks("us-east-1");
    for url in [
        QUEUE,
        "https://sqs.eu-west-1.amazonaws.com/1/q",
        "https://sqs.us-gov-west-1.amazonaws.com/1/q",
        "https://sqs.cn-north-1.amazonaws.com.cn/1/q",
        "https://sqs.eusc-de-east-1.amazonaws.eu/1/q",
        "https://sqs.us-iso-east-1.c2s.ic.gov/1/q",
        "https://sqs.us-isob-east-1.sc2s.sgov.gov/1/q",
        "https://sqs.eu-isoe-west-1.cloud.adc-e.uk/1/q",
        "https://sqs.us-isof-south-1.csp.hci.ic.gov/1/q",
        // no partition has its queues there
        "https://sqs.eu-west-1.amazonaws.eu/1/q",
        "https://sqs.cn-north-1.amazonaws.com/1/q",
        "https://sqs.eu-west-1.amazonaws.com.example/1/q",
        "s3://bucket",
        "s3://dotted.bucket",
    ] {
        let handled = run(&sinks, &Event::new(url, b"{}").text()).await;
        assert_eq!(json(&handled.answer.unwrap()), success());
    }
    let requests = aws.requests.lock().unwrap();
    let asked: Vec<_> = requests
        .iter()
        .map(|request| {
            let scope = request.headers().get("authorization").unwrap().split('/').nth(2).unwrap();
            format!("{} {scope}", request.uri())
        })
        .collect();
    let object = format!("{KEY}?x-id=PutObject us-east-1");
    let own = "https://sqs.us-east-1.amazonaws.com/ us-east-1";
    assert_eq!(
        asked,
        [
            own,
            "https://sqs.eu-west-1.amazonaws.com/ eu-west-1",
            "https://sqs.us-gov-west-1.amazonaws.com/ us-gov-west-1",
            "https://sqs.cn-north-1.amazonaws.com.cn/ cn-north-1",
            "https://sqs.eusc-de-east-1.amazonaws.eu/ eusc-de-east-1",
            "https://sqs.us-iso-east-1.c2s.ic.gov/ us-iso-east-1",
            "https://sqs.us-isob-east-1.sc2s.sgov.gov/ us-isob-east-1",
            "https://sqs.eu-isoe-west-1.cloud.adc-e.uk/ eu-isoe-west-1",
            "https://sqs.us-isof-south-1.csp.hci.ic.gov/ us-isof-south-1",
            own,
            own,
            own,
            &format!("https://bucket.s3.us-east-1.amazonaws.com/{object}"),
            &format!("https://s3.us-east-1.amazonaws.com/dotted.bucket/{object}"),
        ]
    );
    assert!(!TOKEN.is_empty());
}

/// What a reader of the log pastes into a policy.
#[tokio::test]
async fn an_arn_in_an_error_is_of_its_partition() {
    let denied = |_: &_| {
        response(403, None, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
    };
    let no_queue =
        |_: &_| response(400, Some(("x-amzn-query-error", "QueueDoesNotExist;Sender")), "{}");
    for (region, suffix, partition) in [
        ("eu-west-1", "amazonaws.com", "aws"),
        ("us-gov-west-1", "amazonaws.com", "aws-us-gov"),
        ("cn-north-1", "amazonaws.com.cn", "aws-cn"),
        ("eusc-de-east-1", "amazonaws.eu", "aws-eusc"),
        ("us-iso-east-1", "c2s.ic.gov", "aws-iso"),
        ("us-isob-east-1", "sc2s.sgov.gov", "aws-iso-b"),
        ("eu-isoe-west-1", "cloud.adc-e.uk", "aws-iso-e"),
        ("us-isof-south-1", "csp.hci.ic.gov", "aws-iso-f"),
    ] {
        let queue = format!("https://sqs.{region}.{suffix}/123456789012/name");
        for (sinks, event, arn) in [
            (Aws::new(denied).sinks(region), s3(), format!("arn:{partition}:s3:::bucket/in/*")),
            (
                Aws::new(no_queue).sinks(region),
                Event::new(&queue, b"{}").text(),
                format!("arn:{partition}:sqs:{region}:123456789012:name"),
            ),
        ] {
            let error = run(&sinks, &event).await.answer.unwrap_err();
            assert!(error.error_message.contains(&format!(" {arn}")), "{}", error.error_message);
        }
    }
}
