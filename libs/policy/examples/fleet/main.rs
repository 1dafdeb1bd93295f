//! Simulates a fleet that serves one model, and compares ways to pick an instance.
//!
//! For `cargo xtask bench policy`. Time is virtual and chance is seeded, so that a run can be repeated. What an
//! instance costs is in [`instance`], what callers send in [`workload`], and the ways to pick in [`pickers`].
//! Prints one line of JSON. `fleet quick` runs one seed of the first fleet, for a look.

#![allow(clippy::print_stdout, reason = "a command-line program")]

mod chance;
mod figures;
mod instance;
mod pickers;
mod simulation;
mod workload;

use std::error::Error;

use serde_json::{Value, json};

use figures::{Figures, Spread};
use pickers::Way;
use simulation::{Run, SECONDS};

/// Sizes of fleets; the first is the one that is told in full.
const FLEETS: [usize; 3] = [16, 8, 32];
/// Shares of what a fleet can end at most, in percent.
const LOADS: [u32; 3] = [50, 80, 95];
const SEEDS: u64 = 5;
/// The share of good requests that a rate must keep to count as served.
const SERVED: f64 = 0.99;
/// More requests a second, for each instance, than any way serves.
const TOO_MANY: f64 = 15.0;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let quick = std::env::args().nth(1).is_some_and(|argument| argument == "quick");
    let (fleets, seeds) = if quick { (&FLEETS[..1], 1) } else { (&FLEETS[..], SEEDS) };
    let (mut loads, mut most) = (Vec::new(), Vec::new());
    for &instances in fleets {
        let mut capacities = Vec::new();
        for way in Way::ALL {
            let saturated = saturated(instances, way)?;
            capacities.push((way, saturated));
            let rates: Outcome<Vec<f64>> = (1..=seeds).map(|seed| served(instances, way, seed, saturated)).collect();
            most.push(json!({ "instances": instances, "way": way.name(), "served": Spread::of(rates?) }));
        }
        let own = capacities.iter().find(|(way, _)| *way == Way::PowerOfTwo).map_or(0.0, |(_, rate)| *rate);
        let fleet = capacities.iter().fold(0.0, |most: f64, (_, rate)| most.max(*rate));
        let of_fleet = LOADS.map(|load| ("the fleet", load, fleet * f64::from(load) / 100.0));
        for (of, load, rate) in of_fleet.into_iter().chain([("power of two", 95, own * 0.95)]) {
            for way in Way::ALL {
                let runs: Outcome<Vec<Figures>> =
                    (1..=seeds).map(|seed| simulation::run(&Run { instances, rate, seed, way })).collect();
                let mut row = row(&runs?);
                row["instances"] = instances.into();
                row["way"] = way.name().into();
                (row["load"], row["of"], row["rate"]) = (load.into(), of.into(), rate.into());
                loads.push(row);
            }
        }
    }
    let told = json!({ "loads": loads, "most": most, "seeds": seeds, "seconds": SECONDS, "limits": figures::limits() });
    println!("{told}");
    Ok(())
}

/// Requests a second that the fleet ends when far more come.
fn saturated(instances: usize, way: Way) -> Outcome<f64> {
    let run = Run { instances, rate: TOO_MANY * instances as f64, seed: 0, way };
    Ok(simulation::run(&run)?.ended_per_second)
}

/// The most requests a second at which nearly all are good: goodput as DistServe defines it (Zhong and others,
/// 2024), found to one part in two hundred. Nothing serves more than it ends.
fn served(instances: usize, way: Way, seed: u64, saturated: f64) -> Outcome<f64> {
    let (mut least, mut most) = (0.0, saturated);
    while most - least > most / 200.0 {
        let rate = f64::midpoint(least, most);
        let figures = simulation::run(&Run { instances, rate, seed, way })?;
        if figures.good_share >= SERVED {
            least = rate;
        } else {
            most = rate;
        }
    }
    Ok(least)
}

fn row(runs: &[Figures]) -> Value {
    let spread = |figure: fn(&Figures) -> f64| Spread::of(runs.iter().map(figure).collect());
    json!({
        "goodput": spread(|run| run.goodput),
        "first_p50_ms": spread(|run| run.first_ms[0]),
        "first_p99_ms": spread(|run| run.first_ms[1]),
        "total_p50_ms": spread(|run| run.total_ms[0]),
        "total_p99_ms": spread(|run| run.total_ms[1]),
        "cached": spread(|run| run.cached),
    })
}
