"""The jobs by name, and jobs of users' own by `module:Class`. Cheap to import: a job's module is imported when it is found."""

import difflib
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from headrace.jobs.batch.job import Chore, Job

JOBS: Final = {
    "counts": "headrace.jobs.batch.counts:Counts",
    "sessions": "headrace.jobs.batch.sessions:Sessions",
    "top": "headrace.jobs.batch.top:Top",
    "errors": "headrace.jobs.batch.errors:Errors",
    "recount": "headrace.jobs.batch.recount:Recount",
    "compact": "headrace.jobs.batch.compact:Compact",
}


def find(name: str) -> "type[Job | Chore]":
    """The class of a job.

    Args:
        name: one of JOBS, or `module:Class` of a module on Python's path or in the working directory.
    Raises:
        UsageError: there is none.
    """
    from headrace.jobs.batch.job import Chore, Job

    reference = JOBS.get(name, name)
    module_name, colon, class_name = reference.partition(":")
    if not colon:
        close = difflib.get_close_matches(name, JOBS, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"no job {name!r}{meant} (jobs: {', '.join(JOBS)}; one of your own: module:Class)")
    if name not in JOBS and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise
        raise UsageError(f"job {name}: there is no module {module_name}; add its folder to PYTHONPATH") from error
    except SyntaxError as error:
        raise UsageError(f"job {name}: {error.filename}:{error.lineno}: {error.msg}; mend it") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, (Job, Chore))):
        raise UsageError(f"job {name}: {class_name} in {module_name} is no class made of headrace.jobs.batch.job.Job")
    return found


def made(name: str, options: Mapping[str, Any] | None = None, *, overrides: Sequence[str] = ()) -> "Job | Chore":
    """A job with its options.

    Args:
        options: by name, as a configuration says them; those not there are as the job's class has them.
        overrides: `name=value`, as given to `--set`, which win.
    Raises:
        UsageError: there is no such job. ConfigError: an option is none, or its value is wrong.
    """
    from pydantic import ValidationError

    from headrace import config_overrides
    from headrace.config_faults import faults_of
    from headrace.config_file import Origin

    kind = find(name)
    if overrides and not kind.model_fields:
        raise UsageError(f"--set {overrides[0]}: job {name} has no options; leave it out")
    tree, origin = dict(options or {}), Origin(Path(f"job {name}"))
    faults = config_overrides.apply(kind, tree, origin, overrides, {})
    if faults:
        raise ConfigError(*faults)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(*faults_of(kind, error, tree, origin)) from None
