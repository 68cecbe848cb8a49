//! Who gets in: by plain HTTP, without a browser.

use super::fake::{KEY, Server, TOKEN};
use routeto::dev::exchange::Stored;
use serde_json::{Value, json};

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

/// The cookie that the key is changed for.
fn cookie(server: &Server) -> String {
    format!("routeto-{}={KEY}", server.url.rsplit(':').next().unwrap())
}

fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let cookie = cookie(server);
    get_as(server, path, &[headers, &[("cookie", &cookie)]].concat())
}

fn get_as(server: &Server, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let request = headers
        .iter()
        .fold(agent().get(format!("{}{path}", server.url)), |request, (name, value)| {
            request.header(*name, *value)
        });
    let response = request.call().unwrap();
    (response.status().as_u16(), response.into_body().read_to_string().unwrap())
}

fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    let request = headers
        .iter()
        .fold(agent().post(format!("{}{path}", server.url)), |request, (name, value)| {
            request.header(*name, *value)
        });
    let response = request.header("cookie", cookie(server)).send(body.to_string()).unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.into_body().read_to_string().unwrap()).unwrap())
}

#[test]
fn the_page_and_what_it_loads_come_with_a_policy_that_runs_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    for (path, kind) in [
        ("/_routeto", "text/html; charset=utf-8"),
        ("/_routeto/", "text/html; charset=utf-8"),
        ("/_routeto/page.js", "text/javascript; charset=utf-8"),
        ("/_routeto/page.css", "text/css; charset=utf-8"),
        ("/_routeto/api/requests", "application/json"),
    ] {
        let response = agent()
            .get(format!("{}{path}", server.url))
            .header("cookie", cookie(&server))
            .call()
            .unwrap();
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
                .unwrap_or_default()
        };
        assert_eq!(
            (response.status().as_u16(), header("content-type").as_str()),
            (200, kind),
            "{path}"
        );
        assert_eq!(
            header("content-security-policy"),
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
        );
        let others = [
            "x-content-type-options",
            "referrer-policy",
            "cache-control",
            "cross-origin-resource-policy",
            "cross-origin-opener-policy",
        ];
        assert_eq!(
            others.map(header),
            ["nosniff", "no-referrer", "no-store", "same-origin", "same-origin"],
            "{path}"
        );
    }
    assert_eq!(get(&server, "/_routeto/nothing", &[]).0, 404);
    assert_eq!(get(&server, "/_routeto/api/send", &[]).0, 405);
    assert_eq!(
        get(&server, "/_routeto/api/requests/7", &[]),
        (404, json!({"error": "there is no request 7: none came yet"}).to_string())
    );
}

#[test]
fn the_page_itself_names_nothing_that_is_not_its_own() {
    for text in [
        include_str!("../../src/dev/inspector/page.html"),
        include_str!("../../src/dev/inspector/page.css"),
        include_str!("../../src/dev/inspector/page.js"),
        include_str!("../../src/dev/inspector/door.html"),
        include_str!("../../src/dev/inspector/door.js"),
    ] {
        let foreign: Vec<&str> = text
            .lines()
            .filter(|line| {
                line.contains("://")
                    && !line.contains("http://www.w3.org/2000/svg")
                    && !line.contains("s3://")
            })
            .collect();
        assert_eq!(foreign, [] as [&str; 0]);
        for never in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
            "@import",
            "onclick=\"",
            "style=\"",
        ] {
            let used: Vec<&str> = text
                .lines()
                .filter(|line| line.contains(never) && !line.starts_with("//"))
                .collect();
            assert_eq!(used, [] as [&str; 0], "{never}");
        }
    }
}

#[test]
fn a_rebound_name_a_tunnel_and_another_site_get_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    for path in [
        "/_routeto",
        "/_routeto/api/requests",
        "/_routeto/events",
        "/_routeto/page.js",
        "/_routeto/nothing",
    ] {
        assert_eq!(get(&server, path, &[("host", "evil.example")]).0, 421, "{path}");
        assert_eq!(
            get(&server, path, &[("x-forwarded-host", "a.tunnel.example")]).0,
            403,
            "{path}"
        );
        assert_eq!(
            get(&server, path, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")])
                .0,
            403,
            "{path}"
        );
    }
    let origin = ("origin", server.url.as_str());
    let ours = ("x-routeto-inspector", "1");
    let ask = json!({"stage": "dev"});
    let site = json!({"error": "this came from another site"});
    let own = json!({"error": "this takes the page's own requests only"});
    assert_eq!(
        post(&server, "/_routeto/api/token", &[("origin", "https://evil.example"), ours], &ask),
        (403, site)
    );
    assert_eq!(post(&server, "/_routeto/api/token", &[origin], &ask), (403, own.clone()));
    assert_eq!(post(&server, "/_routeto/api/token", &[ours], &ask), (403, own));
    assert_eq!(
        post(&server, "/_routeto/api/token", &[origin, ours], &ask),
        (200, json!({"token": TOKEN}))
    );
    assert_eq!(
        post(&server, "/_routeto/api/token", &[origin, ours], &json!({"stage": "x"})),
        (404, json!({"error": "there is no such stage"}))
    );
}

#[test]
fn without_the_key_of_this_run_another_user_of_this_machine_gets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let origin = ("origin", server.url.as_str());
    let ours = ("x-routeto-inspector", "1");
    let foreign = cookie(&server).replace(KEY, "the-key-of-another-run");
    for headers in
        [&[][..], &[("cookie", foreign.as_str())], &[("x-routeto-key", "the-key-of-another-run")]]
    {
        for path in [
            "/_routeto/api/overview",
            "/_routeto/api/requests",
            "/_routeto/events",
            "/_routeto/page.js",
            "/_routeto/nothing",
        ] {
            let (status, text) = get_as(&server, path, headers);
            assert_eq!(
                (status, text.contains("open the address that `routeto dev` printed")),
                (403, true),
                "{path}: {text}"
            );
        }
        for path in ["/_routeto", "/_routeto/"] {
            let (status, text) = get_as(&server, path, headers);
            assert_eq!(
                (status, text.contains("<h1>This page needs its key</h1>")),
                (403, true),
                "{path}: {text}"
            );
        }
        let all = headers.iter().copied().chain([origin, ours]);
        let request = all.fold(
            agent().post(format!("{}/_routeto/api/token", server.url)),
            |request, (name, value)| request.header(name, value),
        );
        let response = request.send(r#"{"stage":"dev"}"#).unwrap();
        assert_eq!(response.status().as_u16(), 403);
        assert!(!response.into_body().read_to_string().unwrap().contains(TOKEN));
    }
    // The key is changed for a cookie that scripts don't see and no other path and site gets.
    let enter = |key: &str, headers: &[(&str, &str)]| {
        let request = headers
            .iter()
            .fold(agent().post(format!("{}/_routeto/api/key", server.url)), |r, (name, value)| {
                r.header(*name, *value)
            });
        let response = request.send(json!({ "key": key }).to_string()).unwrap();
        let cookie =
            response.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), cookie)
    };
    let given = format!("{}; Path=/_routeto; HttpOnly; SameSite=Strict", cookie(&server));
    assert_eq!(enter(KEY, &[origin, ours]), (200, Some(given)));
    for wrong in
        ["", " ", "the-key-of-another-run", &KEY[..KEY.len() - 1], &format!("{KEY},x"), TOKEN]
    {
        assert_eq!(enter(wrong, &[origin, ours]), (403, None), "{wrong}");
    }
    assert_eq!(
        (enter(KEY, &[]), enter(KEY, &[("origin", "https://evil.example"), ours])),
        ((403, None), (403, None))
    );
    // Another command of this user reads the key from the directory.
    assert_eq!(get_as(&server, "/_routeto/api/overview", &[("x-routeto-key", KEY)]).0, 200);
}

#[test]
fn a_request_is_sent_read_back_and_its_record_too_and_no_token_is_in_any_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let headers = [("origin", server.url.as_str()), ("x-routeto-inspector", "1")];
    let request = json!({"stage": "dev", "method": "POST", "path": "/input", "query": [["app", "a b"]], "headers": [["Content-Type", "application/json"]], "body": "eyJhIjogMS41MH0=", "with_token": true});
    assert_eq!(post(&server, "/_routeto/api/send", &headers, &request), (200, json!({"id": 1})));
    let (status, text) = get(&server, "/_routeto/api/requests/1", &[]);
    let exchange: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (status, &exchange["status"], &exchange["request"]["token"], &exchange["request"]["query"]),
        (200, &json!(200), &json!("right"), &json!([["app", "a b"]]))
    );
    assert_eq!(
        get(&server, "/_routeto/api/requests/1/record", &[]),
        (200, "{\"a\": 1.50}".to_owned())
    );
    let (_, all) = get(&server, "/_routeto/api/requests", &[]);
    let listed: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(
        (
            &listed["last"],
            listed["requests"].as_array().unwrap().len(),
            &listed["requests"][0]["path"]
        ),
        (&json!(1), 1, &json!("/input?app=a b"))
    );
    assert!(
        ![text, all, get(&server, "/_routeto/api/overview", &[]).1]
            .iter()
            .any(|text| text.contains(TOKEN))
    );
    let broken = post(&server, "/_routeto/api/send", &headers, &json!({"stage": "dev"}));
    assert_eq!(
        broken,
        (
            400,
            json!({"error": "not what the page sends: missing field `method` at line 1 column 15"})
        )
    );
    let no_method = post(
        &server,
        "/_routeto/api/send",
        &headers,
        &json!({"stage": "dev", "method": "", "path": "/", "query": [], "headers": [], "body": "", "with_token": false}),
    );
    assert_eq!(no_method, (500, json!({"error": "request: it has no method"})));
}

#[test]
fn a_stream_that_was_cut_goes_on_from_the_last_event_that_was_seen() {
    use std::io::{BufRead, BufReader};
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let send = |n: u64| {
        for _ in 0..n {
            server.fake.walk("dev", "POST", "/input", vec![], vec![], "{}".into());
        }
    };
    // The next event's name, id and data.
    fn next(lines: &mut impl BufRead) -> (String, String, String) {
        let mut event = (String::new(), String::new(), String::new());
        loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the stream ended");
            match line.trim_end().split_once(": ") {
                Some(("event", name)) => event.0 = name.into(),
                Some(("id", id)) => event.1 = id.into(),
                Some(("data", data)) => event.2 = data.into(),
                _ if line == "\n" && !event.0.is_empty() => return event,
                _ => {}
            }
        }
    }
    let listen = |last: &str| {
        let mut request = agent()
            .get(format!("{}/_routeto/events", server.url))
            .header("cookie", cookie(&server));
        if !last.is_empty() {
            request = request.header("last-event-id", last);
        }
        BufReader::new(request.call().unwrap().into_body().into_reader())
    };
    let ids = |data: &str| {
        serde_json::from_str::<Value>(data)
            .unwrap()
            .as_array()
            .unwrap()
            .iter()
            .map(|summary| summary["id"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };

    send(3);
    let mut fresh = listen("");
    let mut first = String::new();
    fresh.read_line(&mut first).unwrap();
    assert_eq!(first, "retry: 1000\n");
    send(1);
    let (name, id, data) = next(&mut fresh);
    assert_eq!((name.as_str(), id.as_str(), ids(&data)), ("requests", "4", vec![4]));
    server.fake.journal.changed();
    assert_eq!(next(&mut fresh).0, "changed");
    drop(fresh);
    send(2);
    let (_, id, data) = next(&mut listen("4"));
    assert_eq!((id.as_str(), ids(&data)), ("6", vec![5, 6]));
    // The number of a journal that was thrown away.
    let (_, _, data) = next(&mut listen("999"));
    assert_eq!(ids(&data), [1, 2, 3, 4, 5, 6]);
    // More than a subscriber's backlog, unread: still nothing is missed.
    let mut slow = listen("6");
    send(700);
    let mut heard = vec![];
    while heard.len() < 700 {
        let (name, _, data) = next(&mut slow);
        if name == "requests" {
            heard.extend(ids(&data));
        }
    }
    assert_eq!(heard, (7..=706).collect::<Vec<_>>());
    server.fake.journal.close();
    let mut rest = String::new();
    while slow.read_line(&mut rest).unwrap() > 0 {}
}

#[test]
fn a_search_is_answered_in_steps_with_what_bodies_and_headers_hold() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let ask = |query: &str| {
        let (status, text) = get(&server, &format!("/_routeto/api/search?{query}"), &[]);
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let found = |ids: &[u64], before: Option<u64>, last: u64| {
        (200, json!({"ids": ids, "before": before, "last": last}))
    };
    assert_eq!(ask("q=anything"), found(&[], None, 0));
    let headers = |name: &str| vec![(name.to_owned(), "72D3162e-cc78".to_owned())];
    let pad = "x".repeat(1000);
    server.fake.walk(
        "dev",
        "POST",
        "/input",
        vec![],
        headers("X-GitHub-Delivery"),
        format!("{pad} setup_intent").into(),
    );
    server.fake.walk("dev", "POST", "/input", vec![], vec![], format!("{pad} caf\u{e9}").into());
    server.fake.walk(
        "dev",
        "POST",
        "/input",
        vec![],
        headers("X-Other"),
        format!("{pad} setup_intent").into(),
    );
    assert_eq!(ask("q=SETUP_intent"), found(&[3, 1], None, 3));
    assert_eq!(ask("q=72d3162e+setup_INTENT+%20"), found(&[3, 1], None, 3));
    assert_eq!(ask("q=x-github-delivery"), found(&[1], None, 3));
    assert_eq!(ask("q=CAF%C3%89"), found(&[2], None, 3));
    assert_eq!(ask("q=setup_intent&after=1"), found(&[3], None, 3));
    assert_eq!(ask("q=setup_intent&before=3"), found(&[1], None, 3));
    assert_eq!(ask("q=nowhere"), found(&[], None, 3));
    // An answer reads so much and no more; the next one goes on from there.
    for _ in 0..4 {
        server.fake.walk(
            "dev",
            "POST",
            "/input",
            vec![],
            vec![],
            vec![b'y'; 5 * 1024 * 1024].into(),
        );
    }
    let (mut before, mut ids, mut steps) = (u64::MAX, vec![], 0);
    loop {
        let (_, answer) = ask(&format!("q=setup_intent&before={before}"));
        ids.extend(answer["ids"].as_array().unwrap().iter().filter_map(Value::as_u64));
        steps += 1;
        match answer["before"].as_u64() {
            Some(next) => before = next,
            None => break,
        }
    }
    assert_eq!((ids, steps), (vec![3, 1], 3));
    let error = |what: &str| (400, json!({"error": what}));
    assert_eq!(ask("q=x&after=-1"), error("`after` and `before` are numbers"));
    assert_eq!(ask(&format!("q={}", "w+".repeat(101))), error("search for at most 100 words"));
    assert_eq!(get(&server, "/_routeto/api/search?q=x", &[("host", "evil.example")]).0, 421);
}

#[test]
fn what_is_not_there_is_said_to_be_gone_only_if_it_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let error = |what: &str| (404, json!({"error": what}).to_string());
    let get = |path: &str| get(&server, &format!("/_routeto/api/requests/{path}"), &[]);
    assert_eq!(get("9999"), error("there is no request 9999: none came yet"));
    server.fake.walk("dev", "POST", "/input", vec![], vec![], "".into());
    for path in ["9999", "9999/record"] {
        assert_eq!(get(path), error("there is no request 9999: the last one is 1"), "{path}");
    }
    assert_eq!(get("0"), error("there is no request 0: the last one is 1"));
    assert_eq!(get("1/record"), error("request 1 stored nothing"));
    // A record whose name isn't kept, because a token is part of it.
    let mut exchange = server.fake.journal.get(1).unwrap().unwrap();
    exchange.id = server.fake.journal.next_id();
    exchange.record = Some(Stored::S3 { bucket: "hooks".into(), key: "…_1".into(), bytes: 1 });
    server.fake.journal.record(&exchange).unwrap();
    let masked = "a token is part of the record's name, which isn't kept for that: the record can't be found";
    assert_eq!(get("2/record"), (410, json!({"error": masked}).to_string()));
    for _ in 0..1000 {
        server.fake.walk("dev", "POST", "/input", vec![], vec![], "".into());
    }
    for path in ["1", "1/record"] {
        assert_eq!(get(path), error("request 1 is no longer kept"), "{path}");
    }
}
