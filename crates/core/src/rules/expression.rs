//! CEL expressions of rules: compiled once, and refused if they could look at anything that has no schema. Pure.

use std::collections::BTreeSet;

use kube_cel::cel::Program;
use kube_cel::cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, operators};

use super::facts::{Facts, SpecFacts};
use super::functions::{FUNCTIONS, HOP_FIELDS, RELEASE_FIELDS, RELEASES};
use super::kind::ItemKind;
use super::schema::FieldSpec;
use super::vocabulary::Vocabulary;

/// Longest source, in bytes.
const SOURCE_BYTES: usize = 1024;
/// Most operators, dots and brackets outside of texts. Parser and evaluation go deeper for each, and the stack of a worker
/// thread is small.
const PARTS: usize = 64;
/// Most commas outside of texts: lists are looped over, and loops may stand in each other.
const COMMAS: usize = 64;
/// Most brackets in each other: for these the parser goes far deeper.
const BRACKETS: usize = 6;
/// Deepest loop in a loop: each one multiplies what one evaluation costs.
const LOOPS: usize = 2;

/// A compiled expression and the fields that it reads.
#[derive(Debug)]
pub(super) struct Expression {
    /// As it stands in the catalogue.
    pub(super) source: String,
    pub(super) program: Program,
    /// Fields of the item.
    pub(super) it: Vec<FieldSpec>,
    /// Fields of the request.
    pub(super) spec: Vec<FieldSpec>,
}

impl Expression {
    /// Compiles `source` for items of `kind`.
    pub(super) fn compile(source: &str, kind: ItemKind, vocabulary: &Vocabulary) -> Result<Self, String> {
        check_size(source)?;
        let program = Program::compile(source).map_err(|error| format!("`{source}` is no CEL expression: {error}"))?;
        let fields = vocabulary.schema(kind);
        let mut reads = Reads {
            kind,
            fields: &fields,
            lists: &vocabulary.lists,
            it: BTreeSet::new(),
            spec: BTreeSet::new(),
            loops: 0,
        };
        reads
            .walk(program.expression(), &mut Vec::new())
            .map_err(|reason| format!("`{source}`: {reason}"))?;
        let (it, spec) = (reads.it, reads.spec);
        let chosen = |all: Vec<FieldSpec>, names: &BTreeSet<String>| {
            all.into_iter().filter(|field| names.contains(&field.name)).collect()
        };
        Ok(Self {
            source: source.to_owned(),
            it: chosen(fields, &it),
            spec: chosen(SpecFacts::schema(), &spec),
            program,
        })
    }
}

/// Refuses what the parser might not survive.
fn check_size(source: &str) -> Result<(), String> {
    let (mut quote, mut depth, mut deepest, mut parts, mut commas) = (None, 0_usize, 0, 0, 0);
    for byte in source.bytes() {
        match byte {
            b'\'' | b'"' if quote.is_none() => quote = Some(byte),
            _ if quote == Some(byte) => quote = None,
            _ if quote.is_some() => continue,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
        commas += usize::from(byte == b',');
        parts += usize::from(b"+-*/%<>=!&|?:.([{".contains(&byte));
    }
    // With these a text could end elsewhere than it seems, and its parts would not be counted.
    if ["\\", "'''", "\"\"\""].iter().any(|odd| source.contains(odd)) {
        return Err("backslashes and triple quotes are refused".to_owned());
    }
    let limits = [
        (source.len(), SOURCE_BYTES, "bytes"),
        (parts, PARTS, "operators, dots and brackets"),
        (commas, COMMAS, "commas"),
        (deepest, BRACKETS, "brackets in each other"),
    ];
    limits.into_iter().try_for_each(|(found, most, what)| {
        (found <= most)
            .then_some(())
            .ok_or_else(|| format!("has more than {most} {what}"))
    })
}

/// Names of the variables; a macro variable must not hide one of them.
const VARIABLES: [&str; 4] = ["it", "spec", "hop", "release"];

/// Operators that turn a missing value into one, or that reach where the schema does not.
const REFUSED_OPERATORS: [&str; 2] = [operators::OPT_INDEX, operators::OPT_SELECT];

struct Reads<'a> {
    kind: ItemKind,
    /// Fields of the kind.
    fields: &'a [FieldSpec],
    /// Lists of releases.
    lists: &'a BTreeSet<String>,
    it: BTreeSet<String>,
    spec: BTreeSet<String>,
    /// Loops around the node that is looked at.
    loops: usize,
}

impl Reads<'_> {
    fn walk(&mut self, node: &IdedExpr, locals: &mut Vec<String>) -> Result<(), String> {
        match &node.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) if locals.contains(name) => Ok(()),
            Expr::Ident(name) if VARIABLES.contains(&name.as_str()) => {
                Err(format!("`{name}` may only be used with a field"))
            }
            Expr::Ident(name) => Err(format!("unknown name `{name}`")),
            Expr::Select(select) if select.test => {
                Err("has() is refused: an unset field is null, a missing one was not read".to_owned())
            }
            Expr::Select(select) => self.field(&select.operand, &select.field),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.walk(element, locals)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(pair) => self
                    .walk(&pair.key, locals)
                    .and_then(|()| self.walk(&pair.value, locals)),
                EntryExpr::StructField(_) => Err("structures are not supported".to_owned()),
            }),
            Expr::Call(call) => {
                self.function(&call.func_name, call.target.as_deref(), locals)?;
                call.args.iter().try_for_each(|argument| self.walk(argument, locals))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, locals),
            Expr::Struct(_) | Expr::Unspecified => Err("structures are not supported".to_owned()),
        }
    }

    fn function(&mut self, name: &str, target: Option<&IdedExpr>, locals: &mut Vec<String>) -> Result<(), String> {
        if REFUSED_OPERATORS.contains(&name) {
            return Err("optional access is refused: every field of the schema is there".to_owned());
        }
        if name == operators::NEGATE {
            // The evaluation panics where the result does not fit; the subtraction says so.
            return Err("negation is refused: write 0 - x".to_owned());
        }
        if name == "accepts" {
            return match target {
                Some(release) if release_side(release).is_some() => Ok(()),
                _ => Err("accepts() belongs to release.from or release.to".to_owned()),
            };
        }
        // Operators have names like `_&&_`; whatever else is a name must be a function that exists.
        if name.starts_with(|letter: char| letter.is_ascii_alphabetic()) && !FUNCTIONS.contains(&name) {
            return Err(format!("unknown function `{name}`"));
        }
        target.map_or(Ok(()), |target| self.walk(target, locals))
    }

    fn field(&mut self, operand: &IdedExpr, field: &str) -> Result<(), String> {
        let exists = |table: &[FieldSpec]| table.iter().any(|candidate| candidate.name == field);
        match &operand.expr {
            Expr::Ident(name) if name == "it" && exists(self.fields) => self.it.extend([field.to_owned()]),
            Expr::Ident(name) if name == "it" => {
                return Err(format!("`it.{field}` is not in the schema of {}", self.kind));
            }
            Expr::Ident(name) if name == "spec" && exists(&SpecFacts::schema()) => self.spec.extend([field.to_owned()]),
            Expr::Ident(name) if name == "hop" && HOP_FIELDS.contains(&field) => {}
            Expr::Ident(name) if VARIABLES.contains(&name.as_str()) => {
                return Err(format!("`{name}.{field}` does not exist"));
            }
            _ => match release_side(operand) {
                Some(_) if RELEASE_FIELDS.contains(&field) || self.lists.contains(field) => {}
                Some(side) => return Err(format!("`release.{side}.{field}` does not exist")),
                None => return Err(format!("`.{field}` of something that has no fields")),
            },
        }
        Ok(())
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr, locals: &mut Vec<String>) -> Result<(), String> {
        self.walk(&comprehension.iter_range, locals)?;
        self.walk(&comprehension.accu_init, locals)?;
        let before = locals.len();
        let names = [
            Some(&comprehension.iter_var),
            comprehension.iter_var2.as_ref(),
            Some(&comprehension.accu_var),
        ];
        for name in names.into_iter().flatten() {
            if VARIABLES.contains(&name.as_str()) {
                return Err(format!("a macro variable must not be called `{name}`"));
            }
            locals.push(name.clone());
        }
        let parts = [
            &comprehension.loop_cond,
            &comprehension.loop_step,
            &comprehension.result,
        ];
        self.loops += 1;
        if self.loops > LOOPS {
            return Err(format!("more than {LOOPS} loops in each other"));
        }
        let outcome = parts.into_iter().try_for_each(|part| self.walk(part, locals));
        self.loops -= 1;
        locals.truncate(before);
        outcome
    }
}

/// `from` or `to` if the node is `release.from` or `release.to`.
fn release_side(node: &IdedExpr) -> Option<&str> {
    let Expr::Select(select) = &node.expr else { return None };
    let of_release = matches!(&select.operand.expr, Expr::Ident(name) if name == "release");
    (of_release && !select.test && RELEASES.contains(&select.field.as_str())).then_some(select.field.as_str())
}
