//! A store in a directory of its own, served on a free port for as long as the test lasts.

use crate::support::block_on;
use routeto::dev::{
    inspector::{Names, no_websites},
    store::Store,
};
use std::sync::Arc;
use tempfile::TempDir;

pub struct Place {
    pub directory: TempDir,
    pub store: Arc<Store>,
    pub endpoint: String,
    server: tokio::task::JoinHandle<()>,
}

impl Place {
    pub fn new() -> Self {
        Self::at(TempDir::new().unwrap())
    }

    pub fn at(directory: TempDir) -> Self {
        Self::in_directory(directory, "")
    }

    /// The store is in this directory of it.
    pub fn in_directory(directory: TempDir, name: &str) -> Self {
        let store = Store::open(&directory.path().join(name)).unwrap();
        // As `dev` serves it: every client of these tests comes through its door.
        let router = no_websites(store.router(), Names::default());
        let (endpoint, server) = block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            (endpoint, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
        });
        Self { directory, store, endpoint, server }
    }

    /// The same directory, opened anew.
    pub fn again(self) -> Self {
        self.server.abort();
        let _ = block_on(self.server);
        drop(self.store);
        Self::at(self.directory)
    }
}
