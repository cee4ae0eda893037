//! What was learned of each model's times, and the course of polls that follows from it. In memory: after a restart it is told of
//! the ends that are in the rows. Pure.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    domain::schedule::{Growth, course::Course, expectation::Expectation, histogram::Histogram},
    observe::times::Times,
};

/// A course is made anew after so many observations: an eighth of all so far, but at least and at most these. One takes half a
/// millisecond, so that 1,000 polls a second cost 2 % of a core at most.
const RENEWED: (u64, u64) = (16, 256);

/// What is known of all models. Clones are the same.
#[derive(Debug, Clone)]
pub struct Learner {
    growth: Growth,
    budget: f64,
    times: Times,
    models: Arc<Mutex<HashMap<Arc<str>, Known>>>,
}

#[derive(Debug, Default)]
struct Known {
    histogram: Histogram,
    course: Option<Arc<Course>>,
}

impl Known {
    /// Answers whether there is something new.
    fn renew(&mut self, growth: Growth, budget: f64) -> bool {
        let version = self.histogram.version();
        let patience = (version / 8).clamp(RENEWED.0, RENEWED.1);
        let due = version >= self.course.as_ref().map_or(0, |course| course.version()) + patience;
        if due {
            self.course = Course::of(&self.histogram, growth, budget).map(Arc::new);
        }
        due
    }
}

impl Learner {
    /// Knows nothing yet; tells `times` what it learns.
    #[must_use]
    pub fn new(growth: Growth, budget: f64, times: Times) -> Self {
        Self { growth, budget, times, models: Arc::default() }
    }

    /// The course of a model; none while too little is known.
    #[must_use]
    pub fn course(&self, model: &str) -> Option<Arc<Course>> {
        self.models().get(model).and_then(|known| known.course.clone())
    }

    /// A task of the model that ran at age `from` still ran at age `to`.
    pub fn passed(&self, model: &Arc<str>, from: Duration, to: Duration) {
        self.observe(model, |histogram| histogram.passed(from, to));
    }

    /// A task of the model that ran at age `from` was found ended at age `to`.
    pub fn finished(&self, model: &Arc<str>, from: Duration, to: Duration) {
        self.observe(model, |histogram| histogram.finished(from, to));
    }

    /// A task of an earlier run of the process was found ended at age `to`; when it was polled before that is not in the rows, so
    /// the gap is taken for an exponential one.
    pub fn recalled(&self, model: &Arc<str>, to: Duration) {
        let from = self.growth.last_before(to);
        self.observe(model, |histogram| {
            histogram.passed(Duration::ZERO, from);
            histogram.finished(from, to);
        });
    }

    fn observe(&self, model: &Arc<str>, observed: impl FnOnce(&mut Histogram)) {
        let mut models = self.models();
        if !models.contains_key(model) {
            models.insert(Arc::clone(model), Known::default());
        }
        if let Some(known) = models.get_mut(model) {
            observed(&mut known.histogram);
            let news = known.renew(self.growth, self.budget);
            if let Some(expectation) = news.then(|| Expectation::of(&known.histogram)).flatten() {
                self.times.tell(model, expectation);
            }
        }
    }

    fn models(&self) -> MutexGuard<'_, HashMap<Arc<str>, Known>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::Learner;
    use crate::{config::polling::PollingConfig, observe::times::Times};

    fn cold() -> Learner {
        Learner::new(PollingConfig::default().growth(), 0.9, Times::default())
    }

    #[test]
    fn a_restart_does_not_begin_cold_and_models_do_not_mix() {
        let (learner, model): (_, Arc<str>) = (cold(), "kling-2.6".into());
        (0..60).for_each(|n| learner.recalled(&model, Duration::from_secs(80 + n % 20)));
        assert!(learner.course(&model).is_some());
        assert!(learner.course("flux-schnell").is_none());
        let left = learner.times.of(&model).expect("others are told").left(Duration::ZERO).unwrap();
        assert!((60..=110).contains(&left.as_secs()), "{left:?}");
        assert!(learner.times.of("flux-schnell").is_none());
    }

    #[test]
    fn a_course_is_made_anew_as_more_is_known_and_not_at_every_poll() {
        let (learner, model): (_, Arc<str>) = (cold(), "kling-2.6".into());
        let (mut courses, mut last) = (0, None);
        for n in 0..2_000 {
            learner.finished(&model, Duration::from_secs(80 + n % 20), Duration::from_secs(84 + n % 20));
            let version = learner.course(&model).map(|course| course.version());
            if version != last {
                (courses, last) = (courses + 1, version);
            }
        }
        assert!((10..60).contains(&courses), "{courses}");
    }
}
