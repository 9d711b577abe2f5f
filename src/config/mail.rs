//! `[mail]`: the mails that are sent.

use std::time::Duration;

use crate::config::part::section;

section! {
    /// `[mail]`: the mails that are sent.
    pub struct MailSection {
        /// Events that are older than this cause no mail: an import of old history writes to nobody.
        max_age: Duration = Duration::from_secs(2 * 86_400),
    }
}
