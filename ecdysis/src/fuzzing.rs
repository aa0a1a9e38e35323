//! What must hold of whatever another process writes to us, for a fuzzer to try
//! (`ecdysis/fuzz`). Not a part of the library: it exists only under
//! `--cfg fuzzing`, and in unit tests, so that it does not rot.

use crate::manifest::{Decoded, Dialect, Manifest, Passed, decode, encode};
use crate::protocol::{Listener, Seen};
use crate::socket::SocketKey;

/// The bytes of a manifest pipe, whole or a beginning of them.
///
/// # Panics
/// If the decoder breaks a promise.
pub fn manifest(bytes: &[u8]) {
    let (more, ended) = (decode(bytes, false), decode(bytes, true));
    assert_ne!(ended, Ok(Decoded::Incomplete), "incomplete, and no more will come");
    match &more {
        Ok(Decoded::Whole(manifest, dialect, used)) => {
            assert_eq!(*dialect, Dialect::Ours, "the published list has no end of its own");
            assert_eq!(more, ended, "a whole manifest needs no end");
            for part in [&bytes[..used - 1], &bytes[..used / 2]] {
                assert_eq!(decode(part, false), Ok(Decoded::Incomplete));
            }
            assert_passed_on(manifest);
        }
        Ok(Decoded::Incomplete) => {}
        Err(malformed) => {
            assert_eq!(more, ended, "no end makes it better");
            let longer = decode(&[bytes, &[0; 16]].concat(), false);
            assert_eq!(longer.as_ref(), Err(malformed), "nor does what follows");
        }
    }
    if let Ok(Decoded::Whole(manifest, Dialect::Published, used)) = &ended {
        assert_eq!(*used, bytes.len());
        let same = encode(manifest).starts_with(bytes);
        // What the published crate never writes, because it cannot read it.
        let odd = manifest.sockets.iter().any(|passed| is_odd(&passed.key));
        assert!(same || odd, "not written as it was read");
    }
}

/// What we do not understand is passed on as it came; but what is said twice in
/// one object is said once then, and may be understood.
fn assert_passed_on(manifest: &Manifest) {
    let next = passed_on(manifest);
    assert_eq!(manifest.generation, next.generation);
    assert_eq!(manifest.ancestors, next.ancestors);
    assert_eq!(manifest.ignored, next.ignored);
    assert_eq!(manifest.sockets.len(), next.sockets.len());
    for (ours, its) in manifest.sockets.iter().zip(&next.sockets) {
        let key = if let SocketKey::Foreign(_) = ours.key { &its.key } else { &ours.key };
        assert_eq!(Passed { key: key.clone(), ..ours.clone() }, *its);
    }
    // What has been read, written and read is as it will always be, but for
    // fractions in what we do not understand (and, to be simple, any number).
    if !format!("{next:?}").contains("Number(") {
        assert_eq!(passed_on(&next), next);
    }
}

fn passed_on(manifest: &Manifest) -> Manifest {
    let bytes = encode(manifest);
    let decoded = decode(&bytes, false);
    let Ok(Decoded::Whole(next, Dialect::Ours, used)) = decoded else {
        unreachable!("we cannot read what we wrote: {decoded:?}");
    };
    assert_eq!(used, bytes.len());
    next
}

/// The body of a manifest of version 1: in its frame, so that a fuzzer need not
/// find out its length.
///
/// # Panics
/// If the decoder breaks a promise.
pub fn body(bytes: &[u8]) {
    let frame = encode(&Manifest::default());
    // An empty list, the magic and the version.
    let mut framed = frame[..18].to_vec();
    framed.extend((bytes.len() as u64).to_le_bytes());
    framed.extend(bytes);
    manifest(&framed);
}

fn is_odd(key: &SocketKey) -> bool {
    matches!(
        key,
        SocketKey::Unix { path: Some(path) } | SocketKey::UnixSeqpacket { path: Some(path) }
            if path.to_str().is_none()
    )
}

/// The bytes of a ready pipe, up to its end.
///
/// # Panics
/// If the listener breaks a promise.
pub fn ready(bytes: &[u8]) {
    let seen = heard(bytes.chunks(4096));
    assert_eq!(seen, heard(bytes.chunks(1)), "how it is cut makes a difference");
    let first = seen.first();
    let ready = first.is_some_and(|seen| matches!(seen, Seen::Ready(_)));
    assert_eq!(ready, bytes.starts_with(b"OKe") && bytes.len() > 3 || bytes == b"OK");
    assert!(ready || matches!(first, Some(Seen::Garbage | Seen::Closed)), "{seen:?}");
    let rest = seen.iter().skip(1);
    let fits = |seen: &Seen| ready && matches!(seen, Seen::Later(_) | Seen::Closed);
    assert!(rest.clone().all(fits), "{seen:?}");
}

/// What is seen, until it is seen that there is nothing to be heard.
fn heard<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut listener = Listener::default();
    let mut seen: Vec<_> = chunks.flat_map(|chunk| listener.hear(chunk)).collect();
    seen.extend(listener.end());
    let garbage = seen.iter().position(|seen| *seen == Seen::Garbage);
    if let Some(at) = garbage {
        let after = seen.drain(at..);
        assert!(after.as_slice().iter().all(|seen| *seen == Seen::Garbage), "sense after garbage");
        drop(after);
        seen.push(Seen::Garbage);
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// And any beginning of it.
    fn every_part(bytes: &[u8], what: fn(&[u8])) {
        (0..=bytes.len()).for_each(|end| what(&bytes[..end]));
    }

    #[test]
    fn it_holds_of_what_was_ever_written() {
        every_part(include_bytes!("manifest/golden/published-1.1.1.bin"), manifest);
        every_part(include_bytes!("manifest/golden/version-1.bin"), manifest);
        every_part(include_bytes!("manifest/golden/version-1-empty.bin"), manifest);
        every_part(include_bytes!("manifest/golden/version-1-nonblocking.bin"), manifest);
        every_part(include_bytes!("manifest/golden/version-1-ignored.bin"), manifest);
        every_part(include_bytes!("manifest/golden/version-1-later.bin"), manifest);
        body(include_bytes!("../fuzz/seeds/body/every-kind.json"));
        every_part(b"OKe\x01N\0\0W\0\0S?", ready);
        every_part(b"OK", ready);
        every_part(b"KO", ready);
    }

    #[test]
    fn nothing_makes_sense_after_garbage() {
        ready(b"xOKe\x01");
    }
}
