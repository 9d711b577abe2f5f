//! Which addresses mail goes to.

use lettre::Address;

/// The longest address that SMTP can carry between its angle brackets, in bytes.
const LONGEST: usize = 254;

/// Reads an address, a bare `local@domain`. A domain with letters outside of ASCII is turned into its ASCII form.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn read(text: &str) -> Result<Address, String> {
    let wrong = |why: &str| format!("{:?} is no mail address: {why}", cut(text));
    if text.is_empty() {
        return Err("there is no mail address".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err(wrong("it holds a control character"));
    }
    let address: Address =
        text.parse().map_err(|error: lettre::address::AddressError| wrong(&error.to_string()))?;
    let (user, domain) = (address.user(), address.domain());
    if !user.starts_with('"') && user.chars().any(char::is_whitespace)
        || domain.chars().any(char::is_whitespace)
    {
        return Err(wrong("it holds a blank"));
    }
    if user.starts_with('"') && !is_quoted_well(user) {
        return Err(wrong("the quotes before its @ are not closed"));
    }
    if domain.chars().any(|char| "<>,;:\\\"()".contains(char)) && !domain.starts_with('[') {
        return Err(wrong("its domain holds what no domain holds"));
    }
    let address = if domain.is_ascii() {
        address
    } else {
        let ascii = url::Host::parse(domain).map_err(|error| wrong(&error.to_string()))?.to_string();
        Address::new(user, ascii).map_err(|error| wrong(&error.to_string()))?
    };
    if AsRef::<str>::as_ref(&address).len() > LONGEST {
        return Err(wrong("it is longer than 254 bytes"));
    }
    Ok(address)
}

/// Says whether a quoted local part ends with its last quote and nowhere before.
fn is_quoted_well(user: &str) -> bool {
    let mut inner = user.chars().skip(1).peekable();
    while let Some(char) = inner.next() {
        match char {
            '\\' if inner.next().is_none() => return false,
            '"' => return inner.peek().is_none(),
            _ => {}
        }
    }
    false
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_add_a_command_a_header_or_a_recipient_is_no_address() {
        for bad in [
            "",
            "ana",
            "@example.org",
            "ana@",
            "a@b@example.org",
            "ana@example.org\r\nRCPT TO:<eve@example.net>",
            "ana@example.org\n",
            "\"ana\r\nRCPT TO:<eve@example.net>\"@example.org",
            "\"ana\0\"@example.org",
            "ana@example.org, eve@example.net",
            "ana@example.org>",
            "Ana <ana@example.org>",
            "group: ana@example.org, eve@example.net;",
            "ana@example.org (comment)",
            "a na@example.org",
            " ana@example.org",
            "\"ana\\\"@example.org",
            "\"a\"b\"@example.org",
        ] {
            assert!(read(bad).is_err(), "{bad:?} was taken");
        }
        assert!(read(&format!("ana@{}example.org", "sub.".repeat(62))).is_err(), "longer than 254 bytes");
    }

    #[test]
    fn odd_addresses_that_are_valid_are_taken_and_domains_become_ascii() {
        for good in
            ["ana+blog@example.org", "\"a b\"@example.org", "-oQ/tmp@example.org", "o'neil@sub.example.org"]
        {
            assert_eq!(read(good).map(|address| address.to_string()).as_deref(), Ok(good));
        }
        let international = read("ana@bücher.example").map(|address| address.to_string());
        assert_eq!(international.as_deref(), Ok("ana@xn--bcher-kva.example"));
    }
}
