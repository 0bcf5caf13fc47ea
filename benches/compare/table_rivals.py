"""Rivals of the packages for tables: the same files, read and grouped by Polars and DuckDB.

Brigade's side, which starts first, makes the files and removes them; see src/bin/ours/tables.rs.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[[], Any]


def path_of(workload: str, rows: int) -> str:
    return str(Path(tempfile.gettempdir()) / f"brigade-compare-{workload}-{rows}.txt")


def stations(rival: str, arguments: dict) -> Call:
    """Count, minimum, mean and maximum by name of a text of `name;value` lines."""
    path = path_of("stations", arguments["rows"])
    if rival == "duckdb":
        return duckdb_call(
            arguments,
            "SELECT name, count(*), min(value), avg(value), max(value) FROM "
            f"read_csv('{path}', delim=';', header=false, columns={{'name': 'VARCHAR', "
            "'value': 'DOUBLE'}) GROUP BY name ORDER BY name",
        )
    import polars

    schema = {"name": polars.String, "value": polars.Float64}
    value = polars.col("value")
    named = {"min": value.min(), "mean": value.mean(), "max": value.max()}
    aggregates = [polars.len(), *(call.alias(name) for name, call in named.items())]

    def group() -> Any:
        lines = polars.scan_csv(path, separator=";", has_header=False, schema=schema)
        return lines.group_by("name").agg(aggregates).sort("name").collect(engine="streaming")

    return group


def csv(rival: str, arguments: dict) -> Call:
    """All columns of numbers of a CSV file, in memory."""
    path = path_of("csv", arguments["rows"])
    if rival == "duckdb":
        return duckdb_call(
            arguments, f"CREATE OR REPLACE TABLE numbers AS SELECT * FROM read_csv('{path}')"
        )
    import polars

    return lambda: polars.read_csv(path)


def duckdb_call(arguments: dict, query: str) -> Call:
    import duckdb

    connection = duckdb.connect(config={"threads": arguments["workers"]})
    return lambda: connection.execute(query).fetchall()
