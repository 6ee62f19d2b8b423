//! Texts that people read in status: short, and on one line. Pure.

/// Longest message anywhere in status, in bytes: a text over the schema's `maxLength` would make every write fail.
pub const MESSAGE_BYTES: usize = 256;

/// `text` cut to [`MESSAGE_BYTES`] at a character boundary, control characters replaced by blanks.
#[must_use]
pub fn message(text: &str) -> String {
    cut(text, MESSAGE_BYTES)
}

/// `text` cut to so many bytes like [`message`].
pub(crate) fn cut(text: &str, bytes: usize) -> String {
    let clean: String = text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if clean.len() <= bytes {
        return clean;
    }
    let mut end = bytes.saturating_sub('…'.len_utf8());
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    let mut cut: String = clean
        .chars()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= end).then_some(c)
        })
        .collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_character_and_keeps_no_line_breaks() {
        let cut = message(&format!("a\nb{}", "ü".repeat(300)));
        assert!(cut.len() <= MESSAGE_BYTES, "{}", cut.len());
        assert!(cut.starts_with("a b") && cut.ends_with('…'));
        assert_eq!(message("short"), "short");
    }
}
