//! What an endpoint's answer means.

use std::time::Duration;

use crate::ports::WebResponse;

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The endpoint has it.
    Delivered,
    /// The endpoint wants nothing any more.
    Gone,
    /// The endpoint will never take it; the detail for the dead letter.
    Refused(&'static str),
    /// Try again, not before the span that the endpoint named.
    Later(Option<Duration>),
}

/// Judges an answer by its status.
pub(super) fn answer(response: &WebResponse, now: i64) -> Answer {
    let after = || response.header("retry-after").and_then(|value| retry_after(value, now));
    match response.status {
        200..=299 => Answer::Delivered,
        300..=399 => Answer::Refused("redirect"),
        410 => Answer::Gone,
        408 | 425 | 429 | 500..=599 => Answer::Later(after()),
        _ => Answer::Refused("status"),
    }
}

/// Returns the answer in a line: the status, where a redirect leads, and the beginning of the body.
pub(super) fn reply(response: &WebResponse) -> String {
    let mut line = response.status.to_string();
    if (300..=399).contains(&response.status) {
        line.push_str(" (redirects are not followed)");
        return line;
    }
    let start = response.body.get(..4 * MOST_CHARS).unwrap_or(&response.body);
    let text = String::from_utf8_lossy(start);
    let printable = |char: char| if char.is_control() || is_odd(char) { ' ' } else { char };
    let words: String = text.chars().map(printable).collect();
    let words: Vec<_> = words.split_whitespace().collect();
    let words: String = words.join(" ").chars().take(MOST_CHARS).collect();
    if !words.is_empty() {
        line.push_str(": ");
        line.push_str(&words);
    }
    line
}

/// Characters that turn a line around or hide in it, and what stands for broken text.
fn is_odd(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffd}')
}

/// Reads `Retry-After`: seconds, or a date of HTTP's. What cannot be read asks for nothing.
fn retry_after(value: &str, now: i64) -> Option<Duration> {
    let value = value.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(|seconds: u32| Duration::from_secs(u64::from(seconds)));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(Duration::from_millis(u64::try_from(date.as_millisecond().saturating_sub(now)).unwrap_or_default()))
}

/// How much of a body is kept, in characters.
const MOST_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)], body: &[u8]) -> WebResponse {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        WebResponse { status, headers, body: body.to_vec() }
    }

    #[test]
    fn the_status_decides() {
        for (status, expected) in [
            (200, Answer::Delivered),
            (204, Answer::Delivered),
            (301, Answer::Refused("redirect")),
            (308, Answer::Refused("redirect")),
            (400, Answer::Refused("status")),
            (401, Answer::Refused("status")),
            (404, Answer::Refused("status")),
            (408, Answer::Later(None)),
            (410, Answer::Gone),
            (429, Answer::Later(None)),
            (500, Answer::Later(None)),
            (503, Answer::Later(None)),
            (600, Answer::Refused("status")),
            (101, Answer::Refused("status")),
        ] {
            assert_eq!(answer(&response(status, &[], b""), 0), expected, "{status}");
        }
    }

    #[test]
    fn both_forms_of_retry_after_are_read_and_others_ask_for_nothing() {
        let now = 784_111_777_000;
        for (value, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-5", None),
            ("soon", None),
            ("99999999999999999999", None),
            ("", None),
            ("1.5", None),
        ] {
            let answer = answer(&response(429, &[("retry-after", value)], b""), now);
            assert_eq!(answer, Answer::Later(seconds.map(Duration::from_secs)), "{value:?}");
        }
    }

    #[test]
    fn a_reply_is_one_short_clean_line() {
        let hostile = "No\r\nSet-Cookie: x\u{1b}[31m\u{202e}gnp\0 ".repeat(100);
        let line = reply(&response(500, &[], hostile.as_bytes()));

        assert!(line.starts_with("500: No Set-Cookie: x [31m gnp No"), "{line}");
        assert!(!line.contains(|char: char| char.is_control() || is_odd(char)));
        assert!(line.chars().count() <= MOST_CHARS + 5);
        assert_eq!(reply(&response(204, &[], b"")), "204");
        assert_eq!(reply(&response(302, &[], b"moved")), "302 (redirects are not followed)");
        assert_eq!(reply(&response(500, &[], &[0xff, 0xfe, b'x'])), "500: x");
    }
}
