//! The probe that ends a deploy: one POST per route and content type of a stage, and then one with
//! a gzip'd body, with a header by which nothing is stored. The answer has the SHA-256 of the body
//! as the function got it, so byte-exactness is proven on the account itself.

use crate::{
    aws::{
        http::{Answer, Http, WrongProxy},
        wait::{Tell, Try, Waited, speed, until},
    },
    coding,
    desired::{self, BuiltIn},
    error::Failure,
    observed::{Carried, Secret, ServedRoute},
    resource::hex,
    spec::{Route, Stack, TokenRule},
    token,
};
use futures_util::future::join_all;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const HEADER: &str = "x-routeto-probe";
/// After a stage was made or moved AWS may answer 403 or 500 for up to a minute and more.
const LIMIT: Duration = Duration::from_secs(90);

/// How long a stage whose web ACL may keep us out is heard before that is believed: one that just
/// moved is Forbidden for a moment, too.
const WEB_ACL: Duration = Duration::from_secs(20);

/// Every character class that gateways are known to change, in JSON: numbers, escapes, scripts,
/// white space.
const JSON_SAMPLE: &str = "{ \"probe\" : [1.50, 1e5, -0, 12345678901234567890],\r\n\t\"text\": \"ü € 😀 \\u00e9 \\/ ' \\\" <&>\" }\n";

/// A route that can be probed, as one content type.
#[derive(Clone, Copy)]
struct Probe<'a> {
    route: &'a Route,
    media: &'a str,
    /// The template is the user's own: it may not hand on headers, so the answer need not tell the
    /// body's digest.
    custom: bool,
    /// The gateway decodes the body as UTF-8 before the template sees it.
    text: bool,
    /// The body is sent gzip'd, and arrives inflated.
    gzip: bool,
}

fn probes(stack: &Stack) -> Vec<Probe<'_>> {
    let binary = desired::binary_media_types(stack);
    let all = stack.routes.values().flat_map(|route| {
        let binary = &binary;
        route.accept.iter().map(move |media| Probe {
            route,
            media,
            custom: route.templates.contains_key(media),
            text: !binary.contains(media),
            gzip: false,
        })
    });
    // A template of the user's own may not hand on the header, and with no token to be wrong the
    // probe would be stored.
    all.filter(|probe| !(probe.custom && probe.route.token == TokenRule::None)).collect()
}

/// Of a stage, since all its routes have one gateway before them: the first that gets text, which
/// is damaged where it isn't inflated.
fn gzipped<'a>(probes: &[Probe<'a>]) -> Option<Probe<'a>> {
    let probe = probes.iter().find(|probe| probe.text && !probe.custom)?;
    Some(Probe { gzip: true, ..*probe })
}

/// Whether a gateway inflates the gzip'd probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inflates {
    Yes,
    /// It isn't AWS's: emulators hand bodies on as they come.
    Unknown,
    /// Nothing so small, by the API's own setting (bytes).
    Larger(i32),
}

/// `custom`: the endpoint isn't AWS's. A body that is smaller than the API's minimum compression
/// size isn't inflated either. Source: API Gateway developer guide, "Enable payload compression for
/// an API in API Gateway".
pub fn inflates(custom: bool, carried: Option<&Carried>) -> Inflates {
    let least = carried.and_then(|carried| carried.minimum_compression_size).unwrap_or_default();
    match usize::try_from(least) {
        _ if custom => Inflates::Unknown,
        Ok(bytes) if bytes > coding::gzip(JSON_SAMPLE.as_bytes()).len() => Inflates::Larger(least),
        _ => Inflates::Yes,
    }
}

/// A route that didn't answer as it ought to, for the whole of the time.
#[derive(Debug)]
pub struct Unproven {
    pub failure: Failure,
    /// It did answer, and wrongly, for most of the time; otherwise too little was heard of it, or
    /// it was throttled.
    pub wrong: bool,
}

/// A stage whose routes answer as they ought to.
#[derive(Debug)]
pub struct Probed {
    /// False where the API keeps us out, and may.
    pub reached: bool,
    /// What is wrong with gzip'd bodies: API Gateway's affair, so no version of the stage is
    /// better.
    pub coded: Option<String>,
}

/// What a probe came to that wasn't wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Through,
    /// The API keeps us out, and may.
    KeptOut,
    /// Other bytes than those that were sent gzip'd.
    Coded,
}

/// What was heard of a route that doesn't answer as it ought to. Its silence, a throttle's or the
/// network's, says nothing about it either way.
#[derive(Debug, Default)]
struct Heard {
    /// When the first and the last wrong answer came.
    wrong: Option<(Instant, Instant)>,
}

impl Heard {
    fn note(&mut self, verdict: &Verdict) {
        if matches!(verdict, Verdict::Wrong(_)) {
            let now = Instant::now();
            self.wrong = Some((self.wrong.map_or(now, |(first, _)| first), now));
        }
    }

    /// One wrong answer in a long silence is no proof: a stage that just moved gives some.
    fn is_wrong(&self) -> bool {
        self.wrong.is_some_and(|(first, last)| last.duration_since(first) * speed() >= LIMIT / 2)
    }
}

/// Whether an API's own settings, or a stage's, may keep a probe out: the user's, and no fault of
/// what was deployed. Where they may, how long nothing but refusals must be heard.
pub fn may_keep_out(carried: &Carried, web_acl: bool) -> Option<Duration> {
    let api = carried.policy.is_some() || carried.disable_execute_api_endpoint;
    if api { Some(Duration::ZERO) } else { web_acl.then_some(WEB_ACL) }
}

/// API Gateway's refusal by a resource policy (AccessDeniedException), of a disabled endpoint or by
/// the stage's web ACL (ForbiddenException). A stage that is new is Forbidden, too, for a moment.
/// Source: API Gateway developer guide, "Gateway response types", ACCESS_DENIED and WAF_FILTERED.
fn keeps_out(answer: &Answer) -> bool {
    answer.status == 403
        && answer
            .error_type
            .as_deref()
            .is_some_and(|kind| kind.starts_with("AccessDenied") || kind.starts_with("Forbidden"))
}

/// Probes every route of a stage. `closed`: the API may keep us out. Where the token
/// isn't known a wrong one is sent: its 401 has the digest as well.
pub async fn stage(
    stack: &Stack,
    name: &str,
    url: &str,
    token: Option<&Secret>,
    closed: Option<Duration>,
    inflates: Inflates,
    tell: Tell<'_>,
) -> Result<Probed, Vec<Unproven>> {
    let failed = |what: String| {
        vec![Unproven {
            failure: Failure::new(format!("probe of stage {name}"), what),
            wrong: false,
        }]
    };
    let http = Http::new().map_err(|error| failed(format!("{error:#}")))?;
    let wrong = token::random().map_err(failed)?;
    let probes = probes(stack);
    let probe = async |probe: &Probe<'_>| {
        // The right token goes only where the answer proves that nothing is stored.
        let right = token.filter(|_| !probe.custom);
        one(&http, probe, url, right.unwrap_or(&wrong), right.is_none(), closed, tell).await
    };
    // A few at a time: the stage's throttle may be small. Those that fail end it, so that it takes
    // one limit, and what the others took before.
    for some in probes.chunks(4) {
        let answers = join_all(some.iter().map(&probe)).await;
        let (reached, failures): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        if !failures.is_empty() {
            let on_stage = |unproven: Unproven| {
                let place = format!("{} on {name}", unproven.failure.place);
                Unproven { failure: Failure { place, ..unproven.failure }, ..unproven }
            };
            return Err(failures.into_iter().filter_map(Result::err).map(on_stage).collect());
        }
        if reached.into_iter().any(|reached| matches!(reached, Ok(Came::KeptOut))) {
            return Ok(Probed { reached: false, coded: None });
        }
    }
    // After them: that this route hands on plain bodies as they were is known by then.
    let coded = match gzipped(&probes).filter(|_| inflates == Inflates::Yes) {
        Some(coded) => match probe(&coded).await {
            Ok(Came::Through | Came::KeptOut) => None,
            Ok(Came::Coded) => Some(format!(
                "stage {name}, route {}: gzip'd bodies aren't inflated on their way, so a provider that sends them would be stored damaged",
                coded.route.path
            )),
            Err(unproven) => {
                Some(format!("stage {name}: {}: {}", unproven.failure.place, unproven.failure.what))
            }
        },
        None => None,
    };
    Ok(Probed { reached: true, coded })
}

/// `refused`: the token is a wrong one, so a route that asks for one has to answer 401.
#[allow(clippy::too_many_arguments)] // told apart by their types
async fn one(
    http: &Http,
    probe: &Probe<'_>,
    url: &str,
    token: &Secret,
    refused: bool,
    closed: Option<Duration>,
    tell: Tell<'_>,
) -> Result<Came, Unproven> {
    let body = sample(probe.text);
    let digest = hex(&Sha256::digest(&body));
    let body = if probe.gzip { coding::gzip(&body) } else { body };
    let path = &probe.route.path;
    let full = format!("{url}{path}?token={}", token.0);
    let refused = refused && probe.route.token == TokenRule::Query;
    let begun = Instant::now();
    let heard = Mutex::new(Heard::default());
    let heard = || heard.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = until(LIMIT, tell, || async {
        let mut headers =
            vec![("content-type", probe.media), (HEADER, "1"), ("accept", "application/json")];
        headers.extend(probe.gzip.then_some(("content-encoding", "gzip")));
        let verdict = match http.post(&full, &headers, &body).await {
            Ok(answer)
                if keeps_out(&answer)
                    && closed.is_some_and(|long| begun.elapsed() * speed() >= long) =>
            {
                return Ok(Try::Done(Came::KeptOut));
            }
            Ok(answer) => judge(&answer, probe, refused, &digest),
            Err(error) if error.is::<WrongProxy>() => return Err(format!("{error:#}")),
            Err(error) => Verdict::Unheard(format!("{path} gives no answer: {error:#}")),
        };
        heard().note(&verdict);
        Ok(match verdict {
            Verdict::Right => Try::Done(Came::Through),
            Verdict::Coded => Try::Done(Came::Coded),
            Verdict::Wrong(reason) | Verdict::Unheard(reason) => Try::Again(reason),
        })
    })
    .await;
    let coded = if probe.gzip { ", gzip'd" } else { "" };
    let place = format!("probe of {path} as {}{coded}", probe.media);
    match waited {
        Ok(came) => Ok(came),
        Err(Waited::Failed(why)) => {
            let failure = Failure::new(place, why)
                .now("everything is deployed; set that right, then run the same command again");
            Err(Unproven { failure, wrong: false })
        }
        Err(Waited::TooLong { reason, seconds }) => {
            let failure = Failure::new(place, format!("after {seconds} s still: {reason}"))
                .now("everything is deployed; look at the function's log, then run the same command again");
            Err(Unproven { failure, wrong: heard().is_wrong() })
        }
    }
}

#[derive(Debug)]
enum Verdict {
    Right,
    /// What was sent gzip'd didn't arrive inflated.
    Coded,
    Wrong(String),
    /// Nothing that the new state could be blamed for.
    Unheard(String),
}

/// `digest`: of the body as the function has to get it.
fn judge(answer: &Answer, probe: &Probe<'_>, refused: bool, digest: &str) -> Verdict {
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = value["sha256"].as_str();
    let (custom, path) = (probe.custom, &probe.route.path);
    match (answer.status, said) {
        (200, Some(_)) if refused => Verdict::Wrong(format!("{path} takes a wrong token")),
        (200 | 401, Some(said)) if said == digest => Verdict::Right,
        (200 | 401, Some(_)) if probe.gzip => Verdict::Coded,
        (200 | 401, Some(_)) => {
            Verdict::Wrong(format!("{path} hands on other bytes than were sent"))
        }
        (401, None) if custom => Verdict::Right,
        (429 | 503, _) if answer.retry_after.is_some() => {
            Verdict::Unheard(format!("{path} is throttled"))
        }
        (status, _) => Verdict::Wrong(format!("{path} answers {status}")),
    }
}

/// UTF-8, and JSON, where text is expected; every byte value elsewhere.
fn sample(text: bool) -> Vec<u8> {
    if text {
        JSON_SAMPLE.as_bytes().to_vec()
    } else {
        (0..=255_u8).chain((0..=255).rev()).collect()
    }
}

/// A route that shows whether a token is live: it asks for one, and a probe with a right one stores
/// nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Showing {
    path: String,
    media: String,
    text: bool,
}

impl Showing {
    /// Of the routes that a stage serves. A template of the user's own may not hand on the probe's
    /// header.
    pub fn of_served(routes: &BTreeMap<String, ServedRoute>) -> Option<Showing> {
        let asking = routes.iter().filter(|(_, route)| route.asks_for_token);
        let all = asking.flat_map(|(path, route)| {
            route.templates.iter().map(move |(media, template)| (path, media, template))
        });
        let mut shown = all.filter_map(|(path, media, template)| {
            let text = desired::built_in(template)? == BuiltIn::Json;
            Some(Showing { path: path.clone(), media: media.clone(), text })
        });
        shown.next()
    }

    /// Of the stack file's routes, where it can't be told what the stage serves: one that it has a
    /// destination for.
    pub fn of_stack(stack: &Stack, variables: &BTreeMap<String, String>) -> Option<Showing> {
        let has_destination = |probe: &Probe<'_>| variables.contains_key(&probe.route.variable);
        probes(stack)
            .into_iter()
            .find(|probe| {
                !probe.custom && probe.route.token == TokenRule::Query && has_destination(probe)
            })
            .map(|probe| Showing {
                path: probe.route.path.clone(),
                media: probe.media.to_owned(),
                text: probe.text,
            })
    }

    /// Waits until the stage takes a new token; `None` where the API keeps us out.
    pub async fn live(
        &self,
        url: &str,
        token: &Secret,
        closed: Option<Duration>,
        tell: Tell<'_>,
    ) -> Option<Result<(), Failure>> {
        let http = match Http::new() {
            Ok(http) => http,
            Err(error) => return Some(Err(Failure::new("probe", format!("{error:#}")))),
        };
        let (path, body) = (&self.path, sample(self.text));
        let full = format!("{url}{path}?token={}", token.0);
        let begun = Instant::now();
        let limit = Duration::from_secs(60);
        let waited = until(limit, tell, || async {
            let headers = [
                ("content-type", self.media.as_str()),
                (HEADER, "1"),
                ("accept", "application/json"),
            ];
            Ok(match http.post(&full, &headers, &body).await {
                Ok(answer) if answer.status == 200 => Try::Done(true),
                Ok(answer)
                    if keeps_out(&answer)
                        && closed.is_some_and(|long| begun.elapsed() * speed() >= long) =>
                {
                    Try::Done(false)
                }
                Ok(answer) => Try::Again(format!("{path} answers {}", answer.status)),
                Err(error) if error.is::<WrongProxy>() => return Err(format!("{error:#}")),
                Err(error) => Try::Again(format!("{path} gives no answer: {error:#}")),
            })
        })
        .await;
        Some(match waited {
            Ok(false) => return None,
            Ok(true) => Ok(()),
            Err(Waited::Failed(why)) => {
                Err(Failure::new("the new token", format!("it is set, but can't be tried: {why}")))
            }
            Err(Waited::TooLong { reason, seconds }) => Err(Failure::new(
                "the new token",
                format!("it is set, but after {seconds} s {reason}"),
            )
            .now("try a POST with it in a minute")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{self, Source, World};
    use std::path::Path;

    fn stack(routes: &str) -> Stack {
        let yaml = format!("stack: hooks\nroutes:\n{routes}stages: {{ prod: {{}} }}\n");
        let read = |_: &Path| {
            Ok(b"{\"token\": \"t\", \"validToken\": \"$stageVariables.validToken\"}".to_vec())
        };
        let world = World { env: &|_| None, read: &read, region: None };
        spec::load(&Source { path: Path::new("hooks.yaml"), bytes: yaml.as_bytes() }, &world)
            .expect("a good stack")
            .stack
    }

    #[test]
    fn one_probe_of_a_stage_is_gzipped_and_only_the_inflated_bodys_digest_is_right() {
        let stack = stack(
            "  /a: { accept: [text/plain], s3: { bucket: hooks } }\n  /b: { s3: { bucket: hooks } }\n  /c: { s3: { bucket: hooks } }\n\
             \x20 /0: { templates: { application/json: own.vtl }, s3: { bucket: hooks } }\n",
        );
        let probes = probes(&stack);
        assert!(probes.len() == 4 && probes.iter().all(|probe| !probe.gzip));
        let probe = gzipped(&probes).expect("a route that takes JSON, by the built-in template");
        assert_eq!(
            (probe.route.path.as_str(), probe.media, probe.gzip),
            ("/b", "application/json", true)
        );
        let digest = hex(&Sha256::digest(sample(probe.text)));
        let answer = |status: u16, digest: &str| Answer {
            status,
            retry_after: None,
            error_type: None,
            body: format!("{{\"sha256\":\"{digest}\"}}").into_bytes(),
        };
        let wrong = |answer: Answer| match judge(&answer, &probe, false, &digest) {
            Verdict::Wrong(why) => why,
            Verdict::Right => "right".into(),
            Verdict::Coded => "coded".into(),
            Verdict::Unheard(why) => panic!("{why}"),
        };
        assert_eq!([200, 401].map(|status| wrong(answer(status, &digest))), ["right", "right"]);
        // What a gateway hands on that doesn't inflate: the coded bytes, read as UTF-8.
        let coded = coding::gzip(&sample(probe.text));
        let lossy = String::from_utf8_lossy(&coded).into_owned();
        for damaged in [&coded[..], lossy.as_bytes()] {
            assert_eq!(wrong(answer(200, &hex(&Sha256::digest(damaged)))), "coded");
        }
        assert_eq!(wrong(answer(415, "")), "/b answers 415");
    }

    /// A stage that takes every token and inflates: what the bodies were, and how they were coded.
    #[tokio::test]
    async fn the_gzipped_probe_is_sent_where_the_gateway_inflates_and_proves_the_inflated_body() {
        let seen = std::sync::Arc::new(Mutex::new(vec![]));
        let noted = seen.clone();
        let answer = move |headers: http::HeaderMap, body: bytes::Bytes| async move {
            let coding = headers
                .get("content-encoding")
                .map(|value| value.to_str().expect("text").to_owned());
            let coded: Vec<_> = coding
                .iter()
                .map(|coding| ("Content-Encoding".to_owned(), coding.clone()))
                .collect();
            let body = coding::inflate(&coded, &body).expect("gzip");
            noted.lock().expect("no panic").push((coding, body.to_vec()));
            format!("{{\"sha256\":\"{}\"}}", hex(&Sha256::digest(&body)))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let stack = stack("  /a: { s3: { bucket: hooks } }\n  /b: { s3: { bucket: hooks } }\n");
        let token = Secret("Token_0123456789-abcdef".into());
        for (inflates, times) in
            [(Inflates::Yes, 1), (Inflates::Unknown, 0), (Inflates::Larger(1000), 0)]
        {
            let probed = stage(&stack, "prod", &url, Some(&token), None, inflates, &|_| {}).await;
            let probed = probed.expect("right answers");
            assert_eq!((probed.reached, probed.coded), (true, None), "{inflates:?}");
            let bodies = std::mem::take(&mut *seen.lock().expect("no panic"));
            assert!(bodies.iter().all(|(_, body)| body == JSON_SAMPLE.as_bytes()), "{inflates:?}");
            let codings: Vec<&str> =
                bodies.iter().filter_map(|(coding, _)| coding.as_deref()).collect();
            assert_eq!((codings, bodies.len()), (vec!["gzip"; times], 2 + times), "{inflates:?}");
        }
    }

    /// It is API Gateway's affair: no version of the stage would do better.
    #[tokio::test]
    async fn a_gateway_that_does_not_inflate_is_a_warning_and_no_failure_of_the_stage() {
        let answer = |body: bytes::Bytes| async move {
            format!("{{\"sha256\":\"{}\"}}", hex(&Sha256::digest(&body)))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(
            async move { axum::serve(listener, axum::Router::new().fallback(answer)).await },
        );
        let stack = stack("  /a: { s3: { bucket: hooks } }\n  /b: { s3: { bucket: hooks } }\n");
        let token = Secret("Token_0123456789-abcdef".into());
        let probed = stage(&stack, "prod", &url, Some(&token), None, Inflates::Yes, &|_| {})
            .await
            .expect("no failure");
        let words = "stage prod, route /a: gzip'd bodies aren't inflated on their way, so a provider that sends them would be stored damaged";
        assert_eq!((probed.reached, probed.coded.as_deref()), (true, Some(words)));
    }

    #[test]
    fn a_stage_without_a_route_that_gets_text_has_no_gzipped_probe() {
        let stack = stack("  /a: { accept: [text/plain], s3: { bucket: hooks } }\n");
        assert!(gzipped(&probes(&stack)).is_none());
    }

    #[test]
    fn gzip_is_not_probed_where_the_gateway_need_not_inflate_it() {
        let carried = |size| Carried { minimum_compression_size: size, ..Carried::default() };
        assert_eq!(inflates(false, None), Inflates::Yes);
        assert_eq!(inflates(true, None), Inflates::Unknown);
        assert_eq!(inflates(true, Some(&carried(Some(1000)))), Inflates::Unknown);
        assert_eq!(
            [None, Some(0), Some(10)].map(|size| inflates(false, Some(&carried(size)))),
            [Inflates::Yes; 3]
        );
        assert_eq!(inflates(false, Some(&carried(Some(1000)))), Inflates::Larger(1000));
    }

    #[test]
    fn wrong_answers_count_where_they_came_for_half_of_the_time_whatever_else_was_heard() {
        let Some(before) = Instant::now().checked_sub(Duration::from_secs(50)) else { return };
        let wrong = || Verdict::Wrong("500".into());
        let mut heard = Heard::default();
        heard.note(&Verdict::Unheard("no answer".into()));
        assert!(!heard.is_wrong());
        heard.note(&wrong());
        assert!(!heard.is_wrong(), "one answer after a long silence");
        let mut heard = Heard { wrong: Some((before, before)) };
        heard.note(&Verdict::Unheard("no answer".into()));
        assert!(!heard.is_wrong(), "one answer before a long silence");
        heard.note(&wrong());
        heard.note(&Verdict::Unheard("throttled".into()));
        assert!(heard.is_wrong());
    }

    #[test]
    fn a_token_is_shown_by_a_route_that_asks_for_one_and_stores_no_probe() {
        let binary = format!(
            "#set($destination = $stageVariables.destination_b)\n{}",
            desired::BINARY_TEMPLATE
        );
        let own = "#set($destination = $stageVariables.destination_a)\n{}".to_owned();
        let route = |path: &str, asks_for_token, templates: &[(&str, &String)]| {
            let templates = templates
                .iter()
                .map(|(media, text)| ((*media).to_owned(), (*text).clone()))
                .collect();
            (path.to_owned(), ServedRoute { asks_for_token, templates })
        };
        let routes: BTreeMap<String, ServedRoute> = [
            route("/a", true, &[("application/json", &own)]),
            route("/b", false, &[("text/plain", &binary)]),
            route("/c", true, &[("application/json", &own), ("text/csv", &binary)]),
        ]
        .into();
        let wanted = Showing { path: "/c".into(), media: "text/csv".into(), text: false };
        assert_eq!(Showing::of_served(&routes), Some(wanted));
        let none = routes.into_iter().filter(|(path, _)| path != "/c").collect();
        assert_eq!(Showing::of_served(&none), None);
    }
}
