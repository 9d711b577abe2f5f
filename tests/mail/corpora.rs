//! Hostile strings through the mails that they would be in; judged by another language's parsers.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use postroom::event::MailRequested;
use serde_json::{Value, json};

use crate::{NOW, request, shared, stationery};

#[test]
fn no_string_executes_injects_or_adds_a_recipient() {
    let mut mails = Vec::new();
    let mut every_way = injections();
    if let Some(file) = shared("naughty-strings/blns.json") {
        let naughty: Vec<String> = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        every_way.extend(naughty);
    }
    if let Some(file) = shared("commonmark/examples.jsonl") {
        let examples = fs::read_to_string(file).unwrap();
        let markdown = examples.lines().filter_map(|line| {
            let example: Value = serde_json::from_str(line).unwrap();
            example["markdown"].as_str().map(str::to_owned)
        });
        every_way.extend(markdown);
    }
    for string in every_way {
        mails.extend(["comment", "post", "welcome"].map(|reason| hostile(&string, "markdown", reason)));
        mails.extend(["html", "text"].map(|format| hostile(&string, format, "post")));
    }
    if let Some(file) = shared("xss-payloads/xss-payload-list.txt") {
        let payloads = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        let payloads: Vec<_> = payloads.lines().collect();
        mails.extend(payloads.iter().map(|payload| hostile(payload, "html", "comment")));
        mails.extend(payloads.chunks(10).map(|some| hostile(&some.join("\n\n"), "markdown", "post")));
        mails.extend(payloads.chunks(10).map(|some| hostile(&some.join("\n"), "text", "post")));
    }

    let told = judged(&written(&mails));

    assert!(told.starts_with(&format!("{} mails, 0 complaints\n", mails.len())), "{told}");
}

#[test]
fn the_judge_sees_what_is_planted() {
    let good = written(&[hostile("Hello", "html", "post")]);
    for (from, to) in [
        ("To: Hello <ana@example.org>", "To: Hello <ana@example.org>, <eve@example.net>"),
        ("Subject: Hello", "Subject: Hello\\r\\nBcc: eve@example.net"),
        ("Subject: Hello", "Subject: =?utf-8?q?a=0D=0AB?="),
        ("<div>Hello</div>", "<div><script>alert(1)</script></div>"),
        ("<div>Hello</div>", "<div><a href=3D\\\"javascript:x\\\">x</a></div>"),
        ("<div>Hello</div>", "<div><b onclick=3Dx>x</b></div>"),
    ] {
        let planted = good.replace(from, to);
        assert_ne!(planted, good, "{from} is not there: {good}");
        assert!(!judged(&planted).contains(" 0 complaints"), "{to}");
    }
    assert!(judged(&good).starts_with("1 mails, 0 complaints\n"));
}

/// Returns what the judge says.
fn judged(mails: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mails.jsonl");
    fs::write(&file, mails).unwrap();
    let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/judge_mails.py");
    let judged = Command::new("python3").arg(judge).arg(&file).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&judged.stdout), String::from_utf8_lossy(&judged.stderr))
}

fn written(mails: &[MailRequested]) -> String {
    let stationery = stationery();
    mails.iter().fold(String::new(), |mut lines, request| {
        let letter = stationery.write(request, NOW).unwrap();
        let message = String::from_utf8(letter.mail.message).unwrap();
        let line = json!({"string": request.post_title, "to": letter.mail.to, "message": message});
        writeln!(lines, "{line}").unwrap();
        lines
    })
}

/// A mail in which everything that people write is this string.
fn hostile(string: &str, format: &str, reason: &str) -> MailRequested {
    let string = || Some(string.to_owned());
    MailRequested {
        name: string(),
        reason: reason.to_owned(),
        blog: string().unwrap_or_default(),
        locale: string().unwrap_or_default(),
        source_event: string().unwrap_or_default(),
        post_id: string(),
        post_title: string(),
        post_slug: string(),
        author: string(),
        author_name: string(),
        format: Some(format.to_owned()),
        text: string(),
        ..request("ana", "ana@example.org")
    }
}

/// What is aimed at mails.
fn injections() -> Vec<String> {
    let long = "long ".repeat(3_000);
    let one = "x".repeat(20_000);
    [
        "a\r\nBcc: eve@example.net",
        "a\nBcc: eve@example.net",
        "a\rBcc: eve@example.net",
        "a\r\n\r\n<script>alert(1)</script>",
        "a\0b",
        "=?utf-8?q?a=0D=0ABcc:_eve=40example.net?=",
        "=?utf-8?b?YQ0KQmNjOiBldmVAZXhhbXBsZS5uZXQ=?=",
        "Ana\" <eve@example.net>, \"",
        "eve@example.net, ana",
        "\r\n.\r\nMAIL FROM:<eve@example.net>\r\nRCPT TO:<eve@example.net>\r\nDATA\r\n",
        "\n.\nQUIT\n",
        "\u{2028}Bcc: eve@example.net\u{2029}",
        "\u{85}Bcc: eve@example.net",
        "\u{202e}gpj.exe",
        "{{ 7 * 7 }}{% include 'layout.html' %}${7*7}<%= 7*7 %>",
        "<!--#exec cmd=\"ls\" -->",
        "</title><script>alert(1)</script>",
        "</div></body></html><script>alert(1)</script>",
        "<style>@import url(http://eve.example)</style><p style=\"background:url(http://eve.example)\">x</p>",
        "<svg><script>alert(1)</script></svg><math><mi xlink:href=\"javascript:alert(1)\">",
        "<a href=\"java\nscript:alert(1)\">x</a> [x](javascript&colon;alert(1)) <javascript:alert(1)>",
        "[x](data:text/html;base64,PHNjcmlwdD4=) ![x](http://eve.example/pixel.png)",
        "🎉 שלום مرحبا 日本語",
        "",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([long, one])
    .collect()
}
