//! The variables that cross exec. Pure: the environment is an argument.
//!
//! Three of them are those of the published crate, so that a process built on
//! either can start one built on the other. The fourth is ours: it binds the
//! three to one handoff, by the identity of the two pipes. A process that
//! merely inherited the variables (a helper of the successor, say) does not
//! have these pipes, and so is not taken for a successor.
//!
//! The published crate passes on a variable it does not know. So ours says for
//! which numbers it stands: if the three name others, they were written later,
//! by a process that runs the published crate, and ours is out of date.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

use crate::sys::fd::Identity;

const UPGRADE: &str = "ECDYSIS_RUST_UPGRADE";
const UPGRADE_YES: &str = "yes";
const MANIFEST: &str = "ECDYSIS_RUST_PIPE_FDS";
const READY: &str = "ECDYSIS_RUST_PIPE_READY";
const BINDING: &str = "ECDYSIS_RUST_HANDOFF";

/// Every variable that is meant for one process only. None of them is passed
/// on from our own environment.
const OURS: [&str; 8] = [
    UPGRADE,
    MANIFEST,
    READY,
    BINDING,
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
];

/// What the environment says of a handoff to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handoff {
    /// The number of the read end of the manifest pipe.
    pub(crate) manifest: i32,
    /// The number of the write end of the ready pipe.
    pub(crate) ready: i32,
    /// To whom it is bound; `None` if the predecessor runs the published crate.
    pub(crate) binding: Option<Binding>,
}

/// Binds the variables to one handoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The pid of the predecessor.
    pub(crate) predecessor: u32,
    /// The manifest pipe.
    pub(crate) manifest: Identity,
    /// The ready pipe.
    pub(crate) ready: Identity,
}

impl Handoff {
    /// Reads the variables through `lookup`. `Ok(None)`: there is no handoff.
    ///
    /// # Errors
    /// A sentence that names the variable and says what it may be.
    pub(crate) fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, String> {
        match lookup(UPGRADE) {
            None => return Ok(None),
            Some(value) if value == UPGRADE_YES => {}
            Some(value) => {
                return Err(format!("{UPGRADE} is {value:?}; it may be \"yes\", or unset"));
            }
        }
        let number = |name: &str| {
            let value =
                lookup(name).ok_or_else(|| format!("{UPGRADE} is set, but {name} is not"))?;
            let text = value.to_str().unwrap_or_default();
            match text.parse::<i32>() {
                Ok(number) if number >= 0 => Ok(number),
                Ok(_) | Err(_) => {
                    Err(format!("{name} is {value:?}; it must be the number of a descriptor"))
                }
            }
        };
        let (manifest, ready) = (number(MANIFEST)?, number(READY)?);
        let binding = match lookup(BINDING) {
            None => None,
            Some(value) => {
                let (numbers, binding) = Binding::parse(&value).ok_or_else(|| {
                    format!(
                        "{BINDING} is {value:?}; it must be seven hexadecimal numbers, as the \
                         predecessor wrote them"
                    )
                })?;
                (numbers == (manifest, ready)).then_some(binding)
            }
        };
        Ok(Some(Self { manifest, ready, binding }))
    }

    /// The variables that say this.
    pub(crate) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![
            (UPGRADE, OsString::from(UPGRADE_YES)),
            (MANIFEST, self.manifest.to_string().into()),
            (READY, self.ready.to_string().into()),
        ];
        let numbers = (self.manifest, self.ready);
        variables.extend(self.binding.map(|binding| (BINDING, binding.format(numbers).into())));
        variables
    }
}

impl Binding {
    /// Always as long, so that the environment of the thousandth generation is
    /// not a byte larger than that of the first.
    fn format(&self, (manifest, ready): (i32, i32)) -> String {
        let mut text = format!("{manifest:08x}:{ready:08x}:{:08x}", self.predecessor);
        for pipe in [self.manifest, self.ready] {
            // Writing to a String cannot fail.
            let _ = write!(text, ":{:016x}:{:016x}", pipe.device, pipe.inode);
        }
        text
    }

    fn parse(value: &OsStr) -> Option<((i32, i32), Self)> {
        let mut numbers = value.to_str()?.split(':').map(|part| u64::from_str_radix(part, 16).ok());
        let mut next = || numbers.next().flatten();
        let pipes = (next()?.try_into().ok()?, next()?.try_into().ok()?);
        let binding = Self {
            predecessor: next()?.try_into().ok()?,
            manifest: Identity { device: next()?, inode: next()? },
            ready: Identity { device: next()?, inode: next()? },
        };
        numbers.next().is_none().then_some((pipes, binding))
    }
}

/// Whether a variable of ours may be passed on to a successor.
pub(crate) fn passes_on(name: &OsStr) -> bool {
    !OURS.iter().any(|ours| name == *ours)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Handoff>, String> {
        let map: HashMap<_, _> = variables.iter().copied().collect();
        Handoff::read(|name| map.get(name).map(OsString::from))
    }

    #[test]
    fn an_empty_environment_is_no_handoff() {
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn the_published_crates_variables_are_a_handoff_without_binding() {
        let handoff = read(&[(UPGRADE, "yes"), (MANIFEST, "7"), (READY, "9")]).unwrap().unwrap();
        assert_eq!(handoff, Handoff { manifest: 7, ready: 9, binding: None });
    }

    #[test]
    fn a_bad_value_is_named_with_what_it_may_be() {
        let error = read(&[(UPGRADE, "no")]).unwrap_err();
        assert!(error.contains(UPGRADE) && error.contains("yes"), "{error}");
        let error = read(&[(UPGRADE, "yes"), (MANIFEST, "x"), (READY, "1")]).unwrap_err();
        assert!(error.contains(MANIFEST) && error.contains("descriptor"), "{error}");
        let error = read(&[(UPGRADE, "yes"), (MANIFEST, "3")]).unwrap_err();
        assert!(error.contains(READY), "{error}");
        let bound = [(UPGRADE, "yes"), (MANIFEST, "3"), (READY, "4"), (BINDING, "1:2")];
        assert!(read(&bound).unwrap_err().contains(BINDING));
    }

    #[test]
    fn a_binding_that_a_published_process_passed_on_is_out_of_date() {
        let pipe = Identity { device: 1, inode: 2 };
        let binding = Binding { predecessor: 7, manifest: pipe, ready: pipe };
        let variables = Handoff { manifest: 3, ready: 4, binding: Some(binding) }.variables();
        let lookup = |name: &str| match name {
            MANIFEST => Some(OsString::from("11")),
            READY => Some(OsString::from("12")),
            _ => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()),
        };
        let handoff = Handoff::read(lookup).unwrap();
        assert_eq!(handoff, Some(Handoff { manifest: 11, ready: 12, binding: None }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_always_as_long(
            predecessor: u32, numbers: [u64; 4], manifest in 0..i32::MAX, ready in 0..i32::MAX,
        ) {
            let [a, b, c, d] = numbers;
            let binding = Binding {
                predecessor,
                manifest: Identity { device: a, inode: b },
                ready: Identity { device: c, inode: d },
            };
            prop_assert_eq!(binding.format((manifest, ready)).len(), 3 * 9 - 1 + 4 * 17);
            let handoff = Handoff { manifest, ready, binding: Some(binding) };
            let map: HashMap<_, _> = handoff.variables().into_iter().collect();
            prop_assert_eq!(Handoff::read(|name| map.get(name).cloned()), Ok(Some(handoff)));
        }
    }
}
