"""The tables of a PostgreSQL keep, what TimescaleDB adds to them, and the view `events` that people ask. PURE.

Names are not qualified: a connection's `search_path` says in which schema they stand.
"""

from typing import Final

from crucible_telemetry.events.columns import FILL
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.stores.postgres.rows import FIELDS, SQL_TYPES

FORMAT: Final = 3
DAY_US: Final = 86_400_000_000
CHUNK_US: Final = 7 * DAY_US
"""What a chunk of the hypertable spans: TimescaleDB's own default."""
COMPRESS_AFTER_US: Final = 7 * DAY_US
MOST_CHUNKS: Final = 64
"""Chunks that one transaction may touch. Each is a table that it locks (measured: 23 ms to make one, and
some three hundred are as many locks as a server has by default); rows of more stand in `strewn_rows`."""

_TYPED: Final = ",\n  ".join(
    f"{column} {SQL_TYPES[size]}{'' if name in FILL else ' NOT NULL'}"
    for name, (column, size) in FIELDS.items()
)
_OUTCOMES: Final = ", ".join(
    "NULL" if one.label is None else f"'{one.label}'" for one in sorted(Outcome)
)
_SUCCESSES: Final = ", ".join(
    "NULL" if one.success is None else str(one.success) for one in sorted(Outcome)
)
_TOKENS: Final = ", ".join(f"r.{column}" for column, _ in FIELDS.values() if "_tokens" in column)

WRITTEN: Final = ("experiments", "words", "trials", "segments", "rollups", "event_rows")
"""The tables of every lab that change, `experiments` first."""
TABLES: Final = f"""
CREATE TABLE keep (format integer NOT NULL);
INSERT INTO keep VALUES ({FORMAT});
CREATE TABLE experiments (
  number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL UNIQUE, name text,
  state text, started_us bigint, writer bigint NOT NULL, record bytea, tip bytea);
CREATE TABLE words (
  experiment integer NOT NULL, kind text NOT NULL, number bigint NOT NULL, word bytea NOT NULL,
  provider text, name text, PRIMARY KEY (experiment, kind, number));
CREATE TABLE trials (
  experiment integer NOT NULL, number bigint NOT NULL, record bytea NOT NULL, item text,
  repeat bigint, attempt bigint, outcome text, PRIMARY KEY (experiment, number));
CREATE TABLE segments (
  experiment integer NOT NULL, first_seq bigint NOT NULL, rows integer NOT NULL,
  min_us bigint NOT NULL, max_us bigint NOT NULL, digest bytea NOT NULL,
  PRIMARY KEY (experiment, first_seq));
CREATE TABLE rollups (
  experiment integer NOT NULL, level_s integer NOT NULL, start_us bigint NOT NULL,
  cells bytea NOT NULL, PRIMARY KEY (experiment, level_s, start_us));
CREATE TABLE event_rows (
  experiment integer NOT NULL, seq bigint NOT NULL,
  {_TYPED},
  event_name text, payload bytea NOT NULL);
ALTER TABLE event_rows ALTER payload SET STORAGE MAIN;
CREATE INDEX event_rows_by_time ON event_rows USING brin (timestamp_us);
"""  # noqa: S608 - our own names
"""Everything but what depends on TimescaleDB. Payloads are short and packed: they are neither moved out nor compressed."""
PLAIN: Final = """
ALTER TABLE event_rows ADD PRIMARY KEY (experiment, seq);
CREATE VIEW all_rows AS SELECT * FROM event_rows;
"""
HYPERTABLE: Final = f"""
CREATE TABLE strewn_rows (LIKE event_rows INCLUDING ALL, PRIMARY KEY (experiment, seq));
ALTER TABLE event_rows ADD PRIMARY KEY (experiment, seq, timestamp_us);
SELECT create_hypertable('event_rows', 'timestamp_us', chunk_time_interval => {CHUNK_US}::bigint,
  create_default_indexes => false);
CREATE VIEW all_rows AS SELECT * FROM event_rows UNION ALL SELECT * FROM strewn_rows;
CREATE FUNCTION now_us() RETURNS bigint LANGUAGE sql STABLE AS
  $$SELECT (extract(epoch FROM now()) * 1000000)::bigint$$;
SELECT set_integer_now_func('event_rows', 'now_us');
"""  # noqa: S608 - our own names
"""TimescaleDB: a unique key must hold the column of time."""
EVENTS: Final = f"""
CREATE VIEW events AS
SELECT x.id AS experiment_id, x.name AS experiment_name, r.seq, r.timestamp_us,
  CASE WHEN r.timestamp_us >= -62135596800000000 AND r.timestamp_us < 253402300800000000
    THEN 'epoch'::timestamptz + (r.timestamp_us / 1000000) * interval '1 second'
      + (r.timestamp_us % 1000000) * interval '1 microsecond' END AS time,
  coalesce(r.event_name, s.name) AS event_name,
  (ARRAY[{_OUTCOMES}])[r.outcome + 1] AS outcome,
  (ARRAY[{_SUCCESSES}])[r.outcome + 1] AS success,
  m.provider, m.name AS model, e.name AS error_type,
  t.item AS sample_id, t.repeat, t.attempt,
  r.latency_ns, r.latency_ns / 1e6::float8 AS latency_ms, r.ttft_ns, r.ttft_ns / 1e6::float8 AS ttft_ms,
  r.itl_ns, r.itl_ns / 1e6::float8 AS itl_ms, r.cost_pico, r.cost_pico::numeric / 1000000000000 AS cost_usd,
  {_TOKENS}, r.payload
FROM all_rows r
JOIN experiments x ON x.number = r.experiment
LEFT JOIN words s ON s.experiment = r.experiment AND s.kind = 'shape' AND s.number = r.shape
LEFT JOIN words m ON m.experiment = r.experiment AND m.kind = 'model' AND m.number = r.model
LEFT JOIN words e ON e.experiment = r.experiment AND e.kind = 'error' AND e.number = r.error
LEFT JOIN trials t ON t.experiment = r.experiment AND t.number = r.trial;
"""  # noqa: S608 - our own names
"""What people ask, for SQL and for Grafana: columns named as in `Lab.sql`; integers as they are kept beside them. Times in two steps: the server
multiplies intervals as floating-point numbers, and microseconds of the year 9999 are more than these can hold."""
COMPRESSION: Final = f"""
ALTER TABLE event_rows SET (timescaledb.compress,
  timescaledb.compress_segmentby = 'experiment', timescaledb.compress_orderby = 'seq');
SELECT add_compression_policy('event_rows', {COMPRESS_AFTER_US}::bigint);
"""
"""TimescaleDB's own licence: what is a week old is compressed."""
AGGREGATES: Final = tuple(
    f"""
CREATE MATERIALIZED VIEW events_per_{name}
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT experiment, time_bucket({size_us}::bigint, timestamp_us) AS start_us, count(*) AS events,
  count(latency_ns) AS latencies, sum(latency_ns) AS latency_ns_sum, max(latency_ns) AS latency_ns_max,
  sum(cost_pico) AS cost_pico_sum, sum(total_tokens) AS total_tokens_sum
FROM event_rows GROUP BY 1, 2 WITH NO DATA;
SELECT add_continuous_aggregate_policy('events_per_{name}', start_offset => NULL,
  end_offset => {size_us}::bigint, schedule_interval => interval '{every}');
"""  # noqa: S608 - our own names
    for name, size_us, every in (
        ("minute", 60_000_000, "1 minute"),
        ("hour", 3_600_000_000, "10 minutes"),
        ("day", DAY_US, "1 hour"),
    )
)
"""TimescaleDB's own licence: counts and sums for who asks with SQL or draws with Grafana, what is newer than the
last refresh counted in as it is asked (an older event that comes late is, after the next refresh). Nothing here
reads them: `rollups` are written in the transaction of their events, have quantiles, and are on every server."""
