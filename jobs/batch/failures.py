"""What a worker's failure was, as the one line that people read: Beam gives its traceback as text. Pure."""

import re
from typing import Final

from headrace import errors

_STEP: Final = re.compile(r" \[while running '([^']*)'\]")
_RAISED: Final = re.compile(r"^((?:\w+\.)*)(\w+)(?:: (.*))?$")
_OURS: Final = "headrace.errors."
_DIED: Final = re.compile(r"Channel closed prematurely|Worker subprocess exited with|KilledWorker: ")
"""How FnApiRunner and Dask say that a worker was gone."""
_REFERS: Final = "Check prior failing response and attached exception"
"""What Prism hears of a bundle that it wanted to split and that had failed: the failure's own lines stand before."""


class StrangeError(errors.HeadraceError):
    """None of our errors, which a worker or the pipeline's own code has raised; a command says how to see all of it."""

    @property
    def lines(self) -> tuple[str, ...]:
        return (f"{self}; --debug shows all of it",)


def failure_of(text: str, label: str) -> errors.HeadraceError:
    """The error that a traceback tells of; one of ours as itself, another with its name and the step that raised it."""
    if _DIED.search(text):
        return errors.PeerError(f"{label}: a worker has died, maybe killed by the system for its memory; run it again")
    for line in reversed([line for line in text.strip().splitlines() if _REFERS not in line]):
        steps = _STEP.findall(line)
        found = _RAISED.match(_STEP.sub("", line.strip()))
        if found is None or not (found[1] or found[2].endswith(("Error", "Exception", "Interrupt"))):
            continue
        kind = getattr(errors, found[2], None) if found[1] == _OURS else None
        if isinstance(kind, type) and issubclass(kind, errors.HeadraceError) and kind is not errors.RefusedError:
            return kind(f"{label}: {found[3]}")
        said = f"{found[2]}: {found[3]}" if found[3] else found[2]
        where = f" (in step {steps[0]})" if steps else ""
        return StrangeError(f"{label}: {said}{where}")
    last = (text.strip().splitlines() or ["failed"])[-1]
    return StrangeError(f"{label}: {last}")
