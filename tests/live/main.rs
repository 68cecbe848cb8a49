//! `live.py`, which settles on a real account what an emulator can't show, against the emulator: so
//! that it still works on the day when a person with an account runs it.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

use std::process::{Command, Stdio};
use support::{Emulator, Stack, emulator, root};

#[test]
fn the_script_for_a_real_account_passes_on_the_emulator() {
    let shared = Emulator::shared();
    // Builds the function, once for all tests.
    let stack = Stack::new("stack: NAME\n");
    let output = Command::new(emulator::python())
        .arg(root().join("tests/live/live.py"))
        .args(["--routeto", env!("CARGO_BIN_EXE_routeto"), "--region", emulator::REGION])
        .current_dir(stack.path())
        .env("AWS_ENDPOINT_URL", shared.endpoint())
        .env("ROUTETO_INVOKE_URL", shared.invoke_url())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("ROUTETO_CACHE", support::target().join("routeto-cache"))
        .env("ROUTETO_TEST_CLOCK", "60")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let lines = |kind: &str| said.lines().filter(|line| line.starts_with(kind)).count();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // Chapters that ended early would pass as well.
    assert!(lines("PASS") >= 30 && lines("FAIL") == 0, "{said}");
}
