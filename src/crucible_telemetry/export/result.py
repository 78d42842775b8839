"""What a query answered: columns and rows, as Arrow underneath."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_ROWS: Final = 40


class QueryResult:
    """The answer of `Lab.sql`: prints as a table, iterates over `rows`, and is Arrow for who takes that."""

    def __init__(self, table: "pa.Table") -> None:
        self._table = table

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._table.column_names)

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """All rows as Python values."""
        return list(self)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in self._table.to_batches():
            columns = [column.to_pylist(maps_as_pydicts="lossy") for column in batch.columns]
            yield from zip(*columns, strict=True)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def arrow(self) -> "pa.Table":
        """As a `pyarrow.Table`."""
        return self._table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The Arrow PyCapsule interface: what pandas, Polars and DuckDB take as it is."""
        return self._table.__arrow_c_stream__(requested_schema)

    def to_pandas(self) -> Any:
        """As a `pandas.DataFrame`."""
        return self._table.to_pandas(maps_as_pydicts="lossy")

    def to_polars(self) -> Any:
        """As a `polars.DataFrame`."""
        import polars  # noqa: PLC0415 - the user's own

        return polars.from_arrow(self._table)

    def __str__(self) -> str:
        """A table of the first rows, numbers to the right; says how many there are when it leaves some out."""
        rows = [tuple(map(shown, row)) for row in _first(self, SHOWN_ROWS)]
        widths = [max(map(len, column)) for column in zip(self.columns, *rows, strict=True)]
        right = [_is_number(field.type) for field in self._table.schema]
        lines = [_line(self.columns, widths, right), *(_line(row, widths, right) for row in rows)]
        lines.insert(1, "  ".join("─" * width for width in widths))
        if len(self) > SHOWN_ROWS:
            lines.append(f"… {len(self):,} rows")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<QueryResult {len(self):,} rows: {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        return str(self.to_pandas()._repr_html_())


def shown(value: Any) -> str:
    """A value as a table has it: floats to six digits, nothing for null, one line."""
    if value is None:
        return ""
    if type(value) is float:
        return f"{value:,.6g}"
    if type(value) is bool:
        return "true" if value else "false"
    return " ".join(str(value).splitlines())


def _first(result: QueryResult, n: int) -> list[tuple[Any, ...]]:
    return QueryResult(result.arrow().slice(0, n)).rows


def _is_number(kind: Any) -> bool:
    return str(kind).startswith(("int", "uint", "float", "double", "decimal"))


def _line(cells: "tuple[str, ...] | list[str]", widths: list[int], right: list[bool]) -> str:
    padded = [
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    ]
    return "  ".join(padded).rstrip()
