//! What a body says, without its mark-up.

use std::sync::LazyLock;

use ammonia::Builder;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Returns the text of a body that is written in a format. Markdown (`markdown`, `gfm`, `ikiwiki-markdown`, …) and
/// HTML lose their mark-up; other formats, and those that are not told, stay as they are. Control characters go.
pub(crate) fn plain(format: Option<&str>, body: &str) -> String {
    let text = match Markup::of(format.unwrap_or_default()) {
        Markup::Markdown => markdown(body),
        Markup::Html => html(body),
        Markup::None => body.to_owned(),
    };
    tidy(&text)
}

enum Markup {
    Markdown,
    Html,
    None,
}

impl Markup {
    fn of(format: &str) -> Self {
        let format = format.to_ascii_lowercase();
        if ["markdown", "commonmark"].iter().any(|name| format.contains(name))
            || ["md", "gfm", "mdx"].contains(&format.as_str())
        {
            Self::Markdown
        } else if format.contains("html") {
            Self::Html
        } else {
            Self::None
        }
    }
}

fn markdown(body: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES;
    let mut text = String::with_capacity(body.len());
    // A block of HTML comes line by line.
    let mut block = String::new();
    for event in Parser::new_ext(body, options) {
        match event {
            Event::Text(part) | Event::Code(part) | Event::InlineMath(part) | Event::DisplayMath(part) => {
                text.push_str(&part);
            }
            Event::Html(part) => block.push_str(&part),
            Event::InlineHtml(tag) if is_break(&tag) => text.push('\n'),
            Event::SoftBreak | Event::HardBreak | Event::Rule => text.push('\n'),
            Event::Start(tag) if starts_a_line(&tag) => text.push('\n'),
            Event::End(TagEnd::HtmlBlock) => {
                text.push_str(&html(&block));
                text.push('\n');
                block.clear();
            }
            Event::End(end) if ends_a_line(end) => text.push('\n'),
            Event::Start(_)
            | Event::End(_)
            | Event::InlineHtml(_)
            | Event::FootnoteReference(_)
            | Event::TaskListMarker(_) => {}
        }
    }
    text
}

fn starts_a_line(tag: &Tag<'_>) -> bool {
    matches!(tag, Tag::List(_) | Tag::CodeBlock(_) | Tag::TableRow)
}

fn ends_a_line(end: TagEnd) -> bool {
    matches!(
        end,
        TagEnd::Paragraph
            | TagEnd::Heading(_)
            | TagEnd::CodeBlock
            | TagEnd::Item
            | TagEnd::TableCell
            | TagEnd::TableHead
            | TagEnd::TableRow
            | TagEnd::BlockQuote(_)
    )
}

/// Keeps the text between tags, in time that grows with its length alone: building the tree of a page that is
/// deep on purpose would take seconds. Scripts and styles are no text.
fn html(body: &str) -> String {
    let mut text = String::with_capacity(body.len());
    let mut rest = body;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        rest = match Mark::of(after) {
            Mark::None => {
                text.push_str("&lt;");
                after
            }
            Mark::Comment => behind(after.get(3..).unwrap_or_default(), "-->"),
            Mark::Declaration => behind(after, ">"),
            Mark::Tag(name) => {
                if is_break(name) {
                    text.push('\n');
                }
                let inside = behind_tag(after);
                match RAW.iter().find(|raw| raw.eq_ignore_ascii_case(name) && !after.starts_with('/')) {
                    Some(raw) => at_end_tag(inside, raw),
                    None => inside,
                }
            }
        };
    }
    text.push_str(rest);
    // There is no tag left: this reads the entities.
    let read = ENTITIES.clean(&text).to_string();
    read.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&")
}

/// What a `<` begins.
enum Mark<'a> {
    Comment,
    Declaration,
    None,
    Tag(&'a str),
}

impl<'a> Mark<'a> {
    fn of(after: &'a str) -> Self {
        let name = after.strip_prefix('/').unwrap_or(after);
        match name.bytes().next() {
            Some(first) if first.is_ascii_alphabetic() => Self::Tag(tag_name(name)),
            Some(b'!') if after.starts_with("!--") => Self::Comment,
            Some(b'!' | b'?') => Self::Declaration,
            _ => Self::None,
        }
    }
}

fn tag_name(tag: &str) -> &str {
    tag.split(|char: char| !char.is_ascii_alphanumeric()).next().unwrap_or_default()
}

fn behind<'a>(text: &'a str, end: &str) -> &'a str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

/// Returns what follows a tag; a `>` in the quoted value of an attribute does not end it.
fn behind_tag(tag: &str) -> &str {
    let mut rest = tag;
    while let Some((place, char)) = rest.char_indices().find(|(_, char)| matches!(char, '>' | '=')) {
        let after = rest.get(place + 1..).unwrap_or_default();
        if char == '>' {
            return after;
        }
        let value = after.trim_start();
        rest = match value.bytes().next() {
            Some(b'"') => behind(value.get(1..).unwrap_or_default(), "\""),
            Some(b'\'') => behind(value.get(1..).unwrap_or_default(), "'"),
            _ => value,
        };
    }
    ""
}

/// Returns what follows up to `</name`, that included.
fn at_end_tag<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some(place) = rest.find("</") {
        let tag = rest.get(place + 2..).unwrap_or_default();
        if tag_name(tag).eq_ignore_ascii_case(name) {
            return rest.get(place..).unwrap_or_default();
        }
        rest = tag;
    }
    ""
}

/// Says whether a tag parts the words around it, unlike one of emphasis.
fn is_break(tag: &str) -> bool {
    let name = tag_name(tag.trim_start_matches(['<', '/']));
    BREAKS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Lets no element through.
static ENTITIES: LazyLock<Builder<'static>> = LazyLock::new(Builder::empty);

/// Elements whose content is no text.
const RAW: [&str; 5] = ["script", "style", "iframe", "noembed", "noframes"];

const BREAKS: [&str; 32] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "br",
    "dd",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "main",
    "ol",
    "option",
    "p",
    "pre",
    "section",
    "table",
    "td",
    "th",
    "tr",
    "ul",
];

/// Leaves out control characters and needless space.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut lines = 0_u32;
    for char in text.chars() {
        let kept = match char {
            '\n' => {
                lines += 1;
                continue;
            }
            '\r' | '\0' => continue,
            '\t' => '\t',
            _ if char.is_control() => ' ',
            _ => char,
        };
        if lines > 0 && !tidy.is_empty() {
            tidy.push_str(if lines == 1 { "\n" } else { "\n\n" });
        }
        lines = 0;
        tidy.push(kept);
    }
    tidy.truncate(tidy.trim_end().len());
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_loses_its_marks_and_keeps_its_words() {
        let body = "# A *title*\n\nSee [the **port**](http://example.org/x), `code` and <b>bo</b>ld.\n\n* one\n* two\n\n| a | b |\n|---|---|\n| c | d |\n\n<div>ht<i>ml</i><p>block</p></div>\n\n```rust\nfn main() {}\n```\n\n![alt text](x.png) &amp; &eacute;";

        let text = plain(Some("ikiwiki-markdown"), body);

        assert_eq!(
            text.split_whitespace().collect::<Vec<_>>().join(" "),
            "A title See the port, code and bold. one two a b c d html block fn main() {} alt text & é"
        );
    }

    #[test]
    fn html_loses_its_tags_scripts_and_styles_and_keeps_words_apart() {
        let body = "<style>p { color: red }</style><p>One</p><p>t&eacute;o &amp;amp; <b>t</b>hree<br>four<script>alert('<p>no</p>')</script > <a title=\"a > b\" href='>' x=y>x</a> 1 < 2 <?no?><!DOCTYPE no><li>five&nbsp;six<!-- no -->";

        assert_eq!(
            plain(Some("text/html"), body).split_whitespace().collect::<Vec<_>>(),
            ["One", "téo", "&amp;", "three", "four", "x", "1", "<", "2", "five", "six"]
        );
    }

    #[test]
    fn plain_text_stays_but_for_control_characters() {
        for format in [None, Some("text"), Some("rst")] {
            assert_eq!(plain(format, "a <b> *c*\r\n\u{1b}[31mred\0\u{9b}"), "a <b> *c*\n [31mred");
        }
    }

    #[test]
    fn deep_and_broken_markup_ends_and_keeps_its_text() {
        for (open, close) in
            [("<div>", "</div>"), ("<i>", ""), ("<a href=x>", ""), ("> ", ""), ("<table><td>", "")]
        {
            let deep = format!("{} word {}", open.repeat(20_000), close.repeat(20_000));
            for format in ["html", "markdown"] {
                let text = plain(Some(format), &deep);
                assert!(text.contains("word"), "{open} as {format}");
            }
        }
        for broken in [
            "<",
            "</",
            "<!",
            "<![CDATA[",
            "&",
            "&#x0;",
            "&#xD800;",
            "<p",
            "<p a='",
            "[[[[",
            "```",
            "\u{0}<\u{0}p>",
        ] {
            plain(Some("html"), broken);
            plain(Some("markdown"), broken);
        }
    }
}
