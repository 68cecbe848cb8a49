//! The lock that keeps two deploys of a stack apart: log streams of `/routeto/<stack>`, made
//! atomically by CloudWatch Logs. Its holder signs it and gives signs of life; one that gives none
//! is taken over. The lock stands nowhere else.
//!
//! `lock-<n>` is made by whoever takes the lock, also from one who left it behind, `free-<n>` when
//! it is given back; the highest number has it. The streams stay for longer than a look at them is
//! good for, so whoever saw `free-<n>` and then makes `lock-<n+1>` knows that nobody had the lock
//! in between: what was read since is still so. Where there is no group, making it is taking the
//! lock.
//!
//! A holder that couldn't sign for [`SILENT`] stops by itself, well before anybody may take the
//! lock for left behind.

use super::{
    Aws,
    call::{CallError, called},
    logs::{self, HISTORY},
    wait::{Tell, lock_speed, pause, stay_speed},
};
use crate::{
    error::{Failure, Result},
    resource::LogGroup,
};
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeTransmitInterceptorContextRef},
        retries::RequestAttempts,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use serde_json::{Value, json};
use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

/// How the names of the streams begin that take the lock and give it back; the number follows.
const TAKEN: &str = "lock-";
const FREE: &str = "free-";

/// A holder gives a sign of life this often.
const SIGN: Duration = Duration::from_secs(5);

/// A sign that takes longer has failed, and the next one may come through.
const SIGN_ANSWER: Duration = Duration::from_secs(5);

/// A lock without a new sign for this long, as seen by whoever wants it (no two machines' clocks
/// are compared), was left behind.
const LEASE: Duration = Duration::from_secs(90);

/// The first sign comes with the lock: one that never had any was left behind sooner.
const UNSIGNED: Duration = Duration::from_secs(30);

/// A holder whose last sign is this old stops, or the lock itself where it was never signed: others
/// may soon take it.
const SILENT: Duration = Duration::from_secs(45);
const SILENT_UNSIGNED: Duration = Duration::from_secs(15);

/// A holder whose last sign is this old signs before it changes anything: the machine may have
/// slept.
const DOUBTFUL: Duration = Duration::from_secs(15);

/// How soon a sign that failed is tried again by who waits for it.
const AGAIN: Duration = Duration::from_secs(1);

/// For how long a holder whose lock is taken by force may still change something: while its signs
/// fail, [`Guard`] lets retries pass for [`SILENT`], and a call that it sent by then has its answer
/// within this time.
const UNAWARE: Duration = Duration::from_secs(SILENT.as_secs() + SIGN_ANSWER.as_secs());

/// How long another deploy that is alive is waited for; longer than [`LEASE`], so that one that is
/// dead is never in the way.
const PATIENCE: Duration = Duration::from_secs(120);

/// For how long what was seen of the lock is good for taking it at once: by then no stream of it
/// can have gone.
const FRESH: Duration = Duration::from_secs(60);

/// Nothing comes unseen in so short a time but what keeps the lock; a build may take longer.
const JUST_NOW: Duration = Duration::from_secs(5);

/// Streams of earlier locks stay for this long (milliseconds).
const STAY: i64 = 600_000;

/// A time of the lock's clock as the world's.
fn by_clock(time: Duration) -> Duration {
    time / lock_speed()
}

/// The lock as a look found it.
#[derive(Clone, Debug)]
pub struct Seen {
    state: State,
    /// Names and times of creation (milliseconds since the epoch) of the lock's streams.
    streams: Vec<(String, i64)>,
    /// The history's stream is there.
    history: bool,
    at: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NoGroup,
    /// A group in which nobody had the lock yet: who made it is about to take it.
    New,
    /// Given back with this number.
    Free(u64),
    Held(u64),
}

impl Seen {
    /// Nobody has it, and somebody had.
    pub fn is_free(&self) -> bool {
        matches!(self.state, State::Free(_))
    }

    /// A command has it, or is about to.
    pub fn is_held(&self) -> bool {
        matches!(self.state, State::New | State::Held(_))
    }

    /// There wasn't even a group for it, and that was just now.
    pub fn is_new(&self) -> bool {
        self.state == State::NoGroup && self.is_recent()
    }

    /// What was seen since may be taken for what is.
    pub fn is_recent(&self) -> bool {
        self.at.age() < JUST_NOW
    }

    /// Somebody took it, or gave it back, since.
    ///
    /// # Errors
    /// The call's.
    pub async fn has_changed(&self, aws: &Aws, group: &str) -> Result<bool, CallError> {
        Ok(look(aws, group).await?.state != self.state)
    }

    fn number(&self) -> Option<u64> {
        match self.state {
            State::Held(last) | State::Free(last) => Some(last),
            State::NoGroup | State::New => None,
        }
    }

    /// It can't be taken at once any more.
    pub fn is_stale(&self) -> bool {
        self.at.age() > FRESH
    }
}

/// Looks at the lock and takes nothing.
pub async fn look(aws: &Aws, group: &str) -> Result<Seen, CallError> {
    let at = Moment::now();
    let (mut streams, mut history, mut next) = (vec![], false, None);
    loop {
        let request = aws.signing.describe_log_streams().log_group_name(group).set_next_token(next);
        let page = match called("logs:DescribeLogStreams", request.send()).await {
            Ok(page) => page,
            Err(error) if error.not_found() => {
                return Ok(Seen { state: State::NoGroup, streams, history, at });
            }
            Err(error) => return Err(error),
        };
        for stream in page.log_streams.unwrap_or_default() {
            let Some(name) = stream.log_stream_name else { continue };
            history |= name == HISTORY;
            if number(&name).is_some() {
                streams.push((name, stream.creation_time.unwrap_or(0)));
            }
        }
        next = page.next_token;
        if next.is_none() {
            break;
        }
    }
    let last = streams.iter().filter_map(|(name, _)| number(name)).max();
    let freed =
        |last| streams.iter().any(|(name, _)| name.starts_with(FREE) && number(name) == Some(last));
    let state = match last {
        None => State::New,
        Some(last) if freed(last) => State::Free(last),
        Some(last) => State::Held(last),
    };
    Ok(Seen { state, streams, history, at })
}

fn number(stream: &str) -> Option<u64> {
    stream.strip_prefix(TAKEN).or_else(|| stream.strip_prefix(FREE))?.parse().ok()
}

/// A lock that is held; released by [`Lock::release`].
#[derive(Clone)]
pub struct Lock {
    aws: Aws,
    group: String,
    /// The command that holds it.
    what: &'static str,
    number: u64,
    /// It was taken from a holder that is gone.
    over: bool,
    /// Whether its stream was made; where making the group took the lock, the stream follows.
    made: bool,
    /// Streams of earlier locks, with their times of creation.
    old: Vec<(String, i64)>,
    history: bool,
    held: Arc<Mutex<Held>>,
    /// Is told when it is lost.
    lost: Arc<Notify>,
}

/// A clock that goes on while the machine sleeps. Linux has one that nobody sets; elsewhere it is
/// the date's.
fn wakeful() -> Duration {
    #[cfg(target_os = "linux")]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    }
    #[cfg(not(target_os = "linux"))]
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// Of two clocks: one that stands still while the machine sleeps, and one that doesn't.
#[derive(Clone, Copy, Debug)]
struct Moment(Instant, Duration);

impl Moment {
    fn now() -> Self {
        Moment(Instant::now(), wakeful())
    }

    /// Whatever became of either of them.
    fn age(self) -> Duration {
        self.0.elapsed().max(wakeful().saturating_sub(self.1))
    }
}

/// How sure its holder may be of the lock.
#[derive(Debug)]
struct Held {
    /// When it was last known to be ours.
    known: Moment,
    /// Whether it was ever signed.
    signed: bool,
    /// When CloudWatch Logs made its stream (milliseconds since the epoch), once that was seen:
    /// another one with its number is another's.
    created: Option<i64>,
    /// Why it isn't ours any more.
    lost: Option<String>,
    group: Group,
}

/// What becomes of a lock's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Stays,
    /// It is being deleted by who holds the lock: the lock's end is no loss, and nothing to be
    /// given back.
    Goes,
    /// It is known to be gone, and with it all that could be signed: what is left to do is done
    /// without it.
    Gone,
}

impl Held {
    /// No sign came through for so long that others may soon take it.
    fn is_silent(&self) -> bool {
        self.known.age() > by_clock(if self.signed { SILENT } else { SILENT_UNSIGNED })
    }
}

/// Sends nothing while a lock is held that may be somebody else's by now, not even what was about
/// to be tried once more when the machine fell asleep. In every client but the one that signs the
/// lock. It can't wait for a sign, so who slept for so long fails, and goes on when run again.
#[derive(Clone, Debug, Default)]
pub struct Guard(Arc<Mutex<Weak<Mutex<Held>>>>);

impl Guard {
    fn watch(&self, held: &Arc<Mutex<Held>>) {
        *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::downgrade(held);
    }
}

/// Why [`Guard`] let nothing through.
#[derive(Debug)]
pub struct Unsure {
    why: String,
    /// An earlier try of the call was sent.
    pub tried: bool,
}

impl std::error::Error for Unsure {}

impl std::fmt::Display for Unsure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl Intercept for Guard {
    fn name(&self) -> &'static str {
        "lock"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let tried = config.load::<RequestAttempts>().is_some_and(|tries| tries.attempts() > 1);
        let unsure = |why| Err(Unsure { why, tried }.into());
        let Some(held) = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).upgrade()
        else {
            return Ok(());
        };
        let held = held.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &held.lost {
            Some(why) if held.group == Group::Stays => {
                unsure(format!("the stack's lock is lost: {why}"))
            }
            _ if held.is_silent() && held.group != Group::Gone => {
                let seconds = held.known.age().as_secs();
                let why = "the machine slept, or CloudWatch Logs can't be reached";
                unsure(format!(
                    "the stack's lock wasn't signed for {seconds} s ({why}), and another deploy may have taken it"
                ))
            }
            _ => Ok(()),
        }
    }
}

/// What became of a sign.
enum Signed {
    Yes,
    /// It is somebody else's, or went with its group.
    Gone,
    Failed(String),
}

/// Who holds a lock, as far as its signs tell.
#[derive(Clone, Debug, Default, PartialEq)]
struct Holder {
    stream: String,
    /// Milliseconds since the epoch.
    created: i64,
    /// The newest sign: caller, host, process and when.
    sign: Option<String>,
}

/// What goes on between a command and its lock, whoever waits for it.
#[derive(Debug, Default)]
pub struct Ties {
    /// Is told when the lock is lost.
    pub lost: Arc<Notify>,
    /// Locked while the lock is being taken.
    taking: Arc<tokio::sync::Mutex<()>>,
    /// A call was sent that takes it.
    tried: AtomicBool,
}

impl Ties {
    /// Whether it may have been taken: before that nothing was changed.
    pub fn has_tried(&self) -> bool {
        self.tried.load(Ordering::Relaxed)
    }

    /// Waits until the lock is either ours, or given back by who isn't waited for any more.
    pub async fn settled(&self) {
        drop(self.taking.lock().await);
    }

    /// A call that takes the lock, in a task of its own: it may be carried out when nobody waits
    /// for its answer any more, after Ctrl-C say, and then what it took is given back.
    async fn took(
        &self,
        aws: &Aws,
        group: &LogGroup,
        number: u64,
        call: impl Future<Output = Result<bool, CallError>> + Send + 'static,
    ) -> Result<bool, CallError> {
        let taking = Arc::clone(&self.taking).lock_owned().await;
        self.tried.store(true, Ordering::Relaxed);
        let (say, hear) = oneshot::channel();
        let (aws, group) = (aws.clone(), group.name.clone());
        tokio::spawn(async move {
            let answer = call.await;
            let taken = matches!(answer, Ok(true));
            // What was said is heard only when it was taken up: the command may end in between.
            let (heard, hears) = oneshot::channel();
            let unheard = say.send((answer, heard)).is_err() || hears.await.is_err();
            if taken && unheard {
                let _ = create(&aws, &group, &format!("{FREE}{number}")).await;
            }
            drop(taking);
        });
        // The task says something before it ends. From here to where the lock is kept nothing
        // waits.
        let Ok((answer, heard)) = hear.await else { return Ok(false) };
        if matches!(answer, Ok(false)) {
            // Somebody was quicker: still nothing of ours.
            self.tried.store(false, Ordering::Relaxed);
        }
        let _ = heard.send(());
        answer
    }

    /// Takes the lock with this number, where nobody did.
    async fn stream(&self, aws: &Aws, group: &LogGroup, number: u64) -> Result<bool, CallError> {
        let (client, name) = (aws.clone(), group.name.clone());
        let call = async move {
            match create(&client, &name, &format!("{TAKEN}{number}")).await {
                // A teardown took the group away meanwhile, and the lock with it.
                Err(error) if error.not_found() => Ok(false),
                other => other,
            }
        };
        self.took(aws, group, number, call).await
    }

    /// Takes the first lock, by making its group.
    async fn group(&self, aws: &Aws, group: &LogGroup) -> Result<bool, CallError> {
        let (client, new) = (aws.clone(), group.clone());
        self.took(
            aws,
            group,
            1,
            async move { logs::create_new(&client, &new, &*client.tell).await },
        )
        .await
    }
}

/// Which lock is wanted, and by whom.
pub struct Wanted<'a> {
    /// The group that it is in.
    pub group: &'a LogGroup,
    /// The command: `deploy`, `teardown`, `rollback`, `set-token`. Others are told so.
    pub what: &'static str,
    /// Take it from whoever has it.
    pub by_force: bool,
    /// Milliseconds since the epoch.
    pub clock: fn() -> i64,
}

/// A lock that was taken.
pub struct Taken {
    pub lock: Lock,
    /// Nobody had it since it was seen.
    pub undisturbed: bool,
    /// From whom it was taken, as far as is known.
    pub from: Option<String>,
    /// It was taken by force: the holder may not know yet, and still change something. Nothing is
    /// to be looked at or changed before [`Unaware::over`].
    pub unaware: Option<Unaware>,
}

/// How long a holder may not know that its lock was taken.
pub struct Unaware(Duration);

impl Unaware {
    pub fn seconds(&self) -> u64 {
        self.0.as_secs()
    }

    pub async fn over(self) {
        pause(by_clock(self.0)).await;
    }
}

/// Takes the lock at once, where a look just found it free: nobody had it since. `None` where
/// somebody was quicker, or it isn't free.
async fn take_at_once(
    aws: &Aws,
    wanted: &Wanted<'_>,
    seen: &Seen,
    ties: &Ties,
) -> Result<Option<Lock>, CallError> {
    let lock = |number, made| Lock::new(aws, wanted, seen, number, made, false, &ties.lost);
    Ok(match seen.state {
        _ if seen.is_stale() => None,
        State::NoGroup => ties.group(aws, wanted.group).await?.then(|| lock(1, false)),
        State::Free(last) => {
            ties.stream(aws, wanted.group, last + 1).await?.then(|| lock(last + 1, true))
        }
        State::New | State::Held(_) => None,
    })
}

/// Takes the stack's lock; waits for a holder that is alive, and takes over from one that isn't.
/// `ties` tell when it isn't ours any more.
///
/// # Errors
/// When another command holds it and goes on: which, whose, and for how long.
pub async fn take(
    aws: &Aws,
    wanted: &Wanted<'_>,
    seen: Option<&Seen>,
    ties: &Ties,
    tell: Tell<'_>,
) -> Result<Taken> {
    let group = wanted.group;
    let place = format!("lock of {}", group.name);
    let about = |error: CallError| error.about(&place);
    if let Some(seen) = seen
        && let Some(lock) = take_at_once(aws, wanted, seen, ties).await.map_err(about)?
    {
        return Ok(Taken { lock, undisturbed: true, from: None, unaware: None });
    }
    let (start, began) = (Instant::now(), (wanted.clock)());
    let impatient = || start.elapsed() > by_clock(PATIENCE);
    let mut known: Option<(Holder, Instant)> = None;
    loop {
        let mut seen = look(aws, &group.name).await.map_err(about)?;
        let (mut from, mut unaware) = (None, None);
        if let State::New | State::Held(_) = seen.state {
            let holder = holder(aws, &group.name, &seen, began);
            if wanted.by_force {
                // Whoever it is: not even that need be readable.
                let holder = timeout(SIGN_ANSWER, holder).await.ok().and_then(Result::ok);
                // A process that is gone changes nothing any more.
                let dead = holder.as_ref().is_some_and(Holder::died_here);
                unaware = (!dead).then_some(Unaware(UNAWARE));
                from = holder
                    .filter(|_| seen.state != State::New)
                    .map(|holder| holder.describe((wanted.clock)()));
            } else {
                // Who can't read its signs can't know whether it is alive.
                let holder = holder.await.map_err(about)?;
                // A lost sign is told by what we see ourselves: the same stream with the same
                // newest sign, for the whole lease.
                let since = match &known {
                    Some((known, since)) if *known == holder => *since,
                    _ => Instant::now(),
                };
                let lease = if holder.sign.is_some() { LEASE } else { UNSIGNED };
                let dead = holder.died_here();
                let alive = !dead && since.elapsed() < by_clock(lease);
                if alive {
                    if impatient() {
                        return Err(held_by(&holder, (wanted.clock)(), &place).into());
                    }
                    tell(format!(
                        "another {} of this stack is running{}; waiting for it, {} s at most",
                        holder.what(),
                        holder.words(),
                        PATIENCE.as_secs()
                    ));
                    known = Some((holder, since));
                    pause(Duration::from_secs(1)).await;
                    continue;
                }
                if seen.state != State::New {
                    let why = if dead { "its process is gone" } else { "it gives no sign of life" };
                    from = Some(format!("{} ({why})", holder.describe((wanted.clock)())));
                }
                // CloudWatch Logs may not list a stream that was just made, but it makes none
                // twice.
                if let State::Held(last) = seen.state
                    && give_back(aws, &group.name, last).await.map_err(about)? == GivenBack::Before
                {
                    (seen.state, from) = (State::Free(last), None);
                }
            }
        }
        let last = match seen.state {
            State::Held(last) => last,
            // The first number is for whoever made the group.
            _ => 1,
        };
        let taken = match seen.state {
            State::NoGroup | State::Free(_) => {
                take_at_once(aws, wanted, &seen, ties).await.map_err(about)?
            }
            // Whoever it is taken from finds a later one, and stops.
            State::New | State::Held(_) => {
                let taken = ties.stream(aws, group, last + 1).await.map_err(about)?;
                // One that is alive may come to its end while it doesn't know yet.
                let over = matches!(seen.state, State::Held(_)) && unaware.is_none();
                taken.then(|| Lock::new(aws, wanted, &seen, last + 1, true, over, &ties.lost))
            }
        };
        if let Some(lock) = taken {
            return Ok(Taken { lock, undisturbed: false, from, unaware });
        }
        // Somebody was quicker: look again.
        if impatient() {
            return Err(Failure::new(place, "other commands took the lock first")
                .now("try again later")
                .into());
        }
        pause(Duration::from_millis(50)).await;
    }
}

/// Who has it, or is about to: of that nothing is known but since when it is waited for (`began`,
/// milliseconds since the epoch).
async fn holder(aws: &Aws, group: &str, seen: &Seen, began: i64) -> Result<Holder, CallError> {
    let last = seen.number();
    match seen.streams.iter().find(|(name, _)| number(name) == last) {
        Some((stream, created)) => {
            let sign = logs::newest(aws, group, stream, 1).await?.pop().map(|(_, sign)| sign);
            Ok(Holder { stream: stream.clone(), created: *created, sign })
        }
        None => Ok(Holder { created: began, ..Holder::default() }),
    }
}

/// In words who has the lock, and since when; `None` where nobody has.
///
/// # Errors
/// The call's.
pub async fn held(aws: &Aws, group: &str, now: i64) -> Result<Option<String>, CallError> {
    let seen = look(aws, group).await?;
    match seen.state {
        State::Held(_) => Ok(Some(holder(aws, group, &seen, now).await?.describe(now))),
        _ => Ok(None),
    }
}

/// This machine since it was booted, and the process namespace: only there a process's number says
/// who it is.
fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

impl Holder {
    fn value(&self) -> Value {
        self.sign.as_deref().and_then(|sign| serde_json::from_str(sign).ok()).unwrap_or_default()
    }

    /// The holder was a process of this very machine, and is no more.
    fn died_here(&self) -> bool {
        let value = self.value();
        let (Some(theirs), Some(process)) = (value["machine"].as_str(), value["process"].as_u64())
        else {
            return false;
        };
        machine().is_some_and(|ours| ours == theirs) && !is_process(process)
    }

    /// What it does; a lock without a sign is most likely a deploy's.
    fn what(&self) -> String {
        self.value()["what"].as_str().unwrap_or("deploy").to_owned()
    }

    /// ` by <caller> on <host>`, as far as it is known.
    fn words(&self) -> String {
        let value = self.value();
        let by = value["who"].as_str().map_or(String::new(), |who| format!(" by {who}"));
        let on = value["host"].as_str().map_or(String::new(), |host| format!(" on {host}"));
        format!("{by}{on}")
    }

    /// `deploy by <caller> on <host>, begun 70 s ago, last sign of life 3 s ago`. Whether it is
    /// alive still, its next signs tell.
    fn describe(&self, now: i64) -> String {
        let ago = |time: i64| (now - time).max(0) / 1000;
        let sign = match self.value()["at"].as_i64() {
            Some(at) => format!("last sign of life {} s ago", ago(at)),
            None => "no sign of life yet".to_owned(),
        };
        format!("{}{}, begun {} s ago, {sign}", self.what(), self.words(), ago(self.created))
    }
}

/// Whether there is such a process here, whosever it is: `/proc` may hide those of others
/// (`hidepid`).
#[cfg(unix)]
fn is_process(number: u64) -> bool {
    let Some(process) = i32::try_from(number).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    rustix::process::test_kill_process(process) != Err(rustix::io::Errno::SRCH)
}

/// Asked only of a machine whose signs name it, which none of these does.
#[cfg(not(unix))]
fn is_process(_number: u64) -> bool {
    true
}

fn held_by(holder: &Holder, now: i64, place: &str) -> Failure {
    let seconds = (now - holder.created).max(0) / 1000;
    Failure::new(place, format!("another {} of this stack has been running for {seconds} s{}", holder.what(), holder.words()))
        .now("wait until it ends and run the same command again; if you know that it is dead, with --break-lock")
}

/// Makes a stream; false where it is there already.
async fn create(aws: &Aws, group: &str, stream: &str) -> Result<bool, CallError> {
    match called(
        "logs:CreateLogStream",
        aws.signing.create_log_stream().log_group_name(group).log_stream_name(stream).send(),
    )
    .await
    {
        Ok(_) => Ok(true),
        Err(error) if error.is(&["ResourceAlreadyExistsException"]) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Who gave a lock back.
#[derive(PartialEq, Eq)]
enum GivenBack {
    /// Its holder, before we tried to.
    Before,
    /// We did, for a holder that is gone.
    Now,
}

/// Gives a lock back that seems to be left behind. Where its group is gone, the next look tells.
async fn give_back(aws: &Aws, group: &str, number: u64) -> Result<GivenBack, CallError> {
    match create(aws, group, &format!("{FREE}{number}")).await {
        Ok(true) => Ok(GivenBack::Now),
        Ok(false) => Ok(GivenBack::Before),
        Err(error) if error.not_found() => Ok(GivenBack::Now),
        Err(error) => Err(error),
    }
}

async fn delete(aws: &Aws, group: &str, stream: &str) -> Result<(), CallError> {
    match called(
        "logs:DeleteLogStream",
        aws.signing.delete_log_stream().log_group_name(group).log_stream_name(stream).send(),
    )
    .await
    {
        Ok(_) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

impl Lock {
    /// `over`: it is taken from a holder that is gone.
    fn new(
        aws: &Aws,
        wanted: &Wanted<'_>,
        seen: &Seen,
        number: u64,
        made: bool,
        over: bool,
        lost: &Arc<Notify>,
    ) -> Self {
        let held = Held {
            known: Moment::now(),
            signed: false,
            created: None,
            lost: None,
            group: Group::Stays,
        };
        let held = Arc::new(Mutex::new(held));
        aws.guard.watch(&held);
        Lock {
            aws: aws.clone(),
            group: wanted.group.name.clone(),
            what: wanted.what,
            number,
            over,
            made,
            old: seen.streams.clone(),
            history: seen.history,
            held,
            lost: lost.clone(),
        }
    }

    /// No command came to its end under the lock since it was seen: it was free and stayed so, or
    /// its holder left it behind.
    pub fn nobody_ended_since(&self, seen: &Seen) -> bool {
        seen.number().is_some_and(|last| last + 1 == self.number) && (seen.is_free() || self.over)
    }

    fn stream(&self) -> String {
        format!("{TAKEN}{}", self.number)
    }

    /// Signs the lock, and looks whether anybody took a later one.
    async fn sign(&self, who: &str, now: i64) -> Signed {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .ok()
            .map(|host| host.trim().to_owned());
        let sign = json!({"what": self.what, "who": who, "host": host, "machine": machine(), "process": std::process::id(), "at": now})
            .to_string();
        let Ok(event) = InputLogEvent::builder().timestamp(now).message(sign).build() else {
            return Signed::Yes;
        };
        let request = self
            .aws
            .signing
            .put_log_events()
            .log_group_name(&self.group)
            .log_stream_name(self.stream())
            .log_events(event);
        // A stream that was just made, or is about to be by who made the group, may not be found
        // yet.
        let new = !self.held().signed;
        // From before the calls: by then the sign is no older.
        let known = Moment::now();
        let calls = futures_util::future::join(
            called("logs:PutLogEvents", request.send()),
            look(&self.aws, &self.group),
        );
        match timeout(SIGN_ANSWER, calls).await {
            Ok((Ok(_), Ok(seen))) => {
                let stream = self.stream();
                let created = seen
                    .streams
                    .iter()
                    .find(|(name, _)| *name == stream)
                    .map(|(_, created)| *created);
                let newer =
                    |name: &str| name.starts_with(TAKEN) && number(name) > Some(self.number);
                let freed =
                    |name: &str| name.starts_with(FREE) && number(name) == Some(self.number);
                let mut held = self.held();
                let anothers =
                    held.created.is_some() && created.is_some() && held.created != created;
                if anothers || seen.streams.iter().any(|(name, _)| newer(name) || freed(name)) {
                    return Signed::Gone;
                }
                (held.known, held.signed) = (known, true);
                held.created = held.created.or(created);
                Signed::Yes
            }
            Ok((Err(error), _)) if error.not_found() && new => {
                Signed::Failed("its stream isn't there yet".into())
            }
            Ok((Err(error), _)) if error.not_found() => Signed::Gone,
            Ok((Err(error), _) | (_, Err(error))) => Signed::Failed(error.about("lock").what),
            Err(_) => Signed::Failed(format!(
                "CloudWatch Logs gave no answer within {} s",
                SIGN_ANSWER.as_secs()
            )),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Why the lock isn't ours any more, if it isn't.
    pub fn lost(&self) -> Option<String> {
        self.held().lost.clone()
    }

    pub fn group(&self) -> &str {
        &self.group
    }

    /// Its holder says what becomes of its group.
    pub fn with_group(&self, group: Group) {
        self.held().group = group;
    }

    /// Before a change: it is surely ours, or is signed first, as often as that takes; false where
    /// it is lost, and that is told. `now` is milliseconds since the epoch.
    pub async fn is_ours(&self, who: &str, now: i64) -> bool {
        let begun = Instant::now();
        loop {
            let (age, lost, group) = {
                let held = self.held();
                (held.known.age(), held.lost.is_some(), held.group)
            };
            if lost {
                return false;
            }
            if age < by_clock(DOUBTFUL) || group != Group::Stays {
                return true;
            }
            let passed = i64::try_from(begun.elapsed().as_millis()).unwrap_or(0);
            match self.sign(who, now + passed).await {
                Signed::Yes => return true,
                // It proves nothing: who takes the lock by force counts on that no change follows.
                signed => {
                    if self.loses(signed) {
                        return false;
                    }
                }
            }
            pause(by_clock(AGAIN)).await;
        }
    }

    /// Whether the lock is lost, by what became of a sign.
    fn loses(&self, signed: Signed) -> bool {
        let mut held = self.held();
        let why = match signed {
            _ if held.group != Group::Stays => return false,
            Signed::Yes => return false,
            Signed::Gone => {
                "another deploy took it while this one was at work, so this one stopped".to_owned()
            }
            Signed::Failed(why) if held.is_silent() => {
                format!(
                    "it couldn't be signed for {} s ({why}), and another deploy may take it, so this one stopped",
                    held.known.age().as_secs()
                )
            }
            Signed::Failed(_) => return false,
        };
        held.lost = Some(why);
        self.lost.notify_one();
        true
    }

    /// Makes the stream of a lock that making the group took. Only who made the group takes this
    /// number: one that is there is ours, by a reply that was lost. Where it can't be made the
    /// first sign tells.
    async fn make(&self) {
        if !self.made && !self.held().signed {
            let _ = timeout(SIGN_ANSWER, create(&self.aws, &self.group, &self.stream())).await;
        }
    }

    /// What is left of locks long past goes: nobody waits for that, and nothing is lost where it
    /// fails. All times are CloudWatch's own.
    async fn tidy(&self) {
        let newest = self.old.iter().map(|(_, created)| *created).max().unwrap_or(0);
        for (old, _) in self
            .old
            .iter()
            .filter(|(_, created)| *created < newest - STAY / i64::from(stay_speed()))
        {
            let _ = delete(&self.aws, &self.group, old).await;
        }
    }

    /// A stream for the history, before anything is to be written to it.
    async fn prepare(&self) {
        if !self.history {
            let _ = create(&self.aws, &self.group, HISTORY).await;
        }
    }

    /// Signs the lock now and again until it is dropped, or until it is lost. `clock` gives
    /// milliseconds since the epoch.
    pub fn keep(&self, who: String, clock: fn() -> i64) -> impl Future<Output = ()> + use<> {
        let lock = self.clone();
        async move {
            let signing = async {
                loop {
                    lock.make().await;
                    if lock.loses(lock.sign(&who, clock()).await) {
                        return;
                    }
                    pause(by_clock(SIGN)).await;
                }
            };
            // A call without an answer must keep no sign waiting.
            futures_util::join!(signing, lock.tidy(), lock.prepare());
        }
    }

    /// Gives the lock back, but for one that a teardown deleted with its group.
    pub async fn release(self) -> Result<()> {
        {
            let held = self.held();
            // One that may be another's by now isn't ours to give back.
            if held.group != Group::Stays || held.lost.is_some() || held.is_silent() {
                return Ok(());
            }
        }
        match create(&self.aws, &self.group, &format!("{FREE}{}", self.number)).await {
            Ok(_) => Ok(()),
            Err(error) if error.not_found() => Ok(()),
            Err(error) => Err(Failure::from(error).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Retention;
    use axum::{Router, http::HeaderMap};
    use std::sync::atomic::AtomicU32;
    use tokio::net::TcpListener;

    /// A holder that was signed so long ago.
    fn signed(age: Duration) -> Arc<Mutex<Held>> {
        let known = Moment(Instant::now(), wakeful().saturating_sub(age));
        Arc::new(Mutex::new(Held {
            known,
            signed: true,
            created: None,
            lost: None,
            group: Group::Stays,
        }))
    }

    /// Clients of a server that answers each operation so.
    async fn aws(answer: impl Fn(&str) -> (u16, String) + Clone + Send + Sync + 'static) -> Aws {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let handler = move |headers: HeaderMap| async move {
            let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
            let (status, body) =
                answer(target.and_then(|name| name.rsplit('.').next()).unwrap_or_default());
            (axum::http::StatusCode::from_u16(status).expect("a status"), body)
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
        Aws::local(&url, "us-east-1").await.expect("clients")
    }

    #[test]
    fn who_breaks_a_lock_waits_until_its_holder_sends_nothing_more() {
        // Its last call by then is answered, too.
        let last = UNAWARE.saturating_sub(SIGN_ANSWER) + Duration::from_millis(1);
        assert!(signed(last).lock().expect("not poisoned").is_silent());
        let page =
            include_str!("../../docs/deploys.md").split_whitespace().collect::<Vec<_>>().join(" ");
        let waits =
            format!("the old holder stops, and {} s pass until it surely has", UNAWARE.as_secs());
        assert!(page.contains(&waits), "docs/deploys.md says: {waits}");
    }

    #[tokio::test]
    async fn a_holder_that_is_alive_when_its_lock_is_broken_may_have_come_to_its_end() {
        let dead = json!({"machine": machine(), "process": i32::MAX}).to_string();
        let group = LogGroup {
            name: "/routeto/hooks".into(),
            tags: Default::default(),
            retention: Retention::Forever,
        };
        for (sign, ended) in
            [(json!({"what": "deploy"}).to_string(), false), (dead, machine().is_some())]
        {
            let events = json!({"events": [{"timestamp": 1, "message": sign}]}).to_string();
            let aws = aws(move |operation| {
                let body = match operation {
                    "DescribeLogStreams" => {
                        json!({"logStreams": [{"logStreamName": "lock-3", "creationTime": 1}]})
                            .to_string()
                    }
                    "GetLogEvents" => events.clone(),
                    _ => "{}".to_owned(),
                };
                (200, body)
            })
            .await;
            let seen = look(&aws, &group.name).await.expect("a look");
            let wanted = Wanted { group: &group, what: "deploy", by_force: true, clock: || 1000 };
            let taken =
                take(&aws, &wanted, None, &Ties::default(), &|_| ()).await.expect("the lock");
            let left_behind = taken.unaware.is_none();
            assert_eq!(
                (left_behind, taken.lock.nobody_ended_since(&seen)),
                (ended, ended),
                "{sign}"
            );
        }
    }

    #[tokio::test]
    async fn a_call_that_was_held_back_before_its_first_try_never_reached_aws() {
        let asked = Arc::new(AtomicU32::new(0));
        let held: Arc<Mutex<Held>> = signed(Duration::ZERO);
        let (counted, loses) = (Arc::clone(&asked), Arc::clone(&held));
        let aws = aws(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            loses.lock().expect("not poisoned").lost = Some("another took it".into());
            (500, "{}".to_owned())
        })
        .await;
        aws.guard.watch(&held);
        // The first time its lock is lost after the first try, whose answer says nothing of what
        // became of it.
        for (tries, may_have_arrived) in [(1, true), (1, false)] {
            let request = aws.logs.delete_log_group().log_group_name("x");
            let error =
                called("logs:DeleteLogGroup", request.send()).await.expect_err("it is lost");
            assert_eq!(
                (asked.load(Ordering::Relaxed), error.may_have_arrived()),
                (tries, may_have_arrived),
                "{error:?}"
            );
            assert!(
                error.about("x").what.starts_with("logs:DeleteLogGroup wasn't sent any more: ")
            );
        }
    }
}
