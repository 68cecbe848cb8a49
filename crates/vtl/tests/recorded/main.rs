//! The mapping template engine against recorded answers: of AWS itself, of Apache Velocity 1.7, and
//! against what other projects believe.
//!
//! The cases are data, one JSON object a line, beside this file; each has its source.

mod cases;

use std::fmt::Write as _;

use serde_json::Value;
use vtl::{
    Data, Error, Limits, Pairs, Rendered, Request, Template,
    gateway::{
        self, Choice, ContentHandling, GatewayResponse, IntegrationResponse, Passthrough, Payload,
    },
    render_batch,
};

fn cases(file: &str) -> Vec<Value> {
    let path = format!("{}/tests/recorded/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
}

fn id(case: &Value) -> &str {
    case["id"].as_str().expect("every case has an id")
}

fn data(value: &Value) -> Data {
    match value {
        Value::Null => Data::Null,
        Value::Bool(value) => Data::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => i32::try_from(number).map_or(Data::Long(number), Data::Int),
            None => Data::Double(number.as_f64().expect("a number is whole or a double")),
        },
        Value::String(text) => Data::Text(text.clone()),
        Value::Array(items) => Data::List(items.iter().map(data).collect()),
        Value::Object(_) => Data::Map(pairs(value)),
    }
}

fn pairs(value: &Value) -> Pairs {
    value
        .as_object()
        .map(|map| map.iter().map(|(key, value)| (key.clone(), data(value))).collect())
        .unwrap_or_default()
}

fn request(case: &Value) -> Request {
    let sent = &case["request"];
    Request {
        body: sent["body"].as_str().map(str::to_owned),
        path: pairs(&sent["path_params"]),
        query: pairs(&sent["query"]),
        header: pairs(&sent["headers"]),
        stage_variables: pairs(&case["stage_variables"]),
        context: pairs(&case["context"]),
        variables: Pairs::new(),
    }
}

fn render(template: &str, request: &Request, limits: &Limits) -> Result<Rendered, Error> {
    Template::parse(template)?.render(request, limits)
}

fn same(compare: &Value, expected: &str, got: &str) -> bool {
    if compare == "json" {
        let parsed = |text: &str| serde_json::from_str::<Value>(text);
        matches!((parsed(expected), parsed(got)), (Ok(a), Ok(b)) if a == b)
    } else if compare == "whitespace-normalized" {
        expected.split_whitespace().eq(got.split_whitespace())
    } else {
        expected == got
    }
}

/// Collects what went wrong and fails with all of it.
#[derive(Default)]
struct Report {
    seen: usize,
    wrong: String,
}

impl Report {
    fn check(
        &mut self,
        id: &str,
        good: bool,
        expected: impl std::fmt::Debug,
        got: impl std::fmt::Debug,
    ) {
        self.seen += 1;
        if !good {
            let _ = writeln!(self.wrong, "{id}\n  expected {expected:?}\n  got      {got:?}");
        }
    }

    #[track_caller]
    fn finish(self, cases: usize) {
        assert!(self.wrong.is_empty(), "{}", self.wrong);
        assert_eq!(self.seen, cases, "the number of cases looked at");
    }
}

#[test]
fn every_template_recorded_on_aws_renders_the_same() {
    let mut report = Report::default();
    for case in cases("aws_recorded.jsonl").iter().filter(|case| case["kind"] == "render") {
        // Where the recording tells only a property of the text, the engine's text that has it
        // stands beside it.
        let expected =
            if case["compare"] == "property" { &case["model_output"] } else { &case["expected"] };
        let expected = expected.as_str().map_or_else(|| expected.to_string(), str::to_owned);
        let template = case["template"].as_str().expect("a render has a template");
        let sent = if case["compare"] == "property" {
            request(case).with_overrides()
        } else {
            request(case)
        };
        let got = render(template, &sent, &Limits::GATEWAY).map(|rendered| rendered.text);
        let good = got.as_ref().is_ok_and(|got| same(&case["compare"], &expected, got));
        report.check(id(case), good, expected, got);
    }
    report.finish(234);
}

#[test]
fn every_echo_through_two_templates_recorded_on_aws_comes_out_the_same() {
    let mut report = Report::default();
    for case in cases("aws_recorded.jsonl").iter().filter(|case| case["kind"] == "roundtrip") {
        let expected = case["expected"].as_str().expect("a text");
        let got = render(
            case["template"].as_str().expect("a template"),
            &request(case),
            &Limits::GATEWAY,
        )
        .and_then(|first| {
            let answer = Request { body: Some(first.text), ..Request::new() };
            render(
                case["response_template"].as_str().expect("a response template"),
                &answer,
                &Limits::GATEWAY,
            )
        });
        let got = got.map(|rendered| rendered.text);
        let good = got.as_ref().is_ok_and(|got| same(&case["compare"], expected, got));
        report.check(id(case), good, expected, got);
    }
    report.finish(18);
}

/// Those of 2015: the rendered text went through a function that echoed it as JSON; nothing
/// rendered showed as `{}`.
#[test]
fn every_answer_recorded_on_aws_in_2015_comes_out_the_same() {
    let mut report = Report::default();
    for case in cases("aws_recorded.jsonl").iter().filter(|case| case["kind"].is_null()) {
        let expected = &case["expected"];
        let got = match render(
            case["template"].as_str().expect("a template"),
            &request(case),
            &Limits::GATEWAY,
        ) {
            Ok(rendered) => {
                (200, if rendered.text.is_empty() { "{}".to_owned() } else { rendered.text })
            }
            Err(error) => (u64::from(error.status()), error.to_string()),
        };
        let body = expected["body"].as_str().expect("a body");
        let good = Some(got.0) == expected["status"].as_u64()
            && (got.0 == 400 || same(&Value::from("json"), body, &got.1));
        report.check(id(case), good, expected, got);
    }
    report.finish(25);
}

#[test]
fn mock_integrations_answer_as_recorded_on_aws() {
    let mut report = Report::default();
    for case in cases("aws_recorded.jsonl").iter().filter(|case| case["kind"] == "mock") {
        let sent = request(case).with_overrides();
        let expected = &case["expected"];
        let first = render(case["template"].as_str().expect("a template"), &sent, &Limits::GATEWAY)
            .expect("the request template renders");
        let status = gateway::mock_status(&first.text).expect("the rendered text has a status");
        let context = first.context.unwrap_or_else(|| sent.context.clone());
        let second = Request { body: None, context, ..sent };
        let (body, overrides) = match case["response_template"].as_str() {
            Some(template) => {
                let rendered = render(template, &second, &Limits::GATEWAY)
                    .expect("the response template renders");
                (rendered.text, rendered.overrides)
            }
            None => (String::new(), first.overrides.clone()),
        };
        let override_of = |name: &str| {
            let header = |pairs: &Pairs| {
                pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            };
            header(&overrides.response_header).or_else(|| header(&first.overrides.response_header))
        };
        let status =
            overrides.response_status.or(first.overrides.response_status).unwrap_or(status);
        let mut good = Some(u64::from(status)) == expected["status"].as_u64();
        if let Some(wanted) = expected.get("body_json") {
            good &= serde_json::from_str::<Value>(&body).is_ok_and(|body| body == *wanted);
        } else {
            good &= body == expected["body"].as_str().expect("a body");
        }
        for (name, value) in expected["headers"].as_object().into_iter().flatten() {
            good &= override_of(name) == Some(data(value));
        }
        report.check(id(case), good, expected, (status, body));
    }
    report.finish(13);
}

#[test]
fn response_templates_override_the_status_as_recorded_on_aws() {
    let mut report = Report::default();
    for case in cases("aws_recorded.jsonl").iter().filter(|case| case["kind"] == "response-render")
    {
        let expected = &case["expected"];
        let got = render(
            case["template"].as_str().expect("a template"),
            &request(case).with_overrides(),
            &Limits::GATEWAY,
        )
        .expect("the response template renders");
        let good = got.overrides.response_status.map(u64::from) == expected["status"].as_u64()
            && serde_json::from_str::<Value>(&got.text)
                .is_ok_and(|body| body == expected["body_json"]);
        report.check(id(case), good, expected, got);
    }
    report.finish(2);
}

#[test]
fn bodies_are_converted_as_recorded_on_aws() {
    let mut report = Report::default();
    for case in cases("aws_recorded.jsonl").iter().filter(|case| case["kind"] == "content_handling")
    {
        let expected = &case["expected"];
        let body = base64(case["input_b64"].as_str().expect("a body"));
        let handling = match case["contentHandling"].as_str() {
            Some("CONVERT_TO_TEXT") => Some(ContentHandling::ConvertToText),
            Some("CONVERT_TO_BINARY") => Some(ContentHandling::ConvertToBinary),
            _ => None,
        };
        let binary: Vec<String> = case["binaryMediaTypes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|media| media.as_str().map(str::to_owned))
            .collect();
        let content_type = case["content_type"].as_str();
        let templates: Vec<(String, String)> = case["template"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(media, template)| {
                (media.clone(), template.as_str().expect("a template").to_owned())
            })
            .collect();
        let (converted, template) = if case["direction"] == "request" {
            let template = match gateway::choose_template(
                &templates,
                content_type,
                Passthrough::WhenNoMatch,
            ) {
                Choice::Template(template) => Some(template),
                _ => None,
            };
            (gateway::convert_request(&body, content_type, &binary, handling), template)
        } else {
            let accept = case["accept"].as_str();
            (
                gateway::convert_response(&body, content_type, accept, &binary, handling),
                gateway::choose_response_template(&templates, accept),
            )
        };
        let got: (u64, Vec<u8>) = match (converted, template) {
            (Err(_), _) | (Ok(Payload::Binary(_)), Some(_)) => (500, Vec::new()),
            (Ok(payload), None) => (200, payload.bytes().to_vec()),
            (Ok(Payload::Text(text)), Some(template)) => {
                let sent = Request { body: Some(text), ..Request::new() };
                (
                    200,
                    render(template, &sent, &Limits::GATEWAY)
                        .expect("the template renders")
                        .text
                        .into_bytes(),
                )
            }
        };
        let wanted = (
            expected["status"].as_u64().expect("a status"),
            expected["body_b64"].as_str().map(base64).unwrap_or_default(),
        );
        report.check(id(case), got == wanted, wanted, &got);
    }
    report.finish(76);
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).expect("the case's base64")
}

fn responses(case: &Value) -> Vec<IntegrationResponse> {
    let all = case["integration_responses"].as_array().expect("integration responses");
    all.iter()
        .map(|response| IntegrationResponse {
            status: response["statusCode"].as_str().expect("a status").parse().expect("a number"),
            selection_pattern: response["selectionPattern"].as_str().map(str::to_owned),
        })
        .collect()
}

#[test]
fn the_integration_response_is_selected_as_recorded_on_aws() {
    let mut report = Report::default();
    for case in cases("aws_recorded.jsonl").iter().filter(|case| case["kind"] == "selection") {
        let value = match case["lambda_output"].as_str() {
            Some(answer) => gateway::lambda_error(answer),
            None => case["backend_status"].as_u64().map(|status| status.to_string()),
        };
        let all = responses(case);
        let got = gateway::select_response(&all, value.as_deref())
            .map(|response| u64::from(response.status));
        report.check(id(case), got == case["expected"]["status"].as_u64(), &case["expected"], got);
    }
    report.finish(5);
}

#[test]
fn the_gateways_own_answers_are_as_recorded_on_aws() {
    for case in cases("aws_recorded.jsonl").iter().filter(|case| case["kind"] == "gateway-error") {
        let response = match id(case) {
            "ls-err/route-not-found" => GatewayResponse::MissingAuthenticationToken,
            "ls-err/illegal-header-mapping" => GatewayResponse::ApiConfigurationError,
            other => panic!("a new case: {other}"),
        };
        let headers: Vec<String> = case["expected"]["headers"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| name.eq_ignore_ascii_case("x-amzn-errortype"))
            .map(|(_, value)| value.as_str().expect("a text").to_owned())
            .collect();
        let body: Value = serde_json::from_str(&response.body()).expect("the body is JSON");
        assert_eq!(
            (u64::from(response.status()), vec![response.error_type().to_owned()], body),
            (
                case["expected"]["status"].as_u64().expect("a status"),
                headers,
                case["expected"]["body_json"].clone()
            ),
        );
    }
    let restricted = |aws| {
        [
            "content-length",
            "Transfer-Encoding",
            "authorization",
            "connection",
            "expect",
            "proxy-authenticate",
            "te",
            "accept",
        ]
        .map(|name| gateway::is_restricted_header(name, aws))
    };
    assert_eq!(restricted(false), [true, true, false, false, false, false, false, false]);
    assert_eq!(restricted(true), [true, true, true, true, true, true, true, false]);
}

/// Test invocations: their logs tell the path parameters and the rendered answer.
///
/// Two of them were recorded beside another method's template; what rendered them is the one with
/// `petId`.
#[test]
fn test_invocations_recorded_on_aws_render_what_their_logs_show() {
    const OF_ANOTHER_METHOD: [&str; 2] = [
        "ls-testinvoke/test-invoke-method-get-with-qs",
        "ls-testinvoke/test-invoke-method-post-with-body",
    ];
    let mut report = Report::default();
    for case in cases("aws_recorded.jsonl").iter().filter(|case| case["kind"] == "test-invoke-log")
    {
        let lines: Vec<&str> =
            case["log"].as_object().expect("a log").values().filter_map(Value::as_str).collect();
        let line = |name: &str| {
            lines
                .iter()
                .find_map(|line| Some(line.split_once(name)?.1))
                .expect("the log has this line")
        };
        let path = line("Method request path: ").trim_start_matches('{');
        let path = path.strip_suffix('}').unwrap_or(path);
        let path: Pairs = path
            .split_once('=')
            .map(|(name, value)| (name.to_owned(), value.into()))
            .into_iter()
            .collect();
        let template = match id(case) {
            other if OF_ANOTHER_METHOD.contains(&other) => {
                "{\"petId\": \"$input.params('petId')\"}"
            }
            _ => case["template"].as_str().expect("a template"),
        };
        let got = render(template, &Request { path, ..request(case) }, &Limits::GATEWAY)
            .map(|rendered| rendered.text);
        let expected = line("Method response body after transformations: ");
        report.check(id(case), got.as_deref().is_ok_and(|got| got == expected), expected, got);
    }
    report.finish(7);
}

#[test]
fn every_case_recorded_on_aws_is_of_a_known_kind() {
    let mut kinds = std::collections::BTreeMap::new();
    for case in cases("aws_recorded.jsonl") {
        *kinds.entry(case["kind"].as_str().unwrap_or("2015").to_owned()).or_insert(0) += 1;
    }
    let expected = [
        ("2015", 25),
        ("content_handling", 76),
        ("facts", 1),
        ("gateway-error", 2),
        ("mock", 13),
        ("render", 234),
        ("response-render", 2),
        ("roundtrip", 18),
        ("selection", 5),
        ("test-invoke-log", 7),
    ];
    assert_eq!(kinds, expected.map(|(kind, count)| (kind.to_owned(), count)).into());
}

/// `$context` as it was recorded: every key in its order, and the maps in it as empty texts.
#[test]
fn the_context_recorded_on_aws_prints_as_it_was_recorded() {
    let all = cases("aws_recorded.jsonl");
    let case = all.iter().find(|case| case["kind"] == "facts").expect("the recorded context");
    let template = case["template"]
        .as_str()
        .and_then(|text| text.strip_suffix(" etc (see source)"))
        .expect("a template");
    let expected = &case["expected"]["context"];
    let context: Pairs = pairs(expected)
        .into_iter()
        .map(|(name, value)| {
            let inner = &case["expected"][&name];
            let value = if inner.is_object() { data(inner) } else { value };
            (name, value)
        })
        .collect();
    let got = render(template, &Request { context, ..Request::new() }, &Limits::GATEWAY)
        .expect("it renders")
        .text;
    // As text, so that the order counts.
    assert_eq!(
        serde_json::from_str::<Value>(&got).expect("JSON").to_string(),
        expected.to_string()
    );
}

/// Recorded as `ls-sqs/context-dump`.
#[test]
fn maps_in_the_context_print_as_nothing_but_have_their_keys() {
    let context = vec![
        ("identity".to_owned(), Data::Map(vec![("sourceIp".to_owned(), "1.2.3.4".into())])),
        ("stage".to_owned(), "dev".into()),
    ];
    let sent = Request { context, ..Request::new() }.with_overrides();
    let template = "[$context.get(\"identity\")|$context.identity|$context.identity.sourceIp|$context.stage]\
        #foreach($k in $context.keySet())$k=$context.get($k);#end #foreach($k in $context.requestOverride.keySet())$k,#end";
    assert_eq!(
        render(template, &sent, &Limits::GATEWAY).expect("it renders").text,
        "[||1.2.3.4|dev]identity=;stage=dev;requestOverride=;responseOverride=; header,path,querystring,"
    );
}

/// Beliefs that AWS or its documents contradict.
const DISBELIEVED: [&str; 5] =
    ["ls-unit/escape-0", "toqoz/path-list", "toqoz/entrySet", "toqoz/urlEncode", "so/urlEncode"];

#[test]
fn what_other_projects_believe_holds_unless_aws_contradicts() {
    let mut report = Report::default();
    for case in cases("beliefs.jsonl") {
        let expected = &case["expected"];
        let (good, got) = match case["kind"].as_str() {
            Some("mock-statuscode-parse") => {
                let status = gateway::mock_status(case["rendered"].as_str().expect("a text"))
                    .map_or(500, u64::from);
                (Some(status) == expected["status"].as_u64(), status.to_string())
            }
            Some("passthrough") => {
                let templates: Vec<(String, String)> = case["requestTemplates"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(media, template)| {
                        (media.clone(), template.as_str().expect("a text").to_owned())
                    })
                    .collect();
                let behaviour = match case["passthroughBehavior"].as_str() {
                    Some("NEVER") => Passthrough::Never,
                    Some("WHEN_NO_TEMPLATES") => Passthrough::WhenNoTemplates,
                    _ => Passthrough::WhenNoMatch,
                };
                let got = match gateway::choose_template(
                    &templates,
                    case["content_type"].as_str(),
                    behaviour,
                ) {
                    Choice::Template(template) if template == "Matching Template" => {
                        Value::from("render application/json")
                    }
                    Choice::Template(_) => Value::from("render"),
                    Choice::PassThrough => Value::from("passthrough"),
                    Choice::Unsupported => {
                        Value::from(GatewayResponse::UnsupportedMediaType.status())
                    }
                };
                (got == *expected, got.to_string())
            }
            Some("selection") => {
                let all = responses(&case);
                let got = gateway::select_response(&all, case["selection_value"].as_str())
                    .map(|response| u64::from(response.status));
                (got == expected["status"].as_u64(), format!("{got:?}"))
            }
            _ => {
                let mut sent = request(&case);
                if let Some(params) = case.get("params") {
                    sent.path = pairs(&params["path"]);
                    sent.query = pairs(&params["querystring"]);
                    sent.header = pairs(&params["header"]);
                }
                sent.variables = pairs(&case["vars"]);
                let got =
                    render(case["template"].as_str().expect("a template"), &sent, &Limits::GATEWAY)
                        .map(|rendered| rendered.text);
                (got.as_deref().ok() == expected.as_str(), format!("{got:?}"))
            }
        };
        let believed = !DISBELIEVED.contains(&id(&case));
        report.check(id(&case), good == believed, expected, got);
    }
    report.finish(68);
}

#[test]
fn a_batch_answers_each_line_with_one_line() {
    let answer = |line: &str| render_batch(line, &Limits::ENGINE);
    assert_eq!(
        answer(
            r#"{"id":"a","template":"$s $input.json('$.x') $input.params('q') $stageVariables.v $context.stage","vars":{"s":"é☃"},"body":"{\"x\":1.50}","params":{"querystring":{"q":"a/b"}},"stage_variables":{"v":"1"},"context":{"stage":"dev"}}"#
        ),
        "{\"id\":\"a\",\"expected\":\"é☃ 1.5 a\\/b 1 dev\"}"
    );
    assert_eq!(
        answer(r#"{"id":7,"template":"$"}"#),
        "{\"id\":7,\"error\":\"ParseErrorException\",\"message\":\"the template ends in the middle of `$` at line 1, column 1\"}"
    );
    assert_eq!(
        answer("nonsense"),
        r#"{"id":null,"error":"ParseException","message":"the line is not a JSON object"}"#
    );
    assert_eq!(
        answer(r#"{"id":1}"#),
        r#"{"id":1,"error":"NullPointerException","message":"the case has no `template`"}"#
    );
    let long =
        answer(r##"{"id":2,"template":"#foreach($i in [1..1500])#if($i==1500)$i#end#end"}"##);
    assert_eq!(long, r#"{"id":2,"expected":"1500"}"#);
}

#[test]
fn an_error_shows_the_line_a_caret_the_value_and_what_to_write_instead() {
    let template = "{\n  \"first\": \"$input.path('$.list').get(3)\"\n}";
    let sent = Request { body: Some(r#"{"list":["a","b"]}"#.into()), ..Request::new() };
    let error = render(template, &sent, &Limits::GATEWAY).expect_err("the list is too short");
    assert_eq!(
        error.frame("json.vtl"),
        "error: get fails: index 3 is out of bounds for length 2 (IndexOutOfBoundsException)\n  --> json.vtl:2:35\n   |\n 2 |   \"first\": \"$input.path('$.list').get(3)\"\n   |                                   ^^^^^^\n  = $input… is [\"a\",\"b\"] (JSONArray)\n  = API Gateway answers 500"
    );
    let error = Template::parse("a\n#if($x == null)b#end").expect_err("there is no null");
    assert_eq!(
        error.frame("t.vtl"),
        "error: expected a value, found `null`\n  --> t.vtl:2:11\n   |\n 2 | #if($x == null)b#end\n   |           ^^^^\n  = API Gateway answers 500\n  = help: there is no null; compare with \"\" instead, which is what a missing value is"
    );
}

#[test]
fn explaining_shows_each_reference_with_its_value_and_line() {
    let template =
        Template::parse("#set($name = $input.path('$.name'))\nHello $name, #if($name == \"Ann\")${name.length()}#end").expect("it parses");
    let sent = Request { body: Some(r#"{"name":"Ann"}"#.into()), ..Request::new() };
    let rendered = template.explain(&sent, &Limits::GATEWAY).expect("it renders");
    let shown: Vec<String> = rendered
        .references
        .iter()
        .map(|seen| {
            format!("{}:{} {} = {}", seen.place.line, seen.place.column, seen.reference, seen.value)
        })
        .collect();
    assert_eq!(rendered.text, "Hello Ann, 3");
    assert_eq!(
        shown,
        [
            "1:14 $input.path('$.name') = Ann",
            "2:7 $name = Ann",
            "2:18 $name = Ann",
            "2:33 ${name.length()} = 3"
        ]
    );
}

#[test]
fn a_callers_value_inside_a_json_string_is_remarked_with_the_safe_form() {
    let template = r##"{"a": "$input.params('a')",
"b": "$util.escapeJavaScript($input.params('b')).replaceAll("\\'","'")", "c": "$util.escapeJavaScript($input.body)",
#set($d = $input.path('$.d'))"d": "$d", "n": "$d.size()", "e": "$util.base64Encode($input.body)", "f": $input.json('$'), "s": "$context.stage", "i": "$context.requestId"}"##;
    let template = Template::parse(template).expect("it parses");
    let shown: Vec<String> = vtl::lint(&template)
        .into_iter()
        .map(|lint| {
            format!(
                "{}:{} {:?} {} -> {}",
                lint.place.line, lint.place.column, lint.kind, lint.reference, lint.help
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            r#"1:8 Unescaped $input.params('a') -> $util.escapeJavaScript($input.params('a')).replaceAll("\\'","'")"#,
            r#"2:80 Apostrophe $util.escapeJavaScript($input.body) -> $util.escapeJavaScript($input.body).replaceAll("\\'","'")"#,
            r#"3:36 Unescaped $d -> $util.escapeJavaScript($d).replaceAll("\\'","'")"#,
            r#"3:104 Rewritten $input.json('$') -> "$util.base64Encode($input.body)""#,
            r#"3:151 Unescaped $context.requestId -> $util.escapeJavaScript($context.requestId).replaceAll("\\'","'")"#,
        ]
    );
}

#[test]
fn what_is_unknown_of_api_gateway_is_told_once() {
    let template = Template::parse(
        "#foreach($i in [1..3])#if($i == 2)#break#end$i#end#foreach($i in [1..3])#break#end $util.toJson($i) $util.toJson(1) $util.base64encode('x') #literal()$x#end $util.urlEncode('x')",
    )
    .expect("it parses");
    let shown: Vec<String> = vtl::lint(&template)
        .into_iter()
        .map(|lint| {
            format!(
                "{}:{} {:?} {} -> {}",
                lint.place.line, lint.place.column, lint.kind, lint.message, lint.help
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "1:35 Unknown what API Gateway does with #break isn't known; here it does what Velocity 1.7 does -> try it on a deployed stage before relying on it, or do without #break",
            "1:84 Unknown API Gateway's documents don't name $util.toJson; here it prints nothing -> API Gateway has $util.escapeJavaScript, $util.parseJson, $util.urlEncode, $util.urlDecode, $util.base64Encode, $util.base64Decode; AppSync's functions aren't there",
            "1:117 Unknown API Gateway's documents don't name $util.base64encode; here it prints nothing -> did you mean $util.base64Encode?",
            "1:141 Unknown what API Gateway does with #literal isn't known; here it does what Velocity 1.7 does -> try it on a deployed stage before relying on it, or do without #literal",
        ]
    );
}

/// In a test's thread, whose stack is 2 MB.
#[test]
fn deep_nesting_neither_overflows_the_stack_nor_hangs() {
    let deep = |open: &str, middle: &str, close: &str, times: usize| {
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    let body = deep("[", "1", "]", 450);
    let sent = Request { body: Some(body.clone()), ..Request::new() };
    for times in [90, 199, 5_000, 60_000] {
        let templates = [
            format!("#if({})x#end", deep("(", "1", ")", times)),
            format!("#set($x = {})$x", deep("[", "1", "]", times)),
            format!("#set($x = {})$x", deep("{1:", "1", "}", times)),
            format!("$x{}", deep(".a($x", "", ")", times)),
            format!("#set($x = [{}", "$a.f([".repeat(times)),
            deep("#if(true)", "x", "#end", times),
            deep("#foreach($i in [1])", "x", "#end", times),
            deep("#define($a)", "x", "#end", times),
            deep("$x[$", "x", "]", times),
            format!("#if({}true)x#end", "!".repeat(times)),
            format!("#set($x = 1{})$x", " + 1".repeat(times)),
            "\\".repeat(times),
            "$".repeat(times),
            format!("#*{}", "#".repeat(times)),
            format!("#set($l = [])#foreach($i in [1..{}])#set($l = [$l])#end$l", times.min(1000)),
            "#set($l = [])#set($ok = $l.add($l))$l #set($m = {})#set($m.m = [$m])$m $l.hashCode()"
                .to_owned(),
            "$input.path('$') $input.json('$..*') $input.path('$').hashCode()".to_owned(),
        ];
        for template in templates {
            // Whether it renders or fails doesn't matter here; it must come back.
            let _ = render(&template, &sent, &Limits::GATEWAY);
        }
        let _ = render(
            "$input.json('$') $input.path('$')",
            &Request { body: Some(deep("[", "1", "]", times)), ..Request::new() },
            &Limits::GATEWAY,
        );
        let _ = render(
            "$input.json('$') $input.path('$')",
            &Request { body: Some(deep("{\"a\":", "1", "}", times)), ..Request::new() },
            &Limits::GATEWAY,
        );
    }
    assert_eq!(
        render("$input.json('$')", &sent, &Limits::GATEWAY).expect("450 deep is fine").text,
        body
    );
}

#[test]
fn limits_stop_a_render_with_a_clear_error() {
    let sent = Request::new();
    let message = |template: &str| {
        render(template, &sent, &Limits { steps: 1_000_000, ..Limits::GATEWAY })
            .expect_err("a limit")
            .message
            .clone()
    };
    assert_eq!(
        message("#foreach($i in [1..1001])$i#end"),
        "#foreach goes through more than 1000 elements; API Gateway stops there"
    );
    assert!(
        message(&format!("{}x{}", "#if(true)".repeat(300), "#end".repeat(300)))
            .contains("nested more than 200 deep")
    );
    assert!(message(&"x".repeat(400_000)).contains("at most 307200"));
    assert!(
        message("#set($s='0123456789')#foreach($i in [1..1000])#set($s=\"$s$s\")#end")
            .contains("larger than")
    );
    assert!(message("#foreach($a in [1..1000])#foreach($b in [1..1000])#foreach($c in [1..1000])#end#end#end").contains("steps"));
    assert!(message("#define($a)$b$b#end#define($b)$a$a#end#foreach($i in [1..1000])#foreach($i in [1..1000])#foreach($j in [1..1000])$a#end#end#end").contains("steps"));
}
