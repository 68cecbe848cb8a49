//! The function's library, called in threads of its own as Lambda would in environments of their own: its future stays in the thread that it began in,
//! and the work of a large body holds up no connection.

use super::{exchange::Stored, store::noting};
use crate::error::Failure;
use routeto_function::{Handled, Invocation, Sinks, handle};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
    time::timeout,
};

/// Any number of invocations are under way in each: they mostly wait.
const LANES: usize = 2;

pub struct Lanes {
    lanes: Vec<mpsc::UnboundedSender<Job>>,
    next: AtomicUsize,
}

/// What the function said, and what it stored here; a record in the account is not noted.
pub type Called = (Handled, Option<Stored>);

struct Job {
    event: String,
    invocation: Invocation,
    patience: Duration,
    sinks: Arc<Sinks>,
    answer: oneshot::Sender<Option<Called>>,
}

impl Lanes {
    /// # Errors
    /// The system gives no threads.
    pub fn new() -> Result<Lanes, Failure> {
        let lanes = (0..LANES).map(|_| lane()).collect::<std::io::Result<_>>();
        let lanes = lanes.map_err(|error| Failure::new("function", format!("no threads to work with: {error}")))?;
        Ok(Lanes { lanes, next: AtomicUsize::new(0) })
    }

    /// Calls the function; `None` where it took longer than `patience`.
    pub async fn call(&self, event: String, invocation: Invocation, patience: Duration, sinks: Arc<Sinks>) -> Option<Called> {
        let (answer, answered) = oneshot::channel();
        let lane = &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % LANES];
        // A lane that is gone has dropped the answer's sender, too.
        let _ = lane.send(Job { event, invocation, patience, sinks, answer });
        answered.await.ok().flatten()
    }
}

fn lane() -> std::io::Result<mpsc::UnboundedSender<Job>> {
    let (send, mut jobs) = mpsc::unbounded_channel::<Job>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = async move {
        while let Some(Job { event, invocation, patience, sinks, answer }) = jobs.recv().await {
            tokio::task::spawn_local(async move {
                let handled = timeout(patience, noting(handle(event.as_bytes(), &invocation, &sinks))).await.ok();
                // Whoever asked is gone when the server stops at once.
                let _ = answer.send(handled);
            });
        }
    };
    std::thread::Builder::new().name("function".into()).spawn(move || LocalSet::new().block_on(&runtime, work))?;
    Ok(send)
}
