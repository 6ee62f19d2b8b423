//! What makes a slim struct a Kubernetes object that `kube::Api` can read.
//!
//! Pure. The types read only: they are never sent back, so no field of KKP can get lost by a write.

use kube::api::ObjectMeta;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, IgnoredAny, IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::slice::{ReadPath, UnreadablePath};

/// API group of KKP's own kinds.
pub const GROUP: &str = "kubermatic.k8c.io";

/// Version of KKP's own kinds (2.23 to 2.31).
pub const VERSION: &str = "v1";

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A slim KKP object.
pub trait SlimObject: kube::Resource<DynamicType = ()> {
    /// All paths below `spec` and `status` that are read, with the type that is expected there.
    fn read_paths() -> Vec<ReadPath>;
    /// Everything in this object that has another type than expected.
    fn unreadable(&self) -> Vec<UnreadablePath>;
}

/// Metadata without managed fields, which nobody here reads and which are up to half of an object, and without the last applied
/// configuration, which holds secrets in clear text where a KubermaticConfiguration was applied by kubectl.
pub(crate) fn slim_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut metadata = deserializer.deserialize_map(MetadataVisitor)?;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    Ok(metadata)
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = ObjectMeta;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("metadata of an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<ObjectMeta, A::Error> {
        ObjectMeta::deserialize(MapAccessDeserializer::new(Unmanaged(members)))
    }
}

/// The members of metadata but the managed fields, which are passed over and never built.
struct Unmanaged<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Unmanaged<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.0.next_key::<String>()? {
            if key != "managedFields" {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
            self.0.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

/// Declares a KKP kind from its spec and its status.
macro_rules! object {
    ($(#[$attribute:meta])* $name:ident, $plural:literal, $scope:ty, $spec:ty, $status:ty) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        pub struct $name {
            /// Standard metadata; the API server has checked its types.
            #[serde(default, deserialize_with = "crate::types::object::slim_metadata")]
            pub metadata: kube::api::ObjectMeta,
            /// What is wanted.
            #[serde(default, deserialize_with = "crate::types::slice::Member::read")]
            pub spec: $spec,
            /// What KKP says there is.
            #[serde(default, deserialize_with = "crate::types::slice::Member::read")]
            pub status: $status,
        }

        impl kube::Resource for $name {
            type DynamicType = ();
            type Scope = $scope;
            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                stringify!($name).into()
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                crate::types::object::GROUP.into()
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                crate::types::object::VERSION.into()
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &kube::api::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut kube::api::ObjectMeta {
                &mut self.metadata
            }
        }

        impl crate::types::object::SlimObject for $name {
            fn read_paths() -> Vec<crate::types::slice::ReadPath> {
                let mut paths = Vec::new();
                <$spec as crate::types::slice::Member>::paths("spec", &mut paths);
                <$status as crate::types::slice::Member>::paths("status", &mut paths);
                paths
            }
            fn unreadable(&self) -> Vec<crate::types::slice::UnreadablePath> {
                let mut unreadable = Vec::new();
                crate::types::slice::Member::unreadable(&self.spec, "spec", &mut unreadable);
                crate::types::slice::Member::unreadable(&self.status, "status", &mut unreadable);
                unreadable
            }
        }
    };
}

pub(crate) use object;
