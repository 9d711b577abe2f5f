//! What a message says: enough of MIME for mails as we write them.

/// A message's parts, as they read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) subject: String,
    pub(super) text: Option<String>,
    pub(super) html: Option<String>,
}

/// Reads a message. What it does not understand is left out.
pub(super) fn parts(raw: &[u8]) -> Parts {
    let whole = String::from_utf8_lossy(raw);
    let (headers, body) = split(&whole);
    let mut parts = Parts { subject: words(&field(&headers, "subject")), ..Parts::default() };
    let kind = field(&headers, "content-type");
    match kind.split_once("boundary=") {
        Some((_, boundary)) => {
            let mark =
                format!("--{}", boundary.split(';').next().unwrap_or_default().trim().trim_matches('"'));
            for part in body.split(&mark).skip(1).take_while(|part| !part.starts_with("--")) {
                let (headers, body) = split(part.trim_start_matches("\r\n"));
                add(&mut parts, &headers, body.strip_suffix("\r\n").unwrap_or(body));
            }
        }
        None => add(&mut parts, &headers, body),
    }
    parts
}

/// Returns a message's headers in their order, as they read.
pub(super) fn headers(raw: &[u8]) -> Vec<(String, String)> {
    let whole = String::from_utf8_lossy(raw);
    let (headers, _body) = split(&whole);
    let pairs = headers.split("\r\n").filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), words(value.trim()))).collect()
}

fn add(parts: &mut Parts, headers: &str, body: &str) {
    let decoded = match field(headers, "content-transfer-encoding").to_ascii_lowercase().as_str() {
        "quoted-printable" => text(unquoted(body)),
        "base64" => text(unbased(body)),
        _ => body.to_owned(),
    };
    let kind = field(headers, "content-type").to_ascii_lowercase();
    let place = if kind.starts_with("text/html") { &mut parts.html } else { &mut parts.text };
    place.get_or_insert(decoded);
}

/// Splits headers, unfolded, from the body.
fn split(message: &str) -> (String, &str) {
    let (headers, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
    (headers.replace("\r\n ", " ").replace("\r\n\t", " "), body)
}

fn field(headers: &str, name: &str) -> String {
    let named = |line: &str| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    headers.split("\r\n").find_map(named).unwrap_or_default()
}

/// Decodes the encoded words of RFC 2047. Blanks between two of them do not count.
fn words(text: &str) -> String {
    let mut decoded = String::new();
    let mut rest = text;
    let mut after_word = false;
    while let Some((before, begun)) = rest.split_once("=?") {
        let mut fields = begun.splitn(3, '?');
        let (_charset, way, coded) = (fields.next(), fields.next().unwrap_or_default(), fields.next());
        let Some((coded, behind)) = coded.and_then(|coded| coded.split_once("?=")) else { break };
        if !(after_word && before.trim().is_empty()) {
            decoded.push_str(before);
        }
        decoded.push_str(&text_of_word(way, coded));
        rest = behind;
        after_word = true;
    }
    decoded.push_str(rest);
    decoded
}

fn text_of_word(way: &str, coded: &str) -> String {
    match way.eq_ignore_ascii_case("b") {
        true => text(unbased(coded)),
        false => text(unquoted(&coded.replace('_', " "))),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn unquoted(text: &str) -> Vec<u8> {
    let joined = text.replace("=\r\n", "");
    let mut bytes = Vec::with_capacity(joined.len());
    let mut rest = joined.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let code = (*byte == b'=').then(|| behind.split_first_chunk::<2>()).flatten();
        match code.and_then(|(digits, behind)| Some((hexadecimal(*digits)?, behind))) {
            Some((decoded, behind)) => {
                bytes.push(decoded);
                rest = behind;
            }
            None => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    bytes
}

fn hexadecimal(digits: [u8; 2]) -> Option<u8> {
    let text = std::str::from_utf8(&digits).ok()?;
    u8::from_str_radix(text, 16).ok()
}

fn unbased(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter_map(|byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    });
    let (mut bytes, mut held, mut bits) = (Vec::with_capacity(text.len() / 4 * 3), 0_u16, 0_u8);
    for digit in digits {
        held = held << 6 | u16::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            let [_, byte] = (held >> bits).to_be_bytes();
            bytes.push(byte);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_of_two_parts_reads_as_it_was_written() {
        let raw = "Subject: Re: =?utf-8?b?0KLQtdC80LA=?=\r\n =?utf-8?q?=20x=5Fy?= z\r\nContent-Type: multipart/alternative;\r\n boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n5pel5pys\r\n6Kqe\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>a=3Db=\r\nc =E2=82=AC</p>\r\n--b--\r\n";

        let read = parts(raw.as_bytes());

        assert_eq!(read.subject, "Re: Тема x_y z");
        assert_eq!(read.text.as_deref(), Some("日本語"));
        assert_eq!(read.html.as_deref(), Some("<p>a=bc €</p>"));
    }

    #[test]
    fn what_is_no_mail_breaks_nothing() {
        for odd in
            ["", "\r\n\r\n", "Subject: =?utf-8?b?", "Content-Type: x; boundary=\r\n\r\n----", "=?a?b?=?="]
        {
            parts(odd.as_bytes());
        }
        assert_eq!(parts(b"Subject: x\r\n\r\n=E2=8").text.as_deref(), Some("=E2=8"));
    }
}
