"""Where archives lie: a folder, or a bucket of an object store; files by name, whole or not there."""

import itertools
import os
import stat
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from anyio import to_thread

from crucible_telemetry.errors import (
    ConfigurationError,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    UnreadableFile,
    install,
)
from crucible_telemetry.export.packages import map_in

T = TypeVar("T")
BUCKETS: Final = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
RETRIES: Final = 5
RETRY_S: Final = 30
REQUEST_S: Final = 60
_parts = itertools.count(1)


class Depot(Protocol):
    """Files by name below one root. `StoreUnavailable`: a later try may do; `StoreRefused`: it will not."""

    url: str
    """Where it is, for messages."""

    async def put(self, name: str, data: bytes) -> None:
        """Write a file, in one step."""
        ...

    async def get(self, name: str, most_bytes: int) -> bytes | None:
        """A file; None when it is not there. `UnreadableFile` for one that is larger, or no regular file."""
        ...

    async def delete(self, name: str) -> None:
        """Remove a file; none is no error."""
        ...


async def depot_at(url: str | os.PathLike[str], storage: Mapping[str, Any] | None = None) -> Depot:
    """`depot_of`, in a thread: a client of object stores takes its time to be imported."""
    if is_bucket(os.fspath(url)):
        await to_thread.run_sync(map_in, "s3")
    return await to_thread.run_sync(depot_of, url, storage)


def is_bucket(url: Any) -> bool:
    """Whether it is the URL of an object store."""
    return isinstance(url, str) and url.partition("://")[0] in BUCKETS and "://" in url


def depot_of(url: str | os.PathLike[str], storage: Mapping[str, Any] | None = None) -> Depot:
    """The depot of a path, ``file://``, ``s3://bucket/prefix``, ``gs://`` or ``az://`` URL.

    `storage`: settings of the object store beside those in the environment, as ``{"endpoint": "http://…"}``.
    """
    text = os.fspath(url)
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigurationError("url", f"want a folder or a URL, not {url!r}")
    scheme, there, rest = text.partition("://")
    if not there:
        return Folder(Path(text))
    if scheme == "file":
        return Folder(Path(unquote(urlsplit(text).path)))
    if scheme in BUCKETS and rest.strip("/"):
        return Bucket(text.rstrip("/"), storage or {})
    known = ", ".join(f"{one}://" for one in ("file", *BUCKETS[:4]))
    raise ConfigurationError("url", f"want a folder or one of {known}, not {text!r}")


class Folder:
    """A folder; every file is forced to the disk before it has its name."""

    def __init__(self, root: Path) -> None:
        self._root, self.url = root, str(root)
        self._one = threading.Lock()
        """Held while a file is written or removed: after Ctrl-C a thread goes on that nobody waits for."""

    async def put(self, name: str, data: bytes) -> None:
        """See `Depot.put`; never through a link."""
        await self._run(name, lambda: self._put(self._root / name, data))

    async def get(self, name: str, most_bytes: int) -> bytes | None:
        """See `Depot.get`; links are not followed."""
        return await self._run(name, lambda: self._get(name, most_bytes))

    async def delete(self, name: str) -> None:
        """See `Depot.delete`."""
        await self._run(name, lambda: self._delete(self._root / name))

    def _put(self, path: Path, data: bytes) -> None:
        folder = path.parent
        folder.mkdir(parents=True, exist_ok=True)
        if folder != self._root and folder.is_symlink():
            raise StoreRefused(self.url, f"{folder.name} is a link to elsewhere")
        part = folder / f".crucible-{os.getpid()}-{next(_parts)}.part"
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            with suppress(OSError):
                part.unlink()
        _synced(folder)

    def _delete(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        if path.parent != self._root:
            with suppress(OSError):  # it holds something else, or is gone already
                path.parent.rmdir()

    def _get(self, name: str, most_bytes: int) -> bytes | None:
        try:
            # Not blocking: what claims to be a part may be a pipe that nobody writes to.
            number = os.open(self._root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with os.fdopen(number, "rb") as file:
            found = os.fstat(number)
            if not stat.S_ISREG(found.st_mode):
                raise UnreadableFile(f"{self.url}/{name}", None, "it is no regular file")
            if found.st_size > most_bytes:
                raise _too_large(self.url, name, found.st_size, most_bytes)
            return file.read(most_bytes)

    async def _run(self, name: str, work: Callable[[], T]) -> T:
        def guarded() -> T:
            try:
                with self._one:
                    return work()
            except (StoreError, UnreadableFile):
                raise
            except PermissionError as error:
                raise StoreRefused(self.url, f"{name}: {error.strerror}") from error
            except OSError as error:
                raise StoreUnavailable(self.url, f"{name}: {error.strerror or error}") from error

        return await to_thread.run_sync(guarded)


def _synced(folder: Path) -> None:
    """Force the names in a folder to the disk, where a system can."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


class Bucket:
    """A prefix of a bucket: S3 and what speaks like it, Google Cloud Storage, Azure; the usual credentials."""

    def __init__(self, url: str, storage: Mapping[str, Any]) -> None:
        try:
            import obstore  # noqa: PLC0415 - optional, and asked for now
            from obstore.store import from_url  # noqa: PLC0415
        except ImportError:
            raise ConfigurationError(
                "url", f"{url!r} needs the package obstore: {install('s3')}"
            ) from None
        self.url, self._obstore = url, obstore
        made: Any = from_url
        retry = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S),
                 "backoff": {"max_backoff": timedelta(seconds=5)}}  # fmt: skip
        client = {"timeout": f"{REQUEST_S}s", "allow_http": _without_tls(storage)}
        try:
            self._store: Any = made(
                url, config=dict(storage) or None, client_options=client, retry_config=retry
            )
        except Exception as error:
            raise ConfigurationError("storage", f"{url!r}: {error}") from error

    async def put(self, name: str, data: bytes) -> None:
        """See `Depot.put`."""
        await self._run(name, lambda: self._put(name, data))

    async def get(self, name: str, most_bytes: int) -> bytes | None:
        """See `Depot.get`."""
        return await self._run(name, lambda: self._get(name, most_bytes))

    async def delete(self, name: str) -> None:
        """See `Depot.delete`."""
        await self._run(name, lambda: self._obstore.delete(self._store, name))

    def _put(self, name: str, data: bytes) -> None:
        try:
            # In one request: an object is there whole, or not at all.
            self._obstore.put(self._store, name, data, use_multipart=False)
        except (FileNotFoundError, self._obstore.exceptions.NotFoundError) as error:
            raise StoreRefused(self.url, f"no such bucket: {_first_line(error)}") from error

    def _get(self, name: str, most_bytes: int) -> bytes | None:
        try:
            found = self._obstore.get(self._store, name)
            size = found.meta["size"]
            if size > most_bytes:
                raise _too_large(self.url, name, size, most_bytes)
            return bytes(found.bytes())
        except (FileNotFoundError, self._obstore.exceptions.NotFoundError):
            return None

    async def _run(self, name: str, work: Callable[[], T]) -> T:
        refused = self._obstore.exceptions

        def guarded() -> T:
            try:
                return work()
            except (UnreadableFile, StoreError):
                raise
            except (refused.PermissionDeniedError, refused.UnauthenticatedError) as error:
                raise StoreRefused(self.url, f"{name}: {_first_line(error)}") from error
            except Exception as error:  # the package has errors of its own, and passes others on
                raise StoreUnavailable(self.url, f"{name}: {_first_line(error)}") from error

        return await to_thread.run_sync(guarded)


def _without_tls(storage: Mapping[str, Any]) -> bool:
    """Whether the endpoint that somebody chose is plain HTTP; Google's stands in the service account's key."""
    named = [(key.lower(), str(value)) for key, value in storage.items()]
    chosen = [value for key, value in named if "endpoint" in key or "gcs_base_url" in value]
    chosen += [value for key, value in os.environ.items() if "ENDPOINT" in key]
    return any("http://" in value for value in chosen)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _too_large(url: str, name: str, size: int, most_bytes: int) -> UnreadableFile:
    reason = f"{size:,} bytes, and no file of an archive has more than {most_bytes:,}"
    return UnreadableFile(f"{url}/{name}", None, reason)
