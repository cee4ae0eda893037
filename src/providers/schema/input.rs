//! An input as one model takes it: the provider's outer form after the catalogue narrowed it, and its JSON Schema.

use serde_json::{Value, json};

use crate::config::models::WithImages;

/// One declared input of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The name in `parameters`.
    pub name: &'static str,
    /// Which values.
    pub accepted: Accepted,
    /// Sent when the client gives none.
    pub default: Option<Value>,
    /// Must be given.
    pub required: bool,
    /// What becomes of it when input images are given.
    pub with_images: WithImages,
    /// What it does.
    pub doc: &'static str,
}

/// Which values one model takes for an input.
#[derive(Debug, Clone, PartialEq)]
pub enum Accepted {
    /// One of these words.
    Choice(Vec<String>),
    /// A whole number.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
        /// The only ones, when not all between are taken.
        values: Option<Vec<i64>>,
    },
    /// A number.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// A text of at most so many characters.
    Text {
        /// Characters.
        max: usize,
    },
    /// `true` or `false`; one value only where a model has no choice.
    Flag {
        /// The values.
        values: Vec<bool>,
    },
    /// A ratio, a size of the list, or any `WIDTHxHEIGHT` within the sides.
    Size {
        /// Ratios and exact sizes.
        words: Vec<String>,
        /// Free sizes, when taken.
        sides: Option<Sides>,
    },
}

/// Bounds of a free `WIDTHxHEIGHT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides {
    /// Shortest side.
    pub min: u32,
    /// Longest side.
    pub max: u32,
    /// Both sides are multiples of this.
    pub multiple: u32,
    /// Width times height at most.
    pub max_pixels: Option<u64>,
}

impl Input {
    /// Its JSON Schema (2020-12).
    #[must_use]
    pub fn schema_json(&self) -> Value {
        let mut schema = self.accepted.schema_json();
        if let Some(fields) = schema.as_object_mut() {
            fields.insert("description".to_owned(), Value::from(self.doc));
            if let Some(default) = &self.default {
                fields.insert("default".to_owned(), default.clone());
            }
        }
        schema
    }
}

impl Accepted {
    fn schema_json(&self) -> Value {
        match self {
            Self::Choice(words) => json!({ "type": "string", "enum": words }),
            Self::Integer { values: Some(values), .. } => json!({ "type": "integer", "enum": values }),
            Self::Integer { min, max, values: None } => json!({ "type": "integer", "minimum": min, "maximum": max }),
            Self::Number { min, max } => json!({ "type": "number", "minimum": min, "maximum": max }),
            Self::Text { max } => json!({ "type": "string", "maxLength": max }),
            Self::Flag { values } if values.len() == 1 => json!({ "type": "boolean", "enum": values }),
            Self::Flag { .. } => json!({ "type": "boolean" }),
            Self::Size { words, sides: None } => json!({ "type": "string", "enum": words }),
            Self::Size { words, sides: Some(sides) } => {
                let free =
                    json!({ "type": "string", "pattern": "^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$", "$comment": sides.sentence() });
                json!({ "anyOf": [{ "type": "string", "enum": words }, free] })
            }
        }
    }

    /// What is taken, as the end of a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Choice(words) | Self::Size { words, sides: None } => format!("it is one of {}", words.join(", ")),
            Self::Integer { values: Some(values), .. } => {
                let words: Vec<String> = values.iter().map(i64::to_string).collect();
                format!("it is one of {}", words.join(", "))
            }
            Self::Integer { min, max, values: None } => format!("it is a whole number between {min} and {max}"),
            Self::Number { min, max } => format!("it is a number between {min} and {max}"),
            Self::Text { max } => format!("it is a text of at most {max} characters"),
            Self::Flag { values } => match values.as_slice() {
                [only] => format!("it can only be {only}"),
                _ => "it is true or false".to_owned(),
            },
            Self::Size { words, sides: Some(sides) } if words.is_empty() => format!("it is {}", sides.sentence()),
            Self::Size { words, sides: Some(sides) } => format!("it is one of {} or {}", words.join(", "), sides.sentence()),
        }
    }
}

impl Sides {
    fn sentence(self) -> String {
        let pixels = self.max_pixels.map(|most| format!(", at most {most} pixels in all")).unwrap_or_default();
        let multiple = if self.multiple > 1 { format!(", multiples of {}", self.multiple) } else { String::new() };
        format!("WIDTHxHEIGHT with sides between {} and {}{multiple}{pixels}", self.min, self.max)
    }
}
