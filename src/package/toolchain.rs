//! The Rust toolchain that builds, the target it builds for, and what is missing for that.
//!
//! Asks rustc for its version, once per toolchain; installs nothing.

use super::{Options, PLACE, cache::Cache};
use crate::error::{Error, Failure};
use crate::spec::Architecture;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

const INSTALL_RUST: &str =
    "install Rust (https://rustup.rs), or give a zip that is already built: --function-zip FILE";

/// The process's environment, as it was given.
pub type Environment = BTreeMap<OsString, OsString>;

/// One toolchain: its own programs, not rustup's stand-ins for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchain {
    pub cargo: PathBuf,
    pub rustc: PathBuf,
    pub sysroot: PathBuf,
    /// The triple of this machine.
    pub host: String,
    /// All that `rustc -vV` says.
    pub version: String,
}

/// What the answer depended on; the same stamps, the same toolchain.
#[derive(Serialize, Deserialize)]
struct Note {
    stamps: Vec<Stamp>,
    toolchain: Toolchain,
}

/// A file as it was, or `RUSTUP_TOOLCHAIN`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stamp {
    File { path: PathBuf, there: Option<(u64, SystemTime)> },
    Toolchain(Option<OsString>),
}

impl Stamp {
    fn file(path: PathBuf) -> Self {
        let there = path.metadata().ok().and_then(|data| Some((data.len(), data.modified().ok()?)));
        Self::File { path, there }
    }
}

impl Toolchain {
    /// The toolchain on `PATH` (or in cargo's own `bin`), or what to do without one.
    pub fn find(cache: &Cache, options: &Options) -> Result<Self, Error> {
        let environment = &options.environment;
        let cargo = program("cargo", environment)
            .ok_or_else(|| Failure::new(PLACE, "cargo was not found on PATH").now(INSTALL_RUST))?;
        let rustc = program("rustc", environment)
            .ok_or_else(|| Failure::new(PLACE, "rustc was not found on PATH").now(INSTALL_RUST))?;
        let mut stamps = vec![Stamp::file(cargo.clone()), Stamp::file(rustc.clone())];
        stamps.push(Stamp::Toolchain(environment.get(OsStr::new("RUSTUP_TOOLCHAIN")).cloned()));
        stamps.extend(
            home("RUSTUP_HOME", ".rustup", environment)
                .map(|home| Stamp::file(home.join("settings.toml"))),
        );
        if let Some(note) = cache.read_note::<Note>("toolchain.json") {
            let own = note.stamps.iter().skip(stamps.len()).cloned();
            let still: Vec<Stamp> = own
                .map(|stamp| match stamp {
                    Stamp::File { path, .. } => Stamp::file(path),
                    other => other,
                })
                .collect();
            if note.stamps.iter().eq(stamps.iter().chain(&still)) {
                return Ok(note.toolchain);
            }
        }
        let sysroot =
            PathBuf::from(ask(&rustc, &["--print", "sysroot"], cache, environment)?.trim());
        // Not rustup's stand-in from here on: it may choose otherwise in another directory, and
        // takes its time.
        let own = |name: &str, found: &Path| {
            let own =
                sysroot.join("bin").join(name).with_extension(std::env::consts::EXE_EXTENSION);
            if own.is_file() { own } else { found.to_owned() }
        };
        let (cargo, rustc) = (own("cargo", &cargo), own("rustc", &rustc));
        let version = ask(&rustc, &["-vV"], cache, environment)?;
        let host = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap_or_default()
            .to_owned();
        if host.is_empty() {
            return Err(Failure::new(
                PLACE,
                format!("{} doesn't answer as rustc does", rustc.display()),
            )
            .now(INSTALL_RUST)
            .into());
        }
        stamps.extend([&cargo, &rustc].map(|path| Stamp::file(path.clone())));
        let toolchain = Self { cargo, rustc, sysroot, host, version };
        cache.write_note("toolchain.json", &Note { stamps, toolchain: toolchain.clone() });
        Ok(toolchain)
    }

    fn has_target(&self, triple: &str) -> bool {
        triple == self.host || self.sysroot.join("lib/rustlib").join(triple).join("lib").is_dir()
    }

    /// Whether it stands where rustup keeps toolchains, so that `rustup target add` helps.
    fn is_rustups(&self) -> bool {
        self.sysroot.parent().and_then(Path::file_name) == Some(OsStr::new("toolchains"))
    }
}

/// What a toolchain's program says on stdout.
fn ask(
    program: &Path,
    arguments: &[&str],
    cache: &Cache,
    environment: &Environment,
) -> Result<String, Failure> {
    let failed = |what: String| {
        Failure::new(PLACE, format!("{} {what}", program.display()))
            .now("run `rustup show`, and mend what it tells")
    };
    let output = Command::new(program)
        .args(arguments)
        // Away from the user's directory: a rust-toolchain.toml in it is not meant for the
        // function.
        .current_dir(cache.build())
        .env_clear()
        .envs(passed_on(environment))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("can't be run: {error}")))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let told = told
            .lines()
            .find(|line| line.starts_with("error"))
            .or(told.lines().next())
            .unwrap_or("without a word");
        return Err(failed(format!("failed: {}", told.trim_start_matches("error: "))));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("doesn't answer in UTF-8".to_owned()))
}

/// A program on the environment's `PATH`, else in cargo's own `bin`.
pub fn program(name: &str, environment: &Environment) -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = environment
        .get(OsStr::new("PATH"))
        .map(|path| std::env::split_paths(path).collect())
        .unwrap_or_default();
    places.extend(cargo_home(environment).map(|home| home.join("bin")));
    let places = std::env::join_paths(places.iter().filter(|place| place.is_absolute())).ok()?;
    which::which_in(name, Some(places), "/").ok()
}

/// Where cargo keeps the crates it downloads.
pub fn cargo_home(environment: &Environment) -> Option<PathBuf> {
    home("CARGO_HOME", ".cargo", environment)
}

fn home(variable: &str, directory: &str, environment: &Environment) -> Option<PathBuf> {
    let get = |name: &str| {
        environment.get(OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    get(variable)
        .or_else(|| Some(get(if cfg!(windows) { "USERPROFILE" } else { "HOME" })?.join(directory)))
}

/// What of the user's environment goes on to cargo: what finds programs, homes, the network and,
/// for another target, its linker.
///
/// A list of what may pass, not of what may not: flags, wrappers, profiles and target directories
/// come in under many names.
pub fn passed_on(environment: &Environment) -> impl Iterator<Item = (&OsString, &OsString)> {
    const NAMES: &[&str] = &[
        "PATH",
        "HOME",
        "TMPDIR",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "RUSTUP_TOOLCHAIN",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        // Windows' and macOS' own, without which linkers aren't found.
        "USERPROFILE",
        "SYSTEMROOT",
        "SYSTEMDRIVE",
        "WINDIR",
        "COMSPEC",
        "PATHEXT",
        "TEMP",
        "TMP",
        "APPDATA",
        "LOCALAPPDATA",
        "PROGRAMDATA",
        "PROGRAMFILES",
        "PROGRAMFILES(X86)",
        "INCLUDE",
        "LIB",
        "SDKROOT",
        "DEVELOPER_DIR",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    ];
    // Nix wraps its compilers with these; the registries' are for mirrors.
    const PREFIXES: &[&str] =
        &["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "NIX_"];
    environment.iter().filter(|(name, _)| {
        let Some(name) = name.to_str().map(str::to_ascii_uppercase) else { return false };
        NAMES.contains(&name.as_str()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
}

/// What is built for, and with which linker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub triple: &'static str,
    /// Set for cargo and for the crates that compile C: the user's own settings for this target,
    /// else a cross compiler that was found.
    pub variables: Vec<(String, OsString)>,
    /// The cross compiler that would be needed and wasn't found.
    missing_compiler: Option<&'static str>,
}

impl Target {
    pub fn choose(
        architecture: Architecture,
        toolchain: &Toolchain,
        environment: &Environment,
    ) -> Self {
        let (machine, gnu, musl) = match architecture {
            Architecture::X86_64 => {
                ("x86_64", "x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl")
            }
            Architecture::Arm64 => {
                ("aarch64", "aarch64-unknown-linux-gnu", "aarch64-unknown-linux-musl")
            }
        };
        let host = toolchain.host.as_str();
        // A distribution on musl builds its own kind of program, which is static and runs anywhere.
        let triple = if host.ends_with("-linux-musl") { musl } else { gnu };
        let own = own_variables(triple, environment);
        let native = host.starts_with(&format!("{machine}-")) && host.contains("-linux-");
        if native || own.iter().any(|(name, _)| name.ends_with("_LINKER")) {
            return Self { triple, variables: own, missing_compiler: None };
        }
        let names: [&'static str; 3] = match (machine, triple == musl) {
            ("aarch64", false) => [
                "aarch64-linux-gnu-gcc",
                "aarch64-unknown-linux-gnu-gcc",
                "aarch64-none-linux-gnu-gcc",
            ],
            ("aarch64", true) => [
                "aarch64-linux-musl-gcc",
                "aarch64-unknown-linux-musl-gcc",
                "aarch64-alpine-linux-musl-gcc",
            ],
            (_, false) => {
                ["x86_64-linux-gnu-gcc", "x86_64-unknown-linux-gnu-gcc", "x86_64-pc-linux-gnu-gcc"]
            }
            (_, true) => [
                "x86_64-linux-musl-gcc",
                "x86_64-unknown-linux-musl-gcc",
                "x86_64-alpine-linux-musl-gcc",
            ],
        };
        let Some(compiler) = names.iter().find_map(|name| program(name, environment)) else {
            return Self { triple, variables: own, missing_compiler: Some(names[0]) };
        };
        let underscored = triple.replace('-', "_");
        let mut variables = vec![(
            format!("CARGO_TARGET_{}_LINKER", underscored.to_uppercase()),
            compiler.clone().into_os_string(),
        )];
        if !own.iter().any(|(name, _)| name.starts_with("CC_")) {
            variables.push((format!("CC_{underscored}"), compiler.into_os_string()));
        }
        variables.extend(own);
        Self { triple, variables, missing_compiler: None }
    }

    /// What is missing to build for this target, as one error that says what to install.
    pub fn check(&self, toolchain: &Toolchain) -> Result<(), Failure> {
        let mut missing = Vec::new();
        let mut install = Vec::new();
        if !toolchain.has_target(self.triple) {
            missing.push(format!("the Rust target {}", self.triple));
            install.push(if toolchain.is_rustups() {
                format!("rustup target add {}", self.triple)
            } else {
                format!(
                    "a Rust from https://rustup.rs and with it `rustup target add {}`",
                    self.triple
                )
            });
        }
        if let Some(compiler) = self.missing_compiler {
            missing.push(format!("the cross compiler {compiler}"));
            install.push(match (std::env::consts::OS, self.triple) {
                ("linux", triple) if triple.ends_with("-gnu") => {
                    format!(
                        "apt-get install {} libc6-dev-{}-cross",
                        compiler_package(triple),
                        debian(triple)
                    )
                }
                ("macos", triple) => {
                    format!("brew install messense/macos-cross-toolchains/{triple}")
                }
                (_, triple) => {
                    format!(
                        "a C compiler for {triple}, named by CARGO_TARGET_{}_LINKER",
                        triple.replace('-', "_").to_uppercase()
                    )
                }
            });
        }
        if missing.is_empty() {
            return Ok(());
        }
        let elsewhere = if cfg!(target_os = "linux") {
            ""
        } else {
            "; or build on Linux and give the zip with --function-zip FILE"
        };
        let are = if missing.len() == 1 { "is" } else { "are" };
        Err(Failure::new(PLACE, format!("{} {are} missing", missing.join(" and ")))
            .now(format!("{}{elsewhere}", install.join(" && "))))
    }

    /// Part of what a zip is kept by: another linker makes another program.
    pub fn overrides_text(&self) -> String {
        self.variables
            .iter()
            .map(|(name, value)| format!("{name}={}\n", value.to_string_lossy()))
            .collect()
    }
}

fn debian(triple: &str) -> &'static str {
    if triple.starts_with("aarch64") { "arm64" } else { "amd64" }
}

fn compiler_package(triple: &str) -> &'static str {
    if triple.starts_with("aarch64") { "gcc-aarch64-linux-gnu" } else { "gcc-x86-64-linux-gnu" }
}

/// What the user has set for this very target.
fn own_variables(triple: &str, environment: &Environment) -> Vec<(String, OsString)> {
    let underscored = triple.replace('-', "_");
    let names = [
        format!("CARGO_TARGET_{}_LINKER", underscored.to_uppercase()),
        format!("CC_{underscored}"),
        format!("CC_{triple}"),
        format!("AR_{underscored}"),
        format!("AR_{triple}"),
    ];
    names
        .into_iter()
        .filter_map(|name| environment.get(OsStr::new(&name)).cloned().map(|value| (name, value)))
        .collect()
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    fn toolchain(host: &str) -> Toolchain {
        let path = PathBuf::from("/nowhere/toolchains/stable");
        Toolchain {
            cargo: path.clone(),
            rustc: path.clone(),
            sysroot: path,
            host: host.to_owned(),
            version: String::new(),
        }
    }

    /// An environment whose `PATH` has these programs and no others.
    fn environment(programs: &[&str]) -> (tempfile::TempDir, Environment) {
        let scratch = tempfile::tempdir().unwrap();
        for name in programs {
            let path = scratch.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let environment = BTreeMap::from([("PATH".into(), scratch.path().into())]);
        (scratch, environment)
    }

    fn missing(architecture: Architecture, host: &str, environment: &Environment) -> String {
        let toolchain = toolchain(host);
        Target::choose(architecture, &toolchain, environment)
            .check(&toolchain)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_machines_own_architecture_needs_no_more_than_its_own_toolchain() {
        let (_scratch, none) = environment(&[]);
        for (architecture, host, triple) in [
            (Architecture::X86_64, "x86_64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"),
            (Architecture::Arm64, "aarch64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"),
            (Architecture::X86_64, "x86_64-unknown-linux-musl", "x86_64-unknown-linux-musl"),
        ] {
            let toolchain = toolchain(host);
            let target = Target::choose(architecture, &toolchain, &none);
            assert_eq!(target, Target { triple, variables: Vec::new(), missing_compiler: None });
            assert_eq!(target.check(&toolchain), Ok(()));
        }
    }

    #[test]
    fn a_cross_compiler_on_the_path_is_used_for_linking_and_for_crates_in_c() {
        let (scratch, with_gcc) = environment(&["aarch64-linux-gnu-gcc"]);
        let gcc = scratch.path().join("aarch64-linux-gnu-gcc").into_os_string();
        let target =
            Target::choose(Architecture::Arm64, &toolchain("x86_64-unknown-linux-gnu"), &with_gcc);
        let variables = vec![
            ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER".to_owned(), gcc.clone()),
            ("CC_aarch64_unknown_linux_gnu".to_owned(), gcc),
        ];
        assert_eq!(
            target,
            Target { triple: "aarch64-unknown-linux-gnu", variables, missing_compiler: None }
        );
    }

    #[test]
    fn the_users_own_linker_for_the_target_is_taken_as_it_is() {
        let (_scratch, mut environment) = environment(&["aarch64-linux-gnu-gcc"]);
        let own = ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "/opt/zig-cc");
        environment.insert(own.0.into(), own.1.into());
        let target = Target::choose(
            Architecture::Arm64,
            &toolchain("x86_64-unknown-linux-gnu"),
            &environment,
        );
        assert_eq!(target.variables, [(own.0.to_owned(), own.1.into())]);
        assert_eq!(target.missing_compiler, None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_missing_for_the_other_architecture_is_told_with_the_commands_that_install_it() {
        let (_scratch, none) = environment(&[]);
        assert_eq!(
            missing(Architecture::X86_64, "aarch64-unknown-linux-gnu", &none),
            "building the function: the Rust target x86_64-unknown-linux-gnu and the cross compiler x86_64-linux-gnu-gcc are missing\n  = help: \
             rustup target add x86_64-unknown-linux-gnu && apt-get install gcc-x86-64-linux-gnu libc6-dev-amd64-cross"
        );
        let (_scratch, with_gcc) = environment(&["aarch64-linux-gnu-gcc"]);
        assert_eq!(
            missing(Architecture::Arm64, "x86_64-unknown-linux-gnu", &with_gcc),
            "building the function: the Rust target aarch64-unknown-linux-gnu is missing\n  = help: rustup target add aarch64-unknown-linux-gnu"
        );
    }

    #[test]
    fn of_the_environment_only_homes_programs_and_the_network_go_on() {
        let names = [
            "PATH",
            "HOME",
            "https_proxy",
            "CARGO_NET_RETRY",
            "RUSTUP_TOOLCHAIN",
            "RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_TARGET_DIR",
            "CFLAGS",
            "AWS_SECRET_ACCESS_KEY",
            "ROUTETO_TOKEN",
            "RUSTC_WRAPPER",
            "CARGO_PROFILE_RELEASE_LTO",
        ];
        let environment: Environment =
            names.iter().map(|name| (name.into(), "value".into())).collect();
        let passed: Vec<&str> =
            passed_on(&environment).filter_map(|(name, _)| name.to_str()).collect();
        assert_eq!(passed, ["CARGO_NET_RETRY", "HOME", "PATH", "RUSTUP_TOOLCHAIN", "https_proxy"]);
    }
}
