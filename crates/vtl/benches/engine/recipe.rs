//! What the benches render: a published recipe's template for 2 KB of events.

use vtl::Request;

/// The published recipe's template, with the body passed as it came.
pub const RAW: &str = "{\n\"bucket\": \"$input.params('bucket')\",\n\"app\": \"$input.params('app')\",\n\"token\": \"$input.params('token')\",\n\"validToken\": \"$stageVariables.validToken\",\n\"body\": $input.body\n}\n";

/// The same with the body parsed and printed again.
pub fn json() -> String {
    RAW.replace("$input.body", "$input.json('$')")
}

/// About 2 KB of events as a mail provider posts them.
fn body() -> String {
    let event = |n: usize| {
        format!(
            "{{\"email\":\"user{n}@example.com\",\"timestamp\":15134990{n:02},\"event\":\"delivered\",\"category\":[\"cat facts\",\"news\"],\"sg_event_id\":\"ZGVsaXZlcmVkLTAtMTM{n}\",\"sg_message_id\":\"14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.{n}\",\"response\":\"250 OK\",\"attempt\":{n}}}"
        )
    };
    format!("[{}]", (0..8).map(event).collect::<Vec<_>>().join(","))
}

/// The recipe's request: a webhook's POST.
pub fn request() -> Request {
    let text = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect()
    };
    Request {
        body: Some(body()),
        query: text(&[
            ("token", "s3cret"),
            ("app", "SendGrid"),
            ("bucket", "my-bucket/routeToS3/SendGrid"),
        ]),
        header: text(&[("Content-Type", "application/json"), ("User-Agent", "SendGrid Event API")]),
        stage_variables: text(&[("validToken", "s3cret")]),
        ..Request::new()
    }
}

/// A template of 10 KB: loops, conditions, methods and assignments, no comment and little text.
pub fn ten_kilobytes() -> String {
    let mut text = String::new();
    while text.len() < 10 * 1024 {
        text.push_str("#foreach($h in $input.params().header.keySet())\"$util.escapeJavaScript($h).replaceAll(\"\\\\'\",\"'\")\":\"$util.escapeJavaScript($input.params().header.get($h))\"#if($foreach.hasNext),#end#end\n#set($sep = \"\")\"query\": {\"a\": \"$context.requestId\", \"b\": $!{input.json('$.b')}}\n");
    }
    text.truncate(text.rfind('\n').unwrap_or(text.len()));
    text
}
