//! An echo server in the style of the published crate's documentation. It
//! greets each connection with its pid, so that the client knows which
//! generation answered, and initialises nothing.
//!
//! Compiled twice, against this project's `ecdysis` and against the published
//! one: what differs between the two binaries is the library alone.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process;
use std::thread;

use ecdysis::tokio_ecdysis::{SignalKind, StopOnShutdown, TokioEcdysisBuilder};
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = std::env::args().nth(1).ok_or("usage: server ADDRESS")?.parse()?;
    end_with_stdin();

    let builder = TokioEcdysisBuilder::new(SignalKind::hangup())?;
    let mut stream =
        builder.build_listen_tcp(StopOnShutdown::Yes, address, |socket, address| {
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(1024)?;
            Ok(socket.into())
        })?;
    let server = tokio::spawn(async move {
        while let Some(Ok(socket)) = stream.next().await {
            tokio::spawn(echo(socket));
        }
    });

    let (_ecdysis, shutdown) = builder.ready()?;
    let _reason = shutdown.await;
    // One write: the successor has the same stdout.
    io::stdout().write_all(format!("stopped {}\n", process::id()).as_bytes())?;
    server.await?;
    Ok(())
}

async fn echo(mut socket: TcpStream) -> io::Result<()> {
    socket.write_all(format!("{}\n", process::id()).as_bytes()).await?;
    let (mut reader, mut writer) = socket.split();
    tokio::io::copy(&mut reader, &mut writer).await?;
    Ok(())
}

/// Every generation holds the read end of one pipe: when whoever measures lets
/// go of the other end, or dies, no generation is left behind.
fn end_with_stdin() {
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        process::exit(0);
    });
}
