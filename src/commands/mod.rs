//! One short file per verb; what several need is here.

mod deploy;
mod dev;
mod package;
mod plan;
mod probe;
mod render;
mod rollback;
mod set_token;
mod status;
mod tail;
mod teardown;
mod test;
mod validate;

use crate::{
    aws::{
        Aws, Connection,
        lock::{self, Lock, Taken},
        logs, millis,
    },
    cli::{Cli, Command, FunctionZip, Global, StackArg, Stages},
    desired::{self, Inputs},
    dev::running::{self, Running},
    diagnostic::{Diagnostic, Severity},
    error::{Error, Failure, Result},
    observed::{Account, Observed, Secret},
    package::{Artifact, Event, Options, build},
    plan::{Plan, plan},
    report::{Progress, Report, json::VERSION},
    resource::{LogGroup, Resources, Retention},
    spec::{self, Loaded, Source, Stack, World},
};
use aws_smithy_types::date_time::{DateTime, Format};
use clap::CommandFactory;
use futures_util::{FutureExt, TryFutureExt, future::LocalBoxFuture};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};
use tokio::task::JoinHandle;

/// The stack that `dev` serves where there is none: this repository's own example.
/// More than API Gateway takes of any of them.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;
const EXAMPLE: &[u8] = include_bytes!("../../stacks/routeto.yaml");

/// What every command works with.
pub struct Context {
    pub global: Global,
    pub report: Report,
    pub progress: Arc<Progress>,
    /// The lock that is held, so that an interrupted command can give it back.
    pub lock: Mutex<Option<(Lock, JoinHandle<()>)>>,
    /// Tokens that were made, in clear, and are yet to be shown: an interrupted command shows
    /// them, since the next one won't make them again.
    unshown: Mutex<BTreeMap<String, Secret>>,
    /// Between this command and its lock.
    ties: lock::Ties,
    /// Whether something may have been changed.
    begun: AtomicBool,
    /// What to do after a command that was interrupted in the middle.
    again: Mutex<&'static str>,
}

/// Runs the command; answers the exit code of one that did its work.
/// A command's future is large, and a debug build keeps room for all of them on the stack where
/// they are chosen from: so each is in a box.
pub fn run(context: &Context, cli: Cli) -> LocalBoxFuture<'_, Result<u8>> {
    let zero = |()| 0;
    match cli.command {
        Command::Deploy(args) => deploy::run(context, args).map_ok(zero).boxed_local(),
        Command::Plan(args) => plan::run(context, args).boxed_local(),
        Command::SetToken(args) => set_token::run(context, args).map_ok(zero).boxed_local(),
        Command::Rollback(args) => rollback::run(context, args).map_ok(zero).boxed_local(),
        Command::Status(args) => status::run(context, args).map_ok(zero).boxed_local(),
        Command::Teardown(args) => teardown::run(context, args).map_ok(zero).boxed_local(),
        Command::Validate(args) => {
            async move { validate::run(context, args).map(zero) }.boxed_local()
        }
        Command::Dev(args) => dev::run(context, args).map_ok(zero).boxed_local(),
        Command::Test(args) => test::run(context, args).map_ok(zero).boxed_local(),
        Command::Tail(args) => tail::run(context, args).boxed_local(),
        Command::Render(args) => render::run(context, args).map_ok(zero).boxed_local(),
        Command::Package(args) => package::run(context, args).map_ok(zero).boxed_local(),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "routeto", &mut text);
            context.report.result(&String::from_utf8_lossy(&text));
            std::future::ready(Ok(0)).boxed_local()
        }
    }
}

impl Context {
    pub fn new(global: Global) -> Self {
        let report = Report::new(&global);
        Self {
            global,
            report,
            progress: Arc::new(Progress::new(report)),
            lock: Mutex::default(),
            ties: lock::Ties::default(),
            unshown: Mutex::default(),
            begun: AtomicBool::new(false),
            again: Mutex::new("run the same command again: it goes on from there"),
        }
    }

    /// Reads and checks the stack file; warnings are told, but with `-q`. For the commands that a
    /// changed file goes through.
    pub fn load(&self, arg: &StackArg) -> Result<Stack> {
        Ok(self.told(self.load_quietly(arg)?))
    }

    /// The stack, once its warnings are told.
    pub fn told(&self, Loaded { stack, warnings }: Loaded) -> Stack {
        if !self.report.quiet {
            self.report.diagnostics(&warnings);
        }
        stack
    }

    /// As [`Context::load`], for commands that have something else to say than what is to be
    /// thought of in the file.
    pub fn load_quietly(&self, arg: &StackArg) -> Result<Loaded> {
        self.load_from(arg, || no_stack_here(arg), crate::render::check)
    }

    /// As [`Context::load_quietly`], for `dev`: where no file is named and none is there, the
    /// example.
    pub fn load_or_example(&self, arg: &StackArg) -> Result<Loaded> {
        self.load_from(arg, || Ok(EXAMPLE.to_vec()), crate::render::check)
    }

    /// As [`Context::load_quietly`], for what asks a running `dev`: the example is a stack only
    /// while one serves it in this directory.
    pub fn load_or_running_example(&self, arg: &StackArg) -> Result<Loaded> {
        let directory = Path::new(running::DIRECTORY);
        let serves =
            || running::is_held(directory) && Running::read(directory).is_ok_and(|it| it.is_some());
        let example = || if serves() { Ok(EXAMPLE.to_vec()) } else { no_stack_here(arg) };
        self.load_from(arg, example, crate::render::check)
    }

    /// As [`Context::load`], for what is about one route: only what concerns its templates is told.
    pub fn load_for_route(&self, arg: &StackArg, route: Option<&str>) -> Result<Stack> {
        let check = |stack: &Stack| match route {
            Some(route) => crate::render::check_route(stack, route),
            None => Ok(vec![]),
        };
        let Loaded { stack, mut warnings } = self.load_from(arg, || no_stack_here(arg), check)?;
        // The stack file's own are `validate`'s.
        let file = stack_path(arg.path());
        warnings.retain(|warning| warning.file != file);
        Ok(self.told(Loaded { stack, warnings }))
    }

    /// `without`: the text where no file is named and the default isn't there. `check`: what is to
    /// be said of the templates.
    fn load_from(
        &self,
        arg: &StackArg,
        without: impl FnOnce() -> Result<Vec<u8>>,
        check: impl FnOnce(&Stack) -> Result<Vec<Diagnostic>, Vec<Diagnostic>>,
    ) -> Result<Loaded> {
        if let Some(region) =
            self.global.region.as_deref().filter(|region| !spec::is_region(region))
        {
            let failure = Failure::new("--region", format!("`{region}` is no region's name"));
            return Err(Error::Usage(failure.now("a region looks like `us-east-1`")));
        }
        let path = stack_path(arg.path());
        let bytes = if arg.is_nowhere() { without()? } else { read_stack(&path)? };
        let region = self.global.region.clone();
        let world = World {
            env: &|name| std::env::var(name).ok(),
            read: &|path| read_file(path),
            region: region.as_deref(),
        };
        let mut loaded =
            spec::load(&Source { path: &path, bytes: &bytes }, &world).map_err(Error::Stack)?;
        // A template that API Gateway would refuse is refused here.
        loaded.warnings.extend(check(&loaded.stack).map_err(Error::Stack)?);
        Ok(loaded)
    }

    /// The stages that `--stage` asks for, for looking names up. What is shown is in the file's
    /// order: [`Stack::in_order`].
    pub fn stages(&self, stack: &Stack, stages: &Stages) -> Result<BTreeSet<String>> {
        let selected = stack
            .select_stages(&stages.stages)
            .map_err(|what| Error::Usage(Failure::new("--stage", what)))?;
        Ok(selected.into_iter().map(|stage| stage.name.clone()).collect())
    }

    pub async fn connect(&self, stack: &Stack) -> Result<Aws> {
        let Global { region, profile, endpoint_url, .. } = self.global.clone();
        let mut aws = Aws::connect(&Connection {
            region: region.or_else(|| stack.region.clone()),
            profile,
            endpoint_url,
        })
        .await?;
        let progress = self.progress.clone();
        aws.tell(Arc::new(move |reason: String| progress.step(&reason)));
        Ok(aws)
    }

    /// The function's zip: given, kept from an earlier build, or built now.
    pub async fn artifact(&self, stack: &Stack, zip: &FunctionZip) -> Result<Artifact> {
        let mut options = Options::new(stack.function.architecture)?;
        options.function_zip = zip.function_zip.clone();
        // Dropping this future (Ctrl-C) ends the build.
        let cancel = CancelOnDrop(options.cancel.clone());
        let progress = self.progress.clone();
        let built =
            tokio::task::spawn_blocking(move || build(&options, &|event| tell(&progress, &event)))
                .await;
        drop(cancel);
        self.progress.step_done();
        built.map_err(|error| Failure::new("building the function", error.to_string()))?
    }

    /// What stands, what ought to stand, and what to do.
    pub fn planned(
        stack: &Stack,
        stages: &BTreeSet<String>,
        artifact: &Artifact,
        account: Account,
        observed: Observed,
    ) -> Result<Planned> {
        let mut scope = stack.clone();
        scope.stages.retain(|stage| stages.contains(&stage.name));
        let inputs = Inputs {
            account: &account,
            code_sha256: &artifact.code_sha256,
            existing: &observed.existing,
        };
        let desired = desired::desired(&scope, &inputs);
        let options = crate::plan::Options {
            places: desired::named(&scope, &account),
            ..crate::plan::Options::default()
        };
        let plan = plan(&desired, &observed, options).map_err(Error::Failed)?;
        Ok(Planned { account, observed, desired, plan })
    }

    /// The log group of the lock and the history.
    pub fn lock_group(&self, stack: &Stack) -> LogGroup {
        LogGroup {
            name: desired::name::history(&stack.name),
            tags: desired::tags(stack),
            retention: Retention::Forever,
        }
    }

    /// Takes the stack's lock for this command (`deploy`, …) and keeps signing it until it is
    /// released. Answers whether nobody had it since it was `seen`.
    pub async fn take_lock(
        &self,
        aws: &Aws,
        stack: &Stack,
        account: &Account,
        what: &'static str,
        by_force: bool,
        seen: Option<&lock::Seen>,
    ) -> Result<bool> {
        let group = self.lock_group(stack);
        let progress = self.progress.clone();
        let told = Mutex::new(String::new());
        let tell = move |reason: String| {
            let mut told = told.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if *told != reason {
                progress.step(&reason);
                *told = reason;
            }
        };
        let wanted = lock::Wanted { group: &group, what, by_force, clock: now };
        let Taken { lock, undisturbed, from, unaware } =
            lock::take(aws, &wanted, seen, &self.ties, &tell).await?;
        self.progress.step_done();
        let keeping = tokio::spawn(lock.keep(account.caller.clone(), now));
        *self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((lock, keeping));
        self.begin();
        if let Some(holder) = from {
            self.report.note(&format!("took the lock from another {holder}"));
        }
        if let Some(unaware) = unaware {
            // Ours is signed meanwhile.
            self.progress.step(&format!(
                "waiting {} s until the other command notices that it lost the lock",
                unaware.seconds()
            ));
            unaware.over().await;
            self.progress.step_done();
        }
        Ok(undisturbed)
    }

    /// From here on something may have been changed.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// What to do after an interruption, where running the same command again would be wrong.
    pub fn not_simply_again(&self, what: &'static str) {
        *self.again.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = what;
    }

    pub fn again(&self) -> &'static str {
        *self.again.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) || self.ties.has_tried()
    }

    /// One line in the stack's history. A history that can't be written undoes nothing.
    pub async fn remember(&self, aws: &Aws, stack: &str, line: &serde_json::Value) {
        if let Err(error) =
            logs::remember(aws, &desired::name::history(stack), &line.to_string(), now()).await
        {
            self.report
                .warning(&format!("the history has no line of this: {}", error.about("history")));
        }
    }

    /// The work under the lock, unless that is lost (`--break-lock`, or nothing was heard of us for
    /// too long): to go on would mix two deploys. Then the lock is given back.
    pub async fn under_lock<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let outcome = tokio::select! {
            // What the work says then is only what the lost lock made of it.
            biased;
            () = self.ties.lost.notified() => {
                // It is not ours to give back.
                let held = self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
                let why = held.and_then(|(lock, _)| lock.lost()).unwrap_or_default();
                let failure = Failure::new("lock", why);
                // The next run won't make it again.
                self.show_tokens();
                Err(failure.now(format!("wait until the other ends; {}", self.again())).into())
            }
            outcome = work => outcome,
        };
        self.release().await;
        outcome
    }

    /// The lock that is held, for whoever is about to change something.
    pub fn held(&self) -> Option<Lock> {
        self.lock
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .as_ref()
            .map(|(lock, _)| lock.clone())
    }

    pub fn unshown(&self) -> MutexGuard<'_, BTreeMap<String, Secret>> {
        self.unshown.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Shows the tokens that were made, if that is allowed and was not done; whether there were
    /// any.
    pub fn show_tokens(&self) -> bool {
        let tokens = std::mem::take(&mut *self.unshown());
        if !tokens.is_empty() {
            // Lines that are still drawn would be drawn over it.
            self.progress.clear();
        }
        if self.report.json && !tokens.is_empty() {
            let stages: Map<String, Value> = tokens
                .iter()
                .map(|(stage, token)| (stage.clone(), json!({"token": token.0})))
                .collect();
            self.report.result(&json!({"version": VERSION, "stages": stages}).to_string());
        } else {
            for (stage, token) in &tokens {
                self.report.result(&format!("token of stage {stage}: {}", token.0));
            }
        }
        !tokens.is_empty()
    }

    /// Gives the lock back, if one is held or is about to be.
    pub async fn release(&self) {
        self.ties.settled().await;
        let slot = || self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let held = slot().as_ref().map(|(lock, keeping)| (lock.clone(), keeping.abort_handle()));
        let Some((lock, keeping)) = held else { return };
        // A sign that comes after the release would find no stream, which is nobody's concern.
        keeping.abort();
        if let Err(error) = lock.release().await {
            self.report.warning(&format!("the lock couldn't be given back: {error}"));
        }
        // Not before: who is interrupted meanwhile gives it back once more.
        *slot() = None;
    }
}

/// A plan with what it was made of.
pub struct Planned {
    pub account: Account,
    pub observed: Observed,
    pub desired: Resources,
    pub plan: Plan,
}

struct CancelOnDrop(crate::package::Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn tell(progress: &Progress, event: &Event) {
    match event {
        Event::Waiting => progress.step("another routeto builds the function; waiting for it"),
        Event::Fetching => progress.step("building the function, once; minutes, the first time"),
        Event::Compiling { done, total, name } if *done > 0 => {
            progress.counted("building the function", *done, *total, name)
        }
        Event::Zipping => progress.step("compressing the function"),
        _ => {}
    }
}

/// A file, or the name of one in `stacks/`.
fn stack_path(arg: &Path) -> PathBuf {
    let is_name = arg.components().count() == 1 && arg.extension().is_none();
    if arg.exists() || !is_name {
        return arg.to_owned();
    }
    let file = |ending: &str| Path::new("stacks").join(format!("{}.{ending}", arg.display()));
    let (yaml, yml) = (file("yaml"), file("yml"));
    if !yaml.exists() && yml.exists() { yml } else { yaml }
}

/// No file was named, and there is none where one is looked for then.
fn no_stack_here(arg: &StackArg) -> Result<Vec<u8>> {
    let path = arg.path();
    let help = format!(
        "routeto looked for {}; name another one, or create it (the README has one to begin with; \
         `routeto dev` serves a built-in example)",
        path.display()
    );
    Err(Error::Stack(vec![Diagnostic {
        severity: Severity::Error,
        file: path.to_owned(),
        place: None,
        source_line: None,
        width: 1,
        message: "there is no stack file here".into(),
        help: Some(help),
    }]))
}

pub fn read_stack(path: &Path) -> Result<Vec<u8>> {
    let wrong = |message: String, help: &str| {
        Error::Stack(vec![Diagnostic {
            severity: Severity::Error,
            file: path.to_owned(),
            place: None,
            source_line: None,
            width: 1,
            message,
            help: Some(help.to_owned()),
        }])
    };
    let metadata = std::fs::metadata(path).map_err(|error| {
        let help = "name a stack file, or one in stacks/ without its ending; the README has one to begin with, and `routeto dev` runs an example without any";
        wrong(format!("the stack file can't be read: {error}"), help)
    })?;
    if metadata.is_dir() {
        return Err(wrong(
            "this is a directory, not a stack file".into(),
            "name the YAML file in it",
        ));
    }
    if !is_readable(path, &metadata) {
        return Err(wrong("this is no regular file".into(), "name a stack file, or /dev/stdin"));
    }
    if metadata.len() > spec::MAX_BYTES as u64 {
        return Err(Error::Stack(vec![spec::too_large(path)]));
    }
    // One byte too many is enough to know that it is too large.
    read_up_to(path, spec::MAX_BYTES as u64 + 1).map_err(|error| {
        wrong(format!("the stack file can't be read: {error}"), "check its permissions")
    })
}

/// A file that the user names: a template, a request, a body.
///
/// # Errors
/// It can't be read, is no regular file (`InvalidInput`) or is larger than any of them may be
/// (`FileTooLarge`).
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !is_readable(path, &std::fs::metadata(path)?) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let bytes = read_up_to(path, LARGEST_FILE + 1)?;
    if bytes.len() as u64 > LARGEST_FILE {
        let what = format!("it is larger than {} MiB", LARGEST_FILE / 1024 / 1024);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

/// Reading a pipe may block for ever, and no signal would end it; /dev/stdin is asked for.
fn is_readable(path: &Path, metadata: &std::fs::Metadata) -> bool {
    let is_asked_for = ["/dev/stdin", "/dev/null"].map(Path::new).contains(&path)
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc");
    // Reading a directory fails by itself.
    metadata.is_file() || metadata.is_dir() || is_asked_for
}

/// A device or a growing file has no end: no more than this is read.
fn read_up_to(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Milliseconds since the epoch.
pub fn now() -> i64 {
    millis(SystemTime::now())
}

/// `2026-11-22T03:15:00Z`; milliseconds since the epoch.
pub fn moment(time: i64) -> String {
    DateTime::from_secs(time.div_euclid(1000)).fmt(Format::DateTime).unwrap_or_default()
}

/// The same of seconds since the epoch; `None` beyond what a calendar has.
pub fn moment_of(seconds: u64) -> Option<String> {
    Some(moment(i64::try_from(seconds).ok()?.checked_mul(1000)?))
}

/// Where a stage's requests go: AWS's own URL, or `ROUTETO_INVOKE_URL` with `{api}` and `{stage}`
/// filled in.
pub fn invoke_url(account: &Account, api: &str, stage: &str) -> String {
    match std::env::var("ROUTETO_INVOKE_URL") {
        Ok(pattern) if !pattern.is_empty() => {
            pattern.replace("{api}", api).replace("{stage}", stage).trim_end_matches('/').to_owned()
        }
        _ => {
            format!("https://{api}.execute-api.{}.{}/{stage}", account.region, account.dns_suffix())
        }
    }
}

/// Whether the stage's URL can be reached from here: an emulator's needs `ROUTETO_INVOKE_URL`.
pub fn can_invoke(aws: &Aws) -> bool {
    aws.endpoint_url.is_none()
        || std::env::var("ROUTETO_INVOKE_URL").is_ok_and(|pattern| !pattern.is_empty())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::{fs::File, process::Command, thread};

    #[test]
    fn what_is_no_regular_file_or_too_large_is_not_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let (pipe, link, large) = (
            directory.path().join("pipe"),
            directory.path().join("link"),
            directory.path().join("large"),
        );
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        std::os::unix::fs::symlink(&pipe, &link).expect("linked");
        // Whoever reads it gets something, and this test doesn't wait for ever.
        let writer = {
            let pipe = pipe.clone();
            thread::spawn(move || std::fs::write(pipe, "read"))
        };
        let kind = |path: &Path| read_file(path).map_err(|error| error.kind());
        assert_eq!(kind(&pipe), Err(io::ErrorKind::InvalidInput));
        assert!(read_stack(&pipe).is_err());
        assert_eq!(kind(&link), Err(io::ErrorKind::InvalidInput));
        assert_eq!(std::fs::read(&pipe).expect("read"), b"read");
        writer.join().expect("ended").expect("written");
        // Without an end.
        let zero = Path::new("/dev/zero");
        assert_eq!(kind(zero), Err(io::ErrorKind::InvalidInput));
        assert!(read_stack(zero).expect_err("a device").to_string().contains("no regular file"));
        let file = File::create(&large).expect("made");
        file.set_len(LARGEST_FILE).expect("longer");
        assert_eq!(read_file(&large).expect("as large as may be").len() as u64, LARGEST_FILE);
        file.set_len(LARGEST_FILE + 1).expect("longer");
        assert_eq!(kind(&large), Err(io::ErrorKind::FileTooLarge));
        assert_eq!(kind(Path::new("/dev/null")), Ok(vec![]));
    }
}
