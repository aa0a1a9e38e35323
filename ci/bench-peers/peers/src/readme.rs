//! The part of the README that is made from figures.

use std::fs;
use std::io;
use std::path::Path;

const BEGIN: &str = "<!-- ci/peers begins -->\n";
const END: &str = "<!-- ci/peers ends -->\n";

/// Puts `text` between the marks.
pub(crate) fn update(path: &Path, text: &str) -> io::Result<()> {
    let readme = fs::read_to_string(path)?;
    let updated = replaced(&readme, text).ok_or_else(|| {
        let place = path.display();
        io::Error::other(format!("{place} has no lines {} and {}", BEGIN.trim(), END.trim()))
    })?;
    fs::write(path, updated)
}

fn replaced(readme: &str, text: &str) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{text}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let readme = format!("a\n{BEGIN}old\n{END}z\n");
        let once = replaced(&readme, "new\n").unwrap();
        assert_eq!(once, format!("a\n{BEGIN}new\n{END}z\n"));
        assert_eq!(replaced(&once, "new\n"), Some(once));
        assert_eq!(replaced("nothing", "new\n"), None);
    }
}
