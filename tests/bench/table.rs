//! What was measured, as a table in Markdown: each figure is a median, with the lowest and the upper quartile.
//! On a machine with other work to do the lowest says most of the program, and the quartile of the machine.

use std::{fs, path::Path, time::Duration};

/// How a number is shown.
#[derive(Clone, Copy)]
pub enum Unit {
    Milliseconds,
    Microseconds,
    Megabytes,
}

/// What is aimed at.
pub enum Goal {
    Below(f64),
    /// So many times the floor.
    Times(f64),
}

/// One line: `floor[n]` and `program[n]` were measured one right after the other.
pub struct Row {
    pub what: &'static str,
    pub unit: Unit,
    pub floor: Vec<f64>,
    pub program: Vec<f64>,
    pub goal: Goal,
    pub note: String,
}

impl Unit {
    fn show(self, number: f64) -> String {
        let number = match self {
            Unit::Milliseconds => number * 1e3,
            Unit::Microseconds => number * 1e6,
            Unit::Megabytes => number / 1e6,
        };
        match number {
            100.0.. => format!("{number:.0}"),
            10.0.. => format!("{number:.1}"),
            _ => format!("{number:.2}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Unit::Milliseconds => "ms",
            Unit::Microseconds => "µs",
            Unit::Megabytes => "MB",
        }
    }
}

pub fn print(rows: &[Row]) {
    println!("| | floor | `meanwhile` | ratio | goal |");
    println!("| --- | --- | --- | --- | --- |");
    for row in rows {
        println!("{}", line(row));
    }
}

pub fn seconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(Duration::as_secs_f64).collect()
}

fn line(row: &Row) -> String {
    let show = |number| row.unit.show(number);
    let unit = row.unit.name();
    let ratios = row.floor.iter().zip(&row.program);
    let ratios: Vec<f64> = ratios.map(|(floor, program)| program / floor).collect();
    let (floor, ratio) = match row.floor.is_empty() {
        true => ("–".into(), "–".into()),
        false => {
            (format!("{} {unit}", spread(&row.floor, show)), spread(&ratios, |ratio| format!("{ratio:.1}")))
        }
    };
    let (goal, is_met) = match row.goal {
        Goal::Below(most) => (format!("{} {unit}", show(most)), median(&row.program) < most),
        Goal::Times(most) => (format!("{most} × floor"), median(&ratios) < most),
    };
    let verdict = if is_met { "" } else { ", **missed**" };
    let program = format!("{} {unit}{}", spread(&row.program, show), row.note);
    format!("| {} | {floor} | {program} | {ratio} | < {goal}{verdict} |", row.what)
}

/// `median (lowest–upper quartile)`
fn spread(numbers: &[f64], show: impl Fn(f64) -> String) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |part: usize| show(sorted[(sorted.len() - 1) * part / 4]);
    let (low, high) = (at(0), at(3));
    match sorted.len() > 1 && low != high {
        true => format!("{} ({low}–{high})", at(2)),
        false => at(2),
    }
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) / 2]
}

/// The size of the program's file.
pub fn size(binary: &Path) -> Row {
    let bytes = fs::metadata(binary).expect("the program is there").len();
    Row {
        what: "size of the binary",
        unit: Unit::Megabytes,
        floor: Vec::new(),
        program: vec![bytes as f64],
        goal: Goal::Below(2_883_584.0),
        note: format!(", {bytes} bytes"),
    }
}

/// What it ran on.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or(std::env::consts::ARCH, |model| model.trim_start_matches([' ', '\t', ':']));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}, load {load} before", kernel.trim())
}
