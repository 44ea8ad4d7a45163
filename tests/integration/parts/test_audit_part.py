"""`headrace audit --config` as a real process: it judges, keeps `_SUCCESS`, serves, and stops when told to."""

import time
import urllib.error
import urllib.request

import pytest

from headrace.jobs.audit.picture import COLOURS
from tests.browser import browse, cells_of
from tests.landed_tables import AuditWriter, Event, TableWriter, announce
from tests.processes import Part, free_port
from tests.waiting import until

NOW = time.time_ns() // 1_000_000
HOUR = (NOW // 3_600_000 - 3) * 3_600_000
EVENTS = [Event("a", n * 30, HOUR + n * 60_000) for n in range(60)]


@pytest.fixture
def part(tmp_path):
    (tmp_path / "landed").mkdir()
    config = {"root": str(tmp_path / "landed"), "every": "200ms", "http": f"127.0.0.1:{free_port()}"}
    part = Part("audit", tmp_path, {"audit": config})
    yield part
    part.kill()


def get(part, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{part.ports['http']}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_judges_what_lands_writes_success_tells_and_stops(part, tmp_path, missing):
    part.start(timeout_s=90)
    until(lambda: get(part, "/readyz")[0] == 200)
    root = tmp_path / "landed"
    TableWriter(root, "logs").land_events(EVENTS)
    claimed_ms = NOW + 24 * 3_600_000  # beyond whatever falls due while other tests run
    AuditWriter(root).land(*announce("logs", EVENTS, NOW, acked={0: 60}, state="active", drained_to_ms=claimed_ms))
    until(lambda: list(root.rglob("_SUCCESS")))
    until(lambda: 'headrace_audit_window_state{state="incomplete",topic="logs"} 0.0' in get(part, "/metrics")[1])
    assert get(part, "/healthz")[0] == 200
    seen = browse(f"http://127.0.0.1:{part.ports['http']}/", tmp_path, missing)
    assert "<h1>Audit: complete</h1>" in seen.document
    assert seen.document.count('<td class="complete"') >= 48
    assert cells_of(seen.pixels, COLOURS["complete"]) >= 48
    assert part.stop() == 0
    assert not part.run_file.exists()


def test_what_cannot_be_read_is_told_by_readyz_and_does_not_end_it(part, tmp_path):
    (tmp_path / "landed").rmdir()
    part.start(timeout_s=90)
    until(lambda: "no such directory" in get(part, "/readyz")[1])
    status, page = get(part, "/")
    assert status == 200
    assert "<h1>Audit: nothing judged yet</h1>" in page
    assert "no such directory" in page
    (tmp_path / "landed").mkdir()
    until(lambda: get(part, "/readyz")[0] == 200)
    assert part.stop() == 0


def test_a_configuration_that_makes_no_sense_starts_nothing(tmp_path):
    part = Part("audit", tmp_path, {"audit": {"root": "ftp://x", "evry": "1m", "http.authentication": "broker"}})
    part.start(wait=False)
    assert part.wait() == 2
    said = part.log_tail()
    assert "no store is known by such a URL" in said
    assert "evry" in said
