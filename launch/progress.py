"""Progress on stderr: one rewritten line on a terminal, plain lines otherwise."""

import sys
import time


def hms(seconds: float) -> str:
    """Seconds as 1:02:03 or 02:03."""
    hours, rest = divmod(max(0, round(seconds)), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"


class Progress:
    """Progress of a stage: steps, loss, speed and time left."""

    def __init__(self, name: str, steps: int, stream=None):
        self.name, self.steps = name, steps
        self.stream = sys.stderr if stream is None else stream
        self.bar = self.stream.isatty()
        self.started = time.monotonic()

    def __call__(self, step: int, speed: float, terms: dict):
        """Shows a step; `speed` in steps/s, `terms` includes the loss."""
        left = hms((self.steps - step) / speed) if speed > 0 else "?"
        text = (
            f"{self.name} {step}/{self.steps}  loss {float(terms['loss']):.4f}"
            f"  {speed:.1f} steps/s  ETA {left}"
        )
        if self.bar:
            done = 24 * step // self.steps
            text = f"\r[{'#' * done}{'.' * (24 - done)}] {text}\x1b[K"
        end = "" if self.bar and step < self.steps else "\n"
        print(text, end=end, file=self.stream, flush=True)


def say(text: str):
    """Logs a line; on a terminal it replaces the progress bar."""
    print(("\r\x1b[K" if sys.stderr.isatty() else "") + text, file=sys.stderr, flush=True)
