"""A stop that hangs says what it waits for, and ends."""

import json
import signal
import subprocess
import sys
import time

HANGS = """
import time
from headrace.logs import log_to_stderr
from headrace.stopping import Stop
log_to_stderr()
stop = Stop(bound_s={bound_s}, same_wish_s=0.1)
stop.waits_for("a disk that does not answer")
print("stops", flush=True)
time.sleep(60)
"""


def test_it_ends_after_its_bound() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS.format(bound_s=0.3)], capture_output=True, text=True, timeout=30)
    said = json.loads(done.stderr)
    assert done.returncode == 1
    assert said["waits_for"] == "a disk that does not answer"
    assert "longer than 0.3 s" in said["msg"]


def test_it_ends_when_it_is_told_again() -> None:
    command = [sys.executable, "-c", HANGS.format(bound_s=50)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.2)
        child.send_signal(signal.SIGTERM)
        _, errors = child.communicate(timeout=10)
    assert child.returncode == 1
    assert json.loads(errors)["waits_for"] == "a disk that does not answer"
    assert "told again" in json.loads(errors)["msg"]
