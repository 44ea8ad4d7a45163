"""The configuration of `headrace nightly`."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from headrace.config import Section
from headrace.config_faults import WrongKeys
from headrace.errors import ConfigError, UsageError
from headrace.jobs.batch.command import RUNNERS
from headrace.sinks.measures import Duration
from headrace.sinks.path_template import zone

OnIncomplete = Literal["hold", "run", "skip", "fail"]


class NightlyJob(Section):
    """One job, and the table that it writes."""

    job: str = Field(description="its name (`headrace job list`), or `module:Class` of your own")
    into: str | None = Field(None, description="the table that it writes; default: `job_` and its name. One job a table")
    topics: tuple[str, ...] = Field((), description="what it reads, and the gate waits for; default: `nightly.topics`")
    options: dict[str, Any] = Field({}, description="its options (`headrace job show NAME`)")

    @model_validator(mode="after")
    def _is_job(self) -> "NightlyJob":
        from headrace.jobs.batch.catalog import made  # Arrow, which `headrace config` does without
        from headrace.jobs.batch.job import Chore

        try:
            job = made(self.job, self.options)
        except ConfigError as error:
            raise WrongKeys({("options", fault.key): f"{fault.what}; {fault.do}" for fault in error.faults}) from None
        except UsageError as error:
            raise WrongKeys({"job": str(error)}) from None
        if isinstance(job, Chore):
            raise WrongKeys({"job": f"{self.job} writes no table of its own; run it beside: headrace job run {self.job}"})
        return self


class Nightly(Section):
    """What runs for each day, and when."""

    root: str = Field(min_length=1, description="the landed tables: a path, or a URL (docs/stores.md)")
    time_zone: str = Field("UTC", description="of days, as Europe/Zurich")
    after: str = Field("00:15", description="the time of day, in `time_zone`, from which on the day before is run")
    catch_up: int = Field(
        7, gt=0, le=366, description="of how many days, the newest first counted, those that have not been run are"
    )
    rerun: int = Field(
        3, ge=0, le=366, description="of how many days those are run again of whose topics rows came after the run (late data)"
    )
    wait: Duration = Field(
        "2h", validate_default=True, description="how long days of which the audit says unknown are waited for"
    )
    retire_after: Duration | None = Field(
        None, description="agents that have been silent for longer the gate takes for retired, and says so; without, none"
    )
    on_incomplete: OnIncomplete = Field(
        "hold",
        description="what becomes of a day that is incomplete, or unknown for longer than `wait`: `hold` it for the next night,"
        " and say so by the exit status; `run` it as it is; `skip` it for now with exit status 0; `fail` at once",
    )
    retries: int = Field(2, ge=0, le=100, description="how often a job that failed is run again at once")
    retry_after: Duration = Field("1m", validate_default=True, description="the pause before that; doubled each time")
    keep_going: bool = Field(True, description="whether the other days and jobs are run after one has failed")
    topics: tuple[str, ...] = Field((), description="what jobs read, and the gate waits for; default: every topic")
    runner: str = Field("inprocess", description="what runs the jobs (`headrace job run --help`)")
    runner_options: tuple[str, ...] = Field((), description="of the runner, as NAME=VALUE")
    metrics: str | None = Field(None, description="a file for node_exporter's textfile collector, as /…/headrace_nightly.prom")
    jobs: list[NightlyJob] = Field(min_length=1, description="what is run, in this order")

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, time_zone: str) -> str:
        zone(time_zone)
        return time_zone

    @field_validator("runner")
    @classmethod
    def _is_runner(cls, runner: str) -> str:
        if runner not in RUNNERS and not runner.endswith("Runner"):
            raise ValueError(f"there is no such runner; name one of {', '.join(RUNNERS)}, or one of Beam's")
        return runner

    @field_validator("after", mode="before")
    @classmethod
    def _is_time(cls, after: Any) -> Any:
        if type(after) is int and 0 <= after < 24 * 60:  # YAML takes 12:30 for minutes
            raise ValueError(f"must be in quotes; write it as '{after // 60:02}:{after % 60:02}'")
        if not isinstance(after, str):
            return after
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", after):
            raise ValueError("write a time of day like 01:30")
        return after

    @property
    def after_minutes(self) -> int:
        """Minutes from midnight, by the clock on the wall."""
        hours, _, minutes = self.after.partition(":")
        return int(hours) * 60 + int(minutes)


class NightlyConfig(Section):
    """One `headrace nightly`."""

    nightly: Nightly
