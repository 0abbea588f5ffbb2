//! `make bench`: what the program costs, each figure against a floor that was measured in the same run.
//!
//! It prints a table in Markdown. No network, and nothing is asserted: machines differ.

#[path = "../support/binding.rs"]
#[allow(dead_code)]
mod binding;
#[path = "../support/dir.rs"]
#[allow(dead_code)]
mod dir;
#[path = "../support/plain.rs"]
mod plain;
#[path = "../support/stream.rs"]
#[allow(dead_code)]
mod stream;

mod client;
mod commands;
mod counts;
mod replies;
mod stage;
mod table;
mod turns;

use stage::Stage;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((client::ARGUMENT, rest)) = arguments.split_first().map(|(a, b)| (a.as_str(), b)) {
        return client::run(rest);
    }
    println!("{}: median (lowest–upper quartile)\n", table::machine());
    let stage = Stage::new();
    let mut rows = Vec::new();
    rows.extend(turns::start(&stage));
    rows.push(turns::echo(&stage));
    rows.extend(turns::long_history(&stage));
    rows.extend(turns::deltas(&stage));
    rows.extend(commands::gigabyte(&stage));
    rows.push(commands::tasks(&stage));
    rows.push(table::size(&stage.binary));
    table::print(&rows);
    println!();
    // In folders of its own: what a start has to look at grows with what is there.
    counts::print(&Stage::new());
}
