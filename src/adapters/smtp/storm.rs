//! One refusal for everybody: the same words to recipients of several domains, and no mail taken between them, are about us.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// Remembers the refusals since a mail was last taken.
#[derive(Debug, Default)]
pub(super) struct Storm {
    said: String,
    domains: BTreeSet<String>,
    since: Option<Instant>,
}

impl Storm {
    /// A mail was taken: whatever was refused before was refused for its own sake.
    pub(super) fn taken(&mut self) {
        *self = Self::default();
    }

    /// Notes a refusal by rule and says whether it is about us. From time to time one is let through as the recipient's
    /// own, so that a mail that alone is refused does not hold up all others.
    pub(super) fn is_about_us(&mut self, said: &str, domain: &str, now: Instant) -> bool {
        let said = words(said);
        let is_over = self.since.is_some_and(|since| now.duration_since(since) >= LONGEST);
        if said != self.said || is_over {
            *self = Self { said, ..Self::default() };
        }
        if self.domains.len() < DOMAINS {
            self.domains.insert(domain.to_ascii_lowercase());
        }
        if self.domains.len() >= DOMAINS {
            self.since.get_or_insert(now);
        }
        self.since.is_some()
    }
}

/// Returns what stays the same where only names and numbers differ.
fn words(said: &str) -> String {
    let code = said.get(..3).unwrap_or_default();
    let words = said.split(' ').skip(1).filter(|word| word.chars().all(char::is_alphabetic)).take(12);
    words.fold(code.to_owned(), |text, word| format!("{text} {word}"))
}

/// The domain at which it is one for everybody.
const DOMAINS: usize = 3;

/// How long it is taken for that before it is looked at anew.
const LONGEST: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_refusal_at_the_third_domain_is_about_us_until_a_mail_is_taken() {
        let (mut storm, now) = (Storm::default(), Instant::now());
        let said = |number: u32| format!("550 5.7.1 <u{number}@d{number}.example> blocked, id {number}abc");

        assert!(!storm.is_about_us(&said(1), "d1.example", now));
        assert!(!storm.is_about_us(&said(2), "D1.example", now), "the same domain");
        assert!(!storm.is_about_us(&said(3), "d2.example", now));
        assert!(storm.is_about_us(&said(4), "d3.example", now));
        assert!(storm.is_about_us(&said(1), "d1.example", now));
        storm.taken();
        assert!(!storm.is_about_us(&said(5), "d4.example", now));
    }

    #[test]
    fn different_refusals_are_their_recipients_own() {
        let (mut storm, now) = (Storm::default(), Instant::now());
        for (number, said) in ["550 5.7.1 blocked", "550 5.7.1 spam", "554 5.7.1 blocked"].iter().enumerate()
        {
            assert!(!storm.is_about_us(said, &format!("d{number}.example"), now), "{said}");
        }
    }

    #[test]
    fn one_is_let_through_after_a_while() {
        let (mut storm, now) = (Storm::default(), Instant::now());
        let outcomes = ["a", "b", "c"].map(|domain| storm.is_about_us("550 no", domain, now));
        assert_eq!(outcomes, [false, false, true]);

        assert!(storm.is_about_us("550 no", "c", now + LONGEST - Duration::from_secs(1)));
        assert!(!storm.is_about_us("550 no", "c", now + LONGEST));
    }
}
