use proptest::{prelude::*, strategy::Strategy as _};

use super::{Growth, Strategy, course::Course, histogram::Histogram, *};

const GROWTH: Growth = Growth { base: Duration::from_secs(5), factor: 1.5, cap: Duration::from_secs(60), jitter: 0.0 };

fn all_until(strategy: Strategy, course: Option<&Course>, seed: u64, end: i64) -> Vec<i64> {
    let mut at = Timestamp(0);
    let mut polls = Vec::new();
    while at.0 < end {
        at = next_poll(strategy, course, Timestamp(0), seed, at);
        polls.push(at.0);
    }
    polls
}

/// What is known after tasks took so many seconds, each polled every two seconds.
fn known(tasks: impl IntoIterator<Item = f64>) -> Histogram {
    let mut known = Histogram::default();
    for task in tasks {
        let mut age = 0.0;
        while age + 2.0 < task {
            known.passed(Duration::from_secs_f64(age), Duration::from_secs_f64(age + 2.0));
            age += 2.0;
        }
        known.finished(Duration::from_secs_f64(age), Duration::from_secs_f64(age + 2.0));
    }
    known
}

/// Quantiles of a normal distribution around `middle`, spread a tenth of it, in an order without a trend.
fn around(middle: f64, count: u32) -> impl Iterator<Item = f64> {
    (0..count).map(move |n| {
        let sum: f64 = (0..4).map(|step| unit(7, u64::from(n) * 4 + step)).sum();
        middle * (1.0 + 0.1 * (sum - 2.0) * 3.0_f64.sqrt())
    })
}

#[test]
fn exponential_gaps_grow_to_the_cap() {
    let polls = all_until(Strategy::Exponential(GROWTH), None, 1, 400_000);
    let gaps: Vec<_> = polls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(polls[0], 5_000);
    assert_eq!(gaps[..3], [7_500, 11_250, 16_875]);
    assert_eq!(*gaps.last().unwrap(), 60_000);
}

#[test]
fn fixed_gaps_are_equal_after_the_first() {
    let polls = all_until(Strategy::Fixed { every: Duration::from_secs(60) }, None, 12_345, 600_000);
    assert_eq!(polls[0], 60_000);
    assert!(polls[1..].windows(2).all(|pair| pair[1] - pair[0] == 60_000));
}

#[test]
fn adaptive_polls_are_dense_where_tasks_end_and_rare_before() {
    let course = Course::of(&known(around(100.0, 300)), GROWTH, 1.0).unwrap();
    let polls = all_until(Strategy::Adaptive(GROWTH), Some(&course), 1, 130_000);
    let before = polls.iter().filter(|at| **at < 75_000).count();
    let during = polls.iter().filter(|at| (75_000..125_000).contains(*at)).count();
    assert!(before <= 2 && during >= 5, "{polls:?}");
}

#[test]
fn a_cold_model_has_no_course_and_a_warm_one_has() {
    assert!(Course::of(&known(around(20.0, 29)), GROWTH, 1.0).is_none());
    assert!(Course::of(&known(around(20.0, 30)), GROWTH, 1.0).is_some());
}

#[test]
fn a_slowdown_is_noticed_by_tasks_that_still_run() {
    let mut slower = known(around(60.0, 500));
    let before = slower.survival(&[90.0])[0];
    // Thirty tasks pass the age at which nearly all used to be done, and none of them ends.
    for _ in 0..30 {
        slower.passed(Duration::ZERO, Duration::from_secs(50));
        slower.passed(Duration::from_secs(50), Duration::from_secs(120));
    }
    let after = slower.survival(&[90.0])[0];
    assert!(before < 0.02 && after > 0.15, "before {before}, after {after}");
    let strategy = Strategy::Adaptive(GROWTH);
    let within = |known: &Histogram, range: std::ops::Range<i64>| {
        let course = Course::of(known, GROWTH, 1.0).unwrap();
        all_until(strategy, Some(&course), 1, 300_000).into_iter().filter(|at| range.contains(at)).count()
    };
    let (fast, old_place) = (known(around(60.0, 500)), 45_000..75_000);
    assert!(within(&slower, old_place.clone()) < within(&fast, old_place), "fewer polls where nothing ends any more");
}

#[test]
fn times_learned_from_coarse_polls_come_out_where_they_are() {
    let mut known = Histogram::default();
    // Two humps, seen only through exponential gaps with jitter.
    let strategy = Strategy::Exponential(Growth { jitter: 0.3, ..GROWTH });
    for (n, task) in (0u64..).zip(around(30.0, 600).zip(around(150.0, 600)).flat_map(|(one, other)| [one, other])) {
        let (mut age, end) = (Timestamp(0), Timestamp(0).plus(Duration::from_secs_f64(task)));
        loop {
            let next = next_poll(strategy, None, Timestamp(0), n, age);
            let (from, to) = (age.since(Timestamp(0)), next.since(Timestamp(0)));
            if next >= end {
                known.finished(from, to);
                break;
            }
            known.passed(from, to);
            age = next;
        }
    }
    let alive = known.survival(&[20.0, 42.0, 105.0, 200.0]);
    assert!(alive[0] > 0.9 && (0.4..0.6).contains(&alive[1]) && (0.38..0.6).contains(&alive[2]) && alive[3] < 0.05, "{alive:?}");
}

fn growth() -> impl proptest::strategy::Strategy<Value = Growth> {
    (10u64..20_000, 1.0f64..3.0, 10u64..120_000, 0.0f64..0.5).prop_map(|(base, factor, cap, jitter)| Growth {
        base: Duration::from_millis(base),
        factor,
        cap: Duration::from_millis(cap),
        jitter,
    })
}

/// Tasks with one or two humps and stragglers, from a fraction of a second to an hour.
fn tasks() -> impl proptest::strategy::Strategy<Value = Vec<(f64, f64)>> {
    let task = (0.1f64..3_600.0, 0.0f64..1.0);
    (proptest::collection::vec(task, 1..4), proptest::collection::vec((0usize..4, 0.8f64..1.25, 0.0f64..1.0), 40..120)).prop_map(
        |(humps, draws)| {
            let pick = |(which, factor, open): (usize, f64, f64)| (humps[which % humps.len()].0 * factor, open);
            draws.into_iter().map(pick).collect()
        },
    )
}

fn learned(tasks: &[(f64, f64)]) -> Histogram {
    let mut known = Histogram::default();
    for (end, open) in tasks {
        let from = Duration::from_secs_f64(end * open);
        known.passed(Duration::ZERO, from);
        known.finished(from, Duration::from_secs_f64(*end));
    }
    known
}

proptest! {
    #[test]
    fn the_next_poll_is_always_later_and_a_restart_changes_nothing(
        seed: u64, now in 0i64..3_600_000, jitter in 0.0f64..0.9
    ) {
        let strategy = Strategy::Exponential(Growth { jitter, ..GROWTH });
        let due = next_poll(strategy, None, Timestamp(0), seed, Timestamp(now));
        prop_assert!(due.0 > now);
        prop_assert!(due.0 <= now + 60_000 * 2);
        // Any instant before it that was not itself followed by another poll leads to the same one.
        prop_assert_eq!(next_poll(strategy, None, Timestamp(0), seed, Timestamp(due.0 - 1)), due);
    }

    #[test]
    fn cold_adaptive_is_exponential(seed: u64, now in 0i64..3_600_000, growth in growth()) {
        let at = |strategy| next_poll(strategy, None, Timestamp(0), seed, Timestamp(now));
        prop_assert_eq!(at(Strategy::Adaptive(growth)), at(Strategy::Exponential(growth)));
    }

    #[test]
    fn survival_never_grows_and_stays_a_share(tasks in tasks()) {
        let known = learned(&tasks);
        let ages: Vec<f64> = (0..400).map(|n| f64::from(n) * 11.0).collect();
        let alive = known.survival(&ages);
        prop_assert!(alive.iter().all(|alive| (0.0..=1.0).contains(alive)));
        prop_assert!(alive.windows(2).all(|pair| pair[1] <= pair[0] + 1e-9));
    }
}

proptest! {
    // A course is a search of its own; in a debug build one takes tens of milliseconds.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_was_learned_the_next_poll_is_later_within_the_longest_gap_and_the_same_after_a_restart(
        seed: u64, nows in proptest::collection::vec(0i64..7_200_000, 1..40), growth in growth(), tasks in tasks()
    ) {
        let course = Course::of(&learned(&tasks), growth, 0.9).unwrap();
        let (strategy, cap) = (Strategy::Adaptive(growth), growth.cap.max(growth.base).as_secs_f64());
        let longest = i64::try_from(Duration::from_secs_f64(cap * (1.0 + growth.jitter)).as_millis()).unwrap() + 70;
        for now in nows {
            let due = next_poll(strategy, Some(&course), Timestamp(0), seed, Timestamp(now));
            prop_assert!(due.0 > now && due.0 <= now + longest, "{} to {}, longest {longest}", now, due.0);
            prop_assert_eq!(next_poll(strategy, Some(&course), Timestamp(0), seed, Timestamp(due.0 - 1)), due);
        }
    }

    #[test]
    fn no_task_is_polled_more_than_twice_as_often_as_by_exponential_gaps(growth in growth(), tasks in tasks(), budget in 0.1f64..2.0) {
        let growth = Growth { jitter: 0.0, ..growth };
        let course = Course::of(&learned(&tasks), growth, budget).unwrap();
        let end = 40 * i64::try_from(growth.cap.max(growth.base).as_millis()).unwrap();
        let adaptive = all_until(Strategy::Adaptive(growth), Some(&course), 1, end);
        let usual = all_until(Strategy::Exponential(growth), None, 1, end);
        for (count, at) in (1..).zip(&adaptive) {
            let as_usual = usual.partition_point(|usual| *usual <= at + 1);
            prop_assert!(count <= 2 * (as_usual + 1), "{count} polls at {at} ms, {as_usual} by exponential gaps");
        }
    }
}
