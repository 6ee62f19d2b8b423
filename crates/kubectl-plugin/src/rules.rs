//! `rules`: lists the compiled-in rules and explains one. Talks to no cluster.

use std::fmt::Write as _;

use kkp_upgrade_core::rules::{Catalogue, Rule, Severity};
use serde::Serialize;

use crate::arguments::{RulesArguments, RulesOutput};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;

/// How like an id a text must be to be meant by it, 0 to 1.
const LIKENESS: f64 = 0.75;
/// Most ids that are proposed.
const PROPOSALS: usize = 3;

/// A rule in a list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    id: &'a str,
    hop: &'a str,
    stage: String,
    severity: Severity,
    acceptable: bool,
    title: &'a str,
}

/// A rule explained.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation<'a> {
    #[serde(flatten)]
    entry: Entry<'a>,
    /// Kind of item that it looks at.
    each: String,
    /// CEL: does it concern the item.
    when: &'a str,
    /// CEL: is it a finding.
    fail: &'a str,
    reads: Vec<Read>,
    remedy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    /// Snippet of a spec that accepts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    accept: Option<String>,
}

/// A field that decides a rule.
#[derive(Serialize)]
struct Read {
    field: String,
    docs: String,
}

/// Lists the rules, or explains one.
pub(crate) fn run(arguments: &RulesArguments, console: &mut Console) -> Result<Exit, Failure> {
    let catalogue = Catalogue::embedded()
        .map_err(|error| Failure::new(Exit::Unexpected, format!("the compiled-in catalogue: {error}")))?;
    if let Some(id) = &arguments.id {
        let rule = catalogue.rule(id).ok_or_else(|| unknown(catalogue, id))?;
        let explanation = explanation(catalogue, rule);
        show(&explanation, arguments.output, console, |_| page(&explanation))?;
    } else {
        let entries = chosen(catalogue, arguments)?;
        show(&entries, arguments.output, console, |console| list(&entries, console))?;
    }
    Ok(Exit::Done)
}

fn show<T: Serialize>(
    value: &T,
    output: RulesOutput,
    console: &mut Console,
    table: impl Fn(&Console) -> String,
) -> Result<(), Failure> {
    let broken = |error: String| Failure::new(Exit::Unexpected, format!("the rules cannot be written: {error}"));
    match output {
        RulesOutput::Table => {
            let text = table(console);
            console.print(&text);
        }
        RulesOutput::Json => {
            let text = serde_json::to_string_pretty(value).map_err(|error| broken(error.to_string()))?;
            console.data(&text);
        }
        RulesOutput::Yaml => {
            let text = serde_saphyr::to_string(value).map_err(|error| broken(error.to_string()))?;
            console.data(&text);
        }
    }
    Ok(())
}

fn entry(rule: &Rule) -> Entry<'_> {
    Entry {
        id: &rule.id,
        hop: rule.hop.as_deref().unwrap_or("any"),
        stage: rule.stage.to_string(),
        severity: rule.severity,
        acceptable: rule.acceptable,
        title: &rule.title,
    }
}

fn chosen<'a>(catalogue: &'a Catalogue, arguments: &RulesArguments) -> Result<Vec<Entry<'a>>, Failure> {
    let hop = arguments.hop.as_deref().map(|hop| minor(catalogue, hop)).transpose()?;
    let concerns = |rule: &Rule| match &hop {
        None => true,
        Some(hop) => rule.hop.as_ref().is_none_or(|own| own == hop),
    };
    let severity = arguments.severity.map(Severity::from);
    let rules = catalogue.rules().iter();
    Ok(rules
        .filter(|rule| concerns(rule) && severity.is_none_or(|severity| rule.severity == severity))
        .map(entry)
        .collect())
}

/// `any`, or the minor of a version that the catalogue knows.
fn minor(catalogue: &Catalogue, hop: &str) -> Result<String, Failure> {
    let known = |minor: &str| {
        catalogue
            .releases()
            .iter()
            .any(|release| release.version.minor_line() == minor)
    };
    let text = hop.trim_start_matches('v');
    let minor: String = text.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    if text == "any" || known(&minor) {
        return Ok(if text == "any" { text.to_owned() } else { minor });
    }
    let mut minors: Vec<String> = catalogue
        .releases()
        .iter()
        .map(|release| release.version.minor_line())
        .collect();
    minors.dedup();
    Err(Failure::new(
        Exit::Usage,
        format!("--hop: `{hop}` is no minor that the catalogue knows"),
    )
    .hint(format!("choose any, or one of {}", minors.join(", "))))
}

fn list(entries: &[Entry<'_>], console: &Console) -> String {
    let rows = entries.iter().map(|entry| {
        vec![
            entry.id.to_owned(),
            entry.hop.to_owned(),
            entry.stage.clone(),
            entry.severity.to_string(),
            if entry.acceptable { "yes" } else { "no" }.to_owned(),
            entry.title.to_owned(),
        ]
    });
    console.table(&["ID", "HOP", "STAGE", "SEVERITY", "ACCEPTABLE", "TITLE"], rows)
}

fn unknown(catalogue: &Catalogue, id: &str) -> Failure {
    let mut like: Vec<(f64, &str)> = catalogue
        .rules()
        .iter()
        .map(|rule| (likeness(&rule.id, id), rule.id.as_str()))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .collect();
    like.sort_by(|one, other| other.0.total_cmp(&one.0));
    let near: Vec<&str> = like.into_iter().take(PROPOSALS).map(|(_, id)| id).collect();
    let hint = if near.is_empty() {
        "kubectl kkp-upgrade rules lists all of them".to_owned()
    } else {
        format!("did you mean {}?", near.join(", "))
    };
    Failure::new(Exit::NotFound, format!("there is no rule `{id}`")).hint(hint)
}

/// A part of an id is as like it as can be.
fn likeness(id: &str, text: &str) -> f64 {
    if text.len() > 3 && id.contains(text) {
        return 1.0;
    }
    strsim::jaro_winkler(id, text)
}

fn explanation<'a>(catalogue: &Catalogue, rule: &'a Rule) -> Explanation<'a> {
    let fields = catalogue.vocabulary().schema(rule.each);
    let reads = rule.reads().into_iter().map(|name| Read {
        field: name.to_owned(),
        docs: fields
            .iter()
            .find(|field| field.name == name)
            .map(|field| field.docs.clone())
            .unwrap_or_default(),
    });
    Explanation {
        entry: entry(rule),
        each: rule.each.to_string(),
        when: rule.when(),
        fail: rule.fail(),
        reads: reads.collect(),
        remedy: &rule.remedy,
        docs: rule.docs.as_deref(),
        source: rule.source.as_deref(),
        accept: rule.acceptable.then(|| acceptance(&rule.id)),
    }
}

/// The time is left to who answers for it: no snippet can be pasted unread.
fn acceptance(rule: &str) -> String {
    format!(
        "spec:\n  acceptedRisks:\n    - rule: {rule}\n      # Default: every target; findings that cannot be decided are accepted by name only.\n      \
         targets: [as the finding names it]\n      reason: why it is acceptable\n      expirationTime: \"YYYY-MM-DDThh:mm:ssZ\"\n"
    )
}

/// Writing to a String cannot fail.
fn page(rule: &Explanation<'_>) -> String {
    let mut text = String::new();
    let Entry {
        id,
        hop,
        stage,
        severity,
        title,
        ..
    } = &rule.entry;
    let hop = if *hop == "any" {
        "on every hop".to_owned()
    } else {
        format!("on the hop to {hop}")
    };
    let _ = write!(
        text,
        "{id}: {title}\n\nSeverity:  {severity}, {hop}, in stage {stage}\nLooks at:  each {}\n",
        rule.each
    );
    let _ = write!(text, "Concerns:  {}\nFinding:   {}\n", rule.when, rule.fail);
    if !rule.reads.is_empty() {
        text.push_str("\nWhat it reads:\n");
        for read in &rule.reads {
            let _ = writeln!(text, "  it.{}: {}", read.field, read.docs);
        }
    }
    let _ = write!(text, "\nWhat to do: {}\n", rule.remedy);
    if let Some(docs) = rule.docs {
        let _ = writeln!(text, "More:       {docs}");
    }
    if let Some(source) = rule.source {
        let _ = writeln!(text, "Source:     {source}");
    }
    let consent = match &rule.accept {
        Some(snippet) => format!("It can be accepted, by whoever answers for it:\n\n{snippet}"),
        None => "It cannot be accepted: what it guards is not made safe by consent.\n".to_owned(),
    };
    let _ = write!(text, "\n{consent}");
    text
}
