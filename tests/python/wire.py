"""Our events on the wire, written from the specifications alone: Avro by fastavro, Confluent's framing, CloudEvents headers."""

import datetime
import io
import json
import pathlib
import struct
import tomllib
import uuid

import fastavro

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Schema:
    """One version of one event's schema, as the index lists it."""

    def __init__(self, event, entry, folder):
        self.event = event
        self.version = entry["version"]
        self.id = entry["id"]
        self.guid = uuid.UUID(entry["guid"])
        self.text = (folder / event / f"v{self.version}.avsc").read_text()
        self.parsed = fastavro.parse_schema(json.loads(self.text))

    def datum(self, event):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self.parsed, event, strict_allow_default=True)
        return out.getvalue()

    def framed(self, event):
        """Confluent framing v0: a zero, the id in four bytes, the datum."""
        return b"\0" + struct.pack(">I", self.id) + self.datum(event)

    def guid_header(self):
        """The header form: a one and the 16 bytes of the GUID; the value is then the bare datum."""
        return ("__value_schema_id", b"\1" + self.guid.bytes)


class Schemas:
    """The directory registry."""

    def __init__(self, folder=ROOT / "schemas"):
        index = tomllib.loads((folder / "index.toml").read_text())
        self.all = {}
        for entry in index["schema"]:
            schema = Schema(entry["event"], entry, folder)
            self.all[(schema.event, schema.version)] = schema

    def of(self, event, version=None):
        versions = [v for e, v in self.all if e == event]
        return self.all[(event, version or max(versions))]

    def unused_id(self):
        return max(schema.id for schema in self.all.values()) + 1_000_003


def cloud_event_headers(event_type, event_id, at_ms, source="/independent"):
    """CloudEvents 1.0, binary mode."""
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).isoformat(timespec="milliseconds")
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", event_type.encode()),
        ("ce_time", at.replace("+00:00", "Z").encode()),
        ("content-type", b"application/avro"),
    ]
