//! Cuts the piece of a text where most of what was asked for stands, and marks it.

use std::ops::Range;

use crate::adapters::store::query::Term;
use crate::adapters::store::segment::{Cut, Word, words};
use crate::ports::Snippet;

/// Returns a piece of a text, of some [`WINDOW`] characters, with every place where a term stands.
pub(crate) fn snippet(text: &str, terms: &[Term]) -> Snippet {
    let found = places(&words(text), terms);
    let window = window(text, &found);
    let inside = |place: &&Place| window.start <= place.range.start && place.range.end <= window.end;
    let marks = found.iter().filter(inside).map(|place| place.range.clone());
    piece(text, window.clone(), marks)
}

/// Returns all of a text, with every place where a term stands.
pub(crate) fn marked(text: &str, terms: &[Term]) -> Snippet {
    let found = places(&words(text), terms);
    piece(text, 0..text.len(), found.into_iter().map(|place| place.range))
}

/// Where a term stands in a text.
struct Place {
    term: usize,
    range: Range<usize>,
}

/// Finds all terms in a text, in the order of the text.
fn places(text: &[Word], terms: &[Term]) -> Vec<Place> {
    let mut places = Vec::new();
    for (place, _) in text.iter().enumerate() {
        let rest = text.get(place..).unwrap_or_default();
        for (number, term) in terms.iter().enumerate() {
            if let Some(range) = begins_with(rest, term) {
                places.push(Place { term: number, range });
            }
        }
    }
    places
}

fn begins_with(text: &[Word], term: &Term) -> Option<Range<usize>> {
    let here = text.get(..term.words.len())?;
    let (last, before) = term.words.split_last()?;
    let (last_here, before_here) = here.split_last()?;
    let fits = before.iter().zip(before_here).all(|(asked, word)| *asked == word.text)
        && if term.is_prefix { last_here.text.starts_with(last.as_str()) } else { last_here.text == *last };
    let start = here.first()?.range.start;
    // A single character of a script without spaces begins a pair: the other one was not asked for.
    let other = text.get(term.words.len()).filter(|_| last_here.cut == Cut::Pair && last_here.text != *last);
    let end = other.map(|next| next.range.start).filter(|end| *end > start).unwrap_or(last_here.range.end);
    fits.then_some(start..end)
}

/// Chooses the window with the most different terms in it, then with the most places, then the first.
fn window(text: &str, found: &[Place]) -> Range<usize> {
    let mut best = (0, 0, 0..0);
    let mut counts = vec![0_usize; found.iter().map(|place| place.term + 1).max().unwrap_or(0)];
    let mut different = 0;
    let mut ahead = found.iter().peekable();
    let mut inside = 0;
    for first in found {
        let end = forward(text, first.range.start, WINDOW - LEAD);
        while let Some(next) = ahead.next_if(|next| next.range.end <= end.max(first.range.end)) {
            let count = counts.get_mut(next.term);
            different += usize::from(count.as_ref().is_some_and(|count| **count == 0));
            count.into_iter().for_each(|count| *count += 1);
            inside += 1;
        }
        if (different, inside) > (best.0, best.1) {
            best = (different, inside, first.range.start..end.max(first.range.end));
        }
        if inside > 0 {
            inside -= 1;
            let count = counts.get_mut(first.term);
            count.into_iter().for_each(|count| {
                *count -= 1;
                different -= usize::from(*count == 0);
            });
        }
    }
    let (_, _, range) = best;
    let start = backward(text, range.start, LEAD);
    let end = forward(text, start, WINDOW).max(range.end);
    // Never in the middle of a word that spaces part.
    let start = match text.get(start..range.start).and_then(|lead| lead.find(char::is_whitespace)) {
        Some(space) if start > 0 => start + space,
        _ => start,
    };
    let end = match text.get(range.end.max(start)..end).and_then(|tail| tail.rfind(char::is_whitespace)) {
        Some(space) if end < text.len() => range.end.max(start) + space,
        _ => end,
    };
    start..end
}

fn forward(text: &str, from: usize, chars: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    rest.char_indices().nth(chars).map_or(text.len(), |(place, _)| from + place)
}

fn backward(text: &str, from: usize, chars: usize) -> usize {
    let before = text.get(..from).unwrap_or_default();
    before.char_indices().rev().take(chars).last().map_or(from, |(place, _)| place)
}

/// Copies a window: every space is one blank, and what is left out is told by an ellipsis.
fn piece(text: &str, window: Range<usize>, marks: impl Iterator<Item = Range<usize>>) -> Snippet {
    let mut marks = merged(marks).into_iter().peekable();
    let mut piece = Snippet::default();
    if window.start > 0 {
        piece.text.push('…');
    }
    let mut begun = None;
    let shown = text.get(window.clone()).unwrap_or_default();
    for (place, char) in shown.char_indices().chain([(shown.len(), ' ')]) {
        let place = window.start + place;
        if marks.peek().is_some_and(|mark| mark.end <= place)
            && let Some(start) = begun.take()
        {
            piece.marks.push(start..piece.text.len());
            marks.next();
        }
        if begun.is_none() && marks.peek().is_some_and(|mark| mark.start <= place && place < window.end) {
            begun = Some(piece.text.len());
        }
        if place == window.end {
            break;
        }
        if !char.is_whitespace() {
            piece.text.push(char);
        } else if !piece.text.is_empty() && !piece.text.ends_with(' ') {
            piece.text.push(' ');
        }
    }
    if window.end < text.len() {
        piece.text.push('…');
    }
    piece
}

/// Joins ranges that touch or overlap; they come by their beginnings.
fn merged(ranges: impl Iterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// How many characters a piece has.
const WINDOW: usize = 200;

/// How many of them stand before the first place.
const LEAD: usize = 40;

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::adapters::store::query::Query;
    use crate::ports::SearchRequest;

    fn asked(text: &str) -> Vec<Term> {
        Query::of(&SearchRequest { text: text.to_owned(), ..SearchRequest::default() }).wanted
    }

    fn shown(text: &str, request: &str) -> String {
        let show = |(text, is_mark)| if is_mark { format!("[{text}]") } else { String::from(text) };
        snippet(text, &asked(request)).pieces().into_iter().map(show).collect()
    }

    #[test]
    fn what_was_found_is_marked_as_it_was_written() {
        for (text, request, expected) in [
            ("The Ferry was late.", "ferry", "The [Ferry] was late."),
            ("Crème brûlée\n\n  for  two", "creme two", "[Crème] brûlée for [two]"),
            ("night ferry, ferry night", "\"ferry night\"", "night ferry, [ferry night]"),
            ("harbours and harbour lights", "harb*", "[harbours] and [harbour] lights"),
            ("私は東京都に住む", "東京", "私は[東京]都に住む"),
            ("私は東京都に住む", "東京都", "私は[東京都]に住む"),
            ("猫がいる", "猫", "[猫]がいる"),
            ("no such thing", "ferry", "no such thing"),
            ("<b>ferry</b>", "b ferry", "<[b]>[ferry]</[b]>"),
            ("", "ferry", ""),
        ] {
            assert_eq!(shown(text, request), expected, "{request}");
        }
    }

    #[test]
    fn the_piece_with_most_of_what_was_asked_for_is_shown() {
        let filler = "something else entirely ".repeat(40);
        let text = format!("ferry {filler} a ferry in the harbour {filler} ferry");

        let shown = shown(&text, "ferry harbour");

        assert!(shown.contains("[ferry] in the [harbour]"), "{shown}");
        assert!(shown.starts_with('…') && shown.ends_with('…'), "{shown}");
        assert!(shown.chars().count() < WINDOW + 20, "{shown}");
    }

    proptest! {
        #[test]
        fn marks_are_pieces_of_the_text(text in "[a-c東京都é \\n]{0,400}", request in "[a-c東é ]{0,8}") {
            for piece in [snippet(&text, &asked(&request)), marked(&text, &asked(&request))] {
                let whole: String = piece.pieces().into_iter().map(|(text, _)| text).collect();
                prop_assert_eq!(&whole, &piece.text);
                for mark in &piece.marks {
                    prop_assert!(!piece.text[mark.clone()].trim().is_empty());
                }
                prop_assert!(piece.marks.windows(2).all(|pair| pair[0].end <= pair[1].start));
            }
        }
    }
}
