"""Filters: a user's SQL predicate, checked to be nothing more, and the rows that it picks."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from tumorbase.store.errors import InvalidRequest

_EXPRESSIONS = {
    "BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION",
    "OPERATOR",
}  # fmt: skip
_FUNCTIONS = {
    "+", "-", "*", "/", "//", "%", "||", "~~", "!~~", "~~*", "!~~*", "like_escape",
    "not_like_escape", "abs", "ceil", "coalesce", "contains", "ends_with", "floor",
    "greatest", "ilike_escape", "least", "length", "ln", "log", "lower", "month", "prefix",
    "regexp_full_match", "regexp_matches", "round", "sqrt", "starts_with", "substring",
    "suffix", "trim", "upper", "year", "isnan", "isfinite",
}  # fmt: skip
_MAX_CHARACTERS = 100_000
_CONFIGURE = """
SET enable_external_access = false; SET threads = 1; SET lock_configuration = true
"""


def matching_rows(table: pa.Table, where: str) -> np.ndarray:
    """Which rows of `table` satisfy the predicate, bool (rows,); null counts as no.

    The predicate runs in a database apart, which sees this table alone and can reach no file.

    Raises:
        InvalidRequest: `where` is not one predicate over the columns of `table`.
    """
    _check_text(where)
    # No clause fits between two pairs of parentheses; on a line of their own they close after a
    # comment too.
    number = _free_name(table)
    statement = f"SELECT {number} FROM candidates WHERE (({where}\n))"
    mask = np.zeros(table.num_rows, dtype=bool)
    with _database().cursor() as cursor:
        _check_predicate(cursor, statement, where)
        numbers = pa.array(np.arange(table.num_rows))
        cursor.register("candidates", table.append_column(number, numbers))
        try:
            mask[cursor.execute(statement).fetchnumpy()[number]] = True
        except duckdb.Error as error:
            raise InvalidRequest(f"filter {where!r}: {_first_line(error)}") from error
        finally:
            cursor.unregister("candidates")
    return mask


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """An empty database in memory; each filter runs on a cursor, whose tables no other one sees."""
    connection = duckdb.connect(":memory:")
    connection.execute(_CONFIGURE)
    return connection


def _free_name(table: pa.Table) -> str:
    """A name that no column has: covariates are named as their source likes."""
    taken = {name.lower() for name in table.column_names}
    return next(
        name for name in ("_row" + "_" * n for n in range(len(taken) + 1)) if name not in taken
    )


def _check_text(where: str) -> None:
    if len(where) > _MAX_CHARACTERS:
        raise InvalidRequest(
            f"filter must have at most {_MAX_CHARACTERS} characters, got {len(where)}"
        )
    try:
        where.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"filter {where!r} is not Unicode text") from error


def _check_predicate(cursor: duckdb.DuckDBPyConnection, statement: str, where: str) -> None:
    parsed = cursor.execute("SELECT json_serialize_sql($1)", [statement]).fetchone()
    assert parsed is not None
    try:
        _check_tree(json.loads(parsed[0]), where)
    except RecursionError as error:
        raise InvalidRequest("filter is nested too deeply") from error


def _check_tree(tree: Any, where: str) -> None:
    if tree["error"]:
        reason = tree["error_message"].splitlines()[0]
        raise InvalidRequest(f"filter {where!r} is not a predicate: {reason}")
    if len(tree["statements"]) != 1:
        raise InvalidRequest(f"filter {where!r} is not a predicate but several statements")
    node = tree["statements"][0]["node"]
    is_plain = (
        node["type"] == "SELECT_NODE"
        and node["from_table"]["type"] == "BASE_TABLE"
        and not any(node[part] for part in ("modifiers", "group_expressions", "having", "qualify"))
        and not node["cte_map"]["map"]
        and not node["sample"]
    )
    if not is_plain:
        raise InvalidRequest(f"filter {where!r} is more than a predicate")
    _check_expression(node["where_clause"], where)


def _check_expression(node: Any, where: str) -> None:
    if isinstance(node, list):
        for child in node:
            _check_expression(child, where)
    if not isinstance(node, dict):
        return
    kind = node.get("class")
    if kind is not None and kind not in _EXPRESSIONS:
        raise InvalidRequest(f"filter {where!r}: {kind.lower()} is not allowed in a filter")
    if kind == "FUNCTION" and node["function_name"] not in _FUNCTIONS:
        raise InvalidRequest(
            f"filter {where!r}: function {node['function_name']} is not allowed in a filter"
        )
    if kind != "CONSTANT":
        for child in node.values():
            _check_expression(child, where)


def _first_line(error: duckdb.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])
