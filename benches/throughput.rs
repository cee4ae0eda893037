//! Whole generations a second: accepted over HTTP, submitted, polled, stored, durable at every step, against the simulated
//! providers: `scripts/bench throughput [--no-assets] [--seconds N] [--in-flight N] [--db sqlite|postgres] [--smoke]`.
//!
//! Three processes, as in life: this one (the load), `longtake serve`, `longtake simulate`; with PostgreSQL its server is the
//! fourth. First the load keeps a number of generations unfinished, which finds the rate; then it posts at half that rate by the
//! clock, each wait counted from the instant the post was due. In the end every generation must have succeeded with exactly one
//! billed submit, or there are no figures.

#[path = "throughput/bed.rs"]
mod bed;
#[path = "throughput/http.rs"]
mod http;
#[path = "throughput/load.rs"]
mod load;
#[path = "throughput/process.rs"]
mod process;
#[path = "throughput/report.rs"]
mod report;

use std::{error::Error, time::Duration};

use bed::Bed;
use load::Limits;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What was asked for.
#[derive(Debug, Clone, Copy)]
struct Wish {
    smoke: bool,
    assets: bool,
    limits: Limits,
}

const FULL: Limits = Limits { warm: Duration::from_secs(3), span: Duration::from_secs(10), in_flight: 3_072, connections: 64 };
const SMOKE: Limits = Limits { warm: Duration::from_millis(200), span: Duration::from_millis(500), in_flight: 8, connections: 4 };

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1).map(String::as_str);
    let mut wish = Wish { smoke: has("--smoke"), assets: !has("--no-assets"), limits: FULL };
    if wish.smoke {
        wish.limits = SMOKE;
    }
    if let Some(seconds) = after("--seconds") {
        wish.limits.span = Duration::from_secs(seconds.parse()?);
    }
    if let Some(count) = after("--in-flight") {
        wish.limits.in_flight = count.parse()?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut folders = Vec::new();
    for place in bed::places(after("--db"))? {
        let bed = Bed::make(wish, place, &runtime)?;
        let found = runtime.block_on(load::measure(&bed, wish.limits));
        let closed = bed.close(&runtime);
        report::print(wish, &found?)?;
        folders.push(closed?);
    }
    report::comparison(wish)
}
