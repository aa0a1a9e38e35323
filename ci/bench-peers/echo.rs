//! What every one of these servers does with a connection.

use std::{env, io, process};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

pub(crate) async fn echo(mut socket: TcpStream, greeting: &'static str) -> io::Result<()> {
    socket.write_all(greeting.as_bytes()).await?;
    let (mut reader, mut writer) = socket.split();
    tokio::io::copy(&mut reader, &mut writer).await?;
    Ok(())
}

/// The libraries that are measured here do not all count generations: whoever
/// starts us does.
pub(crate) fn greeting() -> &'static str {
    let generation = env::var("GENERATION").unwrap_or_else(|_| "0".to_owned());
    format!("generation {generation} pid {}\n", process::id()).leak()
}
