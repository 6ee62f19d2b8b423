//! The page of reasons: what each means and what to do. Talks to no cluster.
//!
//! The meaning is the documentation comment of the variant, read from the source that is compiled, so that it cannot
//! say something else than what programmers read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use kkp_upgrade_core::reason::Reason;
use strum::VariantArray as _;

use crate::outputs::PAGE_HEADER;

const SOURCE: &str = include_str!("../../core/src/reason.rs");

/// The page.
pub(crate) fn page() -> anyhow::Result<String> {
    let meanings = meanings(SOURCE);
    let mut text = format!(
        "{PAGE_HEADER}# Reasons\n\nWhat conditions and events of a KKPUpgrade carry as `reason`, in the order of a run.\n\n\
         | Reason | Meaning | What to do |\n|---|---|---|\n"
    );
    for reason in Reason::VARIANTS {
        let name = reason.to_string();
        let meaning = meanings
            .get(&name)
            .with_context(|| format!("reason {name} has no documentation comment"))?;
        let next = match reason.next_step() {
            "" => "nothing".to_owned(),
            step => step.to_owned(),
        };
        writeln!(text, "| `{name}` | {meaning} | {next} |")?;
    }
    Ok(text)
}

/// Documentation comment of each variant in the source of an enum without fields.
fn meanings(source: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut comment = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            comment.push(text);
        } else if let Some(name) = line
            .strip_suffix(',')
            .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric()))
        {
            found.insert(name.to_owned(), comment.join(" "));
            comment.clear();
        } else {
            comment.clear();
        }
    }
    found.retain(|_, text| !text.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_row() {
        let page = page().unwrap();
        for reason in Reason::VARIANTS {
            assert!(page.contains(&format!("| `{reason}` | ")), "{reason}");
        }
    }

    #[test]
    fn comments_are_found_by_variant() {
        let found = meanings("/// Enum.\nenum A {\n    /// One\n    /// two.\n    First,\n    Second,\n}");
        assert_eq!(found, BTreeMap::from([("First".to_owned(), "One two.".to_owned())]));
    }
}
