#!/usr/bin/env python3
"""The page in a real browser, with hostile content.

Starts a demo, publishes events whose texts, keys and ids are cross-site scripting payloads and other naughty strings,
and looks at the page and at stories of events in Chromium. Nothing of them may run: no request may reach the address
that the payloads call, no element may stand on the page that its templates do not have, and the browser may have
nothing to refuse. A page that shows the same payloads carelessly proves that the sink would notice.
"""

import argparse
import html.parser
import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from checks import Checks

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ELEMENTS = set(
    "a article bdi body code dd form input label mark details div dl dt footer h1 h2 head header html iframe img li link main meta nav ol p path"
    " pre progress rect script section span strong summary svg table tbody td th thead time title tr ul".split()
)
ATTRIBUTES = set(
    "action maxlength method placeholder type alt aria-hidden aria-label aria-labelledby charset class content d data-key data-label data-live data-part datetime"
    " decoding defer height href id lang loading max name open referrerpolicy rel role rx sandbox scope src tabindex"
    " title value viewbox width x y".split()
)
BATCH = 40  # as many events as the page shows


class Sink:
    """Notes every request; what payloads call when they run."""

    def __init__(self):
        self.hits = []
        self.careless = ""
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                page = self.path == "/careless"
                if not page and self.path != "/favicon.ico":
                    sink.hits.append(self.path)
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(sink.careless.encode() if page else b"")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Outline(html.parser.HTMLParser):
    """What stands on a page: elements, attributes, text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.odd, self.scripts, self.words = set(), [], [], []
        self.feed(text)
        self.text = re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in ELEMENTS:
            self.odd.append(f"<{tag}>")
        for name, value in attributes:
            if name not in ATTRIBUTES:
                self.odd.append(f"<{tag} {name}>")
            if name in ("href", "src") and not re.match(r"(/|#main$|data:,$|data:image/)", value or ""):
                self.odd.append(f"<{tag} {name}={value!r}>")
        if tag == "script":
            self.scripts.append(dict(attributes).get("src"))

    def handle_data(self, data):
        self.words.append(data)


class Demo:
    """A running demo in a home of its own."""

    def __init__(self, binary, home):
        self.binary, self.home = str(pathlib.Path(binary).resolve()), home
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.environment = {**kept, "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "NO_COLOR": "1"}
        self.log = home / "demo.log"
        with self.log.open("wb") as log:
            words = [self.binary, "demo", "--port", "0", "--events", "60"]
            self.process = subprocess.Popen(
                words, cwd=home, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until("the demo stays up", lambda: "the demo stays up" in self.log.read_text() or self.ended(), 90)
        self.ended()
        self.address = "http://" + json.loads((home / "postroom" / "demo.json").read_text())["http"]

    def ended(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the demo ended with {self.process.returncode}\n{self.log.read_text()}")
        return False

    def command(self, *arguments):
        return subprocess.run(
            [self.binary, *arguments], cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=60
        )

    def get(self, path, **headers):
        request = urllib.request.Request(self.address + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def publish(self, events):
        file = self.home / "hostile.jsonl"
        file.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
        done = self.command("import", str(file))
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


class Browser:
    """Chromium without a window: a fresh start for each page."""

    def __init__(self, folder):
        self.folder = folder

    def look(self, url, seconds=3):
        """Returns the document after so many seconds of its own time, and what stood in the console."""
        words = [
            "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
            "--enable-logging=stderr", "--v=0", f"--user-data-dir={self.folder / 'browser'}",
            f"--virtual-time-budget={seconds * 1000}", "--dump-dom", url,
        ]
        environment = {**os.environ, "HOME": str(self.folder)}
        done = subprocess.run(words, capture_output=True, timeout=60, env=environment)
        console = [line for line in done.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line]
        return done.stdout.decode(errors="replace"), console


def wait_until(what, holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"in vain: {what}")
        time.sleep(0.1)


def own_payloads(sink):
    """Payloads that call the sink, by every way that a browser has of calling."""
    url = sink.address
    return [
        f"<script>fetch('{url}/script')</script>",
        f"<script src='{url}/script-src'></script>",
        f"<img src={url}/img>",
        f"<img src=x onerror=\"new Image().src='{url}/onerror'\">",
        f"\"><svg onload=\"new Image().src='{url}/svg'\">",
        f"'><iframe src='{url}/iframe'></iframe>",
        f"<link rel=stylesheet href={url}/css>",
        f"<style>@import '{url}/import'; * {{ background: url({url}/background) }}</style>",
        f"<meta http-equiv=refresh content='0;url={url}/meta'>",
        f"<base href='{url}/'>",
        f"</bdi></a></title></textarea></script><img src={url}/break>",
        f"{{{{ 7 * 7 }}}} {{% include 'base.html' %}} <img src={url}/template>",
        f"<object data='{url}/object'></object><embed src='{url}/embed'>",
        f"<video poster={url}/poster><source onerror=\"fetch('{url}/source')\"></video>",
        f"<details open ontoggle=\"fetch('{url}/toggle')\">",
        f"<!--><img src={url}/comment> --!><img src={url}/comment2>",
        f"<math><mtext><table><mglyph><style><img src={url}/mxss>",
        f"<form action='{url}/form'><input autofocus onfocus=this.form.submit()>",
        "javascript:alert(1)//",
    ]


def foreign_payloads(checks):
    data = pathlib.Path(os.environ.get("POSTROOM_SHARED_DATA", ROOT.parent / "shared" / "data"))
    scripts, strings = data / "xss-payloads" / "xss-payload-list.txt", data / "naughty-strings" / "blns.json"
    payloads = []
    if scripts.exists():
        lines = [line for line in scripts.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        payloads += lines[:: max(1, len(lines) // 150)]
    else:
        print(f"SKIPPED: {scripts} is missing: only this test's own payloads are shown", flush=True)
    if strings.exists():
        naughty = [text for text in json.loads(strings.read_text(encoding="utf-8")) if text.strip()]
        payloads += naughty[:: max(1, len(naughty) // 90)]
    else:
        print(f"SKIPPED: {strings} is missing", flush=True)
    return payloads


def event(number, payload):
    """A comment whose body is the payload, and its ids too as far as ids may be such."""
    clean = "".join(char for char in payload if char.isprintable() or char == " ").encode()[:200].decode(errors="ignore")
    payload = payload.replace("\0", "")
    return {
        "type": "comment.created",
        "event_id": f"hostile-{number}-{clean}",
        "blog": clean or "b",
        "comment_id": f"c{number}-{clean}",
        "post_id": f"p{number}-{clean}",
        "author": clean or "nobody",
        "title": payload,
        "body": payload,
        "occurred_at": "2026-01-31T12:00:00Z",
    }


def is_whole(checks, what, document, console):
    outline = Outline(document)
    checks.equal(f"{what}: only elements and attributes of the templates", [], sorted(set(outline.odd)))
    checks.that(f"{what}: one script, ours", len(outline.scripts) == 1 and outline.scripts[0].startswith("/assets/"))
    checks.equal(f"{what}: the browser complains of nothing", [], console)
    return outline


def look_at_everything(checks, demo, browser, sink, payloads):
    for first in range(0, len(payloads), BATCH):
        batch = [event(first + index, payload) for index, payload in enumerate(payloads[first : first + BATCH])]
        demo.publish(batch)
        last = batch[-1]["event_id"]
        wait_until("the last event is known", lambda: last in known_ids(demo))
        # Longer than the script's first refresh: its way of putting parts in place is looked at, too.
        document, console = browser.look(demo.address + "/", 5)
        outline = is_whole(checks, f"page with events {first} to {first + len(batch) - 1}", document, console)
        if first == 0:
            for payload in payloads[: len(own_payloads(sink))]:
                shown = re.sub(r"\s+", " ", payload[:60])
                checks.that(f"shown as text: {payload[:30]!r}", shown in outline.text)
            checks.that("the script keeps the page fresh", 'data-live="live"' in document)
        look_at_stories(checks, demo, browser, batch, first)


def known_ids(demo):
    return {one["id"] for one in json.loads(demo.get("/api/events")[2])["events"]}


def look_at_stories(checks, demo, browser, batch, first):
    odd = []
    for one in batch:
        path = "/events/" + urllib.parse.quote(one["event_id"], safe="")
        status, headers, text = demo.get(path)
        outline = Outline(text)
        if status != 200 or outline.odd or len(outline.scripts) != 1 or "script-src 'self';" not in headers[POLICY]:
            odd.append((path, status, outline.odd))
    checks.equal(f"stories {first} to {first + len(batch) - 1} hold nothing of their events but text", [], odd)
    for one in batch[:2]:
        path = "/events/" + urllib.parse.quote(one["event_id"], safe="")
        document, console = browser.look(demo.address + path, 1)
        is_whole(checks, f"story {one['event_id'][:30]!r} in the browser", document, console)


def what_every_answer_says(checks, demo):
    for path in ("/", "/events/none", "/api/page/events", "/api/events", "/mails/1", "/nowhere"):
        _, headers, _ = demo.get(path)
        checks.that(f"{path}: strict policy", "default-src 'none'; script-src 'self'; style-src 'self';" in headers[POLICY])
        checks.that(f"{path}: in no frame", "frame-ancestors 'none'" in headers[POLICY])
        told = [headers[name] for name in ("x-content-type-options", "referrer-policy", "cache-control")]
        checks.equal(f"{path}: no sniffing, no referrer, no copy", ["nosniff", "no-referrer", "no-store"], told)
    checks.equal("a stranger's name for this address is refused", 421, demo.get("/", Host="evil.example")[0])
    page = demo.get("/")[2]
    for asset in re.findall(r"/assets/[^\"]+", page):
        status, headers, _ = demo.get(asset)
        checks.that(f"{asset} is kept by the browser", status == 200 and "immutable" in headers["cache-control"])


def unseen_characters_are_marked(checks, demo, browser):
    demo.publish([{**event("odd", "invoice\u202egnp.exe and zero\u200bwidth, mail ada@example.org"), "event_id": "odd-one"}])
    wait_until("the event is known", lambda: "odd-one" in known_ids(demo))
    for path in ("/", "/events/odd-one"):
        text = Outline(browser.look(demo.address + path, 1)[0]).text
        checks.that(f"{path}: direction and width are marked", "invoice⟦U+202E⟧gnp.exe and zero⟦U+200B⟧width" in text)
        checks.that(f"{path}: addresses are masked", "a•••@example.org" in text and "ada@example.org" not in text)
    shown = demo.command("show", "odd-one")
    checks.equal("show finds it", 0, shown.returncode)
    checks.that("show marks it too", "invoice⟦U+202E⟧gnp.exe" in shown.stdout and "\u202e" not in shown.stdout)
    checks.that("show masks addresses", "ada@example.org" not in shown.stdout + json.dumps(shown.stderr))
    story = json.loads(demo.command("show", "odd-one", "-o", "json", "--since", "1h").stdout)
    states = {group["handler"]: group["state"] for group in story["groups"]}
    checks.equal("show tells what the groups did", {"finished"}, {states["notify"], states["project"]})
    by_place = "{topic}/{partition}/{offset}".format(**story["place"])
    checks.equal("show finds it by its place", "odd-one", json.loads(demo.command("show", by_place, "-o", "json").stdout)["id"])
    checks.equal("show says where there is none", 66, demo.command("show", "nothing-of-that-name").returncode)
    status, _, told = demo.get("/api/events/nothing-of-that-name")
    checks.that("so does the API, with a hint", status == 404 and "postroom show" in json.loads(told)["hint"])


POLICY = "content-security-policy"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--postroom", required=True, help="the binary")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    arguments = parser.parse_args()
    checks, sink = Checks(), Sink()
    with tempfile.TemporaryDirectory(prefix="postroom-page.") as folder:
        home = pathlib.Path(folder)
        browser, demo = Browser(home), Demo(arguments.postroom, home)
        try:
            sink.careless = "".join(own_payloads(sink)[:8])
            browser.look(sink.address + "/careless")
            checks.that("carelessly shown, payloads reach the sink", len(sink.hits) >= 4, repr(sink.hits))
            sink.hits.clear()
            what_every_answer_says(checks, demo)
            payloads = own_payloads(sink) + foreign_payloads(checks)
            look_at_everything(checks, demo, browser, sink, payloads)
            unseen_characters_are_marked(checks, demo, browser)
            checks.equal("no payload has run: the sink heard nothing", [], sink.hits)
        finally:
            demo.stop()
    return checks.close(arguments.output, payloads=len(payloads))


if __name__ == "__main__":
    sys.exit(main())
