//! A template with its rows: given one by one, or as the product of axes. A request is made when it is asked for, never all at once.

use serde_json::{Map, Value};

use crate::{
    intake::{
        ask::{self, field},
        batch::template::{Origin, Template},
    },
    providers::schema::FieldError,
};

/// Axes of a matrix at most: with two values each that is a thousand requests.
const MOST_AXES: usize = 10;

/// A template and the rows for it.
#[derive(Debug, Clone)]
pub struct Expansion {
    template: Template,
    rows: Rows,
}

/// What fills a template.
#[derive(Debug, Clone)]
pub enum Rows {
    /// One request a row.
    Given(Vec<Value>),
    /// One request for each combination of the axes' values; the last axis turns fastest.
    Matrix(Vec<(String, Vec<Value>)>),
}

impl Rows {
    /// Reads the value of `matrix`: an object of axes, each with its values. Axes are in the order of their names.
    ///
    /// # Errors
    /// Everything that is wrong, the pointers beginning at it.
    pub fn matrix(value: Value) -> Result<Self, Vec<FieldError>> {
        let Value::Object(given) = value else {
            return Err(vec![ask::wrong_type("", "an object of axes, each an array of values", &value)]);
        };
        let mut errors = Vec::new();
        if given.is_empty() || given.len() > MOST_AXES {
            errors.push(field("", "out_of_range", format!("a matrix has between 1 and {MOST_AXES} axes")));
        }
        let mut axes = Vec::new();
        for (name, values) in given {
            let at = format!("/{}", ask::escaped(&name));
            match values {
                Value::Array(values) if values.is_empty() => errors.push(field(&at, "empty", "an axis has at least one value")),
                Value::Array(values) => axes.push((name, values)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                    errors.push(ask::wrong_type(&at, "an array of values", &values));
                }
            }
        }
        if errors.is_empty() { Ok(Self::Matrix(axes)) } else { Err(errors) }
    }

    /// How many requests they make; stops at the largest number.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Given(rows) => rows.len(),
            Self::Matrix(axes) => axes.iter().map(|(_, values)| values.len()).fold(1, usize::saturating_mul),
        }
    }

    /// The row of a request, with what replaces the pointer to it: the index, or an axis' value.
    fn row(&self, index: usize) -> Result<Map<String, Value>, FieldError> {
        match self {
            Self::Given(rows) => match rows.get(index) {
                Some(Value::Object(row)) => Ok(row.clone()),
                other => Err(ask::wrong_type("", "an object", other.unwrap_or(&Value::Null))),
            },
            Self::Matrix(axes) => {
                let picked = picks(axes, index);
                Ok(axes
                    .iter()
                    .zip(picked)
                    .filter_map(|((name, values), at)| Some((name.clone(), values.get(at)?.clone())))
                    .collect())
            }
        }
    }

    /// A pointer into a row, as one into the body.
    fn pointer(&self, index: usize, within: &str) -> String {
        match self {
            Self::Given(_) => format!("#/rows/{index}{within}"),
            Self::Matrix(axes) => {
                let (name, rest) = within.trim_start_matches('/').split_once('/').unwrap_or((within.trim_start_matches('/'), ""));
                let axis = axes.iter().position(|(axis, _)| ask::escaped(axis) == name);
                let value = axis.and_then(|axis| picks(axes, index).nth(axis));
                let rest = if rest.is_empty() { String::new() } else { format!("/{rest}") };
                value.map_or_else(|| "#/matrix".to_owned(), |value| format!("#/matrix/{name}/{value}{rest}"))
            }
        }
    }
}

/// Which value of each axis a request takes: a number written in digits of mixed size.
fn picks(axes: &[(String, Vec<Value>)], index: usize) -> impl Iterator<Item = usize> {
    let mut rest = index;
    let mut picked: Vec<usize> = axes
        .iter()
        .rev()
        .map(|(_, values)| {
            let size = values.len().max(1);
            let digit = rest.checked_rem(size).unwrap_or_default();
            rest = rest.checked_div(size).unwrap_or_default();
            digit
        })
        .collect();
    picked.reverse();
    picked.into_iter()
}

impl Expansion {
    /// A template with its rows.
    #[must_use]
    pub const fn new(template: Template, rows: Rows) -> Self {
        Self { template, rows }
    }

    /// How many requests it makes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.count()
    }

    /// A request; errors point into the body.
    ///
    /// # Errors
    /// Everything that is wrong with its row.
    pub fn request(&self, index: usize) -> Result<Value, Vec<FieldError>> {
        let place = |mut error: FieldError| {
            error.pointer = self.rows.pointer(index, error.pointer.trim_start_matches('#'));
            error
        };
        let row = self.rows.row(index).map_err(|error| vec![place(error)])?;
        self.template.fill(&row).map_err(|errors| errors.into_iter().map(place).collect())
    }

    /// Where in the body a request comes from.
    #[must_use]
    pub fn at(&self, index: usize) -> String {
        self.rows.pointer(index, "")
    }

    /// Where in the body an error of an expanded request is: several requests may have it from one place.
    #[must_use]
    pub fn place(&self, index: usize, pointer: &str) -> String {
        let row = self.rows.row(index).unwrap_or_default();
        match self.template.origin(&row, pointer) {
            Origin::Row(within) => self.rows.pointer(index, &within),
            Origin::Template => format!("#/template{}", pointer.trim_start_matches('#')),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matrix(template: Value, axes: Value) -> Expansion {
        Expansion::new(Template::read(template).unwrap(), Rows::matrix(axes).unwrap())
    }

    #[test]
    fn a_matrix_makes_every_combination_once_with_the_last_axis_turning_fastest() {
        let axes = json!({"angle": ["front", "side"], "product": ["hat", "boot", "bag"]});
        let expansion = matrix(json!({"prompt": "{{product}} {{angle}}"}), axes);
        assert_eq!(expansion.count(), 6);
        let made: Vec<String> = (0..6).map(|i| expansion.request(i).unwrap()["prompt"].as_str().unwrap().to_owned()).collect();
        assert_eq!(made, ["hat front", "boot front", "bag front", "hat side", "boot side", "bag side"]);
    }

    #[test]
    fn prompts_by_models_need_no_template() {
        let expansion = matrix(json!({}), json!({"prompt": ["a", "b"], "modelIdentifier": ["m", "n"]}));
        let made: Vec<Value> = (0..expansion.count()).map(|i| expansion.request(i).unwrap()).collect();
        let wanted = [("m", "a"), ("m", "b"), ("n", "a"), ("n", "b")];
        assert_eq!(made, wanted.map(|(model, prompt)| json!({"modelIdentifier": model, "prompt": prompt})));
    }

    #[test]
    fn errors_point_at_the_row_the_axis_value_or_the_template() {
        let rows = Rows::Given(vec![json!({"thing": "a"}), json!({"thin": "b"}), json!(3)]);
        let expansion = Expansion::new(Template::read(json!({"prompt": "{{thing}}"})).unwrap(), rows);
        let pointers = |index| expansion.request(index).unwrap_err().into_iter().map(|error| error.pointer).collect::<Vec<_>>();
        assert_eq!(pointers(1), ["#/rows/1", "#/rows/1/thin"]);
        assert_eq!(pointers(2), ["#/rows/2"]);
        assert_eq!(expansion.place(0, "#/prompt"), "#/rows/0/thing");
        assert_eq!(expansion.place(0, "#/modelIdentifier"), "#/template/modelIdentifier");
        let matrix = matrix(json!({"prompt": "{{a.x}}"}), json!({"a": [{"x": 1}, {"y": 2}], "b": [1]}));
        assert_eq!(matrix.place(1, "#/prompt"), "#/matrix/a/1");
        assert_eq!(matrix.request(1).unwrap_err()[0].pointer, "#/matrix/a/1");
    }

    #[test]
    fn a_matrix_has_axes_with_values_and_its_size_is_known_without_making_it() {
        for wrong in [json!([]), json!({}), json!({"a": []}), json!({"a": "x"})] {
            assert!(Rows::matrix(wrong).is_err());
        }
        let axis: Vec<u32> = (0..1_000).collect();
        let names = (0..10).map(|i| (format!("a{i}"), json!(axis))).collect::<Map<_, _>>();
        assert_eq!(Rows::matrix(Value::Object(names)).unwrap().count(), usize::MAX);
    }
}
