"""Time to first token from a real stream: a local server sends tokens as server-sent events, clients time them."""

import json
import random
from collections.abc import AsyncIterator

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

import crucible_telemetry as ct

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "is", "gone"]


class Overloaded(Exception):
    """The server answered 503."""


async def serve(stream: SocketStream) -> None:
    """One request: a pause while the model reads, then a token every few milliseconds; 1 in 20 is refused."""
    async with stream:
        await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", 65_536)
        if random.random() < 0.05:
            await stream.send(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n")
            return
        await stream.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        )
        await anyio.sleep(random.uniform(0.02, 0.08))
        for word in WORDS:
            await stream.send(f"data: {json.dumps({'token': word})}\n\n".encode())
            await anyio.sleep(random.uniform(0.002, 0.006))
        await stream.send(b"data: [DONE]\n\n")


async def tokens(port: int) -> AsyncIterator[str]:
    """The tokens of one answer, as they come in."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        reader = BufferedByteReceiveStream(stream)
        status = await reader.receive_until(b"\r\n", 65_536)
        if b" 200 " not in status:
            raise Overloaded(status.decode())
        await reader.receive_until(b"\r\n\r\n", 65_536)
        while (data := await reader.receive_until(b"\n\n", 65_536)) != b"data: [DONE]":
            yield json.loads(data.removeprefix(b"data: "))["token"]


async def ask(experiment: ct.Experiment, port: int, item: str) -> None:
    """One trial: the span takes time to first token and time between tokens from its chunks."""
    async with experiment.trial(item=item) as trial:
        try:
            async with ct.llm_call(provider="local", model="fox-1") as call:
                count = 0
                async for _ in tokens(port):
                    call.chunk()
                    count += 1
                call.usage(input_tokens=12, output_tokens=count)
            trial.score(complete=count == len(WORDS))
        except Overloaded:
            trial.fail("overloaded")


async def worker(experiment: ct.Experiment, port: int, items: list[str]) -> None:
    while items:
        await ask(experiment, port, items.pop())


def bars(values_ms: list[float], width_ms: float = 10) -> None:
    """How the values spread, as text."""
    for start in range(int(min(values_ms) // width_ms), int(max(values_ms) // width_ms) + 1):
        low, high = start * width_ms, (start + 1) * width_ms
        print(f"  {low:4.0f} to {high:3.0f} ms  {'#' * sum(low <= v < high for v in values_ms)}")


async def measure(experiment: ct.Experiment) -> None:
    """Sixty questions, eight at a time, to a server that lives as long."""
    items = [f"q{number}" for number in range(60)]
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener,
        anyio.create_task_group() as server,
    ):
        server.start_soon(listener.serve, serve)
        port: int = listener.extra(SocketAttribute.local_port)
        async with anyio.create_task_group() as clients:
            for _ in range(8):
                clients.start_soon(worker, experiment, port, items)
        server.cancel_scope.cancel()


async def main() -> None:
    async with ct.Lab() as lab, lab.experiment("streaming") as experiment:
        await measure(experiment)
        assert len(await experiment.trials()) == 60
        ends = await experiment.events(ct.Where(event="llm.request.stop"))
        print("time to first token, one # a call:")
        bars([event.ttft_ms for event in ends if event.ttft_ms is not None])
        print(await experiment.metrics())


if __name__ == "__main__":
    anyio.run(main)
