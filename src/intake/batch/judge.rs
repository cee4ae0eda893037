//! Judges the requests of a batch one after the other, each by the code that judges a single one, and in the end what only the whole
//! batch shows. What is right is handed out at once, so that it can be stored while the rest is still on its way.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    LineError, Location, Spot,
    estimate::{Cost, Estimate},
    findings::{Findings, MOST_NAMED, Skipped},
    line::{self, Line, Reference},
    names::{Broken, Fault, Makes, Names, Want},
    options::{OnInvalid, Options},
};
use crate::{
    domain::{generation::GenerationState, id::GenerationId, reference::ResultReference},
    intake::{
        ask::field,
        command::{self, Refusal, Standing},
    },
    providers::{catalogue::Catalogue, registry::Registry, schema::FieldError},
    store::Birth,
};

/// What every request is judged by.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The models.
    pub catalogue: Arc<Catalogue>,
    /// The providers.
    pub registry: Arc<Registry>,
    /// Who asks, and when.
    pub standing: Standing,
    /// The batch's options.
    pub options: Options,
    /// Submits that `resubmit` may add for one output.
    pub max_resubmits: u16,
}

/// The judgement in the making.
#[derive(Debug)]
pub struct Judge {
    rules: Rules,
    names: Names,
    findings: Findings,
    skipped: Vec<Skipped>,
    left_out: u32,
    taken: u32,
    estimate: Estimate,
    /// Of lines that may still have to go: their cost, to take it back.
    waiting: HashMap<GenerationId, Cost>,
    /// Requests whose only fault is that their provider takes nothing now, and what it says.
    unavailable: (u64, Option<String>),
}

/// A request that is right.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Which one.
    pub spot: Spot,
    /// Its `customId`.
    pub custom_id: Option<String>,
    /// What the journal writes.
    pub birth: Birth,
    /// Whether it stays whatever the requests are that still come. Only where wrong ones are skipped may it be otherwise.
    pub certain: bool,
    /// The names it was written with: `dependsOn`.
    pub depends_on: Vec<String>,
    /// The names it was written with: images of other requests.
    pub references: Vec<Reference>,
    /// What it costs.
    pub cost: Cost,
}

/// A batch that can be created.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// How many requests.
    pub total: u32,
    /// Of those handed out before: what must go again. Empty unless wrong requests are skipped.
    pub gone: HashSet<GenerationId>,
    /// Requests left out.
    pub left_out: u32,
    /// The first of them.
    pub skipped: Vec<Skipped>,
    /// Cost and shares.
    pub estimate: Estimate,
}

/// A batch of which nothing is created.
#[derive(Debug, Clone)]
pub enum Rejected {
    /// What is wrong.
    Invalid(Findings),
    /// Nothing is wrong, but a provider takes nothing now: why.
    Unavailable(String),
}

/// How a pointer into one request becomes one into what the client sent.
pub type Locate<'a> = &'a dyn Fn(&str) -> Location;

impl Judge {
    /// Nothing judged yet; `errors` are those of the frame and the options.
    #[must_use]
    pub fn new(rules: Rules, errors: Vec<LineError>) -> Self {
        let mut findings = Findings::default();
        errors.into_iter().for_each(|error| findings.add(error));
        Self {
            rules,
            names: Names::default(),
            findings,
            skipped: Vec::new(),
            left_out: 0,
            taken: 0,
            estimate: Estimate::default(),
            waiting: HashMap::new(),
            unavailable: (0, None),
        }
    }

    /// The options.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.rules.options
    }

    /// Notes what is wrong with the batch as a whole: then nothing of it is created.
    pub fn refuse(&mut self, error: LineError) {
        self.findings.add(error);
    }

    /// Whether nothing will be created whatever follows.
    #[must_use]
    pub const fn lost(&self) -> bool {
        !self.findings.none()
    }

    /// Notes a request that cannot even be read. Its pointers are located already.
    pub fn unreadable(&mut self, spot: Spot, errors: Vec<LineError>) {
        self.note(spot, None, errors);
    }

    /// Judges the next request. Nothing comes of one that is wrong, nor of any once the batch is lost.
    pub fn take(&mut self, spot: Spot, value: Value, locate: Locate<'_>) -> Option<Taken> {
        let (line, errors) = line::read(value);
        let located = |error: FieldError| {
            let Location { pointer, line } = locate(&error.pointer);
            LineError { index: Some(spot.index), line, error: FieldError { pointer, ..error } }
        };
        let custom_id = line.custom_id.clone();
        match self.judge(spot, line, errors, locate) {
            Ok(taken) => {
                self.taken = self.taken.saturating_add(1);
                self.estimate.add(&taken.cost);
                if !taken.certain {
                    self.waiting.insert(taken.birth.generation.id, taken.cost.clone());
                }
                (!self.lost()).then_some(taken)
            }
            Err(errors) => {
                self.note(spot, custom_id, errors.into_iter().map(located).collect());
                None
            }
        }
    }

    fn judge(
        &mut self,
        spot: Spot,
        line: Line,
        mut errors: Vec<FieldError>,
        locate: Locate<'_>,
    ) -> Result<Taken, Vec<FieldError>> {
        let Line { custom_id, depends_on, references, mut ask } = line;
        let own = custom_id.as_deref().map(|name| self.names.claim(name, spot));
        if let (Some(Err(first)), Some(name)) = (&own, &custom_id) {
            let detail = format!("the customId `{name}` is used twice: by {} and by {}", first.name(), spot.name());
            errors.push(field("/customId", "duplicate_custom_id", detail));
        }
        let wants = wants(&depends_on, &references, locate);
        let options = &self.rules.options;
        for (want, pointer) in &wants {
            match self.names.look(want, custom_id.as_deref()) {
                // That a request is wrong on which another depends is said at the first one.
                Err(Fault::Refused(_)) if options.on_invalid == OnInvalid::Reject => {}
                Ok(()) => {}
                Err(fault) => errors.push(fault_at(pointer, &want.name, &fault)),
            }
        }
        ask.priority = ask.priority.or(Some(options.priority));
        ask.on_unconfirmed = ask.on_unconfirmed.or(options.on_unconfirmed);
        for Reference { place, custom_id, index, .. } in &references {
            let text = ResultReference { generation: self.names.id(custom_id), index: *index }.to_string();
            if let Some(image) = ask.input_images.get_mut(*place) {
                *image = text;
            }
        }
        let Rules { catalogue, registry, standing, .. } = &self.rules;
        let mut birth =
            command::birth(ask, errors, catalogue, registry, standing.clone()).map_err(|refusal| self.refusal(refusal))?;
        if let Some(Ok(id)) = own {
            birth.generation.id = id;
        }
        let id = birth.generation.id;
        let wants = wants.into_iter().map(|(want, _)| want).collect();
        let waits = self.names.wait(id, (spot, custom_id.as_deref()), wants).map_err(|fault| vec![fault_at("#", "", &fault)])?;
        if let Some(name) = &custom_id {
            let makes = Makes { spot, kind: birth.generation.kind, outputs: birth.generation.outputs };
            self.names.accept(name, makes, waits.certain);
        }
        if !waits.on.is_empty() {
            birth.generation.progress.state = GenerationState::Waiting;
            birth.generation.born_state = GenerationState::Waiting;
        }
        birth.depends_on = waits.on;
        let cost = self.cost(&birth);
        let certain = waits.certain || self.rules.options.on_invalid == OnInvalid::Reject;
        let depends_on = depends_on.into_iter().map(|(name, _)| name).collect();
        Ok(Taken { spot, custom_id, birth, certain, depends_on, references, cost })
    }

    fn cost(&self, birth: &Birth) -> Cost {
        let (generation, rules) = (&birth.generation, &self.rules);
        match rules.catalogue.model(&generation.model) {
            Some(model) => Cost::of(generation, &birth.request, model, rules.max_resubmits),
            // The birth found it in the same catalogue.
            None => Cost::unknown(generation),
        }
    }

    fn refusal(&mut self, refusal: Refusal) -> Vec<FieldError> {
        match refusal {
            Refusal::Invalid(errors) => errors,
            Refusal::Unavailable(why) => {
                self.unavailable.0 = self.unavailable.0.saturating_add(1);
                self.unavailable.1.get_or_insert_with(|| why.clone());
                vec![field("/modelIdentifier", "unavailable", why)]
            }
        }
    }

    fn note(&mut self, spot: Spot, custom_id: Option<String>, errors: Vec<LineError>) {
        match self.rules.options.on_invalid {
            OnInvalid::Reject => errors.into_iter().for_each(|error| self.findings.add(error)),
            OnInvalid::Skip => {
                self.left_out = self.left_out.saturating_add(1);
                if self.skipped.len() < MOST_NAMED {
                    self.skipped.push(Skipped { spot, custom_id, errors });
                }
            }
        }
    }

    /// Judges what only the whole batch shows.
    ///
    /// # Errors
    /// Why nothing is created.
    pub fn finish(mut self, whole: &dyn Fn(Spot) -> Location) -> Result<Accepted, Rejected> {
        let broken = self.names.finish();
        let mut gone = HashSet::new();
        match self.rules.options.on_invalid {
            OnInvalid::Reject => {
                let faults = broken.into_iter().filter(|broken| !matches!(broken.fault, Fault::Refused(_)));
                faults.for_each(|broken| self.findings.add(broken_error(&broken, whole)));
            }
            OnInvalid::Skip => {
                let first: Vec<GenerationId> = broken.iter().map(|broken| broken.id).collect();
                let after = self.names.dependents(&first);
                for broken in broken.into_iter().chain(after) {
                    if gone.insert(broken.id) {
                        self.take_back(&broken, whole);
                    }
                }
            }
        }
        if self.taken == 0 && self.findings.none() {
            let skipped = std::mem::take(&mut self.skipped);
            skipped.into_iter().flat_map(|skipped| skipped.errors).for_each(|error| self.findings.add(error));
            if self.findings.none() {
                self.findings.whole(vec![field("", "empty", "a batch has at least one request")]);
            }
        }
        self.verdict(gone)
    }

    fn verdict(self, gone: HashSet<GenerationId>) -> Result<Accepted, Rejected> {
        if self.findings.none() {
            let Self { taken: total, left_out, skipped, estimate, .. } = self;
            return Ok(Accepted { total, gone, left_out, skipped, estimate });
        }
        match self.unavailable {
            (count, Some(why)) if count >= self.findings.total() => Err(Rejected::Unavailable(why)),
            _ => Err(Rejected::Invalid(self.findings)),
        }
    }

    /// A request that was handed out before and is to be skipped after all.
    fn take_back(&mut self, broken: &Broken, whole: &dyn Fn(Spot) -> Location) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(cost) = self.waiting.remove(&broken.id) {
            self.estimate.remove(&cost);
        }
        self.note(broken.spot, broken.custom_id.clone(), vec![broken_error(broken, whole)]);
    }
}

/// What a line waits for, each with its pointer within the line.
fn wants(depends_on: &[(String, String)], references: &[Reference], locate: Locate<'_>) -> Vec<(Want, String)> {
    let want = |name: &String, index, pointer: &String| {
        let want = Want { name: name.clone(), index, at: locate(pointer) };
        (want, pointer.clone())
    };
    let named = depends_on.iter().map(|(name, pointer)| want(name, None, pointer));
    named.chain(references.iter().map(|r| want(&r.custom_id, Some(r.index), &r.pointer))).collect()
}

fn fault_at(pointer: &str, name: &str, fault: &Fault) -> FieldError {
    FieldError { pointer: pointer.to_owned(), code: fault.code(), detail: fault.sentence(name) }
}

fn broken_error(broken: &Broken, whole: &dyn Fn(Spot) -> Location) -> LineError {
    let Location { pointer, line } = broken.at.clone().unwrap_or_else(|| whole(broken.spot));
    LineError { index: Some(broken.spot.index), line, error: fault_at(&pointer, &broken.name, &broken.fault) }
}

#[cfg(test)]
mod tests;
