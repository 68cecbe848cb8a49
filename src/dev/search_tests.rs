use super::*;
use crate::dev::exchange::{FunctionSaid, Request, Response, TemplateUsed, TokenSent};

/// `content-type: …` and whatever else, a body, and the event that a template made of it.
fn exchange(headers: &[(&str, &str)], body: &[u8], event: &str) -> Exchange {
    Exchange {
        id: 7,
        time: 0,
        stage: "dev".into(),
        route: Some("/input".into()),
        request: Request {
            method: "POST".into(),
            path: "/input".into(),
            query: vec![("App".into(), "my shop".into())],
            token: TokenSent::Right,
            version: "HTTP/1.1".into(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            body: body.to_vec(),
        },
        status: 200,
        millis: 1.0,
        response: Response {
            headers: vec![("X-Answer".into(), "yes".into())],
            body: b"{\"result\":\"success\"}".to_vec(),
        },
        template: Some(TemplateUsed {
            content_type: "t/t".into(),
            file: Some("mine.vtl".into()),
            text: "#foreach".into(),
        }),
        event: Some(event.into()),
        function: Some(FunctionSaid {
            id: "invocation-1".into(),
            answer: "{}".into(),
            failed: false,
            log: "logged".into(),
        }),
        record: Some(Stored::S3 {
            bucket: "webhooks".into(),
            key: "SendGrid/input_1".into(),
            bytes: 1,
        }),
        why: Some("because".into()),
        again: None,
    }
}

fn summary() -> Summary {
    Summary {
        seq: 1,
        id: 7,
        time: 0,
        stage: "dev".into(),
        route: Some("/input".into()),
        method: "POST".into(),
        path: "/input?App=my shop".into(),
        status: 200,
        millis: 1.0,
        bytes: 1,
        content_type: "application/json".into(),
        stored: Some("s3".into()),
        preview: "how it begins".into(),
        more: vec![],
        again: None,
    }
}

fn finds(words: &str, headers: &[(&str, &str)], body: &[u8], event: &str) -> bool {
    let search = Search::parse(words).expect("few words");
    search.is_in(&summary(), exchange(headers, body, event))
}

#[test]
fn words_are_found_wherever_they_are_kept_in_either_case() {
    let stripe =
        br#"{"id":"evt_1","data":{"object":{"object":"setup_intent","name":"Jos\u00e9 \ud83d\ude00","url":"https:\/\/pay.example\/x"}}}"#;
    let github =
        [("X-GitHub-Event", "push"), ("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")];
    let mail = "--b\r\nContent-Disposition: form-data; name=\"subject\"\r\n\r\nRe: Überweisung\r\n--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a.bin\"\r\n\r\n\u{0}\u{1}".as_bytes();
    let mail = [mail, b"\xff\xfe--b--"].concat();
    let form = b"From=%2B15005550006&Body=gr%C3%BC%C3%9Fe+aus+Bonn";
    // An event with a text in base64, which is what it is, not its digits.
    let event = r#"{"body":"dGhlIHRleHQgd2l0aGluIHRoZSBldmVudA==","path":"/input"}"#;
    let binary = format!("{{\"body\":\"{}\"}}", BASE64_STANDARD.encode([0xff; 3000]));
    let cases: [(&str, &[u8], &str, bool); 26] = [
        ("setup_intent", stripe, "", true),
        ("SETUP_Intent evt_1", stripe, "", true),
        ("setup_intents", stripe, "", false),
        ("setup_intent nowhere", stripe, "", false),
        ("josé", stripe, "", true),
        ("JOSÉ", stripe, "", true),
        ("😀", stripe, "", true),
        ("https://pay.example/X", stripe, "", true),
        ("x-github-event", b"", "", true),
        ("X-GitHub-Event: push", b"", "", true),
        ("72d3162e", b"", "", true),
        ("subject überweisung", &mail, "", true),
        ("a.bin", &mail, "", true),
        ("+15005550006", form, "", true),
        ("GRÜSSE Bonn", form, "", false),
        ("grüße aus", form, "", true),
        ("app=my success yes", b"", "", true),
        ("invocation-1 logged because mine.vtl", b"", "", true),
        ("s3://webhooks/sendgrid/input_1", b"", "", true),
        ("#7 200 post dev begins", b"", "", true),
        ("#foreach", b"", "", false),
        ("within the event", b"", event, true),
        ("dGhlIHRleHQ", b"", event, false),
        ("\"path\":\"/input\"", b"", event, true),
        ("/////", b"", &binary, false),
        ("", b"", "", true),
    ];
    for (words, body, event, wanted) in cases {
        assert_eq!(finds(words, &github, body, event), wanted, "{words}");
    }
    assert!(Search::parse(&"a ".repeat(MOST_WORDS)).is_some());
    assert!(Search::parse(&"a ".repeat(MOST_WORDS + 1)).is_none());
}

#[test]
fn whatever_is_escaped_wrongly_stays_as_it_is() {
    for (text, shown) in [
        (r"a\u00e9b\n\/\\", "aéb /\\"),
        (r"\ud83d\ude00!", "😀!"),
        (r"\ud83d!", "ud83d!"),
        (r"\u12", "u12"),
        (r"\uéééé\", "uéééé"),
    ] {
        assert_eq!(unescaped(text), shown, "{text}");
    }
}
