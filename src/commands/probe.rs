//! The probe that ends a deploy: one POST per route and content type of a stage, with a header by which nothing is stored. The answer
//! has the SHA-256 of the body as the function got it, so byte-exactness is proven on the account itself.

use crate::{
    aws::{
        http::{Answer, Http},
        wait::{Tell, Try, Waited, speed, until},
    },
    desired,
    error::Failure,
    observed::{Carried, Secret},
    resource::hex,
    spec::{Route, Stack, TokenRule},
    token,
};
use futures_util::future::join_all;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const HEADER: &str = "x-routeto-probe";
/// After a stage was made or moved AWS may answer 403 or 500 for up to a minute and more.
const LIMIT: Duration = Duration::from_secs(90);

/// How long a stage whose web ACL may keep us out is heard before that is believed: one that just moved is Forbidden for a moment, too.
const WEB_ACL: Duration = Duration::from_secs(20);

/// Every character class that gateways are known to change, in JSON: numbers, escapes, scripts, white space.
const JSON_SAMPLE: &str = "{ \"probe\" : [1.50, 1e5, -0, 12345678901234567890],\r\n\t\"text\": \"ü € 😀 \\u00e9 \\/ ' \\\" <&>\" }\n";

/// A route that can be probed, as one content type.
struct Probe<'a> {
    route: &'a Route,
    media: &'a str,
    /// The template is the user's own: it may not hand on headers, so the answer need not tell the body's digest.
    custom: bool,
    /// The gateway decodes the body as UTF-8 before the template sees it.
    text: bool,
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
        })
    });
    // A template of the user's own may not hand on the header, and with no token to be wrong the probe would be stored.
    all.filter(|probe| !(probe.custom && probe.route.token == TokenRule::None)).collect()
}

/// A route that didn't answer as it ought to, for the whole of the time.
#[derive(Debug)]
pub struct Unproven {
    pub failure: Failure,
    /// It did answer, and wrongly, for most of the time; otherwise too little was heard of it, or it was throttled.
    pub wrong: bool,
}

/// What was heard of a route that doesn't answer as it ought to. Its silence, a throttle's or the network's, says nothing about it either way.
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

/// Whether an API's own settings, or a stage's, may keep a probe out: the user's, and no fault of what was deployed. Where they may, how long nothing
/// but refusals must be heard.
pub fn may_keep_out(carried: &Carried, web_acl: bool) -> Option<Duration> {
    let api = carried.policy.is_some() || carried.disable_execute_api_endpoint;
    if api { Some(Duration::ZERO) } else { web_acl.then_some(WEB_ACL) }
}

/// API Gateway's refusal by a resource policy (AccessDeniedException), of a disabled endpoint or by the stage's web ACL (ForbiddenException). A stage
/// that is new is Forbidden, too, for a moment. Source: API Gateway developer guide, "Gateway response types", ACCESS_DENIED and WAF_FILTERED.
fn keeps_out(answer: &Answer) -> bool {
    answer.status == 403
        && answer.error_type.as_deref().is_some_and(|kind| kind.starts_with("AccessDenied") || kind.starts_with("Forbidden"))
}

/// Probes every route of a stage: all right, or none could be reached (`false`) where `closed` says that the API may keep us out. Where the token
/// isn't known a wrong one is sent: its 401 has the digest as well.
pub async fn stage(
    stack: &Stack,
    name: &str,
    url: &str,
    token: Option<&Secret>,
    closed: Option<Duration>,
    tell: Tell<'_>,
) -> Result<bool, Vec<Unproven>> {
    let failed = |what: String| vec![Unproven { failure: Failure::new(format!("probe of stage {name}"), what), wrong: false }];
    let http = Http::new().map_err(|error| failed(format!("{error:#}")))?;
    let wrong = token::random().map_err(failed)?;
    let probes = probes(stack);
    // A few at a time: the stage's throttle may be small. Those that fail end it, so that it takes one limit, and what the others took before.
    for some in probes.chunks(4) {
        let answers = join_all(some.iter().map(|probe| async {
            // The right token goes only where the answer proves that nothing is stored.
            let right = token.filter(|_| !probe.custom);
            one(&http, probe, url, right.unwrap_or(&wrong), right.is_none(), closed, tell).await
        }))
        .await;
        let (reached, failures): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        if !failures.is_empty() {
            let on_stage = |unproven: Unproven| {
                let place = format!("{} on {name}", unproven.failure.place);
                Unproven { failure: Failure { place, ..unproven.failure }, ..unproven }
            };
            return Err(failures.into_iter().filter_map(Result::err).map(on_stage).collect());
        }
        if reached.into_iter().any(|reached| matches!(reached, Ok(false))) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `refused`: the token is a wrong one, so a route that asks for one has to answer 401. False where the API keeps us out, and may.
#[allow(clippy::too_many_arguments)] // told apart by their types
async fn one(
    http: &Http,
    probe: &Probe<'_>,
    url: &str,
    token: &Secret,
    refused: bool,
    closed: Option<Duration>,
    tell: Tell<'_>,
) -> Result<bool, Unproven> {
    let body = probe.sample();
    let digest = hex(&Sha256::digest(&body));
    let path = &probe.route.path;
    let full = format!("{url}{path}?token={}", token.0);
    let refused = refused && probe.route.token == TokenRule::Query;
    let begun = Instant::now();
    let heard = Mutex::new(Heard::default());
    let heard = || heard.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = until(LIMIT, tell, || async {
        let headers = [("content-type", probe.media), (HEADER, "1"), ("accept", "application/json")];
        let verdict = match http.post(&full, &headers, &body).await {
            Ok(answer) if keeps_out(&answer) && closed.is_some_and(|long| begun.elapsed() * speed() >= long) => {
                return Ok(Try::Done(false));
            }
            Ok(answer) => judge(&answer, probe.custom, refused, &digest, path),
            Err(error) => Verdict::Unheard(format!("{path} gives no answer: {error:#}")),
        };
        heard().note(&verdict);
        Ok::<_, ()>(match verdict {
            Verdict::Right => Try::Done(true),
            Verdict::Wrong(reason) | Verdict::Unheard(reason) => Try::Again(reason),
        })
    })
    .await;
    match waited {
        Ok(reached) => Ok(reached),
        Err(Waited::Failed(())) => Ok(true),
        Err(Waited::TooLong { reason, seconds }) => {
            let failure = Failure::new(format!("probe of {path} as {}", probe.media), format!("after {seconds} s still: {reason}"))
                .now("everything is deployed; look at the function's log, then run the same command again");
            Err(Unproven { failure, wrong: heard().is_wrong() })
        }
    }
}

enum Verdict {
    Right,
    Wrong(String),
    /// Nothing that the new state could be blamed for.
    Unheard(String),
}

fn judge(answer: &Answer, custom: bool, refused: bool, digest: &str, path: &str) -> Verdict {
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = value["sha256"].as_str();
    match (answer.status, said) {
        (200, Some(_)) if refused => Verdict::Wrong(format!("{path} takes a wrong token")),
        (200 | 401, Some(said)) if said == digest => Verdict::Right,
        (200 | 401, Some(_)) => Verdict::Wrong(format!("{path} hands on other bytes than were sent")),
        (401, None) if custom => Verdict::Right,
        (429 | 503, _) if answer.retry_after.is_some() => Verdict::Unheard(format!("{path} is throttled")),
        (status, _) => Verdict::Wrong(format!("{path} answers {status}")),
    }
}

impl Probe<'_> {
    /// UTF-8, and JSON, where text is expected; every byte value elsewhere.
    fn sample(&self) -> Vec<u8> {
        if self.text { JSON_SAMPLE.as_bytes().to_vec() } else { (0..=255_u8).chain((0..=255).rev()).collect() }
    }
}

/// Waits until a stage takes a new token, at one of its routes; `None` where no route can show it, or the API keeps us out.
pub async fn live(stack: &Stack, url: &str, token: &Secret, closed: Option<Duration>, tell: Tell<'_>) -> Option<Result<(), Failure>> {
    let probe = probes(stack).into_iter().find(|probe| !probe.custom && probe.route.token == TokenRule::Query)?;
    let http = match Http::new() {
        Ok(http) => http,
        Err(error) => return Some(Err(Failure::new("probe", format!("{error:#}")))),
    };
    let body = probe.sample();
    let path = &probe.route.path;
    let full = format!("{url}{path}?token={}", token.0);
    let begun = Instant::now();
    let limit = Duration::from_secs(60);
    let waited = until(limit, tell, || async {
        let headers = [("content-type", probe.media), (HEADER, "1"), ("accept", "application/json")];
        Ok::<_, ()>(match http.post(&full, &headers, &body).await {
            Ok(answer) if answer.status == 200 => Try::Done(true),
            Ok(answer) if keeps_out(&answer) && closed.is_some_and(|long| begun.elapsed() * speed() >= long) => Try::Done(false),
            Ok(answer) => Try::Again(format!("{path} answers {}", answer.status)),
            Err(error) => Try::Again(format!("{path} gives no answer: {error:#}")),
        })
    })
    .await;
    Some(match waited {
        Ok(false) => return None,
        Ok(true) | Err(Waited::Failed(())) => Ok(()),
        Err(Waited::TooLong { reason, seconds }) => {
            Err(Failure::new("the new token", format!("it is set, but after {seconds} s {reason}")).now("try a POST with it in a minute"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
