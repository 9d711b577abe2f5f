//! The sink that the demo writes to.

use postroom::adapters::mail_sink::MailSink;
use postroom::ports::Mailer;

use crate::{NOW, mail_with, request, smtp, stationery};

#[tokio::test]
async fn the_sink_keeps_the_last_mails_as_they_read() {
    let listening = MailSink::listen(|| NOW).unwrap();
    let sink = listening.sink();
    let serving = tokio::spawn(listening.serve());
    let smtp = smtp(sink.address().port());
    let mut asked = request("ana", "ana@example.org");
    asked.post_title = Some("Grüße".to_owned());
    asked.text = Some("A line.\r\n.\r\nAnother, 日本語.".to_owned());
    let letter = stationery().write(&asked, NOW).unwrap();

    smtp.send(&letter.mail).await.unwrap();
    let first = sink.get(1).unwrap();
    for nth in 2..=250 {
        smtp.send(&mail_with(&format!("Subject: number {nth}\r\n\r\nbody\r\n"))).await.unwrap();
    }

    assert_eq!(
        (first.from.as_str(), &first.to[..]),
        ("blog@blog.example", &["ana@example.org".to_owned()][..])
    );
    assert_eq!(first.subject, letter.subject);
    let read = |text: &Option<String>| text.as_ref().unwrap().replace("\r\n", "\n").trim_end().to_owned();
    assert_eq!(read(&first.text), letter.text.trim_end());
    assert_eq!(read(&first.html), letter.html.trim_end());
    let kept = sink.list();
    assert_eq!((kept.len(), kept[0].number, kept[0].subject.as_str()), (200, 250, "number 250"));
    assert!(sink.get(1).is_none());
    serving.abort();
}
