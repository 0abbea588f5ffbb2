//! The difference between two texts, line by line, with line numbers. Pure.

use std::fmt;

/// How many lines that stay are shown around a change.
const CONTEXT: usize = 2;

/// Comparing costs as many steps as old lines times new lines; more than this is shown as replaced.
const MOST_CELLS: usize = 4_000_000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Same,
    Removed,
    Added,
    /// Lines that stay and are not shown.
    Gap,
}

/// One line of a diff.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    pub kind: Kind,
    /// Counted from 1, in the old text for a removed line and in the new text for any other.
    pub number: usize,
    pub text: &'a str,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mark = match self.kind {
            Kind::Same => ' ',
            Kind::Removed => '-',
            Kind::Added => '+',
            Kind::Gap => return f.write_str("      ..."),
        };
        write!(f, "{:>5} {mark} {}", self.number, self.text)
    }
}

/// The lines that differ and what is around them.
pub fn diff<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let all = compare(&old, &new);
    let near = |at: usize| {
        let around = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(all.len());
        all[around].iter().any(|line| line.kind != Kind::Same)
    };
    let mut shown: Vec<Line> = Vec::new();
    for (at, line) in all.iter().enumerate() {
        if near(at) {
            shown.push(line.clone());
        } else if shown.last().is_some_and(|last| last.kind != Kind::Gap) {
            shown.push(Line { kind: Kind::Gap, ..line.clone() });
        }
    }
    if shown.last().is_some_and(|last| last.kind == Kind::Gap) {
        shown.pop();
    }
    shown
}

/// Every line of both texts.
fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let same = |(a, b): &(&&str, &&str)| a == b;
    let start = old.iter().zip(new).take_while(same).count();
    let rest = (&old[start..], &new[start..]);
    let end = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(same).count();
    let (old_end, new_end) = (old.len() - end, new.len() - end);
    let mut lines: Vec<Line> = Vec::new();
    let keep = |lines: &mut Vec<Line<'a>>, range: std::ops::Range<usize>| {
        lines.extend(range.map(|at| line(Kind::Same, at, new)));
    };
    keep(&mut lines, 0..start);
    let mut at = (start, start);
    for (a, b) in common(&old[start..old_end], &new[start..new_end]) {
        replace(&mut lines, old, new, at, (start + a, start + b));
        keep(&mut lines, start + b..start + b + 1);
        at = (start + a + 1, start + b + 1);
    }
    replace(&mut lines, old, new, at, (old_end, new_end));
    keep(&mut lines, new_end..new.len());
    lines
}

/// The lines between two places: first those that go, then those that come.
fn replace<'a>(
    lines: &mut Vec<Line<'a>>,
    old: &[&'a str],
    new: &[&'a str],
    from: (usize, usize),
    to: (usize, usize),
) {
    lines.extend((from.0..to.0).map(|at| line(Kind::Removed, at, old)));
    lines.extend((from.1..to.1).map(|at| line(Kind::Added, at, new)));
}

fn line<'a>(kind: Kind, at: usize, texts: &[&'a str]) -> Line<'a> {
    Line { kind, number: at + 1, text: texts[at] }
}

/// The places of a longest common subsequence.
fn common(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let width = new.len() + 1;
    if old.len().saturating_mul(width) > MOST_CELLS {
        return Vec::new();
    }
    // At (a, b): the length of the longest one of old[a..] and new[b..].
    let mut lengths = vec![0u32; (old.len() + 1) * width];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            lengths[a * width + b] = match old[a] == new[b] {
                true => lengths[(a + 1) * width + b + 1] + 1,
                false => lengths[(a + 1) * width + b].max(lengths[a * width + b + 1]),
            };
        }
    }
    let (mut a, mut b) = (0, 0);
    let mut places = Vec::new();
    while a < old.len() && b < new.len() {
        if old[a] == new[b] {
            places.push((a, b));
            (a, b) = (a + 1, b + 1);
        } else if lengths[(a + 1) * width + b] >= lengths[a * width + b + 1] {
            a += 1;
        } else {
            b += 1;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(old: &str, new: &str, expected: &[&str]) {
        let lines = diff(old, new);
        let lines = lines.iter().map(|line| line.to_string().trim().replacen(' ', "", 2));
        assert_eq!(lines.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_differs_is_shown_with_its_surroundings() {
        check("a\nb\n", "a\nb\n", &[]);
        check("", "a\nb\n", &["1+a", "2+b"]);
        check("a\nb\n", "", &["1-a", "2-b"]);
        check("a\nb\nc", "a\nx\nc", &["1 a", "2-b", "2+x", "3 c"]);
        check("1\n2\n3\n4\n5\n6", "1\n2\n3\n4\nx\n6", &["3 3", "4 4", "5-5", "5+x", "6 6"]);
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("\n3\n", "\n").replace("18\n", "18\nx\n");
        check(
            &old,
            &new,
            &["1 1", "2 2", "3-3", "3 4", "4 5", "...", "16 17", "17 18", "18+x", "19 19", "20 20"],
        );
    }

    #[test]
    fn a_long_text_is_shown_as_replaced() {
        let old = "a\n".repeat(3000);
        let new = "b\n".repeat(3000);
        assert_eq!(diff(&old, &new).len(), 6000);
    }
}
