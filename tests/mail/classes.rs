//! What each behaviour of a relay is taken for.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use postroom::adapters::smtp::{Smtp, SmtpSettings};
use postroom::config::{MailSecurity, Secret};
use postroom::ports::{Mail, MailError, Mailer};

use crate::relay::{Content, Relay, Script};
use crate::{mail, mail_with, settings, smtp};

#[tokio::test]
async fn a_mail_arrives_once_and_as_it_was_sent_whatever_its_lines_look_like() {
    let relay = Relay::start(Script::default());
    let message = "Subject: x\r\n\r\n.\r\n..\r\n.hidden\r\n\r\n.\r\nMAIL FROM:<eve@example.net>\r\nlast\r\n";

    let reply = smtp(relay.port).send(&mail_with(message)).await.unwrap();

    assert_eq!(reply.0, "250 2.0.0 taken as 4711");
    let mails = relay.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(
        (mails[0].from.as_str(), &mails[0].to[..]),
        ("blog@blog.example", &["ana@example.org".to_owned()][..])
    );
    assert_eq!(String::from_utf8_lossy(&mails[0].data).trim_end(), message.trim_end());
    assert_eq!(relay.lines()[0], "EHLO blog.example");
}

#[tokio::test]
async fn a_refused_recipient_is_refused_and_the_connection_serves_the_next() {
    let relay = Relay::start(Script {
        recipient: |_, nth| if nth == 1 { "550 5.1.1 no such user" } else { "250 ok" },
        ..Script::default()
    });
    let smtp = smtp(relay.port);

    let refused = smtp.send(&mail()).await;
    let taken = smtp.send(&mail()).await;

    assert_eq!(refused, Err(MailError::Refused("550 5.1.1 no such user".to_owned())));
    assert!(taken.is_ok());
    assert_eq!((relay.connections(), relay.mails().len()), (1, 1));
}

#[tokio::test]
async fn not_now_is_later_wherever_it_is_said() {
    let greylisting = Script { recipient: |_, _| "450 4.2.0 greylisted", ..Script::default() };
    let full = Script { content: Content::Reply("452 4.3.1 no space"), ..Script::default() };

    for (script, said) in [(greylisting, "450 4.2.0 greylisted"), (full, "452 4.3.1 no space")] {
        let relay = Relay::start(script);
        assert_eq!(smtp(relay.port).send(&mail()).await, Err(MailError::Later(said.to_owned())));
    }
}

#[tokio::test]
async fn a_relay_that_closes_or_does_not_greet_is_away() {
    let closing = [
        Script { greeting: Some("421 4.3.2 shutting down"), ..Script::default() },
        Script { greeting: Some("554 no service"), ..Script::default() },
        Script { greeting: Some("what do you want?"), ..Script::default() },
        Script { sender: |_| "421 4.3.2 shutting down", ..Script::default() },
        Script { recipient: |_, _| "421 4.3.2 shutting down", ..Script::default() },
        Script { content: Content::Reply("421 4.3.2 shutting down"), ..Script::default() },
    ];
    for script in closing {
        let relay = Relay::start(script);
        let failed = smtp(relay.port).send(&mail()).await;
        assert!(matches!(failed, Err(MailError::Away(_))), "{failed:?}");
    }
    let gone = Relay::start(Script::default()).port;
    let silent = Relay::start(Script { greeting: None, ..Script::default() });
    let mut impatient = settings(silent.port);
    impatient.timeout = Duration::from_millis(100);

    let failed = smtp(gone).send(&mail()).await;
    let waited = Smtp::new(impatient).unwrap().send(&mail()).await;

    assert!(matches!(failed, Err(MailError::Away(_))), "{failed:?}");
    assert!(matches!(waited, Err(MailError::Away(_))), "{waited:?}");
}

#[tokio::test]
async fn a_connection_that_was_kept_too_long_is_replaced_and_nobody_notices() {
    let relay = Relay::start(Script {
        sender: |nth| if nth == 2 { "421 4.4.2 idle too long" } else { "250 ok" },
        ..Script::default()
    });
    let smtp = smtp(relay.port);

    smtp.send(&mail()).await.unwrap();
    smtp.send(&mail()).await.unwrap();

    assert_eq!((relay.connections(), relay.mails().len()), (2, 2));
}

#[tokio::test]
async fn a_reply_that_never_comes_leaves_it_unknown() {
    for content in [Content::Drop, Content::Silence] {
        let relay = Relay::start(Script { content, ..Script::default() });
        let mut impatient = settings(relay.port);
        impatient.timeout = Duration::from_millis(500);

        let failed = Smtp::new(impatient).unwrap().send(&mail()).await;

        assert!(matches!(failed, Err(MailError::Unknown(_))), "{failed:?}");
        assert_eq!(relay.mails().len(), 1, "it is not sent again by itself");
    }
}

#[tokio::test]
async fn without_starttls_nothing_is_said_in_the_clear() {
    let relay = Relay::start(Script { offers: &["8BITMIME", "AUTH PLAIN"], ..Script::default() });
    let mut protected = settings(relay.port);
    protected.security = MailSecurity::Starttls;
    protected.credentials = Some(("user".to_owned(), Secret::new("s3cret-canary")));

    let failed = Smtp::new(protected).unwrap().send(&mail()).await;

    assert!(matches!(failed, Err(MailError::Away(_))), "{failed:?}");
    assert!(relay.mails().is_empty());
    let said = relay.lines();
    assert!(said.iter().all(|line| line.starts_with("EHLO") || line.starts_with("QUIT")), "{said:?}");
}

#[tokio::test]
async fn refused_credentials_are_our_mistake_not_the_mails() {
    let refusing = Script { offers: &["AUTH PLAIN LOGIN"], auth: "535 5.7.8 wrong", ..Script::default() };
    let busy = Script { offers: &["AUTH PLAIN"], auth: "454 4.7.0 try later", ..Script::default() };
    let without = Script::default();
    let asking = Script { sender: |_| "530 5.7.0 authentication required", ..Script::default() };

    let outcome = async |script, credentials: bool| {
        let relay = Relay::start(script);
        let mut settings = settings(relay.port);
        settings.credentials = credentials.then(|| ("user".to_owned(), Secret::new("s3cret-canary")));
        let failed = Smtp::new(settings).unwrap().send(&mail()).await.unwrap_err();
        assert!(!failed.to_string().contains("canary"));
        failed
    };

    assert!(matches!(outcome(refusing, true).await, MailError::Misconfigured(_)));
    assert!(matches!(outcome(busy, true).await, MailError::Away(_)));
    assert!(matches!(outcome(without, true).await, MailError::Misconfigured(_)));
    assert!(matches!(outcome(asking, false).await, MailError::Misconfigured(_)));
}

#[tokio::test]
async fn a_refusal_of_us_at_the_recipient_is_our_mistake_and_waits() {
    for said in [
        "554 5.7.1 <ana@example.org>: Relay access denied",
        "553 5.7.1 <blog@blog.example>: Sender address rejected: not owned by user blog",
        "550 relay not permitted",
        "530 5.7.0 Must issue a STARTTLS command first",
        "550 5.7.64 TenantAttribution; Relay Access Denied",
    ] {
        let relay = Relay::start(Script { recipient: answers(said), ..Script::default() });
        let failed = smtp(relay.port).send(&mail()).await;
        assert_eq!(failed, Err(MailError::Misconfigured(said.to_owned())));
    }
    let unverified = "554 Message rejected: Email address is not verified.";
    let relay = Relay::start(Script { content: Content::Reply(unverified), ..Script::default() });
    let failed = smtp(relay.port).send(&mail()).await;
    assert_eq!(failed, Err(MailError::Misconfigured(unverified.to_owned())));
}

/// One answer for all recipients.
fn answers(said: &'static str) -> fn(&str, usize) -> &'static str {
    match said.split(' ').next_back().unwrap() {
        "denied" => |_, _| "554 5.7.1 <ana@example.org>: Relay access denied",
        "blog" => |_, _| "553 5.7.1 <blog@blog.example>: Sender address rejected: not owned by user blog",
        "permitted" => |_, _| "550 relay not permitted",
        "first" => |_, _| "530 5.7.0 Must issue a STARTTLS command first",
        _ => |_, _| "550 5.7.64 TenantAttribution; Relay Access Denied",
    }
}

#[tokio::test]
async fn a_rule_that_refuses_one_is_his_and_one_that_refuses_all_is_ours_until_a_mail_is_taken() {
    let relay = Relay::start(Script {
        recipient: |address, _| {
            if address.starts_with("blocked") { "550 5.7.1 refused by policy" } else { "250 ok" }
        },
        ..Script::default()
    });
    let smtp = smtp(relay.port);
    let send = async |to: &str| smtp.send(&Mail { to: to.to_owned(), ..mail() }).await;
    let refused = Err(MailError::Refused("550 5.7.1 refused by policy".to_owned()));
    let ours = Err(MailError::Misconfigured("550 5.7.1 refused by policy".to_owned()));

    assert_eq!(send("blocked@a.example").await, refused);
    assert!(send("ana@example.org").await.is_ok());
    assert_eq!(send("blocked@b.example").await, refused);
    assert_eq!(send("blocked@c.example").await, refused, "the second in a row");
    assert_eq!(send("blocked@d.example").await, ours);
    assert_eq!(send("blocked@d.example").await, ours);
    assert!(send("ana@example.org").await.is_ok());
    assert_eq!(send("blocked@d.example").await, refused);
}

/// The time-out of the slow relay's client: long enough that a slow machine is not what takes it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A relay whose first connection takes one mail and is closed, late, over the second; whose others greet late; and where a
/// refusal comes late and nothing after it. Returns whether the client gave up what came after it in time.
async fn slow_relay(listener: tokio::net::TcpListener, greeting: f64, refusal: f64) -> bool {
    let mut first = true;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        if !std::mem::take(&mut first) {
            tokio::time::sleep(PATIENCE.mul_f64(greeting)).await;
        }
        let mut reply = "220 ready\r\n";
        let mut mails = 0;
        loop {
            if stream.get_mut().write_all(reply.as_bytes()).await.is_err() {
                break;
            }
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                break;
            }
            reply = match line.get(..4).unwrap_or(&line) {
                "MAIL" if mails == 1 && greeting > 0.0 => {
                    tokio::time::sleep(PATIENCE.mul_f64(0.5)).await;
                    break;
                }
                "RCPT" if refusal > 0.0 => {
                    tokio::time::sleep(PATIENCE.mul_f64(refusal)).await;
                    "550 5.1.1 unknown\r\n"
                }
                "RSET" => {
                    let mut rest = String::new();
                    let given_up = tokio::time::timeout(PATIENCE.mul_f64(0.7), stream.read_line(&mut rest));
                    return given_up.await.is_ok();
                }
                "DATA" => "354 go on\r\n",
                ".\r\n" => {
                    mails += 1;
                    "250 taken\r\n"
                }
                _ if line.contains(':') || line.starts_with("EHLO") => "250 ok\r\n",
                // The lines of the mail itself.
                _ => "",
            };
        }
    }
}

#[tokio::test]
async fn finding_a_kept_connection_closed_and_making_another_takes_one_time_out_together() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let patient = SmtpSettings { timeout: PATIENCE, ..settings(listener.local_addr().unwrap().port()) };
    let relay = tokio::spawn(slow_relay(listener, 0.9, 0.0));
    let smtp = Smtp::new(patient).unwrap();
    smtp.send(&mail_with("\r\n")).await.unwrap();

    let late = smtp.send(&mail_with("\r\n")).await;

    assert!(matches!(late, Err(MailError::Away(_))), "a whole time-out was left for it: {late:?}");
    relay.abort();
}

#[tokio::test]
async fn making_a_connection_ready_after_a_refusal_is_part_of_the_mail_s_own_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let patient = SmtpSettings { timeout: PATIENCE, ..settings(listener.local_addr().unwrap().port()) };
    let relay = tokio::spawn(slow_relay(listener, 0.0, 0.6));
    let smtp = Smtp::new(patient).unwrap();

    let refused = smtp.send(&mail()).await;

    assert_eq!(refused, Err(MailError::Refused("550 5.1.1 unknown".to_owned())));
    assert!(relay.await.unwrap(), "it waited on for the answer to RSET");
}

#[tokio::test]
async fn letters_outside_of_ascii_before_the_at_need_a_relay_that_takes_them() {
    let able = Relay::start(Script::default());
    let unable = Relay::start(Script { offers: &["8BITMIME"], ..Script::default() });
    let mut mail = mail();
    mail.to = "jürgen@example.org".to_owned();

    let taken = smtp(able.port).send(&mail).await;
    let refused = smtp(unable.port).send(&mail).await;

    assert!(taken.is_ok());
    assert!(able.lines().iter().any(|line| line.starts_with("MAIL FROM:") && line.contains("SMTPUTF8")));
    assert!(matches!(refused, Err(MailError::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn a_mail_that_is_given_up_in_mid_dialogue_leaves_no_connection_to_the_next() {
    let relay = Relay::start(Script { content: Content::Silence, ..Script::default() });
    let smtp = smtp(relay.port);
    let mail = mail();
    {
        let mut sending = std::pin::pin!(smtp.send(&mail));
        while relay.mails().is_empty() {
            tokio::select! {
                _ = &mut sending => panic!("nothing was answered"),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    }
    let mut next = std::pin::pin!(smtp.send(&mail));
    while relay.mails().len() < 2 {
        tokio::select! {
            _ = &mut next => panic!("nothing was answered"),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
    assert_eq!(relay.connections(), 2);
}

#[tokio::test]
async fn mails_go_out_at_the_set_rate_in_their_order() {
    let mut slow = settings(1);
    slow.rate = std::num::NonZeroU32::new(50);
    let smtp = Smtp::new(slow).unwrap();
    let order = std::sync::Mutex::new(Vec::new());

    let began = tokio::time::Instant::now();
    futures_util::future::join_all((0..60).map(|nth| {
        let (smtp, order) = (&smtp, &order);
        async move {
            smtp.turn().await;
            order.lock().unwrap().push(nth);
        }
    }))
    .await;

    assert!(order.lock().unwrap().iter().copied().eq(0..60));
    assert!(began.elapsed() >= Duration::from_millis(150), "fifty at once, the others at fifty a second");
}
