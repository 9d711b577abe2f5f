#!/usr/bin/env python3
"""A real Prometheus scrapes a demo: promtool finds nothing to say about the page, every rule is loaded, and every expression
of the dashboard runs and, but for what a healthy run does not have, returns something.
"""

import argparse
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

from checks import Checks
from cluster import wait_until
from service import Postroom, free_port
from wire import ROOT

# What a run without failures leaves empty: rates of nothing, and filters that only trouble passes.
MAY_BE_EMPTY = ("deriv(", "changes(", "> 5)", "topk(10", "process_max_fds", "drain_seconds", "> 0)", "offset 1m", "retention")


def expressions():
    dashboard = json.loads((ROOT / "deploy/grafana/postroom.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def filled(expression):
    expression = expression.replace("$__rate_interval", "20s")
    return re.sub(r"\$(job|group|topic|handler)\b", ".*", expression)


class Prometheus:
    def __init__(self, folder, tools, targets, rules=ROOT / "deploy/prometheus/postroom.rules.yml", interval="2s"):
        self.port = free_port()
        (folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {interval}, evaluation_interval: {interval}}}\n"
            f"rule_files: ['{rules}']\n"
            f"scrape_configs: [{{job_name: postroom, static_configs: [{{targets: {json.dumps(targets)}}}]}}]\n"
        )
        words = [
            f"{tools}/prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]  # fmt: skip
        self.log = (folder / "prometheus.log").open("wb")
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def get(self, path, **query):
        address = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 503:  # still starting; what it says then is no JSON
                raise
            return json.load(error)

    def query(self, expression):
        """What an expression returns now; raises where it cannot be evaluated."""
        answer = self.get("/api/v1/query", query=expression)
        if answer["status"] != "success":
            raise ValueError(f"{expression}: {answer.get('error')}")
        return answer["data"]["result"]

    def ready(self):
        try:
            return self.query("postroom_build_info")
        except OSError:  # an HTTPError is one
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--postroom", default="target/debug/postroom", help="the binary")
    arguments.add_argument("--tools", required=True, help="the folder of prometheus and promtool")
    arguments.add_argument("-o", "--output", choices=["text", "json"], default="text")
    given = arguments.parse_args()
    checks, told = Checks(), {}
    with tempfile.TemporaryDirectory(prefix="postroom-prometheus.") as name:
        folder = pathlib.Path(name)
        postroom = Postroom(given.postroom, folder, "")
        port = free_port()
        words = [postroom.binary, "demo", "--port", str(port)]
        with (folder / "demo.log").open("wb") as log:
            demo = subprocess.Popen(
                words, cwd=folder, env=postroom.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        prometheus = Prometheus(folder, given.tools, [f"127.0.0.1:{port}"])
        try:
            told = story(checks, prometheus, given.tools, port)
            demo.send_signal(signal.SIGTERM)
            checks.equal("the demo ends with 0", 0, demo.wait(40))
        except (TimeoutError, OSError) as error:
            checks.that("the run went through", False, f"{error}\n{(folder / 'demo.log').read_text()}")
        finally:
            prometheus.stop()
            demo.kill()
    sys.exit(checks.close(given.output, **told))


def story(checks, prometheus, tools, port):
    wait_until("Prometheus has scraped the demo", prometheus.ready, 90)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        page = answer.read()
    lint = subprocess.run([f"{tools}/promtool", "check", "metrics"], input=page, capture_output=True, timeout=60)
    checks.equal("promtool has nothing to say about the metrics", (0, b""), (lint.returncode, lint.stdout + lint.stderr))

    rules = [rule for group in prometheus.get("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
    checks.equal("every rule is healthy", [], [rule["name"] for rule in rules if rule["health"] == "err"])
    checks.that("all rules are loaded", len(rules) > 12, str(len(rules)))

    # Rates need two scrapes within their window, while something happens.
    wait_until("several scrapes are there", lambda: scrapes(prometheus) >= 8, 60)
    wrong, empty, asked = [], [], 0
    for title, expression in expressions():
        answer = prometheus.get("/api/v1/query", query=filled(expression), time=round(time.time()))
        asked += 1
        if answer["status"] != "success":
            wrong.append((title, answer.get("error")))
        elif not answer["data"]["result"] and not any(word in expression for word in MAY_BE_EMPTY):
            empty.append((title, filled(expression)))
    checks.equal("every expression of the dashboard runs", [], wrong)
    checks.equal("every expression returns something", [], empty)
    checks.that("the dashboard has many", asked > 50, str(asked))
    known = set(prometheus.get("/api/v1/label/__name__/values")["data"])
    named = {word for _, expression in expressions() for word in re.findall(r"\b(?:postroom|process)_[a-z_]+", expression)}
    # The embedded broker does not tell how long topics keep records.
    untold = {"postroom_dead_letter_retention_seconds", "postroom_topic_retention_seconds"}
    checks.equal("every metric that a panel names is scraped", [], sorted(named - known - untold))
    return {"expressions": asked, "rules": len(rules)}


def scrapes(prometheus):
    found = prometheus.get("/api/v1/query", query="count_over_time(postroom_build_info[1m])")["data"]["result"]
    return int(found[0]["value"][1]) if found else 0


if __name__ == "__main__":
    main()
