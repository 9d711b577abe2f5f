//! Text that came from outside, made fit to be looked at: what cannot be seen is marked, addresses are masked.

use std::fmt::Write;

use serde_json::Value;

/// Writes a text with a mark such as `⟦U+202E⟧` for each character that cannot be seen or that turns the direction of
/// others.
pub fn marked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    each_part(text, |part| match part {
        Part::Plain(plain) => shown.push_str(plain),
        // Writing to a string cannot fail.
        Part::Odd(odd) => write!(shown, "⟦U+{:04X}⟧", u32::from(odd)).unwrap_or_default(),
    });
    shown
}

/// Writes a text as HTML: everything is escaped, and what [`marked`] marks is marked in an element of its own.
pub(crate) fn html(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 16);
    each_part(text, |part| match part {
        Part::Plain(plain) => escape(plain, &mut shown),
        Part::Odd(odd) => {
            write!(shown, "<span class=\"odd\">⟦U+{:04X}⟧</span>", u32::from(odd)).unwrap_or_default();
        }
    });
    shown
}

/// Writes a text as HTML without elements, for titles and attributes: there an element would stand as its own markup.
pub(crate) fn flat(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 16);
    escape(&marked(text), &mut shown);
    shown
}

fn escape(text: &str, out: &mut String) {
    text.chars().for_each(|char| match char {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        char => out.push(char),
    });
}

/// Masks every address in a text: `ada@example.org` becomes `a•••@example.org`.
pub fn masked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('@') {
        let local = before.rfind(ends_local).map_or(0, |at| at + before.get(at..).map_or(0, first_length));
        let (kept, local) = before.split_at_checked(local).unwrap_or((before, ""));
        let is_address =
            !local.is_empty() && after.starts_with(|char: char| char.is_alphanumeric() || char == '[');
        shown.push_str(kept);
        match local.chars().next().filter(|_| is_address) {
            Some(first) => {
                shown.push(first);
                shown.push_str("•••");
            }
            None => shown.push_str(local),
        }
        shown.push('@');
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// Masks what names a person beyond their account in the fields of an event: addresses wherever they stand.
pub fn masked_fields(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(masked(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(masked_fields).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| {
                    let value = match value {
                        // An address that is none is a person's all the same.
                        Value::String(text) if is_address_field(&name) => Value::String(hidden(&text)),
                        value @ (Value::Null
                        | Value::Bool(_)
                        | Value::Number(_)
                        | Value::String(_)
                        | Value::Array(_)
                        | Value::Object(_)) => masked_fields(value),
                    };
                    (name, value)
                })
                .collect(),
        ),
        value @ (Value::Null | Value::Bool(_) | Value::Number(_)) => value,
    }
}

fn is_address_field(name: &str) -> bool {
    matches!(name, "email" | "address")
}

fn hidden(address: &str) -> String {
    let Some(first) = address.chars().next() else { return String::new() };
    match address.rsplit_once('@') {
        Some((_, domain)) => format!("{first}•••@{domain}"),
        None => format!("{first}•••"),
    }
}

enum Part<'t> {
    Plain(&'t str),
    Odd(char),
}

fn each_part(text: &str, mut each: impl FnMut(Part<'_>)) {
    let mut plain_from = 0;
    let mut before = None;
    for (at, char) in text.char_indices() {
        if is_odd(char, before) {
            each(Part::Plain(text.get(plain_from..at).unwrap_or_default()));
            each(Part::Odd(char));
            plain_from = at + char.len_utf8();
        }
        before = Some(char);
    }
    each(Part::Plain(text.get(plain_from..).unwrap_or_default()));
}

/// Says whether a character cannot be seen, or turns the direction of others.
fn is_odd(char: char, before: Option<char>) -> bool {
    match char {
        '\n' | '\t' => false,
        // Emoji and several scripts are written with joiners.
        '\u{200c}' | '\u{200d}' => !before.is_some_and(joins),
        char if char.is_control() => true,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}' => {
            true
        }
        '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' => true,
        '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

fn joins(char: char) -> bool {
    matches!(char, '\u{600}'..='\u{109f}' | '\u{1780}'..='\u{18af}' | '\u{2190}'..='\u{2bff}' | '\u{fe0f}' | '\u{1f000}'..='\u{1faff}')
}

fn ends_local(char: char) -> bool {
    char.is_whitespace()
        || char.is_control()
        || matches!(char, '<' | '>' | '(' | ')' | ',' | ';' | ':' | '"' | '@' | '/' | '=')
}

fn first_length(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_seen_is_marked() {
        assert_eq!(marked("user\u{202e}gpj.exe"), "user⟦U+202E⟧gpj.exe");
        assert_eq!(marked("a\u{200b}b\u{0}\u{1b}[31m"), "a⟦U+200B⟧b⟦U+0000⟧⟦U+001B⟧[31m");
        assert_eq!(marked("two\nlines\tand 東京 عربى"), "two\nlines\tand 東京 عربى");
    }

    #[test]
    fn joiners_stay_where_they_join() {
        let family = "👩\u{200d}👩\u{200d}👧";

        assert_eq!(marked(family), family);
        assert_eq!(marked("pay\u{200d}pal"), "pay⟦U+200D⟧pal");
    }

    #[test]
    fn markup_becomes_text() {
        assert_eq!(
            html("<b a='\"'>&\u{2066}"),
            "&lt;b a=&#39;&quot;&#39;&gt;&amp;<span class=\"odd\">⟦U+2066⟧</span>"
        );
    }

    #[test]
    fn titles_and_attributes_have_marks_but_no_elements() {
        assert_eq!(flat("<b a='\"'>&\u{2066}"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;⟦U+2066⟧");
    }

    #[test]
    fn addresses_are_masked_wherever_they_stand() {
        for (text, expected) in [
            ("ada@example.org", "a•••@example.org"),
            ("550 <ada.l@example.org>: no such user", "550 <a•••@example.org>: no such user"),
            ("a@b.c, ü@d.e", "a•••@b.c, ü•••@d.e"),
            ("@ada says hi @ noon", "@ada says hi @ noon"),
            ("to=ada@[127.0.0.1]", "to=a•••@[127.0.0.1]"),
            ("no address", "no address"),
            ("@@@", "@@@"),
        ] {
            assert_eq!(masked(text), expected);
        }
    }

    #[test]
    fn fields_lose_their_addresses() {
        let fields = json!({"email": "not one", "body": "mail ada@example.org", "list": ["x@y.z"], "n": 1});

        assert_eq!(
            masked_fields(fields),
            json!({"email": "n•••", "body": "mail a•••@example.org", "list": ["x•••@y.z"], "n": 1})
        );
    }
}
