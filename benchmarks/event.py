"""The typical event every benchmark records: 138 bytes as msgpack of [time_us, name, measurements, metadata].

Defined here once, so that all contenders write down the same thing.
"""

NAME = "req_llm.request.stop"
ENCODED_BYTES = 138

_REQUEST_IDS = tuple(f"{number:04d}" for number in range(1000))


def typical_event(i):
    """(name, measurements, metadata) of call number `i`: fresh dicts each time, as a caller would build them.

    Duration is in ns. Request ids repeat after a thousand: they come with the response, so making
    their text is no part of recording them.
    """
    return (
        NAME,
        {"duration": 1_200_000_000 + i, "input_tokens": 550, "output_tokens": 150},
        {
            "provider": "openai",
            "model": "gpt-4o",
            "id": _REQUEST_IDS[i % 1000],
            "finish_reason": "stop",
            "n": 1,
        },
    )
