"""`email-router test`, as an admin runs it against real servers: its words, its JSON, its exit status."""

import asyncio
import json
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import pytest

from tests.servers.dovecot import HOST, Dovecot
from tests.servers.ports import free_port
from tests.servers.postfix import Postfix
from tests.servers.tls import Tls, make_tls
from tests.support.forked import run_email_router
from tests.support.letters import letter
from tests.support.profiles import MASTER, SECRETS, Profile
from tests.support.router_process import NewRouter

MESSAGE = letter("karl@kunde.test", "ann@in.test")
ROOT = Path(__file__).parents[2]
WRONG = "a-wrong-password-of-the-tests"
WRONG_OWN = {"user": "{mailbox}", "password": {"env": "WRONG_PASSWORD"}}


class Trial(Protocol):
    """`trial(profiles, *arguments, status=0)` runs the command and returns what it printed, stderr included."""

    def __call__(self, profiles: str, *arguments: str, status: int = 0, **environment: str) -> str: ...


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    """Without a database, unless the environment names one: there is none to start in the data folder either."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EMAIL_ROUTER_")}

    def run(profiles: str, *arguments: str, status: int = 0, **environment: str) -> str:
        (folder / "all.toml").write_text(profiles)
        settings = {"EMAIL_ROUTER_PROFILES": str(folder), "EMAIL_ROUTER_DATA": str(tmp_path / "data")}
        done = run_email_router(
            "test", *arguments, env=inherited | settings | SECRETS | {"WRONG_PASSWORD": WRONG} | environment
        )
        said = done.stdout + done.stderr
        assert done.returncode == status, said
        assert "Traceback" not in said
        for secret in (*SECRETS.values(), WRONG):
            assert secret not in said
        return done.stdout if "--json" in arguments else said

    return run


def findings(printed: str, profile: str) -> Mapping[str, Any]:
    """The last finding of each step of a profile."""
    (one,) = [one for one in json.loads(printed)["examined"] if one["profile"] == profile]
    return {found["step"]: found for found in one["findings"]}


def test_everything_works(trial: Trial, incoming: Profile, outgoing: Profile, dovecot: Dovecot, mailbox: str) -> None:
    dovecot.append(mailbox, MESSAGE)
    dovecot.append(mailbox, MESSAGE, folder="Kunden")
    profiles = incoming(folders=["INBOX", "Kunden"], after="move:Done") + outgoing()
    said = trial(profiles, "--owner", mailbox)
    assert f"[incoming.staff] {mailbox} (imap INBOX, Kunden at {HOST}:{dovecot.imaps} with tls)" in said
    assert f"{HOST}:{dovecot.imaps} answers" in said
    assert "TLSv1.3; the certificate is from CRM email router test authority, valid until 20" in said
    assert f"login         as {mailbox}" in said
    assert "IDLE, NOTIFY, MOVE, UIDPLUS, CONDSTORE, QRESYNC, SPECIAL-USE" in said
    assert "INBOX: 1 message, " in said
    assert "; Kunden: 1 message, " in said
    assert "move:Done: the folder is not there yet, it is made when it is needed" in said
    assert "SMTPUTF8" in said
    assert "2 of 2 work\n" in said
    assert "warning" not in said
    assert "FAILED" not in said


def test_json(trial: Trial, incoming: Profile, outgoing: Profile, mailbox: str) -> None:
    profiles = incoming() + outgoing(host="relay.invalid")
    told = json.loads(trial(profiles, "--owner", mailbox, "--json", status=1))
    assert told["ok"] is False
    assert told["mistakes"] == told["notes"] == []
    assert [(one["direction"], one["profile"], one["transport"], one["mailbox"]) for one in told["examined"]] == [
        ("incoming", "staff", "imap", mailbox),
        ("outgoing", "relay", "smtp", None),
    ]
    assert [one["ok"] for one in told["examined"]] == [True, False]
    steps = [found["step"] for found in told["examined"][0]["findings"]]
    assert steps == ["name", "connection", "TLS", "login", "capabilities", "folders"]
    assert {found["state"] for found in told["examined"][0]["findings"]} == {"ok"}
    (found,) = told["examined"][1]["findings"]
    assert (found["step"], found["state"]) == ("name", "failed")
    assert found["words"].startswith("relay.invalid cannot be found: ")
    assert found["advice"]


def test_nothing_is_changed(trial: Trial, incoming: Profile, dovecot: Dovecot, mailbox: str) -> None:
    for folder in ("INBOX", "Kunden"):
        dovecot.append(mailbox, MESSAGE, folder=folder)
        dovecot.append(mailbox, MESSAGE, folder=folder, flags=["\\Flagged"])

    def look() -> Any:
        with dovecot.connect(mailbox) as imap:
            counted = [
                imap.status(name, "(MESSAGES RECENT UNSEEN UIDNEXT UIDVALIDITY)") for name in ("INBOX", "Kunden")
            ]
            return dovecot.folders(mailbox), imap.lsub(), counted, dovecot.flags(mailbox)

    before = look()
    assert b"RECENT 2" in before[2][0][1][0]
    trial(incoming(folders=["*"], after="move:Done"), "--owner", mailbox)
    assert look() == before


def test_a_folder_that_is_not_there(trial: Trial, incoming: Profile, mailbox: str) -> None:
    said = trial(incoming(folders=["INBOX", "Kunden"]), "--owner", mailbox, status=1)
    assert 'FAILED   folders       there is no folder "Kunden"' in said
    assert 'write as "folders" what is there: INBOX, Drafts, Junk, Sent, Trash' in said
    assert "INBOX: empty" in said
    assert f"does not work: [incoming.staff] {mailbox}: folders" in said


def test_many_folders_are_told_together(trial: Trial, incoming: Profile, dovecot: Dovecot, mailbox: str) -> None:
    for folder in ("Änderungen", "B", "C"):
        dovecot.append(mailbox, MESSAGE, folder={"Änderungen": "&AMQ-nderungen"}.get(folder, folder))
    found = findings(trial(incoming(folders=["*"]), "--owner", mailbox, "--json"), "staff")["folders"]
    assert found["words"].startswith("3 messages, ")
    assert found["words"].endswith(" in 5 folders: INBOX, B, C, Sent, Änderungen")


def test_a_keyword_that_only_setting_it_could_prove(
    trial: Trial, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    profiles = incoming(after="keyword:crm-done")
    found = findings(trial(profiles, "--owner", mailbox, "--json"), "staff")["after"]
    assert found["state"] == "warning"
    dovecot.append(mailbox, MESSAGE, flags=["crm-done"])
    found = findings(trial(profiles, "--owner", mailbox, "--json"), "staff")["after"]
    assert (found["state"], found["words"]) == ("ok", "the keyword crm-done is kept")


def test_the_login_is_refused(trial: Trial, incoming: Profile, mailbox: str) -> None:
    found = findings(trial(incoming(auth=WRONG_OWN), "--owner", mailbox, "--json", status=1), "staff")
    assert list(found) == ["name", "connection", "TLS", "login"]
    assert found["login"]["state"] == "failed"
    assert f"refuses the login of {mailbox}: [AUTHENTICATIONFAILED]" in found["login"]["words"]
    assert "the environment variable WRONG_PASSWORD" in found["login"]["advice"]


def test_a_secret_that_is_missing(trial: Trial, incoming: Profile, mailbox: str, tmp_path: Path) -> None:
    auth = {"user": "{mailbox}", "password": {"file": str(tmp_path / "{mailbox}")}}
    found = findings(trial(incoming(auth=auth), "--owner", mailbox, "--json", status=1), "staff")["login"]
    assert found["words"] == f"the secret {tmp_path / mailbox} cannot be read: No such file or directory"
    assert found["advice"] == "put the secret there, readable for the user that runs the router"


def test_a_master_user(trial: Trial, incoming: Profile, mailbox: str) -> None:
    assert f"as {mailbox}*crm-router" in trial(incoming(auth=MASTER), "--owner", mailbox)


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_an_unknown_authority(
    trial: Trial, incoming: Profile, outgoing: Profile, dovecot: Dovecot, postfix: Postfix, mailbox: str, security: str
) -> None:
    imap, smtp = (dovecot.imaps, postfix.smtps) if security == "tls" else (dovecot.imap, postfix.smtp)
    # Any authority but the right one; the system may have none at all.
    profiles = incoming(port=imap, security=security) + outgoing(port=smtp, security=security)
    profiles = "\n".join(line for line in profiles.splitlines() if not line.startswith("ca_file"))
    printed = trial(profiles, "--owner", mailbox, "--json", status=1)
    for profile, port in (("staff", imap), ("relay", smtp)):
        found = findings(printed, profile)
        assert list(found) == ["name", "connection", "TLS"]
        assert found["connection"]["state"] == "ok"
        assert "its certificate cannot be trusted: unable to get local issuer certificate" in found["TLS"]["words"]
        assert 'write as "ca_file" the file (PEM)' in found["TLS"]["advice"]
        assert f"{HOST}:{port}" in found["TLS"]["advice"]


def test_an_authority_that_is_another(trial: Trial, incoming: Profile, mailbox: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = make_tls(tmp_path / "other").ca_file
    found = findings(trial(incoming(ca_file=str(other)), "--owner", mailbox, "--json", status=1), "staff")["TLS"]
    assert f"{other} (ca_file) does not hold the authority" in found["advice"]


def test_a_client_certificate_that_soon_ends(
    trial: Trial, incoming: Profile, outgoing: Profile, mailbox: str, tmp_path: Path
) -> None:
    (tmp_path / "ours").mkdir()
    ours = make_tls(tmp_path / "ours", days=20)
    file, key = str(ours.certificate), str(ours.key)
    profiles = incoming(client_cert=file, client_key=key) + outgoing(certificate={"file": file, "key": key})
    printed = trial(profiles, "--owner", mailbox, "--json")
    for profile in ("staff", "relay"):
        found = findings(printed, profile)["certificate"]
        assert found["state"] == "warning"
        assert found["words"].startswith(f"we show {file}, valid until 20")
        assert found["words"].endswith((", 19 days from now", ", 20 days from now"))


def test_a_certificate_of_another_name(trial: Trial, incoming: Profile, outgoing: Profile, mailbox: str) -> None:
    # An address as no certificate writes it, and so another name to TLS.
    host = "127.1"
    printed = trial(incoming(host=host) + outgoing(host=host), "--owner", mailbox, "--json", status=1)
    for profile in ("staff", "relay"):
        found = findings(printed, profile)
        assert found["name"]["words"] == f"{host} is 127.0.0.1"
        assert "ostname mismatch, certificate is not valid for '127.1'" in found["TLS"]["words"]
        assert found["TLS"]["advice"] == 'write as "host" a name that the certificate is for'


def test_nobody_listens(trial: Trial, incoming: Profile, outgoing: Profile, mailbox: str) -> None:
    port = free_port()
    printed = trial(incoming(port=port) + outgoing(port=port), "--owner", mailbox, "--json", status=1)
    for profile, usual in (("staff", '993 (security = "tls")'), ("relay", '587 (security = "starttls")')):
        found = findings(printed, profile)["connection"]
        assert found["words"] == f"cannot connect to {HOST}:{port}: Connection refused"
        assert f"does a mail server listen at port {port} of {HOST}" in found["advice"]
        assert usual in found["advice"]


def test_a_name_that_nobody_has(trial: Trial, incoming: Profile, outgoing: Profile, mailbox: str) -> None:
    profiles = incoming(host="mail.invalid") + outgoing(host="mail.invalid")
    printed = trial(profiles, "--owner", mailbox, "--json", status=1)
    for profile in ("staff", "relay"):
        found = findings(printed, profile)
        assert list(found) == ["name"]
        assert found["name"]["words"].startswith("mail.invalid cannot be found: ")


def test_tls_where_there_is_none(
    trial: Trial, incoming: Profile, outgoing: Profile, dovecot: Dovecot, postfix: Postfix, mailbox: str
) -> None:
    profiles = incoming(port=dovecot.imap) + outgoing(port=postfix.smtp, security="tls")
    printed = trial(profiles, "--owner", mailbox, "--json", status=1)
    usual_ports = {
        "staff": 'usual ports are 993 (security = "tls"), 143 (security = "starttls" or "none")',
        "relay": 'usual ports are 465 (security = "tls"), 587 (security = "starttls"), 25 (security = "none")',
    }
    for profile, usual in usual_ports.items():
        found = findings(printed, profile)
        assert found["connection"]["state"] == "ok"
        assert "it does not speak TLS at this port" in found["TLS"]["words"]
        assert found["TLS"]["advice"] == usual


async def test_a_server_that_says_nothing(trial: Trial, incoming: Profile, outgoing: Profile, mailbox: str) -> None:
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        clear = {"port": port, "security": "none", "timeout": 0.2}
        printed = trial(incoming(**clear) + outgoing(**clear), "--owner", mailbox, "--json", status=1)
    for profile in ("staff", "relay"):
        assert findings(printed, profile)["connection"]["state"] == "failed"


def test_a_relay_with_a_login(trial: Trial, outgoing: Profile, postfix: Postfix, mailbox: str) -> None:
    def login(secret: str) -> Mapping[str, Any]:
        return {"user": mailbox, "password": {"env": secret}}

    profiles = outgoing("good", port=postfix.smtps, security="tls", auth=login("MAILBOX_PASSWORD"))
    profiles += outgoing("bad", port=postfix.submission, senders=["*@bad.test"], auth=login("WRONG_PASSWORD"))
    printed = trial(profiles, "--json", status=1)
    assert findings(printed, "good")["login"]["words"] == f"as {mailbox}"
    assert "SIZE" not in findings(printed, "good")["capabilities"]["words"]
    assert "MB at most" in findings(printed, "good")["capabilities"]["words"]
    found = findings(printed, "bad")
    assert list(found) == ["name", "connection", "TLS", "login"]
    assert found["login"]["words"].startswith(f"the login of {mailbox} is refused: 535 ")
    assert "the environment variable WRONG_PASSWORD" in found["login"]["advice"]


def test_nothing_is_sent(trial: Trial, outgoing: Profile, postfix: Postfix) -> None:
    begins = len(postfix.log())
    trial(outgoing())
    assert ": client=" not in postfix.log()[begins:]


def test_a_message_is_sent_where_somebody_says_so(
    trial: Trial, outgoing: Profile, postfix: Postfix, mailbox: str
) -> None:
    to = mailbox.replace("@in.test", "@example.com")
    said = trial(outgoing(), "relay", "--owner", mailbox, "--send-to", to)
    assert f"sent from {mailbox} to {to}; the words of {HOST}:{postfix.smtp}: 2.0.0 Ok: queued as" in said
    assert f"MAIL FROM {mailbox} is taken" in said
    (kept,) = postfix.wait_for(1, to)
    assert kept.sender == mailbox
    assert b"Test of the relay relay" in kept.message
    assert b"Auto-Submitted: auto-generated" in kept.message

    found = findings(
        trial(outgoing(), "relay", "--owner", mailbox, "--send-to", "refused@example.com", "--json", status=1), "relay"
    )
    assert "No such user here, says the test server" in found["message"]["words"]
    found = findings(
        trial(outgoing(), "--owner", "x@other.test", "--send-to", to, "relay", "--json", status=1), "relay"
    )
    assert "no approved owner's mail goes by this relay" in found["message"]["words"]
    assert "is no address of one mailbox" in " ".join(trial(outgoing(), "--send-to", "ann", status=2).split())


def test_a_message_is_sent_though_one_of_the_servers_is_away(
    trial: Trial, outgoing: Profile, postfix: Postfix, mailbox: str
) -> None:
    to = mailbox.replace("@in.test", "@example.com")
    away = f"{HOST}:{free_port()}"
    arguments = ("relay", "--owner", mailbox, "--send-to", to)
    said = trial(outgoing(host=None, hosts=[away, f"{HOST}:{postfix.smtp}"]), *arguments, status=1)
    assert f"cannot connect to {away}" in said
    assert f"sent from {mailbox} to {to}; the words of {HOST}:{postfix.smtp}: 2.0.0 Ok" in said
    (kept,) = postfix.wait_for(1, to)
    assert b"Test of the relay relay" in kept.message

    found = findings(trial(outgoing(host=None, hosts=[away]), *arguments, "--json", status=1), "relay")
    assert found["message"]["words"] == "none is sent: the relay does not work"


def test_a_forward_mailbox_is_logged_in_to_once_whoever_the_owners_are(
    trial: Trial, incoming: Profile, mailbox: str
) -> None:
    auth = {"user": mailbox, "password": {"env": "MAILBOX_PASSWORD"}}
    sink = incoming("sink", role="forward", owners=None, forwarders=["*@in.test"], authserv="mx", auth=auth)
    said = trial(sink)
    assert "[incoming.sink] (imap INBOX at" in said
    assert f"login         as {mailbox}" in said
    assert "believes what *@in.test forward, where the Authentication-Results of mx vouch for them" in said
    unverified = sink.replace('authserv = "mx"', "allow_unverified = true")
    found = findings(trial(unverified, "--owner", "ann@in.test", "--json"), "sink")["forwarders"]
    assert (found["state"], "allow_unverified" in found["words"]) == ("warning", True)


def listener(address: str, **keys: str) -> str:
    more = "\n".join(f"{key} = {value}" for key, value in keys.items())
    return f'[incoming.copies]\ntransport = "smtp"\nlisten = "{address}"\nowners = ["*@in.test"]\ncopy = true\n{more}\n'


def test_a_listener_that_nobody_serves_yet(trial: Trial) -> None:
    said = trial(listener(f"127.0.0.1:{free_port()}"))
    assert "is free to listen at; no router does so now" in said
    assert "only programs on this machine reach it" in said


def test_a_listener_that_nobody_can_reach_and_may(trial: Trial) -> None:
    printed = trial(listener(f"127.0.0.1:{free_port()}", clients='["10.0.0.0/8"]'), "--json", status=1)
    found = findings(printed, "copies")["clients"]
    assert found["state"] == "failed"
    assert "nobody may hand over mail" in found["words"]


async def test_a_listener_that_a_router_serves(trial: Trial, new_router: NewRouter) -> None:
    profiles = listener(f"127.0.0.1:{free_port()}")
    await new_router(profiles, says=("listening",))
    assert "is served: a router listens there" in await asyncio.to_thread(trial, profiles)


def test_a_listener_whose_address_another_program_has(trial: Trial, dovecot: Dovecot) -> None:
    found = findings(trial(listener(f"127.0.0.1:{dovecot.imap}"), "--json", status=1), "copies")["address"]
    assert "another program listens there; it says: * OK" in found["words"]
    assert "choose another address" in found["advice"]


@pytest.mark.parametrize(
    ("clients", "state", "words"),
    [
        ('["127.0.0.0/8"]', "warning", "but only 127.0.0.0/8 may hand over mail"),
        ('["10.0.0.0/8"]', "warning", "only 10.0.0.0/8 may hand over mail; it may come in clear text"),
    ],
)
def test_a_listener_that_others_reach(trial: Trial, clients: str, state: str, words: str) -> None:
    printed = trial(listener(f"0.0.0.0:{free_port()}", clients=clients), "--json")
    found = findings(printed, "copies")["clients"]
    assert found["state"] == state
    assert words in found["words"]


def test_a_listener_that_others_reach_over_tls(trial: Trial, tls: Tls) -> None:
    keys = {"cert_file": json.dumps(str(tls.certificate)), "key_file": json.dumps(str(tls.key)), "require_tls": "true"}
    printed = trial(listener(f"0.0.0.0:{free_port()}", clients='["10.0.0.0/8"]', **keys), "--json")
    found = findings(printed, "copies")["clients"]
    assert (found["state"], found["words"]) == ("ok", "only 10.0.0.0/8 may hand over mail, over TLS")


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="er-") as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("0600", "only the router's user may hand over mail"),
        ("0660", "the router's user and the router's group may hand over mail"),
        ("0666", "every user of this machine may hand over mail"),
    ],
)
def test_a_listener_at_a_socket(trial: Trial, socket_folder: Path, mode: str, words: str) -> None:
    found = findings(trial(at_socket(socket_folder, mode=mode), "--json"), "copies")
    assert found["address"]["words"] == f"unix:{socket_folder}/lmtp is free to listen at; no router does so now"
    assert found["clients"]["words"] == words
    assert list(socket_folder.iterdir()) == []


async def test_a_socket_that_a_router_serves(trial: Trial, new_router: NewRouter, socket_folder: Path) -> None:
    profiles = at_socket(socket_folder)
    await new_router(profiles, says=("listening",))
    assert "is served: a router listens there" in await asyncio.to_thread(trial, profiles)
    assert (socket_folder / "lmtp").exists()


def test_a_socket_in_a_folder_that_is_not_there(trial: Trial, socket_folder: Path) -> None:
    found = findings(trial(at_socket(socket_folder / "run"), "--json", status=1), "copies")["address"]
    assert found["words"].endswith(f"the folder {socket_folder}/run is not there; make it")
    assert "does the router's user own the folder" in found["advice"]


def at_socket(folder: Path, mode: str = "0660") -> str:
    return (
        f'[incoming.copies]\ntransport = "lmtp"\nlisten = "unix:{folder}/lmtp"\nmode = "{mode}"\n'
        'owners = ["*@in.test"]\ncopy = true\n'
    )


def test_a_listener_whose_certificate_cannot_be_used(trial: Trial, tmp_path: Path) -> None:
    (tmp_path / "no.pem").touch()
    printed = trial(listener("127.0.0.1:0", cert_file=json.dumps(str(tmp_path / "no.pem"))), "--json", status=1)
    assert "no.pem cannot be used: " in findings(printed, "copies")["TLS"]["words"]


async def test_the_owners_of_the_crm(trial: Trial, incoming: Profile, outgoing: Profile, database: str) -> None:
    connection = await asyncpg.connect(database)
    for name, approved in (("ann", True), ("ben", True), ("eve", False)):
        record = await connection.fetchval("INSERT INTO crm.record (kind, name) VALUES ('user', $1) RETURNING id", name)
        await connection.execute("INSERT INTO crm.owner VALUES ($1, $2, NULL, $3)", record, f"{name}@in.test", approved)
    profiles = incoming() + incoming("other", owners=["*@other.test"]) + outgoing()

    def tried(*arguments: str, status: int = 0) -> str:
        return trial(profiles, *arguments, status=status, EMAIL_ROUTER_DATABASE_URL=database)

    said = await asyncio.to_thread(tried)
    assert "login         as ann@in.test" in said
    assert "login         as ben@in.test" in said
    assert "eve" not in said
    assert said.count(" answers\n") == 3, "what was told of a profile is not told again"
    assert "no approved owner has a mailbox that this profile reads" in said
    assert '"email-router test --owner ADDRESS" tries a mailbox' in said
    assert "4 of 4 work, 1 with warnings" in said
    assert "MAIL FROM any of 2 mailboxes is taken" in said
    one = json.loads(await asyncio.to_thread(tried, "staff", "--json"))
    assert [found["mailbox"] for found in one["examined"]] == ["ann@in.test", "ben@in.test"]
    one = json.loads(await asyncio.to_thread(tried, "outgoing.relay", "--json"))
    assert [found["profile"] for found in one["examined"]] == ["relay"]

    await connection.execute("UPDATE crm.owner SET approved = mailbox LIKE 'eve%'")
    await connection.execute(
        "UPDATE crm.owner SET mailbox = 'ann@nobody.test', approved = true WHERE mailbox LIKE 'ann%'"
    )
    await connection.execute("UPDATE crm.owner SET approved = true WHERE mailbox LIKE 'ann%'")
    await connection.close()
    said = await asyncio.to_thread(tried, status=1)
    assert "owner ann@nobody.test: no incoming profile serves this mailbox" in said


async def test_owners_who_wait_for_approval(trial: Trial, incoming: Profile, database: str) -> None:
    connection = await asyncpg.connect(database)
    record = await connection.fetchval("INSERT INTO crm.record (kind, name) VALUES ('user', 'Eve') RETURNING id")
    await connection.execute("INSERT INTO crm.owner VALUES ($1, 'eve@in.test', NULL, false)", record)
    await connection.close()
    said = await asyncio.to_thread(trial, incoming(), EMAIL_ROUTER_DATABASE_URL=database)
    assert "email-router owners approve eve@in.test" in said
    assert "login" not in said.replace("logged in", "")


def test_without_its_database_the_rest_is_tried(trial: Trial, incoming: Profile, outgoing: Profile) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    printed = trial(incoming() + outgoing(), "--json", status=1, EMAIL_ROUTER_DATABASE_URL=url)
    found = findings(printed, "staff")
    assert found["owners"]["words"].startswith("the owners are not known: ")
    assert "--owner" in found["owners"]["advice"]
    assert found["TLS"]["state"] == "ok"
    assert findings(printed, "relay")["capabilities"]["state"] == "ok"
    assert findings(printed, "relay")["senders"]["state"] == "warning"
    assert findings(printed, "relay")["senders"]["words"].startswith("the owners are not known: ")


def test_an_owner_nobody_serves(trial: Trial, incoming: Profile, mailbox: str) -> None:
    profiles = incoming(owners=["*@other.test"])
    said = trial(profiles, "--owner", mailbox, status=1)
    assert f"owner {mailbox}: no incoming profile serves this mailbox" in said
    assert "work\n" not in said
    found = findings(trial(profiles, "staff", "--owner", mailbox, "--json"), "staff")
    assert found["owners"]["state"] == "warning"
    assert found["folders"]["state"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "there is no profile 'nobody'; there are staff, relay"),
        (["--owner", "ann"], '"ann" is no address of one mailbox, such as "ann@example.com"'),
        (["--owner", "*@in.test"], "is no address of one mailbox"),
    ],
)
def test_usage(trial: Trial, incoming: Profile, outgoing: Profile, arguments: list[str], words: str) -> None:
    assert words in " ".join(trial(incoming() + outgoing(), *arguments, status=2).split())


def test_profiles_that_are_wrong(trial: Trial) -> None:
    profiles = '[incoming.staff]\ntransport = "imapp"\n'
    assert "all.toml:2: [incoming.staff]" in trial(profiles, status=1)
    told = json.loads(trial(profiles, "--json", status=1))
    assert (told["ok"], told["examined"], told["notes"]) == (False, [], [])
    assert [(one["file"], one["line"]) for one in told["mistakes"]] == [("all.toml", 2)]


def test_a_mistake_in_one_profile_does_not_keep_another_from_being_tried(trial: Trial, outgoing: Profile) -> None:
    profiles = outgoing() + '[incoming.staff]\ntransport = "imapp"\n'
    for arguments, status in ((["relay"], 0), ([], 1)):
        said = trial(profiles, *arguments, status=status)
        assert "1 of 1 work" in said
        assert "not tried, since these profiles are broken:" in said
        assert "[incoming.staff] unknown transport" in said
        told = json.loads(trial(profiles, *arguments, "--json", status=status))
        assert told["ok"] == (status == 0)
        assert [one["profile"] for one in told["examined"]] == ["relay"]
        assert "unknown transport" in told["mistakes"][0]["text"]
    said = trial(profiles, "staff", status=1)
    assert "unknown transport" in said
    assert "work" not in said


def test_a_pop3_mailbox(trial: Trial, incoming: Profile, dovecot: Dovecot, mailbox: str) -> None:
    dovecot.append(mailbox, MESSAGE)
    keys: dict[str, Any] = {"transport": "pop3", "port": dovecot.pop3, "security": "starttls", "after": "delete"}
    said = trial(incoming(**keys), "--owner", mailbox)
    assert f"[incoming.staff] {mailbox} (pop3 INBOX at {HOST}:{dovecot.pop3} with starttls)" in said
    assert "TLSv1.3; the certificate is from CRM email router test authority, valid until 20" in said
    assert "UIDL, TOP, PIPELINING, SASL PLAIN" in said
    assert "INBOX: 1 message, " in said
    assert "1 of 1 work\n" in said
    assert dovecot.count(mailbox) == 1
    assert dovecot.flags(mailbox) == {1: set()}

    said = trial(incoming(**keys | {"auth": WRONG_OWN}), "--owner", mailbox, status=1)
    assert f"refuses the login of {mailbox}" in said
    assert "the password is from the environment variable WRONG_PASSWORD" in said
