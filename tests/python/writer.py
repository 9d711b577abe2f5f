"""A blog that goes on being written: people who register, posts, comments; and what a serial count says of it."""

import datetime
import json
import random
import threading
import time

import sample
from e2e_mail import DAY, Blog


class Writer(Blog, threading.Thread):
    """Publishes as long as it is told to, and keeps every event in a file, in our own format."""

    def __init__(self, cluster, path, seed, pause=0.4):
        Blog.__init__(self, cluster)
        threading.Thread.__init__(self, daemon=True)
        self.path, self.pause = path, pause
        self.random = random.Random(f"{seed} writer")
        self.goes_on = lambda: False
        self.error = None
        self.writers = []
        self.file = path.open("w", encoding="utf-8")

    def publish(self, kind, topic, key, event_id, at, **fields):
        super().publish(kind, topic, key, event_id, at, **fields)
        told = {"type": kind, "event_id": event_id, "blog": "harbour", "occurred_at": moment(at), **fields}
        self.file.write(json.dumps(told) + "\n")

    def people(self, count):
        """Some who write, and registered too long ago to be greeted; every other one subscribed."""
        at = round(time.time() * 1000) - 30 * DAY
        self.writers = [f"writer{number:02d}" for number in range(count)]
        for number, name in enumerate(self.writers):
            self.register(name, at + number, number % 2 == 0)
        self.sent.flush()

    def run(self):
        try:
            post = None
            number = 0
            while self.goes_on():
                now = round(time.time() * 1000)
                if number % 12 == 0:
                    post = f"harbour-{number}"
                    self.post(post, self.random.choice(self.writers), now)
                elif number % 12 == 6:
                    self.register(f"reader{number}", now, number % 24 == 6)
                else:
                    self.comment(f"harbour-comment-{number}", post, self.random.choice(self.writers), now)
                number += 1
                time.sleep(self.pause)
            self.sent.flush()
        except Exception as error:  # told by the main thread
            self.error = error
        finally:
            self.file.close()

    def counted(self, history):
        """What a serial count says of a history and of all that was written."""
        return sample.serial_count(history, self.path)

    def expected(self, history):
        """(address, event) of each mail: of every notification of a person of this blog, but for greetings that are late."""
        now = time.time() * 1000
        return {
            (f"{who}@readers.example", event)
            for who, reasons in self.counted(history)["notifications"].items()
            if who.startswith(("writer", "reader"))
            for told in reasons.values()
            for event, at in told.values()
            if at > now - DAY
        }


def moment(millis):
    return datetime.datetime.fromtimestamp(millis / 1000, datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
