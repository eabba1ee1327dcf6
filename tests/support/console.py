"""The console, as a monitoring system asks it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Answer(NamedTuple):
    """What was answered; `headers` by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def get(port: int, path: str, *, method: str = "GET", host: str = "127.0.0.1", named: str = "") -> Answer:
    """Ask once, for the host `named` there. Raises OSError where nobody answers."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: {named or host}\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(20):
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    finally:
        writer.close()
    if not head:
        raise ConnectionResetError(f"{path}: no answer")
    status, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(status.split()[1]), headers, body)


async def wait_for(port: int, path: str, status: int, *, host: str = "127.0.0.1", timeout: float = 20.0) -> Answer:
    """Return the first answer of this status."""
    async with asyncio.timeout(timeout):
        while True:
            try:
                answer = await get(port, path, host=host)
            except OSError:
                pass
            else:
                if answer.status == status:
                    return answer
            await asyncio.sleep(0.05)


def parse(exposition: str) -> Series:
    """Read Prometheus' text format: the value of each name with labels."""
    series: Series = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in series, f"twice: {key}"
            series[key] = sample.value
    return series


def value(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


async def wait_for_numbers(port: int, holds: Callable[[Series], bool], timeout: float = 20.0) -> Series:
    """Return the metrics once `holds` is true of them."""
    series: Series = {}
    try:
        async with asyncio.timeout(timeout):
            while not holds(series := parse((await get(port, "/metrics")).body)):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TimeoutError(f"not within {timeout:g} s: {series}") from None
    return series
