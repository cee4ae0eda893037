//! What a batch will cost and how long it will take, before anything of it is made. Pure: what is known of the models' times is an
//! argument.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};

use crate::{
    config::models::PriceConfig,
    domain::{
        money::Micros,
        record::{Generation, GenerationRequest, Kind},
        unconfirmed::OnUnconfirmed,
    },
    providers::{catalogue::Model, schema::Accepted},
};

/// What an image is taken to need where nothing was measured: the order of all providers' documents.
const IMAGE: Duration = Duration::from_secs(15);
/// The same for a video.
const VIDEO: Duration = Duration::from_secs(120);

/// A cost that is not known to the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// At least, when everything succeeds: the cheapest of what the request leaves to the provider.
    pub low: Micros,
    /// By the catalogue, every output made once.
    pub expected: Micros,
    /// At most: the dearest of what the request leaves open, and each submit paid as often as `resubmit` may.
    pub high: Micros,
}

/// What one request adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    model: Arc<str>,
    kind: Kind,
    outputs: u16,
    calls: u16,
    range: Range,
}

/// The sum over requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Outputs of all.
    pub outputs: u64,
    /// Cost of all.
    pub cost: Range,
    /// Requests for models without a price: they count as nothing.
    pub unpriced: u64,
    /// By model.
    pub models: BTreeMap<Arc<str>, Share>,
}

/// What falls to one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// What it makes.
    pub kind: Kind,
    /// Requests.
    pub generations: u64,
    /// Submits, when each succeeds at once.
    pub calls: u64,
    /// Outputs.
    pub outputs: u64,
    /// Expected cost.
    pub cost: Micros,
}

/// How long a batch is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// From the first submit to the last end.
    pub time: Duration,
    /// Whether every model's time was measured here; otherwise some is assumed by what it makes.
    pub measured: bool,
}

impl Cost {
    /// Of an accepted request.
    #[must_use]
    pub fn of(generation: &Generation, request: &GenerationRequest, model: &Model, max_resubmits: u16) -> Self {
        let calls = generation.slots().len();
        let (low, high) = open_prices(model, &request.parameters, generation.per_call);
        let expected = generation.call_price;
        let tries = match generation.on_unconfirmed {
            OnUnconfirmed::Resubmit => max_resubmits.saturating_add(1),
            OnUnconfirmed::Fail | OnUnconfirmed::Hold => 1,
        };
        let range = Range {
            low: low.min(expected).times(calls),
            expected: expected.times(calls),
            high: high.max(expected).times(calls).times(tries),
        };
        Self { model: Arc::clone(&generation.model), kind: generation.kind, outputs: generation.outputs, calls, range }
    }

    /// Of a request whose model nobody knows any more.
    #[must_use]
    pub fn unknown(generation: &Generation) -> Self {
        let (calls, expected) = (generation.slots().len(), generation.call_price);
        let cost = expected.times(calls);
        let range = Range { low: cost, expected: cost, high: cost };
        Self { model: Arc::clone(&generation.model), kind: generation.kind, outputs: generation.outputs, calls, range }
    }

    /// By the catalogue.
    #[must_use]
    pub const fn expected(&self) -> Micros {
        self.range.expected
    }
}

/// The cheapest and the dearest price of a call that the parameters leave possible: those without a value are the provider's to choose.
fn open_prices(model: &Model, parameters: &Map<String, Value>, outputs: u16) -> (Micros, Micros) {
    let price = &model.price;
    let fits =
        |when: &BTreeMap<String, Value>| when.iter().all(|(name, value)| parameters.get(name).is_none_or(|is| is == value));
    let sure = |when: &BTreeMap<String, Value>| when.iter().all(|(name, value)| parameters.get(name) == Some(value));
    let mut rates: Vec<PriceConfig> = Vec::new();
    for variant in price.variants.iter().filter(|variant| fits(&variant.when)) {
        let (per_call, per_output, per_second) = (variant.per_call, variant.per_output, variant.per_second);
        rates.push(PriceConfig { per_call, per_output, per_second, variants: Vec::new() });
        if sure(&variant.when) {
            break;
        }
    }
    if !price.variants.iter().any(|variant| sure(&variant.when)) {
        rates.push(PriceConfig { variants: Vec::new(), ..price.clone() });
    }
    let (shortest, longest) = seconds(model, parameters);
    let amount = |rate: &PriceConfig, seconds: f64| {
        let each = Micros::from_dollars(rate.per_second * seconds).plus(Micros::from_dollars(rate.per_output));
        Micros::from_dollars(rate.per_call).plus(each.times(outputs))
    };
    let low = rates.iter().map(|rate| amount(rate, shortest)).min().unwrap_or_default();
    let high = rates.iter().map(|rate| amount(rate, longest)).max().unwrap_or_default();
    (low, high)
}

/// The shortest and the longest duration that may come out.
fn seconds(model: &Model, parameters: &Map<String, Value>) -> (f64, f64) {
    if let Some(given) = parameters.get("duration").and_then(Value::as_f64) {
        return (given, given);
    }
    let input = model.inputs.iter().find(|input| input.name == "duration");
    #[expect(clippy::cast_precision_loss, reason = "seconds of a clip")]
    let whole = |number: i64| number as f64;
    match input.map(|input| &input.accepted) {
        Some(Accepted::Integer { min, max, values }) => {
            let listed = values.iter().flatten().copied();
            (whole(listed.clone().min().unwrap_or(*min)), whole(listed.max().unwrap_or(*max)))
        }
        Some(Accepted::Number { min, max }) => (*min, *max),
        Some(Accepted::Choice(_) | Accepted::Text { .. } | Accepted::Flag { .. } | Accepted::Size { .. }) | None => (0.0, 0.0),
    }
}

impl Estimate {
    /// Adds a request.
    pub fn add(&mut self, cost: &Cost) {
        self.change(cost, u64::saturating_add, Micros::plus);
    }

    /// Takes a request away that was added before.
    pub fn remove(&mut self, cost: &Cost) {
        self.change(cost, u64::saturating_sub, Micros::minus);
        self.models.retain(|_, share| share.generations > 0);
    }

    fn change(&mut self, cost: &Cost, count: fn(u64, u64) -> u64, money: fn(Micros, Micros) -> Micros) {
        self.outputs = count(self.outputs, cost.outputs.into());
        self.unpriced = count(self.unpriced, (cost.range.high == Micros(0)).into());
        let sum = &mut self.cost;
        *sum = Range {
            low: money(sum.low, cost.range.low),
            expected: money(sum.expected, cost.range.expected),
            high: money(sum.high, cost.range.high),
        };
        let none = Share { kind: cost.kind, generations: 0, calls: 0, outputs: 0, cost: Micros(0) };
        let share = self.models.entry(Arc::clone(&cost.model)).or_insert(none);
        *share = Share {
            kind: cost.kind,
            generations: count(share.generations, 1),
            calls: count(share.calls, cost.calls.into()),
            outputs: count(share.outputs, cost.outputs.into()),
            cost: money(share.cost, cost.range.expected),
        };
    }

    /// How long it takes with so many attempts at a time, when `known` holds the middle of what each model took lately. Waiting behind
    /// other batches is not in it, nor the order that dependencies force.
    #[must_use]
    pub fn span(&self, at_once: u16, known: &HashMap<String, Duration>) -> Span {
        let mut span = Span { time: Duration::ZERO, measured: true };
        let mut longest = Duration::ZERO;
        for (model, share) in &self.models {
            let took = known.get(&**model).copied();
            span.measured &= took.is_some();
            let each = took.unwrap_or(match share.kind {
                Kind::Image => IMAGE,
                Kind::Video => VIDEO,
            });
            longest = longest.max(each);
            span.time = span.time.saturating_add(each.saturating_mul(u32::try_from(share.calls).unwrap_or(u32::MAX)));
        }
        // Never shorter than one attempt.
        span.time = span.time.checked_div(at_once.max(1).into()).unwrap_or_default().max(longest);
        span
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{config::Config, providers::catalogue::Catalogue};

    fn model(text: &str) -> Model {
        let text = format!("[providers.kling]\n[models.m]\nprovider = \"kling\"\nupstream = \"m\"\nkind = \"video\"\n{text}");
        let config: Config = toml::from_str(&text).unwrap();
        Model::clone(Catalogue::new(&config).unwrap().model("m").unwrap())
    }

    fn prices(model: &Model, parameters: Value) -> (i64, i64) {
        let (low, high) = open_prices(model, parameters.as_object().unwrap(), 1);
        (low.0, high.0)
    }

    #[test]
    fn what_the_parameters_leave_open_makes_the_range() {
        let model = model(
            "inputs = { mode = {}, duration = { values = [5, 10], required = true } }\n\
             price = { per_second = 2.0, variants = [{ when = { mode = \"pro\" }, per_second = 3.0 }] }",
        );
        assert_eq!(prices(&model, json!({"mode": "pro", "duration": 5})), (15_000_000, 15_000_000));
        assert_eq!(prices(&model, json!({"mode": "std", "duration": 5})), (10_000_000, 10_000_000));
        assert_eq!(prices(&model, json!({"duration": 5})), (10_000_000, 15_000_000));
        assert_eq!(prices(&model, json!({})), (10_000_000, 30_000_000));
    }

    #[test]
    fn the_sum_says_what_falls_to_each_model_and_what_has_no_price() {
        let cost = |model: &str, amount| Cost {
            model: model.into(),
            kind: Kind::Image,
            outputs: 2,
            calls: 2,
            range: Range { low: Micros(0), expected: Micros(amount), high: Micros(2 * amount) },
        };
        let mut estimate = Estimate::default();
        for cost in [cost("a", 5), cost("b", 0), cost("a", 6)] {
            estimate.add(&cost);
        }
        assert_eq!(
            (estimate.outputs, estimate.unpriced, estimate.cost.expected, estimate.cost.high),
            (6, 1, Micros(11), Micros(22))
        );
        let share = estimate.models.get("a").unwrap();
        assert_eq!((share.generations, share.calls, share.cost), (2, 4, Micros(11)));
        for gone in [cost("a", 5), cost("b", 0), cost("a", 6)] {
            estimate.remove(&gone);
        }
        assert_eq!(estimate, Estimate::default());
    }

    #[test]
    fn the_time_follows_what_was_measured_and_how_many_run_at_once() {
        let share = |kind| Share { kind, generations: 4, calls: 4, outputs: 4, cost: Micros(0) };
        let models = [("a".into(), share(Kind::Image)), ("b".into(), share(Kind::Video))].into();
        let estimate = Estimate { models, ..Estimate::default() };
        let known = HashMap::from([("a".to_owned(), Duration::from_secs(10))]);
        let span = estimate.span(2, &known);
        assert_eq!((span.time, span.measured), (Duration::from_secs((4 * 10 + 4 * 120) / 2), false));
        assert_eq!(estimate.span(1_000, &known).time, VIDEO);
        let all = HashMap::from([("a".to_owned(), IMAGE), ("b".to_owned(), IMAGE)]);
        assert!(estimate.span(1, &all).measured);
    }
}
