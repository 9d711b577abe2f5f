//! What people wrote, made fit for a mail: as text, as HTML, as one line.

use std::borrow::Cow;

use pulldown_cmark::{Options, Parser, html::push_html};

/// The most of a text that is shown, in bytes.
const TEXT: usize = 64 * 1024;

/// Makes one line of it: no control characters, nothing that turns the direction of what follows, at most `longest`
/// characters.
pub(super) fn line(text: &str, longest: usize) -> String {
    let words: Vec<_> = text
        .split(|char: char| char.is_control() || char.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    let whole: String = words.join(" ").chars().filter(|char| !turns(*char)).collect();
    if whole.chars().count() <= longest {
        return whole;
    }
    let mut cut: String = whole.chars().take(longest.saturating_sub(1)).collect();
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}

/// Says whether a character only turns the direction of those behind it.
fn turns(char: char) -> bool {
    matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Takes what was written as HTML that does nothing: no scripts, no styles, no pictures (they would tell their owner who
/// reads the mail), links to web and mail addresses only.
pub(super) fn html(text: &str, format: Option<&str>) -> String {
    let text = clean(text);
    match format {
        Some("html") => sanitized(&text),
        Some("markdown" | "md") => {
            let mut made = String::new();
            let options = Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES;
            push_html(&mut made, Parser::new_ext(&text, options));
            sanitized(&made)
        }
        _ => format!(
            "<p style=\"white-space:pre-wrap\">{}</p>",
            ammonia::clean_text(&text).replace("&#10;", "\n").replace("&#32;", " ")
        ),
    }
}

/// Takes what was written as text. Markdown reads well as it is; of HTML the marks are removed.
pub(super) fn plain(text: &str, format: Option<&str>) -> String {
    let text = clean(text);
    match format {
        Some("html") => unmarked(&text),
        _ => text.into_owned(),
    }
}

fn sanitized(html: &str) -> String {
    ammonia::Builder::default()
        .rm_tags(["img", "map", "area"])
        .url_schemes(["http", "https", "mailto"].into())
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .clean(html)
        .to_string()
}

/// Removes the marks of HTML. What it returns is text: it is never shown as HTML.
fn unmarked(html: &str) -> String {
    let mut spaced = String::with_capacity(html.len());
    for part in html.split_inclusive('>') {
        spaced.push_str(part);
        let tag = part.rsplit_once('<').map_or("", |(_, tag)| tag).to_ascii_lowercase();
        if ["br", "/p", "/div", "/li", "/h", "/blockquote", "/pre", "/tr"]
            .iter()
            .any(|end| tag.starts_with(end))
        {
            spaced.push('\n');
        }
    }
    let text = ammonia::Builder::empty().clean(&spaced).to_string();
    let text = [("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", " "), ("&quot;", "\""), ("&amp;", "&")]
        .iter()
        .fold(text, |text, (mark, char)| text.replace(mark, char));
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let mut told = lines.join("\n");
    while told.contains("\n\n\n") {
        told = told.replace("\n\n\n", "\n\n");
    }
    told.trim().to_owned()
}

/// Removes control characters but line breaks and tabs, and what is beyond the bound.
fn clean(text: &str) -> Cow<'_, str> {
    let bounded = match text.len() > TEXT {
        true => text.get(..text.floor_char_boundary(TEXT)).unwrap_or_default(),
        false => text,
    };
    let odd = |char: char| char.is_control() && char != '\n' && char != '\t';
    if !bounded.contains(odd) {
        return Cow::Borrowed(bounded);
    }
    Cow::Owned(bounded.replace("\r\n", "\n").replace('\r', "\n").chars().filter(|char| !odd(*char)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_html_and_what_it_hides_does_nothing() {
        let written = "**bold** [go](javascript:alert(1)) [on](https://example.org) <script>alert(1)</script> ![x](https://spy.example/p.png)";

        let shown = html(written, Some("markdown"));

        assert!(shown.contains("<strong>bold</strong>"), "{shown}");
        assert!(shown.contains("href=\"https://example.org\""), "{shown}");
        for odd in ["javascript", "<script", "<img", "spy"] {
            assert!(!shown.contains(odd), "{odd}: {shown}");
        }
    }

    #[test]
    fn text_is_shown_as_it_is_and_html_loses_its_marks_as_text() {
        assert!(html("1 < 2\n<b>", None).contains("1 &lt; 2\n&lt;b&gt;"), "{}", html("1 < 2\n<b>", None));
        assert_eq!(plain("<p>One &amp; two</p><p>three<br>four</p>", Some("html")), "One & two\nthree\nfour");
        assert_eq!(plain("a\u{1b}[31mb\r\nc\0", None), "a[31mb\nc");
    }

    #[test]
    fn a_line_has_no_breaks_no_turns_and_an_end() {
        assert_eq!(line("a\r\nBcc: eve\u{202e}x\t y", 100), "a Bcc: evex y");
        assert_eq!(line(&"word ".repeat(100), 10), "word word…");
    }
}
