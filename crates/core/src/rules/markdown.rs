//! The catalogue as a page of documentation. Pure.

use std::fmt::Write as _;

use strum::IntoEnumIterator;

use super::catalogue::{Catalogue, Rule};
use super::facts::schema;
use super::schema::ItemKind;

impl Catalogue {
    /// Rules, facts and releases as Markdown tables.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut page = String::from(
            "## Rules\n\n| Rule | Hop | Stage | Severity | Acceptable | Looks at | Finding | Remedy |\n|---|---|---|---|---|---|---|---|\n",
        );
        self.rules().iter().for_each(|rule| row(&mut page, &rule_cells(rule)));
        page.push_str("\n## Facts\n");
        for kind in ItemKind::iter() {
            // Writing to a String cannot fail.
            let _ = write!(
                page,
                "\n### {kind}\n\n| Field | Type | Where it is read |\n|---|---|---|\n"
            );
            for field in schema(kind) {
                let null = if field.nullable { " or null" } else { "" };
                row(
                    &mut page,
                    &[
                        format!("`{}`", field.name),
                        format!("{}{null}", field.field_type),
                        field.docs.to_owned(),
                    ],
                );
            }
        }
        page.push_str("\n## Releases\n\n| Release | Kubernetes of user clusters | Default | Installer as a Job | For good |\n|---|---|---|---|---|\n");
        for release in self.releases().iter().rev() {
            let cells = [
                release.version.to_string(),
                release.kubernetes_range(),
                release.default_kubernetes.to_string(),
                release.job.to_string(),
                release.one_way.join("; "),
            ];
            row(&mut page, &cells);
        }
        page
    }
}

fn rule_cells(rule: &Rule) -> [String; 8] {
    let title = rule
        .docs
        .as_ref()
        .map_or_else(|| rule.title.clone(), |docs| format!("[{}]({docs})", rule.title));
    [
        format!("`{}`", rule.id),
        rule.hop.clone().unwrap_or_else(|| "any".to_owned()),
        rule.stage.to_string(),
        rule.severity.to_string(),
        if rule.acceptable { "yes" } else { "no" }.to_owned(),
        rule.each.to_string(),
        title,
        rule.remedy.clone(),
    ]
}

fn row(page: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}
