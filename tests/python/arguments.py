"""The arguments of tests that need a Kafka."""

import argparse
import os
import pathlib
import sys

import sample


def parser(doc):
    """Makes a parser with what all of them take; a test adds its own."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--postroom", default="target/debug/postroom", help="the binary")
    made.add_argument("--kafka", default=os.environ.get("POSTROOM_TEST_KAFKA"), help="bootstrap address")
    made.add_argument("-o", "--output", choices=["text", "json"], default="text")
    return made


def with_events(made):
    """Adds the file of events that the test plays."""
    made.add_argument("--from", dest="path", default=str(sample.PATH), help="the events")
    return made


def given(made):
    """Reads them. Ends where no Kafka is named, or, saying that nothing was tested, where the events are not here."""
    read = made.parse_args()
    if not read.kafka:
        sys.exit("no Kafka: give --kafka or POSTROOM_TEST_KAFKA")
    if hasattr(read, "path") and not pathlib.Path(read.path).exists():
        print(f"SKIPPED: {read.path} is not here: nothing was tested", file=sys.stderr)
        sys.exit(0)
    return read
