//! What can be seen without a process under test.

use std::error::Error;
use std::fmt::Debug;
use std::io;

use ecdysis::{Ecdysis, Phase, UpgradeError, UpgradeErrorKind};

fn upgrades(ecdysis: &Ecdysis) -> Result<(), Box<dyn Error + Send + Sync>> {
    ecdysis.upgrade()?;
    Ok(())
}

fn is_an_error<E: Error + Debug + Clone + Send + Sync + 'static>(_: &E) {}

#[test]
fn an_error_can_be_named_passed_on_and_its_cause_looked_up() {
    const PROGRAM: &str = "/nonexistent/program";
    let mut ecdysis = Ecdysis::try_new().unwrap();
    ecdysis.program_mut().path(PROGRAM);
    ecdysis.ready().unwrap();
    // Each attempt fails by itself: the first does not stand in the others' way.
    for attempt in 1..=3 {
        let boxed = upgrades(&ecdysis).unwrap_err();
        let error: &UpgradeError = boxed.downcast_ref().unwrap();
        is_an_error(error);
        let UpgradeErrorKind::Start { step, program } = error.kind() else { panic!("{error:?}") };
        assert_eq!((step.as_str(), program.to_str()), ("execute the program", Some(PROGRAM)));
        let source: &io::Error = error.source().unwrap().downcast_ref().unwrap();
        assert_eq!(source.kind(), io::ErrorKind::NotFound);
        assert_eq!(ecdysis.phase(), Phase::Serving);
        assert_eq!(ecdysis.counts().upgrades_failed, attempt);
    }
    ecdysis.quit();
}

/// The flag was cleared when the listener was made, and after each failure.
#[test]
fn a_listener_that_the_application_polls_itself_never_blocks() {
    let mut ecdysis = Ecdysis::try_new().unwrap();
    ecdysis.program_mut().path("/nonexistent/program");
    let any = ([127, 0, 0, 1], 0).into();
    let late = ecdysis.listen_tcp(any).unwrap();
    late.set_nonblocking(true).unwrap();
    let early = ecdysis.build_listen_tcp(any, |socket, address| {
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1)?;
        Ok(socket.into())
    });
    let listeners = [late, early.unwrap()];
    let never_block = || {
        for listener in &listeners {
            assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    };
    never_block();
    ecdysis.ready().unwrap();
    never_block();
    ecdysis.upgrade().unwrap_err();
    never_block();
    ecdysis.quit();
}

#[cfg(feature = "tokio_ecdysis")]
#[tokio::test]
async fn a_process_that_is_dropped_makes_nobody_panic() {
    use ecdysis::tokio_ecdysis::{SignalKind, StopOnShutdown, TokioEcdysisBuilder};
    use futures::StreamExt;

    let builder = TokioEcdysisBuilder::new(SignalKind::user_defined2()).unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let mut stream = builder.listen_tcp(StopOnShutdown::Yes, any).unwrap();
    let udp = builder.build_stoppable_socket_udp(StopOnShutdown::Yes, any, |socket, address| {
        socket.bind(&address.into())?;
        Ok(socket.into())
    });
    let udp = udp.unwrap();
    let (ecdysis, leave) = builder.ready().unwrap();
    drop((ecdysis, leave));
    // Nobody will tell them to stop any more; they just go on.
    let connect = tokio::net::TcpStream::connect(stream.local_addr().unwrap());
    let (connected, accepted) = tokio::join!(connect, stream.next());
    drop((connected.unwrap(), accepted.unwrap().unwrap()));
    let peer = std::net::UdpSocket::bind(any).unwrap();
    peer.send_to(b"x", udp.as_unstoppable_ref().local_addr().unwrap()).unwrap();
    let mut buffer = [0; 8];
    let received = udp.until_stopped(|socket| socket.recv(&mut buffer)).await;
    assert_eq!(received.unwrap().unwrap(), 1);
}
