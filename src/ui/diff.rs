//! The difference between two texts, line by line, with line numbers. Pure.
//!
//! Memory grows with the number of lines. The difference is the shortest (Myers, "An O(ND) Difference Algorithm and
//! Its Variations", 1986, section 4b), except that parts with more than `MOST_ROUNDS` differences are shown as replaced.

use std::{fmt, ops::Range};

/// How many unchanged lines are shown around a change.
const CONTEXT: usize = 2;

/// The search for the middle of a difference stops after so many rounds; each takes one step more than the one before.
const MOST_ROUNDS: isize = 1000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Same,
    Removed,
    Added,
    /// Unchanged lines that are not shown.
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

/// Lines of the old text that lines of the new one replace; one of the ranges may be empty.
struct Hunk {
    old: Range<usize>,
    new: Range<usize>,
}

/// The lines that differ, with `CONTEXT` unchanged lines before and after each change.
pub fn diff<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut hunks = Vec::new();
    compare(&old, &new, (0, 0), &mut hunks);
    let mut lines = Vec::new();
    let mut add = |kind, texts: &[&'a str], range: Range<usize>| {
        lines.extend(range.map(|at| Line { kind, number: at + 1, text: texts[at] }));
    };
    // Where the shown lines of the new text end.
    let mut end = 0;
    for (at, hunk) in hunks.iter().enumerate() {
        let start = hunk.new.start.saturating_sub(CONTEXT).max(end);
        if at > 0 && start > end {
            add(Kind::Gap, &new, end..end + 1);
        }
        add(Kind::Same, &new, start..hunk.new.start);
        add(Kind::Removed, &old, hunk.old.clone());
        add(Kind::Added, &new, hunk.new.clone());
        let next = hunks.get(at + 1).map_or(new.len(), |next| next.new.start);
        end = next.min(hunk.new.end + CONTEXT);
        add(Kind::Same, &new, hunk.new.end..end);
    }
    lines
}

/// Adds the hunks of two pieces of text, which start at the lines `at`.
fn compare(mut old: &[&str], mut new: &[&str], mut at: (usize, usize), hunks: &mut Vec<Hunk>) {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    (old, new, at) = (&old[start..], &new[start..], (at.0 + start, at.1 + start));
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    if let Some((a, b)) = middle(old, new) {
        compare(&old[..a], &new[..b], at, hunks);
        compare(&old[a..], &new[b..], (at.0 + a, at.1 + b), hunks);
    } else if !(old.is_empty() && new.is_empty()) {
        let end = (at.0 + old.len(), at.1 + new.len());
        match hunks.last_mut() {
            Some(last) if (last.old.end, last.new.end) == at => (last.old.end, last.new.end) = end,
            _ => hunks.push(Hunk { old: at.0..end.0, new: at.1..end.1 }),
        }
    }
}

/// How many lines of both texts stand before the middle of a shortest difference. The first lines of the texts
/// differ, and so do the last. None if one text is empty, or if they differ too much.
fn middle(old: &[&str], new: &[&str]) -> Option<(usize, usize)> {
    if old.is_empty() || new.is_empty() {
        return None;
    }
    let (n, m) = (old.len(), new.len());
    let difference = n as isize - m as isize;
    let most = MOST_ROUNDS.min((n + m).div_ceil(2) as isize);
    let place = |diagonal: isize| (diagonal + most + 1) as usize;
    // The furthest place in the old text on each diagonal (its place minus the place in the new text), counted from the
    // starts of both texts, and from their ends.
    let mut furthest = [vec![0; place(most + 2)], vec![0; place(most + 2)]];
    for round in 0..=most {
        for side in [0, 1] {
            for diagonal in (-round..=round).step_by(2) {
                let (below, above) =
                    (furthest[side][place(diagonal - 1)], furthest[side][place(diagonal + 1)]);
                let down = diagonal == -round || diagonal != round && below < above;
                let mut a: usize = if down { above } else { below + 1 };
                let mut b = (a as isize - diagonal) as usize;
                let same = |a, b| if side == 0 { old[a] == new[b] } else { old[n - 1 - a] == new[m - 1 - b] };
                while a < n && b < m && same(a, b) {
                    (a, b) = (a + 1, b + 1);
                }
                furthest[side][place(diagonal)] = a;
                // Do the paths from both sides meet? The other side has not done this round yet if this is side 0.
                let other = difference - diagonal;
                if (difference & 1) as usize != side
                    && other.abs() < round + side as isize
                    && a + furthest[1 - side][place(other)] >= n
                {
                    return Some(if side == 0 { (a, b) } else { (n - a, m - b) });
                }
            }
        }
    }
    None
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

    /// The length of a longest common subsequence.
    fn longest_common(old: &[&str], new: &[&str]) -> usize {
        let mut lengths = vec![0; new.len() + 1];
        for a in old {
            let before = lengths.clone();
            for (b, line) in new.iter().enumerate() {
                lengths[b + 1] = if a == line { before[b] + 1 } else { before[b + 1].max(lengths[b]) };
            }
        }
        lengths[new.len()]
    }

    proptest::proptest! {
        #[test]
        fn the_difference_is_right_and_the_shortest(old in "([abc]\n){0,24}", new in "([abc]\n){0,24}") {
            let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
            let mut hunks = Vec::new();
            compare(&old, &new, (0, 0), &mut hunks);
            let (mut made, mut from, mut removed) = (Vec::<&str>::new(), 0, 0);
            for hunk in &hunks {
                made.extend(&old[from..hunk.old.start]);
                made.extend(&new[hunk.new.clone()]);
                (from, removed) = (hunk.old.end, removed + hunk.old.len());
            }
            made.extend(&old[from..]);
            assert_eq!(made, new);
            assert_eq!(removed, old.len() - longest_common(&old, &new));
        }
    }

    #[test]
    fn a_few_changes_in_a_long_text_are_found() {
        let old: String = (0..100_000).map(|n| format!("{n}\n")).collect();
        let new = old.replace("\n10000\n", "\n").replace("\n90000\n", "\nx\n");
        let changed = |line: &&Line| matches!(line.kind, Kind::Removed | Kind::Added);
        assert_eq!(diff(&old, &new).iter().filter(changed).count(), 3);
    }

    #[test]
    fn a_long_text_is_shown_as_replaced() {
        let old = "a\n".repeat(3000);
        let new = "b\n".repeat(3000);
        assert_eq!(diff(&old, &new).len(), 6000);
    }
}
