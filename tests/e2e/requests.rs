//! Which request gets which answer, and that only a 200 leaves anything behind.

use crate::everything::everything;
use crate::support::http::{Raw, post_with};
use crate::support::{aws, post, query, stack};
use serde_json::{Value, json};

const JSON: &str = "application/json";

fn answer(url: &str, content_type: &str) -> (u16, Value) {
    let answer = post(url, content_type, br#"{"nothing":"of this is stored"}"#);
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_else(|_| json!(answer.text())))
}

fn fail(reason: &str) -> Value {
    json!({"result": "fail", "reason": reason})
}

#[test]
fn a_post_without_a_token_gets_400() {
    let url = everything().deployed.url("prod", "/raw");
    for query in ["", "?token=", "?token", "?Token=prod-Token_0123456789.~", "?app=x"] {
        let (status, body) = answer(&format!("{url}{query}"), JSON);
        assert_eq!(status, 400, "{query} {body}");
    }
}

#[test]
fn a_post_with_a_wrong_token_gets_401_and_the_answer_does_not_repeat_it() {
    let all = everything();
    let url = all.deployed.url("prod", "/raw");
    let right = stack::token("prod");
    for wrong in [
        "x",
        "dev-Token_0123456789.~",
        &right[..right.len() - 1],
        &format!("{right}x"),
        &right.to_uppercase(),
        "sha256:0",
        ",",
        "*",
    ] {
        let (status, body) = answer(&(url.clone() + &query(&[("token", wrong)])), JSON);
        assert_eq!((status, body), (401, fail("Invalid token provided")), "{wrong}");
    }
}

#[test]
fn a_post_with_the_stored_hash_for_a_token_gets_401() {
    let all = everything();
    let hash =
        all.stack.world().stage("prod")["variables"]["validToken"].as_str().unwrap().to_owned();
    assert!(hash.starts_with("sha256:"), "{hash}");
    let (status, _) =
        answer(&(all.deployed.url("prod", "/raw") + &query(&[("token", &hash)])), JSON);
    assert_eq!(status, 401);
}

#[test]
fn a_token_in_a_header_or_in_the_path_does_not_count() {
    let all = everything();
    let token = stack::token("prod");
    let answer = post_with(
        &all.deployed.url("prod", "/raw"),
        &[("content-type", JSON), ("token", &token)],
        b"{}",
    );
    assert_eq!(answer.status, 400, "{}", answer.text());
    let url = all.deployed.url("prod", "/raw") + "?token=wrong";
    let answer = post_with(&url, &[("content-type", JSON), ("token", &token)], b"{}");
    assert_eq!(answer.status, 401, "{}", answer.text());
}

#[test]
fn a_content_type_that_the_route_does_not_accept_gets_415() {
    let all = everything();
    for content_type in [
        "text/plain",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "nonsense",
    ] {
        let (status, body) = answer(&all.deployed.url_with("prod", "/raw", &[]), content_type);
        assert_eq!(status, 415, "{content_type} {body}");
    }
}

#[test]
fn only_the_media_type_of_the_content_type_counts_and_none_means_json() {
    let all = everything();
    for content_type in
        ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"]
    {
        all.store("/raw", content_type, b"{}");
    }
    let none = Raw::post(&all.deployed.url_with("prod", "/raw", &[])).body("{}").send().unwrap();
    assert_eq!(none.status, 200, "{}", none.text());
}

#[test]
fn a_get_stores_nothing_and_is_refused() {
    let all = everything();
    let answer = crate::support::http::get(&all.deployed.url_with("prod", "/raw", &[])).unwrap();
    assert!((400..500).contains(&answer.status), "{}", answer.status);
}

#[test]
fn an_app_is_kept_in_the_key_and_a_bad_one_gets_400() {
    let all = everything();
    let url = |app: &str| all.deployed.url_with("prod", "/raw", &[("app", app)]);
    let id = stack::stored(&post(&url("Send.Grid_1-x"), JSON, b"{}"));
    assert!(all.object("raw/", &id).key.starts_with("raw/Send.Grid_1-x_"));
    for app in ["a/b", "..%2f", "a b", "a\"b", "a\nb", "é", &"x".repeat(65)] {
        let refused =
            (400, fail("app must be 1 to 64 letters, digits, dots, underscores and dashes"));
        assert_eq!(answer(&url(app), JSON), refused, "{app}");
    }
}

#[test]
fn a_bucket_parameter_may_name_the_routes_own_bucket_and_what_allow_lists_and_nothing_else() {
    let all = everything();
    let url =
        |bucket: &str| all.deployed.url_with("prod", "/allow", &[("bucket", bucket), ("app", "a")]);
    let own = stack::stored(&post(&url(&all.bucket()), JSON, b"{\"own\":1}"));
    assert_eq!(all.object("allow/", &own).body, b"{\"own\":1}");
    let archive = all.archive();
    let listed = stack::stored(&post(&url(&format!("{archive}/teamA")), JSON, b"{\"listed\":1}"));
    let deeper =
        stack::stored(&post(&url(&format!("{archive}/teamA/deeper")), JSON, b"{\"deeper\":1}"));
    let keys = aws::keys(&archive).unwrap();
    let of_this_test: Vec<&String> =
        keys.iter().filter(|key| key.contains(&listed) || key.contains(&deeper)).collect();
    assert_eq!(of_this_test.len(), 2, "{keys:?}");
    assert!(
        of_this_test[0].starts_with("teamA/a_") || of_this_test[1].starts_with("teamA/a_"),
        "{keys:?}"
    );
    let others = [
        archive.clone(),
        format!("{archive}/teamB"),
        format!("{archive}/teamAB"),
        format!("{archive}/teamA/../teamB"),
        format!("{archive}/"),
        format!("{}/other", all.bucket()),
        "somebody-elses".into(),
        format!("{}-events-prod", all.stack.name),
        " ".into(),
    ];
    for other in others {
        assert_eq!(
            answer(&url(&other), JSON),
            (400, fail("bucket is not allowed on this route")),
            "{other}"
        );
    }
}

#[test]
fn a_route_without_a_token_rule_takes_a_post_without_one() {
    let all = everything();
    let answer = post(&all.deployed.url("prod", "/open"), JSON, br#"{"open":true}"#);
    stack::stored(&answer);
    assert_eq!(aws::only_message(&all.queue("open")).json()["body-json"], json!({"open": true}));
}

#[test]
fn a_probe_is_answered_with_the_bodys_digest_and_stored_nowhere() {
    let all = everything();
    let before =
        aws::keys(&all.bucket()).unwrap().iter().filter(|key| key.contains("probed")).count();
    let url = all.deployed.url_with("prod", "/any", &[("app", "probed")]);
    let headers = [("content-type", "application/octet-stream"), ("x-routeto-probe", "1")];
    let answer = post_with(&url, &headers, b"\x00\xffabc");
    // printf '\0\377abc' | sha256sum
    let sha256 = "24397706eb32f8691116fe4728d18eda7eacc40925e0ae26a5780cd8b8b13f80";
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"result": "probe", "sha256": sha256, "length": 5}))
    );
    let wrong = post_with(&(all.deployed.url("prod", "/any") + "?token=wrong"), &headers, b"abc");
    assert_eq!(wrong.status, 401);
    let after =
        aws::keys(&all.bucket()).unwrap().iter().filter(|key| key.contains("probed")).count();
    assert_eq!((before, after), (0, 0));
}

#[test]
fn an_answer_is_json_whatever_the_caller_accepts() {
    let all = everything();
    for accept in [
        "*/*",
        "text/html",
        "application/octet-stream",
        "image/png, application/json",
        "multipart/form-data",
    ] {
        let url = all.deployed.url_with("prod", "/any", &[]);
        let answer = post_with(&url, &[("content-type", "text/plain"), ("accept", accept)], b"x");
        assert_eq!(answer.status, 200, "{accept}: {}", answer.text());
        assert_eq!(answer.json()["result"], "success", "{accept}");
    }
}
