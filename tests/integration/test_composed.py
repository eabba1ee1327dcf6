"""What a CRM developer writes wrong, or large, on its way to a relay."""

import asyncio
import hashlib
import json
from pathlib import Path

from tests.support.crm import Crm
from tests.support.router_process import NewRouter
from tests.support.scripted_smtp import ScriptedSmtp, talking
from tests.support.sending import relay, sending

ULLA = "ulla@example.com"


async def deliveries(crm: Crm) -> dict[str, tuple[str, str]]:
    rows = await crm.rows("SELECT address, state, code FROM crm.delivery")
    return {row["address"]: (row["state"], row["code"]) for row in rows}


async def test_o17_an_international_domain_is_written_as_its_a_label(crm: Crm, database: str) -> None:
    await crm.owner("ulla@straße.example")
    async with ScriptedSmtp() as server, sending(database, relay(server.port, sender="*@straße.example")):
        await crm.wait_for_status(await crm.send("ulla@straße.example", "bob@bücher.example", "one"), "sent")
    lines = "\n".join(server.commands[0])
    assert "MAIL FROM:<ulla@xn--strae-oqa.example>" in lines
    assert "RCPT TO:<bob@xn--bcher-kva.example>" in lines
    assert b"\r\nFrom: ulla@xn--strae-oqa.example\r\n" in b"\r\n" + server.messages[0]


class Sink:
    """A relay that counts what it is sent and keeps none of it."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.all_here = asyncio.Barrier(4)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        while line := await reader.readline():
            if line.startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                await self.all_here.wait()
                self.sizes.append(await self._content(reader))
            writer.write(b"221 bye\r\n" if line.startswith(b"QUIT") else b"250 2.0.0 ok\r\n")

    @staticmethod
    async def _content(reader: asyncio.StreamReader) -> int:
        size, end = 0, b""
        while not end.endswith(b"\r\n.\r\n"):
            piece = await reader.read(1 << 18)
            if not piece:
                raise ConnectionError
            size += len(piece)
            end = (end + piece)[-5:]
        return size


def peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


async def test_o21_four_emails_of_100_mb_at_once_take_little_memory(crm: Crm, new_router: NewRouter) -> None:
    await crm.owner(ULLA)
    size = 100 << 20
    await crm.admin.execute(
        "INSERT INTO crm.blob (sha256, content)"
        " SELECT sha256(c), c FROM decode(repeat('00ff41420d0a2e0d', $1::int / 8), 'hex') AS c",
        size,
    )
    digest = await crm.admin.fetchval("SELECT sha256 FROM crm.blob")
    assert digest == hashlib.sha256(bytes.fromhex("00ff41420d0a2e0d") * (size // 8)).digest()
    emails = [await crm.draft(ULLA, "ann@kunde.test", f"large {number}") for number in range(4)]
    await crm.sql.execute(
        "INSERT INTO crm.attachment (email_id, position, filename, size, sha256)"
        " SELECT id, 0, 'large.bin', $2, $3 FROM unnest($1::uuid[]) AS e (id)",
        emails,
        size,
        digest,
    )
    sink = Sink()
    async with talking(sink.talk) as port:
        values = {"transport": "smtp", "host": "127.0.0.1", "port": port, "security": "none", "connections": 5}
        keys = "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
        router = await new_router(f'[outgoing.sink]\n{keys}\nsenders = ["*@example.com"]\n')
        first = await crm.send(ULLA, "ann@kunde.test", "small")
        others = [await crm.send(ULLA, "ann@kunde.test", "small") for _ in range(3)]
        for email_id in (first, *others):
            await crm.wait_for_status(email_id, "sent")
        before = peak(router.pid)
        await crm.sql.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = ANY($1)", emails)
        await crm.wait_for(8, "SELECT count(*) FROM crm.email WHERE status = 'sent'", timeout=120)
        taken = peak(router.pid) - before
        await router.stop()
    assert min(sink.sizes[4:]) > size * 4 / 3
    assert taken < 50 << 20, f"{taken >> 20} MB"
