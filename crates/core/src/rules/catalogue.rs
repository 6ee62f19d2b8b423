//! The catalogue: rules and releases, compiled in, checked and compiled when loaded. Pure.

use std::sync::{Arc, OnceLock};

use super::kind::ItemKind;
use super::problem::{CatalogueError, Located, Problems};
use super::record::Stage;
use super::records::{RELEASES, Records, RuleEntry};
use super::release_file;
use super::releases::{Release, Releases, RouteError};
use super::rule::{self, Rule};
use super::vocabulary::Vocabulary;
use crate::request::sha256;
use crate::status::CatalogueStatus;
use crate::version::KkpVersion;

/// Version of the form of the files.
pub(super) const FORMAT: &str = "v1";

/// The files that are compiled in: name and text.
const EMBEDDED: [(&str, &str); 12] = [
    ("releases.yaml", include_str!("../../../../catalogue/releases.yaml")),
    ("facts.yaml", include_str!("../../../../catalogue/facts.yaml")),
    ("rules/any.yaml", include_str!("../../../../catalogue/rules/any.yaml")),
    (
        "rules/any/after.yaml",
        include_str!("../../../../catalogue/rules/any/after.yaml"),
    ),
    (
        "rules/any/clusters.yaml",
        include_str!("../../../../catalogue/rules/any/clusters.yaml"),
    ),
    (
        "rules/any/inside.yaml",
        include_str!("../../../../catalogue/rules/any/inside.yaml"),
    ),
    (
        "rules/any/platform.yaml",
        include_str!("../../../../catalogue/rules/any/platform.yaml"),
    ),
    (
        "rules/any/safety.yaml",
        include_str!("../../../../catalogue/rules/any/safety.yaml"),
    ),
    (
        "rules/2.31/clusters.yaml",
        include_str!("../../../../catalogue/rules/2.31/clusters.yaml"),
    ),
    (
        "rules/2.31/gateway.yaml",
        include_str!("../../../../catalogue/rules/2.31/gateway.yaml"),
    ),
    (
        "rules/2.31/login.yaml",
        include_str!("../../../../catalogue/rules/2.31/login.yaml"),
    ),
    (
        "rules/2.31/stacks.yaml",
        include_str!("../../../../catalogue/rules/2.31/stacks.yaml"),
    ),
];

/// Rules and releases.
#[derive(Debug, Default)]
pub struct Catalogue {
    rules: Vec<Rule>,
    releases: Releases,
    vocabulary: Vocabulary,
    identity: CatalogueStatus,
}

impl Catalogue {
    /// The catalogue of this build; parsed at the first call.
    ///
    /// # Errors
    /// A compiled-in file is broken; the tests of this crate keep that from being released.
    pub fn embedded() -> Result<&'static Self, CatalogueError> {
        shared().as_ref().map(Arc::as_ref).map_err(Clone::clone)
    }

    /// The same, to be kept beside others.
    ///
    /// # Errors
    /// See [`Catalogue::embedded`].
    pub fn embedded_shared() -> Result<Arc<Self>, CatalogueError> {
        shared().clone()
    }

    /// The files that are compiled in: name and text.
    #[must_use]
    pub const fn embedded_files() -> &'static [(&'static str, &'static str)] {
        &EMBEDDED
    }

    /// Reads (name, text) pairs: `releases.yaml`, `facts.yaml`, and `rules/<any or target minor>.yaml` or
    /// `rules/<any or target minor>/<topic>.yaml`.
    ///
    /// # Errors
    /// Everything that is wrong, each with file, line, rule and reason.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, CatalogueError> {
        let mut problems = Problems::default();
        let records = Records::read(files, "", &mut problems);
        if !files.iter().any(|(name, _)| *name == RELEASES) {
            problems.of_file(RELEASES, "is missing");
        }
        records.check_size("the catalogue", &mut problems);
        Self::build(records, identity("Compiled", files), problems)
    }

    /// Makes the catalogue of what the files say.
    pub(super) fn build(
        records: Records,
        identity: CatalogueStatus,
        mut problems: Problems,
    ) -> Result<Self, CatalogueError> {
        // In this order: facts may name lists of releases, rules may name both.
        let mut releases = release_file::build(&records.minors, &mut problems);
        if let Some(images) = records.images {
            for edition in ["CE", "EE"].iter().filter(|edition| !images.contains_key(**edition)) {
                problems.of_file(RELEASES, &format!("images: no repository for edition {edition}"));
            }
            releases.set_images(images);
        }
        let lists = releases.list_names().clone();
        let vocabulary = Vocabulary::build(records.fields, records.tallies, lists, &mut problems);
        let mut catalogue = Self {
            rules: Vec::new(),
            releases,
            vocabulary,
            identity,
        };
        for entry in records.rules {
            catalogue.add_rule(entry, &mut problems);
        }
        problems.none().map(|()| catalogue)
    }

    fn add_rule(&mut self, entry: Located<RuleEntry>, problems: &mut Problems) {
        let id = entry.record.id().map(ToOwned::to_owned);
        let RuleEntry { scope, record } = entry.record;
        let rule = serde_json::from_value(record)
            .map_err(|error| error.to_string())
            .and_then(|record| rule::build(record, &scope, &self.vocabulary));
        match rule {
            Ok(rule) if self.rule(&rule.id).is_some() => {
                problems.add(&entry.file, entry.line, id, "the id is used twice");
            }
            Ok(rule) => self.rules.push(rule),
            Err(reason) => problems.add(&entry.file, entry.line, id, &reason),
        }
    }

    /// Which catalogue it is: form, digest of its files, and where it comes from.
    #[must_use]
    pub const fn identity(&self) -> &CatalogueStatus {
        &self.identity
    }

    /// What rules may name.
    #[must_use]
    pub const fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// All rules, in the order of the files.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule with this id.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// Whether a rule of these stages, for a hop to one of these versions, names one of these fields of the kind: what no
    /// rule asks for need not be fetched.
    #[must_use]
    pub fn asks_for(&self, stages: &[Stage], to: &[KkpVersion], kind: ItemKind, fields: &[&str]) -> bool {
        self.rules.iter().any(|rule| {
            rule.each == kind
                && stages.contains(&rule.stage)
                && to.iter().any(|version| rule.concerns(*version))
                && rule.names_one_of(fields)
        })
    }

    /// All releases.
    #[must_use]
    pub const fn releases(&self) -> &Releases {
        &self.releases
    }

    /// The release with exactly this version.
    #[must_use]
    pub fn release(&self, version: KkpVersion) -> Option<&Release> {
        self.releases.get(version)
    }

    /// The route, see [`Releases::path`].
    ///
    /// # Errors
    /// See [`Releases::path`].
    pub fn path(
        &self,
        from: KkpVersion,
        target: KkpVersion,
        via: &[KkpVersion],
    ) -> Result<Vec<KkpVersion>, RouteError> {
        self.releases.path(from, target, via)
    }
}

fn shared() -> &'static Result<Arc<Catalogue>, CatalogueError> {
    static CATALOGUE: OnceLock<Result<Arc<Catalogue>, CatalogueError>> = OnceLock::new();
    CATALOGUE.get_or_init(|| Catalogue::parse(&EMBEDDED).map(Arc::new))
}

/// Names and texts of all files, in their order, make the digest.
pub(super) fn identity(source: &str, files: &[(&str, &str)]) -> CatalogueStatus {
    CatalogueStatus {
        version: FORMAT.to_owned(),
        // Pairs of texts can always be written as JSON.
        digest: sha256(&serde_json::to_vec(files).unwrap_or_default()),
        source: source.to_owned(),
    }
}
