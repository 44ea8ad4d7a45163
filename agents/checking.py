"""The configuration, read and checked by another process: what checks it is not kept by one that runs for months.

pydantic, its models and YAML's reader take 11 MB, of the 60 that an agent may have. The other process ends when the values are
here (docs/adr/0048); at the start it works beside this one, which imports the rest meanwhile.
"""

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ConfigError, HeadraceError

if TYPE_CHECKING:
    from headrace.agents.configuration import AgentConfig


class Checking:
    """A check that is under way.

    Args:
        file: the configuration; overrides: as given to `--set`. The environment is this process's.
    """

    def __init__(self, file: Path, overrides: Sequence[str]) -> None:
        self._file = file
        command = [sys.executable, "-P", "-m", __name__, str(file), *overrides]
        modules = os.pathsep.join(path or os.getcwd() for path in sys.path)
        isolated = sys.flags.ignore_environment  # as the Debian package starts it: PYTHON… is nothing to this process
        kept = {name: value for name, value in os.environ.items() if not (isolated and name.startswith("PYTHON"))}
        # Descriptors stay open: the file may be one of them, as `--config <(…)` names it.
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**kept, "PYTHONPATH": modules}, close_fds=False)

    def result(self) -> "AgentConfig":
        """What the file says: settings (headrace/settings.py) by the names that AgentConfig has.

        Raises:
            UsageError: it is wrong, as the other process says.
        """
        answer, _ = self._process.communicate()
        if self._process.returncode or not answer:  # a module of the user's may end it as it pleases
            status = self._process.returncode
            raise ConfigError(f"{self._file}: it cannot be checked: the process that does so has ended ({status})")
        found = pickle.loads(answer)  # noqa: S301 - our own process's
        if isinstance(found, HeadraceError):
            raise found
        config: AgentConfig = found
        return config


def _main() -> None:
    from headrace.agents.configuration import load_agent_config
    from headrace.config import settings_of

    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # modules of the user's are imported, and may print
    file, *overrides = sys.argv[1:]
    found: AgentConfig | HeadraceError
    try:
        config = load_agent_config(Path(file), overrides, os.environ).config
        config.registry.client()  # its files can be used
        found = settings_of(config)
    except HeadraceError as error:
        found = error
    with contextlib.suppress(BrokenPipeError), answer:  # whoever asked was killed meanwhile
        answer.write(pickle.dumps(found))


if __name__ == "__main__":
    _main()
