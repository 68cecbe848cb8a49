//! Runs cargo on the source that was laid down, and says in a few words what went wrong.
//!
//! What it runs is told nothing of the user's flags and wrappers, and dies with all that it started
//! when the build is cancelled.

use super::{Cancel, Event, Options, PLACE, cache::Cache, interrupted, toolchain};
use crate::error::{Error, Failure};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};
use toolchain::{Target, Toolchain};

/// The profile in the root manifest.
const PROFILE: &str = "function";

/// Compiles the function; the program's bytes.
pub fn build(
    cache: &Cache,
    options: &Options,
    toolchain: &Toolchain,
    target: &Target,
    progress: &dyn Fn(Event),
) -> Result<Vec<u8>, Error> {
    let unwritable = |error: io::Error| {
        Failure::new(PLACE, format!("{} can't be written: {error}", cache.build().display()))
            .now("set ROUTETO_CACHE to a directory with room")
    };
    let place = Place::new(cache.build()).map_err(unwritable)?;
    place.forget_other_toolchain(&toolchain.version).map_err(unwritable)?;
    options.source.lay_down(&place.source).map_err(unwritable)?;
    let mut log = File::create(&place.log).map_err(unwritable)?;
    let cargo = Cargo { place: &place, options, toolchain, target };

    progress(Event::Fetching);
    let run = cargo.run(
        &["metadata", "--format-version", "1", "--filter-platform", target.triple],
        &[],
        &mut log,
        &mut |_| {},
    )?;
    if !run.status.success() {
        return Err(place.failure(&run).into());
    }
    let crates = Crates::read(&run.stdout);

    progress(Event::Compiling { done: 0, total: crates.count, name: String::new() });
    let mut done = BTreeSet::new();
    let flags = flags(&place, toolchain, &crates.roots, options);
    let run = cargo.run(
        &[
            "build",
            "--profile",
            PROFILE,
            "--target",
            target.triple,
            "--bin",
            "bootstrap",
            "--message-format",
            "json",
        ],
        &flags,
        &mut log,
        &mut |line| {
            let Some(name) = compiled(line, &mut done) else { return };
            progress(Event::Compiling {
                done: done.len(),
                total: crates.count.max(done.len()),
                name,
            });
        },
    )?;
    if !run.status.success() {
        return Err(place.failure(&run).into());
    }
    let program = place.target.join(target.triple).join(PROFILE).join("bootstrap");
    let unread = |error| {
        Failure::new(
            program.display().to_string(),
            format!("what cargo built can't be read: {error}"),
        )
    };
    Ok(fs::read(&program).map_err(unread)?)
}

/// Cargo's directories, with no link in their paths: that is how rustc gets to see them.
struct Place {
    source: PathBuf,
    target: PathBuf,
    log: PathBuf,
    root: PathBuf,
}

impl Place {
    fn new(root: PathBuf) -> io::Result<Self> {
        // Windows' canonical paths are ones that its own linker doesn't take.
        let root = if cfg!(windows) { root } else { root.canonicalize()? };
        Ok(Self {
            source: root.join("source"),
            target: root.join("target"),
            log: root.join("build.log"),
            root,
        })
    }

    /// Removes what another rustc compiled: cargo would use none of it, and never remove it.
    fn forget_other_toolchain(&self, version: &str) -> io::Result<()> {
        let note = self.root.join("rustc");
        if fs::read_to_string(&note).is_ok_and(|last| last == version) {
            return Ok(());
        }
        match fs::remove_dir_all(&self.target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::write(note, version)
    }

    /// What a run that failed told, in at most five lines.
    fn failure(&self, run: &Run) -> Failure {
        let Diagnosis { what, now } = diagnose(&run.stdout, &run.stderr, run.status);
        let log = format!("the whole log is in {}", self.log.display());
        Failure::new(PLACE, what)
            .now(now.map_or_else(|| log.clone(), |now| format!("{now}; {log}")))
    }
}

/// The crates that a build needs.
struct Crates {
    count: usize,
    /// Where their directories stand.
    roots: BTreeSet<PathBuf>,
}

impl Crates {
    fn read(metadata: &[String]) -> Self {
        let metadata: Value =
            metadata.iter().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let nodes = list(&metadata["resolve"]["nodes"]);
        let needed: BTreeSet<&str> = nodes.iter().filter_map(|node| node["id"].as_str()).collect();
        let roots = list(&metadata["packages"])
            .iter()
            .filter(|package| {
                !package["source"].is_null()
                    && package["id"].as_str().is_some_and(|id| needed.contains(id))
            })
            .filter_map(|package| {
                Some(Path::new(package["manifest_path"].as_str()?).parent()?.parent()?.to_owned())
            })
            .collect();
        Self { count: needed.len(), roots }
    }
}

/// Flags that take this machine's paths out of the program.
fn flags(
    place: &Place,
    toolchain: &Toolchain,
    crates: &BTreeSet<PathBuf>,
    options: &Options,
) -> Vec<String> {
    let mut prefixes = vec![(toolchain.sysroot.clone(), "/rust")];
    prefixes.extend(toolchain::cargo_home(&options.environment).map(|home| (home, "/cargo")));
    // Each registry and each mirror has a directory of its own name.
    prefixes.extend(crates.iter().map(|root| (root.clone(), "/crates")));
    prefixes.push((place.root.clone(), "/function"));
    let mut flags = Vec::new();
    for (from, to) in prefixes {
        let canonical = from.canonicalize().unwrap_or_else(|_| from.clone());
        // Of several that fit, rustc takes the last.
        for from in BTreeSet::from([canonical, from]) {
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
        }
    }
    flags
}

/// Counts the crate that a line of cargo's JSON says is compiled; its name.
fn compiled(line: &str, done: &mut BTreeSet<String>) -> Option<String> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_build_script =
        message["target"]["kind"].as_array()?.iter().any(|kind| kind == "custom-build");
    if message["reason"] != "compiler-artifact" || is_build_script {
        return None;
    }
    let new = done.insert(message["package_id"].as_str()?.to_owned());
    new.then(|| message["target"]["name"].as_str().unwrap_or_default().to_owned())
}

/// How a run of cargo ended, and what it said.
struct Run {
    status: ExitStatus,
    stdout: Vec<String>,
    stderr: Vec<String>,
}

enum Line {
    Out(String),
    Err(String),
}

struct Cargo<'a> {
    place: &'a Place,
    options: &'a Options,
    toolchain: &'a Toolchain,
    target: &'a Target,
}

impl Cargo<'_> {
    fn run(
        &self,
        arguments: &[&str],
        flags: &[String],
        log: &mut File,
        each: &mut dyn FnMut(&str),
    ) -> Result<Run, Error> {
        let Self { place, options, toolchain, target } = self;
        let mut command = Command::new(&toolchain.cargo);
        command
            .args(arguments)
            .arg("--locked")
            .current_dir(&place.source)
            .env_clear()
            .envs(toolchain::passed_on(&options.environment))
            .envs(target.variables.iter().map(|(name, value)| (name, value)))
            .env("CARGO_TARGET_DIR", &place.target)
            .env("CARGO_BUILD_BUILD_DIR", &place.target)
            .env("CARGO_TERM_COLOR", "never")
            .env("LC_ALL", "C")
            .env("RUSTC", &toolchain.rustc)
            // Empty: a wrapper in the user's own cargo configuration is switched off, too; and
            // these flags replace all that it has.
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "")
            .env("CARGO_ENCODED_RUSTFLAGS", OsString::from(flags.join("\x1f")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // A group of its own: Ctrl-C on the terminal reaches routeto alone, and one signal
            // reaches all that cargo started.
            command.process_group(0);
        }
        let child = command.spawn().map_err(|error| {
            Failure::new(PLACE, format!("{} can't be run: {error}", toolchain.cargo.display()))
                .now("run `cargo --version`, and mend what it tells")
        })?;
        follow(child, &options.cancel, log, each)
    }
}

/// Reads what the child says until it ends, or ends it.
fn follow(
    mut child: Child,
    cancel: &Cancel,
    log: &mut File,
    each: &mut dyn FnMut(&str),
) -> Result<Run, Error> {
    let (send, lines) = mpsc::channel();
    let readers = [
        read_lines(child.stdout.take().expect("piped"), send.clone(), Line::Out),
        read_lines(child.stderr.take().expect("piped"), send, Line::Err),
    ];
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut killed: Option<Instant> = None;
    loop {
        match lines.recv_timeout(Duration::from_millis(50)) {
            Ok(Line::Out(line)) => {
                if let Some(text) = rendered(&line) {
                    let _ = log.write_all(text.as_bytes());
                }
                each(&line);
                stdout.push(line);
            }
            Ok(Line::Err(line)) => {
                let _ = writeln!(log, "{line}");
                stderr.push(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if killed.is_none() && cancel.is_cancelled() {
            kill(&mut child, false);
            killed = Some(Instant::now());
        } else if killed.is_some_and(|since| since.elapsed() > Duration::from_secs(2)) {
            kill(&mut child, true);
            killed = Some(Instant::now());
        }
    }
    for reader in readers {
        let _ = reader.join();
    }
    let status = child.wait().map_err(|error| {
        Failure::new(PLACE, format!("cargo's end can't be waited for: {error}"))
    })?;
    if killed.is_some() || cancel.is_cancelled() {
        return Err(interrupted());
    }
    Ok(Run { status, stdout, stderr })
}

fn read_lines(
    pipe: impl Read + Send + 'static,
    send: Sender<Line>,
    line: fn(String) -> Line,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while pipe.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
            bytes.clear();
            if send.send(line(text)).is_err() {
                return;
            }
        }
    })
}

/// Ends the child and all that it started; `hard` where asking wasn't enough.
fn kill(child: &mut Child, hard: bool) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        let signal = if hard { Signal::KILL } else { Signal::TERM };
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // Its id is its group's; it isn't given to another process before it is waited for.
        let _ = group.map(|group| kill_process_group(group, signal));
    }
    #[cfg(not(unix))]
    {
        let _ = (hard, child.kill());
    }
}

/// The text of a compiler's message in cargo's JSON.
fn rendered(line: &str) -> Option<String> {
    let message: Value = serde_json::from_str(line).ok()?;
    Some(message["message"]["rendered"].as_str()?.to_owned())
}

/// What went wrong, and what to do now if that is known.
#[derive(Debug, PartialEq, Eq)]
struct Diagnosis {
    what: String,
    now: Option<String>,
}

/// The cause of a failure of cargo's, from what it said. Cargo has no codes for these: the words
/// are all there is.
fn diagnose(stdout: &[String], stderr: &[String], status: ExitStatus) -> Diagnosis {
    let known =
        |what: &str, now: &str| Diagnosis { what: what.to_owned(), now: Some(now.to_owned()) };
    let errors: Vec<Value> = stdout
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|message| message["message"].clone())
        .filter(|message| message["level"] == "error")
        .collect();
    let messages: Vec<&str> = errors.iter().filter_map(|error| error["message"].as_str()).collect();
    let all = || {
        stderr
            .iter()
            .map(String::as_str)
            .chain(errors.iter().filter_map(|error| error["rendered"].as_str()))
    };
    let says = |words: &[&str]| all().any(|text| words.iter().any(|word| text.contains(word)));

    if says(&["No space left on device", "not enough space on the disk"]) {
        return known(
            "the disk is full",
            "make room, or set ROUTETO_CACHE to a directory with about 1 GB of it",
        );
    }
    if says(&["signal: 9, SIGKILL"]) {
        return known(
            "the compiler was killed, most likely for want of memory",
            "give it 2 GB, or build elsewhere and use --function-zip FILE",
        );
    }
    if says(&["failed to find tool", "linker `cc` not found", "is `cc` not installed"])
        || messages.iter().any(|text| text.starts_with("linker `"))
    {
        let tool = all().find_map(missing_tool).unwrap_or("cc");
        return Diagnosis {
            what: format!("the C compiler `{tool}` was not found"),
            now: Some(match tool {
                "cc" | "gcc" => {
                    "apt-get install gcc libc6-dev (or dnf install gcc, apk add build-base)"
                        .to_owned()
                }
                other => format!("install it, or correct the variable that names `{other}`"),
            }),
        };
    }
    if says(&["can't find crate for `core`", "can't find crate for `std`"]) {
        return known(
            "the Rust target's standard library is not installed",
            "run `rustup target add` for the target named in the log",
        );
    }
    if says(&["--locked was passed", "cannot update the lock file", "because --locked"]) {
        return known(
            "the Cargo.lock that travels inside routeto doesn't fit the function's manifest",
            "in a checkout: UPDATE_CASES=1 cargo test --test package; else report it",
        );
    }
    if says(&[
        "is not supported by the following package",
        "requires rustc",
        "feature `edition2024` is required",
    ]) {
        return known("this Rust is too old for the function", "rustup update stable");
    }
    const NETWORK: &[&str] = &[
        "Could not resolve host",
        "Couldn't resolve host",
        "Could not connect",
        "Couldn't connect to server",
        "Failed to connect to",
        "Timeout was reached",
        "failed to download",
        "download of config.json failed",
        "Unable to update registry",
        "unable to update registry",
        "attempting to make an HTTP request",
        "network failure",
        "you're using offline mode",
    ];
    if says(NETWORK) {
        let cause =
            stderr.iter().rev().map(|line| line.trim()).find(|line| {
                line.starts_with('[') || NETWORK.iter().any(|word| line.contains(word))
            });
        return Diagnosis {
            what: format!("crates can't be downloaded: {}", cut(cause.unwrap_or("no network"))),
            now: Some("check the network and HTTPS_PROXY, or use --function-zip FILE".to_owned()),
        };
    }
    if let Some((first, message)) =
        errors.iter().find_map(|error| Some((error, error["message"].as_str()?)))
    {
        let code =
            first["code"]["code"].as_str().map(|code| format!("[{code}]")).unwrap_or_default();
        let mut what = format!("the function does not compile\n  error{code}: {}", cut(message));
        let spans = first["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(span) = spans.iter().find(|span| span["is_primary"] == true) {
            let file = span["file_name"].as_str().unwrap_or_default();
            what += &format!("\n   --> {file}:{}:{}", span["line_start"], span["column_start"]);
        }
        return Diagnosis { what, now: None };
    }
    let told = stderr
        .iter()
        .find(|line| line.starts_with("error"))
        .or(stderr.iter().rfind(|line| !line.trim().is_empty()));
    let told =
        told.map_or_else(|| status.to_string(), |line| cut(line.trim_start_matches("error: ")));
    Diagnosis { what: format!("cargo failed: {told}"), now: None }
}

/// `x` in: failed to find tool "x"; linker `x` not found.
fn missing_tool(text: &str) -> Option<&str> {
    let quoted = |text: &'_ str, before: &str, end: char| {
        let start = text.find(before)? + before.len();
        Some((start, start + text[start..].find(end)?))
    };
    let (start, end) =
        quoted(text, "failed to find tool \"", '"').or_else(|| quoted(text, "linker `", '`'))?;
    text.get(start..end)
}

/// One line, not longer than a terminal is wide twice over.
fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= 160 {
        line.to_owned()
    } else {
        line.chars().take(159).chain(['…']).collect()
    }
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn told(stdout: &[&str], stderr: &[&str]) -> String {
        let lines =
            |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let Diagnosis { what, now } =
            diagnose(&lines(stdout), &lines(stderr), ExitStatus::from_raw(101 << 8));
        format!("{what} | {}", now.unwrap_or_default())
    }

    #[test]
    fn no_network_is_told_with_the_reason() {
        // cargo 1.95, without a network, 2026.
        let stderr = [
            "    Updating crates.io index",
            "warning: spurious network error (3 tries remaining): [6] Could not resolve hostname (Could not resolve host: index.crates.io)",
            "error: failed to get `serde` as a dependency of package `routeto-function v0.1.0 (/tmp/a)`",
            "",
            "Caused by:",
            "  download of config.json failed",
            "",
            "Caused by:",
            "  [6] Could not resolve hostname (Could not resolve host: index.crates.io)",
        ];
        assert_eq!(
            told(&[], &stderr),
            "crates can't be downloaded: [6] Could not resolve hostname (Could not resolve host: index.crates.io) | check the network and HTTPS_PROXY, or use --function-zip FILE"
        );
    }

    #[test]
    fn a_missing_compiler_is_named() {
        let stderr = [
            "  error occurred in cc-rs: failed to find tool \"aarch64-linux-gnu-gcc\": No such file or directory (os error 2)",
        ];
        assert_eq!(
            told(&[], &stderr),
            "the C compiler `aarch64-linux-gnu-gcc` was not found | install it, or correct the variable that names `aarch64-linux-gnu-gcc`"
        );
        let message = r#"{"reason":"compiler-message","message":{"level":"error","message":"linker `cc` not found","rendered":"error: linker `cc` not found\n"}}"#;
        assert_eq!(
            told(&[message], &["error: could not compile"]),
            "the C compiler `cc` was not found | apt-get install gcc libc6-dev (or dnf install gcc, apk add build-base)"
        );
    }

    #[test]
    fn other_causes_that_the_user_can_mend_are_told_as_such() {
        for (line, what) in [
            (
                "error: cannot update the lock file /c/Cargo.lock because --locked was passed to prevent this",
                "the Cargo.lock that travels",
            ),
            (
                "error: rustc 1.80.0 is not supported by the following package:",
                "this Rust is too old for the function | rustup update stable",
            ),
            (
                "error: could not write: No space left on device (os error 28)",
                "the disk is full | ",
            ),
            (
                "  process didn't exit successfully: `rustc` (signal: 9, SIGKILL: kill)",
                "the compiler was killed, most likely for want of memory",
            ),
            ("error: no such command: `build`", "cargo failed: no such command: `build` | "),
        ] {
            let text = told(&[], &["warning: something", line]);
            assert!(text.starts_with(what), "{text}");
        }
        assert_eq!(told(&[], &[]), "cargo failed: exit status: 101 | ");
    }

    #[test]
    fn a_crate_is_counted_once_and_its_build_script_not_at_all() {
        let mut done = BTreeSet::new();
        let line = |kind: &str, id: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"{id}","target":{{"kind":["{kind}"],"name":"ring"}}}}"#
            )
        };
        assert_eq!(compiled(&line("custom-build", "ring 1"), &mut done), None);
        assert_eq!(compiled(&line("lib", "ring 1"), &mut done), Some("ring".to_owned()));
        assert_eq!(compiled(&line("lib", "ring 1"), &mut done), None);
        assert_eq!(compiled("not json", &mut done), None);
        assert_eq!(done.len(), 1);
    }
}
