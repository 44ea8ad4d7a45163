"""What `headrace query` writes, where, and what is left when it cannot."""

import os
import subprocess
import sys

import pytest

from headrace.cli import main
from tests import forks
from tests.landed_tables import Event, TableWriter

T0 = 1_763_900_400_000  # 2025-11-23 12:20:00 UTC
HOUR = 3_600_000
BY_HOUR = "SELECT date_trunc('hour', event_time) AS hour, count(*) AS n FROM logs GROUP BY 1"


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "landed"
    root.mkdir()
    TableWriter(root, "logs").land_events([Event("a", n * 30, T0 + n * HOUR // 4) for n in range(12)])
    return root


def query(root, *arguments):
    return main(["query", *arguments, "--root", str(root)])


@pytest.mark.parametrize("arguments", [(BY_HOUR, "--plot"), ("--plot", BY_HOUR), (BY_HOUR, "--plot", "bars")])
def test_an_answer_is_drawn_in_letters_without_escapes_where_no_terminal_is(root, capsys, arguments):
    assert query(root, *arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("n by hour (UTC)\n")
    assert "█" in out
    assert "11-23 12:00" in out
    assert "\x1b" not in out


def test_an_answer_is_drawn_into_a_png(root, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for name, arguments in {"a.png": ("--plot", "{}"), "b.png": ("--plot", "lines", "--output", "{}")}.items():
        file = tmp_path / name
        assert query(root, BY_HOUR, *(each.format(file) for each in arguments)) == 0
        head = file.read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(head[16:20]) == 1500
    assert capsys.readouterr() == ("", "")
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png", "landed"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((BY_HOUR, "--plot", "--format", "csv"), "give one of them"),
        ((BY_HOUR, "--plot", "pie"), "give bars, lines, or a file that ends in .png"),
        ((BY_HOUR, "--plot", "a.png", "--output", "b.png"), "leave --output away"),
        (("SELECT message FROM logs", "--plot"), "no column is a number"),
        (("SELECT 1", "--output", "{root}/a.csv"), "lies among the landed tables"),
        (("SELECT 1", "--plot", "{root}/logs/a.png"), "lies among the landed tables"),
        (("SELECT 1", "--output", "{root}/../landed/logs/a.csv"), "lies among the landed tables"),
        (("SELECT 1", "--output", ""), "name a file"),
        (("SELECT 1", "--output", "a.xlsx"), "no format is known by .xlsx: end its name in .csv, .json"),
        (("SELECT 1", "--output", "a.png"), "add --plot"),
        (("SELECT 1", "--plot", "--output", "a.jpg"), "nothing is drawn as .jpg"),
        (("SELECT 1", "--output", "/proc/self/a.csv"), "/proc/self"),
        (("SELECT 1", "--output", "/dev/null"), "is no ordinary file"),
        (("SELECT 1", "--threads", "1025"), "give 1 to 1024"),
        (("SELECT 1", "--memory", "99999999999GB"), "no machine has more"),
        (("SELECT 1", "--bootstrap", "127.0.0.1:1"), "add --live"),
        (("SELECT 1", "--config", "nonsuch.yaml"), "add --live"),
        (("SELECT '\udcff'",), "is not UTF-8"),
        (("FROM logs", "--as-of", "9" * 5000), "give a record's number"),
        (("FROM logs", "--as-of", ""), "give a record's number"),
        (('FROM "logs@"',), "give a record's number"),
        (("FROM logs AT (TIMESTAMP => NULL)",), "give a record's number"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(root, capsys, arguments, said):
    assert query(root, *(each.format(root=root) for each in arguments)) in (1, 2)
    out, err = capsys.readouterr()
    assert said in err
    assert (out, err.count("\n")) == ("", 1)


def test_a_file_is_what_its_name_says_unless_the_format_is_given(root, tmp_path):
    names = {"a.csv": "n\n7\n", "a.JSON": '{"n": 7}\n', "a.txt": "1 row", "plain": "1 row", "other.xyz": '{"n": 7}\n'}
    for name, held in names.items():
        format_ = ("--format", "json") if name == "other.xyz" else ()
        assert query(root, "SELECT 7 AS n", "--output", str(tmp_path / name), *format_) == 0
        assert held in (tmp_path / name).read_text()
    assert query(root, "SELECT 7 AS n", "--output", str(tmp_path / "a.parquet")) == 0
    assert (tmp_path / "a.parquet").read_bytes()[:4] == b"PAR1"


@pytest.mark.slow
def test_the_commands_own_process_draws_a_png_without_a_word(root, tmp_path):
    pytest.importorskip("matplotlib")
    places = {"HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path / "fonts")}  # no fonts have been looked for yet
    done = run(root, BY_HOUR, "--plot", str(tmp_path / "a.png"), env={**os.environ, **places})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def run(root, *arguments, **options):
    command = [*forks.PREFIX, "query", "--root", str(root), *arguments]
    return forks.run(command, capture_output=True, text=True, timeout=60, **options)


def small_files():
    """Of this process: any file that grows past 64 KiB fails, as on a full disk."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))


MUCH = "SELECT hash(range) AS n, repeat('x', 100) || hash(range * 7) AS x FROM range(20000)"


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["csv", "json", "table", "parquet"])
def test_of_a_file_that_the_disk_has_no_room_for_nothing_is_left(root, tmp_path, format_):
    sql = MUCH if format_ != "table" else "SELECT repeat(hash(range)::VARCHAR, 40) AS a, * FROM range(1000)"
    before = tmp_path / "out"
    before.write_text("what was there")
    done = run(root, sql, "--format", format_, "--output", str(before), preexec_fn=small_files)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert f"{before}: " in done.stderr
    assert before.read_text() == "what was there"
    assert sorted(os.listdir(tmp_path)) == ["landed", "out"]


def test_a_reader_that_goes_away_ends_it_without_a_word(root):
    shell = f'{sys.executable} -m headrace query --root {root} --format csv "$SQL" | head -2; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", shell], env={**os.environ, "SQL": MUCH}, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[0] == "n,x"
    assert (done.stdout.splitlines()[-1], done.stderr) == ("141", "")


def test_a_full_device_is_said_in_one_line(root):
    with open("/dev/full", "w") as full:
        command = [*forks.PREFIX, "query", "--root", str(root), "SELECT 1", "--format", "csv"]
        done = forks.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "headrace query: [Errno 28] No space left on device\n")
