"""Postroom as a process: started, watched, killed, stopped, frozen."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import urllib.request


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def member_config(kafka, folder, session=6):
    """What every test's members share: a short session, a short drain, a store in the test's folder, for events that are years old."""
    return f"""
[kafka]
brokers = "{kafka}"
session_timeout = "{session:.0f}s"

[shutdown]
deadline = "5s"

[store]
url = "sqlite:{folder}/postroom.db"
notifications = "0s"
"""


class Postroom:
    """The binary with a configuration file."""

    def __init__(self, binary, folder, config):
        self.binary = str(pathlib.Path(binary).resolve())
        self.folder = folder
        self.config = folder / "postroom.toml"
        self.config.write_text(config)
        self.members = []

    def command(self, *arguments, check=True, timeout=120):
        words = [self.binary, *arguments]
        done = subprocess.run(words, cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def environment(self, **more):
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "RUST_BACKTRACE") if name in os.environ}
        return {**kept, "HOME": str(self.folder), "NO_COLOR": "1", **more}

    def start(self, name, port=None, **more):
        """Starts a member, where it is to be found at a port if one is given; `more` goes into its environment."""
        member = Member(self, name, more, port)
        self.members.append(member)
        return member

    def stop_all(self):
        for member in self.members:
            member.kill()


class Member:
    """One running `postroom run`."""

    def __init__(self, postroom, name, more, port=None):
        self.name = name
        self.port = port or free_port()
        self.log = postroom.folder / f"{name}.log"
        words = [postroom.binary, "run", "-c", str(postroom.config)]
        environment = postroom.environment(POSTROOM_HTTP__LISTEN=f"127.0.0.1:{self.port}", **more)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words, cwd=postroom.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return answer.read().decode()

    def ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}\n{self.tail()}")
        try:
            self.get("/readyz")
            return True
        except OSError:
            return False

    def status(self):
        return json.loads(self.get("/api/status"))

    def signal(self, which):
        os.kill(self.process.pid, which)

    def stands_still(self):
        """Whether SIGSTOP has reached every thread."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        return all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)

    def terminate(self, seconds=40):
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self):
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait(10)

    def tail(self, lines=30):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
