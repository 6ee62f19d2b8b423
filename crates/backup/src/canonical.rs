//! One JSON text per object, always the same for the same content, and its digest.
//!
//! RFC 8785, except for integers that a double cannot hold: those keep all their digits, because a backup must not
//! lose any. Talks to nothing. Must never round a number.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The canonical text of a JSON value.
///
/// # Errors
/// Only when a number is not finite, which JSON cannot express in the first place.
pub fn canonical_json(value: &Value) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = Vec::new();
    write_value(value, &mut text)?;
    Ok(text)
}

/// sha256 in lower-case hexadecimal, with the algorithm in front as in `sha256:1f…`.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    render_digest(Sha256::new_with_prefix(bytes))
}

/// sha256 in hexadecimal alone, as in a ledger.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    digest(bytes).replace("sha256:", "")
}

/// Ends a running sha256.
pub(crate) fn render_digest(state: Sha256) -> String {
    use std::fmt::Write as _;
    state.finalize().iter().fold(String::from("sha256:"), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn write_value(value: &Value, text: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match value {
        Value::Object(members) => write_object(members, text)?,
        Value::Array(items) => {
            text.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                write_value(item, text)?;
            }
            text.push(b']');
        }
        Value::Number(number) if number.is_f64() => {
            text.extend(serde_json_canonicalizer::to_vec(number)?);
        }
        Value::Number(number) => text.extend(number.to_string().into_bytes()),
        Value::String(_) | Value::Bool(_) | Value::Null => serde_json::to_writer(text, value)?,
    }
    Ok(())
}

fn write_object(members: &Map<String, Value>, text: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    // RFC 8785 sorts by UTF-16 code units, not by bytes; of ASCII, which nearly every name is, both orders are the same.
    sorted.sort_by(|(left, _), (right, _)| {
        if left.is_ascii() && right.is_ascii() {
            left.cmp(right)
        } else {
            left.encode_utf16().cmp(right.encode_utf16())
        }
    });
    text.push(b'{');
    for (index, (name, member)) in sorted.into_iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        serde_json::to_writer(&mut *text, name)?;
        text.push(b':');
        write_value(member, text)?;
    }
    text.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn integers_beyond_a_double_keep_their_digits() {
        let value = json!({"b": i64::MAX, "a": u64::MAX, "c": 9_007_199_254_740_993_i64});
        assert_eq!(
            String::from_utf8(canonical_json(&value).unwrap()).unwrap(),
            r#"{"a":18446744073709551615,"b":9223372036854775807,"c":9007199254740993}"#
        );
    }

    #[test]
    fn keys_are_sorted_by_utf16() {
        // U+1F600 is a surrogate pair (d83d …) and so sorts before U+FB33, although its bytes are larger.
        let value = json!({"\u{fb33}": 1, "\u{1f600}": 2, "a": 3});
        let text = String::from_utf8(canonical_json(&value).unwrap()).unwrap();
        assert_eq!(text, "{\"a\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}");
    }

    #[test]
    fn digest_of_nothing_is_the_known_one() {
        assert_eq!(
            digest(b""),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    proptest! {
        #[test]
        fn reading_it_back_gives_the_same_value(value in any_json()) {
            let text = canonical_json(&value).unwrap();
            let again: Value = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!(canonical_json(&again).unwrap(), text);
        }

        #[test]
        fn agrees_with_rfc_8785_where_a_double_is_enough(
            members in prop::collection::hash_map(any::<String>(), -(1_i64 << 53)..(1_i64 << 53), 0..8),
            float in any::<f64>(), text in any::<String>(),
        ) {
            let value = json!({"members": members, "float": float, "text": text});
            prop_assert_eq!(canonical_json(&value).unwrap(), serde_json_canonicalizer::to_vec(&value).unwrap());
        }
    }
}
