//! Whose fault a refusal is, by its enhanced code and how it begins.
//!
//! Relays check the sender, the client and the right to relay at RCPT TO, and answer with the codes that a refused
//! recipient gets: `554 5.7.1 <ana@example.org>: Relay access denied`. Taken for the recipient's, one mistake of ours
//! would make a dead letter of every mail.

/// Says whether a refusal (5xx) to RCPT, DATA or the mail is about us, who send, and so meets all mails alike.
///
/// `said` is the reply in one line. Only its beginning counts: what stands further on may be another server's words, which a
/// recipient chooses by having that server.
pub(super) fn is_about_us(said: &str, sender: &str, recipient: &str) -> bool {
    let text = said.get(3..).unwrap_or_default().trim_start_matches([' ', '-']);
    let (first, behind) = text.split_once(' ').unwrap_or((text, ""));
    let enhanced = enhanced(first);
    if enhanced.is_some_and(|code| OURS.contains(&code)) {
        return true;
    }
    // Between quotes an address may hold any words.
    if recipient.starts_with('"') {
        return false;
    }
    let text = if enhanced.is_some() { behind } else { text }.to_ascii_lowercase();
    let text = without_party(&text, &[&sender.to_ascii_lowercase(), &recipient.to_ascii_lowercase()]);
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
}

/// Says whether a refusal says nothing certain of its recipient: a rule (5.7.x), or no enhanced code at all.
pub(super) fn is_by_rule(said: &str) -> bool {
    let text = said.get(3..).unwrap_or_default().trim_start_matches([' ', '-']);
    let first = text.split(' ').next().unwrap_or_default();
    enhanced(first).is_none_or(|(subject, _detail)| subject == 7)
}

/// Reads subject and detail of a permanent enhanced code, such as `5.7.1`.
fn enhanced(word: &str) -> Option<(u16, u16)> {
    let (subject, detail) = word.strip_prefix("5.")?.split_once('.')?;
    Some((subject.parse().ok()?, detail.parse().ok()?))
}

/// Takes away whom the reply names first: the parties' addresses, or the client and its greeting in angle brackets.
fn without_party<'a>(text: &'a str, addresses: &[&str]) -> &'a str {
    let text = text.trim_start_matches("smtp;").trim_start();
    let bare = addresses.iter().find_map(|address| {
        let inner = text.strip_prefix('<').unwrap_or(text);
        let rest = inner.strip_prefix(address)?;
        Some(rest.strip_prefix('>').unwrap_or(rest))
    });
    let client = || {
        let (named, rest) = text.strip_prefix('<')?.split_once('>')?;
        (!named.contains('@')).then_some(rest)
    };
    bare.or_else(client).unwrap_or(text).trim_start_matches([':', '.', ' ', ',', '-'])
}

/// Enhanced codes that are about us wherever they stand (RFC 3463, RFC 4954, RFC 7505 and Microsoft's): our address, our
/// credentials, our protection, our quota.
const OURS: [(u16, u16); 13] = [
    (1, 7),
    (1, 8),
    (2, 252),
    (4, 5),
    (7, 8),
    (7, 9),
    (7, 10),
    (7, 11),
    (7, 14),
    (7, 54),
    (7, 57),
    (7, 60),
    (7, 64),
];

/// How refusals of us begin, in lower case: Postfix, Sendmail, Exim, Exchange, qmail, OpenSMTPD, Courier, and the relays of
/// large providers.
const BEGINNINGS: [&str; 34] = [
    "authentication is required",
    "authentication required",
    "client does not have permissions to send as this sender",
    "client host rejected",
    "client was not authenticated",
    "daily sending quota exceeded",
    "daily user sending limit exceeded",
    "email address is not verified",
    "helo command rejected",
    "mail relay denied",
    "message rejected: email address is not verified",
    "must authenticate",
    "must issue a starttls command first",
    "not logged in",
    "please authenticate",
    "please turn on smtp authentication",
    "relay access denied",
    "relay denied",
    "relay not allowed",
    "relay not permitted",
    "relaying denied",
    "relaying disallowed",
    "relaying is not allowed",
    "relaying not allowed",
    "relaying not permitted",
    "sendasdenied",
    "sender address is not allowed",
    "sender address rejected",
    "sender not allowed",
    "sender verify failed",
    "sorry, that domain isn't in my list of allowed rcpthosts",
    "the from address does not match a verified sender identity",
    "unable to relay",
    "we do not relay",
];

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: &str = "blog@blog.example";
    const RECIPIENT: &str = "Ana@example.org";

    #[test]
    fn refusals_of_us_are_known_in_the_words_of_many_relays() {
        for said in [
            "554 5.7.1 <Ana@example.org>: Relay access denied",
            "554 5.7.1 <ana@example.org>: Relay access denied",
            "553 5.7.1 <blog@blog.example>: Sender address rejected: not owned by user blog",
            "553 5.7.1 <blog@blog.example>: Sender address rejected: not logged in",
            "550 5.1.8 <blog@blog.example>: Sender address rejected: Domain not found",
            "554 5.7.1 <unknown[192.0.2.7]>: Client host rejected: Access denied",
            "550 5.7.1 <blog>: Helo command rejected: Access denied",
            "550 5.7.1 <Ana@example.org>... Relaying denied. Proper authentication required.",
            "550 5.7.1 Ana@example.org... Relaying denied",
            "550 relay not permitted",
            "550 Relay not permitted",
            "550-Please turn on SMTP Authentication in your mail client.",
            "550 5.7.1 Unable to relay for Ana@example.org",
            "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
            "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
            "550 5.7.64 TenantAttribution; Relay Access Denied",
            "554 5.2.252 SendAsDenied; blog@blog.example not allowed to send as x@blog.example",
            "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
            "513 Relaying denied.",
            "550 5.7.0 Mail relay denied [192.0.2.7]. Invalid credentials for relay",
            "554 Message rejected: Email address is not verified. The following identities failed",
            "550 The from address does not match a verified Sender Identity.",
            "550 5.4.5 Daily user sending limit exceeded.",
            "550 5.7.14 trust relationship required",
        ] {
            assert!(is_about_us(said, SENDER, RECIPIENT), "{said}");
        }
    }

    #[test]
    fn refusals_of_the_recipient_are_his_alone_also_by_rule() {
        for said in [
            "550 5.1.1 <Ana@example.org>: Recipient address rejected: User unknown in virtual mailbox table",
            "554 5.7.1 <Ana@example.org>: Recipient address rejected: Access denied",
            "550 5.7.1 <Ana@example.org>: Recipient address rejected: policy",
            "550 5.7.1 RESOLVER.RST.AuthRequired; authentication required",
            "550 Unrouteable address",
            "550 no such user",
            "552 5.2.2 mailbox full",
            "550 5.7.1 [192.0.2.7] Our system has detected an unusual rate of unsolicited mail",
            "554 5.7.1 Service unavailable; client [192.0.2.7] blocked using zen.example",
            "550",
            "",
        ] {
            assert!(!is_about_us(said, SENDER, RECIPIENT), "{said}");
        }
    }

    #[test]
    fn nobody_stops_all_mail_by_his_address_or_by_his_server_s_words() {
        for (recipient, said) in [
            (
                RECIPIENT,
                "550 5.1.1 <Ana@example.org>: Recipient address rejected: undeliverable: host mx.example said: 550 Relay access denied",
            ),
            ("relay@access.denied", "550 5.1.1 relay@access.denied: unknown"),
            ("\"relay access denied\"@x.org", "550 5.1.1 \"relay access denied\"@x.org unknown"),
            ("\"x> relay access denied\"@x.org", "550 5.1.1 <\"x> relay access denied\"@x.org> unknown"),
            ("x@x.org", "550 5.1.1 <y@x.org> relay access denied"),
        ] {
            assert!(!is_about_us(said, SENDER, recipient), "{said}");
        }
    }

    #[test]
    fn a_rule_is_told_from_what_is_wrong_with_an_address() {
        assert!(is_by_rule("550 5.7.1 no") && is_by_rule("550 no") && is_by_rule("554"));
        assert!(!is_by_rule("550 5.1.1 unknown") && !is_by_rule("552 5.2.2 full"));
    }
}
