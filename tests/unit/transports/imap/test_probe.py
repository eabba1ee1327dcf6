"""Probing mailboxes on servers that no Dovecot would be: poor, full, or gone in the middle."""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.servers.tls import make_tls
from transports.base import After, Finding
from transports.imap.probe import probe_mailbox
from transports.imap.settings import ImapSettings

SECRET = "a-secret-of-the-tests"
ANSWERS = {
    "LOGIN": ["OK done"],
    "LIST": ['* LIST () "/" INBOX', '* LIST (\\Noselect) "/" Done', "OK done"],
    "STATUS": ["* STATUS INBOX (MESSAGES 3)", "OK done"],
    "EXAMINE": ["* FLAGS (\\Seen)", "* 3 EXISTS", "* OK [PERMANENTFLAGS ()] no", "* OK [UIDVALIDITY 7] ok", "OK done"],
    "LOGOUT": ["OK bye"],
}
DROP = "DROP"


async def probed(answers: Mapping[str, list[str]] | None = None, *more: str, **keys: Any) -> dict[str, Finding]:
    """The last finding of each step."""
    return {found.step: found for found in await probe(answers, *more, **keys)}


async def probe(
    answers: Mapping[str, list[str]] | None = None,
    capabilities: str = "IDLE UIDPLUS",
    *,
    after: str = "keep",
    mailbox: str | None = "a@in.test",
    greeting: str = "* OK ready",
    context: ssl.SSLContext | None = None,
    heard: list[str] | None = None,
    **keys: Any,
) -> list[Finding]:
    """What is found at a server that answers commands by their names."""
    script = {"CAPABILITY": [f"* CAPABILITY IMAP4rev1 {capabilities}", "OK done"], **ANSWERS, **(answers or {})}

    talks: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.current_task())
        writer.write(f"{greeting}\r\n".encode())
        while line := (await reader.readline()).decode():
            tag, command, *_ = line.split()
            if heard is not None:
                heard.append(command)
            *data, last = script.get(command, ["BAD unknown"])
            if last == DROP:
                break
            writer.write("".join(f"{said}\r\n" for said in (*data, f"{tag} {last}")).encode())
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    settings = ImapSettings.model_validate(
        {
            "host": "127.0.0.1",
            "port": server.sockets[0].getsockname()[1],
            "security": "none" if context is None else "tls",
            "timeout": 20,
            "auth": {"user": "{mailbox}", "password": {"env": "IMAP_TEST_PASSWORD"}},
            **keys,
        }
    )
    try:
        return [found async for found in probe_mailbox(settings, mailbox, After.parse(after))]
    finally:
        server.close()
        await asyncio.gather(*talks)


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", SECRET)


async def test_a_poor_server_works() -> None:
    heard: list[str] = []
    found = await probed(heard=heard)
    assert {one.state for one in found.values()} == {"ok"}
    assert found["folders"].words == "INBOX: 3 messages"
    assert found["TLS"].words == "there is none, and nothing leaves this machine"
    assert not {"SELECT", "STORE", "CREATE"} & set(heard)


async def test_without_a_mailbox_nobody_logs_in() -> None:
    heard: list[str] = []
    assert list(await probed(mailbox=None, heard=heard)) == ["name", "connection", "TLS"]
    assert "LOGIN" not in heard


async def test_a_server_that_wants_no_login() -> None:
    assert (await probed(greeting="* PREAUTH ready"))["login"].words == "the server wants none (PREAUTH)"


async def test_without_idle() -> None:
    found = (await probed(capabilities="UIDPLUS", poll=45))["capabilities"]
    assert found.state == "warning"
    assert "only every 45 seconds" in found.words
    assert "poll" in found.advice


async def test_uses_of_folders_that_only_names_tell() -> None:
    assert (await probed(folders=["*"]))["capabilities"].state == "warning"


async def test_a_sent_folder_that_nobody_finds() -> None:
    answers = {"LIST": ['* LIST () "/" INBOX', "OK done"]}
    found = [one for one in await probe(answers, "IDLE SPECIAL-USE", sent=True) if one.state == "warning"]
    assert [(one.step, one.words) for one in found] == [
        ("folders", "there is no Sent folder, as far as the server tells")
    ]


@pytest.mark.parametrize(
    ("after", "capabilities", "state"),
    [
        ("delete", "IDLE", "warning"),
        ("delete", "IDLE UIDPLUS", "ok"),
        ("move:INBOX", "IDLE", "warning"),
        ("move:INBOX", "IDLE UIDPLUS", "ok"),
        ("move:INBOX", "IDLE MOVE", "ok"),
    ],
)
async def test_what_happens_after_needs_capabilities(after: str, capabilities: str, state: str) -> None:
    found = (await probed(capabilities=capabilities, after=after))["after"]
    assert found.state == state
    assert bool(found.advice) is (state == "warning")


@pytest.mark.parametrize(
    ("permanent", "keyword", "state"),
    [
        ("\\Seen \\*", "crm", "ok"),
        ("\\Seen Crm", "crm", "ok"),
        ("\\Seen \\Deleted", "crm", "failed"),
        ("", "crm", "warning"),
        ("\\*", "c r m", "failed"),
    ],
)
async def test_keywords_by_permanentflags(permanent: str, keyword: str, state: str) -> None:
    answers = {"EXAMINE": [f"* OK [PERMANENTFLAGS ({permanent})] ok", "* OK [UIDVALIDITY 7] ok", "OK done"]}
    assert (await probed(answers, after=f"keyword:{keyword}"))["after"].state == state


@pytest.mark.parametrize(("used", "state"), [(500, "ok"), (990, "warning")])
async def test_a_quota(used: int, state: str) -> None:
    answers = {"GETQUOTAROOT": ['* QUOTAROOT "INBOX" ""', f'* QUOTA "" (STORAGE {used} 1000)', "OK done"]}
    found = (await probed(answers, "IDLE QUOTA"))["quota"]
    assert found.state == state
    assert found.words == f"{'512' if used == 500 else '1.0'} {'kB' if used == 500 else 'MB'} of 1.0 MB are used"


async def test_sizes_where_they_are_offered() -> None:
    answers = {"STATUS": ["* STATUS INBOX (MESSAGES 1 SIZE 12345)", "OK done"]}
    assert (await probed(answers, "IDLE STATUS=SIZE"))["folders"].words == "INBOX: 1 message, 12 kB"


@pytest.mark.parametrize(
    ("answers", "step", "words"),
    [
        ({"LOGIN": ["NO [UNAVAILABLE] later"]}, "login", "[UNAVAILABLE] later"),
        ({"LOGIN": [f"NO {SECRET} is wrong"]}, "login", "… is wrong"),
        ({"LOGIN": [DROP]}, "login", "the connection was lost"),
        ({"LIST": ["NO not now"]}, "folders", "not now"),
        ({"EXAMINE": ["NO not yours"]}, "folders", "not yours"),
        ({"EXAMINE": ["OK done"]}, "folders", "UIDVALIDITY"),
        ({"STATUS": [DROP]}, "folders", "the connection was lost"),
    ],
)
async def test_faults_end_in_words(answers: Mapping[str, list[str]], step: str, words: str) -> None:
    found = await probed(answers)
    assert list(found)[-1] == step
    assert found[step].state == "failed"
    assert words in found[step].words
    assert SECRET not in found[step].words


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        ("[UNAVAILABLE] later", "this goes away by itself"),
        ("[LIMIT] no more for you", "mail_max_userip_connections"),
        ("Too many simultaneous connections", '"max_connections"'),
    ],
)
async def test_what_goes_away_by_itself_and_what_our_own_connections_keep_up(refusal: str, advice: str) -> None:
    found = (await probed({"LOGIN": [f"NO {refusal}"]}))["login"]
    assert refusal in found.words
    assert advice in found.advice
    assert ("by itself" in found.advice) is ("by itself" in advice)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "Internal error. [2026-11-21 14:38:13] (0.011 + 0.000 + 0.010 secs).",
            "Internal error. [2026-11-21 14:38:13]",
        ),
        ("Mailbox doesn't exist: Kunden (0.001 secs).", "Mailbox doesn't exist: Kunden"),
        ("wait (a few secs).", "wait (a few secs)."),
    ],
)
async def test_how_long_a_server_took_is_left_out(said: str, words: str) -> None:
    assert (await probed({"EXAMINE": [f"NO {said}"]}))["folders"].words.endswith(f"cannot be opened: {words}")


async def test_a_server_that_says_goodbye() -> None:
    found = await probed(greeting="* BYE too busy")
    assert list(found) == ["name", "connection"]
    assert "too busy" in found["connection"].words


async def test_a_certificate_that_ends_soon(tmp_path: Path) -> None:
    tls = make_tls(tmp_path, days=7)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    found = (await probed(context=context, mailbox=None, ca_file=str(tls.ca_file)))["TLS"]
    assert found.state == "warning"
    assert ", 6 days from now" in found.words
    assert "renew the certificate" in found.advice


async def test_a_certificate_that_has_ended(tmp_path: Path) -> None:
    tls = make_tls(tmp_path, days=0)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    found = (await probed(context=context, mailbox=None, ca_file=str(tls.ca_file)))["TLS"]
    assert found.state == "failed"
    assert "certificate has expired" in found.words
    assert "renew the certificate" in found.advice
