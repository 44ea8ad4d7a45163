"""`headrace query` on a pseudo-terminal: what a user types into its shell, and what they see."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from typing import Final

PROMPT: Final = "headrace>"
_ESCAPES: Final = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[=>])")


class Terminal:
    """A shell on a terminal of 100 columns and 40 rows. Use it as a context manager."""

    def __init__(self, root, state, *arguments, **environment):
        self.said, self._seen = "", 0
        command = [sys.executable, "-m", "headrace", "query", "--root", str(root), *arguments]
        variables = {**os.environ, "XDG_STATE_HOME": str(state), "TERM": "xterm", **environment}
        for name in ("COLUMNS", "LINES"):  # they go before the terminal's own size
            variables.pop(name, None)
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, variables)
        self.resize(100, 40)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.fd)

    def resize(self, columns, rows):
        """As a user who pulls at the window: the kernel tells the process (SIGWINCH)."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, pattern, *, timeout_s=60):
        """What has been said since the last time, once it holds the pattern."""
        deadline = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self.said[self._seen :])):
            assert time.monotonic() < deadline, f"{pattern!r} is not in {self.said[self._seen :]!r}"
            self._read()
        new = self.said[self._seen : self._seen + found.end()]
        self._seen += found.end()
        return new

    def _read(self):
        if select.select([self.fd], [], [], 0.2)[0]:
            try:
                said = os.read(self.fd, 65_536).decode(errors="replace")
            except OSError:
                said = ""
            if "\x1b[6n" in said:  # it asks where the cursor is
                os.write(self.fd, b"\x1b[1;1R")
            self.said += _ESCAPES.sub("", said)

    def ends(self, timeout_s=60):
        """The exit status."""
        deadline = time.monotonic() + timeout_s
        while (done := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
            assert time.monotonic() < deadline, self.said[self._seen :]
            self._read()
        return os.waitstatus_to_exitcode(done[1])
