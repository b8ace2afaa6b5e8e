"""Stopping by signals: all processes of a job save and exit at the same step."""

import os
import signal

from seedasr_jax.errors import DONE, INTERRUPTED
from seedasr_jax.launch import signals
from seedasr_jax.parallel import processes


class Stop:
    """Ctrl-C, SIGTERM and SIGHUP make the loop save and stop; a second Ctrl-C exits at once.

    Before a stage's loop first polls, while data are prepared or programs compiled, they end the
    process: there is nothing to save, and finished data are kept.
    """

    def __init__(self):
        self.exit_code, self._wanted = DONE, 0  # agreed by all processes; this one's signal
        self._asks = False
        self._agreed = processes.Agreed(lambda: self._wanted)
        self._handling = signals.handling(self._ask)

    def __enter__(self):
        self._handling.__enter__()
        return self

    def __exit__(self, *error):
        return self._handling.__exit__(*error)

    def _ask(self, number, _):
        if self._wanted and number == signal.SIGINT:
            os._exit(INTERRUPTED)
        self._wanted = signals.CODES[number]
        if not self._asks:
            signals.leave(number)
        os.write(2, b"saving, then stopping\n")  # print is not reentrant

    def before_stage(self) -> bool:
        """As `asked`; until the stage's loop polls, signals end the process."""
        stopping, self._asks = self.asked(), False
        return stopping

    def asked(self) -> bool:
        """Whether a signal came to any process; all get the same answer at the same call."""
        self._asks = True
        self.exit_code = self._agreed()
        return self.exit_code != DONE
