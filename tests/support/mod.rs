//! What the tests that drive the real binary share: the emulator, a proxy before it, stacks,
//! requests, and AWS clients to read back with.
//!
//! It asserts nothing about routeto itself, beyond what a test asks of it, and it may start and end
//! only processes of its own.
#![allow(dead_code, unused_imports, clippy::unwrap_used)] // each test binary uses a part of it

pub mod aws;
pub mod emulator;
pub mod hostile;
pub mod http;
pub mod multipart;
pub mod proxy;
pub mod run;
pub mod stack;
pub mod world;

pub use aws::{Message, Object};
pub use emulator::Emulator;
pub use http::{Answer, Raw, post, query};
pub use proxy::{Fault, Proxy, What, Which};
pub use run::{Output, Routeto};
pub use rustix::process::Signal;
pub use stack::{Deployed, Stack};

use rustix::process::{Pid, kill_process};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Sends a signal to a process that this one started and has not waited for yet. It has it when
/// this returns.
pub fn signal(child: u32, signal: Signal) {
    let id = i32::try_from(child).ok().and_then(Pid::from_raw).expect("an id of a process");
    kill_process(id, signal).expect("a child of this process can be signalled");
}

/// What `probe` finds, within a minute.
pub fn soon<T>(what: &str, probe: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} didn't come");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Cargo's target directory, whatever it was set to.
pub fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo puts `tmp` into its target directory")
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file under `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// The one runtime that the AWS clients of this process live on: their connections belong to it.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

/// Runs async work from a test, which is not.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// The number of times that `what` turns up in `text`.
pub fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}
