use super::{browser::Browser, fake::Server};

/// Screenshots to look at: `ROUTETO_SCREENSHOTS=DIR cargo test --test inspector -- --ignored screenshots`
#[test]
#[ignore = "needs Chromium and chromedriver"]
fn screenshots_of_both_themes_and_widths_are_taken_where_asked() {
    let Some(to) = std::env::var_os("ROUTETO_SCREENSHOTS").map(std::path::PathBuf::from) else { return };
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
    browser.open(&server.page());
    browser.wait("document.querySelector('#copy-first')");
    shoot("empty", 1280, 800);
    shoot("empty", 360, 740);
    super::page::fill(&server);
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
    let token = || ("token".to_owned(), super::fake::TOKEN.to_owned());
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
    fake.walk("dev", "POST", "/input", vec![token(), ("app".into(), "shop".into())], json(&[]), events.into());
    fake.walk("dev", "POST", "/input", vec![], json(&[]), events.into());
    fake.walk("prod", "POST", "/callbacks/events", vec![token()], json(&[]), events.into());
    fake.walk("dev", "POST", "/input", vec![("token".into(), "x".into())], json(&[]), r#"{"id":7}"#.into());
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
    fake.walk("favicon.ico", "GET", "/", vec![], vec![], "".into());
    fake.walk("dev", "POST", "/callbacks/events", vec![token()], json(&[("x-fail", "1")]), r#"{"event":"bounce"}"#.into());
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
            format!(r#"{{"event":"open","n":{n},"email":"anna@example.com","useragent":"Mozilla/5.0"}}"#).into(),
        );
    }
}
