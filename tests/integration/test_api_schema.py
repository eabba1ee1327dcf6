"""The OpenAPI document says what the API does: schemathesis tries all of it, for some seconds."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.integration.test_api_emails import written
from tests.support.api import Api
from tests.support.crm import Crm
from tests.support.senders import Senders

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
SECONDS = 240  # until it is given up; it takes a quarter of that


@pytest.mark.timeout(300)
async def test_nothing_is_a_fault_of_the_server_nor_undocumented(
    senders: Senders, api: Api, crm: Crm, tmp_path: Path
) -> None:
    await crm.record("contact", "Karl", "karl@kunde.test")
    await senders.write("berta@kunde.test", 3)
    for _ in range(2):
        assert (await api.post("/emails", written())).status == 201
    assert (await api.post("/rulings", {"kind": "ignore-sender", "subject": "x@kunde.test"})).status == 201
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/openapi.json",
        "--url", api.url,
        "--header", f"Authorization: Bearer {api.token}",
        "--checks", ",".join(CHECKS),
        "--phases", "examples,coverage,fuzzing",
        "--exclude-path", "/events/stream",  # which does not end: test_api_events has it
        # Where two are under way, it says 503, and any 5xx is a fault to schemathesis: test_api_explain has it.
        "--exclude-operation-id", "simulations_start",
        "--max-examples", "5",
        "--workers", "1",  # threads meet in what Python 3.11 counts while it compiles: "recursion depth mismatch"
        "--seed", "1",
        "--no-color",
        cwd=tmp_path,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, said.decode()
    assert "a bug of the router's own" not in api.router.log()
