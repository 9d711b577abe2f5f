#!/usr/bin/env python3
"""Says which words of a blog's events can be found, to compare with the index that the consumers left in the store.

Written from the rules of docs/design.md and docs/search.md, not from the engine. Texts are taken as they are written:
the events tell no format.

    serial_search.py FILE...

prints one JSON document a file, on one line: for each word the documents that it is found in, as post:ID or
comment:ID, and under "hidden" the comments that are left out because their post is removed.
"""

import collections
import functools
import json
import sys
import unicodedata

from serial_count import Story, read

LONGEST = 64
FOLDED = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ς": "σ"}
NO_SPACES = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "THAI", "LAO",
             "MYANMAR", "KHMER", "IDEOGRAPHIC ITERATION", "IDEOGRAPHIC NUMBER ZERO")
LOSE_MARKS = ("LATIN", "GREEK", "CYRILLIC", "HEBREW", "ARABIC", "DIGIT")
INVISIBLE = {"\u00ad", "\u034f", "\u061c", "\ufeff"}


@functools.cache
def name(char):
    return unicodedata.name(char, "")


@functools.cache
def is_invisible(char):
    code = ord(char)
    return (char in INVISIBLE or 0x200C <= code <= 0x200F or 0x202A <= code <= 0x202E or 0x2060 <= code <= 0x2069
            or 0x20D0 <= code <= 0x20FF or 0xFE00 <= code <= 0xFE0F)


def folded(text):
    if text.isascii():
        yield from text.lower()
        return
    loses = False
    for char in unicodedata.normalize("NFKC", text).lower():
        if is_invisible(char):
            continue
        if unicodedata.category(char).startswith("M"):
            if not loses:
                yield char
            continue
        loses = name(char).startswith(LOSE_MARKS)
        if not loses:
            yield char
            continue
        for part in unicodedata.normalize("NFD", char):
            if not unicodedata.category(part).startswith("M"):
                yield from FOLDED.get(part, part)


def words(text):
    word, run = [], []

    def end():
        if word:
            yield "".join(word[:LONGEST])
            word.clear()
        for one, other in zip(run, run[1:] + [""]):
            yield one + other[:1]
        run.clear()

    for char in folded(text):
        if unicodedata.category(char).startswith("M"):
            if run:
                run[-1] += char
            elif word:
                word.append(char)
        elif not char.isalnum():
            yield from end()
        elif name(char).startswith(NO_SPACES):
            if word:
                yield from end()
            run.append(char)
        else:
            if run:
                yield from end()
            word.append(char)
    yield from end()


def index(events):
    told = collections.OrderedDict()
    for event in events:
        if event["kind"] in ("post", "comment"):
            told.setdefault((event["kind"], event["id"]), Story(("title", "body", "tags"))).tell(event)
    found = collections.defaultdict(set)
    hidden = []
    for (kind, id), story in told.items():
        if story.standing != "alive":
            continue
        document = f"{kind}:{id}"
        if kind == "comment":
            post = told.get(("post", story.post))
            if post is not None and post.standing in ("removed", "absent"):
                hidden.append(document)
        for text in [story.values.get("title"), story.values.get("body"), *(story.values.get("tags") or [])]:
            for word in words(text or ""):
                found[word].add(document)
    return {"words": {word: sorted(documents) for word, documents in found.items()}, "hidden": sorted(hidden)}


for path in sys.argv[1:]:
    print(json.dumps(index(read(path)), sort_keys=True))
