//! The clients of a generation, from the door to the end.

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::Arguments;
use crate::connection::{self, Manners};
use crate::doors::{Doors, Stream};

/// Everybody who was let in and has not gone.
#[derive(Debug)]
pub(crate) struct Clients {
    manners: Arc<Manners>,
    succeeded: watch::Sender<bool>,
    token: mpsc::Sender<()>,
    /// Closed when the last client is gone.
    alive: mpsc::Receiver<()>,
}

impl Clients {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let (succeeded, later) = watch::channel(false);
        let (token, alive) = mpsc::channel(1);
        Self { manners: Arc::new(Manners::new(arguments, later)), succeeded, token, alive }
    }

    /// Lets in whoever comes. It ends only by an error.
    pub(crate) async fn let_in(&self, doors: &Doors) -> io::Error {
        loop {
            match doors.accept().await {
                Ok(client) => self.welcome(client),
                Err(error) => return error,
            }
        }
    }

    pub(crate) fn welcome(&self, client: Box<dyn Stream>) {
        let (manners, token) = (Arc::clone(&self.manners), self.token.clone());
        tokio::spawn(async move {
            // A client that goes away is no concern of the others.
            drop(connection::serve(client, &manners).await);
            drop(token);
        });
    }

    /// From now on a successor serves.
    pub(crate) fn tell_succeeded(&self) {
        self.succeeded.send_replace(true);
    }

    /// Waits until everybody is gone.
    pub(crate) async fn finish(mut self) {
        drop(self.token);
        while self.alive.recv().await.is_some() {}
    }
}
