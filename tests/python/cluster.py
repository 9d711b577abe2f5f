"""A Kafka as an independent client sees it: topics, committed offsets, records, dead letters."""

import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

OURS = ("blog.", "dlq.postroom.", "retry.postroom.")
FACT = "postroom-dlq-"


def wait_until(what, condition, seconds):
    """Polls a condition. Raises with its name when the time is over; returns what it returned otherwise."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


class Cluster:
    def __init__(self, address):
        self.address = address
        self.admin = AdminClient({"bootstrap.servers": address})

    def topics(self):
        found = self.admin.list_topics(timeout=10).topics
        return {name: len(topic.partitions) for name, topic in found.items() if name.startswith(OURS)}

    def clean(self):
        """Removes what a test left: topics and groups of ours."""
        names = list(self.topics())
        if names:
            for future in self.admin.delete_topics(names, operation_timeout=10).values():
                future.result()
            wait_until("topics are deleted", lambda: not self.topics(), 20)
        wait_until("groups are deleted", self.groups_are_gone, 60)

    def groups_are_gone(self):
        """Deletes our groups; one whose member was killed is not empty before its session ends."""
        listed = self.admin.list_consumer_groups().result()
        groups = [group.group_id for group in listed.valid if group.group_id.startswith("postroom.")]
        gone = True
        for future in self.admin.delete_consumer_groups(groups).values() if groups else []:
            try:
                future.result()
            except KafkaException as error:
                gone = gone and error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND
        return gone

    def behind(self, group, names):
        """(topic, partition) -> (committed, end), where a group is not at the end."""
        committed = self.committed(group)
        return {place: (committed.get(place), end) for place, end in self.ends(names).items() if committed.get(place, 0) < end}

    def partitions(self, names):
        have = self.topics()
        return [TopicPartition(name, partition) for name in names for partition in range(have.get(name, 0))]

    def ends(self, names):
        """(topic, partition) -> the offset of the next record."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "peer.reader"})
        try:
            return {
                (p.topic, p.partition): consumer.get_watermark_offsets(p, timeout=10)[1] for p in self.partitions(names)
            }
        finally:
            consumer.close()

    def committed(self, group):
        """(topic, partition) -> the committed offset, of those that have one."""
        asked = [ConsumerGroupTopicPartitions(group)]
        result = self.admin.list_consumer_group_offsets(asked)[group].result()
        return {(p.topic, p.partition): p.offset for p in result.topic_partitions if p.offset >= 0}

    def wait_for(self, group, names, seconds):
        """Waits until a group is at the end of topics; else says where it is behind."""
        try:
            wait_until(f"{group} has caught up", lambda: not self.behind(group, names), seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {self.behind(group, names)}") from error

    def read(self, names):
        """All records of topics from the beginning to the end as it is now, each as it is on the wire."""
        ends = self.ends(names)
        left = {place for place, end in ends.items() if end > 0}
        if not left:
            return []
        settings = {
            "bootstrap.servers": self.address,
            "group.id": "peer.reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
        consumer = Consumer(settings)
        try:
            consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in ends])
            records = []
            while left:
                message = consumer.poll(10)
                if message is None:
                    raise TimeoutError(f"no record within 10 s of {sorted(left)}")
                if message.error() is None:
                    records.append(record(message))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    left.discard((message.topic(), message.partition()))
                else:
                    raise KafkaException(message.error())
            return records
        finally:
            consumer.close()

    def producer(self):
        return Producer({"bootstrap.servers": self.address, "linger.ms": 5, "enable.idempotence": True})


def record(message):
    return {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp(),
        "key": message.key(),
        "value": message.value(),
        "headers": message.headers() or [],
    }


class Sent:
    """Produces records and keeps what was sent, with the place that the broker gave it."""

    def __init__(self, producer):
        self.producer = producer
        self.records = []

    def send(self, topic, key, value, headers, timestamp, **facts):
        entry = {"topic": topic, "key": key, "value": value, "headers": headers, "timestamp": timestamp, **facts}

        def delivered(error, message):
            if error is not None:
                raise KafkaException(error)
            entry["partition"], entry["offset"] = message.partition(), message.offset()

        self.producer.produce(topic, value=value, key=key, headers=headers, timestamp=timestamp, on_delivery=delivered)
        self.producer.poll(0)
        self.records.append(entry)
        return entry

    def flush(self):
        left = self.producer.flush(30)
        if left or any("offset" not in entry for entry in self.records):
            raise TimeoutError(f"{left} records were not acknowledged")


def facts(letter):
    """The headers that Postroom added, without their prefix."""
    return {name[len(FACT) :]: value.decode() for name, value in letter["headers"] if name.startswith(FACT)}


def letter_problems(sent, letter, group):
    """What is wrong with a dead letter, byte for byte against the record that was sent."""
    told = facts(letter)
    place = f"{group}/{sent['topic']}/{sent['partition']}/{sent['offset']}"
    own = [pair for pair in letter["headers"] if not pair[0].startswith(FACT)]
    added = sum(len(name) + len(value or b"") for name, value in letter["headers"] if name.startswith(FACT))
    expected = {
        "key": (sent["key"], letter["key"]),
        "value": (sent["value"], letter["value"]),
        "headers, in order": ([(n, v) for n, v in sent["headers"]], own),
        "timestamp": (sent["timestamp"], letter["timestamp"][1]),
        "header id": (place, told.get("id")),
        "header group": (group, told.get("group")),
        "header topic": (sent["topic"], told.get("topic")),
        "header partition": (str(sent["partition"]), told.get("partition")),
        "header offset": (str(sent["offset"]), told.get("offset")),
        "header timestamp": (str(sent["timestamp"]), told.get("timestamp")),
        "header attempts": ("0", told.get("attempts")),  # no handler ever saw it
    }
    problems = [f"{what}: sent {a!r}, found {b!r}" for what, (a, b) in expected.items() if a != b]
    if told.get("reason") not in sent["reasons"]:
        problems.append(f"reason: {told.get('reason')!r}, expected one of {sent['reasons']}")
    for name in ("handler", "detail", "message", "first-failed-at", "failed-at", "version"):
        if not told.get(name):
            problems.append(f"header {name} is missing")
    if added > 8192:
        problems.append(f"{added} bytes were added")
    return problems
