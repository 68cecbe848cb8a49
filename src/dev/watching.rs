//! Follows files by their directories: one that is removed and made again is followed again.

use super::anchor::Anchor;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use tokio::sync::mpsc::{self, UnboundedReceiver};

pub struct Watching {
    watcher: RecommendedWatcher,
    directories: BTreeMap<PathBuf, Anchor>,
}

impl Watching {
    /// The receiver hears that something has changed, not what.
    ///
    /// # Errors
    /// The system has no more watchers to give.
    pub fn new() -> notify::Result<(Watching, UnboundedReceiver<()>)> {
        let (send, changes) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // It fails once the receiver is gone, at the end.
                let _ = send.send(());
            }
        })?;
        Ok((Watching { watcher, directories: BTreeMap::new() }, changes))
    }

    /// Watches the directories of these files, since editors put a new file in the old one's place.
    /// Where one is missing, the nearest directory above it is watched, so that this is called
    /// again once it is made.
    pub fn follow(&mut self, files: &[PathBuf]) {
        // A watch ends with its directory, and goes along with one that is moved away.
        let stale: Vec<PathBuf> = self
            .directories
            .iter()
            .filter(|(_, anchor)| anchor.check().is_err())
            .map(|(path, _)| path.clone())
            .collect();
        for directory in stale {
            // A removed one has no watch any more.
            let _ = self.watcher.unwatch(&directory);
            self.directories.remove(&directory);
        }
        for directory in files.iter().filter_map(|file| file.parent()) {
            // Each turn may find that the next directory below was made meanwhile.
            while let Some(nearest) = nearest(directory) {
                if self.directories.contains_key(nearest) || !self.watch(nearest) {
                    break;
                }
            }
            // A link is led elsewhere in the directory that it is in.
            if directory.is_symlink()
                && let Some(above) = directory.parent().map(named)
                && !self.directories.contains_key(above)
            {
                self.watch(above);
            }
        }
    }

    /// The anchor comes first: what takes the directory's place in between is then noticed at the
    /// next call.
    fn watch(&mut self, directory: &Path) -> bool {
        let Ok(anchor) = Anchor::of(directory) else { return false };
        if self.watcher.watch(directory, RecursiveMode::NonRecursive).is_err() {
            return false;
        }
        self.directories.insert(directory.to_owned(), anchor);
        true
    }
}

fn nearest(directory: &Path) -> Option<&Path> {
    directory.ancestors().map(named).find(|path| path.is_dir())
}

/// The working directory has a name, too.
fn named(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}
