//! Text from elsewhere, made safe to print: a proposal's name or a host's output must not move the cursor,
//! change colours or hide what follows.
use std::fmt::Write as _;

/// Writes control characters, and the Unicode characters that reorder or hide text, as escapes such as `\x1b` or `\u{202e}`.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x100 && c.is_control() => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if misleading(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Bidirectional controls, zero-width characters, line separators, tags, and anything else a terminal shows as nothing.
fn misleading(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// [`escape`], and cut to `max` characters with an ellipsis.
pub fn clip(text: &str, max: usize) -> String {
    let whole = escape(text);
    if whole.chars().count() <= max {
        return whole;
    }
    let mut cut: String = whole.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_sequences_become_text() {
        assert_eq!(escape("a\x1b[2Jb\u{7}\n\u{9b}31m"), "a\\x1b[2Jb\\x07\\n\\x9b31m");
        assert_eq!(escape("safe\u{202e}gnp.exe\u{200b}"), "safe\\u{202e}gnp.exe\\u{200b}");
        assert_eq!(escape("업그레이드 Boho é"), "업그레이드 Boho é");
    }

    #[test]
    fn clipping_counts_characters() {
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(clip("abcd", 4), "abcd");
    }
}
