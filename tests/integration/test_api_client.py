"""A client that is generated from the OpenAPI document sends an email, and reads its outcome, as a CRM does."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.crm import Crm
from tests.support.paths import ROOT
from tests.support.traffic import Capture

GENERATOR = Path(sys.prefix) / "client"  # as in the Makefile

PROGRAM = """
import sys
import time

from email_router_client import AuthenticatedClient
from email_router_client.api.emails import emails_post, emails_read
from email_router_client.models import PostedEmail, PostedFile, Problem, ShownEmail

url, token = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=token)

wrong = emails_post.sync(client=client, body=PostedEmail(from_="staff@in.test", to=["Karl"]))
assert isinstance(wrong, Problem) and wrong.status == 422
print(wrong.detail)

email = PostedEmail(
    from_="staff@in.test",
    to=["Karl Kunde <karl@kunde.test>"],
    subject="The prices",
    text="Dear Karl, here they are.",
    attachments=[PostedFile(name="prices.csv", type_="text/csv", content="aXRlbSxwcmljZQo=")],
)
sent = emails_post.sync(client=client, body=email, idempotency_key="order-4711")
assert isinstance(sent, ShownEmail)
again = emails_post.sync(client=client, body=email, idempotency_key="order-4711")
assert isinstance(again, ShownEmail) and again.id == sent.id

while True:
    outcome = emails_read.sync(sent.id, client=client)
    assert isinstance(outcome, ShownEmail)
    if outcome.status not in ("pending_send", "sending"):
        break
    time.sleep(0.1)
print(outcome.status, outcome.parties[1].record_id, outcome.deliveries[0].address, outcome.deliveries[0].state)
"""


@pytest.mark.timeout(300)  # where the generator is to be installed first
async def test_a_generated_client_sends_an_email_and_reads_its_outcome(
    api: Api, crm: Crm, capture: Capture, tmp_path: Path
) -> None:
    await run("make", "--silent", f"VENV={sys.prefix}", str(GENERATOR / ".installed"), cwd=ROOT)
    karl = await crm.record("contact", "Karl Kunde", "karl@kunde.test")
    # Faults of the document, and what the generator cannot make something of, are warnings.
    (tmp_path / "config.yaml").write_text("content_type_overrides: {message/rfc822: application/octet-stream}\n")
    await run(
        "openapi-python-client", "generate", "--fail-on-warning", "--meta", "none", "--config", "config.yaml",
        "--url", f"{api.url}/openapi.json", "--output-path", "email_router_client",
        cwd=tmp_path,
    )  # fmt: skip
    (tmp_path / "program.py").write_text(PROGRAM)
    # One file is the same whatever the document says, and has faults of its own.
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = true\n[mypy-email_router_client.client]\nignore_errors = true\n"
    )
    await run(
        sys.executable, "-m", "mypy", "--python-executable", "python", "-m", "program", "-p", "email_router_client",
        cwd=tmp_path,
    )  # fmt: skip
    refused, outcome = (await run("python", "program.py", api.url, api.token, cwd=tmp_path)).splitlines()
    assert "has no address that mail can be sent to" in refused
    assert outcome == f"sent {karl} karl@kunde.test accepted"
    assert sum(capture.accepted.values()) == 1


async def run(*command: str, cwd: Path) -> str:
    """Run a program of the generator's environment, or another; it has to succeed. Returns what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=os.environ | {"PATH": f"{GENERATOR / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, said.decode()
    return said.decode()
