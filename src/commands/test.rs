//! `routeto test`: posts providers' samples to a running `routeto dev` or to the deployed stages,
//! and checks that they arrived: the answer's id, and the stored record read back. Says what it
//! could prove; leaves what it posted where it was stored.

use super::{Context, can_invoke, deploy, invoke_url, now, set_token};
use crate::{
    aws::{
        Aws, apigateway,
        call::CallError,
        http::Http,
        s3,
        wait::{Tell, Try, Waited, until},
    },
    cli, coding,
    dev::{
        exchange::{Exchange, Stored},
        inspector,
        journal::Summary,
        running::{self, Running},
    },
    error::{Error, Failure, Result},
    observed::{Account, Secret},
    report::Style,
    samples::{Provider, Sample},
    spec::{
        Destination, Route, S3Destination, S3Format, SqsDestination, SqsFormat, Stack, TokenRule,
    },
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

/// Marks the keys of test records where the template hands `app` on.
const APP: &str = "routeto-test";
/// A throttled stage lets one in within this time.
const THROTTLED: Duration = Duration::from_secs(30);
/// `dev` writes its journal after it answered.
const JOURNAL: Duration = Duration::from_secs(5);
/// How far this machine's clock and the function's may be apart; milliseconds.
const CLOCKS: i64 = 15 * 60 * 1000;
/// Bytes of an answer of the inspector's: a thousand summaries, or an exchange with a sample.
const LONGEST: usize = 8 * 1024 * 1024;

/// Where samples go.
enum Target {
    /// A `routeto dev` that runs in this directory; the client is for its S3, or for the account's
    /// with `--destinations aws`.
    Dev {
        running: Running,
        aws: Box<Aws>,
    },
    Deployed {
        aws: Box<Aws>,
        account: Account,
        api: String,
    },
}

/// Who may post and deploy need not be allowed to read what others sent.
const UNREADABLE: &str =
    "stored: the answer has its id (not read back: s3:ListBucket or s3:GetObject isn't allowed)";
/// To look at a message is to take it from the queue's consumers for a while, and counts as a
/// delivery.
const QUEUED: &str =
    "queued: the answer has its id (not read back: that would take it from its consumers)";

/// One sample to post.
struct Case<'a> {
    stage: &'a str,
    route: &'a Route,
    provider: Provider,
    /// The body is sent gzip'd; what is stored is the inflated one.
    gzip: bool,
}

impl Case<'_> {
    /// The provider, as the report and messages have it.
    fn name(&self) -> String {
        if self.gzip { format!("{}, gzip'd", self.provider.name()) } else { self.provider.name() }
    }
}

/// What became of it.
struct Outcome<'a> {
    case: Case<'a>,
    millis: u128,
    /// The answer's, where there was one.
    status: Option<u16>,
    said: std::result::Result<Arrived, String>,
}

struct Arrived {
    id: String,
    /// `s3://bucket/key`, or the queue.
    place: String,
    /// What is known of the record, in words.
    proof: &'static str,
}

pub async fn run(context: &Context, args: cli::Test) -> Result<()> {
    let stack = context.load_or_running_example(&args.stack)?.stack;
    let stages: Vec<&str> = match stack.select_stages(&args.stages.stages) {
        Ok(stages) => stages.into_iter().map(|stage| stage.name.as_str()).collect(),
        Err(what) => return Err(Error::Usage(Failure::new("--stage", what))),
    };
    let cases = cases(&stack, &stages, &args)?;
    for (path, route) in &stack.routes {
        let without: Vec<&str> = route
            .accept
            .iter()
            .map(String::as_str)
            .filter(|media| Provider::of(media).is_none())
            .collect();
        if args.provider.is_none()
            && args.route.as_ref().is_none_or(|asked| asked == path)
            && !without.is_empty()
        {
            context.report.note(&format!(
                "not tested: {path} as {}, of which there is no sample",
                without.join(", ")
            ));
        }
    }
    let target = target(context, &stack, &args).await?;
    let cases = with_gzip(cases, &target);
    let tokens = tokens(&target, &stages, &args).await?;
    let needs = cases
        .iter()
        .find(|case| case.route.token == TokenRule::Query && !tokens.contains_key(case.stage));
    if let Some(Case { stage, .. }) = needs {
        return Err(Error::Usage(
            Failure::new(
                format!("stage {stage}"),
                "its token is needed: nobody can read it back from AWS",
            )
            .now(format!(
                "set {}, or give one stage's with --stage and --token-stdin",
                deploy::variable(stage)
            )),
        ));
    }
    let urls = match &target {
        Target::Dev { running, .. } => stages
            .iter()
            .map(|stage| ((*stage).to_owned(), format!("{}/{stage}", running.url)))
            .collect(),
        Target::Deployed { aws, account, api } => {
            deployed_urls(&stack, aws, account, api, &stages, &args).await?
        }
    };

    let http = Http::new().map_err(|error| Failure::new("test", format!("{error:#}")))?;
    let progress = context.progress.clone();
    let tell = move |reason: String| progress.step(&reason);
    let mut outcomes = vec![];
    // One after the other: a stage's throttle may be small.
    for case in cases {
        context.progress.step(&format!("{} {} as {}", case.stage, case.route.path, case.name()));
        outcomes.push(post(&http, &target, case, &urls, &tokens, &tell).await);
    }
    context.progress.step_done();
    report(context, &stack, &target, &outcomes);
    let failures: Vec<Failure> = outcomes
        .iter()
        .filter_map(|outcome| {
            let what = outcome.said.as_ref().err()?;
            Some(Failure::new(
                format!(
                    "{} {} as {}",
                    outcome.case.stage,
                    outcome.case.route.path,
                    outcome.case.name()
                ),
                what,
            ))
        })
        .collect();
    if failures.is_empty() { Ok(()) } else { Err(Error::Failed(failures)) }
}

/// Each stage with each route, as the provider that was asked for, or as one for each content type
/// that the route takes: the one that the route is named after, where it posts that type.
fn cases<'a>(stack: &'a Stack, stages: &[&'a str], args: &cli::Test) -> Result<Vec<Case<'a>>> {
    let usage =
        |place: &str, what: String, now: &str| Error::Usage(Failure::new(place, what).now(now));
    let routes: Vec<&Route> = match &args.route {
        Some(path) => {
            vec![stack.route(path).map_err(|what| Error::Usage(Failure::new("--route", what)))?]
        }
        None => stack.routes.values().collect(),
    };
    let providers = |route: &Route| -> Vec<Provider> {
        match args.provider {
            Some(provider) => Some(provider)
                .filter(|provider| route.accept.contains(provider.media()))
                .into_iter()
                .collect(),
            None => route
                .accept
                .iter()
                .filter_map(|media| Provider::for_route(&route.path, media))
                .collect(),
        }
    };
    let all = stages.iter().flat_map(|stage| {
        routes.iter().flat_map(move |route| {
            providers(route).into_iter().map(move |provider| Case {
                stage,
                route,
                provider,
                gzip: false,
            })
        })
    });
    let cases: Vec<Case<'_>> = all.collect();
    if !cases.is_empty() {
        return Ok(cases);
    }
    let accepted: BTreeSet<&str> =
        routes.iter().flat_map(|route| route.accept.iter().map(String::as_str)).collect();
    let accepted = accepted.into_iter().collect::<Vec<_>>().join(", ");
    Err(match args.provider {
        Some(provider) => usage(
            "--provider",
            format!(
                "{} posts {}, and what is accepted here is {accepted}",
                provider.name(),
                provider.media()
            ),
            "name another provider, or add the type to the route's `accept`",
        ),
        None => usage(
            "test",
            format!("there is no sample of what is accepted here: {accepted}"),
            "post one of your own with curl",
        ),
    })
}

/// One more of each stage, gzip'd: the first that posts JSON, which is damaged where the gateway
/// doesn't inflate it. An emulator's doesn't.
fn with_gzip<'a>(cases: Vec<Case<'a>>, target: &Target) -> Vec<Case<'a>> {
    let inflates = match target {
        Target::Dev { .. } => true,
        Target::Deployed { aws, .. } => aws.endpoint_url.is_none(),
    };
    let mut done = BTreeSet::new();
    let mut all = vec![];
    for case in cases {
        let Case { stage, route, provider, .. } = case;
        all.push(case);
        let media = provider.media();
        if inflates
            && media == "application/json"
            && !route.templates.contains_key(media)
            && done.insert(stage)
        {
            all.push(Case { stage, route, provider, gzip: true });
        }
    }
    all
}

/// The `dev` of this directory, if it serves this stack and answers; the account otherwise.
async fn target(context: &Context, stack: &Stack, args: &cli::Test) -> Result<Target> {
    let running = if args.deployed { None } else { Running::read(Path::new(running::DIRECTORY))? };
    let running = match running.filter(|running| running.stack == stack.name) {
        Some(running) if answers(&running).await => Some(running),
        // It is there: whoever started it doesn't mean the deployed stages.
        Some(running) if running::is_held(Path::new(running::DIRECTORY)) => {
            return Err(running.silent("--deployed tests the deployed stages").into());
        }
        _ => None,
    };
    if let Some(running) = running {
        context.report.note(&format!("testing the `routeto dev` at {}", running.url));
        let aws = match &running.endpoint {
            Some(endpoint) => Aws::local(endpoint, &running.region).await?,
            None => context.connect(stack).await?,
        };
        return Ok(Target::Dev { running, aws: Box::new(aws) });
    }
    if !args.deployed {
        context.report.note("no `routeto dev` of this stack runs in this directory, so the deployed stages are tested");
    }
    let aws = context.connect(stack).await?;
    if !can_invoke(&aws) {
        return Err(Error::Usage(
            Failure::new("test", "this endpoint isn't AWS's, so the stages' URLs aren't known")
                .now("set ROUTETO_INVOKE_URL to where its stages answer ({api}, {stage})"),
        ));
    }
    let (account, api) =
        futures_util::future::try_join(aws.account(), apigateway::find(&aws, &stack.name))
            .await
            .map_err(|error| error.about("test"))?;
    let api = api.and_then(|api| api.id).ok_or_else(|| {
        Failure::new(
            format!("stack {}", stack.name),
            format!("it isn't deployed in {}, and no `routeto dev` of it runs here", aws.region),
        )
        .now(format!(
            "start `{}` in this directory, or deploy first: {}",
            args.stack.command("dev"),
            args.stack.command("deploy")
        ))
    })?;
    context
        .report
        .note(&format!("testing what is deployed in account {}, {}", account.id, account.region));
    Ok(Target::Deployed { aws: Box::new(aws), account, api })
}

/// Whether it is still there: a killed one leaves its file behind, and its port may be another's by
/// now.
async fn answers(running: &Running) -> bool {
    let Ok(http) = Http::new() else { return false };
    let key = [(inspector::KEY, running.key.0.as_str())];
    let asked =
        http.get(&format!("{}{}/api/overview", running.url, inspector::ROOT), &key, LONGEST).await;
    let overview: Option<Value> = asked
        .ok()
        .filter(|answer| answer.status == 200)
        .and_then(|answer| serde_json::from_slice(&answer.body).ok());
    overview.is_some_and(|overview| overview["stack"] == running.stack.as_str())
}

async fn tokens(
    target: &Target,
    stages: &[&str],
    args: &cli::Test,
) -> Result<BTreeMap<String, Secret>> {
    if args.token_stdin {
        let [stage] = stages else {
            return Err(Error::Usage(
                Failure::new("--token-stdin", "it is one stage's token")
                    .now("say which stage with --stage"),
            ));
        };
        let token = set_token::from_stdin(&format!(
            "{} --stage {stage} --token-stdin",
            args.stack.command("test")
        ))
        .await?;
        return Ok(BTreeMap::from([((*stage).to_owned(), token)]));
    }
    if let Target::Dev { .. } = target {
        let kept = running::Tokens::read(Path::new(running::DIRECTORY))?;
        return Ok(stages
            .iter()
            .filter_map(|stage| Some(((*stage).to_owned(), kept.get(stage)?)))
            .collect());
    }
    let deploy::Tokens { mut by_stage, any } = deploy::Tokens::from_environment(
        &stages.iter().map(|stage| (*stage).to_owned()).collect(),
    )?;
    if let ([stage], Some(token)) = (stages, any) {
        by_stage.entry((*stage).to_owned()).or_insert(token);
    }
    Ok(by_stage)
}

async fn deployed_urls(
    stack: &Stack,
    aws: &Aws,
    account: &Account,
    api: &str,
    stages: &[&str],
    args: &cli::Test,
) -> Result<BTreeMap<String, String>> {
    let mut urls = BTreeMap::new();
    for stage in stages {
        let found = apigateway::find_stage(aws, api, stage)
            .await
            .map_err(|error| error.about(format!("stage {stage}")))?;
        if found.is_none() {
            let what = format!("stack {} has no such stage in {} yet", stack.name, aws.region);
            return Err(Failure::new(format!("stage {stage}"), what)
                .now(format!("deploy it first: {}", args.stack.command("deploy")))
                .into());
        }
        urls.insert((*stage).to_owned(), invoke_url(account, api, stage));
    }
    Ok(urls)
}

async fn post<'a>(
    http: &Http,
    target: &Target,
    case: Case<'a>,
    urls: &BTreeMap<String, String>,
    tokens: &BTreeMap<String, Secret>,
    tell: Tell<'_>,
) -> Outcome<'a> {
    let sample = case.provider.sample();
    let (mut headers, mut body) = (sample.headers.clone(), Cow::Borrowed(&sample.body));
    if case.gzip {
        headers.push(("content-encoding", "gzip"));
        body = Cow::Owned(coding::gzip(&sample.body));
    }
    let token = tokens.get(case.stage).filter(|_| case.route.token == TokenRule::Query);
    let token = token.map_or(String::new(), |token| format!("token={}&", token.0));
    let url = format!(
        "{}{}?{token}app={APP}",
        urls.get(case.stage).map_or("", String::as_str),
        case.route.path
    );
    let posted = now();
    let start = Instant::now();
    let waited = until(THROTTLED, tell, || async {
        match http.post(&url, &headers, &body).await {
            Ok(answer) if matches!(answer.status, 429 | 503) && answer.retry_after.is_some() => {
                Ok(Try::Again("it is throttled".into()))
            }
            Ok(answer) => Ok(Try::Done(answer)),
            Err(error) => Err(format!("no answer: {error:#}")),
        }
    })
    .await;
    let millis = start.elapsed().as_millis();
    let answer = match waited {
        Ok(answer) => answer,
        Err(Waited::Failed(said)) => {
            return Outcome { case, millis, status: None, said: Err(said) };
        }
        Err(Waited::TooLong { seconds, .. }) => {
            return Outcome {
                case,
                millis,
                status: Some(503),
                said: Err(format!("after {seconds} s still throttled")),
            };
        }
    };
    let said = match id(answer.status, &answer.body) {
        Ok(id) => read_back(http, target, &case, &sample, id, posted, tell).await,
        Err(said) => Err(said),
    };
    Outcome { case, millis, status: Some(answer.status), said }
}

/// The record's id, if the answer is a success of ours.
fn id(status: u16, body: &[u8]) -> std::result::Result<String, String> {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let hint = match status {
        200 => "",
        401 => "; is the token the stage's?",
        403 => "; does the stage serve this route? deploy it",
        415 => "; the stage serves another `accept` than the file has: deploy it",
        _ => "; the function's log says why (a `dev` has it on its page and in its terminal)",
    };
    match (status, &said["result"], &said["id"]) {
        (200, Value::String(result), Value::String(id))
            if result == "success" && !id.is_empty() =>
        {
            Ok(id.clone())
        }
        _ => {
            let text: String = String::from_utf8_lossy(body).chars().take(300).collect();
            Err(format!("answered {status}: {text}{hint}"))
        }
    }
}

async fn read_back(
    http: &Http,
    target: &Target,
    case: &Case<'_>,
    sample: &Sample,
    id: String,
    posted: i64,
    tell: Tell<'_>,
) -> std::result::Result<Arrived, String> {
    let words = |error: CallError| {
        error.about(format!("answered 200 with id {id}, but not read back")).to_string()
    };
    let (place, stored) = match (target, &case.route.destination) {
        (Target::Deployed { aws, account, .. }, Destination::S3(s3)) => {
            let (bucket, prefix) = (
                s3.bucket.resolve(case.stage, &account.id, &account.region),
                s3.prefix.resolve(case.stage, &account.id, &account.region),
            );
            let last = case.route.path.rsplit('/').next().unwrap_or_default();
            let found = async {
                // A template of one's own need not hand `app` on.
                for app in [APP, last] {
                    let after = format!("{prefix}{app}_{:013}", posted - CLOCKS);
                    if let Some(key) = s3::find(
                        aws,
                        &bucket,
                        &format!("{prefix}{app}_"),
                        &after,
                        &format!("_{id}"),
                    )
                    .await?
                    {
                        return s3::get(aws, &bucket, &key).await.map(|stored| Some((key, stored)));
                    }
                }
                Ok(None)
            };
            match found.await {
                Ok(Some((key, stored))) => (format!("s3://{bucket}/{key}"), stored),
                Ok(None) => {
                    return Err(format!(
                        "answered 200 with id {id}, but no such object is below s3://{bucket}/{prefix}{APP}_"
                    ));
                }
                Err(error) if error.status == Some(403) => {
                    return Ok(Arrived {
                        id,
                        place: format!("s3://{bucket}/{prefix}"),
                        proof: UNREADABLE,
                    });
                }
                Err(error) => return Err(words(error)),
            }
        }
        (Target::Deployed { account, .. }, Destination::Sqs(sqs)) => {
            let queue = sqs.queue.resolve(case.stage, &account.id, &account.region);
            return Ok(Arrived { id, place: queue, proof: QUEUED });
        }
        (Target::Dev { running, aws }, _) => {
            let exchange = journalled(http, running, case, &id, tell).await?;
            match exchange.record {
                Some(Stored::S3 { bucket, key, .. }) => {
                    let place = format!("s3://{bucket}/{key}");
                    match s3::get(aws, &bucket, &key).await {
                        Ok(stored) => (place, stored),
                        // It writes to the account, as the one who is asking.
                        Err(error) if error.status == Some(403) => {
                            return Ok(Arrived { id, place, proof: UNREADABLE });
                        }
                        Err(error) => return Err(words(error)),
                    }
                }
                // `--destinations aws`
                Some(Stored::Sqs { queue, .. }) if running.endpoint.is_none() => {
                    return Ok(Arrived { id, place: queue, proof: QUEUED });
                }
                Some(Stored::Sqs { queue, message_id, .. }) => {
                    let url = format!(
                        "{}{}/api/requests/{}/record",
                        running.url,
                        inspector::ROOT,
                        exchange.id
                    );
                    let key = [(inspector::KEY, running.key.0.as_str())];
                    let answer = http
                        .get(&url, &key, LONGEST)
                        .await
                        .map_err(|error| format!("the message can't be read back: {error:#}"))?;
                    let place = format!("{queue} {message_id}");
                    match answer.status {
                        200 => (place, answer.body),
                        410 => {
                            return Ok(Arrived {
                                id,
                                place,
                                proof: "queued, and taken by a worker already",
                            });
                        }
                        status => {
                            return Err(format!(
                                "the message can't be read back: the inspector answers {status}"
                            ));
                        }
                    }
                }
                None => return Err(format!("answered 200 with id {id}, but nothing was stored")),
            }
        }
    };
    let media = sample.headers[0].1.split(';').next().unwrap_or_default();
    let proof = compare(case.route, media, &sample.body, &stored)
        .map_err(|what| format!("{place}: {what}"))?;
    Ok(Arrived { id, place, proof })
}

/// The exchange of a record's id from the journal of a `dev`, which is written just after the
/// answer.
async fn journalled(
    http: &Http,
    running: &Running,
    case: &Case<'_>,
    id: &str,
    tell: Tell<'_>,
) -> std::result::Result<Exchange, String> {
    #[derive(Deserialize)]
    struct List {
        requests: Vec<Summary>,
    }
    async fn read<T: for<'de> Deserialize<'de>>(
        http: &Http,
        url: &str,
        key: &str,
    ) -> std::result::Result<T, String> {
        let answer = http
            .get(url, &[(inspector::KEY, key)], LONGEST)
            .await
            .map_err(|error| format!("the journal can't be read: {error:#}"))?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| format!("the journal can't be read: {} ({error})", answer.status))
    }
    let root = format!("{}{}/api/requests", running.url, inspector::ROOT);
    let waited = until(JOURNAL, tell, || async {
        let List { requests } = read(http, &root, &running.key.0).await?;
        let likely = |summary: &&Summary| {
            summary.stage == case.stage && summary.route.as_ref() == Some(&case.route.path)
        };
        // The newest are last.
        for summary in requests.iter().rev().filter(likely).take(50) {
            let exchange: Exchange =
                read(http, &format!("{root}/{}", summary.id), &running.key.0).await?;
            if exchange.function.as_ref().is_some_and(|function| function.id == id) {
                return Ok(Try::Done(exchange));
            }
        }
        Ok(Try::Again("the journal lacks it".into()))
    })
    .await;
    waited.map_err(|waited| match waited {
        Waited::Failed(what) => what,
        Waited::TooLong { .. } => {
            format!("answered 200 with id {id}, but the journal of `routeto dev` lacks it")
        }
    })
}

/// Whether a record is what the route's format makes of these bytes.
fn compare(
    route: &Route,
    media: &str,
    sent: &[u8],
    stored: &[u8],
) -> std::result::Result<&'static str, String> {
    if route.templates.contains_key(media) {
        return Ok("stored, as the route's own template makes it");
    }
    let differs = |what: &str| {
        format!(
            "the record has {} bytes and is not {what} of the {} that were sent",
            stored.len(),
            sent.len()
        )
    };
    match &route.destination {
        Destination::S3(S3Destination { format: S3Format::Raw, .. })
        | Destination::Sqs(SqsDestination { format: SqsFormat::Body, .. }) => {
            if stored == sent {
                Ok("read back: the very bytes")
            } else {
                Err(differs("the copy"))
            }
        }
        Destination::S3(S3Destination { format: S3Format::Ndjson, .. }) => {
            let whole: Option<Value> = serde_json::from_slice(sent).ok();
            let wanted = whole.map(|whole| match whole {
                Value::Array(elements) => elements,
                other => vec![other],
            });
            let lines = stored.strip_suffix(b"\n").unwrap_or(stored).split(|byte| *byte == b'\n');
            let found: Option<Vec<Value>> =
                lines.map(|line| serde_json::from_slice(line).ok()).collect();
            if found.is_some() && found == wanted {
                Ok("read back: a line for each element")
            } else {
                Err(differs("a line for each element"))
            }
        }
        Destination::S3(S3Destination { format: S3Format::Envelope, .. })
        | Destination::Sqs(SqsDestination { format: SqsFormat::Envelope, .. }) => {
            let envelope: Value = serde_json::from_slice(stored).unwrap_or_default();
            let same = match (&envelope["body-raw"], &envelope["body-json"]) {
                (Value::String(raw), _) => {
                    BASE64_STANDARD.decode(raw).is_ok_and(|bytes| bytes == sent)
                }
                (_, Value::Null) => false,
                // Its exact text stands in the envelope; the white space around it need not.
                _ => memchr::memmem::find(stored, sent.trim_ascii()).is_some(),
            };
            if same {
                Ok("read back: the very bytes, in an envelope")
            } else {
                Err(differs("an envelope"))
            }
        }
    }
}

fn report(context: &Context, stack: &Stack, target: &Target, outcomes: &[Outcome<'_>]) {
    let report = &context.report;
    if report.json {
        let results: Vec<Value> = outcomes
            .iter()
            .map(|Outcome { case, millis, status, said }| {
                let mut object = json!({
                    "stage": case.stage, "route": case.route.path, "provider": case.provider.name(), "ok": said.is_ok(), "status": status, "millis": millis,
                });
                if case.gzip {
                    object["coding"] = json!("gzip");
                }
                match said {
                    Ok(Arrived { id, place, proof }) => {
                        object["id"] = json!(id);
                        object["record"] = json!(place);
                        object["proof"] = json!(proof);
                    }
                    Err(what) => object["problem"] = json!(what),
                }
                object
            })
            .collect();
        let name = match target {
            Target::Dev { .. } => "dev",
            Target::Deployed { .. } => "deployed",
        };
        report.result(
            &json!({"version": 1, "stack": stack.name, "target": name, "results": results})
                .to_string(),
        );
        return;
    }
    let rows: Vec<[String; 4]> = outcomes
        .iter()
        .map(|Outcome { case, millis, status, .. }| {
            let status = status.map_or("-".to_owned(), |status| status.to_string());
            [
                case.stage.to_owned(),
                case.route.path.clone(),
                case.name(),
                format!("{status} in {millis} ms"),
            ]
        })
        .collect();
    let widths: Vec<usize> = (0..4)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let lines: Vec<String> = outcomes
        .iter()
        .zip(&rows)
        .map(|(outcome, row)| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            let (style, word, rest) = match &outcome.said {
                Ok(Arrived { place, proof, .. }) => (
                    Style::Good,
                    "ok    ",
                    format!("{proof}\n        {}", report.paint(Style::Dim, place)),
                ),
                Err(what) => (Style::Bad, "failed", what.clone()),
            };
            format!("{}  {}  {rest}", report.paint(style, word), cells.join("  "))
        })
        .collect();
    report.result(&lines.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Pattern;

    fn route(destination: Destination) -> Route {
        Route {
            path: "/input".into(),
            variable: "route_input".into(),
            destination,
            token: TokenRule::Query,
            accept: BTreeSet::from(["application/json".to_owned()]),
            templates: BTreeMap::new(),
        }
    }

    fn s3(format: S3Format) -> Route {
        let (bucket, prefix) = (Pattern("b".into()), Pattern(String::new()));
        route(Destination::S3(S3Destination {
            bucket,
            existing: false,
            prefix,
            format,
            allow: vec![],
            expire_after: None,
        }))
    }

    fn sqs(format: SqsFormat) -> Route {
        route(Destination::Sqs(SqsDestination {
            queue: Pattern("q".into()),
            existing: false,
            dead_letter: None,
            format,
        }))
    }

    #[test]
    fn a_record_is_held_against_what_was_sent_in_the_form_that_the_route_gives_it() {
        let json = b"[{\"n\":1.50},\r\n{\"n\":2}]\r\n";
        let compare =
            |route: &Route, stored: &[u8]| super::compare(route, "application/json", json, stored);
        assert_eq!(compare(&s3(S3Format::Raw), json), Ok("read back: the very bytes"));
        assert_eq!(
            compare(&s3(S3Format::Raw), b"[{\"n\":1.5}]"),
            Err("the record has 11 bytes and is not the copy of the 24 that were sent".to_owned())
        );
        assert_eq!(
            compare(&s3(S3Format::Ndjson), b"{\"n\":1.50}\n{\"n\":2}\n"),
            Ok("read back: a line for each element")
        );
        assert!(compare(&s3(S3Format::Ndjson), b"{\"n\":1.50}\n").is_err());
        assert!(compare(&s3(S3Format::Ndjson), json).is_err());
        let whole = b"{\"body-json\":[{\"n\":1.50},\r\n{\"n\":2}],\"path\":\"/input\"}";
        for envelope in [s3(S3Format::Envelope), sqs(SqsFormat::Envelope)] {
            assert_eq!(compare(&envelope, whole), Ok("read back: the very bytes, in an envelope"));
            assert!(compare(&envelope, b"{\"body-json\":[{\"n\":1.5},{\"n\":2}]}").is_err());
            assert!(compare(&envelope, b"{\"body-raw\":\"AAAA\"}").is_err());
            assert!(compare(&envelope, b"{}").is_err());
            let raw = format!("{{\"body-raw\":\"{}\"}}", BASE64_STANDARD.encode(json));
            assert_eq!(
                compare(&envelope, raw.as_bytes()),
                Ok("read back: the very bytes, in an envelope")
            );
        }
        assert_eq!(compare(&sqs(SqsFormat::Body), json), Ok("read back: the very bytes"));
    }

    #[test]
    fn only_a_success_with_an_id_counts() {
        assert_eq!(id(200, br#"{"result":"success","id":"x"}"#), Ok("x".to_owned()));
        for wrong in
            [&br#"{"result":"success","id":""}"#[..], br#"{"result":"probe"}"#, b"", b"<html>"]
        {
            assert!(id(200, wrong).is_err());
        }
        let said = id(401, br#"{"result":"fail","reason":"wrong token"}"#);
        assert_eq!(said, Err("answered 401: {\"result\":\"fail\",\"reason\":\"wrong token\"}; is the token the stage's?".to_owned()));
    }
}
