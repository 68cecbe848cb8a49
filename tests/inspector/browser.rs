//! A headless Chromium by the W3C WebDriver protocol, spoken to `chromedriver` as JSON. Both end
//! with this process's handle on them, by their id.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Long enough for a machine with much else to do; a test that passes never waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// One at a time: a browser on each thread would starve them all.
static ONE: Mutex<()> = Mutex::new(());

pub struct Browser {
    _one: MutexGuard<'static, ()>,
    driver: Child,
    agent: ureq::Agent,
    session: String,
}

impl Browser {
    /// # Panics
    /// Where there is no `chromedriver` (Debian: `apt-get install chromium chromium-driver`).
    pub fn start() -> Browser {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed");
        let mut lines = BufReader::new(driver.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "chromedriver ended");
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim().trim_end_matches('.').to_owned();
            }
        };
        // What it says later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE * 2))
            .build()
            .into();
        let mut browser = Browser {
            _one: one,
            driver,
            agent,
            session: format!("http://127.0.0.1:{port}/session"),
        };
        let options = json!({"args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars=false"]});
        let made = browser.call("POST", "", &json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "unhandledPromptBehavior": "ignore", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"},
        }}}));
        browser.session =
            format!("{}/{}", browser.session, made["sessionId"].as_str().expect("a session"));
        browser.cdp("Emulation.setFocusEmulationEnabled", json!({"enabled": true}));
        // In every page before its own scripts: what a caller's markup would set off, and what the
        // policy had to stop.
        browser.cdp(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({"source": "
            window.__violations = []; window.__errors = []; window.__dialogs = 0; window.__gap = 0; window.__rows = 0;
            document.addEventListener('securitypolicyviolation', e => window.__violations.push(e.violatedDirective + ' ' + e.blockedURI));
            addEventListener('error', e => window.__errors.push(String(e.message)));
            addEventListener('unhandledrejection', e => window.__errors.push(String(e.reason)));
            for (const name of ['alert', 'confirm', 'prompt']) window[name] = () => { window.__dialogs++; };
            let last = performance.now();
            const beat = () => { const now = performance.now(); window.__gap = Math.max(window.__gap, now - last); last = now;
                window.__rows = Math.max(window.__rows, document.querySelectorAll('#rows .row').length); requestAnimationFrame(beat); };
            requestAnimationFrame(beat);
        "}),
        );
        browser
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.session);
        let response = match method {
            "POST" => self
                .agent
                .post(&url)
                .header("content-type", "application/json")
                .send(body.to_string()),
            "DELETE" => self.agent.delete(&url).call(),
            _ => self.agent.get(&url).call(),
        };
        let text = response
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
            .into_body()
            .with_config()
            .limit(256 << 20)
            .read_to_string()
            .unwrap();
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        assert!(
            answer["value"]["error"].is_null(),
            "{method} {path} {body}: {}",
            answer["value"]["message"]
        );
        answer["value"].take()
    }

    pub fn cdp(&self, command: &str, parameters: Value) -> Value {
        self.call("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    pub fn open(&self, url: &str) {
        self.call("POST", "/url", &json!({"url": url}));
    }

    /// Opens the page by the address with the key, and waits until the key is changed for the
    /// cookie.
    pub fn enter(&self, url: &str) {
        self.open(url);
        self.wait("document.querySelector('#rows') && document.readyState === 'complete' && !location.hash.includes('key=')");
        // The console has the 403 that the way in begins with.
        self.log();
    }

    fn log(&self) -> Value {
        self.call("POST", "/se/log", &json!({"type": "browser"}))
    }

    pub fn reload(&self) {
        self.call("POST", "/refresh", &json!({}));
    }

    pub fn size(&self, width: u32, height: u32) {
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
    }

    pub fn theme(&self, name: &str) {
        self.cdp(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": name}]}),
        );
    }

    /// What a script answers; a promise is waited for.
    pub fn run(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The script's answer, once `good` likes it.
    pub fn until(&self, script: &str, good: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let value = self.run(script);
            if good(&value) {
                return value;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "`{script}` still gives {value}; the page: {}",
                self.run("return document.body.innerText")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until an expression is true.
    pub fn wait(&self, expression: &str) {
        self.until(&format!("return Boolean({expression})"), |value| *value == json!(true));
    }

    fn element(&self, css: &str) -> String {
        self.wait(&format!("document.querySelector({})", json!(css)));
        let found = self.call("POST", "/element", &json!({"using": "css selector", "value": css}));
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    pub fn click(&self, css: &str) {
        let element = self.element(css);
        self.call("POST", &format!("/element/{element}/click"), &json!({}));
    }

    pub fn clear(&self, css: &str) {
        let element = self.element(css);
        self.call("POST", &format!("/element/{element}/clear"), &json!({}));
    }

    pub fn type_into(&self, css: &str, text: &str) {
        let element = self.element(css);
        self.call("POST", &format!("/element/{element}/value"), &json!({"text": text}));
    }

    /// Presses keys wherever the focus is. Codes: <https://www.w3.org/TR/webdriver2/#keyboard-actions>
    pub fn keys(&self, keys: &[&str]) {
        let actions: Vec<Value> = keys
            .iter()
            .flat_map(|key| {
                [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
            })
            .collect();
        self.call(
            "POST",
            "/actions",
            &json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}),
        );
    }

    pub fn text(&self, css: &str) -> String {
        self.run(&format!("return document.querySelector({})?.innerText ?? ''", json!(css)))
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub fn clipboard(&self) -> String {
        self.run("return navigator.clipboard.readText()").as_str().unwrap().to_owned()
    }

    /// Everything that went wrong in the page: what the policy stopped, scripts' errors, dialogs,
    /// the canary, the console's complaints.
    pub fn troubles(&self) -> Value {
        let log = self.log();
        let page = self.run("return [window.__violations, window.__errors, window.__dialogs, typeof window.__pwned]");
        let log: Vec<&Value> = log
            .as_array()
            .unwrap()
            .iter()
            .filter(|line| line["level"] != "INFO" && line["level"] != "DEBUG")
            .map(|line| &line["message"])
            .collect();
        json!({"page": page, "console": log})
    }

    pub fn screenshot(&self, file: &Path) {
        let png = self.call("GET", "/screenshot", &Value::Null);
        std::fs::write(file, BASE64_STANDARD.decode(png.as_str().unwrap()).unwrap()).unwrap();
    }
}

/// What [`Browser::troubles`] says of a page where all is well.
pub fn none() -> Value {
    json!({"page": [[], [], 0, "undefined"], "console": []})
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session; chromedriver is ours.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
