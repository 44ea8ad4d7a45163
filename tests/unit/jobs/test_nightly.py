"""The nightly's core: which days are over and due, what the gate's word makes of them, and what is told."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.cli import main
from headrace.config import load_config
from headrace.errors import ConfigError
from headrace.jobs.batch.counts import Counts
from headrace.jobs.batch.sessions import Sessions
from headrace.jobs.nightly import metrics, plan, report
from headrace.jobs.nightly.config import Nightly, NightlyConfig
from headrace.jobs.nightly.report import Entry
from headrace.sinks.derived.slices import day
from headrace.sinks.table.fold import Owner
from headrace.sinks.table.record import Job, JobInput


def config(**keys: Any) -> Nightly:
    return Nightly.model_validate({"root": "/landed", "jobs": [{"job": "counts"}], **keys})


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def named(found: list[Any]) -> list[str]:
    return [of.directory.removeprefix("dt=") for of in found]


def test_a_day_is_over_at_the_time_that_the_configuration_says() -> None:
    nightly = config(catch_up=3, after="01:30")
    assert named(plan.days(nightly, at("2026-11-27T01:29"))) == ["2026-11-23", "2026-11-24", "2026-11-25"]
    assert named(plan.days(nightly, at("2026-11-27T01:30"))) == ["2026-11-24", "2026-11-25", "2026-11-26"]


def test_days_are_those_of_the_zone_also_where_its_clocks_are_put() -> None:
    nightly = config(catch_up=2, time_zone="Europe/Zurich", after="00:30")
    assert named(plan.days(nightly, at("2026-10-25T22:29"))) == ["2026-10-23", "2026-10-24"]
    before, last = plan.days(nightly, at("2026-10-25T23:31"))
    assert named([before, last]) == ["2026-10-24", "2026-10-25"]
    assert before.end_ms == last.start_ms
    assert last.end_ms - last.start_ms == 25 * 3_600_000


def read(rows: int, content_hash: str, topic: str = "logs") -> JobInput:
    return JobInput(topic, 1, rows, f"attempt-{rows}", rows, content_hash)


def owner(*inputs: JobInput) -> Owner:
    return Owner("run", 7, 5, Job("counts", "1", inputs))


@pytest.mark.parametrize(
    ("before", "now", "state"),
    [
        (None, [read(3, "aa")], "missing"),
        ([read(3, "aa")], [read(3, "aa")], "done"),
        ([read(3, "aa")], [read(4, "ab")], "changed"),
        ([read(3, "aa")], [read(3, "ab")], "changed"),
        ([read(3, "aa")], [read(2, "ab")], "shrunk"),
        ([read(3, "aa")], [], "shrunk"),
        ([read(0, "00")], [], "done"),
        ([read(3, "aa")], [read(3, "aa"), read(5, "cc", "other")], "changed"),
        ([read(3, "aa")], [read(3, "aa"), read(0, "00", "other")], "done"),
        ([read(3, "aa"), read(5, "cc", "other")], [read(9, "ab"), read(4, "cd", "other")], "shrunk"),
    ],
)
def test_a_day_stands_by_what_its_run_has_read_and_what_is_there_now(before: Any, now: list[JobInput], state: str) -> None:
    assert plan.compare(None if before is None else owner(*before), now) == state


def test_a_day_with_late_rows_is_due_for_some_days_and_one_that_shrank_never_is() -> None:
    newest = date(2026, 11, 26)
    late, gone = [read(4, "ab")], [read(2, "ab")]

    def is_due(on: str, inputs: list[JobInput], of: Owner | None) -> bool:
        return plan.standing("t", day(on), of, inputs, Counts(), newest=newest, rerun=3).is_due

    ran = owner(read(3, "aa"))
    assert [is_due(on, late, ran) for on in ("2026-11-26", "2026-11-24", "2026-11-23")] == [True, True, False]
    assert not is_due("2026-11-26", gone, ran)
    assert is_due("2026-11-20", late, None)


def test_a_day_that_an_older_version_or_other_options_have_made_is_told_and_not_due() -> None:
    def stands(name: str = "sessions", version: str = "1", **options: Any) -> tuple[str, str, bool]:
        ran = Owner("run", 7, 5, Job(name, version, (read(3, "aa"),), {**Sessions().model_dump(mode="json"), **options}))
        newest = date(2026, 11, 26)
        found = plan.standing("t", day(newest), ran, [read(3, "aa")], Sessions(), newest=newest, rerun=3)
        return found.state, found.differs, found.is_due

    assert stands() == ("done", "", False)
    assert stands(version="0") == ("outdated", "version 0, now 1", False)
    assert stands(gap=60, by="service") == ("outdated", 'by "service", now "host", gap 60.0, now 1800.0', False)
    assert stands(name="top") == ("outdated", "made by job top", False)
    assert stands(gone=1) == ("outdated", "gone 1, now null", False)


def test_a_day_whose_bounds_moved_with_the_zone_is_told_so_and_shrunk_only_if_rows_went() -> None:
    ran_on, now = day("2026-11-26"), day("2026-11-26", "Europe/Zurich")
    options = Sessions().model_dump(mode="json")
    ran = Owner("run", 7, 5, Job("sessions", "1", (read(3, "aa"),), options, None, ran_on.start_ms, ran_on.end_ms))
    assert plan.taken_for(now, ran) == ran_on
    assert plan.taken_for(now, None) == now

    def stands(*inputs: JobInput) -> plan.Standing:
        return plan.standing("t", now, ran, inputs, Sessions(), newest=date(2026, 11, 26), rerun=3)

    assert stands(read(3, "aa")).why == (
        "outdated: the day was 2026-11-26 00:00:00Z to 2026-11-27 00:00:00Z, by `time_zone` it is 2026-11-25 23:00:00Z to"
        " 2026-11-26 23:00:00Z now"
    )
    assert not stands(read(3, "aa")).is_due
    assert stands(read(2, "ab")).state == "shrunk"
    assert stands(read(4, "ab")).is_due


def test_an_option_that_is_new_had_its_default_before() -> None:
    ran = {name: value for name, value in Sessions().model_dump(mode="json").items() if name != "show"}
    assert plan.difference(Job("sessions", "1", (), ran), Sessions()) == ""
    assert plan.difference(Job("sessions", "1", (), ran), Sessions(show="service")) == 'show "message", now "service"'


def test_days_before_those_that_are_looked_at_are_told_where_no_run_has_made_them() -> None:
    ledger = ["dt=2026-11-18", "dt=2026-11-21"]
    left = [date(2026, 11, 19), date(2026, 11, 20), date(2026, 11, 22)]
    assert plan.forgotten(ledger, date(2026, 11, 23)) == left
    assert plan.forgotten([], date(2026, 11, 23)) == []
    assert len(plan.forgotten(["dt=2020-01-01"], date(2026, 11, 23))) == 31


def test_all_days_since_one_may_be_looked_at() -> None:
    since = plan.days(config(), at("2026-11-27T12:00"), date(2026, 11, 24))
    assert named(since) == ["2026-11-24", "2026-11-25", "2026-11-26"]
    assert plan.days(config(), at("2026-11-27T12:00"), date(2026, 11, 27)) == []


def test_the_gate_lets_pass_what_is_complete_and_what_is_incomplete_goes_by_the_configuration() -> None:
    for wanted in ("hold", "run", "skip", "fail"):
        assert plan.decide("complete", wanted, is_over=False) == "run"  # type: ignore[arg-type]
        assert plan.decide("unknown", wanted, is_over=False) == "wait"  # type: ignore[arg-type]
        assert plan.decide("unknown", wanted, is_over=True) == wanted  # type: ignore[arg-type]
        assert plan.decide("incomplete", wanted, is_over=False) == wanted  # type: ignore[arg-type]


def test_pauses_double_and_end() -> None:
    assert [plan.pause_s(failures, 3, 60.0) for failures in (1, 2, 3, 4)] == [60.0, 120.0, 240.0, None]
    assert plan.pause_s(90, 100, 60.0) == plan.LONGEST_PAUSE_S
    assert plan.pause_s(1, 0, 60.0) is None


def entry(outcome: Any, **told: Any) -> Entry:
    return Entry("2026-11-26", "counts", "job_counts", outcome, **told)


@pytest.mark.parametrize(
    ("entries", "status", "last"),
    [
        ([entry("ran"), entry("done"), entry("skipped", verdict="unknown")], 0, "1 wait for the audit"),
        ([entry("ran", verdict="complete"), entry("done")], 0, "1 ran; all 2 are up to date, nothing is to be done"),
        (
            [entry("ran"), entry("done"), entry("busy")],
            0,
            "1 ran, 1 left to another night (how they stand: ",
        ),
        ([entry("ran", verdict="unknown")], 0, "1 ran, 1 of them though not complete (2026-11-26 counts: unknown)"),
        (
            [entry("ran", verdict="incomplete"), entry("busy"), entry("held", verdict="unknown")],
            4,
            "1 wait for the audit",
        ),
        ([entry("held", verdict="incomplete")], 3, "1 wait for the audit"),
        ([entry("held", verdict="incomplete"), entry("held", verdict="unknown")], 4, "2 wait for the audit"),
        (
            [entry("held", verdict="unknown"), entry("failed", why="no memory")],
            1,
            "1 failed; mend it (no memory), then: headrace",
        ),
        ([entry("stopped")], 1, "1 not come to; go on with: headrace nightly run --config n.yaml"),
        ([entry("due", verdict="complete")], 0, "1 due; run them: headrace nightly"),
        ([entry("done"), entry("changed")], 0, "1 older than `rerun`"),
        ([entry("shrunk")], 0, "1 left as they are"),
        (
            [entry("outdated", why="version 1, now 2")],
            0,
            "1 made before something was changed (version 1, now 2); run again: ",
        ),
        ([entry("missing")], 0, "1 never run, and older than `catch_up`: headrace nightly run --config n.yaml --since 2026"),
    ],
)
def test_the_exit_status_and_the_last_line_say_how_it_stands(entries: list[Entry], status: int, last: str) -> None:
    assert report.exit_status(entries) == status
    assert report.advice(entries, config(), "n.yaml")[-1].startswith(last)


def test_each_kind_of_days_that_are_not_done_has_a_line_and_the_worst_is_last() -> None:
    told = report.advice([entry("failed", why="x"), entry("outdated"), entry("due", verdict="unknown")], config(), "n.yaml")
    assert [line.split(" ", 2)[1] for line in told] == ["made", "wait", "failed;"]


def test_days_that_ran_though_not_complete_and_those_of_another_night_are_told_before_what_is_to_be_done() -> None:
    early = [Entry(f"2026-11-2{n}", "counts", "t", "ran", verdict="incomplete") for n in range(5)]
    told = report.advice([*early, entry("busy"), entry("busy"), entry("failed", why="x")], config(), "n.yaml")
    assert told[0] == (
        "5 ran, 5 of them though not complete (2026-11-20 counts: incomplete, 2026-11-21 counts: incomplete, 2026-11-22 counts:"
        " incomplete and 2 more), 2 left to another night (how they stand: headrace nightly status --config n.yaml)"
    )
    assert told[1].startswith("1 failed; mend it (x)")
    assert len(told) == 2


def test_the_last_line_asks_the_audit_for_the_day_as_the_zone_has_it() -> None:
    held = [entry("held", verdict="unknown")]
    assert "headrace audit --root /landed --day 2026-11-26; looked" in report.advice(held, config(), "n.yaml")[-1]
    there = "--since 2026-11-25T23:00 --until 2026-11-26T23:00; looked"
    assert there in report.advice(held, config(time_zone="Europe/Zurich"), "n.yaml")[-1]


def test_metrics_are_prometheus_text() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    entries = [entry("ran", attempt="a"), entry("done", attempt="b"), Entry("2026-11-25", 'my"job', "other", "held")]
    families = {each.name: each for each in text_string_to_metric_families(metrics.as_text(entries, 1_795_000_000_500, 4))}
    assert families["headrace_nightly_last_end_timestamp_seconds"].samples[0].value == 1_795_000_000.5
    assert families["headrace_nightly_exit_status"].samples[0].value == 4
    days = {(one.labels["job"], one.labels["outcome"]): one.value for one in families["headrace_nightly_days"].samples}
    assert days == {("counts", "ran"): 1, ("counts", "done"): 1, ('my"job', "held"): 1}
    (newest,) = families["headrace_nightly_newest_day_timestamp_seconds"].samples
    assert (newest.labels["table"], newest.value) == ("job_counts", at("2026-11-26T00:00") / 1000)


def test_the_page_lists_every_metric() -> None:
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    for each in metrics.FAMILIES:
        assert f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {each.text} |" in page


def test_every_mistake_is_told_at_once_with_its_line_also_those_of_jobs_and_their_options(tmp_path: Path) -> None:
    file = tmp_path / "n.yaml"
    file.write_text(
        "nightly:\n"
        "  root: /landed\n"
        "  after: 12:30\n"
        "  jobs:\n"
        "    - job: conts\n"
        "    - {job: compact}\n"
        "    - job: sessions\n"
        "      options:\n"
        "        gapp: 5m\n"
        "        gap: soon\n"
    )
    with pytest.raises(ConfigError) as raised:
        load_config(NightlyConfig, file, overrides=(), environment={})
    told = [str(fault).removeprefix(f"{file}:") for fault in raised.value.faults]
    assert [line.split(":")[0] for line in told] == ["3", "5", "6", "9", "10"]
    assert told[0] == "3: nightly.after: must be in quotes, not 750; write it as '12:30'"
    assert "nightly.jobs.0.job: no job 'conts'; did you mean counts?" in told[1]
    assert "run it beside: headrace job run compact" in told[2]
    assert told[3] == "9: nightly.jobs.2.options.gapp: unknown key; did you mean gap?"


@pytest.mark.parametrize(
    "wrong",
    [
        {"after": "25:00"},
        {"time_zone": "Mars/Olympus"},
        {"jobs": []},
        {"catch_up": 0},
        {"runner": "dsk"},
        {"on_incomplete": "pray"},
        {"wait": "soon"},
    ],
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        config(**wrong)


def test_a_day_that_has_not_begun_is_refused_also_by_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "n.yaml"
    file.write_text(f"nightly: {{root: {tmp_path}, time_zone: Asia/Tokyo, jobs: [{{job: counts}}]}}")
    assert main(["nightly", "run", "--config", str(file), "--day", "2025-11-23", "--day", "2999-01-01", "--force"]) == 2
    assert capsys.readouterr().err == "headrace nightly: --day 2999-01-01: that day has not begun (Asia/Tokyo)\n"


def test_a_folder_of_metrics_that_is_not_there_is_refused_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "n.yaml"
    gone = tmp_path / "gone"
    file.write_text(f"nightly: {{root: {tmp_path}, metrics: {gone}/x.prom, jobs: [{{job: counts}}]}}")
    assert main(["nightly", "--config", str(file)]) == 2
    told = f"headrace nightly: nightly.metrics {gone}/x.prom: no directory {gone}; make it first\n"
    assert capsys.readouterr() == ("", told)
    assert list(tmp_path.iterdir()) == [file]
