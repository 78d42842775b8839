"""What recording one event costs with other libraries, used as their documentation shows.

Each function sets its library up and returns a `Contender` that records `n` typical events. Run
``python benchmarks/peers.py [--quick] [--gc-off]`` with the extra ``[bench]`` installed.
"""

import json
import logging
import sqlite3
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
from event import typical_event
from measure import Contender, Options, compare, table


def encode_and_append() -> Contender:
    """The baseline: build the event, encode (time_us, name, measurements, metadata), append the bytes."""
    rows: list[bytes] = []
    encode, now, append = msgspec.msgpack.Encoder().encode, time.time_ns, rows.append

    def record(n):
        for i in range(n):
            name, measurements, metadata = typical_event(i)
            append(encode((now() // 1000, name, measurements, metadata)))

    return Contender("encode and append", record, rows.clear)


def build_only() -> Contender:
    """Building the event's dicts and nothing else: the part that every row of the table contains."""

    def record(n):
        for i in range(n):
            typical_event(i)

    return Contender("build the event, record nothing", record)


def opentelemetry_span() -> Contender:
    """A span with eight attributes, SDK with SimpleSpanProcessor and InMemorySpanExporter."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("peers")

    def record(n):
        for i in range(n):
            name, measurements, metadata = typical_event(i)
            with tracer.start_as_current_span(name) as span:
                span.set_attributes({**measurements, **metadata})

    return Contender("OpenTelemetry SDK span, in memory", record, exporter.clear)


def structlog_json(directory: Path, stack: ExitStack) -> Contender:
    """structlog with its time stamp and JSON processors, lines into a file."""
    import structlog

    file = stack.enter_context((directory / "structlog.jsonl").open("w"))
    log = structlog.wrap_logger(
        structlog.WriteLogger(file),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
    ).bind()

    def record(n):
        for i in range(n):
            name, measurements, metadata = typical_event(i)
            log.info(name, **measurements, **metadata)

    return Contender("structlog, JSON lines to a file", record, lambda: _empty(file))


class JsonFormatter(logging.Formatter):
    """The formatter people write: time, message and the extra fields."""

    def format(self, record):
        line = {"time": record.created, "name": record.getMessage(), **record.event}
        return json.dumps(line)


def stdlib_logging(directory: Path, stack: ExitStack) -> Contender:
    """logging with a JSON formatter into a file (which flushes each line)."""
    handler = logging.FileHandler(directory / "logging.jsonl")
    stack.callback(handler.close)
    handler.setFormatter(JsonFormatter())
    log = logging.getLogger("peers")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)

    def record(n):
        for i in range(n):
            name, measurements, metadata = typical_event(i)
            log.info(name, extra={"event": {**measurements, **metadata}})

    return Contender("logging, JSON lines to a file", record, lambda: _empty(handler.stream))


def _empty(file) -> None:
    """Cut the file back, so that late runs do not write into a longer one."""
    file.flush()
    file.seek(0)
    file.truncate()


def prometheus() -> Contender:
    """One histogram and two counters with labels: keeps sums and buckets, not the event."""
    from prometheus_client import CollectorRegistry, Counter, Histogram

    registry = CollectorRegistry()
    labels = ("provider", "model", "finish_reason")
    latency = Histogram("latency_seconds", "Latency", labels, registry=registry)
    tokens = Counter("tokens", "Tokens", (*labels, "kind"), registry=registry)

    def record(n):
        for i in range(n):
            _, measurements, metadata = typical_event(i)
            at = metadata["provider"], metadata["model"], metadata["finish_reason"]
            latency.labels(*at).observe(measurements["duration"] / 1e9)
            tokens.labels(*at, "input").inc(measurements["input_tokens"])
            tokens.labels(*at, "output").inc(measurements["output_tokens"])

    return Contender("prometheus_client, histogram and counters", record)


def sqlite_commit_per_call(directory: Path, stack: ExitStack) -> Contender:
    """A row and a commit for each call: stdlib sqlite3, WAL, synchronous=NORMAL."""
    base = stack.enter_context(closing(sqlite3.connect(directory / "calls.db")))
    base.execute("pragma journal_mode=wal")
    base.execute("pragma synchronous=normal")
    base.execute("create table calls (at_us integer, name text, measurements text, metadata text)")
    base.commit()

    def record(n):
        for i in range(n):
            name, measurements, metadata = typical_event(i)
            row = time.time_ns() // 1000, name, json.dumps(measurements), json.dumps(metadata)
            base.execute("insert into calls values (?, ?, ?, ?)", row)
            base.commit()

    def reset():
        base.execute("delete from calls")
        base.commit()

    return Contender("SQLite, one commit per call", record, reset)


def peers(directory: Path, stack: ExitStack) -> list[Contender]:
    """All of them; files live in `directory` and are closed with `stack`."""
    return [
        build_only(),
        prometheus(),
        stdlib_logging(directory, stack),
        structlog_json(directory, stack),
        opentelemetry_span(),
        sqlite_commit_per_call(directory, stack),
    ]


def main() -> None:
    options = Options.from_flags(sys.argv[1:])
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        rows = compare(encode_and_append(), peers(Path(directory), stack), options)
    print(table(rows, options))


if __name__ == "__main__":
    main()
