//! Resets that are otherwise a matter of chance, each brought about in one way only.

use std::future::poll_fn;
use std::net::TcpListener as Listener;
use std::pin::pin;
use std::task::Poll;

use nix::errno::Errno;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use super::*;
use crate::load::link::{Door, Link};

#[test]
fn a_reset_can_come_before_the_client_has_looked_whether_it_is_connected() {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let door = Door::Net(listener.local_addr().unwrap());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut opening = pin!(Link::open(&door, 0));
        let begun = poll_fn(|cx| Poll::Ready(opening.as_mut().poll(cx))).await;
        assert!(begun.is_pending());
        // The client is not looked after until the reset is there.
        let (accepted, _) = listener.accept().unwrap();
        SockRef::from(&accepted).set_linger(Some(Duration::ZERO)).unwrap();
        drop(accepted);
        let error = opening.await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ECONNRESET as i32));
    });
}

#[test]
fn a_connection_that_is_reset_unserved_was_lost_in_a_queue() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Who has sent something has seen that he is connected.
                stream.peek(&mut [0]).await?;
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))
            });
        }
    });
    let mut plan = plan(vec![churn(500.0)]);
    plan.target.greeting = None;
    let (running, _) = begin(&plan, address);
    wait_for(&running, 100);
    let gathered = running.finish();
    books_balance(&gathered);
    only(&gathered, OpKind::Churn, "reset_queue");
}
