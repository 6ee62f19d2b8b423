//! Comparing version tags as KKP writes them.
//!
//! Pure; knows no releases. KKP stamps its git tag (`v2.31.0`) on images, CRDs and conditions, while charts since 2.26 carry
//! the same number without the `v`, so both forms mean the same version.

/// The tag without its leading `v`.
#[must_use]
pub fn normalised(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix('v').unwrap_or(tag)
}

/// Whether two tags name the same version. Nothing is the same version as an empty tag.
#[must_use]
pub fn same(left: &str, right: &str) -> bool {
    let left = normalised(left);
    !left.is_empty() && left == normalised(right)
}

/// Major and minor number of a tag; `None` when it is no semantic version.
#[must_use]
pub fn major_minor(tag: &str) -> Option<(u64, u64)> {
    let version = semver::Version::parse(normalised(tag)).ok()?;
    Some((version.major, version.minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leading_v_does_not_matter_and_nothing_else_is_equal() {
        for (left, right, expected) in [
            ("v2.31.0", "v2.31.0", true),
            ("v2.31.0", "2.31.0", true),
            ("2.31.0", "v2.31.0", true),
            ("v2.31.0", "v2.31.1", false),
            ("v2.31.0", "v2.31.0-12-gabcdef0", false),
            ("v2.31.0", "v2.31", false),
            ("", "", false),
            ("v", "", false),
            ("v2.31.0", "", false),
        ] {
            assert_eq!(same(left, right), expected, "{left} / {right}");
        }
    }

    #[test]
    fn minors_are_read_from_releases_and_development_builds() {
        assert_eq!(major_minor("v2.31.0"), Some((2, 31)));
        assert_eq!(major_minor("v2.31.0-12-gabcdef0"), Some((2, 31)));
        assert_eq!(major_minor("latest"), None);
        assert_eq!(major_minor("v2.31"), None);
    }
}
