//! What every parser promises for any input, tried with made-up inputs.
//!
//! An ordinary run tries a few hundred, the same every time. `MEANWHILE_FUZZ_SECONDS=300` tries new ones for so
//! long, each property by itself; `MEANWHILE_FUZZ_SEED` is the one input that a failure has named.

mod inputs;
#[path = "../../tests/support/random.rs"]
mod random;
mod reply;
mod sse;

use std::{
    env,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use random::Random;

/// Every input has its own seed, below this: short enough to be typed.
const SEEDS: u64 = 1 << 31;

/// Tries `property` with `rounds` inputs, or as many as the time allows that the environment gives.
/// What it makes of its random numbers must depend on nothing else.
fn check(name: &'static str, rounds: u64, property: impl Fn(&mut Random)) {
    if let Some(seed) = number("MEANWHILE_FUZZ_SEED") {
        return try_seed(name, seed, &property);
    }
    let seconds = number("MEANWHILE_FUZZ_SECONDS");
    let mut seeds = Random::new(seconds.map_or(1, |_| now()));
    let start = Instant::now();
    let mut tried = 0;
    let more = |tried| match seconds {
        Some(seconds) => start.elapsed() < Duration::from_secs(seconds),
        None => tried < rounds,
    };
    while more(tried) {
        try_seed(name, seeds.below(SEEDS), &property);
        tried += 1;
    }
    if seconds.is_some() {
        let seconds = start.elapsed().as_secs();
        eprintln!("{name}: {tried} inputs in {seconds} s, no finding");
    }
}

fn try_seed(name: &'static str, seed: u64, property: &impl Fn(&mut Random)) {
    let _named = Named { name, seed };
    property(&mut Random::new(seed));
}

/// Says which input it was when the property fails on it.
struct Named {
    name: &'static str,
    seed: u64,
}

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Named { name, seed } = self;
            eprintln!("{name} fails: MEANWHILE_FUZZ_SEED={seed} cargo test {name}");
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the clock is past 1970").as_nanos() as u64
}
