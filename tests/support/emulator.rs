//! One emulator for all test processes of a run: made when the first one asks, ended by
//! `tests/emulator/supervise.py` when the last is gone.
//!
//! Who uses it holds a shared lock on `target/emulator/users` until the process ends, however it
//! ends. Nothing here ends a process.

use super::{http, root, target};
use serde_json::Value;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds without any user after which the emulator is ended: cargo runs one test binary after the
/// other, and links nothing in between.
const GRACE: &str = "20";
/// From the start of Python to a healthy emulator it is 2 s, the first time on a busy CI machine
/// 15. What installing takes isn't counted: it may be minutes.
const START: Duration = Duration::from_secs(300);

/// The account that the emulator takes the access key `test` for.
pub const ACCOUNT: &str = "000000000000";
pub const REGION: &str = "us-east-1";

pub struct Emulator {
    pub port: u16,
    /// Never read: the lock in it says that this process is a user.
    _users: File,
}

impl Emulator {
    /// The emulator of this run, healthy.
    pub fn shared() -> &'static Emulator {
        static SHARED: OnceLock<Emulator> = OnceLock::new();
        SHARED.get_or_init(|| Self::join().unwrap_or_else(|problem| panic!("{problem}")))
    }

    /// What `AWS_ENDPOINT_URL` is to be.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What `ROUTETO_INVOKE_URL` is to be. The other form, with the API's id in the host, needs
    /// names that resolve to this machine.
    pub fn invoke_url(&self) -> String {
        format!("http://127.0.0.1:{}/_aws/execute-api/{{api}}/{{stage}}", self.port)
    }

    /// A Python with boto3 and awscli in it: real clients.
    pub fn python(&self) -> PathBuf {
        python()
    }

    /// What the emulator printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(state().join("shared.log")).unwrap_or_default()
    }

    fn join() -> Result<Emulator, String> {
        let state = state();
        fs::create_dir_all(&state).map_err(|e| format!("{}: {e}", state.display()))?;
        // one process at a time looks and starts; the supervisor takes this lock before it gives up
        let start = lock_file(&state.join("start"))?;
        start.lock().map_err(|e| format!("the lock {}: {e}", state.join("start").display()))?;
        let users = lock_file(&state.join("users"))?;
        let deadline = Instant::now() + START;
        while users.try_lock_shared().is_err() {
            // the supervisor tries this lock for an instant, to see whether anybody is there
            if Instant::now() > deadline {
                return Err("somebody else keeps target/emulator/users locked".into());
            }
            sleep(Duration::from_millis(5));
        }
        install()?;
        // counted from here: on a fresh machine installing took longer than the emulator is given
        let deadline = Instant::now() + START;
        let mut supervisor = None;
        while Instant::now() < deadline {
            if let Some(port) = running(&state)
                && healthy(port)
            {
                return Ok(Emulator { port, _users: users });
            }
            let gone = match &mut supervisor {
                None => true,
                Some(child) => {
                    std::process::Child::try_wait(child).map_err(|e| e.to_string())?.is_some()
                }
            };
            if gone {
                // one that finds another still at work ends at once, so it is started until it
                // stays
                supervisor = Some(supervise(&state)?);
            }
            sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(state.join("shared.log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        Err(format!(
            "the emulator was not healthy within {} s; the end of {}:\n{}",
            START.as_secs(),
            state.join("shared.log").display(),
            tail.into_iter().rev().collect::<Vec<_>>().join("\n")
        ))
    }
}

/// A Python with boto3 in it, once `install` was called.
pub fn python() -> PathBuf {
    std::env::var_os("EMULATOR_VENV")
        .map_or_else(|| state().join("venv"), PathBuf::from)
        .join("bin/python")
}

/// `EMULATOR_STATE` gives a process an emulator of its own: one keeps no more than one processor
/// busy.
fn state() -> PathBuf {
    std::env::var_os("EMULATOR_STATE").map_or_else(|| target().join("emulator"), PathBuf::from)
}

fn lock_file(path: &Path) -> Result<File, String> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// The virtual environment, made by the first who needs it; `start.sh` has a lock for that.
pub fn install() -> Result<(), String> {
    let script = root().join("tests/emulator/start.sh");
    let output = Command::new("bash")
        .arg(&script)
        .args(["0".as_ref(), state().as_os_str(), "--install-only".as_ref()])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("bash {}: {e}", script.display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "the emulator can't be installed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn supervise(state: &Path) -> Result<std::process::Child, String> {
    let python = python();
    let log = File::options()
        .create(true)
        .append(true)
        .open(state.join("supervisor.log"))
        .map_err(|e| e.to_string())?;
    Command::new(&python)
        .arg(root().join("tests/emulator/supervise.py"))
        .arg(state)
        .arg(free_ports().to_string())
        .arg(GRACE)
        .stdin(Stdio::null())
        // not cargo's own: whoever waits for the end of its output would wait for the emulator
        .stdout(log.try_clone().map_err(|e| e.to_string())?)
        .stderr(log)
        .process_group(0) // Ctrl-C is for the tests; the emulator is ended in order afterwards
        .spawn()
        .map_err(|e| format!("{}: {e}", python.display()))
}

/// The first of 51 ports in a row that nobody listens on, below those that the kernel gives away by
/// itself.
fn free_ports() -> u16 {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos())
        ^ std::process::id().wrapping_mul(2_654_435_761);
    let first = (seed % 200) as u16;
    (0..200)
        .map(|n| 20_000 + (first + n) % 200 * 51)
        .find(|base| (*base..=base + 50).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()))
        .expect("51 free ports in a row between 20000 and 30200")
}

fn running(state: &Path) -> Option<u16> {
    // a free lock: no supervisor, so whatever running.json says is stale
    let supervisor = lock_file(&state.join("supervisor")).ok()?;
    if supervisor.try_lock_shared().is_ok() {
        return None;
    }
    let text = fs::read_to_string(state.join("running.json")).ok()?;
    let running: Value = serde_json::from_str(&text).ok()?;
    running["port"].as_u64().and_then(|port| port.try_into().ok())
}

fn healthy(port: u16) -> bool {
    http::get(&format!("http://127.0.0.1:{port}/_localstack/health"))
        .is_ok_and(|answer| answer.status == 200)
}
