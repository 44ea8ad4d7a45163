"""SQL over landed tables with DuckDB: each topic is a view of exactly the files that its table log names, and nothing else.

The statement only reads. DuckDB may open the named files and no other (`allowed_paths`), loads no extension, sees no Python
variable, and its settings are locked before the user's SQL is parsed. Statements other than queries are refused here, because a
path that may be read may also be written by COPY.
Only tables that the statement names are folded and defined. `dt` and `hour` come from the path, and a filter on them keeps the
other hours' rows unread; of these only the footers are, once, for the union of all schemas. Files of Avro and JSON are copied
to Parquet first, whole. Parquet files on HDFS and object stores are read where they lie (in_place.py).
"""

import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace.errors import HeadraceError, StorageError, UsageError
from headrace.jobs.output import escaped
from headrace.jobs.sql.converted import as_parquet
from headrace.jobs.sql.pinned import Pinned, pin
from headrace.sinks.places import unknown_table
from headrace.sinks.stores.roots import scheme_of
from headrace.sinks.table.reader import LiveFile, snapshot, tables

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from headrace.jobs.sql.in_place import LandedFiles

BATCH_ROWS: Final = 10_000
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_HOUR: Final = re.compile(r"\d\d")
_QUERY_KINDS: Final = {"SELECT", "EXPLAIN", "MULTI"}
_WRITING_WORDS: Final = {
    "copy",
    "export",
    "import",
    "attach",
    "install",
    "load",
    "insert",
    "update",
    "delete",
    "create",
    "drop",
}
_LOCKED_SETTINGS: Final = (
    "SET TimeZone = 'UTC'",
    "SET parquet_metadata_cache = true",  # a footer is needed to define the view, to plan, and to read
    "SET python_enable_replacements = false",
    "SET allow_community_extensions = false",
    "SET allow_persistent_secrets = false",
)


@contextmanager
def ask(where: Path | str, sql: str) -> Iterator["pa.RecordBatchReader"]:
    """Run one statement over a snapshot of the tables that it names; the answer is read in batches, in UTC.

    Raises:
        UsageError: the SQL is wrong, is no query, or names a table that does not exist.
        StorageError: a table's log or a live file cannot be read.
        KeyboardInterrupt: SIGINT came while it ran.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-query-")))
        url = str(where)
        elsewhere = None if scheme_of(url) == "file" else _elsewhere(url)
        root = folder / "elsewhere" if elsewhere else Path(url.removeprefix("file://"))
        with _errors_of_sql(root, url):
            views = {}
            for topic in _named_topics(sql, tables(url)):
                files = as_parquet(folder / "copies", root, topic, snapshot(url, topic).files, url=url)
                if elsewhere is None:
                    views[topic] = pin(stack, folder / "pinned", root, topic, files)
                else:
                    shown = elsewhere.add(topic, files)
                    views[topic] = Pinned(shown, tuple(file.path for file in shown), {})
            yield _start(stack, root, sql, views, folder / "spill", elsewhere)


def _elsewhere(url: str) -> "LandedFiles":
    from headrace.jobs.sql.in_place import LandedFiles

    return LandedFiles(url)


def _start(
    stack: ExitStack, root: Path, sql: str, views: Mapping[str, Pinned], spill: Path, elsewhere: "LandedFiles | None"
) -> "pa.RecordBatchReader":
    import duckdb

    connection = stack.enter_context(
        duckdb.connect(
            ":memory:",
            config={"autoinstall_known_extensions": False, "autoload_known_extensions": False, "temp_directory": str(spill)},
        )
    )
    if elsewhere is not None:
        connection.register_filesystem(elsewhere)
    for setting in _LOCKED_SETTINGS:
        connection.execute(setting)
    paths = [path for view in views.values() for path in view.allowed]
    connection.execute(f"SET allowed_paths = [{', '.join(map(_literal, paths))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    for topic, view in views.items():
        view.link()
        connection.execute(f"CREATE VIEW {_identifier(topic)} AS {_definition(root, view.files)}")
    reader = connection.sql(sql).to_arrow_reader(BATCH_ROWS)
    stack.callback(reader.close)
    return reader


def _named_topics(sql: str, known: Collection[str]) -> list[str]:
    """The topics that a statement names; where it cannot be read because such a name was not quoted, that is what is said."""
    import duckdb

    try:
        return _topics_of(sql, known)
    except (UsageError, duckdb.ParserException, duckdb.BinderException) as error:
        for topic in known:
            if not re.fullmatch(r"[A-Za-z_]\w*", topic) and re.search(rf'(?<![\w".-]){re.escape(topic)}(?![\w".-])', sql):
                raise UsageError(f'SQL: {topic} is not a plain name: write it in double quotes, as FROM "{topic}"') from error
        raise


def _topics_of(sql: str, known: Collection[str]) -> list[str]:
    """The tables that a statement names, checked; all there are, where DuckDB cannot say."""
    import duckdb

    with duckdb.connect(":memory:", config={"enable_external_access": False}) as parser:
        statements = parser.extract_statements(sql)
        if len(statements) != 1:
            raise UsageError(f"SQL: one statement is asked for, not {len(statements)}")
        if not _only_reads(statements[0]):
            raise UsageError("SQL: headrace query only reads: write a SELECT (to keep its result: --output FILE)")
        try:
            named = parser.get_table_names(sql)
        except duckdb.Error:  # SHOW TABLES, PIVOT … : these are bound while they are parsed
            return list(known)
    if not named:
        return list(known) if _asks_the_catalog(sql) else []
    return sorted({topic for name in named if (topic := _topic(name, known))})


def _only_reads(statement: "duckdb.Statement") -> bool:
    import duckdb

    if statement.type.name == "SELECT":
        return True
    tokens = duckdb.tokenize(statement.query)
    ends = [start for start, _ in tokens[1:]] + [len(statement.query.encode())]
    text = statement.query.encode()
    words = {
        text[start:end].decode(errors="replace").strip().lower()
        for (start, kind), end in zip(tokens, ends, strict=True)
        if kind == duckdb.token_type.keyword
    }
    return statement.type.name in _QUERY_KINDS and not words & _WRITING_WORDS


def _asks_the_catalog(sql: str) -> bool:
    return any(word in sql.lower() for word in ("show", "describe", "duckdb_", "information_schema", "pg_", "sqlite_"))


def _topic(name: str, known: Collection[str]) -> str | None:
    """The topic that a name in SQL means; SQL names have no case, so a topic of another case is meant if only one fits."""
    if name in known:
        return name
    alike = [topic for topic in known if topic.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    if name.startswith(("duckdb_", "pg_", "sqlite_", "pragma_")) or name in ("tables", "columns", "schemata", "views"):
        return None  # DuckDB's own catalog
    raise unknown_table(name, known)


def _definition(root: Path, files: tuple[LiveFile, ...]) -> str:
    if not files:
        return "SELECT NULL::DATE AS dt, NULL::INTEGER AS hour WHERE false"
    alike: dict[tuple[str, ...], list[LiveFile]] = {}
    for file in files:
        alike.setdefault(tuple(_keys(file)), []).append(file)
    return " UNION ALL BY NAME ".join(_rows_of(root, keys, group) for keys, group in alike.items())


def _keys(file: LiveFile) -> dict[str, str]:
    """The `key=value` folders of a file's path in its table."""
    return dict(part.split("=", 1) for part in file.name.split("/")[:-1] if "=" in part)


def _rows_of(root: Path, keys: tuple[str, ...], files: list[LiveFile]) -> str:
    """All rows of files whose paths have the same keys, which are columns: dt and hour of their types, others text."""
    paths = ", ".join(_literal(str(file.path)) for file in files)
    if not keys:
        return f"SELECT * FROM read_parquet([{paths}], hive_partitioning = false, union_by_name = true)"  # noqa: S608 - quoted
    values = [_keys(file) for file in files]
    types = [
        f"{_identifier(key)}: {kind}"
        for key, kind, like in (("dt", "DATE", _DATE), ("hour", "INTEGER", _HOUR))
        if key in keys and all(like.fullmatch(each[key]) for each in values)
    ]
    typed = f", hive_types = {{{', '.join(types)}}}" if types else ""
    options = f"union_by_name = true, hive_partitioning = true, hive_types_autocast = false{typed}"
    return f"SELECT *{_without_keys_above(root, keys)} FROM read_parquet([{paths}], {options})"  # noqa: S608 - quoted


def _without_keys_above(root: Path, own: tuple[str, ...]) -> str:
    """DuckDB takes every `key=value` of a path for a column; those above the table are none of its own.

    Raises:
        UsageError: one of them is called as one of the table's `own`.
    """
    keys = {part.partition("=")[0] for part in root.absolute().parts if "=" in part}
    if taken := keys & set(own):
        raise UsageError(f"{root}: a folder named {taken.pop()}=… above the tables hides their own; ask through another path")
    return f" EXCLUDE ({', '.join(map(_identifier, sorted(keys)))})" if keys else ""


@contextmanager
def _errors_of_sql(root: Path, url: str) -> Iterator[None]:
    """DuckDB's errors as ours, in one line: the user's SQL is a usage error; what names a file of `root` is the disk's fault.

    So is an error of no kind: the Parquet reader raises these for bytes that it cannot make out.
    """
    import duckdb

    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        if "interrupted" in str(error).lower():
            raise KeyboardInterrupt from None
        raise
    except duckdb.Error as error:
        said = f"SQL: {_one_line(error)}"
        if isinstance(error, duckdb.OutOfMemoryException | duckdb.InternalException | duckdb.FatalException):
            raise HeadraceError(said) from error
        if isinstance(error, duckdb.IOException) or type(error) is duckdb.Error or str(root) in said or f"{url}/" in said:
            raise StorageError(f"{said}; verify the tables: headrace check {url}") from error
        raise UsageError(said) from error


def _one_line(error: BaseException) -> str:
    """DuckDB's message without the drawing of the statement below it."""
    said = str(error).split("\n\nLINE ")[0]
    return escaped(" ".join(said.split()))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
