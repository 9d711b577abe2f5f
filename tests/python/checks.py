"""Counts what was checked and says it in the words of cargo's test runner, which the script around it adds up."""

import json


class Checks:
    def __init__(self):
        self.passed = 0
        self.failed = []

    def that(self, what, holds, otherwise=""):
        if holds:
            self.passed += 1
            print(f"check {what} ... ok", flush=True)
        else:
            self.failed.append(what)
            print(f"check {what} ... FAILED {otherwise}", flush=True)

    def equal(self, what, expected, found):
        self.that(what, expected == found, f"\n  expected {expected!r}\n  found    {found!r}")

    def close(self, output, **facts):
        """Prints the result; returns the exit code."""
        if output == "json":
            print(json.dumps({"passed": self.passed, "failed": self.failed, **facts}))
        word = "FAILED" if self.failed else "ok"
        print(f"test result: {word}. {self.passed} passed; {len(self.failed)} failed;")
        return 1 if self.failed else 0
