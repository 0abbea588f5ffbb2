//! The command line: any words give `Args` or a sentence, and what was accepted is in the `Args`.

use std::{collections::BTreeMap, ffi::OsString, os::unix::ffi::OsStringExt};

use super::{
    check,
    inputs::{bytes, damage, joined, once_in, one},
    random::Random,
};
use crate::{
    cli::{
        Args, Mode,
        options::{COMMANDS, OPTIONS, Opt},
        wanted_format,
    },
    error::Error,
};

const PIECES: [&str; 18] = [
    "a",
    "-",
    "--",
    "=",
    "0",
    "1",
    "99999999999999999999",
    "-5",
    "",
    " ",
    "é",
    "\u{1f980}",
    "'",
    "\n",
    "\0",
    "workspace,best-effort",
    "json",
    "off",
];

fn parse(words: &[OsString]) -> Result<Args, Error> {
    Args::parse(words.iter().cloned())
}

/// A value that `opt` takes.
fn value(random: &mut Random, opt: &Opt) -> String {
    match (opt.value, opt.long) {
        _ if !opt.words.is_empty() => one(random, opt.words).to_owned(),
        (_, "sandbox") => one(random, &["workspace", "read-only", "off"]).to_owned(),
        (Some("N" | "S" | "MIB"), _) => (1 + random.below(1 << 30)).to_string(),
        _ => format!("v{}{}", random.below(1 << 30), joined(random, &PIECES, 2)),
    }
}

/// The option and its value in one of the ways to write them.
fn write(random: &mut Random, opt: &Opt, value: Option<&str>, words: &mut Vec<OsString>) {
    let long = format!("--{}", opt.long);
    let short = opt.short.map(|short| format!("-{short}"));
    match (value, short, random.below(4)) {
        (None, Some(short), 0 | 1) => words.push(short.into()),
        (None, ..) => words.push(long.into()),
        (Some(value), Some(short), 0) => words.extend([short.into(), value.into()]),
        (Some(value), Some(short), 1) => words.push(format!("{short}{value}").into()),
        (Some(value), _, 2) => words.push(format!("{long}={value}").into()),
        (Some(value), ..) => words.extend([long.into(), value.into()]),
    }
}

/// How the value stands in the `Args` when they are printed for a programmer.
fn debug(opt: &Opt, value: &str) -> String {
    match opt.value {
        Some("S") => format!("Some({value}s)"),
        Some("MIB") => format!("Some({})", value.parse::<u64>().unwrap() << 20),
        Some("N") => format!("Some({value})"),
        _ if opt.long == "resume" => format!("Resume({value:?})"),
        _ if !opt.words.is_empty() || opt.long == "sandbox" => value.replace('-', ""),
        _ => format!("{value:?}"),
    }
}

#[test]
fn what_was_accepted_is_in_the_args() {
    check("what_was_accepted_is_in_the_args", 300, |random| {
        let (mut words, mut given) = (Vec::new(), BTreeMap::new());
        for _ in 0..random.below(8) {
            let opt = &OPTIONS[random.below(OPTIONS.len() as u64) as usize];
            let value = opt.value.map(|_| value(random, opt));
            write(random, opt, value.as_deref(), &mut words);
            // Only some may be given several times; of the others the last one counts.
            let place = match opt.long {
                "add-dir" | "keep-env" | "drop-env" => words.len(),
                _ => 0,
            };
            given.insert((opt.long, place), (opt, value));
        }
        let prompt = once_in(random, 2).then(|| format!("prompt {}", random.below(1 << 30)));
        if let Some(prompt) = &prompt {
            words.extend(["--".into(), prompt.into()]);
        }
        let args = parse(&words).unwrap_or_else(|err| panic!("{words:?}: {err}"));
        let printed = format!("{args:?}");
        let lower = printed.to_lowercase();
        for ((long, _), (opt, value)) in given {
            let Some(value) = value else { continue };
            // What stands behind it may have started another session.
            let is_overruled = long == "resume" && !printed.contains("Resume");
            let expected = debug(opt, &value);
            let found = printed.contains(&expected) || lower.contains(&expected);
            assert!(found || is_overruled, "{words:?}: no {expected} in {args:?}");
        }
        assert_eq!(args.prompt, prompt, "{words:?}");
    });
}

/// A word that may be anything, but is often nearly right.
fn any_word(random: &mut Random) -> OsString {
    let opt = &OPTIONS[random.below(OPTIONS.len() as u64) as usize];
    let mut word = match random.below(6) {
        0 => bytes(random, 12),
        1 => joined(random, &PIECES, 3).into_bytes(),
        2 => COMMANDS[random.below(COMMANDS.len() as u64) as usize].name.into(),
        3 => format!("-{}", opt.short.unwrap_or('x')).into_bytes(),
        4 => format!("--{}={}", opt.long, value(random, opt)).into_bytes(),
        _ => format!("--{}", opt.long).into_bytes(),
    };
    if once_in(random, 4) {
        damage(random, &mut word, &PIECES, 2);
    }
    OsString::from_vec(word)
}

#[test]
fn any_words_give_args_or_a_sentence() {
    check("any_words_give_args_or_a_sentence", 1500, |random| {
        let words: Vec<OsString> = (0..random.below(8)).map(|_| any_word(random)).collect();
        let _ = wanted_format(&words);
        match parse(&words) {
            Ok(args) => {
                let takes_none = matches!(args.mode, Mode::Demo | Mode::Sessions | Mode::Man);
                assert!(!(takes_none && args.prompt.is_some()), "{words:?}");
                assert_eq!(parse(&words).ok(), Some(args));
            }
            Err(err @ Error::Usage(_)) => {
                let text = err.to_string();
                assert!(text.ends_with("; try `meanwhile --help`"), "{words:?}: {text}");
            }
            Err(err) => panic!("{words:?} is no mistake in its use: {err}"),
        }
    });
}
