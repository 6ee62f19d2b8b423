//! Small changes of a CEL expression: each comparison, clause, negation and literal once. Pure.

use std::ops::Range;

/// What a piece of an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Word,
    Operator,
}

/// A piece of an expression.
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    place: Range<usize>,
}

/// All changes of an expression, each as a whole expression.
pub(super) fn mutants(source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let mut changed = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let mut replace = |with: &str| changed.push(replaced(source, &token.place, with));
        match token.kind {
            Kind::Text => {
                let quote = token.text.get(..1).unwrap_or_default();
                replace(&format!("{}~{quote}", token.text.trim_end_matches(quote)));
            }
            Kind::Number => {
                if let Ok(number) = token.text.parse::<i64>() {
                    replace(&(number + 1).to_string());
                    // CEL has no negative literals here.
                    replace(&format!("({number} - 1)"));
                }
            }
            Kind::Word if token.text == "true" => replace("false"),
            Kind::Word if token.text == "false" => replace("true"),
            Kind::Word => {}
            Kind::Operator => operators(token.text).iter().for_each(|with| replace(with)),
        }
        if matches!(token.text, "&&" | "||") {
            changed.extend(without_clauses(source, &tokens, index));
        }
    }
    changed
}

/// What an operator is changed into.
fn operators(word: &str) -> &'static [&'static str] {
    match word {
        "==" => &["!="],
        "!=" => &["=="],
        "<" => &["<=", ">="],
        "<=" => &["<", ">"],
        ">" => &[">=", "<="],
        ">=" => &[">", "<"],
        "!" => &[""],
        _ => &[],
    }
}

fn replaced(source: &str, place: &Range<usize>, with: &str) -> String {
    let (before, after) = (source.get(..place.start), source.get(place.end..));
    format!("{}{with}{}", before.unwrap_or_default(), after.unwrap_or_default())
}

/// The expression without the clause on the left of an `&&` or `||`, and without the one on its right.
fn without_clauses(source: &str, tokens: &[Token<'_>], index: usize) -> Vec<String> {
    let (before, rest) = tokens.split_at(index);
    let Some((operator, after)) = rest.split_first() else {
        return Vec::new();
    };
    let left = edge(before.iter().rev(), operator.text, [")", "]"], ["(", "["]).map_or(0, |token| token.place.end);
    let right =
        edge(after.iter(), operator.text, ["(", "["], [")", "]"]).map_or(source.len(), |token| token.place.start);
    vec![
        replaced(source, &(left..operator.place.end), " "),
        replaced(source, &(operator.place.start..right), " "),
    ]
}

/// The token at which the clause beside an operator ends. `&&` binds closer than `||`: a clause of an `||` takes in every
/// `&&` beside it.
fn edge<'a>(
    tokens: impl Iterator<Item = &'a Token<'a>>,
    operator: &str,
    opening: [&str; 2],
    closing: [&str; 2],
) -> Option<&'a Token<'a>> {
    let mut depth = 0;
    for token in tokens {
        if opening.contains(&token.text) {
            depth += 1;
        } else if closing.contains(&token.text) {
            depth -= 1;
        }
        let ends = matches!(token.text, "," | "?" | ":" | "||") || (token.text == "&&" && operator == "&&");
        if depth < 0 || (depth == 0 && ends) {
            return Some(token);
        }
    }
    None
}

fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = source.get(at..)
        && let Some(first) = rest.chars().next()
    {
        let run = |wanted: fn(char) -> bool| rest.find(|letter| !wanted(letter)).unwrap_or(rest.len());
        let (kind, length) = match first {
            '\'' | '"' => {
                let inner = rest.get(1..).and_then(|inner| inner.find(first)).unwrap_or_default();
                (Kind::Text, inner + 2)
            }
            '0'..='9' => (Kind::Number, run(|letter| letter.is_ascii_digit())),
            'a'..='z' | 'A'..='Z' | '_' => (
                Kind::Word,
                run(|letter| letter.is_ascii_alphanumeric() || letter == '_'),
            ),
            letter if letter.is_whitespace() => {
                at += letter.len_utf8();
                continue;
            }
            letter => {
                let long = ["==", "!=", "<=", ">=", "&&", "||"]
                    .iter()
                    .any(|two| rest.starts_with(two));
                (Kind::Operator, if long { 2 } else { letter.len_utf8() })
            }
        };
        let place = at..(at + length).min(source.len());
        let text = source.get(place.clone()).unwrap_or_default();
        at = place.end;
        found.push(Token { kind, text, place });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str) -> Vec<String> {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        mutants(source).iter().map(|mutant| words(mutant)).collect()
    }

    #[test]
    fn each_comparison_literal_and_negation_is_changed_once() {
        assert_eq!(of("it.a == 'x'"), ["it.a != 'x'", "it.a == 'x~'"]);
        assert_eq!(of("it.a < 3"), ["it.a <= 3", "it.a >= 3", "it.a < 4", "it.a < (3 - 1)"]);
        assert_eq!(of("!it.a"), ["it.a"]);
    }

    #[test]
    fn each_clause_is_left_out_once() {
        assert_eq!(of("it.a && it.b"), ["it.b", "it.a"]);
        assert_eq!(
            of("it.a && it.b || it.c"),
            ["it.b || it.c", "it.a || it.c", "it.c", "it.a && it.b"]
        );
        assert_eq!(of("f(it.a || it.b)"), ["f( it.b)", "f(it.a )"]);
        assert_eq!(of("it.a && (it.b ? it.c : it.d)"), ["(it.b ? it.c : it.d)", "it.a"]);
    }
}
