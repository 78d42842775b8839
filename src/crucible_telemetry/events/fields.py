"""Fields of an event that its category promises: where they are read, and under which name. PURE.

Ids, positions and names are taken from metadata first; loss, accuracy, gradient norm, learning rate and
sizes from measurements first.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

Columns = Mapping[str, Sequence[Any]]
"""Values of events that have the same keys, by key."""


class Field(Struct, frozen=True):
    """One field of an event: its name, its unit or kind in words, the keys it is looked for under.

    Keys are tried in order; a dotted one is a path into a container, or a key with dots in it. None
    of them: the name itself. `measured`: measurements are asked before metadata.
    """

    name: str
    unit: str = ""
    keys: tuple[str, ...] = ()
    measured: bool = False

    def read(self, measurements: dict[str, Any], metadata: dict[str, Any]) -> Any:
        """The value, or None."""
        sources = (measurements, metadata) if self.measured else (metadata, measurements)
        for key in self.keys or (self.name,):
            for source in sources:
                value = source.get(key)
                if value is None and "." in key:
                    value = dig(source, key.split("."))
                if value is not None:
                    return value
        return None

    def read_columns(self, measurements: Columns, metadata: Columns, count: int) -> Sequence[Any]:
        """The same for `count` events that have the same keys, given as columns."""
        sources = (measurements, metadata) if self.measured else (metadata, measurements)
        found = [
            column
            for key in self.keys or (self.name,)
            for source in sources
            for column in _columns_at(source, key)
        ]
        if len(found) == 1:
            return found[0]
        if not found:
            return [None] * count
        return [next((v for v in row if v is not None), None) for row in zip(*found, strict=True)]

    def may_be_in(self, keys: Collection[str]) -> bool:
        """Whether an event with these keys, of measurements and metadata, could have it."""
        wanted = self.keys or (self.name,)
        return any(key in keys or key.partition(".")[0] in keys for key in wanted)


def _columns_at(source: Columns, key: str) -> Iterator[Sequence[Any]]:
    """The columns a key, or a path, may mean, in the order they are asked."""
    if key in source:
        yield source[key]
    head, *path = key.split(".")
    if path and head in source:
        yield inside(source[head], path)


def dig(value: Any, path: Iterable[str]) -> Any:
    """The value at a path of keys, or None."""
    for key in path:
        if type(value) is not dict:
            return None
        value = value.get(key)
    return value


def inside(column: Sequence[Any], path: Iterable[str]) -> Sequence[Any]:
    """`dig` for a column, a key at a time: 45 ns a value instead of 125."""
    for key in path:
        column = [value.get(key) if type(value) is dict else None for value in column]
    return column


def read_fields(
    fields: tuple[Field, ...], measurements: dict[str, Any], metadata: dict[str, Any]
) -> dict[str, Any]:
    """The fields that an event has, by name; those it lacks are left out."""
    return {
        field.name: value
        for field in fields
        if (value := field.read(measurements, metadata)) is not None
    }


FIELDS: Final[dict[str | None, tuple[Field, ...]]] = {
    "llm": (
        Field("operation", "name", ("operation", "gen_ai.operation.name")),
        Field("finish_reason", "name", ("finish_reason", "stop_reason")),
        Field("http_status", "code", ("http_status", "status_code")),
        Field("temperature", "", ("temperature", "request_options.temperature",
                                  "gen_ai.request.temperature")),
    ),
    "ensemble": (
        Field("consensus", "share", measured=True),
        Field("strategy", "name", ("strategy", "strategy_name")),
        Field("votes", "counts by answer", ("votes", "vote_counts"), measured=True),
    ),
    "hedging": (
        Field("hedged", "bool"),
        Field("hedge_won", "bool"),
        Field("delay_ms", "ms", ("delay_ms", "hedge_delay_ms", "delay", "hedge_delay"), measured=True),
        Field("attempts", "count", measured=True),
        Field("strategy", "name", ("strategy", "strategy_name")),
    ),
    "training": (
        Field("epoch", "position"),
        Field("batch", "position"),
        Field("step", "position", ("step", "global_step")),
        Field("learning_rate", "", ("learning_rate", "lr"), measured=True),
        Field("loss", "", measured=True),
        Field("accuracy", "share", measured=True),
        Field("gradient_norm", "", ("gradient_norm", "grad_norm"), measured=True),
        Field("checkpoint_path", "path"),
    ),
    "deployment": (
        Field("model_name", "name", ("model_name", "model")),
        Field("model_version", "name", ("model_version", "version")),
        Field("input_size", "count", measured=True),
        Field("output_size", "count", measured=True),
        Field("batch_size", "count", measured=True),
    ),
    "framework": (
        Field("pipeline_id", "id"),
        Field("stage_name", "name", ("stage_name", "stage")),
        Field("stage_index", "position"),
    ),
    "trace": (
        Field("event_type", "name", ("event_type", "type")),
        Field("confidence", "share"),
        Field("stage_id", "id"),
    ),
    "tools": (Field("tool_name", "name", ("tool_name", "tool", "gen_ai.tool.name")),),
    "task": (
        Field("engine", "name"),
        Field("work_id", "id"),
        Field("plan_id", "id"),
        Field("step_id", "id"),
    ),
}  # fmt: skip
"""Fields by category."""
