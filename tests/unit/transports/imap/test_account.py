"""Folders, names and logins with servers that no Dovecot would be."""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.servers.tls import Tls
from tests.support.answering_imap import LOGIN, opened
from transports.base import After, Folder
from transports.errors import Missing, Permanent, Temporary, TransportError, Unauthorized, Unreachable
from transports.imap import account as imap_account
from transports.imap.account import ImapAccount
from transports.imap.encode import folder_name
from transports.imap.settings import ImapSettings

OK = ["OK done"]


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", "password")


async def folders(lines: list[str], capabilities: str = "", **changes: Any) -> list[Folder]:
    answers = {'LIST "" "*"': [f"* LIST {line}" for line in lines] + OK}
    answers["NAMESPACE"] = ['* NAMESPACE (("INBOX." ".")) (("user." ".")) (("" "."))', "OK done"]
    changes.setdefault("folders", ["*"])
    async with opened(answers, capabilities, **changes) as (account, _):
        return list(await account.folders())


async def test_uses_by_well_known_names_where_none_is_told() -> None:
    lines = ['() "." INBOX', '() "." "INBOX.Papierkorb"', '() "." "INBOX.Entw&APw-rfe"', '() "." INBOX.Spam']
    lines += ['() "." "INBOX.Gesendete Objekte"', '() "." "INBOX.Spam.Training"', '(\\Noselect) "." INBOX.Parent']
    assert await folders(lines) == [
        Folder("INBOX", "inbox"),
        Folder("INBOX.Gesendete Objekte", "sent"),
    ]


EXCHANGES = {
    "en": "Calendar, Calendar/Birthdays, Contacts, Conversation History, Conversation History/Team Chat, "
    "Deleted Items, Deleted Items/Customers, Deleted Items/Customers/2026, Drafts, Journal, Junk Email, Notes, Outbox, "
    "Sync Issues, Sync Issues/Conflicts, Sync Issues/Local Failures, Tasks, RSS Feeds, RSS Feeds/News",
    "de": "Kalender, Kontakte, Aufgezeichnete Unterhaltungen, Gelöschte Elemente, Gelöschte Elemente/Kunden, Entwürfe, "
    "Journal, Junk-E-Mail, Notizen, Postausgang, Synchronisierungsprobleme, Synchronisierungsprobleme/Konflikte, "
    "Aufgaben",
    "fr": "Calendrier, Contacts, Historique des conversations, Éléments supprimés, Éléments supprimés/Clients, Notes, "
    "Brouillons, Courrier indésirable, Boîte d\u2019envoi, Problèmes de synchronisation, Tâches",
}


@pytest.mark.parametrize("beside_mail", EXCHANGES.values(), ids=EXCHANGES)
async def test_of_exchange_only_mail_is_read(beside_mail: str) -> None:
    mail = ["INBOX", "Customers", "Customers/Calendar", "Archive/Tasks"]
    lines = [f'() "/" "{folder_name(name, utf8=False).strip(chr(34))}"' for name in [*beside_mail.split(", "), *mail]]
    assert [folder.name for folder in await folders(lines)] == ["INBOX", *sorted(mail[1:])]
    # One that is named is read all the same.
    named = beside_mail.split(", ", maxsplit=1)[0]
    assert [folder.name for folder in await folders(lines, folders=[named])] == [named]


async def test_a_person_may_keep_mail_in_a_folder_that_exchange_has_for_something_else() -> None:
    lines = ['() "/" INBOX', '() "/" Notes', '() "/" Tasks', '() "/" "Tasks/Old"']
    assert [folder.name for folder in await folders(lines)] == ["INBOX", "Notes", "Tasks", "Tasks/Old"]


async def test_what_lies_below_a_folder_has_its_use() -> None:
    lines = ['() "/" INBOX', '(\\Trash) "/" Bin', '() "/" "Bin/a"', '() "/" "Bin/a/b"', '(\\Sent) "/" Out']
    lines += ['() "/" "Out/2025"', '(\\Noselect \\Junk) "/" Bad', '() "/" "Bad/c"', '(\\Archive) "/" A', '() "/" "A/d"']
    assert await folders(lines) == [
        Folder("INBOX", "inbox"),
        Folder("A", "archive"),
        Folder("A/d"),
        Folder("Out", "sent"),
        Folder("Out/2025", "sent"),
    ]


GMAIL = ['() "/" INBOX', '() "/" Customers', '(\\Noselect) "/" "[Gmail]"', '(\\All) "/" "[Gmail]/Alle Nachrichten"']
GMAIL += [
    '(\\Drafts) "/" "[Gmail]/Entw&APw-rfe"',
    '(\\Sent) "/" "[Gmail]/Gesendet"',
    '(\\Trash) "/" "[Gmail]/Papierkorb"',
]
GMAIL += ['(\\Flagged) "/" "[Gmail]/Markiert"', '(\\Important) "/" "[Gmail]/Wichtig"', '(\\Junk) "/" "[Gmail]/Spam"']


async def test_on_gmail_all_mail_is_read_in_place_of_its_labels() -> None:
    assert [folder.name for folder in await folders(GMAIL, "X-GM-EXT-1")] == [
        "INBOX",
        "[Gmail]/Alle Nachrichten",
        "[Gmail]/Gesendet",
    ]
    # Where a person hides it from IMAP, the labels are read.
    hidden = [line for line in GMAIL if "All)" not in line]
    names = [folder.name for folder in await folders(hidden, "X-GM-EXT-1")]
    assert names == ["INBOX", "Customers", "[Gmail]/Gesendet"]


async def test_of_all_mail_only_what_was_received_is_listed() -> None:
    labels = {1: "\\Inbox", 2: "\\Sent", 3: "\\Draft", 4: "Customers", 5: "\\Sent \\Inbox", 6: "", 7: '"\\\\Sent" x'}
    answers = {
        'LIST "" "*"': [f"* LIST {line}" for line in GMAIL] + OK,
        "UID SEARCH UID 1:*": ["* SEARCH 1 2 3 4 5 6 7", *OK],
        "UID FETCH 1:7 (UID RFC822.SIZE INTERNALDATE X-GM-LABELS)": [
            *(f"* {uid} FETCH (UID {uid} RFC822.SIZE 2 X-GM-LABELS ({of_it}))" for uid, of_it in labels.items()),
            *OK,
        ],
    }
    async with opened(answers, "X-GM-EXT-1", folders=["*"]) as (account, _):
        await account.folders()
        listing = await account.folder("[Gmail]/Alle Nachrichten").list(None, 9)
    assert [one.place.id for one in listing.copies] == ["1", "4", "5", "6"]
    assert listing.cursor == "7:7"


async def test_what_the_server_tells_comes_before_names() -> None:
    lines = ['() "/" Inbox', '(\\HasNoChildren \\Junk) "/" Filtered', '() "/" Junk', '(\\All) "/" {3}\r\nAll']
    lines += ['(\\Important) "/" Important', '(\\Sent) "/" Sent', '(\\NonExistent) "/" Gone', "() NIL Flat"]
    told = await folders(lines, "SPECIAL-USE")
    assert told == [Folder("INBOX", "inbox"), Folder("Flat"), Folder("Junk"), Folder("Sent", "sent")]


async def test_folders_of_other_people_are_nobodys_mailbox() -> None:
    lines = ['() "." INBOX', '() "." INBOX.Mine', '() "." user.bob', '() "." Shared.Team']
    assert [folder.name for folder in await folders(lines, "NAMESPACE")] == ["INBOX", "INBOX.Mine"]


async def test_sent_by_use() -> None:
    lines = ['() "/" INBOX', '(\\Sent) "/" "Outbound mail"']
    assert await folders(lines, folders=["INBOX"]) == [Folder("INBOX", "inbox")]
    both = [Folder("INBOX", "inbox"), Folder("Outbound mail", "sent")]
    assert await folders(lines, folders=["INBOX"], sent=True) == both


@pytest.mark.parametrize(
    ("select", "listed", "kind"),
    [
        ("NO [NONEXISTENT] nothing", ['* LIST () "/" Box'], Missing),
        ("NO nothing", [], Missing),
        ("NO nothing", ['* LIST (\\Noselect) "/" Box'], Missing),
        ("NO you may not", ['* LIST () "/" Box'], Permanent),
        ("NO [THROTTLED] slowly", [], Temporary),
        ("NO [INUSE] wait", [], Temporary),
        ("NO [UNAVAILABLE] later", [], Temporary),
        ("NO [LIMIT] enough", [], Temporary),
        ("* BYE we are full. Suggested Backoff Time: 5000 milliseconds", [], Unreachable),
    ],
)
async def test_folder_that_cannot_be_opened(select: str, listed: list[str], kind: type[TransportError]) -> None:
    async with opened({"SELECT": [select, *OK] if select[0] == "*" else [select], "LIST": listed + OK}) as (account, _):
        with pytest.raises(kind) as caught:
            await account.folder("Box").list(None, 1)
        assert type(caught.value) is kind
        if isinstance(caught.value, Unreachable):
            assert caught.value.retry_after == 5


async def test_names_in_utf8_where_the_server_takes_them() -> None:
    answers = {"ENABLE": ["* ENABLED UTF8=ACCEPT", "OK done"], "UID SEARCH": ["* SEARCH", "OK done"]}
    async with opened(answers, "ENABLE UTF8=ACCEPT") as (account, server):
        await account.folder('Büro "A&B"').list(None, 1)
        assert 'SELECT "Büro \\"A&B\\""' in server.heard


async def test_names_in_utf7_where_the_server_refuses_utf8() -> None:
    answers = {"ENABLE": ["NO not now"], "UID SEARCH": ["* SEARCH", "OK done"]}
    async with opened(answers, "ENABLE UTF8=ACCEPT") as (account, server):
        await account.folder("Büro").list(None, 1)
        assert 'SELECT "B&APw-ro"' in server.heard


async def test_authorization_identity_needs_plain() -> None:
    auth = {"user": "master", "act_as": "{mailbox}", "password": {"env": "IMAP_TEST_PASSWORD"}}
    with pytest.raises(Permanent, match=r"does not offer AUTH=PLAIN, which auth\.act_as needs"):
        async with opened(auth=auth):
            pass
    with pytest.raises(Unauthorized, match=r"refuses the login of master for a@in\.test: not you"):
        async with opened({"AUTHENTICATE": ["NO not you"]}, "AUTH=PLAIN SASL-IR", auth=auth):
            pass


async def test_notify_refused_is_not_asked_for_again() -> None:
    answers = {**LOGIN, "UID SEARCH": ["* SEARCH", "OK done"], "NOTIFY": ["NO [BADEVENT] none"]}
    answers["STATUS"] = ['* STATUS "Box" (UIDNEXT 4 UIDVALIDITY 7)', "OK done"]
    async with opened(answers, "NOTIFY", poll=1) as (account, server):
        for name in ("INBOX", "Box"):
            await account.folder(name).list(None, 9)
        await asyncio.wait_for(account.wait(0.01), 30)
        await asyncio.wait_for(account.wait(0.01), 30)
        assert [line for line in server.heard if line.startswith("NOTIFY")] == [
            'NOTIFY SET (selected (MessageNew MessageExpunge)) (mailboxes ("Box" "INBOX") (MessageNew MessageExpunge))'
        ]
        server.answers["STATUS"] = ['* STATUS "Box" (UIDNEXT 5 UIDVALIDITY 7)', "OK done"]
        await asyncio.wait_for(account.wait(600), 30)
        assert await account.changed() == ["Box"]


async def test_what_the_server_tells_of_a_folder_after_the_goodbye_breaks_nothing() -> None:
    broken: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    answers = {"LOGOUT": ['* STATUS "Box" (UIDNEXT 5 UIDVALIDITY 7)', "* BYE", "OK bye"]}
    async with opened(answers) as (account, server):
        account.folder("Box")
    assert server.heard[-1] == "LOGOUT"
    assert broken == []


async def test_idle_is_renewed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < imap_account.RENEW_IDLE < 29 * 60
    monkeypatch.setattr(imap_account, "RENEW_IDLE", 0.01)
    answers = {"UID SEARCH": ["* SEARCH", "OK done"], "IDLE": ["+ idling", "OK done"]}
    async with opened(answers, "IDLE", poll=3600) as (account, server):
        await account.folder("INBOX").list(None, 9)
        waiting = asyncio.create_task(account.wait(600))
        while [line for line in server.heard if line in ("IDLE", "DONE")].count("DONE") < 3:  # its own list
            await asyncio.sleep(0.01)
        server.answers["NOOP"] = ["* 4 EXISTS", "OK done"]
        await asyncio.wait_for(waiting, 30)
        # Beneath it, a look.
        assert server.heard[-3:] == ["IDLE", "DONE", "NOOP"]


async def test_a_folder_where_mail_has_just_come_is_looked_into_more_often() -> None:
    answers = {"UID SEARCH": ["* SEARCH 1", "OK done"], "UID FETCH": ["* 1 FETCH (UID 1 RFC822.SIZE 1)", "OK done"]}
    async with opened(answers, poll=3600) as (account, server):
        assert len((await account.folder("INBOX").list(None, 9)).copies) == 1
        server.answers["NOOP"] = ["* 4 EXISTS", "OK done"]
        await asyncio.wait_for(account.wait(3600), 30)
        assert await account.changed() == ["INBOX"]


async def serve_with_client_certificates(tls: Tls, answers: Mapping[str, str]) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK [CAPABILITY IMAP4rev1] hi\r\n")
        while line := await reader.readline():
            tag, _, command = line.decode().strip().partition(" ")
            writer.write(f"{answers.get(command.split()[0], '')}{tag} OK done\r\n".encode())
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    context.load_verify_locations(tls.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)


def settings_for(server: asyncio.Server, tls: Tls, **changes: object) -> ImapSettings:
    auth = {"user": "{mailbox}", "password": {"env": "IMAP_TEST_PASSWORD"}}
    port = server.sockets[0].getsockname()[1]
    return ImapSettings.model_validate(
        {"host": "127.0.0.1", "port": port, "ca_file": tls.ca_file, "auth": auth, "timeout": 20, **changes}
    )


async def test_client_certificate_is_shown(tls: Tls, tmp_path: Path) -> None:
    server = await serve_with_client_certificates(tls, {"CAPABILITY": "* CAPABILITY IMAP4rev1\r\n"})
    try:
        shown = {"client_cert": tls.certificate, "client_key": tls.key}
        async with ImapAccount(settings_for(server, tls, **shown), "a@in.test", After("keep")) as account:
            assert account._session.connection.state == "AUTH"
        with pytest.raises(Unreachable):
            async with ImapAccount(settings_for(server, tls), "a@in.test", After("keep")):
                pass
        (tmp_path / "no.pem").write_text("no certificate")
        for bad in (tmp_path / "no.pem", tmp_path / "missing.pem"):
            with pytest.raises(Permanent, match=f"the client certificate {bad} cannot be used"):
                async with ImapAccount(settings_for(server, tls, client_cert=bad), "a@in.test", After("keep")):
                    pass
    finally:
        server.close()


def test_settings_that_mean_nothing_together() -> None:
    auth = {"user": "u", "password": {"env": "X"}}
    for changes in ({"client_key": "k.pem"}, {"client_cert": "c.pem", "security": "none"}):
        with pytest.raises(ValueError, match="client_"):
            ImapSettings.model_validate({"host": "127.0.0.1", "auth": auth, **changes})


async def test_a_folder_whose_name_cannot_be_said_stops_no_other() -> None:
    lines = ['() "/" INBOX', '() "/" {3}\r\na\0b', '() "/" {4}\r\na\x01b/', '() "/" Customers']
    assert [folder.name for folder in await folders(lines)] == ["INBOX", "Customers"]
