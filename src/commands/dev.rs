//! `routeto dev`: serves the stack on this machine until somebody stops it.

use super::{Context, deploy, stack_path};
use crate::{
    aws::{Aws, lent::Lent},
    cli::{self, Destinations as Where, StackArg},
    desired::{self, Inputs},
    dev::{
        exchange::Stored,
        gateway::Gateway,
        home::Home,
        inspector,
        journal::Journal,
        now,
        running::{self, Running},
        server::{Destinations, Live, Server, clock, serve},
        store::{self, Needed, Store},
        watching::Watching,
    },
    diagnostic::Diagnostic,
    error::{Error, Failure, Result},
    observed::{Account, Secret},
    partition, render,
    report::{Style, json},
    resource::{Kind, Queue, Redrive, Resource},
    spec::{Destination, Loaded, Stack},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use routeto_function::Sinks;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch, time::timeout};

/// An editor writes a file in several steps; what comes within this time is one change.
const QUIET: Duration = Duration::from_millis(60);
const LONGEST: Duration = Duration::from_millis(500);

pub async fn run(context: &Context, args: cli::Dev) -> Result<()> {
    let Loaded { stack, warnings } = context.load_or_example(&args.stack)?;
    if args.stack.is_nowhere() {
        context.report.note(&format!(
            "there is no {} here, so this is a built-in example: create one and restart dev",
            args.stack.path().display()
        ));
    }
    let seen = contents(&args, &stack, BTreeMap::new());
    context.report.diagnostics(&warnings);
    let mut home = Home::open(Path::new(running::DIRECTORY))?;
    let given = given_tokens(&stack)?;
    let ready = Ready::new(context, &args, &stack, &home).await?;
    for (queue, kept) in ready.store().iter().flat_map(|store| store.damaged()) {
        let what = "something else than routeto has changed its file: what can't be read as messages any more is kept in";
        context.report.warning(&format!("queue {queue}: {what} {}", kept.display()));
    }
    for (queue, messages) in ready.store().iter().flat_map(|store| store.lost()) {
        let what = "the end of its file is missing, as after a power cut: messages that were in flight or delayed are lost";
        context
            .report
            .warning(&format!("queue {queue}: {what} ({messages}); new ones go to a new file"));
    }
    let journal = Journal::open(&home.directory().join("journal"))?;
    journal.depends_on(home.lock_file()?);
    let live = live(&home, &given, stack, &ready.account)?;

    if !args.host.is_loopback() {
        context
            .report
            .warning(&format!("--host {}: other machines can reach the stages, and S3 and SQS, which ask for no credentials; the page answers this machine only (from a container, publish no port but use its network)", args.host));
    }
    if args.port != 0 && args.aws_port == Some(args.port) {
        return Err(Error::Usage(
            Failure::new("--aws-port", "it is --port's, too")
                .now("give another, or leave it out for the next one"),
        ));
    }
    let listener = bind(args.host, args.port, "--port").await?;
    let port =
        listener.local_addr().map_err(|error| Failure::new("--port", error.to_string()))?.port();
    let url = url(args.host, port);
    let (endpoint, endpoint_url) = match args.destinations {
        Where::Aws => (None, None),
        Where::Local => {
            // Beside the port that was asked for; a free one beside a free one.
            let beside = if args.port == 0 { 0 } else { args.port.checked_add(1).unwrap_or(0) };
            let listener = bind(args.host, args.aws_port.unwrap_or(beside), "--aws-port").await?;
            let port = listener
                .local_addr()
                .map_err(|error| Failure::new("--aws-port", error.to_string()))?
                .port();
            (Some(listener), Some(self::url(args.host, port)))
        }
    };
    let destinations = ready.destinations();
    home.sign(&url);
    let server =
        Server::new(live, destinations, journal.clone(), context.report, url.clone(), port);
    let names = inspector::Names::new(&args.allow_host);
    let key = inspector_key()?;
    let entry = inspector::Entry { bound: args.host, port, names: names.clone(), key: key.clone() };
    let router = inspector::router(journal, server.clone(), entry).merge(server.router());
    let (stop, stopping) = watch::channel(false);
    let mut serving =
        vec![tokio::spawn(serve(listener, router, server.clone(), true, stopping.clone()))];
    if let (Some(listener), Some(store)) = (endpoint, ready.store()) {
        let router = inspector::no_websites(store.router(), names);
        serving.push(tokio::spawn(serve(listener, router, server.clone(), false, stopping)));
    }
    let served = Served {
        context,
        args: &args,
        home: &home,
        given: &given,
        ready: &ready,
        server: &server,
        url: &url,
        endpoint: endpoint_url.as_deref(),
        key: &key,
        told: Mutex::new(warnings),
    };
    let running = served.running();
    // Before anybody is told that it serves: who stops it at once is heard.
    let interrupted = crate::interrupted();
    running.write(home.directory())?;
    served.tell();
    tokio::select! {
        signal = interrupted => context.report.note(&format!("{signal}: finishing what is under way; once more stops at once")),
        () = served.watch(seen) => {}
    }
    let again = crate::interrupted();
    let _ = stop.send(true);
    if let Some(store) = ready.store() {
        store.close();
    }
    tokio::select! {
        _ = futures_util::future::join_all(serving) => {}
        _ = again => context.report.note("stopped at once: what was under way was cut off"),
    }
    running.remove(home.directory());
    Ok(())
}

/// New in every run; 128 bits.
fn inspector_key() -> Result<Secret, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new("dev", format!("the system gives no random numbers: {error}"))
    })?;
    Ok(Secret(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

/// Tokens that the environment gives: `ROUTETO_TOKEN_<STAGE>`, or `ROUTETO_TOKEN` where there is
/// one stage.
fn given_tokens(stack: &Stack) -> Result<BTreeMap<String, Secret>> {
    let stages: BTreeSet<String> = stack.stages.iter().map(|stage| stage.name.clone()).collect();
    let deploy::Tokens { mut by_stage, any } = deploy::Tokens::from_environment(&stages)?;
    if let (1, Some(token)) = (stages.len(), any) {
        by_stage.entry(stack.stages[0].name.clone()).or_insert(token);
    }
    Ok(by_stage)
}

fn live(
    home: &Home,
    given: &BTreeMap<String, Secret>,
    stack: Stack,
    account: &Account,
) -> Result<Live> {
    let stages: Vec<&str> = stack.stages.iter().map(|stage| stage.name.as_str()).collect();
    let tokens = home.tokens(&stages, given)?;
    let gateway = Gateway::new(&stack, account, &tokens).map_err(Error::Stack)?;
    Ok(Live::new(stack, gateway, tokens))
}

async fn bind(host: IpAddr, port: u16, option: &str) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(host, port);
    TcpListener::bind(address).await.map_err(|error| {
        let place = address.to_string();
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                Failure::new(place, format!("port {port} is already in use")).now(format!(
                    "stop what listens there, or take another port with {option} (0 is a free one)"
                ))
            }
            io::ErrorKind::PermissionDenied => Failure::new(place, "ports below 1024 need root")
                .now(format!("take one above 1023 with {option}")),
            io::ErrorKind::AddrNotAvailable => {
                Failure::new(place, "this machine has no such address").now("leave --host out")
            }
            _ => Failure::new(place, error.to_string())
                .now(format!("take another port with {option}")),
        }
    })
}

/// What a caller on this machine writes before the stage.
fn url(host: IpAddr, port: u16) -> String {
    match host {
        host if host.is_unspecified() => format!("http://127.0.0.1:{port}"),
        IpAddr::V4(host) => format!("http://{host}:{port}"),
        IpAddr::V6(host) => format!("http://[{host}]:{port}"),
    }
}

/// The account that the stack is served in on this machine.
fn local_account(stack: &Stack, region: Option<String>) -> Account {
    let mut account = render::offline_account(stack);
    if let Some(region) = region.filter(|region| !region.is_empty()) {
        account.partition = partition::of_region(&region).into();
        account.region = region;
    }
    account
}

/// What doesn't change while it serves: the account, and where records go.
struct Ready {
    account: Account,
    place: Place,
}

enum Place {
    Here(Arc<Store>),
    Account(Box<Aws>),
}

impl Ready {
    async fn new(context: &Context, args: &cli::Dev, stack: &Stack, home: &Home) -> Result<Ready> {
        match args.destinations {
            Where::Local => {
                let region = context
                    .global
                    .region
                    .clone()
                    .or_else(|| stack.region.clone())
                    .or_else(|| std::env::var("AWS_REGION").ok());
                let account = local_account(stack, region);
                let store = Store::open(&home.directory().join("store"))?;
                store.depends_on(home.lock_file()?);
                let ready = Ready { account, place: Place::Here(store) };
                ready.prepare(stack)?;
                Ok(ready)
            }
            Where::Aws => {
                let aws = context.connect(stack).await?;
                let account = aws.account().await.map_err(|error| error.about("account"))?;
                Ok(Ready { account, place: Place::Account(Box::new(aws)) })
            }
        }
    }

    fn store(&self) -> Option<&Arc<Store>> {
        match &self.place {
            Place::Here(store) => Some(store),
            Place::Account(_) => None,
        }
    }

    fn destinations(&self) -> Box<dyn Destinations> {
        match &self.place {
            Place::Here(store) => {
                let sinks = Arc::new(store::sinks(store, &self.account.region));
                Box::new(Local { store: store.clone(), sinks })
            }
            Place::Account(aws) => Box::new(OfAccount(Lent::new((**aws).clone()))),
        }
    }

    /// Makes the buckets and queues of every stage, on this machine: those that a deploy makes, and
    /// those that it takes as they are. They are what the store needs from now on.
    fn prepare(&self, stack: &Stack) -> Result<()> {
        let Some(store) = self.store() else { return Ok(()) };
        let inputs = Inputs { account: &self.account, code_sha256: "", existing: &BTreeMap::new() };
        let resources = desired::desired(stack, &inputs);
        // Dead letters first: a queue that names another finds it there.
        for redrive in [false, true] {
            for resource in resources.values() {
                match resource {
                    Resource::Bucket(bucket) => store.create_bucket(&bucket.name)?,
                    Resource::Queue(queue) if queue.redrive.is_some() == redrive => {
                        self.create_queue(store, queue)?
                    }
                    _ => {}
                }
            }
        }
        let existing = desired::existing(stack, &self.account);
        for id in &existing {
            match id.kind {
                Kind::Bucket => store.create_bucket(&id.name)?,
                Kind::Queue if !store.has_queue(&id.name) => {
                    store.create_queue(&id.name, BTreeMap::new())?
                }
                _ => {}
            }
        }
        let mut needed = Needed::default();
        for id in resources.into_keys().chain(existing) {
            match id.kind {
                Kind::Bucket => _ = needed.buckets.insert(id.name),
                Kind::Queue => _ = needed.queues.insert(id.name),
                _ => {}
            }
        }
        store.needs(needed);
        Ok(())
    }

    fn create_queue(&self, store: &Store, queue: &Queue) -> Result<(), Failure> {
        let mut attributes = BTreeMap::from([
            ("MessageRetentionPeriod".to_owned(), queue.retention.to_string()),
            ("MaximumMessageSize".to_owned(), queue.maximum_message_size.to_string()),
        ]);
        if let Some(Redrive { dead_letter_queue, after }) = &queue.redrive {
            let Account { id, region, partition, .. } = &self.account;
            let arn = format!("arn:{partition}:sqs:{region}:{id}:{dead_letter_queue}");
            let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": after});
            attributes.insert("RedrivePolicy".into(), policy.to_string());
        }
        store.create_queue(&queue.name, attributes)
    }
}

struct Local {
    store: Arc<Store>,
    sinks: Arc<Sinks>,
}

#[async_trait::async_trait]
impl Destinations for Local {
    async fn sinks(&self) -> Result<Arc<Sinks>, Failure> {
        Ok(self.sinks.clone())
    }

    async fn stored(&self, record: &Stored) -> Result<Option<Bytes>, Failure> {
        Ok(match record {
            Stored::S3 { bucket, key, .. } => {
                self.store.object(bucket, key).map(|(_, bytes)| bytes.into())
            }
            Stored::Sqs { queue, message_id, .. } => {
                self.store.message(queue, message_id).map(Bytes::from)
            }
        })
    }

    fn unstored(&self) -> Option<String> {
        let why = self.store.unstored()?;
        Some(format!(
            "records can't be stored any more: {why}\n  = help: stop `routeto dev` and start it again; it makes what is missing"
        ))
    }
}

struct OfAccount(Lent);

#[async_trait::async_trait]
impl Destinations for OfAccount {
    async fn sinks(&self) -> Result<Arc<Sinks>, Failure> {
        self.0.sinks().await
    }

    async fn stored(&self, _record: &Stored) -> Result<Option<Bytes>, Failure> {
        Err(Failure::new("record", "it is in the account, not on this machine")
            .now("look there: aws s3 cp, aws sqs receive-message"))
    }
}

/// What the stack file and its templates hold; one that can't be read holds nothing.
type Contents = BTreeMap<PathBuf, Option<Vec<u8>>>;

fn files(args: &cli::Dev, stack: &Stack) -> Vec<PathBuf> {
    let templates = stack
        .routes
        .values()
        .flat_map(|route| route.templates.values())
        .map(|template| template.file.clone());
    std::iter::once(stack_path(args.stack.path())).chain(templates).collect()
}

/// Of the files that a stack has; those that are `known` already are not read.
fn contents(args: &cli::Dev, stack: &Stack, mut known: Contents) -> Contents {
    let read = |file: PathBuf| {
        let held = known.remove(&file).unwrap_or_else(|| super::read_file(&file).ok());
        (file, held)
    };
    files(args, stack).into_iter().map(read).collect()
}

/// A server at work.
struct Served<'a> {
    context: &'a Context,
    args: &'a cli::Dev,
    home: &'a Home,
    given: &'a BTreeMap<String, Secret>,
    ready: &'a Ready,
    server: &'a Arc<Server>,
    url: &'a str,
    endpoint: Option<&'a str>,
    /// Of the inspector, in this run.
    key: &'a Secret,
    /// Warnings of the file as it was read last.
    told: Mutex<Vec<Diagnostic>>,
}

impl Served<'_> {
    /// What is served where.
    fn tell(&self) {
        let Served { context, args, url, endpoint, .. } = self;
        let report = &context.report;
        let live = self.server.live();
        let stack = &live.stack;
        let shown = report.shows_tokens(args.show_token);
        // A browser sends what is behind the `#` to no server and in no referrer.
        let key = if shown { format!("#key={}", self.key.0) } else { String::new() };
        let page = format!("{url}{}{key}", inspector::ROOT);
        if report.json {
            let mut stages = Map::new();
            for stage in &stack.stages {
                let base = format!("{url}/{}", stage.name);
                let routes: Map<String, Value> = stack
                    .routes
                    .keys()
                    .map(|path| (path.clone(), json!(format!("{base}{path}"))))
                    .collect();
                let mut entry = json!({"url": base, "routes": routes});
                if let (true, Some(token)) = (args.show_token, live.tokens.get(&stage.name)) {
                    entry["token"] = json!(token.0);
                }
                stages.insert(stage.name.clone(), entry);
            }
            let port = url.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
            let object = json!({
                "version": json::VERSION, "stack": stack.name, "region": self.ready.account.region, "url": url, "port": port,
                "page": page, "endpoint": endpoint, "stages": stages,
            });
            return report.result(&object.to_string());
        }
        let mut lines = vec![
            report.paint(Style::Bold, &format!("stack {} is served on this machine", stack.name)),
        ];
        for stage in &stack.stages {
            lines.push(report.paint(Style::Bold, &stage.name));
            let token = live.tokens.get(&stage.name).filter(|_| shown);
            lines.extend(deploy::route_lines(stack, &format!("{url}/{}", stage.name), token));
        }
        if !shown {
            lines.push("(the tokens, and the key that the page needs: --show-token)".into());
        }
        lines.push(format!("{}  {page}", report.paint(Style::Bold, "page")));
        match endpoint {
            Some(endpoint) => {
                lines.push(format!(
                    "{}  AWS_ENDPOINT_URL={endpoint}",
                    report.paint(Style::Bold, "S3 and SQS")
                ));
                // The CLI's version 1 doesn't heed AWS_ENDPOINT_URL for SQS, so it is spelt out.
                let aws = format!("  aws --no-sign-request --endpoint-url {endpoint}");
                if stack
                    .routes
                    .values()
                    .any(|route| matches!(route.destination, Destination::S3(_)))
                {
                    lines.push(format!("{aws} s3 ls"));
                }
                if stack
                    .routes
                    .values()
                    .any(|route| matches!(route.destination, Destination::Sqs(_)))
                {
                    lines.push(format!(
                        "{aws} --region {} sqs list-queues",
                        self.ready.account.region
                    ));
                }
            }
            None => lines.push(format!(
                "records go to the account {}, region {}",
                self.ready.account.id, self.ready.account.region
            )),
        }
        lines.push("Ctrl-C stops it".into());
        report.result(&lines.join("\n"));
    }

    /// Follows the stack file and its templates, which held this when they were read; never
    /// returns.
    async fn watch(&self, mut seen: Contents) {
        let report = &self.context.report;
        let (mut watching, mut changes) = match Watching::new() {
            Ok(made) => made,
            Err(error) => {
                report.warning(&format!(
                    "changes of the stack file are not noticed ({error}): start dev anew after one"
                ));
                return std::future::pending().await;
            }
        };
        loop {
            let stack = &self.server.live().stack;
            watching.follow(&files(self.args, stack));
            // Looked at before it waits: a change may have come before there was a watcher.
            let now = contents(self.args, stack, BTreeMap::new());
            if now != seen {
                self.reload();
                // What it read may be newer than `now`; then there is another event.
                seen = contents(self.args, &self.server.live().stack, now);
                continue;
            }
            if changes.recv().await.is_none() {
                return std::future::pending().await;
            }
            // A log that is written beside the stack file would else put it off for ever.
            let _ = timeout(LONGEST, async {
                while let Ok(Some(())) = timeout(QUIET, changes.recv()).await {}
            })
            .await;
        }
    }

    /// What other commands of this directory are told.
    fn running(&self) -> Running {
        Running {
            pid: std::process::id(),
            stack: self.server.live().stack.name.clone(),
            url: self.url.to_owned(),
            endpoint: self.endpoint.map(str::to_owned),
            region: self.ready.account.region.clone(),
            key: self.key.clone(),
        }
    }

    /// The new one is served from the next request on; if it is broken, the last good one goes on.
    fn reload(&self) {
        let Served { context, args, home, given, ready, server, .. } = self;
        let file = StackArg { stack: args.stack.stack.clone() };
        // What is written into a directory that another `dev` has by now would change that one's
        // tokens.
        if let Err(failure) = home.check() {
            return context.report.warning(&format!(
                "{} isn't read again\n{}",
                file.path().display(),
                Error::from(failure)
            ));
        }
        let loaded = context.load_quietly(&file).and_then(|Loaded { stack, warnings }| {
            if stack.region != server.live().stack.region {
                return Err(Failure::new(
                    "region",
                    "it has changed, and what is stored here has the old one",
                )
                .now("start dev anew")
                .into());
            }
            let live = live(home, given, stack, &ready.account)?;
            ready.prepare(&live.stack)?;
            Ok((live, warnings))
        });
        let name = file.path().display();
        match loaded {
            Ok((live, warnings)) => {
                // Those of before were told.
                let mut told = self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let new: Vec<_> =
                    warnings.iter().filter(|warning| !told.contains(*warning)).cloned().collect();
                context.report.diagnostics(&new);
                *told = warnings;
                let before = server.live();
                let same = |a: &Stack, b: &Stack| {
                    a.name == b.name
                        && a.routes.keys().eq(b.routes.keys())
                        && a.stages.iter().map(|s| &s.name).eq(b.stages.iter().map(|s| &s.name))
                };
                let changed = !same(&before.stack, &live.stack);
                let renamed = before.stack.name != live.stack.name;
                server.replace(live);
                if renamed && let Err(failure) = self.running().write(home.directory()) {
                    context.report.warning(&Error::from(failure).to_string());
                }
                context.report.note(&format!("{} read {name} again", clock(now())));
                if changed && !context.report.json {
                    self.tell();
                }
            }
            // The words of whoever named a wrong file on the command line would lead astray here.
            Err(_) if !stack_path(args.stack.path()).exists() => {
                let gone = format!(
                    "{name} is gone; what it held last goes on being served\n  = help: put it back, and it is read again"
                );
                context.report.warning(&gone);
                server.complain(Some(gone));
            }
            Err(error) => {
                context.report.warning(&format!(
                    "{name} has changed and can't be served; the last good one goes on\n{error}"
                ));
                server.complain(Some(error.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{self, Source, World};

    #[test]
    fn a_region_brings_its_partition_along() {
        let yaml = "stack: hooks\nregion: us-gov-west-1\nroutes:\n  /a: { s3: { bucket: hooks } }\nstages: { prod: {} }\n";
        let world = World { env: &|_| None, read: &|_| Ok(vec![]), region: None };
        let loaded =
            spec::load(&Source { path: Path::new("hooks.yaml"), bytes: yaml.as_bytes() }, &world);
        let stack = loaded.expect("a good stack").stack;
        for (region, expected) in [
            (None, ["us-gov-west-1", "aws-us-gov"]),
            (Some(""), ["us-gov-west-1", "aws-us-gov"]),
            (Some("cn-north-1"), ["cn-north-1", "aws-cn"]),
            (Some("eu-west-1"), ["eu-west-1", "aws"]),
        ] {
            let account = local_account(&stack, region.map(str::to_owned));
            assert_eq!([account.region.as_str(), &account.partition], expected, "{region:?}");
        }
    }
}
