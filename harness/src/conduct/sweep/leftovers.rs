//! What an upgrade leaves behind that was not there before.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::observe::procfs;

/// What is there while nothing goes on: of the process that serves, and of the files
/// around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Belongings {
    /// How many descriptors of each kind, connections not counted.
    descriptors: BTreeMap<String, usize>,
    files: Vec<PathBuf>,
}

impl Belongings {
    /// What is there now; `None`: the process is gone.
    pub(super) fn look(pid: u32, directory: &Path) -> Option<Self> {
        let mut descriptors: BTreeMap<String, usize> = BTreeMap::new();
        for kind in procfs::resources(pid).ok()?.fds.into_values() {
            *descriptors.entry(kind).or_default() += 1;
        }
        let mut files = Vec::new();
        list(directory, &mut files);
        files.sort();
        Some(Self { descriptors, files })
    }

    /// What is here and is not in `before`.
    pub(super) fn more_than(&self, before: &Self) -> Vec<String> {
        let grown = self.descriptors.iter().filter_map(|(kind, count)| {
            let had = before.descriptors.get(kind).copied().unwrap_or_default();
            (*count > had).then(|| format!("{kind}: {count}, and not {had}"))
        });
        let new = self.files.iter().filter(|file| !before.files.contains(file));
        grown.chain(new.map(|file| file.display().to_string())).collect()
    }
}

/// Every file below a directory. What cannot be read just now is gone, or ours.
fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            list(&path, files);
        } else {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_is_left_behind_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let look = || Belongings::look(std::process::id(), directory.path()).unwrap();
        fs::create_dir(directory.path().join("a")).unwrap();
        let before = look();
        let path = directory.path().join("a/b");
        let _open = File::create(&path).unwrap();
        let after = look();
        let path = path.display().to_string();
        let left = after.more_than(&before);
        assert!(left.contains(&path), "{left:?}");
        assert!(left.contains(&format!("{path}: 1, and not 0")), "{left:?}");
        assert!(!before.more_than(&after).contains(&path));
    }
}
