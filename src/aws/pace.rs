//! API Gateway's published quotas, kept on our side, so that nothing is ever answered 429 by our
//! own doing.
//!
//! Source: API Gateway developer guide, "Quotas for creating, deploying and managing an API":
//! fixed, per account.

use super::wait::speed;
use std::{collections::HashMap, sync::Mutex, time::Duration};
use tokio::time::Instant;

/// One operation's quota as a token bucket.
struct Bucket {
    /// Calls at once.
    burst: f64,
    /// Calls a second.
    rate: f64,
    tokens: f64,
    since: Option<Instant>,
}

impl Bucket {
    fn new(burst: f64, rate: f64) -> Self {
        Self { burst, rate, tokens: burst, since: None }
    }

    /// Takes a token, which may be one of the future's: how long to wait for it.
    fn take(&mut self, now: Instant) -> Duration {
        if let Some(since) = self.since {
            self.tokens =
                (self.tokens + now.duration_since(since).as_secs_f64() * self.rate).min(self.burst);
        }
        self.since = Some(now);
        self.tokens -= 1.0;
        if self.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-self.tokens / self.rate)
        }
    }
}

/// The account's quotas; shared by everything that one command does.
pub struct Pace {
    buckets: Mutex<HashMap<&'static str, Bucket>>,
}

/// Every operation counts against it.
const TOTAL: &str = "total";

impl Pace {
    pub fn aws() -> Self {
        let quotas = [
            (TOTAL, 40.0, 10.0),
            ("CreateRestApi", 1.0, 1.0 / 3.0),
            ("PutRestApi", 1.0, 1.0),
            ("DeleteRestApi", 1.0, 1.0 / 30.0),
            ("CreateDeployment", 1.0, 1.0 / 5.0),
            ("GetResources", 5.0, 5.0 / 2.0),
        ];
        // Unit tests don't wait.
        let speed = if cfg!(test) { 1000.0 } else { f64::from(speed()) };
        let bucket = |(operation, burst, rate)| (operation, Bucket::new(burst, rate * speed));
        Self { buckets: Mutex::new(quotas.map(bucket).into()) }
    }

    /// Counts a call of this operation: how long to wait before it is sent.
    pub fn take(&self, operation: &str) -> Duration {
        let mut buckets = self.buckets.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = Instant::now();
        let mut wait = Duration::ZERO;
        for name in [TOTAL, operation] {
            if let Some(bucket) = buckets.get_mut(name) {
                wait = wait.max(bucket.take(now));
            }
        }
        wait
    }

    /// Waits for this operation's turn; `told` gets the reason where the wait is one that a person
    /// notices.
    pub async fn turn(&self, operation: &'static str, told: &(dyn Fn(String) + Send + Sync)) {
        let wait = self.take(operation);
        if wait > Duration::from_secs(1) {
            told(format!("API Gateway's quota for {operation}: {} s", wait.as_secs() + 1));
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_delete_waits_thirty_seconds_and_the_third_a_minute() {
        let mut bucket = Bucket::new(1.0, 1.0 / 30.0);
        let now = Instant::now();
        let waits: Vec<u64> =
            (0..3).map(|_| bucket.take(now).as_secs_f64().round() as u64).collect();
        assert_eq!(waits, [0, 30, 60]);
        // A minute and a half later all three have had their turn.
        assert_eq!(bucket.take(now + Duration::from_secs(90)), Duration::ZERO);
    }

    #[test]
    fn a_hundred_calls_keep_to_forty_at_once_and_ten_a_second() {
        let mut bucket = Bucket::new(40.0, 10.0);
        let now = Instant::now();
        let waits: Vec<Duration> = (0..100).map(|_| bucket.take(now)).collect();
        assert_eq!(waits.iter().filter(|wait| wait.is_zero()).count(), 40);
        assert_eq!(waits[99].as_secs_f64().round() as u64, 6);
    }

    #[tokio::test]
    async fn the_first_call_of_each_operation_waits_for_nothing_and_says_nothing() {
        let pace = Pace::aws();
        let told = Mutex::new(0);
        for operation in
            ["CreateRestApi", "PutRestApi", "CreateDeployment", "DeleteRestApi", "GetStages"]
        {
            pace.turn(operation, &|_| *told.lock().expect("not poisoned") += 1).await;
        }
        assert_eq!(*told.lock().expect("not poisoned"), 0);
    }
}
