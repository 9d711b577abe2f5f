//! What a request for a search asks for. Any text is a request: what cannot be read as a filter is words.

use crate::adapters::store::segment::{Cut, key, words};
use crate::event::time::parse_day;
use crate::ports::{DocumentKind, LONGEST_REQUEST, SearchRequest};

/// What is looked for, the same for every engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// All of these are there.
    pub(crate) wanted: Vec<Term>,
    /// None of these is there.
    pub(crate) unwanted: Vec<Term>,
    /// Every one is the author's [`key`].
    pub(crate) authors: Vec<String>,
    /// Every one is the [`key`] of a tag.
    pub(crate) tags: Vec<String>,
    /// Every one is the kind.
    pub(crate) kinds: Vec<DocumentKind>,
    /// Not older, in milliseconds since the Unix epoch.
    pub(crate) after: Option<i64>,
    /// Older, in milliseconds since the Unix epoch.
    pub(crate) before: Option<i64>,
}

/// Words that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    /// The words, at least one.
    pub(crate) words: Vec<String>,
    /// Whether the last of them is only the beginning of one.
    pub(crate) is_prefix: bool,
}

impl Query {
    /// Reads a request.
    pub(crate) fn of(request: &SearchRequest) -> Self {
        let mut query = Self {
            authors: request.author.iter().map(|author| key(author)).collect(),
            tags: request.tag.iter().map(|tag| key(tag)).collect(),
            kinds: request.kind.into_iter().collect(),
            after: request.after,
            before: request.before,
            ..Self::default()
        };
        let end = request.text.char_indices().nth(LONGEST_REQUEST).map(|(place, _)| place);
        let mut rest = end.and_then(|end| request.text.get(..end)).unwrap_or(&request.text);
        while let Some(part) = Part::next(&mut rest) {
            query.add(&part);
        }
        query
    }

    /// Says whether it asks for nothing at all: then nothing is found.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn add(&mut self, part: &Part<'_>) {
        if !part.is_unwanted && self.filter(part).is_some() {
            return;
        }
        let list = if part.is_unwanted { &mut self.unwanted } else { &mut self.wanted };
        // What looks like a filter and is none is words like any others.
        if let Some(term) = term(part.whole, part.is_prefix)
            && list.len() < MOST_TERMS
            && !list.contains(&term)
        {
            list.push(term);
        }
    }

    /// Takes a part as a filter; `None` where it is none.
    fn filter(&mut self, part: &Part<'_>) -> Option<()> {
        let value = part.text;
        match part.name? {
            "author" => self.authors.push(Some(key(value)).filter(|key| !key.is_empty())?),
            "tag" => self.tags.push(Some(key(value)).filter(|key| !key.is_empty())?),
            "type" => self.kinds.push(DocumentKind::named(value)?),
            "after" => self.after = self.after.max(Some(parse_day(value)?)),
            "before" => {
                let before = parse_day(value)?;
                self.before = Some(self.before.map_or(before, |other| other.min(before)));
            }
            _ => return None,
        }
        Some(())
    }
}

/// Cuts a part of a request as texts are cut; `None` where no word is in it.
fn term(text: &str, is_prefix: bool) -> Option<Term> {
    let mut cut = words(text);
    let last = cut.pop()?;
    // A run of a script without spaces may go on after what is asked for: the word of its last character is then
    // another one. A single character begins the words that it stands in.
    let goes_on = last.cut == Cut::Last
        && cut.last().is_some_and(|before| before.cut == Cut::Pair && before.range.end == last.range.end);
    let is_prefix = is_prefix || last.cut == Cut::Last;
    let is_prefix = is_prefix && !goes_on;
    if !goes_on {
        cut.push(last);
    }
    Some(Term { words: cut.into_iter().map(|word| word.text).collect(), is_prefix })
}

/// A part of a request: `text`, `"text"`, `name:text`, `name:"text"`, with `-` before and `*` behind.
#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    is_unwanted: bool,
    name: Option<&'a str>,
    text: &'a str,
    /// All of it but the `-`.
    whole: &'a str,
    is_prefix: bool,
}

impl<'a> Part<'a> {
    fn next(rest: &mut &'a str) -> Option<Self> {
        *rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let after = rest.strip_prefix('-').filter(|after| !after.starts_with(char::is_whitespace));
        let is_unwanted = after.is_some();
        *rest = after.unwrap_or(rest);
        let begin = *rest;
        let (name, is_quoted) = match name(rest) {
            Some((name, value)) => {
                *rest = value;
                (Some(name), value.starts_with(QUOTES))
            }
            None => (None, rest.starts_with(QUOTES)),
        };
        let (text, is_prefix) = if is_quoted {
            let inside = rest.strip_prefix(QUOTES).unwrap_or(rest);
            let (text, behind) = inside.split_once(QUOTES).unwrap_or((inside, ""));
            *rest = behind.strip_prefix('*').unwrap_or(behind);
            (text, behind.starts_with('*'))
        } else {
            let end = rest.find(|char: char| char.is_whitespace() || QUOTES.contains(&char));
            let (text, behind) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, ""));
            *rest = behind;
            (text, text.ends_with('*'))
        };
        let whole = begin.get(..begin.len() - rest.len()).unwrap_or(begin);
        Some(Self { is_unwanted, name, text, whole, is_prefix })
    }
}

/// Takes the name of a filter off, where there is one with a value.
fn name(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once(':')?;
    let has_value = value.chars().next().is_some_and(|first| !first.is_whitespace());
    (has_value && NAMES.contains(&name)).then_some((name, value))
}

const NAMES: [&str; 5] = ["author", "tag", "type", "after", "before"];
const QUOTES: [char; 4] = ['"', '“', '”', '„'];
const MOST_TERMS: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Query {
        Query::of(&SearchRequest { text: text.to_owned(), ..SearchRequest::default() })
    }

    fn words_of(text: &str) -> (String, String) {
        let list = |terms: &[Term]| {
            let shown = |term: &Term| term.words.join(" ") + if term.is_prefix { "*" } else { "" };
            terms.iter().map(shown).collect::<Vec<_>>().join("|")
        };
        let query = read(text);
        (list(&query.wanted), list(&query.unwanted))
    }

    #[test]
    fn words_phrases_beginnings_and_what_is_unwanted_are_told_apart() {
        for (text, wanted, unwanted) in [
            ("Ferry late", "ferry|late", ""),
            ("ferry ferry FERRY", "ferry", ""),
            ("\"Ferry was late\" again", "ferry was late|again", ""),
            ("“ferry late”x", "ferry late|x", ""),
            ("\"never closed", "never closed", ""),
            ("harb* \"low ti\"*", "harb*|low ti*", ""),
            ("-late ferry -\"two words\"", "ferry", "late|two words"),
            ("a - b --c -", "a|b", "c"),
            ("well-known foo-bar*", "well known|foo bar*", ""),
            ("東京 東京都 猫", "東京|東京 京都|猫*", ""),
            ("Rust入門", "rust 入門", ""),
            ("\"入門 rust\"", "入門 門 rust", ""),
            ("colour:red type:page after:soon author:", "colour red|type page|after soon|author", ""),
            ("-author:ada", "", "author ada"),
            ("\"\" * - : ' ; \\ \0 \u{fffd} 👍", "", ""),
        ] {
            assert_eq!(words_of(text), (wanted.to_owned(), unwanted.to_owned()), "{text}");
        }
    }

    #[test]
    fn filters_are_read_and_joined_with_those_of_the_request() {
        let query = Query::of(&SearchRequest {
            text: "author:\"Ada  L\" tag:Café type:comments after:2024-01-01 after:2023-01-01 before:2024-06-01T12:00:00Z x".to_owned(),
            author: Some("bob".to_owned()),
            before: Some(i64::MAX),
            ..SearchRequest::default()
        });

        assert_eq!(query.authors, ["bob", "ada  l"]);
        assert_eq!(query.tags, ["cafe"]);
        assert_eq!(query.kinds, [DocumentKind::Comment]);
        assert_eq!((query.after, query.before), (Some(1_704_067_200_000), Some(1_717_243_200_000)));
        assert_eq!(query.wanted.len(), 1);
    }

    #[test]
    fn huge_requests_are_read_up_to_a_bound() {
        assert_eq!(read(&"é ".repeat(1_000_000)).wanted.len(), 1);
        assert_eq!(words_of(&"(".repeat(1_000_000)), (String::new(), String::new()));
        let many: String = (0..10_000).map(|number| format!("w{number} ")).collect();
        assert_eq!(read(&many).wanted.len(), MOST_TERMS);
        assert!(read("  \t ").is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_a_request(text in any::<String>()) {
            let query = read(&text);
            for term in query.wanted.iter().chain(&query.unwanted) {
                prop_assert!(!term.words.is_empty());
                prop_assert!(term.words.iter().all(|word| !word.contains(['"', ' ', '\0'])));
            }
        }
    }
}
