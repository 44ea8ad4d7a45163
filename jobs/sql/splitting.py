"""Statements apart at `;`, by DuckDB's own tokens: one within a string, a name or a comment divides nothing."""


def split(text: str) -> tuple[list[str], str]:
    """The statements that end with `;`, without it, and what is left behind the last; comments alone are none."""
    import duckdb

    data = text.encode()
    tokens = [(at, kind.name) for at, kind in duckdb.tokenize(text)]
    statements, start, is_empty = [], 0, True
    for at, kind in tokens:
        if kind == "operator" and data[at : at + 1] == b";":
            if not is_empty:
                statements.append(data[start:at].decode().strip())
            start, is_empty = at + 1, True
        elif kind != "comment":
            is_empty = False
    return statements, "" if is_empty else data[start:].decode().strip()
