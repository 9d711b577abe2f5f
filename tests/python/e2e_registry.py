#!/usr/bin/env python3
"""A real schema registry (Apicurio, in Confluent's dialect) and Apache Kafka: schemas that Postroom has never seen are learnt,
one that nobody knows is a dead letter after its grace, and a registry that is away is waited for. Every command that
docs/schemas.md and the help of `postroom schemas` show is run, and the verdicts on changed schemas are the registry's.

    e2e_registry.py --away 120      the registry is away for two minutes in mid-run
"""

import json
import os
import pathlib
import re
import shlex
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import wire
import arguments
from checks import Checks
from cluster import Cluster, Sent, facts, wait_until
from service import Postroom, free_port, member_config

UNKNOWN = 987_654
CHANGES = wire.ROOT / "tests" / "corpus" / "schema_changes.json"
GUIDE = wire.ROOT / "docs" / "schemas.md"


class Registry:
    """Apicurio from its distribution; what it knows is in memory, so it is frozen and not killed."""

    def __init__(self, folder, log):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
        jar = next(pathlib.Path(folder).glob("apicurio-registry-app-*-runner.jar"))
        words = ["java", "-Xmx384m", "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={self.port}", "-jar", str(jar)]
        self.process = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ready(self):
        try:
            return urllib.request.urlopen(f"{self.url}/subjects", timeout=5).status == 200
        except OSError:
            return False

    def register(self, subject, schema, references=()):
        body = json.dumps({"schema": schema, "references": list(references)}).encode()
        asked = urllib.request.Request(f"{self.url}/subjects/{subject}/versions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return json.load(answer)["id"]

    def ask(self, method, path, body):
        data = json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return json.load(answer)

    def takes(self, subject, before, after):
        """Whether the registry lets one schema follow another, at the level BACKWARD."""
        self.register(subject, json.dumps(before))
        self.ask("PUT", f"/config/{subject}", {"compatibility": "BACKWARD"})
        asked = {"schema": json.dumps(after)}
        return self.ask("POST", f"/compatibility/subjects/{subject}/versions/latest", asked)["is_compatible"]

    def freeze(self):
        self.process.send_signal(19)

    def thaw(self):
        self.process.send_signal(18)

    def stop(self):
        self.thaw()
        self.process.terminate()
        self.process.wait(30)


def config(kafka, folder, registry):
    return member_config(kafka, folder) + f"""
[registry]
url = "{registry.url}"
timeout = "2s"
grace = "4s"
"""


def publish(sent, schema, schema_id, number):
    post = f"post-{number}"
    datum = {"event_id": f"e{number}", "blog": "b", "post_id": post, "author": "ada", "slug": post, "occurred_at": 1_700_000_000_000 + number}
    value = b"\0" + struct.pack(">I", schema_id) + schema.datum(datum)
    headers = wire.cloud_event_headers("post.published", f"e{number}", 1_700_000_000_000 + number)
    sent.send("blog.posts", post.encode(), value, headers, round(time.time() * 1000))
    sent.flush()


def posts(store):
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=20) as db:
        return {row[0] for row in db.execute("SELECT id FROM posts WHERE state = 1")}


def letters(cluster):
    return [facts(one) for one in cluster.read([topic for topic in cluster.topics() if topic.startswith("dlq.")])]


def verdicts(checks, postroom, registry):
    """Our verdict on each changed schema is the registry's; where it is not, the case says so."""
    for number, case in enumerate(json.loads(CHANGES.read_text())):
        files = []
        for side in ("before", "after"):
            path = postroom.folder / f"{side}.avsc"
            path.write_text(json.dumps(case[side]))
            files.append(str(path))
        ours = json.loads(postroom.command("schemas", "diff", *files, "-o", "json").stdout)["after_reads_before"]
        theirs = registry.takes(f"change-{number}", case["before"], case["after"])
        expected = (case["compatible"], case.get("registry", case["compatible"]))
        checks.equal(f"the verdict where {case['change']}", expected, (ours, theirs))


def guide_files(folder, postroom):
    """Writes the files that the guide shows; what nobody works out by hand is taken from the command."""
    for name, text in re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    index = folder / "schemas" / "index.toml"
    shown, _ = index.read_text(), index.write_text("")
    told = postroom.command("schemas", "check", "schemas/", "--offline", check=False).stdout
    for number, entry in enumerate(re.findall(r'guid = "(\S+)"\nfingerprint = "(\S+)"', told), 1):
        for word, value in zip(("GUID", "PRINT"), entry, strict=True):
            shown = shown.replace(f"{word}_{number}", value)
    index.write_text(shown)


def shown_commands(postroom):
    """The commands in the guide and in the help of `postroom schemas`, as words, each once."""
    lines = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    for command in ("check", "diff", "register", "show"):
        lines.append(postroom.command("schemas", command, "--help").stdout.partition("Examples:")[2])
    found = re.findall(r"^ *postroom (.*?)(?:   .*)?$", "\n".join(lines), re.MULTILINE)
    # What looks at the registry comes after what fills it.
    return sorted(dict.fromkeys(found), key=lambda line: "register" not in line)


def commands(checks, postroom, registry):
    """Everything that is shown is run, with the registry as it is."""
    guide_files(postroom.folder, postroom)
    shown = shown_commands(postroom)
    checks.that("commands are shown", len(shown) > 12, str(shown))
    for line in shown:
        done = postroom.command(*shlex.split(line), "--config", str(postroom.config), check=False)
        checks.that(f"postroom {line}", done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}")
    again = json.loads(postroom.command("schemas", "register", "schemas/", "-o", "json").stdout)["schemas"]
    checks.equal("to register again changes nothing", {"was_there"}, {row["step"] for row in again})
    level = registry.ask("PUT", "/config/blog.likes-blog.LikeAdded", {"compatibility": "BACKWARD"})
    checks.that("the level can be set", level is not None)


def published(checks, cluster, postroom, store):
    """What commands publish carries the registry's ids and is read by the effects."""
    emitted = postroom.command("emit", "post.published", "post_id=emitted", "author=ada", "slug=emitted", "-o", "json")
    place = json.loads(emitted.stdout)
    lines = [{"type": "post.published", "event_id": f"i{n}", "blog": "b", "post_id": f"imported-{n}", "author": "ana", "title": "T",
              "occurred_at": "2021-03-14T15:09:26Z"} for n in range(5)]
    (postroom.folder / "events.jsonl").write_text("\n".join(map(json.dumps, lines)))
    postroom.command("import", "events.jsonl")
    wanted = {"emitted", *(f"imported-{n}" for n in range(5))}
    wait_until("what commands published is read", lambda: wanted <= posts(store), 30)
    ids = {struct.unpack(">I", one["value"][1:5])[0] for one in cluster.read(["blog.posts"])}
    checks.that("their frames carry ids of the registry, not those of our index", min(ids) > 20, str(ids))
    tailed = postroom.command("tail", "blog.posts", "-n", "50", "-o", "json").stdout
    checks.that("tail reads them", wanted <= {(json.loads(line)["event"] or {}).get("post_id") for line in tailed.splitlines()}, tailed)
    story = json.loads(postroom.command("show", f"{place['topic']}/{place['partition']}/{place['offset']}", "-o", "json").stdout)
    checks.equal("show reads it", "emitted", story["fields"]["post_id"])
    unregistered = postroom.command("emit", "user.removed", "user_id=u", "--set", "registry.auto_register=false",
                                    "--set", "registry.subject=record", check=False)
    checks.equal("what is not there is refused where it is not to be registered", 78, unregistered.returncode)
    checks.that("and the subject is named", "blog.UserRemoved" in unregistered.stderr, unregistered.stderr)


def story(checks, cluster, postroom, registry, store, away):
    schemas = wire.Schemas()
    first, second = schemas.of("post.published", 1), schemas.of("post.published", 2)
    # Ids of a registry mean something else than those of our index: push them apart.
    for number in range(20):
        registry.register(f"padding-{number}", json.dumps({"type": "fixed", "name": f"Pad{number}", "size": number + 1}))
    one = registry.register("blog.posts-blog.PostPublished", first.text)
    checks.that("the registry's ids are not those of our index", one > 20, str(one))
    postroom.command("topics", "apply", "-c", str(postroom.config))
    member = postroom.start("member")
    wait_until("the member is ready", member.ready, 60)
    checks.equal("each outcome stands in the metrics from the start", {"away": 0, "not_found": 0, "refused": 0, "unauthorised": 0},
                 {word: count for word, count in requests(member).items() if word != "ok"})
    sent = Sent(cluster.producer())

    publish(sent, first, one, 1)
    wait_until("a record of an unseen schema is read", lambda: "post-1" in posts(store), 30)
    two = registry.register("blog.posts-blog.PostPublished", second.text)
    publish(sent, second, two, 2)
    wait_until("a record of a later version is read", lambda: "post-2" in posts(store), 30)
    checks.equal("no dead letters", [], letters(cluster))

    publish(sent, second, UNKNOWN, 3)
    wait_until("an id that nobody knows becomes a dead letter in every group", lambda: len(letters(cluster)) >= 3, 60)
    checks.equal("its reason", {"unknown_schema"}, {one["reason"] for one in letters(cluster)})
    before = len(letters(cluster))

    letter = json.loads(postroom.command("dlq", "ls", "-o", "json").stdout)["letters"][0]["id"]
    shown = postroom.command("dlq", "show", letter)
    checks.that("a letter says that nobody has its schema", f"the registry has no schema with id {UNKNOWN}" in shown.stdout, shown.stdout)
    published(checks, cluster, postroom, store)

    told = while_away(checks, cluster, postroom, registry, store, sent, (member, before, letter), away)
    checks.equal("SIGTERM ends with 0", 0, member.terminate())
    return told


def requests(member):
    """Requests to the registry by how they ended."""
    page = member.get("/metrics")
    return {word: int(count) for word, count in re.findall(r'schema_registry_requests_total\{outcome="(\w+)"\} (\d+)', page)}


def newer_schema(registry, second):
    """A version that Postroom has not seen."""
    text = json.loads(second.text)
    text["fields"].append({"name": "mood", "type": ["null", "string"], "default": None})
    schema = wire.Schema.__new__(wire.Schema)
    schema.parsed = wire.fastavro.parse_schema(text)
    return schema, registry.register("blog.posts-blog.PostPublished", json.dumps(text))


def while_away(checks, cluster, postroom, registry, store, sent, known, away):
    """The registry falls silent in mid-run, while records of a schema go on that nobody has asked it for yet."""
    member, before, letter = known
    second = wire.Schemas().of("post.published", 2)
    newer, schema_id = newer_schema(registry, second)
    two = registry.register("blog.posts-blog.PostPublished", second.text)
    registry.freeze()
    begin, number, waiting = time.monotonic(), 0, False
    while time.monotonic() - begin < away:
        # Some could be read without it, and keep their place behind those that cannot.
        schema, name = (newer, schema_id) if number % 3 == 0 else (second, two)
        publish(sent, schema, name, 1_000 + number)
        number += 1
        said = postroom.command("status", "--url", f"127.0.0.1:{member.port}").stdout
        waiting = waiting or "waiting-on registry" in said
        time.sleep(max(0.05, away / 200))
    late = {f"post-{1_000 + n}" for n in range(number) if n % 3 == 0}
    checks.equal("nothing of the new schema is read while the registry is away", set(), late & posts(store))
    checks.equal("nothing is dead-lettered while the registry is away", before, len(letters(cluster)))
    checks.that("status says what it waits for", waiting)
    checks.that("the metric counts it", requests(member)["away"] > 0, str(requests(member)))
    for words in (["emit", "post.published", "post_id=p", "author=a"], ["tail", "blog.posts", "-n", "9"], ["dlq", "show", letter]):
        done = postroom.command(*words, check=False)
        checks.equal(f"{words[0]} ends with 69 while it is away", 69, done.returncode)
    checks.that("dlq show tells what the letter says of itself", letter in done.stdout and "not available" in done.stdout, done.stdout)
    for words in (["dlq", "ls"], ["dlq", "replay", letter, "--dry-run"], ["schemas", "check", "--offline"]):
        checks.equal(f"{' '.join(words[:2])} needs no registry", 0, postroom.command(*words, check=False).returncode)
    frozen = time.monotonic() - begin
    registry.thaw()
    back = time.monotonic()
    every = {f"post-{1_000 + n}" for n in range(number)}
    wait_until("everything is read when the registry is back", lambda: every <= posts(store), 120)
    caught_up = time.monotonic() - back
    checks.equal("nothing was dead-lettered", before, len(letters(cluster)))
    counted = requests(member)
    return {"away_seconds": round(frozen), "published_meanwhile": number, "caught_up_after_seconds": round(caught_up, 1),
            "requests": counted, "questions_while_away": counted["away"]}


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--apicurio", default=os.environ.get("POSTROOM_TEST_APICURIO"), help="its unpacked distribution")
    parser.add_argument("--away", type=float, default=12, help="seconds without the registry")
    given = parser.parse_args()
    if not given.kafka or not given.apicurio:
        sys.exit("give --kafka and --apicurio, or POSTROOM_TEST_KAFKA and POSTROOM_TEST_APICURIO")
    checks, told = Checks(), {}
    cluster = Cluster(given.kafka)
    cluster.clean()
    with tempfile.TemporaryDirectory(prefix="postroom-registry.") as name:
        folder = pathlib.Path(name)
        with (folder / "registry.log").open("wb") as log:
            registry = Registry(given.apicurio, log)
            postroom = Postroom(given.postroom, folder, config(given.kafka, folder, registry))
            try:
                wait_until("the registry answers", registry.ready, 90)
                verdicts(checks, postroom, registry)
                told = story(checks, cluster, postroom, registry, folder / "postroom.db", given.away)
                commands(checks, postroom, registry)
            except (RuntimeError, TimeoutError, AssertionError, urllib.error.URLError) as error:
                logs = "\n".join(f"--- {member.name}\n{member.tail()}" for member in postroom.members)
                checks.that("the run went through", False, f"{error}\n{logs}")
            finally:
                postroom.stop_all()
                registry.stop()
    sys.exit(checks.close(given.output, **told))


if __name__ == "__main__":
    main()
