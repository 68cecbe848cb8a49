//! Values that were made to break a template, a JSON document, a key or a token: never a 200
//! without the right token, never a record anywhere but in the allowed destinations, never a 5xx.

use crate::everything::{Everything, everything};
use crate::support::hostile::{encode, values};
use crate::support::http::Raw;
use crate::support::{aws, query, stack};
use std::collections::BTreeSet;

/// One request, and whether it had the right token in the one place that counts.
struct Attempt {
    what: String,
    authorised: bool,
    raw: Raw,
}

struct Field {
    all: &'static Everything,
    victim: String,
    route: &'static str,
}

impl Field {
    /// With a bucket and a queue of this name that no request may reach.
    fn new(route: &'static str, victim: &str) -> Self {
        let all = everything();
        let victim = format!("{}-{victim}", all.stack.name);
        aws::create_bucket(&victim);
        aws::call("sqs", "create_queue", serde_json::json!({ "QueueName": victim }));
        Field { all, victim, route }
    }

    fn values(&self) -> Vec<Vec<u8>> {
        let name = self.victim.as_bytes();
        values()
            .into_iter()
            .map(|value| match std::str::from_utf8(&value) {
                Ok(text) => text.replace("VICTIM", std::str::from_utf8(name).unwrap()).into_bytes(),
                Err(_) => value,
            })
            .collect()
    }

    fn url(&self) -> String {
        self.all.deployed.url("prod", self.route)
    }

    fn attempt(&self, what: &str, value: &[u8], authorised: bool, raw: Raw) -> Attempt {
        let shown: String = String::from_utf8_lossy(value).chars().take(60).collect();
        Attempt { what: format!("{what} {shown:?}"), authorised, raw }
    }

    /// Sends them all, and looks at what came back and at what is there afterwards.
    fn try_all(&self, attempts: Vec<Attempt>) {
        let mut wrong = Vec::new();
        let mut stored = BTreeSet::new();
        let mut answered = 0;
        for attempt in &attempts {
            // a connection that is closed without an answer has stored nothing that anybody was
            // told of
            let Some(answer) = attempt.raw.send() else { continue };
            answered += 1;
            if answer.status >= 500
                || answer.status == 200 && !attempt.authorised
                || answer.status < 200
                || (201..400).contains(&answer.status)
            {
                wrong.push(format!(
                    "{}: {} {}",
                    attempt.what,
                    answer.status,
                    answer.text().chars().take(200).collect::<String>()
                ));
            } else if answer.status == 200 {
                stored.insert(stack::stored(&answer));
            }
            if answer.text().contains("sha256:") || answer.text().contains(&stack::token("prod")) {
                wrong.push(format!(
                    "{}: the answer shows a token: {}",
                    attempt.what,
                    answer.text()
                ));
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of {} requests:\n{}",
            wrong.len(),
            attempts.len(),
            wrong.iter().take(12).map(String::as_str).collect::<Vec<_>>().join("\n")
        );
        // else nothing would be shown: a route that refused everybody would pass
        assert!(
            answered * 10 >= attempts.len() * 9,
            "{answered} of {} requests were answered",
            attempts.len()
        );
        assert_eq!(
            attempts.iter().any(|attempt| attempt.authorised),
            !stored.is_empty(),
            "stored: {stored:?}"
        );
        assert_eq!(aws::keys(&self.victim).unwrap(), [] as [String; 0]);
        assert_eq!(aws::depth(&self.victim), 0);
        self.is_there(&stored);
    }

    /// Every record that a 200 told of is where it may be, and nothing else is anywhere.
    fn is_there(&self, stored: &BTreeSet<String>) {
        if let Some(queue) = [("/hostile-queue", "hostile"), ("/hostile-text", "hostile-text")]
            .iter()
            .find(|(route, _)| *route == self.route)
        {
            let messages = aws::receive_all(&self.all.queue(queue.1));
            let ids: BTreeSet<String> = messages
                .iter()
                .map(|message| message.json()["id"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(&ids, stored);
            return;
        }
        let keys = aws::keys(&self.all.bucket()).unwrap();
        let allowed = ["raw/", "allow/", "hostile/", "lines/", "envelope/", "any/"];
        assert!(
            keys.iter().all(|key| allowed.iter().any(|prefix| key.starts_with(prefix))),
            "{keys:?}"
        );
        let archive = aws::keys(&self.all.archive()).unwrap();
        assert!(archive.iter().all(|key| key.starts_with("teamA/")), "{archive:?}");
        for id in stored {
            assert_eq!(
                keys.iter().chain(&archive).filter(|key| key.contains(id.as_str())).count(),
                1,
                "{id}"
            );
        }
    }
}

fn json(raw: Raw) -> Raw {
    raw.header("Content-Type", "application/json")
}

#[test]
fn hostile_tokens_get_in_nowhere() {
    let field = Field::new("/hostile", "tokens");
    let right = stack::token("prod");
    let raw = json(Raw::post(&field.url()).query(&query(&[("token", &right)]))).body("{}");
    let mut attempts = vec![field.attempt("the right token", b"", true, raw)];
    for value in field.values() {
        let raw =
            json(Raw::post(&field.url()).query(&format!("?token={}", encode(&value)))).body("{}");
        attempts.push(field.attempt("token", &value, false, raw));
        let raw = json(Raw::post(&field.url()).query(&format!(
            "?token={}{}",
            encode(&value),
            encode(right.as_bytes())
        )))
        .body("{}");
        attempts.push(field.attempt("before the token", &value, value.is_empty(), raw));
        let raw = json(Raw::post(&field.url()).query(&format!(
            "?token={}{}",
            encode(right.as_bytes()),
            encode(&value)
        )))
        .body("{}");
        attempts.push(field.attempt("after the token", &value, value.is_empty(), raw));
    }
    field.try_all(attempts);
}

#[test]
fn hostile_apps_buckets_and_other_parameters_reach_no_other_destination() {
    let field = Field::new("/hostile", "parameters");
    let right = query(&[("token", &stack::token("prod"))]);
    let mut attempts = Vec::new();
    for value in field.values() {
        let text = encode(&value);
        let others =
            format!("&other={text}&destination={text}&validToken={text}&queue_url={text}&{text}=x");
        let mut add = |what: &str, authorised: bool, query: String| {
            attempts.push(field.attempt(
                what,
                &value,
                authorised,
                json(Raw::post(&field.url()).query(&query)).body("{}"),
            ));
        };
        add("app", true, format!("{right}&app={text}"));
        add("bucket", true, format!("{right}&bucket={text}"));
        add("other parameters", true, format!("{right}{others}"));
        add(
            "everything with a wrong token",
            false,
            format!("?token=wrong&app={text}&bucket={text}{others}"),
        );
    }
    field.try_all(attempts);
}

#[test]
fn hostile_headers_change_nothing() {
    let field = Field::new("/hostile-queue", "headers");
    let right = query(&[("token", &stack::token("prod"))]);
    let mut attempts = Vec::new();
    for value in field.values() {
        // these three end a header; what follows them would be another request
        let value: Vec<u8> = value.into_iter().filter(|byte| !b"\r\n\0".contains(byte)).collect();
        let all = |query: &str| {
            let names =
                ["X-Custom", "User-Agent", "X-Forwarded-For", "token", "validToken", "destination"];
            names.iter().fold(json(Raw::post(&field.url()).query(query)).body("{}"), |raw, name| {
                raw.header(name, &value)
            })
        };
        attempts.push(field.attempt("headers", &value, true, all(&right)));
        let raw = json(Raw::post(&field.url()).query(&right))
            .header("X-Amzn-RequestId", &value)
            .header("Accept", &value)
            .body("{}");
        attempts.push(field.attempt("X-Amzn-RequestId", &value, true, raw));
        attempts.push(field.attempt(
            "headers with a wrong token",
            &value,
            false,
            all("?token=wrong").header("X-Amzn-RequestId", &value),
        ));
        let raw = Raw::post(&field.url()).query(&right).header("Content-Type", &value).body("{}");
        attempts.push(field.attempt("Content-Type", &value, true, raw));
    }
    field.try_all(attempts);
}

#[test]
fn hostile_bodies_are_stored_as_they_are_or_refused() {
    for (route, content_type) in [("/hostile", "application/json"), ("/hostile-text", "text/plain")]
    {
        let field = Field::new(route, &format!("bodies{}", route.replace('/', "-")));
        let right = query(&[("token", &stack::token("prod"))]);
        let mut attempts = Vec::new();
        for value in field.values() {
            let raw = |query: &str| {
                Raw::post(&field.url())
                    .query(query)
                    .header("Content-Type", content_type)
                    .body(&value)
            };
            attempts.push(field.attempt(content_type, &value, true, raw(&right)));
            attempts.push(field.attempt(content_type, &value, false, raw("?token=wrong")));
        }
        field.try_all(attempts);
    }
}

#[test]
fn doubled_parameters_and_broken_encodings_get_in_only_with_the_right_token() {
    let field = Field::new("/hostile", "doubled");
    let right = stack::token("prod");
    let mut attempts = Vec::new();
    let mut add = |query: &str, authorised: bool| {
        let raw = json(Raw::post(&field.url()).query(query)).body("{}");
        attempts.push(Attempt { what: query.to_owned(), authorised, raw });
    };
    add("?token=wrong&token=alsowrong", false);
    add(&format!("?token=wrong&token={right}"), true);
    add(&format!("?token={right}&token=wrong"), true);
    add("?token[]=x", false);
    add("?token%00=x", false);
    add("?token=%", false);
    add("?token=%ZZ", false);
    add("?token=%u0022", false);
    add(&format!("?token={right}&app=%"), true);
    add(&format!("?token={right}&app=%ZZ&bucket=%G0"), true);
    add(&format!("?token={right}&app=a&app=b&bucket=c&bucket=d"), true);
    add(&format!("?&&&token={right}&&=&"), true);
    add(&format!("?token={right};app=x"), false);
    add(&format!("?TOKEN={right}"), false);
    add(&format!("?token=%20{right}"), false);
    add(&format!("?x={right}"), false);
    add(&format!("?token={}", "x".repeat(8000)), false);
    for path in [
        "/../hostile",
        "//hostile",
        "/hostile/",
        "/hostile/..",
        "/hostile%00",
        "/..%2fhostile",
        "/%2e%2e/%2e%2e/hostile",
    ] {
        let mut raw = json(Raw::post(&field.url())).body("{}");
        raw.target = raw.target.replace("/hostile", path) + &format!("?token={right}");
        attempts.push(Attempt { what: path.to_owned(), authorised: true, raw });
        let mut raw = json(Raw::post(&field.url())).body("{}");
        raw.target = raw.target.replace("/hostile", path) + "?token=wrong";
        attempts.push(Attempt {
            what: format!("{path} with a wrong token"),
            authorised: false,
            raw,
        });
    }
    field.try_all(attempts);
}
