//! Stops the old worker, then starts the new one. In between nobody listens:
//! clients are refused, and those that were being served are reset.

mod worker;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    worker::run(false, async |arguments, mut old, next| {
        old.kill().await?;
        worker::start(arguments, next).await
    })
    .await
}
