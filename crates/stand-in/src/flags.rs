//! Go's flag syntax (`-name=value`, `-name value`, `--name=value`, `-switch`), which KKP's programs use. Pure.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// The flags of one process; unknown ones are kept and ignored.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Flags(BTreeMap<String, String>);

impl Flags {
    /// Reads a command line without the program's name.
    pub(crate) fn parse(args: &[OsString]) -> Self {
        let mut flags = BTreeMap::new();
        let mut words = args.iter().map(|word| word.to_string_lossy().into_owned()).peekable();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                continue;
            };
            let (name, value) = if let Some((name, value)) = name.split_once('=') {
                (name.to_owned(), value.to_owned())
            } else {
                let value = words.next_if(|next| !next.starts_with('-'));
                (name.to_owned(), value.unwrap_or_else(|| "true".to_owned()))
            };
            flags.insert(name, value);
        }
        Self(flags)
    }

    /// The value of a flag, if given and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of a numeric flag, or `default`.
    pub(crate) fn number(&self, name: &str, default: i64) -> i64 {
        self.text(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Flags {
        Flags::parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn all_four_forms_of_a_flag_are_understood() {
        let flags = parse(&[
            "-namespace=kubermatic",
            "--seed-name",
            "eu",
            "-enable-leader-election",
            "-max-parallel-reconcile=-3",
            "-worker-name=",
        ]);
        assert_eq!(flags.text("namespace"), Some("kubermatic"));
        assert_eq!(flags.text("seed-name"), Some("eu"));
        assert_eq!(flags.text("enable-leader-election"), Some("true"));
        assert_eq!(flags.number("max-parallel-reconcile", 10), -3);
        assert_eq!(flags.text("worker-name"), None);
        assert_eq!(flags.number("worker-count", 4), 4);
    }
}
