"""Units: from the key or the catalog, never from the size of a number."""

import pytest

import crucible_telemetry as ct


async def one(name, measurements, metadata=None):
    """The event stored of one emit, and the marks."""
    async with ct.Lab() as lab, lab.experiment("units") as exp:
        await ct.execute(name, measurements, metadata)
        (event,) = await exp.events()
        return event, exp.health().marks


@pytest.mark.parametrize(
    ("name", "measurements", "latency_ms"),
    [
        ("a.stop", {"duration": 5_000_000}, 5.0),
        ("a.stop", {"duration_ns": 5_000_000}, 5.0),
        ("a.stop", {"duration_us": 5_000}, 5.0),
        ("a.stop", {"duration_ms": 5}, 5.0),
        ("a.stop", {"duration_s": 0.005}, 5.0),
        ("a.stop", {"duration": 5}, 5e-6),  # a small number is a short time, not another unit
        ("a.stop", {"duration": 5 * 10**15}, 5e9),
        ("crucible_ensemble.predict.stop", {"duration": 5_000}, 5.0),
        ("ensemble.predict.stop", {"duration": 5_000}, 5.0),
        ("ensemble.prediction.stop", {"duration": 5_000_000}, 5.0),
        ("crucible_hedging.request.stop", {"duration": 5}, 5.0),
        ("crucible_hedging.request.stop", {"duration_ns": 5_000_000}, 5.0),
        ("research_harness.task.complete", {"duration": 5}, 5.0),
        ("crucible_train.epoch.stop", {"duration": 5_000_000}, 5.0),
        ("a.stop", {"start_ms": 1000, "stop_ms": 1005}, 5.0),
        ("a.stop", {"start": 7, "stop": 5_000_007}, 5.0),
        ("crucible_hedging.request.stop", {"start": 7, "stop": 12}, 5.0),
        ("gen_ai.chat.stop", {"gen_ai.client.operation.duration": 0.005}, 5.0),
        ("gen_ai.chat.stop", {"gen_ai.server.request.duration": 0.005}, 5.0),
        ("a.stop", {"latency": 5}, None),  # of a name nobody knows: no duration
        ("a.stop", {"latency_ms": 5}, 5.0),
    ],
)
@pytest.mark.asyncio
async def test_a_latency_has_the_unit_of_its_key_or_of_its_producer(name, measurements, latency_ms):
    event, _ = await one(name, measurements)
    assert event.latency_ms == latency_ms


@pytest.mark.parametrize(
    ("measurements", "ttft_ms", "itl_ms"),
    [
        ({"ttft": 310_000_000, "itl": 20_000_000}, 310.0, 20.0),
        ({"ttft_ms": 310, "itl_ms": 20}, 310.0, 20.0),
        ({"ttft_s": 0.31, "itl_us": 20_000}, 310.0, 20.0),
        ({"itl_ms": [10, 30, None]}, None, 20.0),
        (
            {"gen_ai.server.time_to_first_token": 0.31, "gen_ai.server.time_per_output_token": 0.02},
            310.0, 20.0,
        ),
        ({"gen_ai.response.time_to_first_chunk": 0.31}, 310.0, None),
        (
            {"gen_ai.client.operation.time_to_first_chunk": 0.31,
             "gen_ai.client.operation.time_per_output_chunk": 0.02},
            310.0, 20.0,
        ),
    ],
)  # fmt: skip
@pytest.mark.asyncio
async def test_streaming_times_have_the_same_units(measurements, ttft_ms, itl_ms):
    event, _ = await one("gen_ai.chat.stop", measurements)
    assert (event.ttft_ms, event.itl_ms) == (ttft_ms, itl_ms)


@pytest.mark.parametrize(
    "measurements", [{"duration": -5}, {"duration_ms": -0.5}, {"start": 9, "stop": 3}]
)
@pytest.mark.asyncio
async def test_a_negative_duration_is_kept_raw_counted_as_a_mark_and_in_no_figure(measurements):
    event, marks = await one("a.stop", measurements)
    assert event.latency_ms is None
    assert event.measurements == measurements
    assert marks["negative"] == 1


@pytest.mark.asyncio
async def test_a_span_of_ours_measures_in_ns_whatever_unit_the_catalog_has_for_the_name():
    async with ct.Lab() as lab, lab.experiment("spans") as exp:
        with ct.span("ensemble.predict"):
            await ct.execute("crucible_hedging.request.stop", {"duration": 7})
        await ct.execute("ensemble.predict.stop", {"duration": 7000})
        events = await exp.events()
    by_span, plain = (e for e in events if e.event_name == "ensemble.predict.stop")
    assert by_span.latency_ms == by_span.measurements["duration"] / 1e6
    assert plain.latency_ms == 7.0
    (hedged,) = (e for e in events if e.event_name.startswith("crucible_hedging"))
    assert hedged.latency_ms == 7.0
