#!/usr/bin/env python3
"""Postroom on an Apache Kafka that asks who comes and what they may: TLS, SASL PLAIN and SCRAM, client certificates, access
control. Every way of being wrong is told with what to do; every right that is missing is named with the line that grants it, and
that line is enough. It starts a broker of its own, whose certificates and passwords are made for it.
"""

import argparse
import contextlib
import json
import pathlib
import re
import sqlite3
import sys
import tempfile
import time

from confluent_kafka.admin import AclOperation, ResourceType

import wire
from checks import Checks
from cluster import Sent, wait_until
from secured import CLUSTER, Secured, granted_by, lines_of
from service import Postroom

USER = "User:postroom"
GROUP = "postroom.project"
POSTS, LETTERS, RETRY = "blog.posts", f"dlq.{GROUP}.blog.posts", f"retry.{GROUP}"
EFFECTS = ("mail", "notify", "purge", "search", "thumbnails", "webhooks")


def config(kafka, folder):
    off = "\n".join(f"[effects.{name}]\nenabled = false" for name in EFFECTS)
    return f"""
[kafka]
brokers = "{kafka.sasl_ssl}"
security = "sasl_ssl"
session_timeout = "6s"

[kafka.tls]
ca = "{kafka.file("ca.crt")}"

[kafka.sasl]
mechanism = "SCRAM-SHA-512"
username = "postroom"
password_file = "{kafka.file("postroom.password")}"

[shutdown]
deadline = "5s"

[store]
url = "sqlite:{folder}/postroom.db"

[topics]
partitions = 2

{off}
"""


def topic(operation, name):
    return (AclOperation[operation], ResourceType.TOPIC, name, USER)


READ_GROUP = (AclOperation.READ, ResourceType.GROUP, GROUP, USER)


class Story:
    def __init__(self, checks, kafka, postroom, folder):
        self.checks, self.kafka, self.postroom, self.folder = checks, kafka, postroom, folder
        self.schema = wire.Schemas().of("post.published", 1)
        self.number = 0

    def command(self, *words, FILE=None, **settings):
        """Runs a command; `FILE` is another configuration than the test's, `a__b=c` sets a.b."""
        sets = [word for name, value in settings.items() for word in ("--set", f"{name.replace('__', '.')}={value}")]
        return self.postroom.command(*words, "-c", FILE or str(self.postroom.config), *sets, check=False)

    def refused(self, what, code, pattern, *words, **settings):
        """A command ends with a code and says what to do."""
        done = self.command(*(words or ("topics", "plan")), **settings)
        said = done.stderr
        holds = done.returncode == code and re.search(pattern, said)
        self.checks.that(what, holds, f"ended with {done.returncode}, expected {code} and {pattern!r}\n{done.stdout}{said}")
        secrets = [self.kafka.read(f"{name}.password") for name in ("admin", "postroom", "key")]
        self.checks.that(f"{what}: no secret is shown", not any(secret in said + done.stdout for secret in secrets), said)
        return said

    # Who talks to whom.

    def wrong_ways(self):
        kafka = self.kafka
        port = kafka.sasl_ssl.rpartition(":")[2]
        mine = {"kafka__tls__certificate": kafka.file("client.crt"), "kafka__tls__key": kafka.file("client.key")}
        with_certificate = self.plain_tls(kafka.ssl) | mine
        cases = [
            ("an authority that is not the broker's", 78, "kafka.tls.ca = .*put the certificate of the broker's authority", {"kafka__tls__ca": kafka.file("other.crt")}),
            ("another host name than the certificate's", 78, "is for another host name: name the broker in kafka.brokers", {"kafka__brokers": f"127.0.0.1:{port}"}),
            ("a certificate that has expired", 78, "has expired: renew it", {**with_certificate, "kafka__brokers": kafka.expired}),
            ("TLS to a plaintext port", 78, 'does not speak TLS .* set kafka.security = "sasl_plaintext"', {"kafka__brokers": kafka.sasl_plaintext}),
            ("plaintext to a TLS port", 78, 'speaks TLS at this port.*set kafka.security = "ssl" or "sasl_ssl"', self.in_the_clear(kafka.sasl_ssl)),
            ("plaintext to a port that wants credentials", 78, 'wants credentials: set kafka.security = "sasl_plaintext"', self.in_the_clear(kafka.sasl_plaintext)),
            ("TLS without credentials to a port that wants them", 78, 'wants credentials: set kafka.security = "sasl_ssl"', self.plain_tls(kafka.sasl_ssl)),
            ("credentials to a port that takes none", 78, 'does not ask for credentials .*set kafka.security = "ssl"', {**mine, "kafka__brokers": kafka.ssl}),
            ("no client certificate", 78, "wants a client certificate .*set kafka.tls.certificate and kafka.tls.key", self.plain_tls(kafka.ssl)),
            ("a client certificate of a foreign authority", 78, "does not accept our certificate .*ssl.truststore", {**with_certificate, "kafka__tls__certificate": kafka.file("other.crt"), "kafka__tls__key": kafka.file("other.key")}),
            ("a key of another certificate", 78, "kafka.tls.key = .*does not belong to kafka.tls.certificate", {**with_certificate, "kafka__tls__key": kafka.file("other.key")}),
            ("an encrypted key without its password", 78, "kafka.tls.key = .*kafka.tls.key_password", {**with_certificate, "kafka__tls__key": kafka.file("client-encrypted.key")}),
            ("a user whom the broker does not know", 77, 'refuses the credentials of user "nobody" by SCRAM-SHA-512.*kafka.sasl.password_file', {"kafka__sasl__username": "nobody"}),
            ("a wrong password by PLAIN", 77, 'refuses the credentials of user "admin" by PLAIN', {"kafka__sasl__username": "admin", "kafka__sasl__mechanism": "PLAIN"}),
            ("a file that is not there", 78, "kafka.tls.ca: /nowhere cannot be read", {"kafka__tls__ca": "/nowhere"}),
        ]
        for what, code, pattern, settings in cases:
            self.refused(what, code, pattern, **settings)
        for words in (("run",), ("emit", "post.published", "post_id=p", "author=ada", "slug=p"), ("tail", POSTS, "-n", "1"), ("dlq", "ls")):
            self.refused(f"{words[0]} says so as well", 78, "put the certificate of the broker's authority", *words, kafka__tls__ca=kafka.file("other.crt"))
            self.refused(f"{words[0]} with a wrong user", 77, 'refuses the credentials of user "nobody"', *words, kafka__sasl__username="nobody")
        shown = self.command("config", "show").stdout
        self.checks.that("the configuration is shown without the password", "[redacted]" in shown and kafka.read("postroom.password") not in shown, shown)

    def in_the_clear(self, brokers):
        """Settings that switch everything off that the file switches on."""
        return self.other_file("clear", f'[kafka]\nbrokers = "{brokers}"\n')

    def plain_tls(self, brokers):
        return self.other_file("tls", f'[kafka]\nbrokers = "{brokers}"\nsecurity = "ssl"\n[kafka.tls]\nca = "{self.kafka.file("ca.crt")}"\n')

    def other_file(self, name, text):
        path = self.folder / f"{name}-{text.count(':')}-{abs(hash(text))}.toml"
        off = "\n".join(f"[effects.{effect}]\nenabled = false" for effect in EFFECTS)
        path.write_text(f"{text}\n[topics]\npartitions = 2\n{off}\n")
        return {"FILE": str(path)}

    # What one may.

    def granting_what_is_printed_is_enough(self):
        """An administrator who only copies what is printed gets to a running member."""
        first = True
        for words in (("topics", "plan"), ("topics", "apply"), ("run",)):
            for _ in range(6):
                text = self.said_by(*words)
                if text is None:
                    break
                self.checks.that(f"{words[-1]}: what is missing is named with its lines", lines_of(text), text)
                if first:
                    for line in lines_of(text):
                        done, said = self.kafka.run(line)
                        self.checks.that("Kafka's own tool takes the line as it is", done, f"{line}\n{said}")
                    first = False
                else:
                    self.kafka.grant(granted_by(text))
            self.checks.that(f"{words[-1]} works with what was granted", text is None, text)

    def said_by(self, *words):
        """Runs a command; returns what it says of missing rights, `None` where it works."""
        if words == ("run",):
            return self.run_until_ready()
        done = self.command(*words)
        if done.returncode == 0:
            return None
        if done.returncode != 77:
            raise RuntimeError(f"{words} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stderr

    def run_until_ready(self):
        member = self.postroom.start(f"member-{len(self.postroom.members)}")

        def ready_or_gone():
            if member.process.poll() is not None:
                return "gone"
            with contextlib.suppress(RuntimeError):
                return member.ready() and member.status()["groups"][0]["partitions"] and "ready"
            return None

        if wait_until("the member is ready or gives up", ready_or_gone, 60) == "ready":
            self.checks.equal("SIGTERM ends with 0", 0, member.terminate())
            return None
        if member.process.returncode != 77:
            raise RuntimeError(f"run ended with {member.process.returncode}\n{member.tail()}")
        return member.log.read_text()

    def each_right_alone(self):
        """Takes one right after the other: each is named, alone, by the command that needs it."""
        for what, rule in [
            ("to read the topic", topic("READ", POSTS)),
            ("to read the group", READ_GROUP),
            ("to write dead letters", topic("WRITE", LETTERS)),
            ("to read the retry topic", topic("READ", RETRY)),
        ]:
            self.kafka.revoke([rule])
            text = self.run_until_ready()
            self.checks.that(f"run without the right {what} ends with 77", text is not None)
            self.checks.equal(f"run names the right {what} and no other", {rule}, granted_by(text or ""))
            self.kafka.grant(granted_by(text or ""))

    def without(self, what, rules, expected, *words, code=77):
        """A command that lacks rights names them."""
        self.kafka.revoke(rules)
        try:
            done = self.command(*words)
            self.checks.equal(f"{what} ends with {code}", code, done.returncode)
            self.checks.equal(f"{what} names what is missing", set(expected), granted_by(done.stderr))
        finally:
            self.kafka.grant(rules)

    def commands(self):
        posts_read = topic("READ", POSTS)
        self.kafka.grant([topic("WRITE", POSTS), topic("READ", LETTERS), topic("WRITE", RETRY)])
        seen = [topic("DESCRIBE", POSTS), topic("READ", POSTS), topic("WRITE", POSTS)]
        held = [rule for rule in seen if rule in self.kafka.acls()]
        self.without("emit without the right to write", [topic("WRITE", POSTS)], [topic("WRITE", POSTS)], "emit", "post.published", "post_id=p1", "author=ada", "slug=p1")
        done = self.command("emit", "post.published", "post_id=p1", "author=ada", "slug=p1")
        self.checks.equal("emit with it", 0, done.returncode)
        self.without("tail without the right to read", [posts_read], [posts_read], "tail", POSTS, "--from", "earliest", "-n", "1")
        self.without("tail where nothing may be seen", held, [posts_read], "tail", POSTS, "-n", "1")
        done = self.command("tail", POSTS, "-n", "1")
        self.checks.that("tail with it", done.returncode == 0 and "p1" in done.stdout, done.stdout + done.stderr)
        plan_sees = [topic("DESCRIBE", "blog.users")]
        self.without("topics plan where a topic may not be seen", [rule for rule in self.kafka.acls() if rule[2] == "blog.users"], [*plan_sees, topic("DESCRIBE_CONFIGS", "blog.users")], "topics", "plan")
        self.without_create()

    def without_create(self):
        """`topics apply` makes what is missing: without the right it names it, and `plan` shows it all the same."""
        self.kafka.admin.delete_topics(["blog.media"])["blog.media"].result()
        wait_until("the topic is gone", lambda: "blog.media" not in self.kafka.admin.list_topics(timeout=10).topics, 20)
        create = (AclOperation.CREATE, ResourceType.BROKER, CLUSTER, USER)
        self.kafka.revoke([create])
        planned = self.command("topics", "plan")
        self.checks.that("topics plan needs no right to create", planned.returncode == 0 and "blog.media" in planned.stdout, planned.stdout + planned.stderr)
        done = self.command("topics", "apply")
        self.checks.equal("topics apply without the right to create ends with 77", 77, done.returncode)
        self.checks.equal("topics apply names it", {topic("CREATE", "blog.media")}, granted_by(done.stderr))
        self.kafka.grant(granted_by(done.stderr))
        self.checks.equal("topics apply works with that line", 0, self.command("topics", "apply").returncode)
        self.kafka.grant([create])

    # What runs.

    def publish(self, value=None):
        self.number += 1
        post = f"post-{self.number}"
        event = {"event_id": f"e{self.number}", "blog": "b", "post_id": post, "author": "ada", "slug": post, "occurred_at": 1_700_000_000_000 + self.number}
        sent = Sent(self.kafka.producer())
        headers = wire.cloud_event_headers("post.published", event["event_id"], event["occurred_at"])
        sent.send(POSTS, post.encode(), value or self.schema.framed(event), headers, round(time.time() * 1000))
        sent.flush()
        return post

    def posts(self):
        with sqlite3.connect(f"file:{self.folder}/postroom.db?mode=ro", uri=True, timeout=20) as db:
            return {row[0] for row in db.execute("SELECT id FROM posts WHERE state = 1")}

    def in_mid_run(self):
        """Rights that are taken while a member runs: it stops, says so, and nothing is passed over."""
        member = self.postroom.start("in-mid-run")
        wait_until("the member is ready", member.ready, 60)
        post = self.publish()
        wait_until("an event of an independent producer has its effect", lambda: post in self.posts(), 30)
        self.checks.that("an event of an independent producer has its effect", True)
        self.publish(b"poison")
        wait_until("a dead letter is written", lambda: len(self.kafka.values(LETTERS)) == 1, 30)
        self.checks.that("a dead letter is written", True)

        self.kafka.revoke([topic("WRITE", LETTERS)])
        self.publish(b"more poison")
        self.checks.equal("without the right to write dead letters it ends with 77", 77, member.process.wait(60))
        self.checks.equal("it names that right", {topic("WRITE", LETTERS)}, granted_by(member.log.read_text()))
        self.kafka.grant([topic("WRITE", LETTERS)])
        member = self.postroom.start("granted-again")
        wait_until("the member is ready", member.ready, 60)
        wait_until("the dead letter is written after all", lambda: b"more poison" in self.kafka.values(LETTERS), 30)
        self.checks.equal("each dead letter is there once", 2, len(self.kafka.values(LETTERS)))

        self.kafka.revoke([topic("READ", POSTS)])
        self.publish()
        self.checks.equal("without the right to read it ends with 77", 77, member.process.wait(60))
        self.checks.equal("it names that right", {topic("READ", POSTS)}, granted_by(member.log.read_text()))
        self.kafka.grant([topic("READ", POSTS)])
        self.replay()

    def replay(self):
        letters = self.command("dlq", "ls", "--each", "-o", "json")
        self.checks.equal("dlq ls", 0, letters.returncode)
        self.without("dlq ls without the right to read", [topic("READ", LETTERS)], [topic("READ", LETTERS)], "dlq", "ls")
        self.without("dlq replay without the right to write", [topic("WRITE", RETRY)], [topic("WRITE", RETRY)], "dlq", "replay", "--group", GROUP)
        done = self.command("dlq", "replay", "--group", GROUP)
        self.checks.equal("dlq replay", 0, done.returncode)

    # What the doctor says.

    def doctor(self, *only):
        done = self.command("doctor", "-o", "json", *(("--only", ",".join(only)) if only else ()))
        if not done.stdout:
            raise RuntimeError(f"doctor ended with {done.returncode}\n{done.stderr}")
        told = json.loads(done.stdout)
        return done.returncode, {check["check"]: check for check in told["checks"]}

    def ill(self, what, check, pattern, fix):
        """One check fails, and says what to do."""
        code, checks = self.doctor(check)
        findings = [one for one in checks[check]["findings"] if one["health"] == "fail"]
        holds = code == 1 and any(re.search(pattern, one["seen"]) and re.search(fix, one["fix"]) for one in findings)
        self.checks.that(f"the doctor finds {what}", holds, f"{code} {checks}")
        return findings

    def doctor_finds(self):
        code, checks = self.doctor()
        self.checks.that("nothing fails where all is granted", code == 0, str(checks))
        looked = ("brokers", "identity", "rights", "topics", "partitions", "retention", "cleanup", "sizes")
        self.checks.equal("the doctor looks at the cluster", {name: checks[name]["health"] for name in looked if name != "rights"}, {name: "ok" for name in looked if name != "rights"})
        for rule in (topic("READ", POSTS), READ_GROUP, topic("WRITE", LETTERS)):
            self.kafka.revoke([rule])
            findings = self.ill(f"that {rule} is missing", "rights", "missing", "kafka-acls")
            text = "\n".join(one["fix"] for one in findings)
            self.checks.equal("and the line that grants it, alone", {rule}, granted_by(text))
            self.kafka.grant(granted_by(text))
        for name, value, check, pattern, fix in (
            ("retention.ms", "60000", "retention", "gone at once", "topics apply"),
            ("cleanup.policy", "compact", "cleanup", "cleanup.policy = compact", "cleanup.policy=delete"),
            ("max.message.bytes", "1000", "sizes", "too small for dead letters", "max.message.bytes="),
            ("min.insync.replicas", "3", "replication", "nothing can be written", "min.insync.replicas="),
        ):
            before = self.kafka.configure(LETTERS, name, value)
            self.ill(f"{name} = {value}", check, pattern, fix)
            self.kafka.configure(LETTERS, name, before)
        self.checks.equal("what was mended is well", 0, self.doctor()[0])
        done = self.command("doctor", "-o", "json", "--only", "brokers", kafka__tls__ca=self.kafka.file("other.crt"))
        self.checks.that("the doctor names an unknown authority", done.returncode == 1 and "put the certificate of the broker's authority" in done.stdout, done.stdout)

    def every_mechanism(self):
        kafka = self.kafka
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            done = self.command("tail", POSTS, "-n", "1", kafka__sasl__mechanism=mechanism)
            self.checks.that(f"{mechanism} works", done.returncode == 0 and done.stdout, done.stderr)
        done = self.command("tail", POSTS, "-n", "1", kafka__brokers=kafka.sasl_plaintext, kafka__security="sasl_plaintext", FILE=self.scram_in_the_clear())
        self.checks.that("SCRAM without TLS works and warns", done.returncode == 0 and "others can read and change the events" in done.stderr, done.stderr)
        for key in ("client.key", "client-encrypted.key"):
            settings = {**self.plain_tls(kafka.ssl), "kafka__tls__certificate": kafka.file("client.crt"), "kafka__tls__key": kafka.file(key)}
            if key == "client-encrypted.key":
                path = pathlib.Path(settings["FILE"])
                path.write_text(path.read_text().replace("[kafka.tls]", f'[kafka.tls]\nkey_password_file = "{kafka.file("key.password")}"'))
            done = self.command("tail", POSTS, "-n", "1", **settings)
            if key == "client.key":
                self.checks.equal("a client certificate has rights of its own", {(AclOperation.READ, ResourceType.TOPIC, POSTS, "User:CN=postroom")}, granted_by(done.stderr))
                kafka.grant(granted_by(done.stderr))
                done = self.command("tail", POSTS, "-n", "1", **settings)
            self.checks.that(f"a client certificate with {key} works", done.returncode == 0 and done.stdout, done.stderr)

    def scram_in_the_clear(self):
        text = self.postroom.config.read_text()
        text = re.sub(r"\[kafka.tls\]\nca = .*\n", "", text)
        path = self.folder / "scram.toml"
        path.write_text(text)
        return str(path)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--postroom", default="target/debug/postroom", help="the binary")
    arguments.add_argument("-o", "--output", choices=["text", "json"], default="text")
    given = arguments.parse_args()
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="postroom-secured.") as name:
        folder = pathlib.Path(name)
        kafka = Secured(folder / "kafka")
        postroom = Postroom(given.postroom, folder, config(kafka, folder))
        try:
            story = Story(checks, kafka, postroom, folder)
            story.wrong_ways()
            story.granting_what_is_printed_is_enough()
            story.each_right_alone()
            story.commands()
            story.in_mid_run()
            story.every_mechanism()
            story.doctor_finds()
        except (RuntimeError, TimeoutError, AssertionError) as error:
            logs = "\n".join(f"--- {member.name}\n{member.tail()}" for member in postroom.members)
            checks.that("the run went through", False, f"{error}\n{logs}")
        finally:
            postroom.stop_all()
            kafka.stop()
    sys.exit(checks.close(given.output))


if __name__ == "__main__":
    main()
