"""Judges mails with Python's own parsers of mail and HTML: one JSON object a line, with string, to and message.

Prints how many it judged; ends with 1 and the complaints where one is not as it must be."""

import email.policy
import html.parser
import json
import re
import sys
import urllib.parse

HEADERS = [
    "From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted", "List-Id",
    "X-Postroom-Event", "List-Unsubscribe", "List-Unsubscribe-Post", "MIME-Version", "Content-Type",
]
URLS = {"href", "src", "action", "formaction", "data", "poster", "background", "xlink:href", "srcset", "cite"}
OURS = {"!doctype", "html", "head", "meta", "title", "body", "div", "hr", "h1"}
# What may come of texts: the library's own list, without what loads or runs something.
FORBIDDEN = {
    "script", "style", "iframe", "frame", "object", "embed", "applet", "form", "input", "button", "textarea", "select",
    "link", "base", "svg", "math", "img", "image", "video", "audio", "source", "picture", "template", "noscript",
    "plaintext", "xmp", "isindex", "marquee", "portal", "map", "area",
}


class Judge(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.bad = []

    def handle_starttag(self, tag, attributes):
        if tag in FORBIDDEN:
            self.bad.append(f"<{tag}>")
        for name, value in attributes:
            value = value or ""
            if name.startswith("on") or name in ("srcdoc", "http-equiv"):
                self.bad.append(f"<{tag} {name}={value!r}>")
            if name in URLS:
                plain = re.sub(r"[\x00-\x20]", "", value).lower()
                if urllib.parse.urlsplit(plain).scheme not in ("http", "https", "mailto"):
                    self.bad.append(f"<{tag} {name}={value!r}>")
            if name == "style" and "url(" in value.lower():
                self.bad.append(f"<{tag} style={value!r}>")

    handle_startendtag = handle_starttag


def judge(mail):
    bad = []
    raw = mail["message"]
    for line in raw.split("\r\n"):
        if "\r" in line or "\n" in line or "\0" in line:
            bad.append(f"a bare line break or NUL: {line!r}")
        if len(line) > 998:
            bad.append(f"a line of {len(line)} octets")
    parsed = email.message_from_string(raw, policy=email.policy.SMTP.clone(max_line_length=None))
    names = parsed.keys()
    if names != [name for name in HEADERS if name in names] or len(set(names)) != len(names):
        bad.append(f"headers {names}")
    for name, value in parsed.items():
        decoded = str(value)
        if any(char in decoded for char in "\r\n\0"):
            bad.append(f"{name} holds a line break when it is decoded: {decoded!r}")
    to = parsed["To"].addresses
    if [address.addr_spec for address in to] != [mail["to"]] or mail["to"] != "ana@example.org":
        bad.append(f"recipients {to}")
    if parsed.defects:
        bad.append(f"defects {parsed.defects}")
    parts = list(parsed.iter_parts())
    if [part.get_content_type() for part in parts] != ["text/plain", "text/html"]:
        bad.append(f"parts {[part.get_content_type() for part in parts]}")
        return bad
    text, page = (part.get_content() for part in parts)
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text.replace("\r\n", "\n")):
        bad.append("a control character in the text")
    judge = Judge()
    judge.feed(page)
    judge.close()
    bad += judge.bad
    if page.count("<html") != 1 or not page.rstrip().endswith("</html>"):
        bad.append("the page is not whole")
    return bad


def main():
    count, complaints = 0, []
    with open(sys.argv[1], encoding="utf-8") as lines:
        for line in lines:
            mail = json.loads(line)
            count += 1
            complaints += [f"{mail['string'][:120]!r}: {bad}" for bad in judge(mail)]
    print(f"{count} mails, {len(complaints)} complaints")
    print("\n".join(complaints[:40]))
    sys.exit(1 if complaints else 0)


main()
