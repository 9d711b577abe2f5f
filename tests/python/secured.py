"""A real Apache Kafka with TLS, credentials and access control, as `scripts/kafka secured` starts it, and its administrator."""

import os
import pathlib
import shlex
import subprocess

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from cluster import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
KINDS = {"--topic": ResourceType.TOPIC, "--group": ResourceType.GROUP, "--cluster": ResourceType.BROKER}
CLUSTER = "kafka-cluster"


class Secured:
    def __init__(self, folder):
        self.folder = folder
        self.files = folder / "secured"
        self.script("secured")
        self.sasl_ssl, self.sasl_plaintext, self.ssl, self.expired = (
            self.read(f"{name}.address") for name in ("sasl_ssl", "sasl_plaintext", "ssl", "expired")
        )
        self.admin = AdminClient(self.client("admin"))

    def script(self, word):
        subprocess.run([ROOT / "scripts" / "kafka", word, str(self.folder)], check=True, stdout=subprocess.DEVNULL)

    def stop(self):
        self.script("stop")

    def read(self, name):
        return (self.files / name).read_text().strip()

    def file(self, name):
        return str(self.files / name)

    def client(self, user, **more):
        return {
            "bootstrap.servers": self.sasl_ssl,
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": self.file("ca.crt"),
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": user,
            "sasl.password": self.read(f"{user}.password"),
            **more,
        }

    def producer(self):
        return Producer(self.client("admin", **{"linger.ms": 5, "enable.idempotence": True}))

    def acls(self):
        """Every rule as (operation, kind, name, principal)."""
        everything = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
        )
        return {of(rule) for rule in self.admin.describe_acls(everything).result()}

    def grant(self, rules):
        for future in self.admin.create_acls([binding(rule) for rule in rules]).values():
            future.result()
        wait_until("the rules are there", lambda: set(rules) <= self.acls(), 20)

    def revoke(self, rules):
        filters = [
            AclBindingFilter(
                kind, name, ResourcePatternType.LITERAL, principal, "*", operation, AclPermissionType.ALLOW
            )
            for operation, kind, name, principal in rules
        ]
        for future in self.admin.delete_acls(filters).values():
            future.result()
        wait_until("the rules are gone", lambda: not set(rules) & self.acls(), 20)

    def configure(self, topic, name, value):
        """Sets a setting of a topic; returns what it was."""
        asked = ConfigResource(ConfigResource.Type.TOPIC, topic)

        def held():
            return self.admin.describe_configs([asked])[asked].result()[name].value

        before = held()
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        for future in self.admin.incremental_alter_configs([resource]).values():
            future.result()
        wait_until(f"{name} of {topic} is set", lambda: held() == value, 20)
        return before

    def run(self, line):
        """Runs a line that Postroom printed as an administrator would, with Kafka's own tool."""
        words = shlex.split(line)
        assert words[0] == "kafka-acls", line
        login = self.folder / "admin.properties"
        login.write_text(
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\n"
            f"ssl.truststore.location={self.file('ca.crt')}\n"
            "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required "
            f'username="admin" password="{self.read("admin.password")}";\n'
        )
        cache = pathlib.Path(
            os.environ.get("POSTROOM_CACHE")
            or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "postroom"
        )
        jars = next(cache.glob("kafka-*/complete")).parent / "*"
        log = f"-Dlog4j2.configurationFile={self.folder}/log4j2.properties"
        tool = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", log, "-cp", str(jars), "org.apache.kafka.tools.AclCommand"]
        done = subprocess.run([*tool, *words[1:]], cwd=self.folder, capture_output=True, text=True, timeout=60)
        return done.returncode == 0, done.stdout + done.stderr

    def values(self, topic):
        """The values of all records of a topic."""
        consumer = Consumer(self.client("admin", **{"group.id": "peer.reader", "enable.partition.eof": True}))
        try:
            left = set(self.admin.list_topics(topic, timeout=10).topics[topic].partitions)
            consumer.assign([TopicPartition(topic, number, 0) for number in left])
            values = []
            while left:
                message = consumer.poll(10)
                if message is None:
                    raise TimeoutError(f"no record within 10 s of {topic}")
                if message.error() is None:
                    values.append(message.value())
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise KafkaException(message.error())
            return values
        finally:
            consumer.close()


def of(rule):
    return (rule.operation, rule.restype, rule.name, rule.principal)


def binding(rule):
    operation, kind, name, principal = rule
    allow = AclPermissionType.ALLOW
    return AclBinding(kind, name, ResourcePatternType.LITERAL, principal, "*", operation, allow)


def rules_of(line):
    """What a line of `kafka-acls` grants."""
    words = iter(shlex.split(line)[1:])
    principal, operation, resources = None, None, []
    for word in words:
        if word in ("--bootstrap-server", "--command-config"):
            next(words)
        elif word == "--allow-principal":
            principal = next(words)
        elif word == "--operation":
            operation = AclOperation[snake(next(words))]
        elif word == "--cluster":
            resources.append((KINDS[word], CLUSTER))
        elif word in KINDS:
            resources.append((KINDS[word], next(words)))
        elif word != "--add":
            raise AssertionError(f"{word} in {line}")
    return {(operation, kind, name, principal) for kind, name in resources}


def snake(name):
    return "".join(f"_{char}" if char.isupper() and place else char for place, char in enumerate(name)).upper()


def lines_of(text):
    return [line.strip() for line in text.splitlines() if line.strip().startswith("kafka-acls ")]


def granted_by(text):
    """What the lines in a message grant, all together."""
    return set().union(*(rules_of(line) for line in lines_of(text)), set())
