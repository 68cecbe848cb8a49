//! The page as a person uses it.

use super::{
    browser::{self, Browser},
    fake::{Server, TOKEN},
};
use bytes::Bytes;
use serde_json::json;
use std::{
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;

// Source: https://www.w3.org/TR/webdriver2/#keyboard-actions
const ESCAPE: &str = "\u{e00c}";
const ENTER: &str = "\u{e007}";
const DOWN: &str = "\u{e015}";

fn start() -> (TempDir, Server, Browser) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let browser = Browser::start();
    browser
        .cdp("Browser.grantPermissions", json!({"origin": server.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}));
    browser.size(1280, 800);
    (directory, server, browser)
}

fn token() -> (String, String) {
    ("token".to_owned(), TOKEN.to_owned())
}

fn headers(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The ids of the rows that are seen, from the top.
fn rows(browser: &Browser) -> Vec<u64> {
    let rows = browser.run(
        "return [...document.querySelectorAll('#rows .row:not([hidden])')].sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top)
            .map(row => Number(row.dataset.id))",
    );
    serde_json::from_value(rows).unwrap()
}

/// Waits until the page shows this exchange.
fn shows(browser: &Browser, id: u64) {
    browser.wait(&format!("state.exchange?.id === {id} && document.querySelector('.facts span:last-child').textContent === '#{id}'"));
}

const SCRIPT: &str = "<script>window.__pwned=1</script>";
const IMAGE: &str = "\"><img src=x onerror=\"window.__pwned=2\"><svg onload=window.__pwned=3>";

#[test]
#[ignore = "needs Chromium and chromedriver"]
fn what_a_caller_sent_is_text_wherever_it_is_shown_and_nothing_of_it_runs() {
    let (_directory, server, browser) = start();
    let both = format!("{SCRIPT}{IMAGE}");
    let multipart = format!(
        "--{SCRIPT}\r\nContent-Disposition: form-data; name=\"{SCRIPT}\"; filename=\"{SCRIPT}<img src=x onerror=window.__pwned=4>\"\r\nContent-Type: text/html\r\n{both}: {both}\r\n\r\n\
         <html>{both}</html>\r\n--{SCRIPT}\r\nContent-Disposition: form-data; name=\"svg\"; filename=\"x.svg\"\r\nContent-Type: image/svg+xml\r\n\r\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"window.__pwned=5\"><script>window.__pwned=6</script></svg>\r\n--{SCRIPT}\r\n\
         Content-Disposition: form-data; name=\"png\"; filename=\"x.png\"\r\nContent-Type: image/png\r\n\r\n<svg onload=window.__pwned=7>\r\n--{SCRIPT}--\r\n"
    );
    let bodies = [
        ("application/json".to_owned(), format!("{{{0}: [{0}, 1.50]}}", json!(both))),
        ("text/html".to_owned(), format!("<!doctype html><body onload=window.__pwned=8>{both}")),
        (
            "application/x-www-form-urlencoded".to_owned(),
            "%3Cscript%3Ewindow.__pwned%3D9%3C/script%3E=%22%3E%3Cimg%20src%3Dx%20onerror%3Dwindow.__pwned%3D9%3E".to_owned(),
        ),
        (format!("multipart/form-data; boundary=\"{SCRIPT}\""), multipart),
        ("image/svg+xml".to_owned(), "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"window.__pwned=10\"/>".to_owned()),
        (both.clone(), both.clone()),
    ];
    for (content_type, body) in &bodies {
        for path in ["/input", both.as_str()] {
            let sent = vec![
                ("content-type".to_owned(), content_type.clone()),
                (both.clone(), both.clone()),
                ("host".into(), both.clone()),
            ];
            server.fake.walk(
                &both,
                &both,
                path,
                vec![token(), (both.clone(), both.clone())],
                sent.clone(),
                body.clone().into(),
            );
            server.fake.walk(
                "dev",
                "POST",
                "/input",
                vec![token(), (both.clone(), both.clone()), ("app".into(), both.clone())],
                sent,
                body.clone().into(),
            );
        }
    }
    *server.fake.problem.lock().unwrap() = Some(both.clone());
    browser.enter(&server.page());
    browser.wait("document.querySelectorAll('#rows .row').length >= 20 && !document.querySelector('#problem').hidden");
    assert_eq!(
        browser.run("return document.querySelector('#problem pre').textContent"),
        json!(both)
    );
    for id in 1..=24 {
        browser.run(&format!("open({id})"));
        shows(&browser, id);
        // Every way to show a body, and what is stored.
        browser.run("for (const view of document.querySelectorAll('.views button, #show-record')) view.click()");
        browser.wait("!document.querySelector('#show-record')");
        browser.run("for (const view of document.querySelectorAll('.views button')) view.click()");
        browser.run("edit()");
        browser.wait("document.querySelector('#edit').open");
        browser.run("document.querySelector('#edit').close()");
        let text = browser.run("return document.querySelector('#detail').textContent");
        assert!(text.as_str().unwrap().contains(&both), "{id}: {text}");
    }
    browser.run("open(1)");
    shows(&browser, 1);
    let path = browser.run("return document.querySelector('#detail h2').textContent");
    assert!(path.as_str().unwrap().contains("%3Cscript%3E"), "{path}");
    let dangerous = browser.run(
        "return document.querySelectorAll('#main script, #main svg, #main iframe, #main object, #main [onerror], #main [onload]').length",
    );
    assert_eq!(dangerous, json!(0));
    assert_eq!(browser.troubles(), browser::none());
}

#[test]
#[ignore = "needs Chromium and chromedriver"]
fn without_the_key_the_page_says_how_to_get_in_and_the_printed_address_opens_it() {
    let (_directory, server, browser) = start();
    let bare = format!("{}/_routeto", server.url);
    browser.open(&bare);
    assert_eq!(browser.text("h1"), "This page needs its key");
    browser.open(&format!("{bare}#key=of-another-run"));
    browser.wait("document.querySelector('#said').textContent.includes('not the key of the `routeto dev` that runs here now')");
    browser.enter(&server.page());
    browser.wait("document.querySelector('#copy-first')");
    assert_eq!(browser.run("return [location.href, document.cookie]"), json!([bare, ""]));
    // The cookie opens it from now on, and the address with the key still does.
    browser.open(&bare);
    browser.wait("document.querySelector('#copy-first')");
    browser.open(&server.page());
    browser.wait("document.querySelector('#copy-first') && !location.hash");
    assert_eq!(browser.troubles(), browser::none());
}

#[test]
#[ignore = "needs Chromium and chromedriver"]
fn the_list_is_live_and_filtered_and_paused_and_worked_by_keys() {
    let (_directory, server, browser) = start();
    browser.enter(&server.page());
    browser.wait("document.querySelector('#copy-first')");
    assert_eq!(browser.text("#empty h2"), "Waiting for the first request");
    let first = format!(
        "curl -sS '{}/dev/input?token=…' \\\n  -H 'Content-Type: application/json' \\\n  --data-raw '{{\"hello\": \"world\", \"price\": 1.50}}'",
        server.url
    );
    assert_eq!(browser.text("#empty pre"), first);
    browser.click("#send-first");
    shows(&browser, 1);
    assert_eq!(browser.text(".top .status"), "200");
    browser.wait("document.querySelector('#empty').hidden");

    let post = |stage: &str, path: &str, query: &[(String, String)], body: &str| {
        server
            .fake
            .walk(
                stage,
                "POST",
                path,
                query.to_vec(),
                headers(&[("content-type", "application/json")]),
                body.to_owned().into(),
            )
            .0
    };
    post("dev", "/input", &[token()], r#"{"event":"open"}"#);
    post(
        "prod",
        "/callbacks/events",
        &[token()],
        r#"{"event":"bounce","email":"anna@example.com"}"#,
    );
    post("dev", "/input", &[], "{}");
    post("dev", "/elsewhere", &[token()], "{}");
    browser.wait(
        "state.all.length === 5 && document.querySelector('#count').textContent === '5 requests'",
    );
    assert_eq!(rows(&browser), [5, 4, 3, 2, 1]);
    let cells = browser.run("return [...document.querySelectorAll('#row-3 > span:not(.time):not(.ms)')].map(cell => cell.textContent)");
    assert_eq!(
        cells,
        json!([
            "200",
            "prod",
            r#"/callbacks/events{"event":"bounce","email":"anna@example.com"}"#,
            "45 B"
        ])
    );

    // Filters: by text, by status, by stage, by route; together; and cleared.
    browser.keys(&["/"]);
    browser.type_into("#text", "Bounce ANNA");
    browser.wait("document.querySelector('#count').textContent === '1 of 5 requests'");
    assert_eq!(rows(&browser), [3]);
    browser.keys(&[ESCAPE]);
    browser.wait("document.querySelector('#count').textContent === '5 requests'");
    let choose = |id: &str, value: &str| {
        browser.run(&format!("const select = document.querySelector('#{id}'); select.value = {}; select.dispatchEvent(new Event('input', {{bubbles: true}}))", json!(value)));
    };
    choose("status", "4");
    browser.wait("document.querySelector('#count').textContent === '2 of 5 requests'");
    assert_eq!(rows(&browser), [5, 4]);
    choose("route", "/input");
    browser.wait("document.querySelector('#count').textContent === '1 of 5 requests'");
    assert_eq!(rows(&browser), [4]);
    choose("stage", "prod");
    browser.wait("!document.querySelector('#empty').hidden");
    assert_eq!(browser.text("#empty h2"), "Nothing matches");
    browser.click("#empty button");
    browser.wait("document.querySelector('#count').textContent === '5 requests'");
    let offered = browser.run("return [...document.querySelectorAll('#stage option, #route option')].map(option => option.textContent)");
    assert_eq!(
        offered,
        json!([
            "Stage",
            "dev",
            "prod",
            "Route",
            "/input",
            "/callbacks/events",
            "/callbacks/inbound"
        ])
    );

    // Keys.
    browser.run("document.querySelector('#list').focus()");
    browser.keys(&["g"]);
    shows(&browser, 5);
    browser.keys(&["j", DOWN]);
    shows(&browser, 3);
    assert_eq!(browser.run("return [document.querySelector('#list').getAttribute('aria-activedescendant'), document.querySelector('#row-3').getAttribute('aria-selected')]"), json!(["row-3", "true"]));
    browser.keys(&["k"]);
    shows(&browser, 4);
    assert_eq!(browser.text(".why"), "the request validator found no token");
    browser.keys(&[ENTER]);
    assert_eq!(browser.run("return document.activeElement.id"), json!("detail"));
    browser.keys(&["?"]);
    browser.wait("document.querySelector('#keys').open");
    browser.keys(&[ESCAPE]);
    browser.wait("!document.querySelector('#keys').open");

    // Paused, nothing moves; what came meanwhile is counted, and there afterwards.
    browser.run("document.querySelector('#list').focus()");
    browser.keys(&[" "]);
    browser.wait("document.querySelector('#state').textContent === 'paused'");
    post("dev", "/input", &[token()], "6");
    post("dev", "/input", &[token()], "7");
    browser.wait("document.querySelector('#state').textContent === '2 new'");
    assert_eq!(rows(&browser), [5, 4, 3, 2, 1]);
    browser.keys(&[" "]);
    browser
        .wait("document.querySelector('#state').textContent === 'live' && state.all.length === 7");
    browser.wait("document.querySelectorAll('#rows .row:not([hidden])').length === 7");
    assert_eq!(rows(&browser), [7, 6, 5, 4, 3, 2, 1]);

    // A reload keeps the list and what was chosen.
    browser.reload();
    shows(&browser, 4);
    browser.wait("document.querySelectorAll('#rows .row:not([hidden])').length === 7");
    assert_eq!(rows(&browser), [7, 6, 5, 4, 3, 2, 1]);

    // The stack file breaks, and is mended.
    *server.fake.problem.lock().unwrap() = Some("error: unknown key".into());
    server.fake.journal.changed();
    browser.wait("!document.querySelector('#problem').hidden");
    assert_eq!(browser.text("#problem pre"), "error: unknown key");
    *server.fake.problem.lock().unwrap() = None;
    server.fake.journal.changed();
    browser.wait("document.querySelector('#problem').hidden");
    assert_eq!(browser.troubles(), browser::none());
}

#[test]
#[ignore = "needs Chromium and chromedriver"]
fn a_request_is_shown_with_all_that_became_of_it_sent_again_edited_and_sent() {
    let (_directory, server, browser) = start();
    let body = "[ {\"price\":1.50, \"big\": 12345678901234567890,\"e\":1E5,\"a\":{},\"b\":[ ],\"dup\":1,\"dup\":2,\"s\":\"a\\u00e9, {b}\"}]\n";
    let sent = headers(&[("content-type", "application/json"), ("x-one", "1"), ("x-one", "2")]);
    server.fake.walk(
        "dev",
        "POST",
        "/input",
        vec![token(), ("app".into(), "a b&c".into())],
        sent.clone(),
        body.into(),
    );
    browser.enter(&format!("{}&1", server.page()));
    shows(&browser, 1);
    let text = |css: &str| {
        browser.run(&format!("return document.querySelector({})?.textContent ?? null", json!(css)))
    };
    assert_eq!(text("#detail h2"), json!("POST /dev/input?app=a%20b%26c"));
    assert_eq!(
        text("#step-request .start"),
        json!("POST /dev/input?app=a%20b%26c&token=… HTTP/1.1")
    );
    assert_eq!(
        browser.run("return [...document.querySelectorAll('#step-request dl > *')].map(cell => cell.textContent)"),
        json!(["content-type", "application/json", "x-one", "1", "x-one", "2"])
    );
    // Laid out, and not a character of a number is another.
    let pretty = "[\n  {\n    \"price\": 1.50,\n    \"big\": 12345678901234567890,\n    \"e\": 1E5,\n    \"a\": {},\n    \"b\": [],\n    \"dup\": 1,\n    \"dup\": 2,\n    \"s\": \"a\\u00e9, {b}\"\n  }\n]";
    assert_eq!(text("#step-request pre"), json!(pretty));
    let steps = browser.run("return [...document.querySelectorAll('.path li')].map(step => [step.textContent, step.dataset.step])");
    assert_eq!(
        steps,
        json!([
            ["Request", "good"],
            ["Template", "good"],
            ["Function 200", "good"],
            ["S3 object", "good"],
            ["Answer 200", "good"]
        ])
    );
    // Template and event stand side by side.
    let boxes = browser.run("return [...document.querySelectorAll('#step-event .pane')].map(pane => { const box = pane.getBoundingClientRect(); return [box.top, box.left]; })");
    assert!(boxes[0][0] == boxes[1][0] && boxes[0][1].as_f64() < boxes[1][1].as_f64(), "{boxes}");
    browser.click("#show-record");
    browser.wait("document.querySelector('#step-record .tag')");
    assert_eq!(text("#step-record .tag"), json!("identical to the request body"));

    // Copied is what came, byte for byte.
    browser.click("#step-request [aria-label='Copy body']");
    browser.wait("document.querySelector('#toast').textContent === 'Copied body'");
    assert_eq!(browser.clipboard(), body);

    browser.click("#again");
    shows(&browser, 2);
    let (one, two) = (
        server.fake.journal.get(1).unwrap().unwrap(),
        server.fake.journal.get(2).unwrap().unwrap(),
    );
    assert_eq!((&two.request, two.status), (&one.request, 200));

    browser.keys(&["e"]);
    browser.wait("document.querySelector('#edit').open");
    browser.clear("#edit-body");
    browser.type_into("#edit-body", "{\"edited\": 1.0}");
    browser.clear("#edit-path");
    browser.type_into("#edit-path", "/callbacks/events");
    browser.click("#edit .entries button");
    browser.click("#edit-go");
    shows(&browser, 3);
    let three = server.fake.journal.get(3).unwrap().unwrap();
    assert_eq!(
        (
            three.request.path.as_str(),
            three.request.query,
            three.request.headers,
            three.request.body,
            three.status
        ),
        ("/callbacks/events", vec![], sent.clone(), b"{\"edited\": 1.0}".to_vec(), 200)
    );

    // Line breaks and bytes that a text area would change.
    for (id, body) in [
        (4, &b"a\r\nb\r\n"[..]),
        (6, b"a\nb\r\n\tc\r"),
        (8, b"\x00\xff\xfe binary"),
        (10, b"\xef\xbb\xbf{}"),
    ] {
        server.fake.walk(
            "dev",
            "POST",
            "/input",
            vec![token()],
            sent.clone(),
            Bytes::copy_from_slice(body),
        );
        browser.run(&format!("open({id})"));
        shows(&browser, id);
        browser.click("#edit-send");
        browser.run("document.querySelector('#edit-path').value = '/input'");
        browser.click("#edit-go");
        shows(&browser, id + 1);
        assert_eq!(server.fake.journal.get(id + 1).unwrap().unwrap().request.body, body);
    }
    browser.run("open(4)");
    shows(&browser, 4);
    browser.click("#edit-send");
    browser.run("document.querySelector('#edit-body').value += 'c'");
    browser.click("#edit-go");
    shows(&browser, 12);
    assert_eq!(server.fake.journal.get(12).unwrap().unwrap().request.body, b"a\r\nb\r\nc");

    // What can't be sent is told in the dialog, which stays.
    browser.click("#edit-send");
    browser.clear("#edit-method");
    browser.click("#edit-go");
    browser.wait("document.querySelector('#edit .error').textContent !== ''");
    assert_eq!(browser.text("#edit .error"), "request: it has no method");
    browser.keys(&[ESCAPE]);

    // A wrong token stays wrong, a missing one missing.
    for (query, status) in [(vec![("token".to_owned(), "x".to_owned())], 401), (vec![], 400)] {
        let (id, _) = server.fake.walk("dev", "POST", "/input", query, sent.clone(), "{}".into());
        browser.run(&format!("open({id})"));
        shows(&browser, id);
        browser.keys(&["r"]);
        shows(&browser, id + 1);
        assert_eq!(browser.text(".top .status"), status.to_string());
    }
    // The console says that an answer was 500, which was the point.
    assert_eq!(browser.troubles()["page"], browser::none()["page"]);
}

#[test]
#[ignore = "needs Chromium and chromedriver"]
fn a_copied_curl_command_sends_the_same_bytes_from_a_real_shell() {
    let (directory, server, browser) = start();
    let every: Vec<u8> = (0..=255).collect();
    let large = "0123456789abcdef".repeat(20_000);
    let bodies: [&[u8]; 12] = [
        b"{\"a\": 1.50}",
        b"it's $HOME `id` $(id) \\ \\n \"quoted\" !! %s & ; | > *",
        b"@/etc/hostname",
        b"-o x",
        b"line\nline\n",
        b"cr\r\ntab\tend\r\n",
        &every,
        b"",
        "é € 😀".as_bytes(),
        b"\xff\xfe",
        b"'",
        large.as_bytes(),
    ];
    browser.enter(&server.page());
    for (at, body) in bodies.iter().enumerate() {
        let query = vec![("app".to_owned(), "o'b $x&y=[1]{2}é".to_owned()), token()];
        let sent = headers(&[
            ("content-type", "application/json"),
            ("x-quote", "it's \"$HOME\" `id`"),
            ("x-empty", ""),
            ("user-agent", "a b"),
            ("x-signature", "t=1,v1=ab"),
        ]);
        let id = u64::try_from(at).unwrap() * 2 + 1;
        assert_eq!(
            server
                .fake
                .walk("dev", "POST", "/input", query, sent.clone(), Bytes::copy_from_slice(body))
                .0,
            id
        );
        browser.run(&format!("open({id})"));
        shows(&browser, id);
        browser.run("document.querySelector('#toast').textContent = ''");
        browser.click("#as-curl");
        browser.wait("document.querySelector('#toast').textContent === \"Copied the command, with the stage's token\"");
        let command = browser.clipboard();
        let script = directory.path().join("pasted");
        std::fs::write(&script, &command).unwrap();
        let ran = Command::new("sh").arg(&script).current_dir(directory.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ran.stderr), "", "{command}");
        let [before, after] = [id, id + 1].map(|id| server.fake.journal.get(id).unwrap().unwrap());
        assert_eq!(after.request.body, *body, "{command}");
        let known = after
            .request
            .headers
            .into_iter()
            .filter(|(name, _)| !["host", "content-length"].contains(&name.as_str()));
        let (mut known, mut wanted): (Vec<_>, Vec<_>) = (known.collect(), sent);
        known.sort();
        wanted.sort();
        assert_eq!(
            (after.status, after.request.query, known),
            (200, before.request.query, wanted),
            "{command}"
        );
        assert_eq!(String::from_utf8(ran.stdout).unwrap().as_bytes(), after.response.body);
    }
    let plain = "curl -sS 'http";
    browser.run("open(1)");
    shows(&browser, 1);
    browser.keys(&["c"]);
    browser.until("return navigator.clipboard.readText()", |text| {
        text.as_str()
            .is_some_and(|text| text.starts_with(plain) || text.starts_with("curl -sS -g 'http"))
    });
    assert_eq!(browser.troubles(), browser::none());
}

#[test]
#[ignore = "needs Chromium and chromedriver"]
fn a_search_finds_what_only_bodies_and_headers_have_and_says_when_there_is_nothing() {
    let (_directory, server, browser) = start();
    let post = |content_type: &str, extra: &[(&str, &str)], body: &str| {
        let sent = headers(&[&[("content-type", content_type)], extra].concat());
        server.fake.walk("dev", "POST", "/input", vec![token()], sent, body.to_owned().into()).0
    };
    let padding = "x".repeat(500);
    let stripe =
        post("application/json", &[], &format!(r#"{{"pad":"{padding}","object":"setup_intent"}}"#));
    let github = post(
        "application/json",
        &[("X-GitHub-Event", "push"), ("X-GitHub-Delivery", "72d3162e-cc78")],
        "{}",
    );
    let part = "--xYzZY\r\nContent-Disposition: form-data; name=";
    let mail = format!(
        "{part}\"a\"\r\n\r\n{padding}\r\n{part}\"b\"\r\n\r\nFreundliche Grüße\r\n--xYzZY--\r\n"
    );
    let mail = post("multipart/form-data; boundary=xYzZY", &[], &mail);
    for _ in 0..35 {
        post("application/json", &[], "{}");
    }
    browser.enter(&server.page());
    browser.wait("document.querySelector('#count').textContent === '38 requests'");
    let finds = |text: &str, ids: &[u64]| {
        browser.run("clearFilter()");
        browser.type_into("#text", text);
        let count = match ids.len() {
            38 => "38 requests".to_owned(),
            some => format!("{some} of 38 requests"),
        };
        browser.wait(&format!(
            "search.whole && document.querySelector('#count').textContent === '{count}'"
        ));
        let shown = browser.run("return state.shown.map(summary => summary.id)");
        assert_eq!(shown, json!(ids), "{text}");
    };
    finds("SETUP_intent", &[stripe]);
    finds("x-github-event", &[github]);
    finds("72d3162e", &[github]);
    finds("72d3162e push", &[github]);
    finds("grüße", &[mail]);
    finds("72d3162e setup_intent", &[]);
    assert_eq!(browser.text("#empty h2"), "Nothing matches");
    assert_eq!(browser.text("#empty p"), "No match in 38 requests.");
    browser.click("#empty button");
    browser.wait("document.querySelector('#count').textContent === '38 requests'");

    // What comes while a search stands is searched, too.
    finds("setup_intent", &[stripe]);
    let later =
        post("application/json", &[], &format!(r#"{{"pad":"{padding}","object":"setup_intent"}}"#));
    browser.wait("document.querySelector('#count').textContent === '2 of 39 requests'");
    assert_eq!(rows(&browser), [later, stripe]);
    // With a choice besides, and a search that can't be.
    browser.run(
        "const status = document.querySelector('#status'); status.value = '4'; status.dispatchEvent(new Event('input', {bubbles: true}))",
    );
    browser.wait("document.querySelector('#empty p')?.textContent === 'No match in 39 requests.'");
    browser.run("clearFilter()");
    browser.run(&format!("$('text').value = {}; refresh()", json!("qq ".repeat(101))));
    browser.wait("document.querySelector('#empty h2')?.textContent === 'Search failed'");
    assert_eq!(
        browser.text("#empty p"),
        "Bodies and headers weren't searched: search for at most 100 words"
    );
    assert_eq!(browser.troubles()["page"], browser::none()["page"]);
}

#[test]
#[ignore = "needs Chromium and chromedriver"]
fn a_request_that_comes_while_the_list_is_asked_for_stays_on_it() {
    let (_directory, server, browser) = start();
    let post = || server.fake.walk("dev", "POST", "/input", vec![token()], vec![], "{}".into()).0;
    assert_eq!(post(), 1);
    browser.enter(&server.page());
    browser.wait("state.all.length === 1");
    // The list is made by the server, and arrives only after the next request was told.
    browser.run(
        "const real = window.fetch;
        window.fetch = async (...all) => {
            const answer = await real(...all);
            if (String(all[0]).endsWith('/api/requests')) { const text = await answer.text(); window.__made = true; await new Promise(go => window.__go = go); return new Response(text); }
            return answer;
        };
        window.__listed = false;
        all().then(() => window.__listed = true);",
    );
    browser.wait("window.__made");
    assert_eq!(post(), 2);
    browser.wait("state.byId.has(2)");
    browser.run("window.__go()");
    browser.wait("window.__listed");
    assert_eq!(browser.run("return state.all.map(summary => summary.id)"), json!([2, 1]));
    browser.wait("document.querySelector('#count').textContent === '2 requests'");
    assert_eq!(rows(&browser), [2, 1]);
    assert_eq!(browser.troubles(), browser::none());
}

#[test]
#[ignore = "needs Chromium and chromedriver"]
fn a_body_of_very_many_fields_or_parts_is_laid_out_as_it_is_asked_for() {
    let (_directory, server, browser) = start();
    let post = |content_type: &str, body: String| {
        server
            .fake
            .walk(
                "dev",
                "POST",
                "/input",
                vec![token()],
                headers(&[("content-type", content_type)]),
                body.into(),
            )
            .0
    };
    let fields: Vec<String> = (0..50_000).map(|n| format!("name+{n}=%C3%A9{n}")).collect();
    let form = post("application/x-www-form-urlencoded", fields.join("&"));
    let parts: String = (0..2_000)
        .map(|n| {
            format!("--xYzZY\r\nContent-Disposition: form-data; name=\"n{n}\"\r\n\r\nv{n}\r\n")
        })
        .collect();
    let parts = post("multipart/form-data; boundary=xYzZY", format!("{parts}--xYzZY--\r\n"));
    let deep = post("application/json", "[".repeat(5_000) + &"]".repeat(5_000));
    browser.enter(&format!("{}&{form}", server.page()));
    shows(&browser, form);
    let laid_out =
        "return [...document.querySelectorAll('#step-request .pane:last-child dt')].length";
    let more = "#step-request .pane:last-child .more";
    assert_eq!(browser.run(laid_out), json!(100));
    assert_eq!(browser.text(more), "Show 200 more of 50,000 fields");
    browser.click(more);
    assert_eq!(browser.run(laid_out), json!(300));
    // To the last one, and nothing is left out or twice.
    browser.run(&format!("for (let more; more = document.querySelector('{more}');) more.click()"));
    let last = "const all = [...document.querySelectorAll('#step-request .pane:last-child dl > *')].map(cell => cell.textContent); return [all.length, ...all.slice(-2)]";
    assert_eq!(browser.run(last), json!([100_000, "name 49999", "é49999"]));

    browser.run(&format!("open({parts})"));
    shows(&browser, parts);
    let laid_out = "return [...document.querySelectorAll('#step-request .part b')].map(name => name.textContent)";
    assert_eq!(browser.run(laid_out).as_array().unwrap().len(), 100);
    browser.run(&format!("for (let more; more = document.querySelector('{more}');) more.click()"));
    let names: Vec<String> = serde_json::from_value(browser.run(laid_out)).unwrap();
    assert_eq!(names, (0..2_000).map(|n| format!("n{n}")).collect::<Vec<_>>());

    browser.run(&format!("open({deep})"));
    shows(&browser, deep);
    let widest = "return Math.max(...document.querySelector('#step-request .pane:last-child pre').textContent.split('\\n').map(line => line.length))";
    assert!(browser.run(widest).as_u64().unwrap() < 100);

    // A request with very many parameters is edited and sent with all of them.
    let query: Vec<_> =
        (0..1_000).map(|n| (format!("q{n}"), n.to_string())).chain([token()]).collect();
    let many = server.fake.walk("dev", "POST", "/input", query, vec![], "{}".into()).0;
    browser.run(&format!("open({many})"));
    shows(&browser, many);
    browser.click("#edit-send");
    assert_eq!(browser.run("return document.querySelectorAll('#edit .entry').length"), json!(100));
    browser.click("#edit .more");
    browser.run("document.querySelector('#edit .entry input').value = 'first'");
    browser.click("#edit-go");
    shows(&browser, many + 1);
    let mut sent = server.fake.journal.get(many).unwrap().unwrap().request.query;
    sent[0].0 = "first".into();
    assert_eq!(server.fake.journal.get(many + 1).unwrap().unwrap().request.query, sent);
    assert_eq!(browser.troubles(), browser::none());
}

#[test]
#[ignore = "needs Chromium and chromedriver"]
fn sizes_are_whole_a_replay_is_marked_a_refusal_explained_and_a_path_without_a_stage_whole() {
    let (_directory, server, browser) = start();
    let post = |query: Vec<(String, String)>, body: Vec<u8>| {
        server.fake.walk("dev", "POST", "/input", query, vec![], body.into()).0
    };
    for bytes in [999, 900_000, 282_800, 999_900, 4_400_000] {
        post(vec![token()], vec![b'x'; bytes]);
    }
    let wrong = post(vec![("token".into(), "x".into())], b"{}".to_vec());
    let favicon = server.fake.walk("", "GET", "/favicon.ico", vec![], vec![], "".into()).0;
    let root = server.fake.walk("", "GET", "/", vec![], vec![], "".into()).0;
    browser.enter(&server.page());
    browser.wait("document.querySelectorAll('#rows .row:not([hidden])').length === 8");
    for width in [1400, 1280, 821, 390] {
        browser.size(width, 800);
        browser.wait(&format!(
            "innerWidth === {width} && document.querySelector('#rows .size').offsetWidth > 0"
        ));
        let cut = "return [...document.querySelectorAll('#rows .size')].filter(size => size.scrollWidth > size.clientWidth).map(size => size.textContent)";
        assert_eq!(browser.run(cut), json!([]), "at {width}");
    }
    browser.size(1280, 800);
    assert_eq!(browser.text("#row-2 .size"), "900.0 KB");
    assert_eq!(
        browser.run(&format!(
            "return [...document.querySelectorAll('#row-{favicon} .stage, #row-{favicon} .route b')].map(cell => cell.textContent)"
        )),
        json!(["–", "GET /favicon.ico"])
    );

    let open = |id: u64| {
        browser.run(&format!("open({id})"));
        shows(&browser, id);
    };
    for (id, title) in [(favicon, "GET /favicon.ico"), (root, "GET /")] {
        open(id);
        assert_eq!(browser.text("#detail h2"), title);
        assert_eq!(
            browser.run("return [...document.querySelectorAll('.facts span')].map(fact => fact.textContent)[3]"),
            json!("no such stage")
        );
    }
    open(wrong);
    assert_eq!(
        (browser.text(".why"), browser.text("#step-request .tag")),
        ("the token isn't stage dev's".into(), "invalid token".into())
    );

    open(1);
    assert_eq!(browser.text("#step-request .tag"), "valid token");
    browser.click("#again");
    let again = root + 1;
    shows(&browser, again);
    assert_eq!(browser.text(".facts .again"), "sent again from #1");
    browser.wait(&format!(
        "document.querySelector('#row-{again} .route b')?.textContent === '↻ /input'"
    ));
    browser.click("#edit-send");
    browser.click("#edit-go");
    shows(&browser, again + 1);
    assert_eq!(browser.text(".facts .again"), format!("sent from #{again}, edited"));
    browser.click(".facts .again button");
    shows(&browser, again);

    browser.run("open(9999)");
    browser.wait("document.querySelector('#detail .nothing')");
    assert_eq!(
        browser.run("return document.querySelector('#detail .nothing p').textContent"),
        json!(format!("there is no request 9999: the last one is {}", again + 1))
    );
    // The console says that an answer was 404, which was the point.
    assert_eq!(browser.troubles()["page"], browser::none()["page"]);
}

#[test]
#[ignore = "needs Chromium and chromedriver"]
fn fifty_requests_a_second_do_not_freeze_it_and_a_reload_keeps_the_list() {
    let (_directory, server, browser) = start();
    browser.enter(&server.page());
    browser.wait("document.querySelector('#state').textContent === 'live'");
    // Heard of by the page's own clock: how long at most nothing was drawn. Idle, this machine's
    // own pauses.
    browser.run("window.__gap = 0");
    let start = Instant::now();
    for n in 0..500_u32 {
        server.fake.walk(
            "dev",
            "POST",
            "/input",
            vec![token()],
            headers(&[("content-type", "application/json")]),
            format!("{{\"n\":{n}}}").into(),
        );
        let due = Duration::from_millis(20) * n;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        if n == 250 {
            browser.keys(&["g"]);
            browser.wait("state.exchange");
        }
    }
    browser.wait("state.all.length === 500 && document.querySelector('#count').textContent === '500 requests'");
    let seen = browser.run("return [window.__gap, window.__rows]");
    // A page that freezes stops for many seconds.
    assert!(seen[0].as_f64().unwrap() < 5000.0, "{seen}");
    assert!(seen[1].as_u64().unwrap() < 60, "{seen}");
    // Who reads further down isn't moved by what comes in.
    browser.run("document.querySelector('#list').scrollTop = 3400");
    browser.until("return document.querySelector('#list').scrollTop", |top| *top == json!(3400));
    for _ in 0..5 {
        server.fake.walk("dev", "POST", "/input", vec![token()], vec![], "{}".into());
    }
    browser.until("return [state.all.length, document.querySelector('#list').scrollTop]", |now| {
        *now == json!([505, 3400 + 5 * 34])
    });
    browser.reload();
    browser.wait("document.querySelector('#count').textContent === '505 requests'");
    assert_eq!(rows(&browser)[..3], [505, 504, 503]);
    for _ in 0..700 {
        server.fake.walk("dev", "POST", "/input", vec![token()], vec![], "{}".into());
    }
    browser.until("return [state.all.length, state.all[0].id, state.all.at(-1).id]", |now| {
        *now == json!([1000, 1205, 206])
    });
    assert_eq!(browser.troubles(), browser::none());
}

#[test]
#[ignore = "needs Chromium and chromedriver"]
fn nothing_overflows_from_360_pixels_on_and_every_text_stands_out_in_both_themes() {
    let (_directory, server, browser) = start();
    fill(&server);
    browser.enter(&server.page());
    browser.wait("state.all.length === 68");
    // Elements that stick out of the window, but for what scrolls or is cut within its own box.
    let out = "const wide = innerWidth; return [document.documentElement.scrollWidth - wide, ...[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('.hex, .row .route > *') && e.getBoundingClientRect().right > wide + 0.5).map(e => e.tagName + '.' + e.className)]";
    for width in [360, 491, 821, 1280] {
        browser.size(width, 800);
        for id in [2, 5, 7] {
            browser.run(&format!("open({id})"));
            shows(&browser, id);
            assert_eq!(browser.run(out), json!([0]), "{id} at {width}");
        }
        browser.run("edit()");
        assert_eq!(browser.run(out), json!([0]), "dialog at {width}");
        browser.run("document.querySelector('#edit').close(); back()");
        browser.wait("document.querySelectorAll('#rows .row:not([hidden])').length > 5");
        assert_eq!(browser.run(out), json!([0]), "list at {width}");
    }
    // On a narrow screen the list gives way to the request, and comes back.
    browser.size(360, 740);
    browser.wait("document.querySelectorAll('#rows .row:not([hidden])').length > 5");
    // The top one: the driver would scroll to another, and rows change places then.
    browser.run("list.scrollTop = 0");
    browser.wait("document.querySelector('#row-68')?.offsetHeight === 56");
    browser.click("#row-68");
    browser.wait("document.querySelector('#again')?.checkVisibility() && !document.querySelector('#list').checkVisibility()");
    browser.click(".back");
    browser.wait("document.querySelector('#list').checkVisibility() && !document.querySelector('#again')?.checkVisibility()");

    // Source: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
    let contrast = "
        const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        const light = name => { canvas.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim(); canvas.fillRect(0, 0, 1, 1);
            const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const pairs = [];
        for (const ground of ['--ground', '--panel', '--sunken', '--accent-ground']) for (const text of ['--text', '--dim', '--good', '--warn', '--bad', '--accent']) pairs.push([text, ground]);
        for (const text of ['--key', '--string', '--number', '--literal']) pairs.push([text, '--panel']);
        for (const name of ['good', 'warn', 'bad']) pairs.push([`--${name}`, `--${name}-ground`], ['--text', `--${name}-ground`]);
        pairs.push(['--panel', '--accent']);
        return pairs.map(([a, b]) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return [a, b, (x + 0.05) / (y + 0.05)]; }).filter(([, , ratio]) => ratio < 4.5)";
    for theme in ["light", "dark"] {
        browser.theme(theme);
        assert_eq!(browser.run(contrast), json!([]), "{theme}");
    }
    assert_eq!(browser.troubles(), browser::none());
}

/// Screenshots to look at: `ROUTETO_SCREENSHOTS=DIR cargo test --test inspector -- --ignored
/// screenshots`
#[test]
#[ignore = "needs Chromium and chromedriver"]
fn screenshots_of_both_themes_and_widths_are_taken_where_asked() {
    let Some(to) = std::env::var_os("ROUTETO_SCREENSHOTS").map(std::path::PathBuf::from) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let browser = Browser::start();
    let shoot = |name: &str, width: u32, height: u32| {
        for theme in ["light", "dark"] {
            browser.theme(theme);
            browser.size(width, height);
            std::thread::sleep(std::time::Duration::from_millis(400));
            browser.screenshot(&to.join(format!("{name}-{width}-{theme}.png")));
        }
    };
    browser.size(1280, 800);
    browser.enter(&server.page());
    browser.wait("document.querySelector('#copy-first')");
    shoot("empty", 1280, 800);
    shoot("empty", 360, 740);
    fill(&server);
    browser.wait("document.querySelectorAll('#rows .row').length > 10");
    shoot("list", 1280, 800);
    shoot("list", 360, 740);
    browser.size(1280, 800);
    for (name, id) in [("json", 3), ("mail", 5), ("refused", 2)] {
        browser.run(&format!("open({id})"));
        browser.wait("document.querySelector('#as-curl')");
        std::thread::sleep(std::time::Duration::from_millis(300));
        shoot(name, 1280, 800);
        shoot(name, 360, 740);
        browser.run("document.querySelector('#detail').scrollTop = 620");
        shoot(&format!("{name}-below"), 1280, 800);
        shoot(&format!("{name}-below"), 360, 740);
        shoot(&format!("{name}-tall"), 1280, 2400);
    }
    browser.run("open(3)");
    std::thread::sleep(std::time::Duration::from_millis(300));
    browser.click("#edit-send");
    shoot("edit", 1280, 800);
    shoot("edit", 360, 740);
    browser.run("document.querySelector('#edit').close(); document.querySelector('#help').click()");
    shoot("keys", 1280, 800);
    browser.run("document.querySelector('#keys').close(); document.body.dataset.view=''; delete document.body.dataset.view");
    *server.fake.problem.lock().unwrap() = Some("error: unknown key `buket`, did you mean `bucket`?\n  --> stacks/routeto.yaml:12:7\n   |\n12 |       buket: webhooks\n   |       ^^^^^".into());
    server.fake.journal.changed();
    shoot("problem", 1280, 800);
    shoot("wide", 1900, 1000);
    shoot("middle", 800, 700);
}

/// A little of everything.
pub fn fill(server: &Server) {
    let json = |extra: &[(&str, &str)]| {
        let mut headers = vec![
            ("host".to_owned(), "127.0.0.1:3000".to_owned()),
            ("content-type".to_owned(), "application/json".to_owned()),
            ("user-agent".to_owned(), "SendGrid Event API".to_owned()),
            (
                "x-twilio-email-event-webhook-signature".to_owned(),
                "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=".to_owned(),
            ),
            ("x-twilio-email-event-webhook-timestamp".to_owned(), "1600112502".to_owned()),
        ];
        headers.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        headers
    };
    let events = r#"[{"email":"example@test.com","timestamp":1513299569,"smtp-id":"<14c5d75ce93.dfd.64b469@ismtpd-555>","event":"delivered","category":["cat facts"],"sg_event_id":"sg_event_id","price":1.50,"big":12345678901234567890,"sg_message_id":"14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0","response":"250 OK","tls":true,"none":null}]"#;
    let mail = b"--xYzZY\r\nContent-Disposition: form-data; name=\"from\"\r\n\r\nAnna <anna@example.com>\r\n--xYzZY\r\nContent-Disposition: form-data; name=\"subject\"\r\n\r\nInvoice\r\n--xYzZY\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nHello,\nattached is the invoice.\n\r\n--xYzZY\r\nContent-Disposition: form-data; name=\"attachment1\"; filename=\"dot.png\"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10\x08\x02\0\0\0\x90\x91h6\0\0\0\x15IDATx\x9cc`hP\"\r1\x8cj\x18\xd51\xaa\x01\0\xfe\x9c^\x01H\x9e\x94\xe8\0\0\0\0IEND\xaeB`\x82\r\n--xYzZY\r\nContent-Disposition: form-data; name=\"attachment2\"; filename=\"scan.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n\0\x01\x02\x03\xff\xfe\r\n--xYzZY--\r\n";
    let fake = &server.fake;
    fake.walk(
        "dev",
        "POST",
        "/input",
        vec![token(), ("app".into(), "shop".into())],
        json(&[]),
        events.into(),
    );
    fake.walk("dev", "POST", "/input", vec![], json(&[]), events.into());
    fake.walk("prod", "POST", "/callbacks/events", vec![token()], json(&[]), events.into());
    fake.walk(
        "dev",
        "POST",
        "/input",
        vec![("token".into(), "x".into())],
        json(&[]),
        r#"{"id":7}"#.into(),
    );
    fake.walk(
        "dev",
        "POST",
        "/callbacks/inbound",
        vec![token()],
        vec![
            ("content-type".into(), "multipart/form-data; boundary=xYzZY".into()),
            ("user-agent".into(), "Sendlib/1.0 server.sendgrid.net".into()),
        ],
        bytes::Bytes::from_static(mail),
    );
    fake.walk("", "GET", "/favicon.ico", vec![], vec![], "".into());
    fake.walk(
        "dev",
        "POST",
        "/callbacks/events",
        vec![token()],
        json(&[("x-fail", "1")]),
        r#"{"event":"bounce"}"#.into(),
    );
    fake.walk(
        "dev",
        "POST",
        "/callbacks/events",
        vec![token()],
        vec![("content-type".into(), "application/x-www-form-urlencoded".into())],
        "From=%2B15005550006&Body=hello+world&NumMedia=0".into(),
    );
    for n in 0..60 {
        let path = ["/input", "/callbacks/events"][n % 2];
        fake.walk(
            ["dev", "dev", "prod"][n % 3],
            "POST",
            path,
            vec![token()],
            json(&[]),
            format!(
                r#"{{"event":"open","n":{n},"email":"anna@example.com","useragent":"Mozilla/5.0"}}"#
            )
            .into(),
        );
    }
}
