//! How long a deploy takes, and what it waits for: the real binary against the tests' emulator,
//! through the tests' proxy, which adds so much to each call. Sequential round trips, calls and
//! wall time for a first deploy, no change, one template changed, and a teardown.
//!
//! `cargo bench --bench deploy`; beside others that `benches/deploy_others/setup.sh DIRECTORY` made
//! ready, with `-- DIRECTORY`. `ROUTETO_BIN` names another binary; `ROUTETO_TEST_FUNCTION_ZIP` a
//! function that is built already, or routeto builds it first. Of what one deploy waits for, the
//! emulator's own work is a large part: it is Python, and does one thing at a time.
#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Emulator, Proxy, Routeto, root};

/// Times that routeto is measured; the median counts.
const TIMES: usize = 3;
/// Longer than routeto thinks between an answer and the calls that follow from it, on a busy
/// machine, too.
const QUIET: Duration = Duration::from_millis(1000);
const STEPS: [&str; 4] = ["first deploy", "no change", "one template changed", "teardown"];

/// Whatever deploys: a directory with its stack, and how each step is done in it.
trait Tool {
    fn name(&self) -> String;
    /// A new stack of so many routes.
    fn begin(&mut self, routes: usize);
    fn change(&mut self);
    /// `deploy` or `teardown`.
    fn command(&self, verb: &str) -> Command;
    fn once(&self) -> Option<Command> {
        None
    }
}

struct Ours {
    binary: PathBuf,
    zip: PathBuf,
    directory: tempfile::TempDir,
    name: String,
    routes: usize,
}

impl Ours {
    fn write(&self, changed: bool) {
        // One route is stacks/sendgrid-s3.yaml itself, under a name of this run.
        let mut yaml = std::fs::read_to_string(root().join("stacks/sendgrid-s3.yaml"))
            .unwrap()
            .replace("sendgrid-", "NAME-")
            .replace("NAME-s3", "NAME");
        if self.routes > 1 {
            yaml = "stack: NAME\nstages:\n  prod: { throttle: { rate: 1000, burst: 2000 } }\nroutes:\n".to_owned();
            for n in 1..=self.routes {
                let _ = writeln!(
                    yaml,
                    "  /r{n}:\n    s3:\n      bucket: NAME-${{account}}-${{stage}}\n      prefix: r{n}/"
                );
            }
        }
        if changed {
            yaml = yaml.replacen(
                "    s3:\n",
                "    templates: { application/json: own.vtl }\n    s3:\n",
                1,
            );
        }
        std::fs::write(
            self.directory.path().join("own.vtl"),
            std::fs::read_to_string(root().join("mapping-templates/json.vtl")).unwrap() + "\n",
        )
        .unwrap();
        std::fs::write(self.directory.path().join("stack.yaml"), yaml.replace("NAME", &self.name))
            .unwrap();
    }
}

impl Tool for Ours {
    fn name(&self) -> String {
        "routeto".into()
    }

    fn begin(&mut self, routes: usize) {
        self.name = support::stack::unique_name();
        self.routes = routes;
        self.write(false);
    }

    fn change(&mut self) {
        self.write(true);
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.args([verb, "stack.yaml"]).current_dir(self.directory.path());
        match verb {
            "deploy" => command.arg("--function-zip").arg(&self.zip),
            _ => command.arg("--yes"),
        };
        command
    }
}

/// One of another maker: `begin.sh ROUTES`, `change.sh`, `deploy.sh` and `teardown.sh` in its
/// directory.
struct Other(PathBuf);

impl Other {
    fn script(&self, name: &str) -> Command {
        let mut command = Command::new("bash");
        command.arg(self.0.join(name)).current_dir(&self.0);
        command
    }
}

impl Tool for Other {
    fn name(&self) -> String {
        self.0.file_name().unwrap().to_string_lossy().into_owned()
    }

    fn begin(&mut self, routes: usize) {
        assert!(
            self.script("begin.sh")
                .arg(routes.to_string())
                .arg(support::stack::unique_name())
                .status()
                .unwrap()
                .success()
        );
    }

    fn change(&mut self) {
        assert!(self.script("change.sh").status().unwrap().success());
    }

    fn command(&self, verb: &str) -> Command {
        self.script(&format!("{verb}.sh"))
    }

    fn once(&self) -> Option<Command> {
        self.0.join("once.sh").exists().then(|| self.script("once.sh"))
    }
}

/// What one command took.
struct Took {
    seconds: f64,
    calls: usize,
    throttled: usize,
    rounds: Vec<Vec<String>>,
    /// MB at most; of routeto alone.
    memory: Option<u64>,
}

fn run(proxy: &Proxy, mut command: Command, probe: bool) -> Result<Took, String> {
    command
        .env("AWS_ENDPOINT_URL", proxy.url())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test");
    command
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
        .env("AWS_CONFIG_FILE", "/nonexistent/config")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials");
    if probe {
        command.env("ROUTETO_INVOKE_URL", proxy.invoke_url());
    }
    proxy.clear();
    let begun = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (status, output, memory) = wait(child);
    let seconds = begun.elapsed().as_secs_f64();
    if !status {
        return Err(output
            .lines()
            .rev()
            .take(5)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
            .join(" / "));
    }
    let calls = proxy.calls();
    let throttled = calls.iter().filter(|call| call.status == Some(429)).count();
    let rounds =
        proxy.rounds().iter().map(|calls| calls.iter().map(|call| call.name()).collect()).collect();
    Ok(Took { seconds, calls: calls.len(), throttled, rounds, memory })
}

/// Whether it ended well, what it said, and the most memory that it had, looked at every few
/// milliseconds.
fn wait(mut child: std::process::Child) -> (bool, String, Option<u64>) {
    let read = |mut pipe: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = pipe.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let (out, err) = (
        read(Box::new(child.stdout.take().unwrap())),
        read(Box::new(child.stderr.take().unwrap())),
    );
    let mut most = None;
    let status = loop {
        let text =
            std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = text
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        most = most.max(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    (
        status.success(),
        out.join().unwrap() + &err.join().unwrap(),
        most.map(|kilobytes| kilobytes / 1000),
    )
}

/// All four steps of one stack.
fn steps(
    proxy: &Proxy,
    tool: &mut dyn Tool,
    routes: usize,
    probe: bool,
) -> Vec<Result<Took, String>> {
    tool.begin(routes);
    let mut all = vec![];
    for step in STEPS {
        if step == STEPS[2] {
            tool.change();
        }
        let verb = if step == STEPS[3] { "teardown" } else { "deploy" };
        all.push(run(proxy, tool.command(verb), probe));
    }
    all
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Each time through a proxy of its own: what an earlier stack took of the account's quotas isn't
/// this one's.
fn table(
    title: &str,
    proxy: impl Fn() -> Proxy,
    tools: &mut [Box<dyn Tool>],
    routes: usize,
    probe: bool,
) {
    println!("\n{title}\n\n| | {} |\n|---{}|", STEPS.join(" | "), "|---".repeat(STEPS.len()));
    for tool in tools {
        let times = if tool.name() == "routeto" { TIMES } else { 1 };
        let runs: Vec<_> =
            (0..times).map(|_| steps(&proxy(), tool.as_mut(), routes, probe)).collect();
        print!("| {} |", tool.name());
        for step in 0..STEPS.len() {
            match &runs[0][step] {
                Err(error) => print!(" failed: {error} |"),
                Ok(took) => {
                    let seconds = median(
                        runs.iter()
                            .filter_map(|run| Some(run[step].as_ref().ok()?.seconds))
                            .collect(),
                    );
                    let throttled = if took.throttled > 0 {
                        format!(", {} throttled", took.throttled)
                    } else {
                        String::new()
                    };
                    print!(" {seconds:.2} s · {} calls{throttled} |", took.calls);
                }
            }
        }
        println!();
    }
}

fn main() {
    let others = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).map(PathBuf::from);
    let binary = std::env::var_os("ROUTETO_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_routeto")), PathBuf::from);
    let start = (0..20).map(|_| {
        let begun = Instant::now();
        assert!(
            Command::new(&binary)
                .arg("--version")
                .stdout(Stdio::null())
                .status()
                .unwrap()
                .success()
        );
        begun.elapsed().as_secs_f64()
    });
    println!("routeto --version: median of 20 {:.1} ms", median(start.collect()) * 1e3);

    let emulator = Emulator::shared();
    let zip = std::env::var_os("ROUTETO_TEST_FUNCTION_ZIP").map_or_else(built, PathBuf::from);
    let ours = || Ours {
        binary: binary.clone(),
        zip: zip.clone(),
        directory: tempfile::tempdir().unwrap(),
        name: String::new(),
        routes: 1,
    };

    // Once for nothing: the emulator loads its services when they are asked for.
    let _ = steps(&Proxy::start(emulator), &mut ours(), 1, false);
    let counting = Proxy::start(emulator);
    counting.lockstep(QUIET);
    println!(
        "\nRound trips of stacks/sendgrid-s3.yaml (what is sent together counts once; polls aside):\n"
    );
    for (step, took) in STEPS.iter().zip(steps(&counting, &mut ours(), 1, false)) {
        let took = took.unwrap_or_else(|error| panic!("{step}: {error}"));
        println!(
            "- {step}: {} round trips, {} calls, {} MB at most",
            took.rounds.len(),
            took.calls,
            took.memory.unwrap_or(0)
        );
        for (n, round) in took.rounds.iter().enumerate() {
            println!("  {}. {}", n + 1, round.join(", "));
        }
    }

    let mut tools: Vec<Box<dyn Tool>> = vec![Box::new(ours())];
    for directory in others
        .iter()
        .flat_map(|directory| std::fs::read_dir(directory).unwrap())
        .filter_map(Result::ok)
    {
        if directory.path().join("deploy.sh").exists() {
            tools.push(Box::new(Other(directory.path())));
        }
    }
    for tool in &tools {
        if let Some(mut once) = tool.once() {
            // What its maker asks for once an account isn't measured.
            once.env("AWS_ENDPOINT_URL", emulator.endpoint())
                .env("AWS_ACCESS_KEY_ID", "test")
                .env("AWS_SECRET_ACCESS_KEY", "test");
            once.env("AWS_REGION", "us-east-1").stdout(Stdio::null()).stderr(Stdio::null());
            println!(
                "{}: prepared: {}",
                tool.name(),
                once.status().is_ok_and(|status| status.success())
            );
        }
    }
    let slowed = |latency| {
        let proxy = Proxy::start(emulator);
        proxy.latency(Duration::from_millis(latency));
        proxy
    };
    if std::env::var_os("ROUTETO_BENCH_CALLS").is_some() {
        return timeline(&slowed(50), &mut ours());
    }
    for latency in [0, 50, 150] {
        table(
            &format!("One route, {latency} ms added to each call, no probe"),
            || slowed(latency),
            &mut tools,
            1,
            false,
        );
    }
    for routes in [3, 30, 60] {
        let proxy = || {
            let proxy = slowed(50);
            proxy.quotas(1);
            proxy
        };
        table(
            &format!("{routes} routes, 50 ms, API Gateway's quotas"),
            proxy,
            &mut tools,
            routes,
            false,
        );
    }
}

/// When each call of a first deploy, and of one that changes nothing, began and ended
/// (milliseconds).
fn timeline(proxy: &Proxy, tool: &mut dyn Tool) {
    for time in 1..=TIMES {
        tool.begin(1);
        for step in ["first deploy", "no change"] {
            let begun = Instant::now();
            let took =
                run(proxy, tool.command("deploy"), false).unwrap_or_else(|error| panic!("{error}"));
            println!("\n{step} {time} of {TIMES}: {:.2} s", took.seconds);
            let since = |at: Instant| at.duration_since(begun).as_millis();
            for call in proxy.calls() {
                println!(
                    "{:5} {:>5} {}",
                    since(call.at),
                    call.end.map_or_else(String::new, |end| since(end).to_string()),
                    call.name()
                );
            }
        }
        let _ = run(proxy, tool.command("teardown"), false);
    }
}

/// The function's zip, as `routeto package` makes or keeps it.
fn built() -> PathBuf {
    let said = Routeto::bare(root()).args("package").json();
    let path = said["path"]
        .as_str()
        .or(said["zip"].as_str())
        .unwrap_or_else(|| panic!("no path in {said}"));
    Path::new(path).to_owned()
}
