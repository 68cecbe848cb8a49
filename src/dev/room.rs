//! How much of large bodies `dev` holds at one time: many that come at once must not take the
//! machine's memory. One that finds no room waits, and after a while it is answered 503, so that
//! its caller sends it again. Small bodies are never held up.

use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Bytes of a body up to which it is a small one.
pub const SMALL: usize = 128 * 1024;
/// Bytes of all large bodies together, from the first that is read to the line in the journal.
const HELD: usize = 40 * 1024 * 1024;
/// Large bodies that are inflated, rendered, stored and written down at one time. Each takes up to
/// twelve times its size meanwhile (docs/performance.md), and there are seldom more processors for
/// them.
const AT_WORK: usize = 3;
/// About as long as API Gateway waits for a function (29 s).
const PATIENCE: Duration = Duration::from_secs(30);

/// There was no room for as long as one waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// A body's room, given back when this is dropped.
#[derive(Debug, Default)]
pub struct Held(Option<OwnedSemaphorePermit>);

impl Held {
    /// Gives back what isn't needed for so many bytes.
    pub fn shrink(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            let needed = if bytes > SMALL { bytes } else { 0 };
            drop(permit.split(permit.num_permits().saturating_sub(needed)));
        }
    }
}

#[derive(Clone)]
pub struct Room {
    bytes: Arc<Semaphore>,
    work: Arc<Semaphore>,
    patience: Duration,
}

impl Default for Room {
    fn default() -> Self {
        Room::of(HELD, AT_WORK, PATIENCE)
    }
}

impl Room {
    pub(super) fn of(bytes: usize, at_work: usize, patience: Duration) -> Room {
        Room {
            bytes: Arc::new(Semaphore::new(bytes)),
            work: Arc::new(Semaphore::new(at_work)),
            patience,
        }
    }

    /// To be called before more than [`SMALL`] of so many bytes are read, by one who holds no room
    /// yet: who waited with some in hand could wait for ever.
    ///
    /// # Errors
    /// See [`NoRoom`].
    pub async fn hold(&self, bytes: usize) -> Result<Held, NoRoom> {
        if bytes <= SMALL {
            Ok(Held::default())
        } else {
            self.wait(&self.bytes, u32::try_from(bytes).unwrap_or(u32::MAX)).await
        }
    }

    /// To be called before a body is worked on of which so many bytes may be in memory.
    ///
    /// # Errors
    /// See [`NoRoom`].
    pub async fn work(&self, bytes: usize) -> Result<Held, NoRoom> {
        if bytes <= SMALL { Ok(Held::default()) } else { self.wait(&self.work, 1).await }
    }

    async fn wait(&self, semaphore: &Arc<Semaphore>, many: u32) -> Result<Held, NoRoom> {
        match timeout(self.patience, semaphore.clone().acquire_many_owned(many)).await {
            Ok(Ok(permit)) => Ok(Held(Some(permit))),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(NoRoom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1024 * 1024;
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_large_body_waits_until_there_is_room() {
        let room = Room::of(8 * MB, 1, LONG);
        let mut first = room.hold(5 * MB).await.expect("room");
        let second = tokio::spawn({
            let room = room.clone();
            async move { room.hold(4 * MB).await.is_ok() }
        });
        // It is in line once nothing else is given out, though there are 3 MB.
        while room.bytes.try_acquire_many(1).is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!second.is_finished());
        first.shrink(4 * MB);
        assert!(second.await.expect("a task"), "1 MB was given back");
        drop(first);
        assert_eq!(room.bytes.available_permits(), 8 * MB);
    }

    #[tokio::test]
    async fn after_a_while_there_is_none_and_small_bodies_need_none() {
        let room = Room::of(8 * MB, 1, Duration::ZERO);
        let held = room.hold(8 * MB).await.expect("room");
        let at_work = room.work(8 * MB).await.expect("room");
        assert_eq!(room.hold(SMALL + 1).await.err(), Some(NoRoom));
        assert_eq!(room.work(SMALL + 1).await.err(), Some(NoRoom));
        for _ in 0..100 {
            room.hold(SMALL).await.expect("a small body is let through");
            room.work(SMALL).await.expect("a small body is let through");
        }
        drop((held, at_work));
        room.hold(8 * MB).await.expect("it was given back");
        room.work(8 * MB).await.expect("it was given back");
    }

    #[tokio::test]
    async fn what_turns_out_to_be_small_holds_nothing() {
        let room = Room::of(8 * MB, 1, LONG);
        let mut held = room.hold(8 * MB).await.expect("room");
        held.shrink(SMALL + 1);
        assert_eq!(room.bytes.available_permits(), 8 * MB - SMALL - 1);
        held.shrink(SMALL);
        assert_eq!(room.bytes.available_permits(), 8 * MB);
    }
}
