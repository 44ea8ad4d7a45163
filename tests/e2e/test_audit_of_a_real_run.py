"""What real parts have landed, audited and asked with all of them gone; then damaged, and audited again."""

import json
import os
import shutil

import pytest

from tests import forks

LINES = 3_000


def headrace(*arguments, **environment):
    """The installed command, as a user would run it: (exit status, stdout, stderr)."""
    done = forks.run(
        [*forks.PREFIX, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A data directory into which a demo has shipped one file."""
    folder = tmp_path_factory.mktemp("real")
    log = folder / "web.log"
    log.write_text(
        "".join(
            f'192.0.2.{n % 9} - - [22/Nov/2026:{n % 5 + 10}:00:{n % 60:02} +0000] "GET /{n} HTTP/1.1" 200 {n}\n'
            for n in range(LINES)
        )
    )
    status, out, err = headrace("demo", log, "--data", folder / "data", "--json")
    assert status == 0, err
    assert json.loads(out.splitlines()[-1])["landed"] == LINES
    return folder / "data"


@pytest.fixture
def data(shipped, tmp_path):
    """A copy of it, to be damaged."""
    shutil.copytree(shipped / "landed", tmp_path / "data" / "landed")
    return tmp_path / "data"


def wait(data):
    return headrace("audit", "--data", data, "--wait", "--timeout", "0", "--format", "json")


def test_the_gate_opens_and_every_line_is_accounted_for(data):
    status, out, _ = wait(data)
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert {(row["topic"], row["state"]) for row in rows} == {("logs", "complete")}
    assert sum(row["landed"] for row in rows) == sum(row["sent"] for row in rows) == LINES


def records(data, topic):
    return sorted((data / "landed" / topic / "_headrace" / "log" / "g000001").glob("*.json"))


def remove(record):
    """A record and the files that it added."""
    table = record.parents[3]
    for file in json.loads(record.read_bytes())["add"]:
        (table / file["path"]).unlink()
    record.unlink()


def test_without_the_newest_record_and_its_files_it_is_not_complete(data):
    remove(records(data, "logs")[-1])
    assert wait(data)[0] == 4


def test_without_a_file_it_is_not_complete(data):
    next((data / "landed" / "logs").glob("dt=*/hour=*/*.parquet")).unlink()
    assert wait(data)[0] == 4


def test_without_the_last_messages_of_the_audit_it_is_not_complete(data):
    remove(records(data, "_audit")[-1])
    assert wait(data)[0] in (3, 4)


def test_sql_sees_every_line_with_nothing_running(data):
    identities = "count(DISTINCT (agent_id, stream_id, position, part))"
    sql = f"SELECT count(*) AS n, {identities} AS d, min(hour) AS h, max(hour) AS k FROM logs"
    status, out, err = headrace("query", sql, "--data", data, "--format", "json", TZ="Asia/Tokyo")
    assert (status, err) == (0, "")
    assert json.loads(out) == {"n": LINES, "d": LINES, "h": 10, "k": 14}


def test_counts_adds_up(data, tmp_path):
    file = tmp_path / "counts.csv"
    assert headrace("job", "run", "counts", "--data", data, "--output", file) == (0, "", "")
    lines = file.read_text().splitlines()
    assert lines[0] == "topic,host,hour,events"
    assert sum(int(line.rsplit(",", 1)[1]) for line in lines[1:]) == LINES
