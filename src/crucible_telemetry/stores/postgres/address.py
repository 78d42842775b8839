"""Where a server is: a URL taken apart, and what of it may be shown. PURE."""

import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

from crucible_telemetry.errors import ConfigurationError

SCHEMA: Final = "crucible"
MOST_NAME_BYTES: Final = 63
"""PostgreSQL cuts longer names off without a word."""
_SECRET: Final = re.compile(r"(?i)(?<=[?&])[^=&]*pass[^=&]*=[^&]*&?")
"""A parameter that is a password, or the way to one."""
_NO_PORT: Final = re.compile(r"^([^/?#:\[]*):(?!\d*(?:[,/?#]|$)).*")
"""``user:password`` whose host was forgotten."""
_WANTED: Final = (
    "want postgresql://user:password@host:port/database?schema=name, with"
    " / ? # @ : % in a password written as %2F %3F %23 %40 %3A %25"
)


class Address:
    """A URL taken apart: what asyncpg is given, the schema, and what may be shown (no password).

    ``postgresql://user:password@host:port/database?schema=name``; `schema` is our own, ``crucible`` by
    default; the others are libpq's. `ConfigurationError` for what is no such URL.
    """

    def __init__(self, url: str) -> None:
        self.shown = shown(url)
        parts, given = self._parsed(url)
        self.schema = dict(given).get("schema", SCHEMA)
        if not self.schema or "\0" in self.schema:
            raise self._wrong("schema has no name")
        if len(self.schema.encode("utf-8", "replace")) > MOST_NAME_BYTES:
            raise self._wrong(f"the schema's name is longer than {MOST_NAME_BYTES} bytes")
        rest = urlencode([pair for pair in given if pair[0] != "schema"], quote_via=quote)
        self.dsn = urlunsplit(parts._replace(scheme="postgresql", query=rest))

    def _parsed(self, url: str) -> tuple[SplitResult, list[tuple[str, str]]]:
        try:
            parts = urlsplit(url)
            given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:  # what it says may quote the password
            raise self._wrong(_WANTED) from None
        hosts = parts.netloc.rpartition("@")[2].split(",")
        if parts.fragment or "@" in parts.path or not all(map(_has_fair_port, hosts)):
            raise self._wrong(_WANTED)
        return parts, given

    def _wrong(self, reason: str) -> ConfigurationError:
        return ConfigurationError("url", f"{self.shown}: {reason}")

    @property
    def quoted_schema(self) -> str:
        """As an SQL identifier."""
        return '"' + self.schema.replace('"', '""') + '"'


def _has_fair_port(host: str) -> bool:
    port = host.rpartition("]")[2].partition(":")[2]
    return not port or (port.isdecimal() and port.isascii())


def shown(url: str) -> str:
    """The URL without its password, wherever it is written: also one that cannot be taken apart."""
    scheme, mark, rest = url.partition("://")
    rest = _SECRET.sub("", rest).rstrip("?&")
    before, at, after = rest.rpartition("@")
    if not at:
        after = _NO_PORT.sub(r"\1", after)
    return f"{scheme}{mark}{before.partition(':')[0]}{at}{after}"
