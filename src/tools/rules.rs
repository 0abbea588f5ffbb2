//! `--allow` and `--deny`: rules that decide on a call in advance. Pure.
//!
//! A rule is compared with the shell words of a command. To deny the command, a rule has to match one part of it,
//! however that is wrapped. To allow it, rules have to match every part, and nothing in it may be hidden.

use super::scripts::{all_commands, unwrapped};
use super::shell::{SimpleCommand, simple_commands};

/// At most this many wrappers (`env`, `nohup`) around a command are compared with a rule.
const MOST_WRAPPERS: usize = 8;

/// A shell may read more in these than words; a command with one of them is not allowed in advance.
const NOT_PLAIN: [&str; 7] = ["`", "\\", "$(", "$'", "${", "<<", "("];

/// `TOOL` or `TOOL:PATTERN`; `*` in a pattern stands for any text.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    tool: String,
    pattern: Option<String>,
}

impl Rule {
    /// Fails with a sentence if the text is not a rule for one of `tools`.
    pub fn parse(text: &str, tools: &[&str]) -> Result<Rule, String> {
        let (tool, pattern) = match text.split_once(':') {
            Some((tool, pattern)) => (tool, Some(pattern.trim()).filter(|p| *p != "*")),
            None => (text, None),
        };
        if !tools.contains(&tool) || pattern == Some("") {
            let tools = tools.join(", ");
            return Err(format!("`{text}` is not TOOL or TOOL:PATTERN, where TOOL is one of {tools}"));
        }
        Ok(Rule { tool: tool.to_owned(), pattern: pattern.map(str::to_owned) })
    }

    /// The rule as it is written.
    pub fn text(&self) -> String {
        match &self.pattern {
            Some(pattern) => format!("{}:{pattern}", self.tool),
            None => self.tool.clone(),
        }
    }

    /// A rule for `bash` holds for both tools that run a command.
    fn is_for(&self, tool: &str) -> bool {
        self.tool == tool || self.tool == "bash" && tool == "background_run"
    }

    /// `cargo *` matches `cargo` alone too.
    fn matches(&self, command: &str) -> bool {
        let matches = |pattern: &String| {
            glob(pattern, command) || pattern.strip_suffix(" *").is_some_and(|pattern| pattern == command)
        };
        self.pattern.as_ref().is_none_or(matches)
    }
}

/// The first of the rules that denies a command.
pub fn denies_command<'a>(rules: &'a [Rule], tool: &str, command: &str) -> Option<&'a Rule> {
    let parts = all_parts(command);
    let denies = |rule: &&Rule| rule.pattern.is_none() || parts.iter().any(|part| rule.matches(part));
    rules.iter().filter(|rule| rule.is_for(tool)).find(denies)
}

/// Whether the rules allow a whole command.
pub fn allow_command(rules: &[Rule], tool: &str, command: &str) -> bool {
    let rules: Vec<&Rule> = rules.iter().filter(|rule| rule.is_for(tool)).collect();
    let is_allowed = |part: &SimpleCommand| rules.iter().any(|rule| rule.matches(&part.words.join(" ")));
    rules.iter().any(|rule| rule.pattern.is_none())
        || plain_parts(command).is_some_and(|parts| !parts.is_empty() && parts.iter().all(is_allowed))
}

/// The first of the rules that names a file.
pub fn names_file<'a>(rules: &'a [Rule], tool: &str, path: &str) -> Option<&'a Rule> {
    let names = |rule: &&Rule| rule.pattern.as_ref().is_none_or(|pattern| glob(pattern, path));
    rules.iter().filter(|rule| rule.is_for(tool)).find(names)
}

/// The rules that allow this command and those that begin alike; none if something in it may be hidden.
pub fn rules_like(command: &str) -> Vec<Rule> {
    let parts = plain_parts(command).unwrap_or_default();
    let mut rules: Vec<Rule> = Vec::new();
    for part in &parts {
        // `cargo test` and `cargo publish` have little in common, but `ls -l` and `ls -a` do.
        let second = part.words.get(1).filter(|word| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        });
        let words: Vec<&str> = part.words.first().into_iter().chain(second).map(String::as_str).collect();
        let pattern = format!("{} *", words.join(" "));
        if words.iter().any(|word| word.contains(['*', '=', '$'])) {
            return Vec::new();
        }
        let rule = Rule { tool: "bash".into(), pattern: Some(pattern) };
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

/// The rule that allows `tool` every file of the folder of `path`.
pub fn rule_for_folder(tool: &str, path: &str) -> Rule {
    let folder = path.rsplit_once('/').map(|(folder, _)| folder).filter(|folder| !folder.is_empty());
    Rule { tool: tool.into(), pattern: folder.map(|folder| format!("{folder}/*")) }
}

/// The simple commands of a text. None if something in it may be hidden, or if it writes to a file.
fn plain_parts(command: &str) -> Option<Vec<SimpleCommand>> {
    if NOT_PLAIN.iter().any(|odd| command.contains(odd)) {
        return None;
    }
    let parts = simple_commands(command);
    let harmless = |target: &String| target == "/dev/null";
    let is_plain = |part: &SimpleCommand| !part.words.is_empty() && part.targets.iter().all(harmless);
    parts.iter().all(is_plain).then_some(parts)
}

/// The texts that a rule may match to deny a command: each part of it as it stands, without the wrappers around it
/// (`env`, `nohup`, assignments), and without the folder of the program.
fn all_parts(command: &str) -> Vec<String> {
    let mut all = Vec::new();
    for part in all_commands(command) {
        let last = part.words.len() - unwrapped(&part).len();
        for at in (0..last).take(MOST_WRAPPERS).chain([last]) {
            let text = part.words[at..].join(" ");
            let folder = part.words.get(at).and_then(|first| first.rfind('/'));
            all.extend(folder.map(|end| text[end + 1..].to_owned()));
            all.push(text);
        }
    }
    all
}

/// Whether the pattern matches the whole text.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<Rule> {
        let tools = ["bash", "background_run", "write_file", "edit_file"];
        let rules = texts.iter().map(|text| Rule::parse(text, &tools).unwrap());
        rules.collect()
    }

    #[test]
    fn every_part_of_a_command_must_be_allowed() {
        let rules = rules(&["bash:cargo *", "bash:echo *", "write_file"]);
        let allowed = [
            "cargo",
            "cargo test",
            "  cargo   'test' ",
            "cargo test && echo \"it works; really\"",
            "cargo test 2>&1 | echo x >/dev/null",
            "cargo test # and a comment; rm x",
            "cargo build\ncargo test &",
        ];
        for command in allowed {
            assert!(allow_command(&rules, "bash", command), "{command}");
            assert!(allow_command(&rules, "background_run", command), "{command}");
        }
        let not = [
            "",
            "# only a comment",
            "cargoes",
            "rm x",
            "cargo test; rm x",
            "cargo test & rm x",
            "cargo test\nrm x",
            "cargo test | tee x",
            "cargo test > x",
            "cargo test > 2024",
            "cargo test >& x",
            "cargo test &> x",
            "cargo $(rm x)",
            "cargo \"$(rm x)\"",
            "cargo `rm x`",
            "cargo <(rm x)",
            "(rm x)",
            "cargo() { rm x; }",
            "cargo $'\\'' ; rm x #'",
            "cargo \\\"; rm x \\\"",
            "cargo <<A\n$(rm x)\nA",
            "LD_PRELOAD=x cargo test",
            "env cargo test",
            "/tmp/cargo test",
            "if cargo test; then rm x; fi",
        ];
        for command in not {
            assert!(!allow_command(&rules, "bash", command), "{command}");
        }
        assert!(!allow_command(&rules[..0], "bash", "cargo"));
        assert!(!allow_command(&rules[2..], "bash", "cargo"));
    }

    #[test]
    fn one_part_is_enough_to_be_denied() {
        let rules = rules(&["bash:git push*", "bash:* --force*"]);
        let denied = [
            "git push",
            "git  'push' origin",
            "cd x && git push",
            "echo $(git push)",
            "env A=1 git push",
            "A=1 /usr/bin/git push",
            "sh -c 'git push'",
            "if true; then git push; fi",
            "timeout -s KILL 5 git push",
            "xargs -I {} git push {}",
            "trap 'git push' EXIT",
            "find . -exec git push ;",
            "flock . git push",
            "timeout --signal KILL 5 git push",
            "cat <<EOF\n$(git push)\nEOF",
            "sh <<EOF\ngit push\nEOF",
            "find . -exec true \\; -exec git push \\;",
            "nohup bash -c \"sh -c 'git push'\" &",
            "make --force",
        ];
        for command in denied {
            assert!(denies_command(&rules, "bash", command).is_some(), "{command}");
            assert!(denies_command(&rules, "background_run", command).is_some(), "{command}");
        }
        for command in ["git pull", "echo git push", "git commit -m 'git push'"] {
            assert!(denies_command(&rules, "bash", command).is_none(), "{command}");
        }
        assert!(denies_command(&self::rules(&["bash"]), "bash", "ls").is_some());
        let nested =
            (0..60).fold("git push".to_owned(), |inner, n| format!("sh <<E{n}\n$({inner}\n)\nE{n}\n"));
        // It takes no time that doubles with each of them.
        denies_command(&rules, "bash", &nested);
        for command in ["X=1 env", "nohup env -i ls", "nohup -- env"] {
            let rules = self::rules(&["bash:env *"]);
            assert!(denies_command(&rules, "bash", command).is_some(), "{command}");
        }
    }

    #[test]
    fn files_are_named_by_their_path() {
        let rules = rules(&["write_file:src/*.rs"]);
        assert!(names_file(&rules, "write_file", "src/a/b.rs").is_some());
        assert!(names_file(&rules, "write_file", "src/a.toml").is_none());
        assert!(names_file(&rules, "edit_file", "src/a.rs").is_none());
    }

    #[test]
    fn always_means_what_begins_alike() {
        let texts = |command| rules_like(command).iter().map(Rule::text).collect::<Vec<_>>();
        assert_eq!(texts("cargo test --all"), ["bash:cargo test *"]);
        assert_eq!(texts("ls -l && git log | head -3"), ["bash:ls *", "bash:git log *", "bash:head *"]);
        assert_eq!(texts("ls ./x"), ["bash:ls *"]);
        assert!(texts("cargo $(rm x)").is_empty());
        assert!(texts("A=1 make").is_empty());
        for command in ["cargo test --all", "ls -l && git log | head -3"] {
            assert!(allow_command(&rules_like(command), "bash", command));
        }
        assert_eq!(rule_for_folder("edit_file", "src/a.rs").text(), "edit_file:src/*");
        assert_eq!(rule_for_folder("edit_file", "a.rs").text(), "edit_file");
    }

    #[test]
    fn a_pattern_matches_the_whole_text() {
        let cases = [
            ("a*", "a", true),
            ("a*b*c", "axbxc", true),
            ("a*b*c", "axcxb", false),
            ("*ab", "ab", true),
            ("a*a", "a", false),
            ("", "", true),
            ("ab", "abc", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_rule_is_named() {
        for text in ["", "cargo *", "rm:x", "bash:", "bash:  "] {
            let err = Rule::parse(text, &["bash"]).unwrap_err();
            assert!(err.contains(text) && err.contains("TOOL:PATTERN"), "{err}");
        }
        assert_eq!(Rule::parse("bash:*", &["bash"]), Rule::parse("bash", &["bash"]));
    }
}
