//! Objects and texts without what differs from run to run: times, UIDs, hashes. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

/// Fields of metadata that the API server makes up. Generations among them: how many changes of KKP became one write depends
/// on the moment, and what the operator writes is counted elsewhere.
const MADE_UP: [&str; 6] = [
    "generation",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "selfLink",
];

/// Times that come and go with conditions, and say nothing once they are normal.
const TIMES: [&str; 2] = ["lastTransitionTime", "lastHeartbeatTime"];

/// Fields with numbers that are measured: how long a hop took, how large an encrypted archive is. Clean runs may agree on them by
/// chance, so that no mask can be learned from those; how many there are still counts.
const MEASURED: [&str; 2] = ["hopSeconds", "bytes"];

/// The leaves of an object by path, with normal texts.
#[must_use]
pub fn leaves(object: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(object, "", &mut found);
    found
}

fn collect(value: &Value, path: &str, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if (path == "/metadata" && MADE_UP.contains(&key.as_str())) || TIMES.contains(&key.as_str()) {
                    continue;
                }
                collect(value, &format!("{path}/{}", text(key)), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect(value, &format!("{path}/{index}"), found);
            }
        }
        Value::String(string) => {
            found.insert(path.to_owned(), text(string));
        }
        Value::Null => {}
        Value::Number(_) if path.split('/').any(|name| MEASURED.contains(&name)) => {
            found.insert(path.to_owned(), "<measured>".to_owned());
        }
        other => {
            found.insert(path.to_owned(), other.to_string());
        }
    }
}

/// A text without times, UIDs and digests.
#[must_use]
pub fn text(text: &str) -> String {
    let mut normal = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let begins = !normal.chars().next_back().is_some_and(char::is_alphanumeric);
        let found = begins
            .then(|| {
                time(rest)
                    .or_else(|| uid(rest))
                    .or_else(|| port(rest))
                    .or_else(|| hash(rest))
            })
            .flatten();
        if let Some((name, length)) = found {
            normal.push_str(name);
            rest = rest.get(length..).unwrap_or_default();
        } else {
            normal.push(letter);
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        }
    }
    normal
}

/// Whether the start of a text looks like a pattern: `0` a digit, `x` a hexadecimal digit, everything else itself.
fn looks_like(text: &str, pattern: &str) -> bool {
    let mut letters = text.chars();
    pattern.chars().all(|wanted| {
        letters.next().is_some_and(|letter| match wanted {
            '0' => letter.is_ascii_digit(),
            'x' => letter.is_ascii_hexdigit(),
            other => letter == other,
        })
    })
}

fn time(text: &str) -> Option<(&'static str, usize)> {
    if !looks_like(text, "0000-00-00T00:00:00") {
        return None;
    }
    let rest = text.get(19..)?;
    let fraction = rest.find(|letter: char| letter != '.' && !letter.is_ascii_digit());
    let length = 19 + fraction.unwrap_or(rest.len());
    let zone = usize::from(text.get(length..)?.starts_with('Z'));
    Some(("<time>", length + zone))
}

fn uid(text: &str) -> Option<(&'static str, usize)> {
    looks_like(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx").then_some(("<uid>", 36))
}

/// The address of an API server of the lab.
fn port(text: &str) -> Option<(&'static str, usize)> {
    let digits = text.strip_prefix("127.0.0.1:")?;
    let length = digits
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(digits.len());
    (length > 0).then_some(("<server>", "127.0.0.1:".len() + length))
}

fn hash(text: &str) -> Option<(&'static str, usize)> {
    let length = text
        .find(|letter: char| !letter.is_ascii_alphanumeric())
        .unwrap_or(text.len());
    let word = text.get(..length)?;
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let random = |letter: char| "bcdfghjklmnpqrstvwxz2456789".contains(letter);
    let is_hash = length >= 8 && word.chars().all(|letter| letter.is_ascii_hexdigit()) && digits > 0;
    let is_replica_set = (8..=10).contains(&length) && word.chars().all(random) && digits > 0;
    (is_hash || is_replica_set).then_some(("#", length))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_gone() {
        assert_eq!(text("since 2026-11-21T06:56:15.123456Z, at"), "since <time>, at");
        assert_eq!(text("Pod 1b4e28ba-2fa1-11d2-883f-0016d3cca427/x"), "Pod <uid>/x");
        assert_eq!(text("kkpu-installer-0a1b2c3d4e"), "kkpu-installer-#");
        assert_eq!(text("https://127.0.0.1:41234/x"), "https://<server>/x");
        assert_eq!(text("sha256:0123456789abcdef"), "sha256:#");
        for plain in ["2.31.0", "kubermatic-001", "deadline", "backed up 12 objects", "é 1"] {
            assert_eq!(text(plain), plain);
        }
    }

    #[test]
    fn what_is_measured_is_no_difference_and_how_often_it_is_one() {
        let run = |seconds: &[i64], bytes: i64| {
            leaves(&json!({"history": [{"hopSeconds": seconds}], "backup": {"bytes": bytes}}))
        };
        assert_eq!(run(&[33], 1), run(&[57], 2));
        assert_ne!(run(&[33], 1), run(&[33, 57], 1));
        assert_ne!(run(&[33], 1), run(&[], 1));
    }

    #[test]
    fn an_object_is_its_leaves() {
        let object = json!({"metadata": {"name": "a", "uid": "x"}, "spec": {"list": [1, "b"], "nothing": null}});
        let found: Vec<_> = leaves(&object).into_iter().collect();
        let wanted = [("/metadata/name", "a"), ("/spec/list/0", "1"), ("/spec/list/1", "b")];
        assert_eq!(found, wanted.map(|(path, value)| (path.to_owned(), value.to_owned())));
    }
}
