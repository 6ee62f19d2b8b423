//! The page of the source documents: each statement and what became of it. Talks to no cluster.

use std::fmt::Write as _;

use super::documents::{Answer, Document, Documents, Statement, read};
use crate::outputs::PAGE_HEADER;

/// The page.
///
/// # Errors
/// When the checklist is not of the right form.
pub(crate) fn page() -> anyhow::Result<String> {
    let documents = read()?;
    let mut text = format!(
        "{PAGE_HEADER}# Source documents\n\n\
         What the documents say that describe such upgrades, statement by statement, and what the operator makes of it. A statement is \
         *covered* by [rules](rules.md), by steps or phases of a run ([concepts](../concepts.md)) or by fields of the \
         [KKPUpgrade](api.md); it *cannot apply*, for a reason; or it is *not yet* built.\n\n\
         Covered means that the operator checks, does or shows it, not that it decides alone: a finding may be for a person to solve.\n\n\
         | Document | Statements | Covered | Cannot apply | Not yet |\n|---|---|---|---|---|\n"
    );
    for document in &documents.documents {
        let [covered, cannot, not_yet] = counts(std::slice::from_ref(document));
        writeln!(
            text,
            "| [{}](#{}) | {} | {covered} | {cannot} | {not_yet} |",
            document.title,
            document.id,
            document.statements.len()
        )?;
    }
    let [covered, cannot, not_yet] = counts(&documents.documents);
    let all = covered + cannot + not_yet;
    writeln!(text, "| **all** | {all} | {covered} | {cannot} | {not_yet} |")?;
    sections(&mut text, &documents)?;
    Ok(text)
}

/// How many statements are covered, cannot apply, are missing.
pub(super) fn counts(documents: &[Document]) -> [usize; 3] {
    [Answer::Covered, Answer::Cannot, Answer::NotYet]
        .map(|answer| documents.iter().map(|document| document.count(answer)).sum())
}

fn sections(text: &mut String, documents: &Documents) -> anyhow::Result<()> {
    for document in &documents.documents {
        // An anchor of its own: titles have signs that each viewer makes something else of.
        writeln!(text, "\n<a id=\"{}\"></a>\n\n## {}\n", document.id, document.title)?;
        if let Some(address) = &document.address {
            writeln!(text, "<{address}>\n")?;
        }
        writeln!(text, "| Id | Statement | Answer |\n|---|---|---|")?;
        for statement in &document.statements {
            let cells = [&statement.says, &answer(statement)?].map(|cell| cell.replace('|', "\\|"));
            writeln!(text, "| {} | {} |", statement.id, cells.join(" | "))?;
        }
    }
    Ok(())
}

fn answer(statement: &Statement) -> anyhow::Result<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let answer = statement
        .answer()
        .map_err(|why| anyhow::anyhow!("catalogue/documents.yaml: {} {why}", statement.id))?;
    Ok(match answer {
        Answer::Cannot => format!("cannot apply: {}", text(&statement.reason)),
        Answer::NotYet => format!("**not yet**: {}", text(&statement.not_yet)),
        Answer::Covered => {
            let named = [
                named("rule", &statement.rules),
                named("step", &statement.steps),
                named("field", &statement.fields),
            ];
            let named: Vec<String> = named.into_iter().flatten().collect();
            let how = statement.how.as_ref().map(|how| format!(": {how}"));
            format!("{}{}", named.join("; "), how.unwrap_or_default())
        }
    })
}

/// The word and the names, each in backticks; `None` without names.
fn named(what: &str, names: &[String]) -> Option<String> {
    let plural = match names.len() {
        0 => return None,
        1 => "",
        _ => "s",
    };
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    Some(format!("{what}{plural} {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_has_its_row_below_its_document_and_the_counts_add_up() {
        let (page, documents) = (page().unwrap(), read().unwrap());
        for document in &documents.documents {
            let (_, own) = page.split_once(&format!("\n## {}\n", document.title)).unwrap();
            let own = own.split("\n## ").next().unwrap();
            for statement in &document.statements {
                assert!(own.contains(&format!("\n| {} | ", statement.id)), "{}", statement.id);
            }
            let [covered, cannot, not_yet] = counts(std::slice::from_ref(document));
            assert_eq!(covered + cannot + not_yet, document.statements.len());
            assert!(page.contains(&format!("](#{}) | {} |", document.id, document.statements.len())));
        }
    }

    #[test]
    fn an_answer_names_what_covers_it() {
        let mut statement = Statement {
            rules: vec!["a".to_owned(), "b".to_owned()],
            steps: vec!["Master".to_owned()],
            fields: vec!["spec.mode".to_owned()],
            how: Some("so it does".to_owned()),
            ..Statement::default()
        };
        assert_eq!(
            answer(&statement).unwrap(),
            "rules `a`, `b`; step `Master`; field `spec.mode`: so it does"
        );
        statement.reason = Some("no".to_owned());
        assert!(answer(&statement).is_err());
        let missing = Statement {
            not_yet: Some("a thing".to_owned()),
            ..Statement::default()
        };
        assert_eq!(answer(&missing).unwrap(), "**not yet**: a thing");
    }
}
