//! Ids: prefixed, sortable by birth (`UUIDv7`, RFC 9562 §5.7), 16 bytes in the store, `gen_` and 32 hex digits outside.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A text that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {prefix}_ and 32 hex digits")]
pub struct NotAnId {
    prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh id; ids made later in one process sort later.
            #[must_use]
            pub fn fresh() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let error = NotAnId { prefix: $prefix };
                let hex = text.strip_prefix(concat!($prefix, "_")).ok_or_else(|| error.clone())?;
                if hex.len() != 32 || hex.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(error);
                }
                Uuid::try_parse(hex).map(Self).map_err(|_| error)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

ids! {
    /// One generation: the promise to the client.
    GenerationId = "gen";
    /// One attempt: one paid submit.
    AttemptId = "att";
    /// One asset: one file of a result.
    AssetId = "ast";
    /// The owner of keys and generations.
    ProjectId = "proj";
    /// One API key.
    KeyId = "key";
    /// Many generations that were submitted together.
    BatchId = "batch";
    /// One place where a project wants to be told of events.
    EndpointId = "whe";
    /// One event on its way to one place.
    DeliveryId = "whd";
    /// One run of the process.
    NodeId = "node";
}
