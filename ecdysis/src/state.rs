//! State that a process leaves to its successor: bounded, versioned bytes.
//!
//! They cross in a file in memory (memfd_create(2)), not in a pipe: a pipe holds
//! 64 KiB, and then the writer waits for a reader that may never come. The file
//! is sealed, so what the reader has checked stays so.
//!
//! ```text
//! magic     8 bytes, "ecdstate"
//! format    u32, 1: what this header looks like
//! version   u32: the application's own
//! length    u64, of the bytes that follow and end the file
//! bytes
//! ```
//!
//! Numbers are little-endian.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit};

/// How many bytes of state a successor takes, unless told otherwise.
pub(crate) const MOST: u64 = 64 << 20;

const MAGIC: [u8; 8] = *b"ecdstate";
const FORMAT: u32 = 1;
const HEADER: u64 = 24;

/// Without these the content could change after it was checked.
const SEALS: SealFlag =
    SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_WRITE);

/// What the predecessor left.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    version: u32,
    bytes: Vec<u8>,
}

impl State {
    /// The version that the predecessor gave it. The two may be different
    /// builds: look at it before you look at the bytes.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The bytes, as the predecessor made them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, as the predecessor made them.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl fmt::Debug for State {
    /// Without the bytes: they may be many, and secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("version", &self.version)
            .field("length", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// A sealed file that holds `bytes`, to be passed to the successor. It is
/// close-on-exec.
///
/// # Errors
/// `FileTooLarge` if the process may not write a file of that size
/// (`RLIMIT_FSIZE`: the write would kill it); else what the system call said.
pub(crate) fn pass(version: u32, bytes: &[u8]) -> io::Result<OwnedFd> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE)?;
    allowed(length, limit)?;
    let mut file = File::from(create()?);
    file.write_all(&header(version, length))?;
    file.write_all(bytes)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS | SealFlag::F_SEAL_SEAL))?;
    Ok(file.into())
}

/// Reads what the predecessor passed, from the beginning: the offset is shared
/// with whoever else has the descriptor, and says nothing.
///
/// # Errors
/// `InvalidData` if it is not what [`pass`] makes or has more than `most` bytes,
/// found out before anything is allocated; `OutOfMemory` if there is no room for
/// them; else what the system call said.
pub(crate) fn receive(fd: OwnedFd, most: u64) -> io::Result<State> {
    let file = File::from(fd);
    check_seals(&file)?;
    let size = file.metadata()?.len();
    let found = size.checked_sub(HEADER).ok_or(Malformed::Short { size })?;
    if field(&file, 0)? != MAGIC {
        return Err(Malformed::Magic.into());
    }
    let format = u32::from_le_bytes(field(&file, 8)?);
    if format != FORMAT {
        return Err(Malformed::Format { found: format }.into());
    }
    let version = u32::from_le_bytes(field(&file, 12)?);
    let said = u64::from_le_bytes(field(&file, 16)?);
    if said != found {
        return Err(Malformed::Length { said, found }.into());
    }
    let length = usize::try_from(found)
        .ok()
        .filter(|_| found <= most)
        .ok_or(Malformed::TooLong { length: found, most })?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length)?;
    bytes.resize(length, 0);
    file.read_exact_at(&mut bytes, HEADER)?;
    Ok(State { version, bytes })
}

/// Has the application make its state, on a thread of its own, and waits for it
/// no longer than `most`. A thread that takes longer is left to itself, and
/// what it makes is thrown away.
///
/// # Errors
/// `TimedOut` after `most`; what `make` said; an error of kind `Other` if it
/// panicked (the panic is reported by the application's own panic hook).
pub(crate) fn produce(
    make: impl FnOnce() -> io::Result<Vec<u8>> + Send + 'static,
    most: Duration,
) -> io::Result<Vec<u8>> {
    let (made, result) = mpsc::channel();
    let run = move || {
        // If nobody waits any more, nobody wants it.
        let _ = made.send(make());
    };
    thread::Builder::new().name("ecdysis-state".into()).spawn(run)?;
    match result.recv_timeout(most) {
        Ok(made) => made,
        Err(RecvTimeoutError::Timeout) => {
            let message = format!("state for the successor was not made within {most:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        }
        // The sender is dropped without a word only if the thread unwinds.
        Err(RecvTimeoutError::Disconnected) => {
            Err(io::Error::other("making the state for the successor panicked"))
        }
    }
}

/// How the application makes the state that it leaves to its successor.
#[derive(Clone)]
pub(crate) struct StateMaker {
    version: u32,
    deadline: Duration,
    make: Arc<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>,
}

impl StateMaker {
    pub(crate) fn new(
        version: u32,
        deadline: Duration,
        make: impl Fn() -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        Self { version, deadline, make: Arc::new(make) }
    }

    /// Has it made.
    pub(crate) fn make(&self) -> io::Result<State> {
        point!(STATE_IS_MADE?);
        let make = Arc::clone(&self.make);
        let bytes = produce(move || make(), self.deadline)?;
        Ok(State { version: self.version, bytes })
    }
}

/// Why a descriptor holds no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Malformed {
    NotInMemory,
    Unsealed { missing: SealFlag },
    Short { size: u64 },
    Magic,
    Format { found: u32 },
    Length { said: u64, found: u64 },
    TooLong { length: u64, most: u64 },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("state of the predecessor: ")?;
        match self {
            Self::NotInMemory => f.write_str("not a file in memory: a memfd is accepted"),
            Self::Unsealed { missing } => write!(
                f,
                "not sealed, without {missing:?}: it must not shrink, grow or be written to"
            ),
            Self::Short { size } => {
                write!(f, "{size} bytes, too few: the header alone has {HEADER}")
            }
            Self::Magic => write!(f, "does not begin with \"{}\"", MAGIC.escape_ascii()),
            Self::Format { found } => write!(f, "format {found}: {FORMAT} is accepted"),
            Self::Length { said, found } => {
                write!(f, "{found} bytes follow the header, which says {said}")
            }
            Self::TooLong { length, most } => write!(f, "{length} bytes: {most} are accepted"),
        }
    }
}

impl Error for Malformed {}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed)
    }
}

fn allowed(length: u64, limit: u64) -> io::Result<()> {
    if length.saturating_add(HEADER) <= limit {
        return Ok(());
    }
    let message = format!("state of {length} bytes: RLIMIT_FSIZE allows a file of {limit} bytes");
    Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
}

/// A file in memory that can be sealed, and not executed where the kernel knows
/// of that (6.3; `vm.memfd_noexec=2` allows no other).
fn create() -> nix::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create("ecdysis-state", flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL)) {
        Err(Errno::EINVAL) => memfd_create("ecdysis-state", flags),
        created => created,
    }
}

fn header(version: u32, length: u64) -> Vec<u8> {
    let (format, version) = (FORMAT.to_le_bytes(), version.to_le_bytes());
    [&MAGIC[..], &format, &version, &length.to_le_bytes()].concat()
}

fn check_seals(file: &File) -> io::Result<()> {
    let seals = match fcntl(file, FcntlArg::F_GET_SEALS) {
        Err(Errno::EINVAL) => return Err(Malformed::NotInMemory.into()),
        seals => SealFlag::from_bits_truncate(seals?),
    };
    let missing = SEALS - seals;
    if missing.is_empty() { Ok(()) } else { Err(Malformed::Unsealed { missing }.into()) }
}

/// What stands at `at`, without moving the offset.
fn field<const N: usize>(file: &File, at: u64) -> io::Result<[u8; N]> {
    let mut field = [0; N];
    file.read_exact_at(&mut field, at)?;
    Ok(field)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};
    use std::panic;

    use proptest::prelude::*;

    use super::*;

    fn memory(bytes: &[u8], seals: SealFlag) -> OwnedFd {
        let mut file = File::from(create().unwrap());
        file.write_all(bytes).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        file.into()
    }

    fn malformed(fd: OwnedFd, most: u64) -> Malformed {
        let error = receive(fd, most).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        *error.get_ref().unwrap().downcast_ref().unwrap()
    }

    proptest! {
        #[test]
        fn what_is_passed_is_received(version: u32, bytes: Vec<u8>) {
            let state = receive(pass(version, &bytes).unwrap(), MOST).unwrap();
            prop_assert_eq!(state.version(), version);
            prop_assert_eq!(state.bytes(), &bytes[..]);
            prop_assert_eq!(state.into_bytes(), bytes);
        }

        #[test]
        fn any_content_is_received_or_refused(bytes: Vec<u8>) {
            let error = receive(memory(&bytes, SEALS), MOST).unwrap_err();
            prop_assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }

        #[test]
        fn a_flipped_bit_in_the_header_changes_the_version_or_is_refused(
            bytes: Vec<u8>, at in 0_usize..24, bit in 0_u8..8,
        ) {
            let length = u64::try_from(bytes.len()).unwrap();
            let mut whole = [header(7, length), bytes].concat();
            whole[at] ^= 1 << bit;
            match receive(memory(&whole, SEALS), MOST) {
                Ok(state) => {
                    prop_assert!((12..16).contains(&at), "byte {} is not looked at", at);
                    prop_assert_ne!(state.version(), 7);
                }
                Err(error) => prop_assert_eq!(error.kind(), io::ErrorKind::InvalidData),
            }
        }
    }

    #[test]
    fn the_bytes_of_the_header_are_those_documented() {
        let expected = b"ecdstate\x01\0\0\0\x02\x01\0\0\x03\0\0\0\0\0\0\0abc";
        let mut found = [0; 27];
        let file = File::from(pass(0x102, b"abc").unwrap());
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found, expected);
        assert_eq!(file.metadata().unwrap().len(), 27);
    }

    #[test]
    fn state_larger_than_a_pipe_is_passed_without_a_reader() {
        let bytes = vec![7; 1 << 20];
        let fd = pass(1, &bytes).unwrap();
        assert_eq!(receive(fd, 1 << 20).unwrap().bytes(), bytes);
    }

    #[test]
    fn a_shared_offset_does_not_matter() {
        let mut file = File::from(pass(1, b"state").unwrap());
        file.seek(SeekFrom::Start(9)).unwrap();
        let shared = file.try_clone().unwrap();
        assert_eq!(receive(shared.into(), MOST).unwrap().bytes(), b"state");
        assert_eq!(file.stream_position().unwrap(), 9);
    }

    #[test]
    fn what_was_passed_cannot_be_changed_by_anyone() {
        let file = File::from(pass(1, b"state").unwrap());
        for refused in [file.write_at(b"x", 0).map(drop), file.set_len(0), file.set_len(1000)] {
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EPERM));
        }
    }

    #[test]
    fn the_descriptor_is_close_on_exec() {
        let flags = fcntl(pass(1, b"").unwrap(), FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }

    #[test]
    fn a_file_that_is_not_in_memory_is_refused() {
        let (pipe, _writer) = io::pipe().unwrap();
        assert_eq!(malformed(pipe.into(), MOST), Malformed::NotInMemory);
        let null = File::open("/dev/null").unwrap();
        assert_eq!(malformed(null.into(), MOST), Malformed::NotInMemory);
    }

    #[test]
    fn a_file_that_could_still_change_is_refused() {
        for missing in [SealFlag::F_SEAL_SHRINK, SealFlag::F_SEAL_GROW, SealFlag::F_SEAL_WRITE] {
            let fd = memory(&header(1, 0), SEALS - missing);
            assert_eq!(malformed(fd, MOST), Malformed::Unsealed { missing });
        }
    }

    #[test]
    fn each_wrong_header_has_its_own_error() {
        let sealed = |bytes: &[u8]| malformed(memory(bytes, SEALS), 10);
        assert_eq!(sealed(&header(1, 0)[..23]), Malformed::Short { size: 23 });
        assert_eq!(sealed(&[b'x'; 24]), Malformed::Magic);
        let mut later = header(1, 0);
        later[8] = 2;
        assert_eq!(sealed(&later), Malformed::Format { found: 2 });
        assert_eq!(sealed(&header(1, 3)), Malformed::Length { said: 3, found: 0 });
        let longer = [header(1, 3), b"abcd".to_vec()].concat();
        assert_eq!(sealed(&longer), Malformed::Length { said: 3, found: 4 });
        let most = [header(1, 11), vec![0; 11]].concat();
        assert_eq!(sealed(&most), Malformed::TooLong { length: 11, most: 10 });
    }

    #[test]
    fn errors_say_what_is_accepted() {
        let message = receive(memory(&header(1, 0)[..9], SEALS), MOST).unwrap_err().to_string();
        assert_eq!(message, "state of the predecessor: 9 bytes, too few: the header alone has 24");
        let message = Malformed::Unsealed { missing: SealFlag::F_SEAL_GROW }.to_string();
        assert!(message.contains("F_SEAL_GROW"), "{message}");
        assert!(Malformed::Magic.to_string().contains("\"ecdstate\""));
    }

    #[test]
    fn state_that_is_too_long_is_refused_before_it_is_allocated() {
        // A terabyte of nothing: to allocate and read it would not end well.
        let length = 1 << 40;
        let mut file = File::from(create().unwrap());
        file.write_all(&header(1, length)).unwrap();
        file.set_len(HEADER + length).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS)).unwrap();
        assert_eq!(malformed(file.into(), MOST), Malformed::TooLong { length, most: MOST });
    }

    #[test]
    fn a_limit_on_files_is_an_error_and_not_a_signal() {
        assert!(allowed(76, 100).is_ok());
        assert!(allowed(0, u64::MAX).is_ok());
        let error = allowed(77, 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("RLIMIT_FSIZE"), "{error}");
    }

    #[test]
    fn what_the_application_makes_or_says_comes_back() {
        let made = produce(|| Ok(vec![1, 2]), Duration::MAX).unwrap();
        assert_eq!(made, [1, 2]);
        let refused = produce(|| Err(io::ErrorKind::StorageFull.into()), Duration::MAX);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn state_that_takes_for_ever_is_not_waited_for() {
        let (release, held) = mpsc::channel::<()>();
        let make = move || {
            let _ = held.recv();
            Ok(Vec::new())
        };
        let error = produce(make, Duration::from_millis(5)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("5ms"), "{error}");
        drop(release);
    }

    #[test]
    fn a_panic_of_the_application_is_an_error() {
        let make = || panic::resume_unwind(Box::new("the application's own"));
        let error = produce(make, Duration::MAX).unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }

    #[test]
    fn what_is_logged_does_not_show_the_bytes() {
        let state = State { version: 3, bytes: b"secret".to_vec() };
        assert_eq!(format!("{state:?}"), "State { version: 3, length: 6, .. }");
    }
}
