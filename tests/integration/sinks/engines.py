"""Spark and DuckDB with its extensions as peers that read tables: each in a Python of its own (`make peers`)."""

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

PEERS: Final = Path(__file__).parents[3] / ".peers"


class Spark:
    """One session for all that asks (spark_reader.py)."""

    def __init__(self, directory: Path, catalog_uri: str) -> None:
        jars = ",".join(str(PEERS / "spark" / name) for name in ("iceberg.jar", "avro.jar"))
        program = Path(__file__).with_name("spark_reader.py")
        command = [str(PEERS / "spark" / "bin" / "python"), str(program), jars, str(directory / "warehouse"), catalog_uri]
        # Little runs often enough to be worth compiling well: this and no generated code take half of the time.
        java = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"}
        self._log = directory / "spark.log"
        with self._log.open("wb") as log:
            pipe, environment = subprocess.PIPE, {**os.environ, **java, "TZ": "UTC"}
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, env=environment, text=True)

    @classmethod
    def is_installed(cls) -> bool:
        return (PEERS / "spark" / "complete").exists() and (PEERS / "spark" / "avro.jar").exists()

    def answer(self, format_: str, source: str | list[str], **more: Any) -> dict[str, Any]:
        """`rows`, or an `error`, of a table or of paths."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"format": format_, "from": source, **more}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._log.read_text()[-3000:]
        return json.loads(line)  # type: ignore[no-any-return]

    def rows(self, format_: str, source: str | list[str], **more: Any) -> list[dict[str, Any]]:
        answer = self.answer(format_, source, **more)
        assert "rows" in answer, answer["error"]
        return answer["rows"]  # type: ignore[no-any-return]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class DuckDB:
    """With the extensions for Avro and Iceberg, each question a process (duckdb_reader.py)."""

    @classmethod
    def is_installed(cls) -> bool:
        return (PEERS / "duckdb" / "complete").exists()

    @classmethod
    def answers(cls, *statements: str) -> list[dict[str, Any]]:
        program = Path(__file__).with_name("duckdb_reader.py")
        command = [str(PEERS / "duckdb" / "bin" / "python"), str(program), *statements]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    @classmethod
    def rows(cls, statement: str) -> list[dict[str, Any]]:
        (answer,) = cls.answers(statement)
        assert "rows" in answer, answer["error"]
        return answer["rows"]  # type: ignore[no-any-return]
