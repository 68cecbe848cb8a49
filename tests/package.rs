//! The function's zip, built by the real cargo: tiny functions in seconds; the real one, from
//! scratch, when asked for.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use routeto::{
    error::Error,
    package::{self, Artifact, Cancel, Event, Options, Origin, Source},
    spec::Architecture,
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

const THIS_MACHINE: Architecture =
    if cfg!(target_arch = "aarch64") { Architecture::Arm64 } else { Architecture::X86_64 };
const TRIPLE: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};

/// A function of one file and no crates.
fn tiny(main: &str) -> Source {
    tiny_with(main, &[])
}

fn tiny_with(main: &str, more: &[(&str, &str)]) -> Source {
    let manifest = "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[[bin]]\nname = \"bootstrap\"\npath = \"src/main.rs\"\n\
                    [profile.function]\ninherits = \"release\"\nopt-level = \"z\"\nlto = \"fat\"\ncodegen-units = 1\npanic = \"abort\"\nstrip = true\n[workspace]\n";
    let config = "[profile.function]\ninherits = \"release\"\nopt-level = \"z\"\nlto = \"fat\"\ncodegen-units = 1\npanic = \"abort\"\nstrip = true\n\
                  debug = false\ndebug-assertions = false\nincremental = false\noverflow-checks = false\nrpath = false\n";
    let lock = "version = 4\n\n[[package]]\nname = \"tiny\"\nversion = \"0.1.0\"\n";
    let mut files = BTreeMap::from([
        ("Cargo.toml", manifest),
        ("Cargo.lock", lock),
        (".cargo/config.toml", config),
        ("src/main.rs", main),
    ]);
    files.extend(more.iter().copied());
    Source::new(files)
}

const HELLO: &str = "fn main() { let n = std::env::args().count(); assert!(n < 9, \"too many: {n}\"); println!(\"{}\", file!()); }";

/// A cache of one's own, and options that build `source` in it.
struct Bench {
    scratch: tempfile::TempDir,
    options: Options,
    events: Mutex<Vec<Event>>,
}

fn bench(source: Source) -> Bench {
    let scratch = tempfile::tempdir().unwrap();
    let options = Options {
        architecture: THIS_MACHINE,
        cache: scratch.path().join("cache"),
        function_zip: None,
        source,
        environment: std::env::vars_os().collect(),
        cancel: Cancel::default(),
    };
    Bench { scratch, options, events: Mutex::default() }
}

impl Bench {
    fn try_build(&self) -> Result<Artifact, Error> {
        package::build(&self.options, &|event| self.events.lock().unwrap().push(event))
    }

    fn build(&self) -> Artifact {
        self.try_build().unwrap_or_else(|error| panic!("{error}"))
    }

    fn error(&self) -> String {
        self.try_build().unwrap_err().to_string()
    }

    fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.options.environment.insert(name.into(), value.as_ref().into());
    }

    /// A toolchain that writes what it is asked to `asked`, then asks the real one. Returns that
    /// file.
    fn watch_toolchain(&mut self) -> PathBuf {
        let asked = self.scratch.path().join("asked");
        let real = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
        let real = PathBuf::from(String::from_utf8(real.stdout).unwrap().trim());
        let sysroot = self.scratch.path().join("toolchains/watched");
        for name in ["cargo", "rustc"] {
            let real = real.join("bin").join(name);
            let answer = format!(
                "case \"$*\" in '--print sysroot') echo '{}'; exit;; esac\n",
                sysroot.display()
            );
            script(
                &sysroot.join("bin").join(name),
                &format!(
                    "echo {name} \"$@\" >>'{}'\n{answer}exec '{}' \"$@\"\n",
                    asked.display(),
                    real.display()
                ),
            );
        }
        let path =
            std::env::join_paths([sysroot.join("bin"), "/usr/bin".into(), "/bin".into()]).unwrap();
        self.set("PATH", path);
        asked
    }
}

fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{text}")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn bootstrap(artifact: &Artifact) -> Vec<u8> {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&artifact.zip)).unwrap();
    let mut program = Vec::new();
    zip.by_name("bootstrap").unwrap().read_to_end(&mut program).unwrap();
    program
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The places that no program may tell of.
fn assert_no_builders_path(program: &[u8], options: &Options) {
    let mut places = vec![options.cache.display().to_string()];
    for name in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_MANIFEST_DIR"] {
        places.extend(
            options
                .environment
                .get(OsStr::new(name))
                .and_then(|value| value.to_str())
                .map(str::to_owned),
        );
    }
    places.extend([".cargo/registry", ".rustup", "target/release"].map(str::to_owned));
    for place in places.iter().filter(|place| place.len() > 3) {
        assert!(!holds(program, place), "{place} is in the program");
    }
}

#[test]
fn a_build_makes_a_program_that_runs_and_a_second_one_asks_neither_cargo_nor_rustc() {
    let mut bench = bench(tiny(HELLO));
    let asked = bench.watch_toolchain();
    let built = bench.build();
    assert_eq!(built.origin, Origin::Built);
    assert_eq!(built.architecture, THIS_MACHINE);
    assert!(built.glibc.unwrap() <= package::NEWEST_GLIBC, "{built:?}");
    let events = std::mem::take(&mut *bench.events.lock().unwrap());
    let compiled = |done, name: &str| Event::Compiling { done, total: 1, name: name.to_owned() };
    assert_eq!(
        events[..4],
        [Event::Fetching, compiled(0, ""), compiled(1, "bootstrap"), Event::Zipping]
    );
    assert!(matches!(events[4..], [Event::Built { .. }]), "{events:?}");
    assert!(fs::read_to_string(&asked).unwrap().contains("cargo build"));

    let program = bench.scratch.path().join("bootstrap");
    fs::write(&program, bootstrap(&built)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(Command::new(&program).output().unwrap().stdout, b"src/main.rs\n");

    fs::remove_file(&asked).unwrap();
    let cached = bench.build();
    assert_eq!(cached, Artifact { origin: Origin::Cached, ..built.clone() });
    assert_eq!(*bench.events.lock().unwrap(), [Event::Cached]);
    assert!(!asked.exists(), "{}", fs::read_to_string(&asked).unwrap());

    let out = bench.scratch.path().join("out.zip");
    let report = cached.write(&out).unwrap();
    assert_eq!(fs::read(&out).unwrap(), built.zip);
    assert_eq!(
        (report.path, report.zip_bytes, report.code_sha256),
        (out, built.zip.len() as u64, built.code_sha256)
    );
    assert_eq!(
        (report.bootstrap_bytes, report.glibc),
        (bootstrap(&cached).len() as u64, cached.glibc.map(|glibc| glibc.to_string()))
    );
}

#[test]
fn a_changed_toolchain_is_asked_again_and_changed_source_is_built_again() {
    let mut bench = bench(tiny(HELLO));
    let asked = bench.watch_toolchain();
    let first = bench.build();
    fs::remove_file(&asked).unwrap();
    let rustc = bench.scratch.path().join("toolchains/watched/bin/rustc");
    let text = fs::read_to_string(&rustc).unwrap();
    fs::write(&rustc, text + "# updated\n").unwrap();
    assert_eq!(bench.build().origin, Origin::Cached);
    assert!(fs::read_to_string(&asked).unwrap().contains("rustc -vV"));

    bench.options.source = tiny("fn main() { println!(\"other\"); }");
    let second = bench.build();
    assert_eq!(second.origin, Origin::Built);
    assert_ne!(second.code_sha256, first.code_sha256);
    bench.options.source = tiny(HELLO);
    assert_eq!(bench.build(), Artifact { origin: Origin::Cached, ..first });
}

#[test]
fn a_zip_that_was_damaged_in_the_cache_is_built_again_the_same() {
    let bench = bench(tiny(HELLO));
    let built = bench.build();
    let mut damaged = built.zip.clone();
    damaged[100] ^= 1;
    fs::write(&built.path, damaged).unwrap();
    let again = bench.build();
    assert_eq!((again.origin, again.zip), (Origin::Built, built.zip.clone()));
    assert_eq!(fs::read(&built.path).unwrap(), built.zip);
}

#[test]
fn the_same_source_gives_the_same_zip_elsewhere_whatever_the_users_flags_wrappers_and_profiles_say()
{
    let plain = bench(tiny(HELLO));
    let first = plain.build();
    assert_no_builders_path(&bootstrap(&first), &plain.options);

    let mut other = bench(tiny(HELLO));
    other.options.cache = other.scratch.path().join("a/much/longer/way to/the cache");
    let config = "[build]\nrustflags = [\"--cfg\", \"leak\", \"-Copt-level=0\"]\nrustc-wrapper = \"/nowhere/wrapper\"\ntarget-dir = \"/nowhere/target\"\n\
                  [profile.release]\ndebug = 2\nstrip = false\n[profile.function]\nopt-level = 0\nlto = false\ninherits = \"dev\"\n";
    let home = other.scratch.path().join("cargo-home");
    for place in [home.join("config.toml"), other.scratch.path().join("a/.cargo/config.toml")] {
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, config).unwrap();
    }
    other.set("CARGO_HOME", &home);
    for (name, value) in [
        ("RUSTFLAGS", "--cfg leak -Copt-level=1"),
        ("CARGO_ENCODED_RUSTFLAGS", "-Copt-level=1"),
        ("CARGO_BUILD_RUSTFLAGS", "-Copt-level=1"),
        ("CARGO_BUILD_TARGET", "wasm32-unknown-unknown"),
        ("CARGO_BUILD_RUSTC_WRAPPER", "/nowhere/wrapper"),
        ("CARGO_TARGET_DIR", "/nowhere/target"),
        ("RUSTC_WRAPPER", "/nowhere/wrapper"),
        ("RUSTC_WORKSPACE_WRAPPER", "/nowhere/wrapper"),
        ("RUSTC", "/nowhere/rustc"),
        ("CARGO_PROFILE_FUNCTION_OPT_LEVEL", "0"),
        ("CARGO_PROFILE_RELEASE_DEBUG", "2"),
        ("CARGO_INCREMENTAL", "1"),
        ("CFLAGS", "-g"),
    ] {
        other.set(name, value);
    }
    let second = other.build();
    assert_no_builders_path(&bootstrap(&second), &other.options);
    assert_eq!(second.origin, Origin::Built);
    assert_eq!(second.code_sha256, first.code_sha256);
    assert_eq!(second.zip, first.zip);
}

#[test]
fn of_two_builds_at_once_one_waits_and_takes_what_the_other_built() {
    let slow =
        [("build.rs", "fn main() { std::thread::sleep(std::time::Duration::from_secs(1)) }")];
    let bench = bench(tiny_with(HELLO, &slow));
    let both: Vec<Artifact> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..2).map(|_| scope.spawn(|| bench.build())).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(both[0].zip, both[1].zip);
    let mut origins: Vec<String> =
        both.iter().map(|artifact| format!("{:?}", artifact.origin)).collect();
    origins.sort();
    assert_eq!(origins, ["Built", "Cached"]);
    let waits =
        bench.events.lock().unwrap().iter().filter(|event| **event == Event::Waiting).count();
    assert_eq!(waits, 1);
}

#[test]
fn a_function_that_does_not_compile_is_told_in_five_lines_with_its_place_and_the_log() {
    let bench = bench(tiny("fn main() {\n    let n: u32 = \"text\";\n}\n"));
    let log = bench
        .options
        .cache
        .canonicalize()
        .unwrap_or(bench.options.cache.clone())
        .join("build/build.log");
    assert_eq!(
        bench.error(),
        format!(
            "error: building the function: the function does not compile\n  error[E0308]: mismatched types\n   --> src/main.rs:2:18\n  = help: the whole log is in {}",
            log.display()
        )
    );
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("expected `u32`, found `&str`"), "{log}");
    assert!(fs::read_dir(bench.options.cache.join("zips")).unwrap().next().is_none());
}

#[test]
fn a_lock_that_does_not_fit_the_manifest_is_told() {
    let lock =
        [("Cargo.lock", "version = 4\n\n[[package]]\nname = \"tiny\"\nversion = \"0.2.0\"\n")];
    let text = bench(tiny_with(HELLO, &lock)).error();
    let told = "error: building the function: the Cargo.lock that travels inside routeto doesn't fit the function's manifest\n";
    assert!(text.starts_with(told), "{text}");
}

#[test]
fn without_cargo_it_is_said_how_to_get_it_or_do_without() {
    let mut bench = bench(tiny(HELLO));
    let empty = bench.scratch.path().join("empty");
    for name in ["PATH", "HOME", "CARGO_HOME"] {
        bench.set(name, &empty);
    }
    let help = "  = help: install Rust (https://rustup.rs), or give a zip that is already built: --function-zip FILE";
    assert_eq!(
        bench.error(),
        format!("error: building the function: cargo was not found on PATH\n{help}")
    );
    script(&empty.join("cargo"), "exit 1\n");
    assert_eq!(
        bench.error(),
        format!("error: building the function: rustc was not found on PATH\n{help}")
    );
}

#[test]
fn a_toolchain_that_cannot_run_is_told_in_its_own_words() {
    let mut bench = bench(tiny(HELLO));
    let bin = bench.scratch.path().join("bin");
    script(&bin.join("cargo"), "exit 1\n");
    script(
        &bin.join("rustc"),
        "echo \"info: looking\" >&2; echo \"error: toolchain 'stable' is not installed\" >&2; exit 1\n",
    );
    bench.set("PATH", &bin);
    assert_eq!(
        bench.error(),
        format!(
            "error: building the function: {}/rustc failed: toolchain 'stable' is not installed\n  = help: run `rustup show`, and mend what it tells",
            bin.display()
        )
    );
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn for_arm64_it_is_said_exactly_what_to_install() {
    let mut bench = bench(tiny(HELLO));
    bench.watch_toolchain();
    let own = bench.scratch.path().join("toolchains/watched/bin");
    let compilers = bench.scratch.path().join("compilers");
    bench.set("PATH", std::env::join_paths([&own, &compilers]).unwrap());
    bench.options.architecture = Architecture::Arm64;
    assert_eq!(
        bench.error(),
        "error: building the function: the Rust target aarch64-unknown-linux-gnu and the cross compiler aarch64-linux-gnu-gcc are missing\n  = help: \
         rustup target add aarch64-unknown-linux-gnu && apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    );
    script(&compilers.join("aarch64-linux-gnu-gcc"), "exit 1\n");
    assert_eq!(
        bench.error(),
        "error: building the function: the Rust target aarch64-unknown-linux-gnu is missing\n  = help: rustup target add aarch64-unknown-linux-gnu"
    );
}

#[test]
fn without_a_network_and_without_the_crates_that_is_what_is_told() {
    let lock = "version = 4\n\n[[package]]\nname = \"itoa\"\nversion = \"1.0.18\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n\
                checksum = \"8f42a60cbdf9a97f5d2305f08a87dc4e09308d1276d28c869c684d7777685682\"\n\n[[package]]\nname = \"tiny\"\nversion = \"0.1.0\"\ndependencies = [\n \"itoa\",\n]\n";
    let manifest = "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\nitoa = \"1\"\n[workspace]\n";
    let mut bench = bench(tiny_with(
        HELLO,
        &[("Cargo.lock", lock), ("Cargo.toml", manifest), (".cargo/config.toml", "")],
    ));
    let home = bench.scratch.path().join("cargo-home");
    bench.set("CARGO_HOME", home);
    bench.set("CARGO_NET_RETRY", "0");
    for name in ["HTTPS_PROXY", "https_proxy"] {
        // Nothing listens there.
        bench.set(name, "http://127.0.0.1:9");
    }
    let text = bench.error();
    assert!(
        text.starts_with("error: building the function: crates can't be downloaded: ["),
        "{text}"
    );
    assert!(text.contains("\n  = help: check the network and HTTPS_PROXY, or use --function-zip FILE; the whole log is in "), "{text}");
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn a_cancelled_build_ends_soon_as_interrupted_and_leaves_no_process_and_no_zip() {
    let scratch = tempfile::tempdir().unwrap();
    let pid = scratch.path().join("pid");
    // A child of cargo's child, which would outlive a cargo that is killed alone.
    let slow = format!(
        "fn main() {{ let child = std::process::Command::new(\"sleep\").arg(\"60\").spawn().unwrap(); \
         std::fs::write({:?}, child.id().to_string()).unwrap(); child.wait_with_output().unwrap(); }}",
        pid.display().to_string()
    );
    let bench = bench(tiny_with(HELLO, &[("build.rs", &slow)]));
    let cancelled = Mutex::new(None);
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            let deadline = Instant::now() + Duration::from_secs(300);
            while !fs::read_to_string(&pid).is_ok_and(|text| !text.is_empty())
                && Instant::now() < deadline
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            *cancelled.lock().unwrap() = Some(Instant::now());
            bench.options.cancel.cancel();
        });
        bench.try_build().unwrap_err()
    });
    let took = cancelled.lock().unwrap().expect("it was cancelled").elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(error.exit_code(), 130);
    assert_eq!(
        error.to_string(),
        "error: building the function: interrupted\n  = help: nothing was changed; the next run goes on from here"
    );
    let sleeper = fs::read_to_string(&pid).unwrap();
    let lives = || {
        let stat = Command::new("ps")
            .args(["-o", "stat=", "-p", &sleeper])
            .stderr(Stdio::null())
            .output()
            .unwrap()
            .stdout;
        !(stat.is_empty() || stat.starts_with(b"Z"))
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while lives() {
        assert!(Instant::now() < deadline, "{sleeper} lives");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(fs::read_dir(bench.options.cache.join("zips")).unwrap().next().is_none());
    assert_eq!(bench.try_build().unwrap_err().exit_code(), 130, "cancelled from the start");
}

#[test]
fn a_build_that_is_cancelled_while_it_compresses_ends_at_once_and_keeps_nothing() {
    let bench = bench(tiny(HELLO));
    let cancelled = Mutex::new(None);
    let error = package::build(&bench.options, &|event| {
        if event == Event::Zipping {
            bench.options.cancel.cancel();
            *cancelled.lock().unwrap() = Some(Instant::now());
        }
    })
    .unwrap_err();
    let after = cancelled.lock().unwrap().unwrap().elapsed();
    assert!(after < Duration::from_secs(10), "{after:?}");
    assert_eq!(error.exit_code(), 130);
    assert!(fs::read_dir(bench.options.cache.join("zips")).unwrap().next().is_none());
}

#[test]
fn a_given_zip_is_taken_as_it_is_and_one_for_another_machine_is_refused() {
    let mut bench = bench(tiny(HELLO));
    let built = bench.build();
    let path = bench.scratch.path().join("given.zip");
    built.write(&path).unwrap();
    bench.options.function_zip = Some(path.clone());
    // No toolchain is needed for it.
    bench.set("PATH", "");
    let given = bench.build();
    assert_eq!(
        given,
        Artifact {
            origin: Origin::Given(path.clone()),
            path: path.clone(),
            build_seconds: 0.0,
            ..built
        }
    );

    let (other, is, wanted) = match THIS_MACHINE {
        Architecture::X86_64 => (Architecture::Arm64, "x86_64", "arm64"),
        Architecture::Arm64 => (Architecture::X86_64, "arm64", "x86_64"),
    };
    bench.options.architecture = other;
    assert_eq!(
        bench.error(),
        format!(
            "error: {}: bootstrap: it is built for {is}, the stack's architecture is {wanted}\n  = help: build it for {wanted}, or set \
             `function.architecture` in the stack file",
            path.display()
        )
    );
}

/// The lock that travels inside routeto: the workspace's own choice of every crate, without what
/// the function doesn't need.
#[test]
fn the_functions_lock_is_in_step_with_the_workspaces() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = root.join("embedded/function.lock");
    let scratch = tempfile::tempdir().unwrap();
    Source::embedded().lay_down(scratch.path()).unwrap();
    fs::copy(root.join("Cargo.lock"), scratch.path().join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["update", "--workspace", "--offline"])
        .current_dir(scratch.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let wanted = fs::read_to_string(scratch.path().join("Cargo.lock")).unwrap();
    if std::env::var_os("UPDATE_CASES").is_some() {
        fs::write(&kept, &wanted).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&kept).unwrap(),
        wanted,
        "run: UPDATE_CASES=1 cargo test --test package in_step"
    );
}

/// Cargo leaves another package's directory out of a package; links bring the function's files in
/// under `embedded/`.
#[test]
fn a_published_routeto_carries_every_file_that_the_function_is_built_from() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline", "--package", "routeto"])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut wanted = vec![
        "embedded/function.lock".to_owned(),
        "embedded/manifest.toml".to_owned(),
        "embedded/workspace.toml".to_owned(),
    ];
    let sources = fs::read_dir(root.join("function/src"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    wanted.extend(sources.map(|name| format!("embedded/src/{name}")));
    wanted.sort();
    let listed = String::from_utf8(output.stdout).unwrap();
    let mut packed: Vec<&str> =
        listed.lines().filter(|line| line.starts_with("embedded/")).collect();
    packed.sort();
    assert_eq!(packed, wanted);
}

/// Copies what cargo has downloaded, so that another home needs no network.
fn copy_cargo_home(to: &Path) {
    let from = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo"));
    fs::create_dir_all(to.join("registry")).unwrap();
    for part in ["index", "cache"] {
        let status = Command::new("cp")
            .arg("-r")
            .arg(from.join("registry").join(part))
            .arg(to.join("registry"))
            .status()
            .unwrap();
        assert!(status.success());
    }
}

/// The first one is the build that the end-to-end tests deploy: made by the binary, in this
/// checkout, with this machine's own CARGO_HOME.
#[test]
#[ignore = "builds the function from scratch, minutes"]
fn the_real_function_is_small_and_the_same_from_two_places_and_two_cargo_homes() {
    let mut first = bench(Source::embedded());
    first.options.cache =
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("routeto-cache/routeto");
    let mut second = bench(Source::embedded());
    second.options.cache = second.scratch.path().join("another/and a longer one");
    let home = second.scratch.path().join("another/home of cargo");
    copy_cargo_home(&home);
    second.set("CARGO_HOME", home);
    let artifacts = [first, second].map(|bench| {
        let artifact = bench.build();
        assert_no_builders_path(&bootstrap(&artifact), &bench.options);
        eprintln!("{TRIPLE}: {artifact:?}");
        artifact
    });
    assert_eq!(artifacts[0].code_sha256, artifacts[1].code_sha256);
    assert_eq!(artifacts[1].origin, Origin::Built);
    assert!(artifacts[0].bootstrap_bytes <= 5_000_000, "{:?}", artifacts[0]);
    assert!(artifacts[0].zip.len() <= 2_500_000, "{:?}", artifacts[0]);
}
