"""A real PostgreSQL for a test: started, crashed, paused, and asked by psql."""

import glob
import json
import shutil
import subprocess
import tempfile

from wire import ROOT

SCRIPT = str(ROOT / "scripts" / "postgres")


class Away(Exception):
    """The server does not answer."""


class Postgres:
    """A server in a folder of its own. It ends with this process, whatever becomes of it."""

    def __init__(self, schema="postroom"):
        self.folder = tempfile.mkdtemp(prefix="postroom-postgres.")
        self.schema = schema
        self.keeper = subprocess.Popen(
            [SCRIPT, "while", self.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.url = self.keeper.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"PostgreSQL did not start: {self.keeper.wait(60)}")
        found = [shutil.which("psql"), *sorted(glob.glob("/usr/lib/postgresql/*/bin/psql"))]
        self.psql = next(name for name in found if name)

    def crash(self):
        """Every process of the server ends at once; what was committed is recovered by the next start."""
        subprocess.run([SCRIPT, "kill", self.folder], check=True, timeout=90)

    def pause(self):
        """Stops the server in order."""
        subprocess.run([SCRIPT, "pause", self.folder], check=True, timeout=90)

    def back(self):
        subprocess.run([SCRIPT, "start", self.folder], check=True, timeout=90, stdout=subprocess.DEVNULL)

    def run(self, sql):
        words = [self.psql, "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.url, "-f", "-"]
        done = subprocess.run(words, input=f"SET search_path = {self.schema};\n{sql}", capture_output=True, text=True, timeout=60)
        if done.returncode == 2:
            raise Away(done.stderr)
        if done.returncode != 0:
            raise RuntimeError(f"{sql}\n{done.stderr}")
        return done.stdout

    def query(self, sql):
        """The rows, as tuples."""
        told = self.run(f"SELECT coalesce(json_agg(answer), '[]') FROM ({sql}) AS answer;")
        return [tuple(row.values()) for row in json.loads(told)]

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait(90)
