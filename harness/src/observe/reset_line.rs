//! A line of the kernel's tracing that tells of one RST.

use std::net::SocketAddr;

/// What stands before the fields of the event.
const EVENT: &str = ": tcp_send_reset: ";

/// One RST, as the kernel prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The name of the thread in whose context it was sent.
    pub(super) command: String,
    /// The thread.
    pub(super) thread: u32,
    /// Its process. The kernel knows it once it has seen the thread run.
    pub(super) process: Option<u32>,
    /// When, in nanoseconds of the monotonic clock.
    pub(super) nanos: u64,
    /// Who sent it.
    pub(super) source: SocketAddr,
    /// To whom.
    pub(super) destination: SocketAddr,
    /// Why.
    pub(super) reason: Option<String>,
}

/// Reads a line; `None`: it tells of something else.
pub(super) fn parse(line: &str) -> Option<Line> {
    let (head, fields) = line.split_once(EVENT)?;
    // The name may hold anything, spaces and dashes too; what follows does not.
    let (before, _flags_and_time) = head.rsplit_once(" [")?;
    let nanos = nanos(head.rsplit_once(' ')?.1)?;
    let (task, group) = match before.rsplit_once('(') {
        Some((task, group)) => (task, group.trim_end().strip_suffix(')')?.trim().parse().ok()),
        None => (before, None),
    };
    let (command, thread) = task.trim().rsplit_once('-')?;
    let thread: u32 = thread.parse().ok()?;
    let field = |name: &str| {
        fields.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    Some(Line {
        command: command.to_owned(),
        thread,
        process: group,
        nanos,
        source: field("src")?.parse().ok()?,
        destination: field("dest")?.parse().ok()?,
        reason: field("reason").map(str::to_owned),
    })
}

/// Seconds and microseconds, `16988.624335`.
fn nanos(text: &str) -> Option<u64> {
    let (seconds, micros) = text.split_once('.')?;
    let digits = micros.len() == 6 && micros.bytes().all(|byte| byte.is_ascii_digit());
    let micros: u64 = micros.parse().ok().filter(|_| digits)?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    // These are lines of Linux 6.18, with the options that the harness sets.
    const CLOSED: &str = "         python3-32751   (  32710) [000] b..1. 16988.624335: tcp_send_reset: skbaddr=0000000000000000 skaddr=000000005bea4c26 src=127.0.0.1:44411 dest=127.0.0.1:37080 state=TCP_CLOSE reason=TCP_STATE";
    const REFUSED: &str = "         python3-32710   (  32710) [001] ..s1. 16988.625822: tcp_send_reset: skbaddr=000000009ff94388 skaddr=0000000000000000 src=127.0.0.1:1 dest=127.0.0.1:37402 state=UNKNOWN reason=NO_SOCKET";
    const SIX: &str = "         python3-32710   (  32710) [001] b..1. 16988.626059: tcp_send_reset: skbaddr=0000000000000000 skaddr=000000006052764d src=[::1]:35287 dest=[::1]:38418 state=TCP_CLOSE reason=TCP_STATE";

    #[test]
    fn lines_of_this_kernel() {
        let line = parse(CLOSED).unwrap();
        assert_eq!(line.command, "python3");
        assert_eq!((line.thread, line.process), (32751, Some(32710)));
        assert_eq!(line.nanos, 16_988_624_335_000);
        assert_eq!(line.source, "127.0.0.1:44411".parse().unwrap());
        assert_eq!(line.destination, "127.0.0.1:37080".parse().unwrap());
        assert_eq!(line.reason.as_deref(), Some("TCP_STATE"));
        assert_eq!(parse(REFUSED).unwrap().reason.as_deref(), Some("NO_SOCKET"));
        assert_eq!(parse(SIX).unwrap().source, "[::1]:35287".parse().unwrap());
    }

    #[test]
    fn without_process_or_reason_the_rest_is_told() {
        let bare = CLOSED.replace("  (  32710)", "").replace(" reason=TCP_STATE", "");
        let line = parse(&bare).unwrap();
        assert_eq!((line.thread, line.process, line.reason), (32751, None, None));
        let unknown = CLOSED.replace("(  32710)", "(-------)");
        assert_eq!(parse(&unknown).unwrap().process, None);
    }

    #[test]
    fn a_name_may_hold_anything() {
        let odd = CLOSED.replace("python3-32751", "a (b) [0] -c-32751");
        let line = parse(&odd).unwrap();
        assert_eq!((line.command.as_str(), line.process), ("a (b) [0] -c", Some(32710)));
    }

    #[test]
    fn whatever_else_is_printed_is_passed_over() {
        for line in [
            "",
            "CPU:1 [LOST 12 EVENTS]",
            "# tracer: nop",
            &CLOSED.replace("tcp_send_reset", "tcp_receive_reset"),
            &CLOSED.replace("src=127.0.0.1:44411", "src=nowhere"),
            &CLOSED.replace("16988.624335", "16988.62"),
            &CLOSED.replace("16988.624335", "99999999999999999999.000000"),
            ": tcp_send_reset: ",
            " [000] 1.000000: tcp_send_reset: src=1.1.1.1:1 dest=1.1.1.1:2",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
