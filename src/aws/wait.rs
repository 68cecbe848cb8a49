//! Waiting for what AWS needs time for: again and again, with the reason shown, and a limit with a
//! clear error.

use super::call::{CallError, WAITED_TOO_LONG};
use std::{
    future::Future,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How many times faster than the world's routeto's clock goes. A test of a debug build sets it, so
/// that 90 seconds pass in a few; a release knows no clock but the world's.
pub fn speed() -> u32 {
    static SPEED: OnceLock<u32> = OnceLock::new();
    *SPEED.get_or_init(|| from_environment("ROUTETO_TEST_CLOCK"))
}

/// The same for the lock alone: others see its signs, so its clock is theirs, too.
pub fn lock_speed() -> u32 {
    static SPEED: OnceLock<u32> = OnceLock::new();
    *SPEED.get_or_init(|| from_environment("ROUTETO_TEST_LOCK_CLOCK"))
}

/// The same for how long streams of earlier locks stay.
pub fn stay_speed() -> u32 {
    from_environment("ROUTETO_TEST_STAY_CLOCK")
}

/// The same for waits of a plan, which are only time: tests have many of them, and need none of the
/// hurry elsewhere.
fn settle_speed() -> u32 {
    match std::env::var_os("ROUTETO_TEST_SETTLE_CLOCK") {
        Some(_) => from_environment("ROUTETO_TEST_SETTLE_CLOCK"),
        None => speed(),
    }
}

fn from_environment(name: &str) -> u32 {
    match std::env::var(name) {
        Ok(speed) if cfg!(debug_assertions) => {
            speed.parse().ok().filter(|speed| *speed > 0).unwrap_or(1)
        }
        _ => 1,
    }
}

/// A time of routeto's clock as the world's.
pub fn real(time: Duration) -> Duration {
    time / speed()
}

/// Where the reason for a wait goes.
pub type Tell<'a> = &'a (dyn Fn(String) + Send + Sync);

/// What one try came to.
pub enum Try<T> {
    Done(T),
    /// Not yet: why.
    Again(String),
}

/// Minutes that a role may take to be assumable, an update to end. Reports of AWS's users go to 5
/// minutes and a half, rarely more.
pub const LONG: Duration = Duration::from_secs(300);

/// Tries until it is done or `limit` is over; then the last reason.
///
/// # Errors
/// [`Waited::Failed`] with the try's own error, or [`Waited::TooLong`] with the last reason when
/// the limit is over.
pub async fn until<T, F, E>(
    limit: Duration,
    tell: Tell<'_>,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Waited<E>>
where
    F: Future<Output = Result<Try<T>, E>>,
{
    let start = Instant::now();
    // Most waits are over within a second, many at once; the long ones don't need a call each
    // second.
    let mut pause = Duration::from_millis(40);
    let mut told = String::new();
    loop {
        let reason = match attempt().await.map_err(Waited::Failed)? {
            Try::Done(value) => return Ok(value),
            Try::Again(reason) => reason,
        };
        let elapsed = start.elapsed() * speed();
        if elapsed + pause > limit {
            return Err(Waited::TooLong { reason, seconds: limit.as_secs() });
        }
        if reason != told && elapsed > Duration::from_millis(500) {
            tell(reason.clone());
            told = reason;
        }
        sleep(real(pause)).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(3));
    }
}

/// A wait that came to nothing.
#[derive(Debug)]
pub enum Waited<E> {
    Failed(E),
    TooLong { reason: String, seconds: u64 },
}

impl Waited<CallError> {
    /// As an error of the call that was waited for.
    pub fn of(self, call: &'static str) -> CallError {
        match self {
            Waited::Failed(error) => error,
            Waited::TooLong { reason, seconds } => CallError {
                call,
                code: Some(WAITED_TOO_LONG.into()),
                status: None,
                message: format!("after {seconds} s still: {reason}"),
            },
        }
    }
}

/// Repeats a call while it answers that something else is going on. Where `attempt` makes several,
/// the error names the one that it was.
pub async fn while_busy<T, F>(
    call: &'static str,
    limit: Duration,
    tell: Tell<'_>,
    busy: impl Fn(&CallError) -> Option<String>,
    mut attempt: impl FnMut() -> F,
) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let last = Mutex::new(call);
    until(limit, tell, || {
        let outcome = attempt();
        let (busy, last) = (&busy, &last);
        async move {
            match outcome.await {
                Ok(value) => Ok(Try::Done(value)),
                Err(error) => match busy(&error) {
                    Some(reason) => {
                        *last.lock().unwrap_or_else(PoisonError::into_inner) = error.call;
                        Ok(Try::Again(reason))
                    }
                    None => Err(error),
                },
            }
        }
    })
    .await
    .map_err(|waited| waited.of(*last.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Time for AWS to make a change known everywhere, where it doesn't say when it has.
pub async fn settle(seconds: u32) {
    sleep(Duration::from_secs(seconds.into()) / settle_speed()).await;
}

/// A pause by the world's clock: the lock's signs are seen by others.
pub async fn pause(time: Duration) {
    sleep(time).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn a_wait_ends_with_its_last_reason_when_the_limit_is_over() {
        let waited: Result<(), Waited<()>> = until(Duration::from_millis(300), &|_| (), || async {
            Ok(Try::Again("the role can't be assumed yet".into()))
        })
        .await;
        match waited {
            Err(Waited::TooLong { reason, seconds }) => {
                assert_eq!((reason.as_str(), seconds), ("the role can't be assumed yet", 0))
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_busy_call_is_repeated_and_its_answer_returned() {
        let calls = Cell::new(0);
        let answer = while_busy(
            "lambda:UpdateFunctionCode",
            LONG,
            &|_| (),
            |error| error.is(&["Busy"]).then(|| "busy".into()),
            || {
                calls.set(calls.get() + 1);
                let calls = calls.get();
                async move {
                    if calls < 5 {
                        Err(CallError {
                            call: "x",
                            code: Some("Busy".into()),
                            status: None,
                            message: String::new(),
                        })
                    } else {
                        Ok(calls)
                    }
                }
            },
        )
        .await
        .expect("it ends");
        assert_eq!(answer, 5);
    }
}
