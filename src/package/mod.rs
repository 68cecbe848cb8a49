//! The function's source to the zip that Lambda runs: cargo, checks of the program it made, a
//! reproducible archive, and a cache of it all.
//!
//! Runs cargo and rustc, and writes below the cache directory only (and to the file that
//! [`Artifact::write`] is told). It knows nothing of AWS, prints nothing and reads no environment
//! but the one it is given. Blocking: call it where blocking is allowed.

mod archive;
mod cache;
mod cargo;
mod elf;
mod source;
mod toolchain;

pub use cache::directory as cache_directory;
pub use source::Source;

use crate::{
    error::{Error, Failure},
    resource::hex,
    spec::Architecture,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use cache::{Cache, Entry};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};
use toolchain::{Target, Toolchain};

/// The newest glibc that the runtime `provided.al2023` has. Source: Amazon Linux 2023 User Guide,
/// "Core glibc and toolchain".
pub const NEWEST_GLIBC: Glibc = Glibc { major: 2, minor: 34 };

/// Where a failure of this module happened, unless it is about one file.
const PLACE: &str = "building the function";

/// What to build, and with what.
#[derive(Clone, Debug)]
pub struct Options {
    pub architecture: Architecture,
    /// Builds, zips and the build's log are kept below it.
    pub cache: PathBuf,
    /// `--function-zip`: nothing is built, this one is checked and taken.
    pub function_zip: Option<PathBuf>,
    pub source: Source,
    /// The process's environment. Only what finds the toolchain and the network goes on to cargo.
    pub environment: BTreeMap<OsString, OsString>,
    pub cancel: Cancel,
}

impl Options {
    /// The function that this binary carries, in this process's environment. Fails where no cache
    /// directory can be told.
    pub fn new(architecture: Architecture) -> Result<Self, Failure> {
        let environment: BTreeMap<_, _> = std::env::vars_os().collect();
        Ok(Self {
            architecture,
            cache: cache::directory(&environment)?,
            function_zip: None,
            source: Source::embedded(),
            environment,
            cancel: Cancel::default(),
        })
    }
}

/// What happens meanwhile, for the progress display.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another routeto builds just now; this one goes on when it is done.
    Waiting,
    /// Crates are looked for, and downloaded where they are missing.
    Fetching,
    /// `done` of about `total` crates are compiled; `name` is the one that was finished last, empty
    /// at the start.
    Compiling {
        done: usize,
        total: usize,
        name: String,
    },
    /// The program is checked and compressed.
    Zipping,
    /// Nothing had to be built.
    Cached,
    Built {
        seconds: f64,
    },
}

/// Where an artifact's zip came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Built,
    Cached,
    Given(PathBuf),
}

/// A version of glibc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glibc {
    pub major: u32,
    pub minor: u32,
}

impl std::fmt::Display for Glibc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A zip that Lambda takes: `bootstrap` for [`NEWEST_GLIBC`] and the architecture that was asked
/// for.
#[derive(Clone, PartialEq)]
pub struct Artifact {
    pub zip: Vec<u8>,
    /// SHA-256 of the zip in base64, as Lambda's `CodeSha256`.
    pub code_sha256: String,
    pub architecture: Architecture,
    pub origin: Origin,
    /// Where the zip stands: in the cache, or as given.
    pub path: PathBuf,
    /// Bytes of the program inside the zip.
    pub bootstrap_bytes: u64,
    /// The newest glibc that the program asks for; `None` for a static one.
    pub glibc: Option<Glibc>,
    /// Seconds that the build took, when it was done; 0 for a given zip.
    pub build_seconds: f64,
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artifact")
            .field("zip", &format_args!("{} bytes", self.zip.len()))
            .field("code_sha256", &self.code_sha256)
            .field("architecture", &self.architecture)
            .field("origin", &self.origin)
            .field("path", &self.path)
            .field("bootstrap_bytes", &self.bootstrap_bytes)
            .field("glibc", &self.glibc)
            .field("build_seconds", &self.build_seconds)
            .finish()
    }
}

/// What `routeto package` says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub path: PathBuf,
    /// `x86_64` or `arm64`.
    pub architecture: &'static str,
    pub zip_bytes: u64,
    pub bootstrap_bytes: u64,
    /// As Lambda's `CodeSha256`.
    pub code_sha256: String,
    /// Such as `2.34`; `None` for a static program.
    pub glibc: Option<String>,
    pub origin: Origin,
    /// Seconds that the build took, when it was done; 0 for a given zip.
    pub build_seconds: f64,
}

impl Artifact {
    pub fn report(&self) -> Report {
        Report {
            path: self.path.clone(),
            architecture: elf::machine_name(self.architecture),
            zip_bytes: self.zip.len() as u64,
            bootstrap_bytes: self.bootstrap_bytes,
            code_sha256: self.code_sha256.clone(),
            glibc: self.glibc.map(|version| version.to_string()),
            origin: self.origin.clone(),
            build_seconds: self.build_seconds,
        }
    }

    /// Writes the zip to `out`, whole or not at all; the report has `out` as its path.
    pub fn write(&self, out: &Path) -> Result<Report, Failure> {
        cache::write_whole(out, &self.zip).map_err(|error| {
            Failure::new(out.display().to_string(), format!("the zip can't be written: {error}"))
                .now("choose another file with --out")
        })?;
        Ok(Report { path: out.to_owned(), ..self.report() })
    }
}

/// Stops a build from another thread: cargo and all that it started are killed, and [`build`] ends
/// as interrupted.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<(Mutex<bool>, Condvar)>);

impl Cancel {
    pub fn cancel(&self) {
        *self.0.0.lock().expect("no thread panics with this lock") = true;
        self.0.1.notify_all();
    }

    pub fn is_cancelled(&self) -> bool {
        *self.0.0.lock().expect("no thread panics with this lock")
    }

    /// Waits for at most `time`; true at once when cancelled.
    fn wait(&self, time: Duration) -> bool {
        let cancelled = self.0.0.lock().expect("no thread panics with this lock");
        let (cancelled, _) = self
            .0
            .1
            .wait_timeout_while(cancelled, time, |cancelled| !*cancelled)
            .expect("no thread panics with this lock");
        *cancelled
    }

    fn check(&self) -> Result<(), Error> {
        if self.is_cancelled() { Err(interrupted()) } else { Ok(()) }
    }
}

fn interrupted() -> Error {
    Error::Interrupted(
        Failure::new(PLACE, "interrupted")
            .now("nothing was changed; the next run goes on from here"),
    )
}

/// The zip for `options`: the given one, the cached one, or one built now. Each event goes to
/// `progress` as it happens.
pub fn build(options: &Options, progress: &dyn Fn(Event)) -> Result<Artifact, Error> {
    if let Some(path) = &options.function_zip {
        return Ok(given(path, options.architecture)?);
    }
    options.cancel.check()?;
    let cache = Cache::open(&options.cache)?;
    let toolchain = Toolchain::find(&cache, options)?;
    let target = Target::choose(options.architecture, &toolchain, &options.environment);
    let key = key(&options.source, &toolchain, &target);
    if let Some(entry) = cache.read(&key) {
        progress(Event::Cached);
        return Ok(artifact(entry, options.architecture, Origin::Cached));
    }

    let _lock = cache.lock(&options.cancel, &|| progress(Event::Waiting))?;
    // Whoever held the lock may have built just this.
    if let Some(entry) = cache.read(&key) {
        progress(Event::Cached);
        return Ok(artifact(entry, options.architecture, Origin::Cached));
    }
    // Before minutes of compiling: what is missing is known by now.
    target.check(&toolchain)?;
    let start = Instant::now();
    let bootstrap = cargo::build(&cache, options, &toolchain, &target, progress)?;
    progress(Event::Zipping);
    let glibc = elf::check(&bootstrap, options.architecture, &bootstrap_place(&target))?;
    let bootstrap_bytes = bootstrap.len() as u64;
    let zip = compress(bootstrap, &options.cancel)?;
    archive::check_size(PLACE, zip.len() as u64)?;
    // as it is kept: a zip from the cache tells the same
    let seconds = start.elapsed().as_millis() as f64 / 1000.0;
    let entry = Entry {
        sha256: Sha256::digest(&zip).into(),
        bootstrap_bytes,
        glibc,
        build_seconds: seconds,
        path: cache.zip_path(&key),
        zip,
    };
    cache.write(&key, &entry)?;
    progress(Event::Built { seconds });
    Ok(artifact(entry, options.architecture, Origin::Built))
}

/// The zip of a program. It takes seconds and can't be stopped, so a cancelled one is left to
/// itself.
fn compress(bootstrap: Vec<u8>, cancel: &Cancel) -> Result<Vec<u8>, Error> {
    let worker = std::thread::spawn(move || archive::write(&bootstrap));
    while !worker.is_finished() {
        if cancel.wait(Duration::from_millis(20)) {
            return Err(interrupted());
        }
    }
    Ok(worker.join().expect("compressing doesn't panic"))
}

fn bootstrap_place(target: &Target) -> String {
    format!("bootstrap for {}", target.triple)
}

fn artifact(entry: Entry, architecture: Architecture, origin: Origin) -> Artifact {
    let Entry { zip, sha256, path, bootstrap_bytes, glibc, build_seconds } = entry;
    Artifact {
        code_sha256: BASE64_STANDARD.encode(sha256),
        zip,
        architecture,
        origin,
        path,
        bootstrap_bytes,
        glibc,
        build_seconds,
    }
}

/// What a zip is kept by: the source with its lock and profile, the toolchain, the target with its
/// linker, the compression. Not the versions of this machine's linker and C library: a zip made
/// with older ones runs as well.
fn key(source: &Source, toolchain: &Toolchain, target: &Target) -> String {
    let level = archive::LEVEL.to_string();
    let mut hash = Sha256::new();
    for part in [
        source.digest().as_str(),
        &toolchain.version,
        target.triple,
        &target.overrides_text(),
        &level,
    ] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

/// A zip that is already built, checked as one of ours would be.
fn given(path: &Path, architecture: Architecture) -> Result<Artifact, Failure> {
    let place = path.display().to_string();
    let zip = archive::read_file(path)?;
    let bootstrap = archive::read(&zip, &place)?;
    let glibc = elf::check(&bootstrap, architecture, &format!("{place}: bootstrap"))?;
    Ok(Artifact {
        code_sha256: BASE64_STANDARD.encode(Sha256::digest(&zip)),
        zip,
        architecture,
        origin: Origin::Given(path.to_owned()),
        path: path.to_owned(),
        bootstrap_bytes: bootstrap.len() as u64,
        glibc,
        build_seconds: 0.0,
    })
}
