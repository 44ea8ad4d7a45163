"""The audit's metrics: what they count, that all are documented, and that they are bounded."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from headrace.jobs.audit.metrics import FAMILIES, MAX_TOPICS, AuditCollector
from headrace.jobs.audit.watching import Standing
from tests.audit_verdicts import DAY, verdict

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"


class Told:
    """What an audit has found last."""

    def __init__(self, found=None, trouble=None):
        self.trouble = trouble
        self.standing = found and Standing(found, took_s=0.5, written=7, taken=2)


class Clock:
    def wall_ms(self):
        return DAY + 3_600_000


def samples(told):
    registry = CollectorRegistry()
    registry.register(AuditCollector(told, Clock()))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_windows_are_counted_by_state_and_what_is_missing_by_topic():
    found = samples(Told(verdict(logs="cciiu", calm="ccc")))
    assert {key[1]: value for key, value in found.items() if key[0] == "headrace_audit_window_state" and key[2] == "logs"} == {
        "complete": 2, "incomplete": 2, "unknown": 1,
    }  # fmt: skip
    assert found["headrace_audit_missing_events", "logs"] == 6
    assert found["headrace_audit_missing_events", "calm"] == 0
    assert found["headrace_audit_frontier_age_seconds", "logs"] == 3600 - 4 * 600
    assert found["headrace_audit_silent_agents",] == 1
    assert found["headrace_audit_success_files_total", "written"] == 7
    assert found["headrace_audit_failing",] == 0


def test_before_anything_is_judged_only_that_it_fails_is_told():
    assert samples(Told(trouble="no such directory")) == {("headrace_audit_failing",): 1}


def test_of_many_topics_those_that_are_worst_off_have_series():
    found = samples(Told(verdict(**{f"t{n:04}": "i" if n == 1500 else "c" for n in range(MAX_TOPICS + 600)})))
    assert found["headrace_audit_missing_events", "t1500"] == 3
    assert found["headrace_audit_unlisted_topics",] == 600
    assert sum(key[0] == "headrace_audit_missing_events" for key in found) == MAX_TOPICS


def test_the_page_of_metrics_tells_each_as_it_is():
    told = re.findall(r"^\| `(headrace_audit_\w+)` \| (\w+) \| ([^|]*) \| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert told == [(each.name, each.kind, ", ".join(each.labels), each.text) for each in FAMILIES]
    shown = {name for name, *_ in samples(Told(verdict(logs="ciu")))}
    assert shown == {each.name for each in FAMILIES}
