"""The shell of `headrace query`: statements that end with `;` on as many lines as they take, and dot commands.

Ctrl-C ends the statement that runs, or clears the one that is typed; Ctrl-D leaves. An error is one line, and it goes on.
Every statement sees the tables as they are then, unless `.as-of` has set a moment.
"""

import difflib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

from prompt_toolkit import PromptSession
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.output import ColorDepth
from pygments.lexers.sql import SqlLexer  # type: ignore[import-untyped]  # its types are apart

from headrace.errors import HeadraceError, UsageError
from headrace.jobs.output import escaped
from headrace.jobs.sql.completion import LandedCatalog, SqlCompleter, quoted
from headrace.jobs.sql.conversation import Conversation
from headrace.jobs.sql.showing import PICTURE, Format, Showing, checked, has_colour
from headrace.jobs.sql.splitting import split
from headrace.sinks.table.history import Moment

_MOST_ROWS: Final = 200
"""Of a table; --format csv and json give all."""
_BARE: Final = ("exit", "quit", "help")
_PROMPT, _MORE = "headrace> ", "     ...> "


class Shell:
    """One user's shell."""

    def __init__(self, conversation: Conversation, showing: Showing) -> None:
        self._conversation = conversation
        self._showing = replace(showing, most_rows=_MOST_ROWS)
        self._once: Showing | None = None
        self._last, self._is_timed, self._is_over = "", False, False
        self._commands: dict[str, tuple[Callable[[str], None], str]] = {
            ".tables": (self._tables, "the tables"),
            ".schema": (self._schema, "TABLE: its columns"),
            ".format": (self._format, "table, csv, json or plot: how answers are shown"),
            ".plot": (self._plot, "[bars|lines|FILE.png]: draw the answer of the last statement"),
            ".output": (self._output, "FILE: write the next answer there (.parquet, .csv, .json, .txt or .png)"),
            ".as-of": (self._as_of, "MOMENT: see the tables as of a time or a record's number; now: as they are"),
            ".timing": (self._timing, "on or off: say how long statements take"),
            ".help": (self._help, "this"),
            ".quit": (self._quit, "leave, as Ctrl-D does"),
        }
        self._catalog = LandedCatalog(conversation.root)

    def run(self) -> None:
        """Until the user leaves."""
        completer = SqlCompleter(self._catalog, list(self._commands))
        prompt: PromptSession[str] = PromptSession(
            message=_PROMPT,
            prompt_continuation=_MORE,
            history=_history(),
            lexer=PygmentsLexer(SqlLexer),
            completer=completer,
            complete_while_typing=False,
            multiline=True,
            key_bindings=_keys(),
            color_depth=None if has_colour() else ColorDepth.DEPTH_1_BIT,
        )
        print(f"{self._conversation.root}: .help for help, ; ends a statement, Ctrl-D leaves")
        try:
            while not self._is_over:
                try:
                    self._take(prompt.prompt())
                except KeyboardInterrupt:
                    continue
                except EOFError:
                    return
        finally:
            if not completer.is_asking:
                self._catalog.close()

    def _take(self, text: str) -> None:
        """One command, or statements; the first that fails ends it."""
        if _is_command(text):
            self._guarded(lambda: self._command(text.strip().rstrip(";").strip()))
            return
        statements, last = split(text)
        for statement in statements + ([last] if last else []):
            if not self._guarded(lambda: self._ask(statement)):  # noqa: B023 - it is called at once
                return

    def _guarded(self, work: Callable[[], None]) -> bool:
        try:
            work()
            return True
        except HeadraceError as error:
            print("\n".join(map(escaped, error.lines)), file=sys.stderr)
        except OSError as error:
            print(escaped(str(error)), file=sys.stderr)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
        return False

    def _ask(self, statement: str) -> None:
        showing, self._once = self._once or self._showing, None
        began_s = time.monotonic()
        self._last = statement
        self._catalog.forget()  # what has landed meanwhile may have brought columns
        self._conversation.answer(statement, showing)
        if self._is_timed:
            print(f"{time.monotonic() - began_s:.2f} s")
        _tell_file(showing)

    def _command(self, text: str) -> None:
        name, _, argument = text.partition(" ")
        name = f".{name.lstrip('.').lower()}"
        found = [command for command in self._commands if command == name] or [
            command for command in self._commands if command.startswith(name) and len(name) > 1
        ]
        if name == ".exit":
            found = [".quit"]
        if len(found) != 1:
            close = difflib.get_close_matches(name, self._commands, n=1)
            raise UsageError(f"{name}: no such command; {f'did you mean {close[0]}? ' if close else ''}.help lists them")
        self._commands[found[0]][0](argument.strip())

    # The commands.

    def _tables(self, _: str) -> None:
        self._conversation.answer("SHOW TABLES", self._showing)

    def _schema(self, table: str) -> None:
        if not table:
            raise UsageError(".schema TABLE: name a table; .tables lists them")
        plain = table.strip('"')
        self._conversation.answer(f"SELECT column_name, column_type FROM (DESCRIBE {quoted(plain)})", self._showing)  # noqa: S608

    def _format(self, name: str) -> None:
        if name not in ("table", "csv", "json", "plot"):
            raise UsageError(".format table, csv, json or plot; a Parquet file is written by .output FILE.parquet")
        self._showing = replace(self._showing, format=cast("Format", name))

    def _plot(self, how: str) -> None:
        if not self._last:
            raise UsageError(".plot draws the answer of the last statement, and there is none yet")
        showing = checked(self._conversation.root, None, None, how or "auto")
        self._conversation.answer(self._last, showing)
        _tell_file(showing)

    def _output(self, name: str) -> None:
        if not name:
            raise UsageError(".output FILE: name a file that ends in .parquet, .csv, .json, .txt or .png")
        plot = "auto" if Path(name).suffix == PICTURE else None
        self._once = checked(self._conversation.root, None, name, plot)

    def _as_of(self, moment: str) -> None:
        if not moment:
            raise UsageError(".as-of MOMENT: a time as 2026-11-26T12:00, a record's number, or now")
        when = None if moment == "now" else moment.strip("'\"")
        if when is not None:
            Moment.parse(when)
        self._conversation.see_as_of(when)

    def _timing(self, word: str) -> None:
        self._is_timed = _on(".timing", word)

    def _help(self, _: str) -> None:
        for name, (_work, said) in self._commands.items():
            print(f"{name:<9} {said}")
        print(
            "A statement ends with ; and may take several lines. Ctrl-C stops it, Tab completes, the arrows find earlier ones."
        )

    def _quit(self, _: str) -> None:
        self._is_over = True


def _is_command(text: str) -> bool:
    """Whether what was typed is for the shell: with a dot, or a word that other shells know."""
    return text.lstrip().startswith(".") or text.strip().rstrip(";").lower() in _BARE


def _tell_file(showing: Showing) -> None:
    if showing.file is not None:
        print(f"written to {showing.file}")


def _on(command: str, word: str) -> bool:
    if word not in ("on", "off"):
        raise UsageError(f"{command} on, or {command} off")
    return word == "on"


def _keys() -> KeyBindings:
    """Enter ends what is whole, and else begins a line; Escape and Enter always end it."""
    keys = KeyBindings()

    @Condition
    def is_whole() -> bool:
        from prompt_toolkit.application import get_app

        text = get_app().current_buffer.document.text
        return not text.strip() or _is_command(text) or not split(text)[1]

    @keys.add("enter", filter=is_whole)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return keys


def _history() -> History:
    """Earlier statements, in a file that only their user reads; in memory where it cannot be had."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "headrace"
    file = state / "query_history"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
        file.chmod(0o600)
    except (OSError, RuntimeError) as error:
        print(f"headrace query: no history is kept: {error}", file=sys.stderr)
        return InMemoryHistory()
    return FileHistory(str(file))
