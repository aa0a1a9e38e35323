//! Starts the new worker beside the old one with `SO_REUSEPORT`, then stops the
//! old one. Somebody always listens, and yet clients are lost: each socket has
//! a queue of its own, and the old one's is reset with it.

mod worker;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    worker::run(true, async |arguments, mut old, next| {
        let new = worker::start(arguments, next).await?;
        old.kill().await?;
        Ok(new)
    })
    .await
}
