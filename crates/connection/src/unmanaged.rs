//! Objects as JSON without their managed fields, which are up to half of an object and which nobody here looks at. Pure.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// A JSON object without the managed fields of its metadata: those are passed over and never built.
#[derive(Debug, Clone, PartialEq)]
pub struct Unmanaged(pub Value);

impl<'de> Deserialize<'de> for Unmanaged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Members(Place::Object).deserialize(deserializer).map(Self)
    }
}

#[derive(Clone, Copy)]
enum Place {
    Object,
    Metadata,
}

/// Reads all members of an object, or of its metadata.
struct Members(Place);

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = match (self.0, key.as_str()) {
                (Place::Object, "metadata") => members.next_value_seed(Members(Place::Metadata))?,
                (Place::Metadata, "managedFields") => {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
                _ => members.next_value()?,
            };
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_managed_fields_of_the_object_itself_are_left_out() {
        let text = json!({"metadata": {"name": "a", "managedFields": [{"fieldsV1": {"f:spec": {}}}], "labels": {"b": "c"}},
            "spec": {"managedFields": 1, "metadata": {"managedFields": [2]}}});
        let Unmanaged(read) = serde_json::from_str(&text.to_string()).unwrap();
        let expected = json!({"metadata": {"name": "a", "labels": {"b": "c"}},
            "spec": {"managedFields": 1, "metadata": {"managedFields": [2]}}});
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let deep = format!("{{\"spec\": {}{}}}", "[".repeat(200), "]".repeat(200));
        for text in ["[]", "null", "{\"metadata\": 1}", "{} {}", "{", &deep] {
            assert!(serde_json::from_str::<Unmanaged>(text).is_err(), "{text}");
        }
    }
}
