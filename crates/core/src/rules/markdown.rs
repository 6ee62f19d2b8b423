//! The catalogue as a page of documentation. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use strum::IntoEnumIterator;

use super::catalogue::Catalogue;
use super::kind::ItemKind;
use super::record::{Severity, Stage};
use super::rule::Rule;

/// The rules of one hop, stage by stage.
struct Section<'a> {
    /// `None` = every hop, otherwise the minor that it leads to.
    hop: Option<String>,
    stages: BTreeMap<Stage, Vec<&'a Rule>>,
}

impl Section<'_> {
    fn title(&self) -> String {
        self.hop
            .as_ref()
            .map_or_else(|| "Every hop".to_owned(), |minor| format!("Hop to {minor}"))
    }

    fn count(&self, severity: Severity) -> usize {
        let rules = self.stages.values().flatten();
        rules.filter(|rule| rule.severity == severity).count()
    }

    fn write(&self, page: &mut String) {
        let title = self.title();
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {title}\n");
        for (stage, rules) in &self.stages {
            let _ = write!(
                page,
                "\n### {title}: {stage}\n\n| Rule | Severity | Acceptable | Looks at | Finding | Remedy | Fix |\n|---|---|---|---|---|---|---|\n"
            );
            for rule in rules {
                row(page, &rule_cells(rule));
            }
        }
    }
}

impl Catalogue {
    /// Rules hop by hop, facts and releases as Markdown tables.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let sections = self.sections();
        let mut page = contents(&sections);
        sections
            .iter()
            .filter(|section| !section.stages.is_empty())
            .for_each(|section| section.write(&mut page));
        self.facts(&mut page);
        self.release_table(&mut page);
        page
    }

    /// Every hop first, then each minor that a release or a rule knows, oldest first.
    fn sections(&self) -> Vec<Section<'_>> {
        let minors = self.releases().iter().map(|release| release.version.minor_line());
        let hops: BTreeSet<Vec<u32>> = minors
            .chain(self.rules().iter().filter_map(|rule| rule.hop.clone()))
            .map(|minor| minor.split('.').filter_map(|part| part.parse().ok()).collect())
            .collect();
        let minors = hops.iter().map(|parts| {
            let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
            Some(parts.join("."))
        });
        std::iter::once(None)
            .chain(minors)
            .map(|hop| {
                let mut stages: BTreeMap<Stage, Vec<&Rule>> = BTreeMap::new();
                for rule in self.rules().iter().filter(|rule| rule.hop == hop) {
                    stages.entry(rule.stage).or_default().push(rule);
                }
                Section { hop, stages }
            })
            .collect()
    }

    fn facts(&self, page: &mut String) {
        page.push_str("\n## Facts\n");
        for kind in ItemKind::iter() {
            // Writing to a String cannot fail.
            let _ = write!(
                page,
                "\n### {kind}\n\n| Field | Type | Where it is read |\n|---|---|---|\n"
            );
            for field in self.vocabulary().schema(kind) {
                let null = if field.nullable { " or null" } else { "" };
                row(
                    page,
                    &[
                        format!("`{}`", field.name),
                        format!("{}{null}", field.field_type),
                        field.docs.clone(),
                    ],
                );
            }
        }
    }

    fn release_table(&self, page: &mut String) {
        page.push_str("\n## Releases\n\n| Release | Kubernetes of user clusters | Default | Installer as a Job | For good |\n|---|---|---|---|---|\n");
        for release in self.releases().iter().rev() {
            let cells = [
                release.version.to_string(),
                release.kubernetes_range(),
                release.default_kubernetes.to_string(),
                release.job.to_string(),
                release.one_way.join("; "),
            ];
            row(page, &cells);
        }
    }
}

/// What is on the page, with the number of rules by hop.
fn contents(sections: &[Section<'_>]) -> String {
    let mut page = String::from(
        "An upgrade is judged by the rules of every hop and by those of the hop that it makes.\n\n\
         | Contents | Rules | Blockers | Warnings | Infos |\n|---|---|---|---|---|\n",
    );
    for section in sections {
        let title = section.title();
        let counts = [Severity::Blocker, Severity::Warning, Severity::Info].map(|severity| section.count(severity));
        let linked = if section.stages.is_empty() {
            format!("{title}: none of its own")
        } else {
            format!("[{title}](#{})", anchor(&title))
        };
        let mut cells = vec![linked, counts.iter().sum::<usize>().to_string()];
        cells.extend(counts.map(|count| count.to_string()));
        row(&mut page, &cells);
    }
    page.push_str("\nBelow them: [facts](#facts) that rules look at, and [releases](#releases).\n");
    page
}

/// The address of a heading on its page, as GitHub makes it.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn rule_cells(rule: &Rule) -> [String; 7] {
    let title = rule
        .docs
        .as_ref()
        .map_or_else(|| rule.title.clone(), |docs| format!("[{}]({docs})", rule.title));
    [
        format!("`{}`", rule.id),
        rule.severity.to_string(),
        if rule.acceptable { "yes" } else { "no" }.to_owned(),
        rule.each.to_string(),
        title,
        rule.remedy.clone(),
        rule.fix.as_ref().map_or_else(String::new, |fix| fix.title.clone()),
    ]
}

fn row(page: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hop_has_its_rules_below_its_own_heading_and_a_line_in_the_contents() {
        let catalogue = Catalogue::embedded().unwrap();
        let page = catalogue.to_markdown();
        let headings: Vec<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .map(anchor)
            .collect();
        let linked: Vec<&str> = page
            .split("](#")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
            .collect();
        assert_eq!(headings, linked);
        assert!(headings.contains(&"hop-to-231".to_owned()), "{headings:?}");
        for rule in catalogue.rules() {
            let title = rule
                .hop
                .as_ref()
                .map_or("Every hop".to_owned(), |minor| format!("Hop to {minor}"));
            let (_, below) = page.split_once(&format!("\n### {title}: {}\n", rule.stage)).unwrap();
            let own = below.split("\n#").next().unwrap();
            assert!(own.contains(&format!("\n| `{}` |", rule.id)), "{}", rule.id);
        }
        let minors: BTreeSet<String> = catalogue
            .releases()
            .iter()
            .map(|release| release.version.minor_line())
            .collect();
        for minor in minors {
            assert!(page.contains(&format!("Hop to {minor}")), "{minor}");
        }
    }

    #[test]
    fn the_counts_are_those_of_the_rules() {
        let catalogue = Catalogue::embedded().unwrap();
        let sections = catalogue.sections();
        let all = |severity: Severity| -> usize { sections.iter().map(|section| section.count(severity)).sum() };
        for severity in [Severity::Blocker, Severity::Warning, Severity::Info] {
            let rules = catalogue.rules().iter().filter(|rule| rule.severity == severity);
            assert_eq!(all(severity), rules.count(), "{severity}");
        }
        let none = Section {
            hop: Some("2.99".to_owned()),
            stages: BTreeMap::new(),
        };
        assert!(contents(&[none]).contains("| Hop to 2.99: none of its own | 0 | 0 | 0 | 0 |"));
    }
}
