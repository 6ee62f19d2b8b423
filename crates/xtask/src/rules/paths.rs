//! Paths that facts look at, against the schemas of KKP's releases: a field must exist in every minor that it is read in.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use kkp_upgrade_core::rules::{Catalogue, ItemKind, PathField, Vocabulary};
use serde::Deserialize;

/// Minors of KKP 2 whose platforms are read.
const MINORS: std::ops::RangeInclusive<u32> = 23..=31;

/// `v2.NN.yaml`: by kind the paths with their types; `[]` = item of a list, `{}` = value of a map.
type Schemas = BTreeMap<String, Schema>;

#[derive(Deserialize)]
struct Schema {
    fields: BTreeMap<String, String>,
}

/// Compares with the schemas in `folder`.
///
/// # Errors
/// When the folder holds no schemas.
pub(super) fn run(folder: Option<&Path>, report: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let Some(folder) = folder else {
        writeln!(
            report,
            "SKIPPED: no schemas of KKP at hand; name their folder with --fields or KKP_FIELDS"
        )?;
        return Ok(ExitCode::SUCCESS);
    };
    let vocabulary = Catalogue::embedded()?.vocabulary();
    let (mut compared, mut missing) = (0, Vec::new());
    for minor in MINORS {
        let file = folder.join(format!("v2.{minor}.yaml"));
        let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        let schemas: Schemas = serde_saphyr::from_str(&text).with_context(|| format!("{}", file.display()))?;
        let (some, lost) = compare(vocabulary, minor, &schemas)?;
        compared += some;
        missing.extend(lost);
    }
    for line in &missing {
        writeln!(report, "{line}")?;
    }
    writeln!(report, "{compared} paths compared, {} missing", missing.len())?;
    Ok(if missing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn compare(vocabulary: &Vocabulary, minor: u32, schemas: &Schemas) -> anyhow::Result<(usize, Vec<String>)> {
    let (mut compared, mut missing) = (0, Vec::new());
    for kind in vocabulary.kinds() {
        let read = vocabulary
            .paths(kind)
            .iter()
            .filter(|field| field.exists_in(minor) && field.document != "values");
        let Some(name) = schema_of(kind) else { continue };
        let schema = schemas
            .get(name)
            .with_context(|| format!("there is no {name} in KKP 2.{minor}"))?;
        for field in read {
            let path = field.path.schema_notation();
            if path.starts_with("metadata") {
                continue;
            }
            compared += 1;
            if !has(schema, field) {
                missing.push(format!("2.{minor}: {kind}.{}: {name} has no {path}", field.spec.name));
            }
        }
    }
    Ok((compared, missing))
}

/// The kind of KKP whose objects the items are.
const fn schema_of(kind: ItemKind) -> Option<&'static str> {
    Some(match kind {
        ItemKind::Platform => "kubermatic.k8c.io/v1/KubermaticConfiguration",
        ItemKind::Seed => "kubermatic.k8c.io/v1/Seed",
        ItemKind::Cluster => "kubermatic.k8c.io/v1/Cluster",
        ItemKind::Addon => "kubermatic.k8c.io/v1/Addon",
        ItemKind::Template => "kubermatic.k8c.io/v1/ClusterTemplate",
        ItemKind::Preset => "kubermatic.k8c.io/v1/Preset",
        ItemKind::Setting => "kubermatic.k8c.io/v1/KubermaticSetting",
        ItemKind::GroupBinding => "kubermatic.k8c.io/v1/GroupProjectBinding",
        ItemKind::ConstraintTemplate => "kubermatic.k8c.io/v1/ConstraintTemplate",
        ItemKind::EtcdBackup => "kubermatic.k8c.io/v1/EtcdBackupConfig",
        ItemKind::EtcdRestore => "kubermatic.k8c.io/v1/EtcdRestore",
        ItemKind::ApplicationDefinition => "apps.kubermatic.k8c.io/v1/ApplicationDefinition",
        _ => return None,
    })
}

/// Whether the schema has the path; a key may be one of a map.
fn has(schema: &Schema, field: &PathField) -> bool {
    let path = field.path.schema_notation();
    let known = |path: &str| schema.fields.contains_key(path);
    if known(&path) {
        return true;
    }
    // `status.conditions.Ready.status` is `status.conditions{}.status` there.
    let keys: Vec<&str> = path.split('.').collect();
    (1..keys.len()).any(|index| {
        let (before, after) = keys.split_at(index);
        let Some((key, rest)) = after.split_first() else {
            return false;
        };
        let tail = key.find(['[', '{']).and_then(|at| key.get(at..)).unwrap_or_default();
        let mapped =
            std::iter::once(format!("{}{{}}{tail}", before.join("."))).chain(rest.iter().map(ToString::to_string));
        known(&mapped.collect::<Vec<_>>().join("."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_a_release_does_not_have_is_named() {
        let vocabulary = Catalogue::embedded().unwrap().vocabulary();
        let fields = ["status.conditions{}.status", "spec.cniPlugin.type"];
        let fields = fields
            .iter()
            .map(|path| ((*path).to_owned(), "string".to_owned()))
            .collect();
        let cluster = "kubermatic.k8c.io/v1/Cluster";
        let mut schemas: Schemas = vocabulary
            .kinds()
            .filter_map(schema_of)
            .map(|name| {
                (
                    name.to_owned(),
                    Schema {
                        fields: BTreeMap::new(),
                    },
                )
            })
            .collect();
        schemas.insert(cluster.to_owned(), Schema { fields });
        let (_, missing) = compare(vocabulary, 23, &schemas).unwrap();
        let about = |name: &str| missing.iter().any(|line| line.contains(&format!("cluster.{name}:")));
        assert!(!about("upToDate") && !about("cniType"), "{missing:?}");
        assert!(about("cniVersion"), "{missing:?}");
    }
}
