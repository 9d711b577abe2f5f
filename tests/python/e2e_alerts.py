#!/usr/bin/env python3
"""Every alert is made to fire by a real fault, and to clear when it is mended: three members on Apache Kafka with one store,
scraped by a real Prometheus.

The rules are those that are shipped, with every span of time divided by one factor: `for:`, the ranges of rates, and the
thresholds that are seconds. Shares, counts and expressions stay as they are. What the alerts compare with settings (the
poll limit, the retention of topics) is set short.

A part of the faults takes a minute and a half; `--all` makes all of them, on a broker of its own, since that is frozen. The table at the end says for each alert how long
after the fault it fired, and how long after the mending it was gone.
"""

import ctypes
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

import yaml
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

import arguments
import prometheus_real
from checks import Checks
from cluster import Cluster, wait_until
from e2e_mail import Blog
from prometheus_real import Prometheus
from service import Postroom, free_port, member_config
from smtp import Sink
from wire import ROOT

MEMBERS = ("ada", "ben", "cay")
SESSION = 12.0
EFFECTS = ("mail", "notify", "project", "purge", "search", "thumbnails", "webhooks")
USERS = "blog.users"
LETTERS = "dlq.postroom.project.blog.users"
# How long that topic keeps letters, and how long the topic of mails keeps mails, in seconds.
LETTERS_KEPT, MAILS_KEPT = 300, 40
# More than the relays of all members take at once.
GUESTS = 6000


def config(kafka, folder, sink):
    base = member_config(kafka, folder, SESSION).replace("[shutdown]", f'max_poll_interval = "{SESSION:.0f}s"\n\n[shutdown]')
    return base + f"""
[kafka.librdkafka]
"socket.timeout.ms" = "4000"

[mail]
relay = "{sink.address}"
security = "plaintext"
from = "Harbour Notes <notes@blog.example>"
link = "https://blog.example/{{slug}}"
unsubscribe = "https://blog.example/unsubscribe?who={{recipient}}&what={{reason}}"
timeout = "2s"

[thumbnails]
timeout = "3s"

[webhooks]
timeout = "3s"
connect_timeout = "3s"
""" + "".join(f'\n[effects.{name}]\ndeadline = "5s"\n' for name in EFFECTS)


SECONDS = {"s": 1, "m": 60, "h": 3600}
SPAN = re.compile(r"^(\d+)([smh])$")


def span(text, factor):
    number, unit = SPAN.match(text).groups()
    return f"{round(int(number) * SECONDS[unit] / factor * 1000)}ms"


def shortened(factor):
    """The shipped rules with their spans divided, and the alerts' names. Numbers of two digits and more are seconds."""
    rules = yaml.safe_load((ROOT / "deploy/prometheus/postroom.rules.yml").read_text())
    divided, names = set(), []

    def threshold(match):
        divided.add(int(match[1]))
        return f"> {int(match[1]) / factor:g}"

    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            expression = re.sub(r"\[(\d+[smh])\]", lambda match: f"[{span(match[1], factor)}]", rule["expr"])
            rule["expr"] = re.sub(r"> (\d{2,})$", threshold, expression.strip())
            if "for" in rule:
                rule["for"] = span(rule["for"], factor)
            if "alert" in rule:
                names.append(rule["alert"])
    if divided != {60, 300, 600}:
        raise ValueError(f"the thresholds in seconds are others than they were: {divided}")
    return rules, names


class Watch(threading.Thread):
    """Which alerts fire, looked at five times a second."""

    def __init__(self, prometheus):
        super().__init__(daemon=True)
        self.prometheus, self.over, self.lock = prometheus, threading.Event(), threading.Lock()
        self.firing, self.since, self.ends = set(), {}, []

    def run(self):
        while not self.over.wait(0.2):
            try:
                alerts = self.prometheus.get("/api/v1/alerts")["data"]["alerts"]
            except (OSError, ValueError):
                continue
            now = time.monotonic()
            firing = {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
            with self.lock:
                self.since |= {name: now for name in firing - self.firing}
                self.ends += [(name, now) for name in self.firing - firing]
                self.firing = firing

    def fired(self, name, since):
        with self.lock:
            return name in self.firing or self.since.get(name, 0) >= since

    def gone(self, name):
        with self.lock:
            return name not in self.firing

    def end(self, name, since):
        """When it first ended since then."""
        with self.lock:
            return next((at for ended, at in self.ends if ended == name and at >= since), since)


class Traffic(threading.Thread):
    """Readers register, some each second, and each is greeted by mail; now and then, where asked, a record cannot be read."""

    def __init__(self, blog, cluster):
        super().__init__(daemon=True)
        self.blog, self.poison, self.over, self.lock, self.number = blog, False, threading.Event(), threading.Lock(), 0
        self.producer = cluster.producer()

    def run(self):
        while not self.over.wait(0.1):
            with self.lock:
                self.number += 1
                self.blog.register(f"reader{self.number:06d}", round(time.time() * 1000), True)
            if self.poison and self.number % 2 == 0:
                self.unreadable(time.time())

    def unreadable(self, at):
        """A record that nobody can read, as old as is said."""
        headers = [("ce_type", b"user.registered")]
        self.producer.produce(USERS, value=b"\x07no frame", key=b"odd", headers=headers, timestamp=round(at * 1000))
        self.producer.poll(0)

    def stop(self):
        self.over.set()
        self.join(5)
        self.blog.sent.flush()
        self.producer.flush(10)


class Settings:
    """Changes settings of topics, and takes the changes back."""

    def __init__(self, cluster):
        self.admin, self.changed = cluster.admin, set()

    def alter(self, topic, name, value, operation=AlterConfigOpType.SET):
        entry = ConfigEntry(name, None if value is None else str(value), incremental_operation=operation)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for future in self.admin.incremental_alter_configs([resource]).values():
            future.result()

    def set(self, topic, name, value):
        self.changed.add((topic, name))
        self.alter(topic, name, value)

    def restore(self, topic, name):
        self.alter(topic, name, None, AlterConfigOpType.DELETE)
        self.changed.discard((topic, name))

    def restore_all(self):
        for topic, name in list(self.changed):
            self.restore(topic, name)


class StoppedThread:
    """A thread of another process that stands still while the process goes on, by ptrace."""

    ATTACH, DETACH, WALL = 16, 17, 0x4000_0000

    def __init__(self, process, name):
        tasks = pathlib.Path(f"/proc/{process}/task").iterdir()
        self.thread = next(int(task.name) for task in tasks if (task / "comm").read_text().startswith(name))
        self.call(self.ATTACH)
        os.waitpid(self.thread, self.WALL)

    def call(self, request):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(ctypes.c_long(request), ctypes.c_long(self.thread), None, None) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"ptrace {request}: {os.strerror(number)}")

    def go_on(self):
        self.call(self.DETACH)


class Run:
    """The members and what is done to them."""

    def __init__(self, given, folder, checks):
        self.given, self.folder, self.checks, self.begin = given, folder, checks, time.monotonic()
        self.cluster = Cluster(given.kafka)
        self.cluster.clean()
        self.settings = Settings(self.cluster)
        self.sink = Sink()
        self.postroom = Postroom(given.postroom, folder, config(given.kafka, folder, self.sink))
        self.postroom.command("topics", "apply", "-c", str(self.postroom.config))
        self.settings.alter(LETTERS, "retention.ms", LETTERS_KEPT * 1000)
        self.settings.alter("blog.mail", "retention.ms", MAILS_KEPT * 1000)
        self.sink.back()
        self.ports = {name: free_port() for name in MEMBERS}
        self.members, self.rows = {}, []
        rules, self.alerts = shortened(given.factor)
        (folder / "rules.yml").write_text(yaml.safe_dump(rules, width=1000))
        targets = [f"127.0.0.1:{port}" for port in self.ports.values()]
        self.prometheus = Prometheus(folder, given.tools, targets, folder / "rules.yml", "1s")
        self.watch = Watch(self.prometheus)
        self.traffic = Traffic(Blog(self.cluster), self.cluster)

    def kafka(self, which):
        """Sends the broker, which is ours, a signal."""
        os.kill(int((self.folder / "kafka/pid").read_text()), getattr(signal, f"SIG{which}"))

    def tell(self, what):
        print(f"{time.monotonic() - self.begin:6.1f} s  {what}", flush=True)

    def start(self, name):
        self.members[name] = self.postroom.start(name, self.ports[name])

    def start_all(self):
        for name in MEMBERS:
            self.start(name)
        for member in self.members.values():
            wait_until(f"{member.name} is ready", member.ready, 60)

    def stop_all(self):
        for member in self.members.values():
            member.signal(signal.SIGTERM)
        for member in self.members.values():
            member.process.wait(40)

    def discard(self):
        self.postroom.command("dlq", "discard", "--all", "--yes", "--why", "of a test", "-c", str(self.postroom.config))

    def story(self, *faults):
        """Makes faults at the same time, waits until their alerts fire, mends them, waits until the alerts are gone."""
        begun, mended = {}, {}
        wait_until("none of the alerts fires yet", lambda: all(map(self.watch.gone, [a for f in faults for a in f.alerts])), 60)
        for fault in faults:
            begun[fault] = time.monotonic()
            fault.make()
            self.tell(f"fault: {fault.name}")
        pairs = [(fault, alert) for fault in faults for alert in fault.alerts]
        fired = {}

        def all_fired():
            for fault, alert in pairs:
                if (fault, alert) not in fired and self.watch.fired(alert, begun[fault]):
                    fired[fault, alert] = self.watch.since[alert]
                    self.tell(f"  {alert} fires")
            for fault in faults:
                if fault.keep:
                    fault.keep()
            return len(fired) == len(pairs)

        try:
            wait_until("the alerts fire", all_fired, self.given.patience)
        except TimeoutError:
            pass  # each that did not fire is told below
        for fault in faults:
            mended[fault] = time.monotonic() if fault.mend else begun[fault]
            if fault.mend:
                fault.mend()
                self.tell(f"mended: {fault.name}")
        for fault, alert in pairs:
            self.checks.that(f"{alert} fires: {fault.name}", (fault, alert) in fired, self.pending(alert))
        try:
            wait_until("the alerts are gone", lambda: all(self.watch.gone(alert) for _, alert in pairs), self.given.patience)
        except TimeoutError:
            pass
        for fault, alert in pairs:
            gone = self.watch.gone(alert)
            self.checks.that(f"{alert} clears", gone, self.pending(alert))
            if gone and (fault, alert) in fired:
                after = self.watch.end(alert, max(mended[fault], fired[fault, alert])) - mended[fault]
                self.rows.append((alert, fault.name, fired[fault, alert] - begun[fault], after))
        self.tell("all is well again")

    def value(self, expression):
        found = self.prometheus.query(expression)
        return float(found[0]["value"][1]) if found else 0.0

    def pending(self, alert):
        rules = [rule for group in self.prometheus.get("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
        return json.dumps([rule for rule in rules if rule["name"] == alert], indent=1)

    def close(self):
        self.watch.over.set()
        if self.given.all:
            self.kafka("CONT")
        self.settings.restore_all()
        self.postroom.stop_all()
        self.prometheus.stop()
        self.sink.away()


class Fault:
    """A fault with the alerts that it causes. One without a mending is a matter of a moment."""

    def __init__(self, name, alerts, make, mend=None, keep=None):
        self.name, self.alerts, self.make, self.mend, self.keep = name, alerts, make, mend, keep


def nothing():
    pass


def relay_away(run, alerts):
    return Fault("the mail relay is away", alerts, run.sink.away, run.sink.back)


def poison(run):
    def make():
        for _ in range(3):
            run.traffic.unreadable(time.time())
        run.traffic.producer.flush(10)

    return Fault("three records that nobody can read", ["PostroomDeadLetters", "PostroomDecodeFailures"], make)


def old_letter(run):
    def make():
        run.traffic.unreadable(time.time() - 0.82 * LETTERS_KEPT)
        run.traffic.producer.flush(10)

    def mend():
        open_letters = f'max(postroom_dead_letter_topic_messages{{dlq_topic="{LETTERS}"}})'
        again = f'sum(postroom_dead_letter_replays_total{{dlq_topic="{LETTERS}",outcome="dead_lettered"}})'
        count = int(run.value(open_letters))
        run.checks.that("open letters are counted", count > 0, str(count))
        run.postroom.command("dlq", "replay", "--topic", LETTERS, "--all", "-c", str(run.postroom.config))
        try:
            wait_until("replays are counted", lambda: run.value(again) >= count, 20)
        except TimeoutError:
            pass
        run.checks.equal("replays that fail again are counted, each", count, int(run.value(again)))
        run.discard()

    what = f"a letter whose topic keeps it for {LETTERS_KEPT} s is {0.82 * LETTERS_KEPT:.0f} s old; then it is discarded"
    return Fault(what, ["PostroomDeadLettersExpiring"], make, mend)


def frozen_member(run):
    make = lambda: run.members["ben"].signal(signal.SIGSTOP)  # noqa: E731
    mend = lambda: run.members["ben"].signal(signal.SIGCONT)  # noqa: E731
    return Fault("a member is frozen (SIGSTOP)", ["PostroomPartitionUnowned"], make, mend)


def nobody(run):
    return Fault("all members are stopped", ["PostroomConsumerMissing"], run.stop_all, run.start_all)


def storm(run):
    def make():
        run.traffic.poison = True

    def mend():
        run.traffic.poison = False
        run.discard()

    return Fault("every third record cannot be read", ["PostroomDeadLetterStorm"], make, mend)


def letters_refused(run):
    def make():
        run.settings.set(LETTERS, "max.message.bytes", 100)
        for _ in range(3):
            run.traffic.unreadable(time.time())

    def mend():
        run.settings.restore(LETTERS, "max.message.bytes")

    return Fault("the dead-letter topic takes only 100 bytes", ["PostroomDeadLettersRefused"], make, mend)


def commits_refused(run):
    topic, name = "__consumer_offsets", "max.message.bytes"
    make = lambda: run.settings.set(topic, name, 80)  # noqa: E731
    mend = lambda: run.settings.restore(topic, name)  # noqa: E731
    return Fault("Kafka's topic of offsets takes only 80 bytes", ["PostroomCommitFailures"], make, mend)


def frozen_broker(run):
    def make():
        # What is asked for just before is due, and cannot be published.
        with run.traffic.lock:
            for number in range(GUESTS):
                run.traffic.blog.register(f"guest{number:06d}", round(time.time() * 1000), True)
            run.traffic.blog.sent.flush()
            run.kafka("STOP")

    return Fault("the broker is frozen (SIGSTOP)", ["PostroomOutboxBacklog"], make, lambda: run.kafka("CONT"))


def stuck_thread(run):
    held = []

    def make():
        held.append(StoppedThread(run.members["cay"].process.pid, "kafka-postroom"))

    return Fault("a poll thread stands still (ptrace)", ["PostroomPollTooSlow"], make, lambda: held.pop().go_on())


def restarts(run):
    """Of members that are not scraped, so that the counters of those that are go on."""
    def keep():
        guest = run.postroom.start(f"guest{len(run.postroom.members)}")
        wait_until(f"{guest.name} is ready", guest.ready, 60)
        guest.terminate()

    return Fault("a fourth member comes and goes, again and again", ["PostroomRebalanceStorm"], nothing, nothing, keep)


def by_instance(run):
    """The panels that tell members apart have a line for each."""
    targets = sorted(f"127.0.0.1:{port}" for port in run.ports.values())
    wrong, asked = [], 0
    for panel in json.loads((ROOT / "deploy/grafana/postroom.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            found = run.prometheus.query(prometheus_real.filled(target["expr"]))
            asked += 1
            if "{{instance}}" in target["legendFormat"] and "drain_seconds" not in target["expr"]:
                lines = sorted({line["metric"].get("instance") for line in found})
                if lines != targets:
                    wrong.append((panel["title"], lines))
            if "retention" in target["expr"] and "oldest" not in target["expr"] and not found:
                wrong.append((panel["title"], "no retention"))
    run.checks.that("every expression of the dashboard runs", asked > 50, str(asked))
    run.checks.equal("panels by member have a line for each of three", [], wrong)
    members = run.prometheus.query("count(postroom_build_info)")
    run.checks.equal("three members are counted", ["3"], [line["value"][1] for line in members])


def stories(run, everything):
    run.start_all()
    run.traffic.start()
    wait_until("Prometheus has scraped three members", lambda: len(run.prometheus.ready() or []) == 3, 60)
    wait_until("partitions are shared out", lambda: shared_out(run), 60)
    wait_until("rates can be told", lambda: run.value("min(count_over_time(process_cpu_seconds_total[20s]))") >= 3, 60)
    run.watch.start()
    wait_until("no alert fires or is about to", lambda: not run.prometheus.get("/api/v1/alerts")["data"]["alerts"], 60)
    run.tell("three members run, and no alert is about to fire")
    by_instance(run)
    waiting = ["PostroomEffectDown", "PostroomFallingBehind", "PostroomPartitionStuck"]
    if everything:
        waiting.append("PostroomLagNearRetention")
    run.story(relay_away(run, waiting), poison(run), old_letter(run))
    run.story(frozen_member(run))
    run.story(nobody(run))
    if everything:
        run.story(storm(run))
        run.story(letters_refused(run))
        run.story(stuck_thread(run))
        run.story(commits_refused(run))
        run.story(restarts(run))
        run.story(frozen_broker(run))
    run.traffic.stop()
    for member in run.members.values():
        member.signal(signal.SIGTERM)
    codes = [member.process.wait(40) for member in run.members.values()]
    run.checks.equal("the members end with 0", [0, 0, 0], codes)


def shared_out(run):
    """Every partition of what `project` reads belongs to somebody, and no member is without."""
    owned = run.prometheus.query('sum by (instance) (postroom_assigned_partitions{group="postroom.project"})')
    all_of_them = run.prometheus.query('sum(max by (topic) (postroom_topic_partitions{group="postroom.project"}))')
    counts = [int(line["value"][1]) for line in owned]
    return len(counts) == 3 and all(counts) and sum(counts) == int(all_of_them[0]["value"][1])


def table(rows):
    yield "| alert | fault | fires after | gone after |"
    yield "|---|---|---|---|"
    for alert, fault, fires, clears in rows:
        yield f"| `{alert}` | {fault} | {fires:.0f} s | {clears:.0f} s |"


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--tools", required=True, help="the folder of prometheus and promtool")
    parser.add_argument("--factor", type=float, default=60.0, help="what spans of the rules are divided by [default: 60]")
    parser.add_argument("--patience", type=float, default=90.0, help="seconds that an alert may take to fire, and to clear")
    parser.add_argument("--all", action="store_true", help="every alert, on a broker of its own")
    given = parser.parse_args()
    if not given.kafka and not given.all:
        print("skipped: neither --kafka nor POSTROOM_TEST_KAFKA names a broker")
        sys.exit(2)
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="postroom-alerts.") as name:
        folder = pathlib.Path(name)
        try:
            if given.all:
                given.kafka = own_kafka("start", folder)
            run = Run(given, folder, checks)
            try:
                stories(run, given.all)
            except (TimeoutError, OSError, RuntimeError) as error:
                logs = "\n".join(f"{member.name}:\n{member.tail()}" for member in run.members.values())
                checks.that("the run went through", False, f"{error}\n{logs}")
            finally:
                run.close()
        finally:
            if given.all:
                own_kafka("stop", folder)
    rows, untried = run.rows, [alert for alert in run.alerts if alert not in {row[0] for row in run.rows}]
    if given.all:
        checks.equal("every alert was tried", [], untried)
    print("\n".join(table(rows)))
    if untried:
        print(f"not tried: {', '.join(untried)}")
    told = [{"alert": alert, "fault": fault, "fires": fires, "clears": clears} for alert, fault, fires, clears in rows]
    sys.exit(checks.close(given.output, alerts=told, untried=untried))


def own_kafka(command, folder):
    words = [ROOT / "scripts/kafka", command, folder / "kafka"]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout.strip()


if __name__ == "__main__":
    main()
