//! What an object key may be.

use crate::ports::ObjectError;

/// Splits a key into the names of its folders and of its file.
///
/// # Errors
/// `BadKey` where it could name something outside of a folder, or cannot be the name of a file. What a browser or a
/// shell would make of a name (`%2e%2e`, a leading dash) is of no concern: nothing here decodes names or runs them.
pub(super) fn parts(key: &str) -> Result<Vec<&str>, ObjectError> {
    let bad = |why: &str| Err(ObjectError::BadKey { key: shown(key), why: why.to_owned() });
    if key.is_empty() {
        return bad("it is empty");
    }
    if key.len() > LONGEST {
        return bad("it is longer than 1,024 bytes");
    }
    if key.chars().any(char::is_control) {
        return bad("it holds a control character");
    }
    if key.contains('\\') {
        return bad("it holds a backslash");
    }
    if key.starts_with('/') {
        return bad("it is an absolute path");
    }
    if key.as_bytes().get(1) == Some(&b':') && key.starts_with(|char: char| char.is_ascii_alphabetic()) {
        return bad("it begins with a drive");
    }
    let parts: Vec<_> = key.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return bad("one of its parts is empty");
    }
    if parts.iter().any(|part| matches!(*part, "." | "..")) {
        return bad("one of its parts is a dot or two");
    }
    if parts.iter().any(|part| part.len() > LONGEST_PART) {
        return bad("one of its parts is longer than 255 bytes");
    }
    if parts.iter().any(|part| part.starts_with(UNFINISHED)) {
        return bad("one of its parts is the name of an unfinished write");
    }
    Ok(parts)
}

/// Returns as much of a key as an error may repeat.
fn shown(key: &str) -> String {
    key.chars().take(SHOWN).collect()
}

/// What the names of files begin with that are being written.
pub(super) const UNFINISHED: &str = ".postroom-";

const LONGEST: usize = 1_024;
const LONGEST_PART: usize = 255;
const SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_could_leave_its_folder_is_refused() {
        let long = "a/".repeat(512) + "b";
        let long_part = "x".repeat(300);
        for key in [
            "",
            "/etc/passwd",
            "../../etc/passwd",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            "..\\windows",
            "a\\b",
            "C:\\pictures",
            "c:a.jpg",
            "a\0b",
            "a\nb",
            "images/.postroom-1-2",
            &long,
            &long_part,
        ] {
            assert!(matches!(parts(key), Err(ObjectError::BadKey { .. })), "{key:?}");
        }
    }

    #[test]
    fn odd_names_that_are_only_names_pass() {
        for key in ["%2e%2e%2f", "con", "-rf", "dot.", "...", "a b", "é/ü.jpg", "12:30.jpg", ".hidden"] {
            assert!(parts(key).is_ok(), "{key:?}");
        }
        assert_eq!(parts("images/2026/a.jpg").ok(), Some(vec!["images", "2026", "a.jpg"]));
    }
}
