//! Image references: repository, tag and digest.
//!
//! Pure. Follows the reference grammar of the distribution project as far as a Pod template can hold it; anything else is
//! an error that names the reference (an image reference is no secret).

use std::fmt;

/// A parsed image reference, e.g. `registry.example.test:5000/kkp/kubermatic:v2.31.0@sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference {
    /// Everything before tag and digest, with registry and port.
    pub repository: String,
    /// The tag, when one is given.
    pub tag: Option<String>,
    /// The digest with its algorithm, when one is given.
    pub digest: Option<String>,
}

/// Why a text is no image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("image reference {reference:?} {problem}: write it as repository:tag or repository:tag@digest")]
pub struct InvalidImage {
    reference: String,
    problem: &'static str,
}

impl ImageReference {
    /// Parses a reference as it stands in a Pod template.
    ///
    /// # Errors
    /// When a part is empty or has characters that the grammar does not allow there.
    pub fn parse(reference: &str) -> Result<Self, InvalidImage> {
        let invalid = |problem| InvalidImage {
            reference: reference.to_owned(),
            problem,
        };
        let (name, digest) = match reference.split_once('@') {
            Some((name, digest)) if is_digest(digest) => (name, Some(digest.to_owned())),
            Some(_) => return Err(invalid("has a malformed digest")),
            None => (reference, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let last_segment = name.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match name.rfind(':') {
            Some(colon) if colon >= last_segment => {
                let (repository, tag) = name.split_at(colon);
                (repository, Some(tag.trim_start_matches(':').to_owned()))
            }
            _ => (name, None),
        };
        if !is_repository(repository) {
            return Err(invalid("has a malformed repository"));
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid("has a malformed tag"));
        }
        Ok(Self {
            repository: repository.to_owned(),
            tag,
            digest,
        })
    }

    /// The last segment of the repository, e.g. `kubermatic-ee`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or(&self.repository)
    }

    /// The same repository with another tag and no digest.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self {
            repository: self.repository.clone(),
            tag: Some(tag.to_owned()),
            digest: None,
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    tag.len() <= 128
        && tag.starts_with(word)
        && tag
            .chars()
            .all(|character| word(character) || matches!(character, '.' | '-'))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty()
            && algorithm
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || matches!(character, '+' | '.' | '-' | '_'))
            && hex.len() >= 32
            && hex.chars().all(|character| character.is_ascii_hexdigit())
    })
}

fn is_repository(repository: &str) -> bool {
    let mut segments = repository.split('/').peekable();
    let first = segments.next().unwrap_or_default();
    // Only a registry, that is a first segment with something after it, may be upper case or have a port.
    let registry = segments.peek().is_some();
    let first_is_valid = if registry {
        is_registry(first)
    } else {
        is_path_segment(first)
    };
    first_is_valid && segments.all(is_path_segment)
}

fn is_registry(registry: &str) -> bool {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, Some(port)),
        _ => (registry, None),
    };
    let ipv6 = host.starts_with('[') && host.ends_with(']');
    let host_is_valid = if ipv6 {
        host.chars()
            .all(|character| character.is_ascii_hexdigit() || matches!(character, '[' | ']' | ':'))
    } else {
        !host.is_empty() && host.chars().all(allowed)
    };
    host_is_valid && port.is_none_or(|port| ipv6 && port.ends_with(']') || port.parse::<u16>().is_ok())
}

fn is_path_segment(segment: &str) -> bool {
    let word = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    segment.starts_with(word)
        && segment.ends_with(word)
        && segment
            .chars()
            .all(|character| word(character) || matches!(character, '.' | '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_at_the_right_places() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let with_digest = format!("kubermatic:v2.31.0@{digest}");
        let only_digest = format!("quay.io/kubermatic/kubermatic@{digest}");
        for (text, repository, tag, expected_digest) in [
            (
                "quay.io/kubermatic/kubermatic:v2.31.0",
                "quay.io/kubermatic/kubermatic",
                Some("v2.31.0"),
                None,
            ),
            ("localhost:5000/kubermatic", "localhost:5000/kubermatic", None, None),
            (
                "localhost:5000/kubermatic:v2.31.0",
                "localhost:5000/kubermatic",
                Some("v2.31.0"),
                None,
            ),
            (
                "Registry.example.test/a/b-c:1_2.3",
                "Registry.example.test/a/b-c",
                Some("1_2.3"),
                None,
            ),
            ("[::1]:5000/a:v1", "[::1]:5000/a", Some("v1"), None),
            ("[fd00::1]/a:v1", "[fd00::1]/a", Some("v1"), None),
            ("kubermatic", "kubermatic", None, None),
            (
                with_digest.as_str(),
                "kubermatic",
                Some("v2.31.0"),
                Some(digest.as_str()),
            ),
            (
                only_digest.as_str(),
                "quay.io/kubermatic/kubermatic",
                None,
                Some(digest.as_str()),
            ),
        ] {
            let parsed = ImageReference::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(parsed.repository, repository, "{text}");
            assert_eq!(parsed.tag.as_deref(), tag, "{text}");
            assert_eq!(parsed.digest.as_deref(), expected_digest, "{text}");
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long_tag = format!("a:{}", "x".repeat(129));
        for text in [
            "",
            ":v1",
            "a:",
            "a/:v1",
            "/a",
            "a//b",
            "a:v1:v2",
            "Upper:v1",
            "a b:v1",
            "a:v1@",
            "a@sha256:xyz",
            "a@sha256",
            "host:99999/a",
            "a/b\n:v1",
            "-a:v1",
            "a:-v1",
            long_tag.as_str(),
        ] {
            assert!(ImageReference::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn another_tag_drops_the_digest() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let image = ImageReference::parse(&format!("quay.io/kubermatic/kubermatic-ee:v2.30.6@{digest}")).unwrap();
        assert_eq!(
            image.with_tag("v2.31.0").to_string(),
            "quay.io/kubermatic/kubermatic-ee:v2.31.0"
        );
        assert_eq!(image.name(), "kubermatic-ee");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_to_itself_or_refused(text in "\\PC{0,60}") {
            if let Ok(parsed) = ImageReference::parse(&text) {
                proptest::prop_assert_eq!(parsed.to_string(), text);
            }
        }
    }
}
