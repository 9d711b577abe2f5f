//! What a failed dialogue means: decided here, once, by how far it had come and what was answered.

use crate::ports::MailError;

/// How far a dialogue had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Connecting, greeting, agreeing on TLS.
    Connect,
    /// Proving who we are.
    Auth,
    /// Naming the sender.
    Sender,
    /// Naming the recipient.
    Recipient,
    /// Asking for leave to send the mail.
    Data,
    /// The mail itself is on its way, or sent.
    Content,
}

impl Stage {
    /// Says what was being done, for a sentence that begins "no answer within 10s".
    pub(super) const fn doing(self) -> &'static str {
        match self {
            Self::Connect => "while connecting",
            Self::Auth => "to the credentials",
            Self::Sender => "to MAIL FROM",
            Self::Recipient => "to RCPT TO",
            Self::Data => "to DATA",
            Self::Content => "to the mail itself",
        }
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A reply with this code.
    Code(u16),
    /// None that could be read: the connection broke, fell silent, or does not speak SMTP.
    Broken,
}

/// Returns the class. `said` is the reply or the cause.
pub(super) fn class(stage: Stage, answer: Answer, said: String) -> MailError {
    match (stage, answer) {
        (Stage::Content, Answer::Broken) => MailError::Unknown(said),
        (Stage::Connect | Stage::Auth | Stage::Sender | Stage::Recipient | Stage::Data, Answer::Broken)
        | (Stage::Connect, Answer::Code(_))
        | (
            Stage::Auth | Stage::Sender | Stage::Recipient | Stage::Data | Stage::Content,
            Answer::Code(421),
        )
        | (Stage::Auth, Answer::Code(..500)) => MailError::Away(said),
        // Authentication required, too weak, failed, or only over TLS; and a sender that may not send says nothing of
        // the recipient either: all mails would be refused alike.
        (Stage::Auth | Stage::Sender, Answer::Code(500..))
        | (Stage::Recipient | Stage::Data | Stage::Content, Answer::Code(530 | 534 | 535 | 538)) => {
            MailError::Misconfigured(said)
        }
        (Stage::Sender | Stage::Recipient | Stage::Data | Stage::Content, Answer::Code(..500)) => {
            MailError::Later(said)
        }
        (Stage::Recipient | Stage::Data | Stage::Content, Answer::Code(500..)) => MailError::Refused(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(stage: Stage, answer: Answer) -> &'static str {
        match class(stage, answer, String::new()) {
            MailError::Refused(_) => "refused",
            MailError::Later(_) => "later",
            MailError::Away(_) => "away",
            MailError::BadAddress(_) => "bad address",
            MailError::Unknown(_) => "unknown",
            MailError::Misconfigured(_) => "misconfigured",
        }
    }

    #[test]
    fn only_the_recipients_own_refusals_are_final_and_only_the_lost_reply_is_unknown() {
        use Answer::{Broken, Code};
        use Stage::{Auth, Connect, Content, Data, Recipient, Sender};
        for (stage, answer, expected) in [
            (Connect, Broken, "away"),
            (Connect, Code(554), "away"),
            (Auth, Code(454), "away"),
            (Auth, Code(535), "misconfigured"),
            (Sender, Code(452), "later"),
            (Sender, Code(553), "misconfigured"),
            (Sender, Broken, "away"),
            (Recipient, Code(450), "later"),
            (Recipient, Code(421), "away"),
            (Recipient, Code(550), "refused"),
            (Recipient, Code(530), "misconfigured"),
            (Data, Broken, "away"),
            (Data, Code(554), "refused"),
            (Content, Code(451), "later"),
            (Content, Code(421), "away"),
            (Content, Code(552), "refused"),
            (Content, Broken, "unknown"),
        ] {
            assert_eq!(word(stage, answer), expected, "{stage:?} {answer:?}");
        }
    }
}
