"""F24: an object store that dies, fails or lies: the archive equals what is here, or the failure is clear.

Local data is kept until what lies there has been read again and compared.
"""

import random
import threading

import pytest

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreDamaged, StoreError, StoreRefused, StoreUnavailable
from crucible_telemetry.export import depots, packing

pytest.importorskip("obstore", reason="obstore is optional")
pytest.importorskip("moto.server", reason="moto is optional")
from buckets import BUCKET, Azure, Google, Proxy, Server, storage

pytestmark = pytest.mark.asyncio
URL = f"s3://{BUCKET}/runs/one"


@pytest.fixture(scope="module")
def server():
    made = Server()
    yield made
    made.close()


@pytest.fixture
def proxy(server):
    made = Proxy(server)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _few_retries(monkeypatch):
    monkeypatch.setattr(depots, "RETRIES", 2)
    monkeypatch.setattr(depots, "RETRY_S", 2)


async def filled(lab, n=2000):
    async with lab.experiment("one") as exp:
        for i in range(n):
            ct.execute_nowait("x.stop", {"duration": i}, {"word": f"{i * 7919:x}"})
        async with exp.trial(item="a"):
            pass
    return exp


async def told(exp):
    return repr((await exp.events(), await exp.metrics(), await exp.trials()))


async def still_here(exp, before):
    assert exp.state == "stopped"
    assert await told(exp) == before


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
async def test_f24_an_archive_goes_to_a_bucket_and_comes_back(server, kind):
    url, at = f"{URL}-{kind}", storage(server.port)
    async with ct.Lab() as lab:
        exp = await filled(lab)
        before = await told(exp)
        await exp.archive(url, format=kind, storage=at)
        await exp.archive(url, format=kind, storage=at)
    async with ct.Lab() as lab:
        assert await told(await lab.restore(url, storage=at)) == before


async def test_f24_credentials_are_those_of_the_environment(server, monkeypatch):
    at = storage(server.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", at["endpoint"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", at["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", at["secret_access_key"])
    monkeypatch.setenv("AWS_REGION", at["region"])
    async with ct.Lab() as lab:
        exp = await filled(lab, 10)
        await exp.archive(f"{URL}-env")
        assert (await lab.restore(f"{URL}-env", on_existing="new")).counts.stored == 10


@pytest.mark.parametrize("seed", range(3))
async def test_f24_a_server_killed_while_an_archive_is_written_is_a_clear_failure(
    seed, monkeypatch
):
    monkeypatch.setattr(packing, "PART_ROWS", 50)
    server = Server()
    try:
        async with ct.Lab() as lab:
            exp = await filled(lab)
            before = await told(exp)
            killer = threading.Timer(random.Random(seed).uniform(0.01, 0.25), server.kill)
            killer.start()
            with pytest.raises(StoreUnavailable, match=f"{URL}: "):
                await exp.archive(URL, storage=storage(server.port))
            killer.join()
            await still_here(exp, before)
            server.start()
            with pytest.raises(ct.UnreadableFile, match="no archive is there"):
                await lab.restore(URL, storage=storage(server.port))
            await exp.archive(URL, storage=storage(server.port))
            assert exp.state == "archived"
        async with ct.Lab() as lab:
            assert await told(await lab.restore(URL, storage=storage(server.port))) == before
    finally:
        server.close()


async def test_f24_errors_that_pass_are_got_over(proxy):
    failed = set()

    def each_first_write_fails(method, path, _):
        if method != "PUT" or path in failed:
            return None
        failed.add(path)
        return 500, b"<Error><Code>InternalError</Code></Error>"

    proxy.fault = each_first_write_fails
    async with ct.Lab() as lab:
        exp = await filled(lab)
        before = await told(exp)
        await exp.archive(f"{URL}-500", storage=storage(proxy.port))
    assert len(failed) == 6
    async with ct.Lab() as lab:
        assert await told(await lab.restore(f"{URL}-500", storage=storage(proxy.port))) == before


@pytest.mark.parametrize("after", [0, 2, 5, 9])
@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (500, b"InternalError", StoreUnavailable),
        (503, b"SlowDown", StoreUnavailable),
        (403, b"ExpiredToken", StoreRefused),
        (400, b"ExpiredToken", StoreError),
    ],
)
async def test_f24_errors_that_stay_are_clear_and_nothing_is_given_up(
    proxy, status, code, error, after
):
    proxy.fault = lambda _m, _p, number: (
        (status, b"<Error><Code>%s</Code></Error>" % code) if number > after else None
    )
    async with ct.Lab() as lab:
        exp = await filled(lab, 100)
        before = await told(exp)
        with pytest.raises(error, match=URL):
            await exp.archive(f"{URL}-{status}-{after}", storage=storage(proxy.port))
        await still_here(exp, before)


@pytest.mark.parametrize("what", ["blocks/", "events/", "trials/", "experiment", "manifest"])
async def test_f24_a_store_that_keeps_something_else_is_found_out(proxy, what):
    proxy.flip = what
    async with ct.Lab() as lab:
        exp = await filled(lab, 100)
        before = await told(exp)
        with pytest.raises(StoreDamaged, match="what was just written is not there as it was"):
            await exp.archive(f"{URL}-flip-{what}", storage=storage(proxy.port))
        await still_here(exp, before)


@pytest.mark.parametrize("what", ["blocks/", "trials/", "experiment", "manifest"])
async def test_f24_a_download_that_is_cut_off_is_got_over_or_named(proxy, what):
    url, at = f"{URL}-cut-{what.strip('/')}", storage(proxy.port)
    async with ct.Lab() as lab:
        exp = await filled(lab, 100)
        before = await told(exp)
        proxy.cut, proxy.cuts = what, 1000
        with pytest.raises(StoreError, match=r"not there as it was|: "):
            await exp.archive(url, storage=at)
        await still_here(exp, before)
        proxy.cuts = 0
        await exp.archive(url, storage=at)
    async with ct.Lab() as lab:
        proxy.cuts = 1000
        with pytest.raises((StoreError, ct.UnreadableFile), match=url):
            await lab.restore(url, storage=at)
        assert lab.list_experiments() == []
        proxy.cuts = 0
        assert await told(await lab.restore(url, storage=at)) == before


async def test_f24_credentials_that_have_expired_refuse_a_restore_too(proxy):
    url, at = f"{URL}-expired", storage(proxy.port)
    async with ct.Lab() as lab:
        await (await filled(lab, 100)).archive(url, storage=at)
    async with ct.Lab() as lab:
        proxy.fault = lambda *_: (403, b"<Error><Code>ExpiredToken</Code></Error>")
        with pytest.raises(StoreRefused, match=url):
            await lab.restore(url, storage=at)
        proxy.fault = lambda *_: None
        assert (await lab.restore(url, storage=at)).counts.stored == 100


async def test_f24_a_bucket_that_is_not_there_is_named(server):
    async with ct.Lab() as lab:
        exp = await filled(lab, 10)
        with pytest.raises(StoreRefused, match=r"s3://nobody/x: .*no such bucket"):
            await exp.archive("s3://nobody/x", storage=storage(server.port))
        assert exp.state == "stopped"


@pytest.mark.parametrize("kind", ["az", "gs"])
async def test_f24_archives_go_to_azure_and_google_and_come_back(kind, monkeypatch):
    if kind == "az" and Azure.COMMAND is None:
        pytest.skip("azurite is not installed (npm install -g azurite, or CRUCIBLE_AZURITE)")
    if kind == "gs":
        pytest.importorskip("gcp_storage_emulator", reason="gcp-storage-emulator is not installed")
    monkeypatch.setattr(packing, "PART_ROWS", 500)
    server = {"az": Azure, "gs": Google}[kind]()
    url = f"{kind}://{BUCKET}/runs/one"
    try:
        async with ct.Lab() as lab:
            exp = await filled(lab)
            await exp.checkpoint(url, storage=server.storage)
            before = await told(exp)
            await exp.archive(url, storage=server.storage)
            again = await lab.start_experiment("another")
            await again.stop()
            with pytest.raises(ct.ExportError, match="choose another place"):
                await again.archive(url, storage=server.storage)
            with pytest.raises(ct.UnreadableFile, match="no archive is there"):
                await lab.restore(f"{url}/nothing", storage=server.storage)
        async with ct.Lab() as lab:
            assert await told(await lab.restore(url, storage=server.storage)) == before
        server.kill()
        async with ct.Lab() as lab:
            exp = await filled(lab)
            with pytest.raises(StoreUnavailable, match=url):
                await exp.archive(url, storage=server.storage)
            assert exp.state == "stopped"
    finally:
        server.close()


async def test_f24_without_obstore_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    async with ct.Lab() as lab:
        with pytest.raises(ct.ConfigurationError, match=r"crucible-telemetry\[s3\]"):
            await lab.restore(URL)


async def test_f24_settings_nobody_knows_are_refused():
    async with ct.Lab() as lab:
        with pytest.raises(ct.ConfigurationError, match="storage"):
            await lab.restore(URL, storage={"colour": "red"})
