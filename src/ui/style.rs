//! Styles of text on a terminal: Select Graphic Rendition (ECMA-48, 8.3.117).

pub const PLAIN: &str = "\x1b[0m";
pub const BOLD: &str = "\x1b[1m";
pub const DIM: &str = "\x1b[2m";
pub const RED: &str = "\x1b[31m";
pub const GREEN: &str = "\x1b[32m";
pub const CYAN: &str = "\x1b[36m";

/// `text` in this style, which ends with it.
pub fn styled(style: &str, text: &str) -> String {
    format!("{style}{text}{PLAIN}")
}
