//! Rows of the analysis of the source documents (tables of its sections 5 to 7) against the checklist. Talks to no cluster.
//!
//! The analysis is no part of the repository: who has it names its file.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;

use super::documents::Documents;

/// Sections whose tables are rows of the checklist.
const SECTIONS: std::ops::RangeInclusive<u32> = 5..=7;

/// One row of a table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    /// Section, number of the table in it, number of the row in that: `6.2-03`.
    id: String,
    /// Its first cell.
    text: String,
}

/// What the analysis in `file` has and the checklist has not, and the other way round, a line each.
///
/// # Errors
/// When the file cannot be read, or holds no such tables.
pub(super) fn differences(documents: &Documents, file: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let rows = rows(&text);
    anyhow::ensure!(
        !rows.is_empty(),
        "{}: no tables in sections {} to {}",
        file.display(),
        SECTIONS.start(),
        SECTIONS.end()
    );
    Ok(compare(documents, &rows))
}

fn compare(documents: &Documents, rows: &[Row]) -> Vec<String> {
    let statements = documents.documents.iter().flat_map(|document| &document.statements);
    let named: BTreeSet<&String> = statements.flat_map(|statement| &statement.rows).collect();
    let there: BTreeSet<&String> = rows.iter().map(|row| &row.id).collect();
    let missing = rows.iter().filter(|row| !named.contains(&row.id));
    let missing = missing.map(|row| format!("row {} is in no statement: {}", row.id, row.text));
    let gone = named.iter().filter(|id| !there.contains(*id));
    missing
        .chain(gone.map(|id| format!("row {id} is named by a statement and is not in the analysis")))
        .collect()
}

fn rows(text: &str) -> Vec<Row> {
    let mut found = Vec::new();
    let (mut section, mut table, mut line_of_table) = (0, 0, 0);
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let number = heading.split('.').next().unwrap_or_default();
            (section, table) = (number.parse().unwrap_or(0), 0);
        }
        let Some(cells) = line.strip_prefix('|') else {
            line_of_table = 0;
            continue;
        };
        line_of_table += 1;
        table += u32::from(line_of_table == 1);
        // Two lines of head: names and dashes.
        if SECTIONS.contains(&section) && line_of_table > 2 {
            let text = cells.split('|').next().unwrap_or_default().trim().to_owned();
            let id = format!("{section}.{table}-{:02}", line_of_table - 2);
            found.push(Row { id, text });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::documents::{Document, Statement};
    use super::*;

    const TEXT: &str = "# Title\n\n## 4. Other\n\n| a | b |\n|---|---|\n| left out | x |\n\n## 6. Mapping\n\n**One**\n\n\
                        | Statement | Records |\n|---|---|\n| first | x |\n| second | y |\n\n**Two**\n\n\
                        | Statement | Records |\n|---|---|\n| third | z |\n\n## 8. After\n\n| a |\n|---|\n| left out |\n";

    fn naming(rows: &[&str]) -> Documents {
        let statement = Statement {
            rows: rows.iter().map(ToString::to_string).collect(),
            ..Statement::default()
        };
        Documents {
            documents: vec![Document {
                id: "d1".to_owned(),
                title: String::new(),
                hop: None,
                address: None,
                statements: vec![statement],
            }],
        }
    }

    #[test]
    fn rows_are_numbered_by_section_and_table() {
        let ids: Vec<(String, String)> = rows(TEXT).into_iter().map(|row| (row.id, row.text)).collect();
        let wanted = [("6.1-01", "first"), ("6.1-02", "second"), ("6.2-01", "third")];
        assert_eq!(ids, wanted.map(|(id, text)| (id.to_owned(), text.to_owned())));
    }

    #[test]
    fn rows_without_a_statement_and_statements_without_a_row_are_named() {
        let all = naming(&["6.1-01", "6.1-02", "6.2-01"]);
        assert_eq!(compare(&all, &rows(TEXT)), Vec::<String>::new());
        let other = naming(&["6.1-01", "6.2-01", "6.2-02"]);
        assert_eq!(
            compare(&other, &rows(TEXT)),
            [
                "row 6.1-02 is in no statement: second",
                "row 6.2-02 is named by a statement and is not in the analysis"
            ]
        );
    }

    #[test]
    fn a_file_without_such_tables_is_refused() {
        let error = differences(
            &naming(&[]),
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
        );
        assert!(error.unwrap_err().to_string().contains("no tables in sections 5 to 7"));
    }
}
