//! The texts in a scenario that have a form of their own: placeholders,
//! greetings, names and paths. Each check says what to write.

/// Checks that `argument` holds no braces but those of `{bin:NAME}`, `{addr}`, `{dir}`
/// and `{here}`.
pub(super) fn placeholders(argument: &str) -> Result<(), String> {
    known_placeholders(argument, false)
}

/// The same, where `{pid}` is known, too.
pub(super) fn placeholders_and_pid(argument: &str) -> Result<(), String> {
    known_placeholders(argument, true)
}

fn known_placeholders(argument: &str, pid: bool) -> Result<(), String> {
    let mut rest = argument;
    while let Some(open) = rest.find(['{', '}']) {
        let end = rest[open..].find('}').map_or(rest.len(), |close| open + close + 1);
        let found = &rest[open..end];
        let known = matches!(found, "{addr}" | "{dir}" | "{here}")
            || pid && found == "{pid}"
            || ["{bin:", "{shim:"].iter().any(|head| {
                let name = found.strip_prefix(head).and_then(|tail| tail.strip_suffix('}'));
                name.is_some_and(is_name)
            });
        if !known {
            let and_pid = if pid { ", {pid} (the process to be upgraded)" } else { "" };
            return Err(format!(
                "`{found}` in `{argument}` is no placeholder; write {{bin:NAME}} (a program), \
                 {{shim:NAME}} (the same, where faults can take its place), {{addr}} (address and port of the load), {{dir}} (the run's private directory)\
                 {and_pid} or {{here}} (the scenario's directory)"
            ));
        }
        rest = &rest[end..];
    }
    Ok(())
}

/// Checks that the numbers in a greeting can be found again without doubt.
pub(super) fn greeting(greeting: &str) -> Result<(), String> {
    let (generation, pid) = ("{generation}", "{pid}");
    let refused = |problem: &str| {
        Err(format!(
            "greeting `{greeting}` {problem}; write the server's first line with {{generation}} \
             and {{pid}} where its numbers stand, like \"generation {{generation}} pid {{pid}}\""
        ))
    };
    if greeting.matches(pid).count() != 1 {
        return refused(&format!("must contain {pid} once"));
    }
    if greeting.matches(generation).count() > 1 {
        return refused(&format!("must contain {generation} at most once"));
    }
    let literals: Vec<&str> = greeting.split(generation).flat_map(|part| part.split(pid)).collect();
    if literals.iter().any(|literal| literal.contains(['{', '}', '\n', '\r'])) {
        return refused("contains a brace or a line break");
    }
    // Before the first number, between two if there are two, and behind the last.
    let inner = literals.get(1..literals.len() - 1).unwrap_or_default();
    if inner.iter().any(|literal| literal.is_empty()) {
        return refused("needs text between the two numbers");
    }
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let uncertain = literals
        .windows(2)
        .any(|around| digit(around[0].chars().next_back()) || digit(around[1].chars().next()));
    if uncertain {
        return refused("has a digit beside a number, which makes the number uncertain");
    }
    Ok(())
}

/// Checks that a greeting is a header, as answers by HTTP have it.
pub(super) fn header(greeting: &str) -> Result<(), String> {
    let token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match greeting.split_once(':') {
        Some((name, _)) if !name.is_empty() && name.chars().all(token) => Ok(()),
        Some(_) | None => Err(format!(
            "greeting `{greeting}` is no header, and answers by HTTP say in a header whose they \
             are; write one like \"x-served-by: {{pid}}\""
        )),
    }
}

/// Checks that a text can stand in the head of a request as it is.
pub(super) fn in_request(text: &str) -> Result<(), String> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(());
    }
    Err(format!("`{text}` cannot stand in a request; write it without blanks, and not empty"))
}

/// Checks the path of a request.
pub(super) fn request_path(path: &str) -> Result<(), String> {
    in_request(path)?;
    if path.starts_with('/') {
        return Ok(());
    }
    Err(format!("`{path}` is no path of a request; write one that begins with a slash, like \"/\""))
}

/// Checks that a ledger directory lies within the run's private directory.
pub(super) fn ledger(path: &str) -> Result<(), String> {
    let inside = path.strip_prefix("{dir}/").filter(|rest| {
        rest.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
            && !rest.contains(['{', '}'])
    });
    match inside {
        Some(_) => Ok(()),
        None => Err(format!(
            "ledger `{path}` must be a directory within {{dir}}, so that no earlier run's ledgers \
             are taken for this one's; write it like \"{{dir}}/ledger\""
        )),
    }
}

/// Checks that the path of a socket has no placeholder but `{dir}`, and is one that
/// can be connected to.
pub(super) fn socket_path(path: &str) -> Result<(), String> {
    let rest = path.strip_prefix("{dir}").unwrap_or(path);
    if rest.starts_with('/') && rest.len() > 1 && !rest.contains(['{', '}', '\0']) {
        return Ok(());
    }
    Err(format!(
        "`{path}` is no path of a socket; write an absolute one, or one in the run's private \
         directory like \"unix:{{dir}}/echo.sock\""
    ))
}

/// Checks that the path of a file has no placeholder but `{dir}`, and only where
/// there is one.
pub(super) fn file_path(path: &str, in_directory: bool) -> Result<(), String> {
    let rest = path.strip_prefix("{dir}").filter(|_| in_directory).unwrap_or(path);
    if rest.starts_with('/') && rest.len() > 1 && !rest.contains(['{', '}', '\0']) {
        return Ok(());
    }
    let or_inside = if in_directory { ", or like \"{dir}/server.pid\"" } else { "" };
    Err(format!(
        "`{path}` is no absolute path of a file; write one like \"/run/server.pid\"{or_inside}"
    ))
}

/// Checks that a sysctl key is a setting of the network, by its dotted name.
pub(super) fn sysctl(key: &str) -> Result<(), String> {
    // The key becomes a path, so it must not lead anywhere else.
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let dotted = key.split('.').all(|part| !part.is_empty());
    if key.starts_with("net.") && dotted && key.chars().all(safe) {
        return Ok(());
    }
    Err(format!(
        "sysctl `{key}` is not a setting of the run's own network; write one like \
         \"net.ipv4.ip_local_port_range\""
    ))
}

/// The line, counted from 1, that holds the byte at `place`.
pub(super) fn line_of(source: &str, place: usize) -> usize {
    source.get(..place).unwrap_or("").matches('\n').count() + 1
}

/// Checks a name that reports and their files will carry.
pub(super) fn name(name: &str) -> Result<(), String> {
    if is_name(name) {
        return Ok(());
    }
    Err(format!(
        "name `{name}` would not do as a file name; write letters, digits, `-` and `_`, like \
         \"upgrade-storm\""
    ))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_placeholders_pass() {
        for good in ["", "plain", "{bin:echo-server}", "tcp://{addr}", "{dir}/{addr}/{here}"] {
            assert_eq!(placeholders(good), Ok(()));
        }
        assert_eq!(placeholders_and_pid("-{pid}{dir}"), Ok(()));
        assert!(placeholders("{pid}").is_err());
        for bad in ["{", "}", "{port}", "{bin:}", "{bin:a/b}", "{addr", "{{addr}}", "${HOME}"] {
            assert!(placeholders(bad).unwrap_err().contains("{addr}"), "{bad}");
        }
    }

    #[test]
    fn greetings_must_be_readable_back() {
        for good in [
            "generation {generation} pid {pid}",
            "{pid}/{generation}",
            "<{generation}:{pid}>",
            "{pid}",
        ] {
            assert_eq!(greeting(good), Ok(()));
        }
        for bad in [
            "hello",
            "{generation}",
            "{generation} {generation} {pid}",
            "{generation}{pid}",
            "{generation} {pid} {pid}",
            "{generation}1{pid}",
            "v1{generation} {pid}",
            "v1{pid}",
            "{generation} {pid}0",
            "{generation} {pid} {addr}",
            "{generation}\n{pid}",
        ] {
            assert!(greeting(bad).unwrap_err().contains("generation {generation}"), "{bad}");
        }
    }

    #[test]
    fn ledgers_stay_in_the_private_directory() {
        assert_eq!(ledger("{dir}/ledger"), Ok(()));
        for bad in
            ["", "ledger", "/tmp/x", "{dir}", "{dir}/", "{dir}/../x", "{dir}x", "{dir}/{dir}"]
        {
            assert!(ledger(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sysctls_stay_in_the_network() {
        assert_eq!(sysctl("net.ipv4.tcp_max_tw_buckets"), Ok(()));
        for bad in ["", "net", "net.", "kernel.panic", "net..x", "net.ipv4/../../kernel", "net.x y"]
        {
            assert!(sysctl(bad).is_err(), "{bad}");
        }
    }
}
