//! How fast templates are parsed and rendered: a recipe's template with a body of 2 KB, as it is, through JSON, and parsed each time.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use routeto::vtl::{Limits, Request, Template};

/// The published recipe's template, with the body passed as it came.
const RAW: &str = "{\n\"bucket\": \"$input.params('bucket')\",\n\"app\": \"$input.params('app')\",\n\"token\": \"$input.params('token')\",\n\"validToken\": \"$stageVariables.validToken\",\n\"body\": $input.body\n}\n";

/// The same with the body parsed and printed again.
fn json() -> String {
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

fn request() -> Request {
    let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    Request {
        body: Some(body()),
        query: text(&[("token", "s3cret"), ("app", "SendGrid"), ("bucket", "my-bucket/routeToS3/SendGrid")]),
        header: text(&[("Content-Type", "application/json"), ("User-Agent", "SendGrid Event API")]),
        stage_variables: text(&[("validToken", "s3cret")]),
        ..Request::new()
    }
}

fn renders(c: &mut Criterion) {
    let request = request();
    let limits = Limits::GATEWAY;
    let mut group = c.benchmark_group("render");
    group.throughput(Throughput::Elements(1));
    let raw = Template::parse(RAW).expect("the template parses");
    group.bench_function("raw", |b| b.iter(|| raw.render(&request, &limits).expect("it renders").text.len()));
    let json_text = json();
    let json = Template::parse(&json_text).expect("the template parses");
    group.bench_function("json", |b| b.iter(|| json.render(&request, &limits).expect("it renders").text.len()));
    group.bench_function("parsed each time, raw", |b| {
        b.iter(|| Template::parse(RAW).expect("the template parses").render(&request, &limits).expect("it renders").text.len())
    });
    group.bench_function("parsed each time, json", |b| {
        b.iter(|| Template::parse(&json_text).expect("the template parses").render(&request, &limits).expect("it renders").text.len())
    });
    group.finish();
}

fn parses(c: &mut Criterion) {
    let mut text = String::new();
    while text.len() < 10 * 1024 {
        text.push_str("#foreach($h in $input.params().header.keySet())\"$util.escapeJavaScript($h).replaceAll(\"\\\\'\",\"'\")\":\"$util.escapeJavaScript($input.params().header.get($h))\"#if($foreach.hasNext),#end#end\n#set($sep = \"\")\"query\": {\"a\": \"$context.requestId\", \"b\": $!{input.json('$.b')}}\n");
    }
    text.truncate(text.rfind('\n').unwrap_or(text.len()));
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("10 KB", |b| b.iter(|| Template::parse(&text).expect("the template parses")));
    group.finish();
}

criterion_group!(benches, renders, parses);
criterion_main!(benches);
