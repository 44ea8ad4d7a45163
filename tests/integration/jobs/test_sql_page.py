"""The statements of docs/sql.md give the answers that stand below them, and the notebook beside it runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from headrace.jobs.sql.session import Session
from tests.landed_tables import ENVELOPE, TEXT, Event, TableWriter

DOCS = Path(__file__).parents[3] / "docs"
T0, HOUR = 1_763_856_000_000, 3_600_000  # 2025-11-23 00:00 UTC
EXAMPLES = re.findall(r"^(SELECT[^;]*);\n-- (.*)$", (DOCS / "sql.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page asks: lines of an access log with fields, a topic of JSON texts, and one that keeps its headers."""
    root = tmp_path_factory.mktemp("landed")
    users = ["ann", "bob", "ann", "cy", "ann", "bob"]
    events = [
        Event(
            "a", n, T0 + 13 * HOUR + n * HOUR // 2, fields={"user": user, "status": str(200 + n % 2 * 300)}, message=f"GET /{n}"
        )
        for n, user in enumerate(users)
    ]
    events.append(Event("a", 9, T0 + 20 * HOUR, message="no fields"))
    TableWriter(root, "logs", ENVELOPE, says_columns=True).land_events(events)
    values = [{"order": n, "user": {"name": users[n], "tags": ["new"] * (n % 2)}, "price": n * 1.5} for n in range(4)]
    texts = [*map(json.dumps, values), "no JSON"]
    TableWriter(root, "orders", TEXT, says_columns=True).land([{"value": text, "_timestamp": T0} for text in texts])
    pair = pa.struct([("name", pa.string()), ("value", pa.binary())])
    kept = pa.schema([*TEXT, ("_headers", pa.list_(pair))])
    traced = [
        {"value": f"v{n}", "_timestamp": T0, "_headers": [{"name": "trace", "value": b"t%d" % (n // 2)}]} for n in range(3)
    ]
    TableWriter(root, "payments", kept, says_columns=True).land(traced)
    return root


@pytest.mark.parametrize(("sql", "said"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_of_the_page_answers_what_it_says(root: Path, sql: str, said: str) -> None:
    with Session.open(root) as session, session.ask(sql) as reader:
        rows = [tuple(row.values()) for row in reader.read_all().to_pylist()]
    assert repr(rows) == said


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 8


def test_the_notebook_runs(root: Path, tmp_path: Path) -> None:
    """Cell after cell in one process, as a notebook's kernel does; what it draws goes to a file."""
    notebook = json.loads((DOCS / "notebook.ipynb").read_text())
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "'ann': 3" in done.stdout
    assert (tmp_path / "hours.png").stat().st_size > 1000
