//! The words that the sample blog is made of.

pub(crate) const FOUNDERS: [&str; 8] = ["ada", "bela", "chidi", "dunya", "emil", "fatou", "goran", "hana"];

pub(crate) const NAMES: [&str; 16] = [
    "ines", "jun", "karim", "lotte", "mateo", "noor", "oluwa", "petra", "quang", "rosa", "sven", "tala",
    "uma", "vito", "wanda", "yusuf",
];

pub(crate) const SECTIONS: [&str; 5] = ["boats", "kitchen", "letters", "tools", "weather"];

pub(crate) const OPENINGS: [&str; 8] = [
    "Notes on",
    "The truth about",
    "A year with",
    "Against",
    "In praise of",
    "Repairing",
    "Looking for",
    "How I learned",
];

pub(crate) const SUBJECTS: [&str; 12] = [
    "slow ferries",
    "the old crane",
    "rope",
    "salted butter",
    "harbour lights",
    "borrowed tools",
    "low tide",
    "wet matches",
    "two lighthouses",
    "the fish market",
    "paper charts",
    "morning fog",
];

pub(crate) const ENDINGS: [&str; 8] = [
    "in winter",
    "for beginners",
    "and other things",
    "without regret",
    "after midnight",
    "by hand",
    "one more time",
    "on a budget",
];

pub(crate) const SENTENCES: [&str; 16] = [
    "The ferry was late again, and nobody minded.",
    "I measured it twice and it was wrong both times.",
    "My neighbour says it was always like this.",
    "There is a photograph, but it does not show the smell.",
    "We started at dawn and were home before the rain.",
    "The manual disagrees with the machine.",
    "Thanks for writing this down!",
    "I tried it with twine instead, and it held.",
    "Does this also work with smaller boats?",
    "The second drawing is upside down, I think.",
    "Somebody has painted the bollards green.",
    "It costs nothing and takes an afternoon.",
    "I would not do it without gloves.",
    "The kettle is still the best barometer.",
    "Ask at the blue door, they know.",
    "You can hear it from the pier when the wind is right.",
];
