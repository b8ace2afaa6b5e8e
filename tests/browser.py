"""Chromium without a window, spoken to over two pipes: DevTools protocol, no package needed."""

import base64
import contextlib
import fcntl
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import time

SECONDS = 60.0  # that an answer may take
FLAGS = (
    *("--headless", "--remote-debugging-pipe", "--no-first-run", "--mute-audio", "--disable-gpu"),
    *("--no-sandbox", "--disable-dev-shm-usage"),  # as root, in a container
    *("--disable-extensions", "--disable-background-networking", "--disable-component-update"),
)
# The browser reads commands from 3 and answers on 4.
_START = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4)"
_START += "; os.execv(sys.argv[3], sys.argv[3:])"


def path() -> str:
    """The program.

    Raises:
        FileNotFoundError: there is none.
    """
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise FileNotFoundError("no Chromium on PATH: apt-get install chromium")


@contextlib.contextmanager
def browser(profile: pathlib.Path):
    """A running browser: a `Pipe`."""
    # Far from 3 and 4, which the child sets up from them.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 64) for end in (*os.pipe(), *os.pipe())]
    read_commands, commands, answers, write_answers = ends
    start = [sys.executable, "-c", _START, str(read_commands), str(write_answers)]
    child = subprocess.Popen(
        [*start, path(), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(read_commands, write_answers),
        stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_answers)
    try:
        yield Pipe(commands, answers)
    finally:
        child.terminate()
        child.wait(SECONDS)
        os.close(commands)
        os.close(answers)


class Pipe:
    """Commands there, answers and events back."""

    def __init__(self, commands, answers):
        self.commands, self.answers = commands, answers
        self.number, self.rest, self.events = 0, b"", []

    def call(self, method, session="", **options) -> dict:
        """Runs a command and returns its result; events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": options}
        message |= {"sessionId": session} if session else {}
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        found = self._until(lambda answer: answer.get("id") == self.number)
        assert "error" not in found, (method, found["error"])
        return found["result"]

    def wait(self, method) -> dict:
        """The next event of this name, also one that has come already."""
        return next((e for e in self.events if e["method"] == method), None) or self._until(
            lambda answer: answer.get("method") == method
        )

    def _until(self, wanted):
        end = time.monotonic() + SECONDS
        while True:
            while b"\0" not in self.rest:
                ready, _, _ = select.select([self.answers], [], [], end - time.monotonic())
                assert ready, f"no answer in {SECONDS:.0f} s"
                got = os.read(self.answers, 1 << 20)
                assert got, "the browser has ended"
                self.rest += got
            line, _, self.rest = self.rest.partition(b"\0")
            answer = json.loads(line)
            if "method" in answer:
                self.events.append(answer)
            if wanted(answer):
                return answer


class Page:
    """A page that was opened, with all that it asked for and complained of."""

    def __init__(self, pipe: Pipe, url: str, *, width: int, scheme: str):
        """`scheme`: light or dark; `width`: of the window, px."""
        self.pipe, self.width = pipe, width
        pipe.events.clear()
        target = pipe.call("Target.createTarget", url="about:blank")["targetId"]
        attached = pipe.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self._size(900)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call("Page.navigate", url=url)
        pipe.wait("Page.loadEventFired")

    def call(self, method, **options) -> dict:
        """A command to this page."""
        return self.pipe.call(method, self.session, **options)

    def run(self, script: str):
        """The value of an expression of JavaScript, awaited where it is a promise."""
        options = dict(awaitPromise=True, returnByValue=True)
        found = self.call("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def events(self, method) -> list[dict]:
        """What events of this name said."""
        return [e["params"] for e in self.pipe.events if e["method"] == method]

    def picture(self, where: pathlib.Path):
        """Writes a PNG of the whole page."""
        height = self.run("document.documentElement.scrollHeight")
        self._size(height)
        where.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _size(self, height):
        size = dict(width=self.width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setDeviceMetricsOverride", **size)
