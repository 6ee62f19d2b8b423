//! `lint`: is a KKPUpgrade right, as far as that can be told without a cluster: schema, admission rules, and what the operator
//! itself asks of a spec. Talks to no cluster; reads the files that it is given.

mod admission;
mod documents;
mod schema;
mod spec;

use std::fmt;

use kkp_upgrade_api::{GROUP, KIND, VERSION};
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::{LintArguments, LintOutput};
use crate::console::{Console, Mark};
use crate::exit::Exit;
use crate::failure::Failure;

use documents::{Document, documents};

/// Something that is wrong with a KKPUpgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Mistake {
    /// Path of the field, for example `spec.acceptedRisks[0].rule`; empty = the object.
    pub(crate) field: String,
    /// What is wrong.
    pub(crate) problem: String,
    /// What to do.
    pub(crate) remedy: String,
}

impl Mistake {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(formatter, "{}: {}", self.problem, self.remedy)
        } else {
            write!(formatter, "{}: {}: {}", self.field, self.problem, self.remedy)
        }
    }
}

/// One KKPUpgrade, checked.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Checked {
    /// Number of its document in the file, from 1; empty documents do not count.
    document: usize,
    name: String,
    problems: Vec<Mistake>,
    #[serde(skip)]
    object: Value,
}

/// One file, checked.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Linted {
    file: String,
    documents: Vec<Checked>,
    /// What was not checked, and why.
    notes: Vec<String>,
}

impl Linted {
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Mistake> {
        self.documents.iter().flat_map(|checked| &checked.problems)
    }

    /// The KKPUpgrades as they stand in the file.
    pub(crate) fn into_objects(self) -> Vec<Value> {
        self.documents.into_iter().map(|checked| checked.object).collect()
    }
}

/// Checks files and shows what is wrong.
pub(crate) fn run(arguments: &LintArguments, console: &mut Console) -> Result<Exit, Failure> {
    let files = arguments
        .filename
        .iter()
        .map(|file| check(file, console))
        .collect::<Result<Vec<_>, _>>()?;
    let valid = files.iter().all(|file| file.problems().next().is_none());
    match arguments.output {
        LintOutput::Json => {
            let skipped = admission::skipped();
            let document = json!({"valid": valid, "files": files, "notChecked": skipped});
            let text = serde_json::to_string_pretty(&document).unwrap_or_default();
            console.data(&text);
        }
        LintOutput::Text => files.iter().for_each(|file| tell(file, console)),
    }
    Ok(if valid { Exit::Done } else { Exit::Blocked })
}

fn tell(file: &Linted, console: &mut Console) {
    for checked in &file.documents {
        let place = format!(
            "{}: document {}: KKPUpgrade {}",
            file.file, checked.document, checked.name
        );
        if checked.problems.is_empty() {
            let good = console.marked(Mark::Good, "VALID");
            console.print(&format!("{good}  {place}"));
            continue;
        }
        let bad = console.marked(Mark::Bad, "INVALID");
        console.print(&format!("{bad}  {place}"));
        for problem in &checked.problems {
            console.print(&format!("  {problem}"));
        }
    }
    for note in &file.notes {
        console.say(&format!("note: {}: {note}", file.file));
    }
    let skipped = admission::skipped();
    if !skipped.is_empty() {
        let fields: Vec<&str> = skipped.iter().map(|rule| rule.field.as_str()).collect();
        console.say(&format!(
            "note: not checked, because they compare an object with what it was before: {} admission rules ({})",
            fields.len(),
            fields.join(", ")
        ));
    }
}

/// Checks a file; `-` is standard input.
///
/// # Errors
/// A file that cannot be read, is no YAML, or holds no KKPUpgrade.
pub(crate) fn check(file: &str, console: &mut Console) -> Result<Linted, Failure> {
    let text = read(file, console)?;
    let (mut checked, mut notes) = (Vec::new(), Vec::new());
    for Document { number, object } in documents(file, &text)? {
        if !is_ours(&object) {
            let kind = object
                .get("kind")
                .and_then(Value::as_str)
                .unwrap_or("something without a kind");
            notes.push(format!("document {number} is ignored: {kind}"));
            continue;
        }
        if object.get("status").is_some() {
            notes.push(format!(
                "document {number}: status is ignored, as the API server does when an object is applied"
            ));
        }
        checked.push(Checked {
            document: number,
            name: name(&object),
            problems: problems(&object),
            object,
        });
    }
    if checked.is_empty() {
        return Err(
            Failure::new(Exit::Blocked, format!("{} holds no KKPUpgrade", shown(file)))
                .hint(format!("it needs apiVersion: {GROUP}/{VERSION} and kind: {KIND}")),
        );
    }
    Ok(Linted {
        file: shown(file).to_owned(),
        documents: checked,
        notes,
    })
}

/// What a file is called.
pub(crate) fn shown(file: &str) -> &str {
    if file == "-" { "standard input" } else { file }
}

fn read(file: &str, console: &mut Console) -> Result<String, Failure> {
    let text = if file == "-" {
        console.read_input()
    } else {
        std::fs::File::open(file).and_then(|mut open| crate::console::bounded(&mut open))
    };
    text.map_err(|error| Failure::new(Exit::Usage, format!("{} cannot be read: {error}", shown(file))))
}

/// A KKPUpgrade of any version: one of a wrong version is a problem, not another kind.
fn is_ours(object: &Value) -> bool {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    text("kind") == KIND || text("apiVersion").starts_with(&format!("{GROUP}/"))
}

fn name(object: &Value) -> String {
    let metadata = |key: &str| object.pointer(&format!("/metadata/{key}")).and_then(Value::as_str);
    let name = metadata("name")
        .or(metadata("generateName"))
        .unwrap_or("without a name");
    match metadata("namespace") {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// Everything that is wrong with one object. What the operator asks is asked of a spec that the API server would take.
fn problems(object: &Value) -> Vec<Mistake> {
    let mut problems = schema::problems(object);
    problems.extend(admission::problems(object));
    if problems.is_empty() {
        problems = spec::problems(object);
    }
    problems
}
