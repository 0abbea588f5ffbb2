//! Completes the word before the cursor: a slash command or its argument, or a path after `@`.

use std::fs;

use super::{editor::Editor, line};

/// At most this many candidates are shown.
const MOST: usize = 100;

/// Inserts what all candidates have in common. Returns the candidates if there are several.
pub fn complete(editor: &mut Editor) -> Option<String> {
    let before = &editor.text[..editor.cursor];
    let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let word = &before[start..];
    let (typed_length, candidates) = match line::attached_path(word) {
        Some(path) => (path.len(), paths(path)),
        None if start == 0 && word.starts_with('/') => (word.len(), line::names(word)),
        None => (word.len(), line::arguments(before[..start].trim(), word)),
    };
    // What the first and the last in order have in common, all have.
    let (first, last) = (candidates.iter().min()?, candidates.iter().max()?);
    let different = first.char_indices().zip(last.chars()).find(|((_, a), b)| a != b);
    let end = different.map_or(first.len(), |((at, _), _)| at);
    editor.insert(&first[typed_length..end]);
    if let [only] = &candidates[..] {
        editor.insert(if only.ends_with('/') { "" } else { " " });
        return None;
    }
    let more = candidates.len().saturating_sub(MOST);
    let mut shown = candidates[..candidates.len() - more].join("  ");
    if more > 0 {
        shown.push_str(&format!("  ... ({more} more)"));
    }
    Some(shown)
}

/// The paths that begin with `typed`; folders end with a slash. Hidden files need a typed dot.
fn paths(typed: &str) -> Vec<String> {
    let (folder, name) = typed.split_at(typed.rfind('/').map_or(0, |at| at + 1));
    let place = if folder.is_empty() { "." } else { folder };
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let mut paths: Vec<String> = entries
        .filter_map(|entry| {
            let found = entry.file_name().into_string().ok()?;
            let fits = found.starts_with(name) && (!found.starts_with('.') || name.starts_with('.'));
            let end = if entry.path().is_dir() { "/" } else { "" };
            fits.then(|| format!("{folder}{found}{end}"))
        })
        .collect();
    paths.sort_unstable();
    paths
}
