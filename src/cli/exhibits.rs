//! What a demo has to show on its page: the mails that came into its sink, and the thumbnails that were made.

use std::sync::Arc;

use crate::adapters::mail_sink::{MailSink, SunkMail};
use crate::adapters::store::AnyStore;
use crate::console::{Gallery, GalleryFuture, Mail, MailLine, Mailbox, Thumb};
use crate::ports::Objects;

/// The mails of a sink.
pub(crate) struct SinkMails(pub(crate) Arc<MailSink>);

impl Mailbox for SinkMails {
    fn list(&self, count: usize) -> Vec<MailLine> {
        self.0.list().iter().take(count).map(|mail| line(mail)).collect()
    }

    fn get(&self, number: u64) -> Option<Mail> {
        let mail = self.0.get(number)?;
        Some(Mail {
            line: line(&mail),
            headers: mail.headers(),
            text: mail.text.clone(),
            html: mail.html.clone(),
        })
    }
}

fn line(mail: &SunkMail) -> MailLine {
    MailLine { number: mail.number, to: mail.to.join(", "), subject: mail.subject.clone(), at: mail.time }
}

/// The thumbnails that a store knows of, where they were written.
pub(crate) struct MadeThumbs {
    pub(crate) store: AnyStore,
    pub(crate) objects: Arc<dyn Objects>,
}

impl Gallery for MadeThumbs {
    fn recent(&self, count: usize) -> GalleryFuture<'_, Vec<Thumb>> {
        Box::pin(async move {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let lines = self.store.recent_thumbnails(count).await.unwrap_or_default();
            let narrowest = lines.into_iter().filter_map(|line| {
                let file = line.files.into_iter().next()?;
                Some(Thumb {
                    name: file.name,
                    of: line.object_key,
                    width: file.width,
                    height: file.height,
                    placeholder: Some(line.placeholder),
                    event: Some(line.event),
                })
            });
            narrowest.collect()
        })
    }

    fn read<'a>(&'a self, name: &'a str) -> GalleryFuture<'a, Option<Vec<u8>>> {
        Box::pin(async move { self.objects.read(name, LARGEST).await.ok() })
    }
}

/// The largest thumbnail that is shown, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024;
