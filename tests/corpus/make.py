#!/usr/bin/env python3
"""Writes manifest.jsonl and schemas/: records that are damaged, foreign or odd, and what must become of each.

Each line is one record: `row` of the list of bad input, `name`, `key`, `value` and header values in
hexadecimal digits (null is null), `timestamp` in milliseconds, and `expect`: the detail of the dead letter,
or `ok`, or `skip`. All are read as events of a blog. Schemas that are not ours stand in schemas/, which is a
directory registry. Run it from the repository's root after a change; a test compares nothing but the outcome.
"""
import copy
import hashlib
import json
import os
import struct

ROOT = "tests/corpus"
OURS = {}
for block in open("schemas/index.toml").read().split("[[schema]]")[1:]:
    entry = dict(line.split(" = ") for line in block.strip().splitlines())
    OURS[json.loads(entry["file"]).removesuffix(".avsc")] = (int(entry["id"]), json.loads(entry["guid"]))
PRIMITIVE = {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}


def zigzag(number):
    number = ((number << 1) ^ (number >> 63)) & ((1 << 64) - 1)
    out = b""
    while True:
        low, number = number & 0x7F, number >> 7
        if not number:
            return out + bytes([low])
        out += bytes([low | 0x80])


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return zigzag(len(data)) + data


def canonical(schema, seen):
    if isinstance(schema, str):
        return json.dumps(schema if schema in PRIMITIVE else "blog." + schema)
    if isinstance(schema, list):
        return "[" + ",".join(canonical(branch, seen) for branch in schema) + "]"
    kind = schema["type"]
    if kind in PRIMITIVE:
        return json.dumps(kind)
    if kind == "array":
        return '{"type":"array","items":%s}' % canonical(schema["items"], seen)
    if kind == "map":
        return '{"type":"map","values":%s}' % canonical(schema["values"], seen)
    name = '{"name":"blog.%s","type":"%s",' % (schema["name"], kind)
    if kind == "enum":
        return name + '"symbols":%s}' % json.dumps(schema["symbols"], separators=(",", ":"))
    if kind == "fixed":
        return name + '"size":%d}' % schema["size"]
    fields = ('{"name":"%s","type":%s}' % (f["name"], canonical(f["type"], seen)) for f in schema["fields"])
    return name + '"fields":[%s]}' % ",".join(fields)


def rabin(data):
    empty = 0xC15D213AA4D7A795
    table = []
    for index in range(256):
        for _ in range(8):
            index = index >> 1 ^ (empty if index & 1 else 0)
        table.append(index)
    value = empty
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value


def bare(value):
    if isinstance(value, dict):
        return {name: bare(part) for name, part in value.items() if name != "doc"}
    return [bare(part) for part in value] if isinstance(value, list) else value


def identity(definition):
    return json.dumps(bare(definition), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


POST = json.load(open("schemas/post.published/v2.avsc"))
INDEX = []


def schema(name, definition):
    form = canonical(definition, set()).encode()
    digest = bytearray(hashlib.sha256(identity(definition)).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x80, digest[8] & 0x3F | 0x80
    number = 9001 + len(INDEX)
    INDEX.append(
        '[[schema]]\nevent = "post.published"\nversion = %d\nfile = "%s.avsc"\nid = %d\nguid = "%s"\nfingerprint = "%016x"\n'
        % (number, name, number, digest.hex(), rabin(form))
    )
    with open(f"{ROOT}/schemas/{name}.avsc", "w") as file:
        json.dump(definition, file, indent=1)
        file.write("\n")
    return number


def with_probe(name, kind):
    definition = copy.deepcopy(POST)
    definition["fields"].append({"name": "probe", "type": kind})
    return schema(name, definition)


def edited(name, edit):
    definition = copy.deepcopy(POST)
    edit(definition["fields"])
    return schema(name, definition)


BEFORE = text("e-1") + text("blog") + text("post:1") + text("ana") + b"\2" + text("Title") + text("a/b")
WHEN = zigzag(1_600_000_000_000)
AFTER = b"\0\0\0" + WHEN + b"\0" + b"\0" + b"\0" + b"\0"
DATUM = BEFORE + AFTER
POST_ID, POST_GUID = OURS["post.published/v2"]


def framed(number, datum):
    return b"\0" + struct.pack(">I", number & 0xFFFFFFFF) + datum


OUT = []


def case(row, name, expect, value, headers=(), key=b"post:1", timestamp=1_600_000_000_000):
    hexed = lambda data: None if data is None else (data if isinstance(data, bytes) else data.encode()).hex()
    OUT.append(
        {
            "row": row,
            "name": name,
            "expect": expect,
            "key": hexed(key),
            "headers": [[header, hexed(content)] for header, content in headers],
            "value": hexed(value),
            "timestamp": timestamp,
        }
    )


def post(datum):
    return framed(POST_ID, datum)


def first(field):
    """A post whose first field is these bytes."""
    return post(field + DATUM[len(text("e-1")):])


GUID = bytes.fromhex(POST_GUID.replace("-", ""))
ok = post(DATUM)
case(0, "a good post", "ok", ok)
case(0, "a good post named by its GUID", "ok", DATUM, [("__value_schema_id", b"\1" + GUID)])
case(0, "a header GUID wins over what looks like a frame", "truncated", ok[:5], [("__value_schema_id", b"\1" + GUID)])
case(1, "an empty value", "empty", b"")
case(2, "a tombstone", "skip", None)
case(3, "a null key", "ok", ok, key=None)
case(4, "an empty key", "ok", ok, key=b"")
for magic, what in [(b"\1", "magic 1"), (b"\xff", "magic 255"), (b'{"type":"post"}', "JSON"), (b"\xc3\1" + bytes(8), "a single object")]:
    case(5, what, "bad_magic", magic + DATUM)
case(5, "a schema header with another marker", "bad_magic", DATUM, [("__value_schema_id", b"\2" + GUID)])
case(5, "a schema header that is too short", "bad_magic", DATUM, [("__value_schema_id", b"\1" + GUID[:15])])
case(5, "an empty schema header", "bad_magic", DATUM, [("__value_schema_id", b"")])
for size in range(1, 5):
    case(6, f"{size} bytes alone", "short_header", ok[:size])
for number in [0, -1, 2**31 - 1, 777_777]:
    case(7, f"schema id {number}", "unknown_schema", framed(number, DATUM))
case(7, "an unknown GUID", "unknown_schema", DATUM, [("__value_schema_id", b"\1" + bytes(16))])
case(8, "a post under the id of a comment", "wrong_type", framed(OURS["comment.created/v2"][0], DATUM), [("ce_type", "post.published")])
case(8, "a post under the id of a bare long", "wrong_type", framed(schema("long", {"type": "long"}), b"\2"), [("ce_type", "post.published")])
case(9, "a frame without a datum", "truncated", post(b""))
for rest in [1, 3, 1000]:
    case(10, f"{rest} bytes after the datum", "trailing_bytes", post(DATUM + bytes(rest)))
case(11, "a text of 2^62 bytes", "length", first(zigzag(2**62)))
case(11, "a text of -1 bytes", "length", first(zigzag(-1)))
case(11, "a text of 500,000,000 bytes", "length", first(zigzag(500_000_000)))
case(11, "a text of the least length", "length", first(zigzag(-(2**63))))
nulls = with_probe("array-of-null", {"type": "array", "items": "null"})
case(12, "ten million nulls", "budget", framed(nulls, DATUM + zigzag(10_000_000) + b"\0"))
case(12, "as many nulls as there are numbers", "budget", framed(nulls, DATUM + zigzag(2**63 - 1) + b"\0"))
case(12, "ten million nulls in a block with a size", "budget", framed(nulls, DATUM + zigzag(-10_000_000) + zigzag(0) + b"\0"))
nested = "null"
for _ in range(8):
    nested = {"type": "array", "items": nested}
deep = with_probe("array-in-array", nested)
case(12, "nine million arrays, eight deep", "budget", framed(deep, DATUM + zigzag(9_000_000) * 8))
case(12, "a million texts of a post's tags", "budget", post(BEFORE + AFTER[:-3] + zigzag(1_000_000)))
strings = with_probe("array-of-string", {"type": "array", "items": "string"})
good_block = text("x")
case(13, "a block with its size", "ok", framed(strings, DATUM + zigzag(-1) + zigzag(len(good_block)) + good_block + b"\0"))
case(13, "a block longer than it says", "bad_block", framed(strings, DATUM + zigzag(-1) + zigzag(1) + good_block + b"\0"))
case(13, "a block shorter than it says", "bad_block", framed(strings, DATUM + zigzag(-1) + zigzag(3) + good_block + b"\0"))
case(13, "a block of a negative size", "bad_block", framed(strings, DATUM + zigzag(-1) + zigzag(-2) + good_block + b"\0"))
case(13, "a block of the least count", "budget", framed(strings, DATUM + zigzag(-(2**63)) + zigzag(2) + good_block + b"\0"))
maps = with_probe("map-of-long", {"type": "map", "values": "long"})
case(14, "a map with a key twice", "ok", framed(maps, DATUM + zigzag(2) + text("k") + b"\2" + text("k") + b"\4" + b"\0"))
case(15, "a number of eleven bytes", "varint", first(b"\xff" * 10 + b"\1"))
case(15, "a number of ten bytes and 70 bits", "varint", first(b"\xff" * 9 + b"\x7f"))
case(15, "a number longer than needed", "varint", first(b"\x86\0e-1"))
for branch in [2, -1, 2**31 - 1]:
    case(16, f"branch {branch} of a title", "union", post(BEFORE[: -len(b"\2" + text("Title") + text("a/b"))] + zigzag(branch) + DATUM[-20:]))
case(16, "a branch beyond an int", "range", post(BEFORE[: -len(b"\2" + text("Title") + text("a/b"))] + zigzag(2**40)))
enums = with_probe("enum", {"type": "enum", "name": "Mood", "symbols": ["GOOD", "BAD"]})
case(17, "a symbol that exists", "ok", framed(enums, DATUM + b"\2"))
case(17, "a symbol beyond the last", "enum", framed(enums, DATUM + b"\4"))
case(17, "a symbol before the first", "enum", framed(enums, DATUM + b"\1"))
booleans = with_probe("boolean", "boolean")
case(20, "a boolean of 2", "bool", framed(booleans, DATUM + b"\2"))
for data, what in [(b"\xff\xfe", "no UTF-8"), (b"\xed\xa0\x80", "a lone surrogate"), (b"\xc0\xaf", "an overlong slash"), (b"\xf4\x90\x80\x80", "a point beyond the last"), (b"ab\xc3", "a cut letter")]:
    case(21, what, "utf8", first(text(data)))
case(21, "a NUL in a text", "nul", first(text("a\0b")))
case(21, "an overlong NUL", "utf8", first(text(b"\xc0\x80")))
IMAGE = OURS["image.uploaded/v1"][0]


def image(size, sha="a" * 64):
    return framed(IMAGE, text("e-1") + text("blog") + text("k") + text("image/png") + text(sha) + zigzag(size) + b"\0\0" + WHEN + b"\0")


case(22, "an image of a size", "ok", image(5))
case(22, "an image of a negative size", "range", image(-1))
case(22, "an image with a digest that is none", "range", image(5, "A" * 64))
decimals = with_probe("decimal", {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2})
case(23, "a decimal of no bytes", "logical", framed(decimals, DATUM + b"\0"))
case(23, "a decimal", "ok", framed(decimals, DATUM + text(b"\1\2")))
uuids = with_probe("uuid", {"type": "string", "logicalType": "uuid"})
case(23, "a UUID of two letters", "logical", framed(uuids, DATUM + text("xy")))
case(23, "a UUID", "ok", framed(uuids, DATUM + text("23f98225-ba55-4972-8d8a-cea40ce0cfb5")))


def at(when):
    return post(BEFORE + b"\0\0\0" + zigzag(when) + AFTER[len(b"\0\0\0" + WHEN):])


for when, what, expect in [(-(2**63), "the least time", "time_range"), (2**63 - 1, "the last time", "time_range"), (0, "the epoch", "ok"), (-1, "just before the epoch", "ok"), (1_200_000_000_000_000, "the year 40000", "time_range"), (1_600_000_000_000_000, "microseconds as milliseconds", "time_range"), (253_402_300_799_999, "the end of 9999", "ok"), (253_402_300_800_000, "the start of 10000", "time_range"), (-62_135_596_800_000, "the start of the year 1", "ok"), (-62_135_596_800_001, "the end of the year 0", "time_range")]:
    case(24, what, expect, at(when))


def change(fields, which, **changes):
    next(field for field in fields if field["name"] == which).update(changes)


without_post = edited("evolved-field-removed", lambda fields: fields.pop(2))
case(26, "a writer without the post's id", "incompatible", framed(without_post, DATUM.replace(text("post:1"), b"", 1)))
renamed = edited("evolved-renamed", lambda fields: change(fields, "post_id", name="article"))
case(26, "a writer with another name for the post's id", "incompatible", framed(renamed, DATUM))
doubles = edited("evolved-double", lambda fields: change(fields, "occurred_at", type="double"))
case(26, "a writer whose time is a double", "incompatible", framed(doubles, BEFORE + b"\0\0\0" + struct.pack("<d", 1.0) + AFTER[len(b"\0\0\0" + WHEN):]))
micros = edited("evolved-microseconds", lambda fields: change(fields, "occurred_at", type={"type": "long", "logicalType": "timestamp-micros"}))
case(26, "a writer whose time is in microseconds", "incompatible", framed(micros, DATUM))
wide = edited("evolved-wider-union", lambda fields: change(fields, "body", type=["null", "string", "long"], default=None))
case(26, "a body that is a number", "incompatible", framed(wide, BEFORE + b"\0\0\4\2" + DATUM[len(BEFORE) + 3:]))
case(27, "a body of a wider union that is a text", "ok", framed(wide, BEFORE + b"\0\0\2" + text("body") + DATUM[len(BEFORE) + 3:]))
case(27, "a post of version 1", "ok", framed(OURS["post.published/v1"][0], DATUM[:-3]))
ints = edited("evolved-int", lambda fields: change(fields, "body_bytes", type=["null", "int"], default=None))
case(27, "a length that is an int", "ok", framed(ints, DATUM[:-1] + b"\2\6"))
plain = edited("evolved-not-nullable", lambda fields: change(fields, "title", type="string", default=""))
case(27, "a title that is never null", "ok", framed(plain, DATUM.replace(b"\2" + text("Title"), text("Title"), 1)))
swapped = edited("evolved-reordered", lambda fields: fields.reverse())
case(27, "a writer with its fields in reverse", "ok", framed(swapped, b"\0\0\0\0" + WHEN + b"\0\0\0" + text("a/b") + b"\2" + text("Title") + text("ana") + text("post:1") + text("blog") + text("e-1")))
more = edited("evolved-more", lambda fields: fields.insert(0, {"name": "shiny", "type": {"type": "map", "values": ["null", {"type": "record", "name": "Shine", "fields": [{"name": "n", "type": "int"}]}]}}))
case(27, "a writer with a field that we lack", "ok", framed(more, zigzag(1) + text("k") + b"\2\4" + b"\0" + DATUM))
case(29, "an Avro file", "bad_magic", b"Obj\1" + DATUM)
for kind in ["application/x-protobuf", "application/json", "application/cloudevents+json; charset=UTF-8", "Application/CloudEvents+avro"]:
    case(30, f"content of the type {kind}", "wrong_format", ok, [("content-type", kind)])
for kind in ["application/avro", "avro/binary", "application/vnd.apache.avro+json", ""]:
    case(30, f"content of the type {kind!r}", "ok", ok, [("content-type", kind)])
case(34, "headers with an empty name, null values and the same name twice", "ok", ok, [("", b"x"), ("a", None), ("a", b"1"), ("a", b"2"), ("ce_type", None)])
case(34, "a type that is no text", "headers", ok, [("ce_type", b"\xff")])
case(35, "forged headers of ours", "ok", ok, [("postroom-dlq-attempts", "9999"), ("postroom-dlq-topic", "other"), ("postroom-replay-of", "x")])
for when in [1_915_000_000_000, 1_600_000_000_000_000_000, -5, -1, None]:
    case(36, f"a record of the time {when}", "ok", ok, timestamp=when)
case(36, "an event of no time", "time_range", ok, [("ce_time", "yesterday")])
case(36, "an event of the leap second", "ok", ok, [("ce_time", "2016-12-31T23:59:60Z")])
case(36, "an event of a time with a zone", "ok", ok, [("ce_time", "2018-04-05T17:31:00.123456+02:00")])
case(40, "an empty id", "invalid_id", ok, [("ce_id", "")])
case(40, "an id of 10 KB", "invalid_id", ok, [("ce_id", "x" * 10_240)])
case(40, "an id with a line's end", "invalid_id", ok, [("ce_id", "a\nb")])
case(40, "an id that is no text", "invalid_id", ok, [("ce_id", b"\xff")])
case(40, "an empty id in the event", "invalid_id", first(text("")))
case(40, "an id of look-alikes", "ok", ok, [("ce_id", "е-1")])
case(40, "an id of 255 bytes", "ok", ok, [("ce_id", "x" * 255)])
case(40, "an outbox's id", "ok", ok, [("id", "outbox-7")])
case(43, "a type that nobody handles", "skip", ok, [("ce_type", "weather.changed")])
case(43, "a type that nobody handles, with no readable value", "skip", b"\xff", [("ce_type", "weather.changed")])
case(43, "a record that nobody handles", "skip", framed(schema("other-record", {"type": "record", "name": "Weather", "namespace": "blog", "fields": [{"name": "n", "type": "int"}]}), b"\2"))
case(43, "a type that we handle, of a schema still to come", "unknown_schema", framed(888_888, DATUM), [("ce_type", "post.published")])

with open(f"{ROOT}/manifest.jsonl", "w") as file:
    for line in OUT:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
with open(f"{ROOT}/schemas/index.toml", "w") as file:
    file.write("# Schemas of the corpus: a directory registry. Written by make.py.\n\n" + "\n".join(INDEX))
print(len(OUT), "records,", len(INDEX), "schemas")
