//! The server's end of control sockets.
//!
//! A [`ControlSocket`] is polled by the loop that decides. It never ends and
//! never fails, and no client can delay another: each is heard on its own. What
//! comes out is a request that somebody who may ask has made, and the [`Reply`]
//! that awaits its outcome.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::unistd::geteuid;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep, timeout};

use crate::accept::Backoff;
use crate::control::{ACCEPTED, Answer, Command, LINE_MAX};

/// How long a client of a socket with a default may take to begin a request of
/// its own: one of the published crate's never does.
const CONNECT_GRACE: Duration = Duration::from_millis(200);

/// How long any other may take, from its connection to the end of its line.
const LINE_GRACE: Duration = Duration::from_secs(10);

/// How many clients may be silent at once; beyond that the oldest has to go.
const SILENT_MAX: usize = 64;

/// How long a client may take to read its answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

/// How long a crowd of silent clients gets to be heard before the oldest goes.
const HEARING: Duration = Duration::from_millis(5);

/// Connections that stay open until this process ends, because nothing ever
/// drops a static.
static HELD: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// What somebody who may ask has asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) command: Command,
    /// Over this socket.
    pub(super) path: PathBuf,
    pub(super) reply: Reply,
}

/// A client that is being listened to.
type Hearing = Pin<Box<dyn Future<Output = Option<Asked>> + Send + Sync>>;

/// A listener, and the clients that have not asked yet.
pub(super) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// What it means to connect and say nothing.
    default: Option<Command>,
    /// Users that may ask, besides root and our own.
    allowed: Vec<u32>,
    /// The oldest in front.
    hearing: VecDeque<Hearing>,
    pause: Option<Pin<Box<Sleep>>>,
    backoff: Backoff,
}

impl ControlSocket {
    /// Serves `listener`, which `path` names in logs and in what is asked. With
    /// a `default`, that is what a client asks for that connects and says
    /// nothing, or something that is no JSON. Root, our own effective user and
    /// the users `allowed` may ask. Needs a runtime with I/O and time enabled.
    pub(super) fn new(
        listener: UnixListener,
        path: PathBuf,
        default: Option<Command>,
        allowed: Vec<u32>,
    ) -> Self {
        let (hearing, pause, backoff) = (VecDeque::new(), None, Backoff::default());
        Self { listener, path, default, allowed, hearing, pause, backoff }
    }

    /// The next request. To be polled again after each one; only when this is
    /// pending will the task be woken. Clients who have been admitted are heard in
    /// any case; others are only if we are the one who `admits` them.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, admits: bool) -> Poll<Asked> {
        loop {
            // Heard first: a client is not sent away unheard for its age.
            if let Some(asked) = self.hear(cx) {
                return Poll::Ready(asked);
            }
            if !admits || !self.accept(cx) {
                return Poll::Pending;
            }
        }
    }

    /// The request of the first client that has made one.
    fn hear(&mut self, cx: &mut Context<'_>) -> Option<Asked> {
        let mut at = 0;
        while let Some(hearing) = self.hearing.get_mut(at) {
            match hearing.as_mut().poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(asked) => {
                    drop(self.hearing.remove(at));
                    if asked.is_some() {
                        return asked;
                    }
                }
            }
        }
        None
    }

    /// Takes up to one connection; false if the task will be woken for the next.
    fn accept(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.pause = None;
            if self.hearing.len() > SILENT_MAX {
                drop(self.hearing.pop_front());
            }
        }
        match self.listener.poll_accept(cx) {
            Poll::Pending => return false,
            Poll::Ready(Ok((stream, _))) => {
                self.backoff = Backoff::default();
                self.admit(stream);
                if self.hearing.len() > SILENT_MAX {
                    // A client may be between its connect and its request, so
                    // the crowd gets this long to speak.
                    self.pause = Some(Box::pin(sleep(HEARING)));
                }
            }
            // Whatever it is: a process that nobody can tell to stop is worse
            // than one that tries in vain once a second.
            Poll::Ready(Err(error)) => {
                let (socket, pause) = (self.path.display(), self.backoff.next());
                tracing::warn!(%socket, %error, ?pause, "cannot accept a control connection");
                self.pause = Some(Box::pin(sleep(pause)));
            }
        }
        true
    }

    fn admit(&mut self, stream: UnixStream) {
        let own = geteuid().as_raw();
        // The kernel's word, of the moment of connect(2): SO_PEERCRED in unix(7).
        let peer = stream.peer_cred();
        let reply = Reply { stream: Some(stream), command: None };
        let socket = self.path.display();
        match peer {
            Ok(peer) if may_ask(peer.uid(), own, &self.allowed) => {
                tracing::debug!(%socket, uid = peer.uid(), pid = peer.pid(), "control connection");
                self.hearing.push_back(Box::pin(hear(reply, self.path.clone(), self.default)));
            }
            Ok(peer) => {
                let uid = peer.uid();
                tracing::warn!(%socket, uid, pid = peer.pid(), "refused a control connection");
                reply.refuse(format!(
                    "user {uid} may not ask here; accepted are root, user {own}, and users that \
                     the service allows"
                ));
            }
            Err(error) => {
                tracing::warn!(%socket, %error, "refused a control connection of unknown origin");
                reply.refuse("the kernel does not say which user asks".to_owned());
            }
        }
    }
}

/// Whether a client that runs as `peer` may ask a process that runs as `own`.
fn may_ask(peer: u32, own: u32, allowed: &[u32]) -> bool {
    peer == 0 || peer == own || allowed.contains(&peer)
}

/// Listens to one client until it has asked, or it is clear that it will not.
async fn hear(mut reply: Reply, path: PathBuf, default: Option<Command>) -> Option<Asked> {
    let stream = reply.stream.as_mut()?;
    let mut line = Vec::new();
    if let Some(command) = default {
        // An error is a client that is gone. It has connected, which is enough.
        let _ = timeout(CONNECT_GRACE, stream.read_buf(&mut line)).await;
        if line.first() != Some(&b'{') {
            return Some(reply.asked(command, path));
        }
    }
    if timeout(LINE_GRACE, read_line(stream, &mut line)).await.is_err() {
        reply.refuse(format!("no request within {LINE_GRACE:?}; {ACCEPTED}"));
    } else if line.len() > LINE_MAX {
        reply.refuse(format!("the request is too long; {ACCEPTED}"));
    } else {
        match Command::from_line(&line) {
            Ok(command) => return Some(reply.asked(command, path)),
            Err(error) => reply.refuse(format!("no request can be read: {error}; {ACCEPTED}")),
        }
    }
    None
}

/// Reads on until `line` is a whole one (its newline is cut off), or cannot
/// become a request any more.
async fn read_line(stream: &mut UnixStream, line: &mut Vec<u8>) {
    let mut seen = 0;
    while line.first().is_none_or(|first| *first == b'{') {
        if let Some(end) = line[seen..].iter().position(|byte| *byte == b'\n') {
            line.truncate(seen + end);
            return;
        }
        seen = line.len();
        // The end of the stream, or an error, ends the line as well.
        if seen > LINE_MAX || !matches!(stream.read_buf(line).await, Ok(1..)) {
            return;
        }
    }
}

/// A client that awaits the outcome. If it is dropped instead of answered, the
/// client is told that nobody will answer.
#[derive(Debug)]
pub(super) struct Reply {
    /// Taken when it is answered or held.
    stream: Option<UnixStream>,
    command: Option<Command>,
}

impl Reply {
    fn asked(mut self, command: Command, path: PathBuf) -> Asked {
        tracing::info!(socket = %path.display(), %command, "asked");
        self.command = Some(command);
        Asked { command, path, reply: self }
    }

    fn refuse(self, error: String) {
        let answer = Answer::refused(self.command, error);
        self.answer(&answer);
    }

    /// Answers, and closes. Blocks nothing: what does not fit into the kernel's
    /// buffer is sent in the background, for a second at most. What fits will
    /// be read even if this process ends at once.
    pub(super) fn answer(mut self, answer: &Answer) {
        self.send(answer);
    }

    /// Answers at once and keeps the connection open until this process ends:
    /// one client reads the line, another waits for the end, and both are right.
    pub(super) fn answer_and_hold(mut self, answer: &Answer) {
        if let Some(stream) = self.stream.take() {
            // Such an answer is short, and fits.
            send_now(&stream, &answer.to_line());
            keep(stream);
        }
    }

    fn send(&mut self, answer: &Answer) {
        let Some(stream) = self.stream.take() else { return };
        let mut line = answer.to_line();
        line.drain(..send_now(&stream, &line));
        // Without a runtime to do it in, there is nothing more to be done.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(ANSWER_DEADLINE, finish(stream, line)));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let error = "not answered: this process leaves, or too many clients wait; ask again";
        self.send(&Answer::refused(self.command, error));
    }
}

/// Sends what fits into the kernel's buffer, and says how much that was. Past
/// the runtime, which does not know yet whether a new connection is writable.
fn send_now(stream: &UnixStream, line: &[u8]) -> usize {
    SockRef::from(stream).send_with_flags(line, libc::MSG_NOSIGNAL).unwrap_or(0)
}

/// Sends the rest, says that this was all, and waits for the client to close:
/// to close over its unread input would be a reset, in place of the end.
async fn finish(mut stream: UnixStream, rest: Vec<u8>) {
    if stream.write_all(&rest).await.is_ok() && stream.shutdown().await.is_ok() {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
}

fn keep(stream: UnixStream) {
    match stream.into_std() {
        Ok(stream) => HELD.lock().unwrap_or_else(PoisonError::into_inner).push(stream.into()),
        Err(error) => tracing::warn!(%error, "cannot keep a control connection open"),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::net::UnixStream as StdStream;

    use socket2::{Domain, Socket, Type};
    use tempfile::TempDir;
    use tokio::runtime::{Builder, Runtime};
    use tokio::time::Instant;

    use super::*;
    use crate::control::request;

    const STATUS: &[u8] = b"{\"command\":\"status\"}\n";

    struct Server {
        socket: ControlSocket,
        _dir: TempDir,
    }

    impl Server {
        fn new(default: Option<Command>) -> Self {
            let dir = TempDir::new().unwrap();
            let path = dir.path().join("control");
            let listener = UnixListener::bind(&path).unwrap();
            Self { socket: ControlSocket::new(listener, path, default, Vec::new()), _dir: dir }
        }

        /// A client that has said `text`.
        async fn client(&self, text: &[u8]) -> UnixStream {
            let mut client = UnixStream::connect(&self.socket.path).await.unwrap();
            client.write_all(text).await.unwrap();
            client
        }

        async fn asked(&mut self) -> Asked {
            let asked = poll_fn(|cx| self.socket.poll(cx, true));
            timeout(Duration::from_secs(60), asked).await.expect("nothing is asked")
        }

        /// What a client is told whose request never gets to the loop.
        async fn refusal(&mut self, client: &mut UnixStream) -> String {
            let answer = tokio::select! {
                asked = self.asked() => panic!("{asked:?}"),
                answer = answer(client) => answer,
            };
            assert!(!answer.ok);
            answer.error.unwrap()
        }
    }

    /// What a client is told until the end of the stream.
    async fn answer(client: &mut UnixStream) -> Answer {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn root_ourselves_and_those_allowed_may_ask() {
        assert!(may_ask(0, 33, &[]));
        assert!(may_ask(33, 33, &[]));
        assert!(may_ask(34, 33, &[1, 34]));
        assert!(!may_ask(34, 33, &[]));
        assert!(!may_ask(34, 0, &[33, 35]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_delays_no_other() {
        for default in [None, Some(Command::Upgrade)] {
            let mut server = Server::new(default);
            let begun = Instant::now();
            let _silent = server.client(b"").await;
            let mut client = server.client(STATUS).await;
            let asked = server.asked().await;
            assert_eq!((asked.command, &asked.path), (Command::Status, &server.socket.path));
            asked.reply.answer(&Answer::done(Command::Status));
            assert!(answer(&mut client).await.ok);
            assert_eq!(begun.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_or_other_words_are_the_default_at_once() {
        let mut server = Server::new(Some(Command::Upgrade));
        let begun = Instant::now();
        for text in [&b""[..], b"upgrade\n", b" {\"command\":\"status\"}\n", b"\0"] {
            let mut client = server.client(text).await;
            if text.is_empty() {
                client.shutdown().await.unwrap();
            }
            let asked = server.asked().await;
            assert_eq!(asked.command, Command::Upgrade);
            // It stays open until there is an answer.
            assert!(futures::poll!(Box::pin(client.read_u8())).is_pending());
            asked.reply.answer(&Answer::done(Command::Upgrade));
            assert!(answer(&mut client).await.ok);
        }
        // One that has gone again has connected, too.
        drop(server.client(b"").await);
        assert_eq!(server.asked().await.command, Command::Upgrade);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn to_connect_is_the_default_after_the_grace() {
        let mut server = Server::new(Some(Command::Stop));
        let begun = Instant::now();
        let _client = server.client(b"").await;
        assert_eq!(server.asked().await.command, Command::Stop);
        assert!((CONNECT_GRACE..CONNECT_GRACE * 2).contains(&begun.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn json_overrides_the_default_even_if_it_comes_in_pieces() {
        let mut server = Server::new(Some(Command::Upgrade));
        let mut client = server.client(&STATUS[..1]).await;
        let rest = async {
            sleep(CONNECT_GRACE * 3).await;
            client.write_all(&STATUS[1..]).await.unwrap();
        };
        let (asked, ()) = tokio::join!(server.asked(), rest);
        assert_eq!(asked.command, Command::Status);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_may_end_with_the_stream() {
        let mut server = Server::new(None);
        let mut client = server.client(STATUS.trim_ascii()).await;
        client.shutdown().await.unwrap();
        assert_eq!(server.asked().await.command, Command::Status);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_request_is_refused_at_once_and_does_nothing() {
        let mut too_long = vec![b' '; LINE_MAX + 1];
        too_long[0] = b'{';
        // More than is read: it must not turn the end into a reset.
        let overfull = [&b"{\n"[..], &[b' '; 10_000]].concat();
        let unknown = &b"{\"command\":\"rollback\"}\n"[..];
        for default in [None, Some(Command::Stop)] {
            let mut server = Server::new(default);
            let begun = Instant::now();
            for text in [unknown, &overfull, &too_long] {
                let mut client = server.client(text).await;
                let told = server.refusal(&mut client).await;
                assert!(told.contains(ACCEPTED), "{told}");
            }
            assert_eq!(begun.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_without_a_default_says_what_it_wants() {
        let mut server = Server::new(None);
        let begun = Instant::now();
        let mut garbage = server.client(b"GET / HTTP/1.1").await;
        assert!(server.refusal(&mut garbage).await.contains(ACCEPTED));
        let mut ended = server.client(b"").await;
        ended.shutdown().await.unwrap();
        assert!(server.refusal(&mut ended).await.contains(ACCEPTED));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for text in [&b""[..], b"{"] {
            let begun = Instant::now();
            let mut silent = server.client(text).await;
            assert!(server.refusal(&mut silent).await.contains(ACCEPTED));
            assert!((LINE_GRACE..LINE_GRACE * 2).contains(&begun.elapsed()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_may_be_as_long_as_is_said() {
        let mut server = Server::new(None);
        let mut text = STATUS.trim_ascii().to_vec();
        text.resize(LINE_MAX, b' ');
        text.push(b'\n');
        let _client = server.client(&text).await;
        assert_eq!(server.asked().await.command, Command::Status);
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_crowd_the_oldest_silent_client_has_to_go() {
        let mut server = Server::new(None);
        let mut crowd = Vec::new();
        for _ in 0..=SILENT_MAX {
            crowd.push(server.client(b"").await);
        }
        assert!(server.refusal(&mut crowd[0]).await.contains("ask again"));
        let _client = server.client(STATUS).await;
        assert_eq!(server.asked().await.command, Command::Status);
        // No one else had to make room for it.
        assert!(futures::poll!(Box::pin(server.asked())).is_pending());
        assert!(futures::poll!(Box::pin(crowd[1].read_u8())).is_pending());
        assert_eq!(server.socket.hearing.len(), SILENT_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_crowd_that_speaks_everybody_is_heard() {
        let mut server = Server::new(None);
        let mut crowd = Vec::new();
        for _ in 0..=SILENT_MAX {
            crowd.push(server.client(b"").await);
        }
        // They are accepted, and speak just before one of them would have to go.
        // (More than once, because Tokio bounds what a task does at a time.)
        for _ in 0..4 {
            assert!(futures::poll!(Box::pin(server.asked())).is_pending());
            tokio::task::yield_now().await;
        }
        for client in &mut crowd {
            client.write_all(STATUS).await.unwrap();
        }
        tokio::time::advance(HEARING * 2).await;
        for _ in &crowd {
            server.asked().await.reply.answer(&Answer::done(Command::Status));
        }
        for client in &mut crowd {
            assert!(answer(client).await.ok);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn accept_errors_neither_end_nor_burn() {
        let mut server = Server::new(None);
        // accept(2) fails with EINVAL on a socket that does not listen.
        let deaf = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        deaf.set_nonblocking(true).unwrap();
        server.socket.listener = UnixListener::from_std(OwnedFd::from(deaf).into()).unwrap();
        let mut polls = 0;
        let asked = poll_fn(|cx| {
            polls += 1;
            assert!(polls < 1000, "it spins");
            server.socket.poll(cx, true)
        });
        assert!(timeout(Duration::from_secs(60), asked).await.is_err());
        // Pauses of 5 ms to 640 ms, then 58 of a second.
        assert!((60..80).contains(&polls), "{polls}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_reply_that_was_dropped() {
        let mut server = Server::new(Some(Command::Upgrade));
        let mut client = server.client(b"x").await;
        drop(server.asked().await);
        let told = answer(&mut client).await;
        assert_eq!((told.ok, told.command), (false, Some(Command::Upgrade)));
        // The same for those who had not asked when the socket went.
        let mut client = server.client(b"{").await;
        assert!(futures::poll!(Box::pin(server.asked())).is_pending());
        drop(server);
        assert!(!answer(&mut client).await.ok);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_is_sent_for_as_long_as_it_is_read() {
        let mut server = Server::new(Some(Command::Upgrade));
        let long = Answer::refused(None, "x".repeat(1 << 20));
        let mut client = server.client(b"x").await;
        server.asked().await.reply.answer(&long);
        assert_eq!(answer(&mut client).await, long);
        let mut client = server.client(b"x").await;
        server.asked().await.reply.answer(&long);
        sleep(ANSWER_DEADLINE * 2).await;
        let mut cut = Vec::new();
        client.read_to_end(&mut cut).await.unwrap();
        assert!((1..1 << 20).contains(&cut.len()), "{}", cut.len());
    }

    /// A runtime, a client that has connected to a socket in it and said
    /// something else, and the reply that it awaits.
    fn waiting() -> (Runtime, StdStream, Reply) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (client, reply) = runtime.block_on(async {
            let mut server = Server::new(Some(Command::Stop));
            let mut client = StdStream::connect(&server.socket.path).unwrap();
            client.write_all(b"x").unwrap();
            client.set_nonblocking(true).unwrap();
            (client, server.asked().await.reply)
        });
        (runtime, client, reply)
    }

    #[test]
    fn an_answer_outlives_the_runtime() {
        let (runtime, mut client, reply) = waiting();
        runtime.block_on(async { reply.answer(&Answer::done(Command::Stop)) });
        drop(runtime);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "{\"ok\":true,\"command\":\"stop\"}\n");
    }

    #[test]
    fn a_held_connection_outlives_the_runtime_and_does_not_end() {
        let (runtime, mut client, reply) = waiting();
        reply.answer_and_hold(&Answer::done(Command::Stop));
        drop(runtime);
        let mut text = String::new();
        assert_eq!(client.read_to_string(&mut text).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(serde_json::from_str::<Answer>(&text).unwrap().ok);
    }

    #[tokio::test]
    async fn our_own_client_is_answered() {
        let mut server = Server::new(Some(Command::Stop));
        for command in Command::ALL {
            let path = server.socket.path.clone();
            let ask = move || request(&path, command, Duration::from_secs(60)).unwrap();
            let client = tokio::task::spawn_blocking(ask);
            let asked = server.asked().await;
            assert_eq!(asked.command, command);
            asked.reply.answer(&Answer::done(command));
            assert_eq!(client.await.unwrap(), Answer::done(command));
        }
    }
}
