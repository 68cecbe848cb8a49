//! Runs the real binary in an environment that holds nothing but what a test gave it, and compares
//! what it did as a whole.

use super::emulator::REGION;
use super::{Emulator, Signal, target};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

/// The function's own build is the longest that a command does: minutes on two cores.
const LONGEST: Duration = Duration::from_secs(900);

/// A command line, its surroundings and what is expected of it; nothing happens before `check`,
/// `output`, `json` or `spawn`.
#[must_use]
#[derive(Clone)]
pub struct Routeto {
    args: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: PathBuf,
    stdin: Option<Vec<u8>>,
    /// Standard input stays open, as at a terminal at which nobody types.
    waits: bool,
    status: i32,
    stdout: Option<String>,
    stderr: Option<String>,
    secrets: Vec<String>,
    /// Columns.
    terminal: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit code; 128 and the signal's number where a signal ended it.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    pub seconds: u64,
}

impl Routeto {
    /// In this directory, against the shared emulator.
    pub fn new(cwd: &Path) -> Self {
        let emulator = Emulator::shared();
        Self::bare(cwd)
            .env("AWS_ENDPOINT_URL", emulator.endpoint())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", REGION)
            .env("ROUTETO_INVOKE_URL", emulator.invoke_url())
            // the emulator knows at once what AWS is given time for
            .env("ROUTETO_TEST_SETTLE_CLOCK", "100")
    }

    /// In this directory, with nothing of AWS's at all.
    pub fn bare(cwd: &Path) -> Self {
        let mut env = BTreeMap::new();
        // what building the function needs: cargo, a linker, a place for the registry
        for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "TMPDIR", "USER"] {
            if let Ok(value) = std::env::var(name) {
                env.insert(name.to_owned(), value);
            }
        }
        let routeto = Routeto {
            args: Vec::new(),
            env,
            cwd: cwd.into(),
            stdin: None,
            waits: false,
            status: 0,
            stdout: None,
            stderr: None,
            secrets: Vec::new(),
            terminal: None,
        };
        routeto
            .env("AWS_CONFIG_FILE", "/nonexistent/config")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("ROUTETO_CACHE", target().join("routeto-cache"))
            .env("LANG", "C.UTF-8")
    }

    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Several, separated by spaces.
    pub fn args(mut self, args: &str) -> Self {
        self.args.extend(args.split_whitespace().map(str::to_owned));
        self
    }

    /// Without the zip that `ROUTETO_TEST_FUNCTION_ZIP` may give: building it is what the test is
    /// about.
    pub fn building(mut self) -> Self {
        if let Some(at) = self.args.iter().position(|arg| arg == "--function-zip") {
            self.args.drain(at..at + 2);
        }
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env
            .insert(name.into(), value.as_ref().to_str().expect("a test's value is UTF-8").into());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = Some(bytes.as_ref().into());
        self
    }

    /// Standard input stays open when the given bytes are read.
    pub fn stdin_stays_open(mut self) -> Self {
        self.waits = true;
        self.stdin.get_or_insert_default();
        self
    }

    /// On a terminal of this width; stdout then has all that it shows, with the terminal's line
    /// ends.
    pub fn terminal(mut self, columns: u16) -> Self {
        self.terminal = Some(columns);
        self
    }

    /// Must be nowhere in what is printed.
    pub fn secret(mut self, text: impl Into<String>) -> Self {
        self.secrets.push(text.into());
        self
    }

    /// Secrets may be printed: the command was told to.
    pub fn shows_secrets(mut self) -> Self {
        self.secrets.clear();
        self
    }

    /// The expected exit code; 0 where it isn't said.
    pub fn status(mut self, status: i32) -> Self {
        self.status = status;
        self
    }

    /// The whole expected standard output; not looked at where it isn't said.
    pub fn stdout(mut self, text: impl Into<String>) -> Self {
        self.stdout = Some(text.into());
        self
    }

    /// The whole expected standard error; not looked at where it isn't said.
    pub fn stderr(mut self, text: impl Into<String>) -> Self {
        self.stderr = Some(text.into());
        self
    }

    pub fn spawn(self) -> Running {
        let mut command = match self.terminal {
            None => Command::new(env!("CARGO_BIN_EXE_routeto")),
            Some(columns) => terminal(columns, &self.args),
        };
        if self.terminal.is_none() {
            command.args(&self.args);
        }
        command.env_clear().envs(&self.env).current_dir(&self.cwd);
        command
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{self}: {e}"));
        if let (Some(bytes), Some(mut stdin)) = (self.stdin.clone(), child.stdin.take()) {
            let waits = self.waits;
            thread::spawn(move || {
                // a command that reads no input closes it
                let _ = stdin.write_all(&bytes);
                while waits && stdin.write_all(b"").is_ok() {
                    sleep(Duration::from_secs(600));
                }
            });
        }
        let stdout = collect(child.stdout.take().expect("stdout is piped"));
        let stderr = collect(child.stderr.take().expect("stderr is piped"));
        Running { routeto: self, child, stdout, stderr, started: Instant::now() }
    }

    /// Runs it; only the secrets are looked at.
    pub fn output(self) -> Output {
        self.spawn().wait()
    }

    /// Runs it and compares exit code, standard output and standard error with what was expected.
    pub fn check(self) -> Output {
        let routeto = self.clone();
        let output = self.output();
        let whole =
            format!("{routeto}\n--- stdout\n{}--- stderr\n{}", output.stdout, output.stderr);
        assert_eq!(output.status, routeto.status, "exit code of {whole}");
        if let Some(stdout) = &routeto.stdout {
            assert_eq!(&output.stdout, stdout, "stdout of {whole}");
        }
        if let Some(stderr) = &routeto.stderr {
            assert_eq!(&output.stderr, stderr, "stderr of {whole}");
        }
        output
    }

    /// Runs it with `--output json`, checks the exit code, and gives the one object on standard
    /// output.
    pub fn json(self) -> Value {
        let output = self.args("--output json").check();
        serde_json::from_str(&output.stdout).unwrap_or_else(|e| {
            panic!("no JSON ({e}) on stdout:\n{}\n--- stderr\n{}", output.stdout, output.stderr)
        })
    }

    /// Runs it; it must fail with this exit code and one error of at most five lines that has each
    /// of these words in it. Gives the error.
    pub fn fails(self, status: i32, words: &[&str]) -> String {
        let output = self.status(status).check();
        let lines: Vec<&str> = output.stderr.lines().collect();
        let first = lines
            .iter()
            .position(|line| line.starts_with("error"))
            .unwrap_or_else(|| panic!("no error on stderr:\n{}", output.stderr));
        let error = &lines[first..];
        let errors = error.iter().filter(|line| line.starts_with("error")).count();
        assert_eq!(
            (errors, error.len() <= 5),
            (1, true),
            "one error of at most five lines:\n{}",
            output.stderr
        );
        let error = error.join("\n");
        for word in words {
            assert!(error.contains(word), "{word:?} is missing in:\n{error}");
        }
        error
    }
}

impl std::fmt::Display for Routeto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "routeto {} (in {})", self.args.join(" "), self.cwd.display())
    }
}

/// The command on a terminal of its own; what it prints on both its outputs comes on the one of
/// `script`.
fn terminal(columns: u16, args: &[String]) -> Command {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let words: Vec<String> = std::iter::once(env!("CARGO_BIN_EXE_routeto"))
        .chain(args.iter().map(String::as_str))
        .map(quoted)
        .collect();
    let line = format!("stty cols {columns} rows 24 -echo; exec {}", words.join(" "));
    let mut command = Command::new("script");
    command.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
    command
}

/// A command at work.
pub struct Running {
    routeto: Routeto,
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    started: Instant,
}

impl Running {
    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What Ctrl-C sends.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    pub fn signal(&self, signal: Signal) {
        super::signal(self.child.id(), signal);
    }

    /// As the kernel ends who takes too much memory: without a word.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child of this process can be killed");
    }

    pub fn wait(mut self) -> Output {
        use std::os::unix::process::ExitStatusExt;
        let status = loop {
            if let Some(status) =
                self.child.try_wait().expect("a child of this process can be waited for")
            {
                break status;
            }
            if self.started.elapsed() > LONGEST {
                let _ = self.child.kill();
                panic!("{} took longer than {} s", self.routeto, LONGEST.as_secs());
            }
            sleep(Duration::from_millis(5));
        };
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).unwrap_or_else(|e| {
                panic!("{} printed something that is no UTF-8: {e}", self.routeto)
            })
        };
        let stdout = text(self.stdout.join().expect("reading a pipe doesn't panic"));
        let stderr = text(self.stderr.join().expect("reading a pipe doesn't panic"));
        for secret in &self.routeto.secrets {
            assert!(
                !stdout.contains(secret) && !stderr.contains(secret),
                "{} printed a secret:\n{stdout}\n{stderr}",
                self.routeto
            );
        }
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Output { status: code, stdout, stderr, seconds: self.started.elapsed().as_secs() }
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}
