//! Cuts text into the words that are searched for. The cutting is ours, so that every engine finds the same.
//!
//! Letters and digits that stand together are a word: in Unicode's compatibility form (NFKC), in lower case, and
//! without diacritics in the Latin, Greek, Cyrillic, Hebrew and Arabic scripts. Chinese, Japanese and Korean, and
//! Thai and its neighbours, do not tell their words apart: each of their characters makes a word with the one
//! that follows it, and the last of a run one of its own. Signs and emoji are no words. A word has at most
//! [`LONGEST_WORD`] characters; what follows is dropped.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::adapters::store::fitting::stored;

/// The most characters of a word.
pub(crate) const LONGEST_WORD: usize = 64;

/// A word of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// As it is indexed.
    pub(crate) text: String,
    /// Where it stands in the text, in bytes.
    pub(crate) range: Range<usize>,
    /// How it was cut.
    pub(crate) cut: Cut,
}

/// How a word was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Letters and digits up to something else.
    Word,
    /// Two characters of a script without spaces.
    Pair,
    /// The last character of such a run.
    Last,
}

/// Cuts a text into its words, in their order.
pub(crate) fn words(text: &str) -> Vec<Word> {
    let mut cutter = Cutter::default();
    let mut rest = text.char_indices().peekable();
    let mut folded = String::new();
    while let Some((start, first)) = rest.next() {
        let mut end = start + first.len_utf8();
        let mut is_plain = first.is_ascii();
        while let Some((at, next)) = rest.next_if(|(_, next)| joins(*next)) {
            end = at + next.len_utf8();
            is_plain = false;
        }
        if is_plain {
            cutter.take(first.to_ascii_lowercase(), start..end);
            continue;
        }
        folded.clear();
        fold(text.get(start..end).unwrap_or_default(), &mut folded);
        for char in folded.chars() {
            cutter.take(char, start..end);
        }
    }
    cutter.finish()
}

/// Returns the words of a text with spaces between them, as the index takes them.
pub(crate) fn spaced(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len());
    for word in words(text) {
        if !spaced.is_empty() {
            spaced.push(' ');
        }
        spaced.push_str(&word.text);
    }
    spaced
}

/// Returns a name as it is compared: folded like a word, but with everything that stands in it, up to [`LONGEST_KEY`].
pub(crate) fn key(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    fold(stored(name).trim(), &mut key);
    key.retain(|char| !char.is_control());
    key.truncate(key.floor_char_boundary(LONGEST_KEY));
    key
}

/// The most bytes of a name's key: folded, a name may be many times longer, and an index takes only so much.
const LONGEST_KEY: usize = 1_024;

/// Says whether a character belongs to the one before it, so that both are normalised together.
fn joins(char: char) -> bool {
    match char {
        '\0'..='\u{2ff}' => false,
        // Vowels and finals of Korean syllables, and voicing marks of half the width.
        '\u{1160}'..='\u{11ff}'
        | '\u{d7b0}'..='\u{d7ff}'
        | '\u{ff9e}'
        | '\u{ff9f}'
        | '\u{ffc2}'..='\u{ffdc}' => true,
        _ => is_combining_mark(char),
    }
}

fn fold(text: &str, folded: &mut String) {
    let mut loses_marks = false;
    for char in text.nfkc().flat_map(char::to_lowercase) {
        if is_combining_mark(char) {
            if !loses_marks {
                folded.push(char);
            }
            continue;
        }
        loses_marks = has_diacritics(char);
        if !loses_marks {
            folded.push(char);
            continue;
        }
        for part in std::iter::once(char).nfd().filter(|part| !is_combining_mark(*part)) {
            match base(part) {
                Some(letters) => folded.push_str(letters),
                None => folded.push(part),
            }
        }
    }
}

/// Says whether marks on a letter are left out: Latin, Greek, Cyrillic, Hebrew and Arabic.
fn has_diacritics(char: char) -> bool {
    matches!(char,
        '\0'..='\u{52f}' | '\u{590}'..='\u{6ff}' | '\u{750}'..='\u{77f}' | '\u{1d00}'..='\u{1dbf}'
        | '\u{1e00}'..='\u{1fff}' | '\u{2c60}'..='\u{2c7f}' | '\u{a640}'..='\u{a69f}' | '\u{a720}'..='\u{a7ff}')
}

/// Letters that are folded though Unicode does not take them apart.
fn base(char: char) -> Option<&'static str> {
    Some(match char {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'þ' => "th",
        'ı' => "i",
        'ς' => "σ",
        _ => return None,
    })
}

/// What a character does to the word that is being made.
enum Part {
    /// It belongs to a word.
    Letter,
    /// It belongs to a script without spaces.
    Dense,
    /// It belongs to the character before it.
    Mark,
    /// It is as if it were not there.
    Nothing,
    /// It ends a word.
    Gap,
}

fn part(char: char) -> Part {
    if char.is_ascii() {
        return if char.is_ascii_alphanumeric() { Part::Letter } else { Part::Gap };
    }
    match char {
        // Soft hyphens, joiners, directions, variation selectors, enclosing marks.
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200c}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e01ef}' => Part::Nothing,
        _ if is_combining_mark(char) => Part::Mark,
        _ if !char.is_alphanumeric() => Part::Gap,
        _ if is_dense(char) => Part::Dense,
        _ => Part::Letter,
    }
}

/// Says whether a letter is of a script that writes no spaces between words, or of Korean.
fn is_dense(char: char) -> bool {
    matches!(char,
        // Thai, Lao; Myanmar; Khmer.
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        // Korean letters; signs of repetition; kana, Bopomofo, Korean letters; ideographs.
        | '\u{1100}'..='\u{11ff}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3035}' | '\u{303b}'
        | '\u{3041}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        // Korean letters and syllables; compatibility ideographs; old kana; further ideographs.
        | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}'
        | '\u{1aff0}'..='\u{1b16f}' | '\u{20000}'..='\u{3ffff}')
}

#[derive(Default)]
struct Cutter {
    done: Vec<Word>,
    word: String,
    range: Range<usize>,
    letters: usize,
    /// The character of a dense run that waits for its neighbour.
    dense: Option<(String, Range<usize>)>,
}

impl Cutter {
    fn take(&mut self, char: char, range: Range<usize>) {
        match part(char) {
            Part::Letter => {
                self.end_run();
                if self.word.is_empty() {
                    self.range = range.clone();
                }
                self.letter(char, range);
            }
            Part::Dense => {
                self.end_word();
                self.dense(char, range);
            }
            Part::Mark => {
                if let Some((unit, own)) = &mut self.dense {
                    if unit.chars().nth(LONGEST_WORD).is_none() {
                        unit.push(char);
                    }
                    own.end = range.end;
                } else if !self.word.is_empty() {
                    self.letter(char, range);
                }
            }
            Part::Nothing => {}
            Part::Gap => {
                self.end_word();
                self.end_run();
            }
        }
    }

    fn letter(&mut self, char: char, range: Range<usize>) {
        self.range.end = range.end;
        if self.letters < LONGEST_WORD {
            self.word.push(char);
            self.letters += 1;
        }
    }

    fn dense(&mut self, char: char, range: Range<usize>) {
        if let Some((mut first, own)) = self.dense.take() {
            first.push(char);
            self.done.push(Word { text: first, range: own.start..range.end, cut: Cut::Pair });
        }
        self.dense = Some((char.to_string(), range));
    }

    fn end_word(&mut self) {
        self.letters = 0;
        if !self.word.is_empty() {
            let text = std::mem::take(&mut self.word);
            self.done.push(Word { text, range: self.range.clone(), cut: Cut::Word });
        }
    }

    fn end_run(&mut self) {
        if let Some((text, range)) = self.dense.take() {
            self.done.push(Word { text, range, cut: Cut::Last });
        }
    }

    fn finish(mut self) -> Vec<Word> {
        self.end_word();
        self.end_run();
        self.done
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_cut_and_folded() {
        for (text, expected) in [
            ("The QUICK brown-fox, 3.14!", "the quick brown fox 3 14"),
            ("git_annex C++ don't", "git annex c don t"),
            ("Crème Brûlée Ångström İstanbul", "creme brulee angstrom istanbul"),
            ("STRASSE Straße ﬁne ½ ①", "strasse strasse fine 1 2 1"),
            ("Ørsted Łódź Ðuro smørrebrød", "orsted lodz duro smorrebrod"),
            ("ΌΔΟΣ Ὀδυσσεύς", "οδοσ οδυσσευσ"),
            ("Ёлка Йод", "елка иод"),
            ("שָׁלוֹם عَرَبِيّ", "שלום عربي"),
            ("हिन्दी", "हिन्दी"),
            ("soft\u{ad}hyphen zero\u{200b}width joi\u{200d}ned", "softhyphen zero width joined"),
            ("👍 1\u{fe0f}\u{20e3} ❤️ ☃", "1"),
            ("東京都", "東京 京都 都"),
            ("猫", "猫"),
            ("Rust入門2024", "rust 入門 門 2024"),
            ("カタカナ ｶﾞｷﾞ", "カタ タカ カナ ナ ガギ ギ"),
            ("서울에서", "서울 울에 에서 서"),
            ("ไทย", "ไท ทย ย"),
            ("㍿", "株式 式会 会社 社"),
            ("", ""),
            ("\u{301}\u{fe0f}\0\u{7f}", ""),
        ] {
            assert_eq!(spaced(text), expected, "{text}");
        }
    }

    #[test]
    fn composed_and_decomposed_text_has_the_same_words() {
        for text in ["Crème Brûlée", "が ぎ ガ", "서울에서 만난", "Ὀδυσσεύς", "हिन्दी", "Tiếng Việt"]
        {
            let decomposed: String = text.nfd().collect();

            assert_eq!(spaced(&decomposed), spaced(text), "{text}");
        }
    }

    #[test]
    fn words_know_where_they_stand() {
        let text = "Über 東京都!";

        let found: Vec<_> = words(text).into_iter().map(|word| text[word.range].to_owned()).collect();

        assert_eq!(found, ["Über", "東京", "京都", "都"]);
    }

    #[test]
    fn long_words_are_cut() {
        let word = "a".repeat(1_000_000);

        assert_eq!(words(&word)[0].text.len(), LONGEST_WORD);
        assert_eq!(words(&word)[0].range, 0..word.len());
        assert_eq!(words(&format!("{word} b")).len(), 2);
    }

    proptest! {
        #[test]
        fn any_text_is_cut_into_words_that_stay_words(text in any::<String>()) {
            let found = words(&text);
            for word in &found {
                prop_assert!(text.get(word.range.clone()).is_some());
                prop_assert!(!word.text.is_empty());
                prop_assert!(!word.text.bytes().any(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric()));
                prop_assert!(!word.text.bytes().any(|byte| byte.is_ascii_uppercase()));
            }
            prop_assert!(found.windows(2).all(|pair| pair[0].range.start <= pair[1].range.start));
        }
    }
}
