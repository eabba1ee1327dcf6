"""The servers that other tests lean on do what those tests believe they do."""

import imaplib
import poplib
import smtplib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import HOST, MASTER_PASSWORD, MASTER_USER, PASSWORD, Dovecot
from tests.servers.imap_server import ImapServer
from tests.servers.ports import free_port
from tests.servers.postfix import DEFERRED, REFUSED, Postfix
from tests.servers.tls import Tls

MESSAGE = b"From: a@out.test\r\nSubject: caf\xe9 * b\r\n\r\nfirst\r\n.second\r\n"


@pytest.fixture(params=["dovecot", "cyrus"])
def server(request: pytest.FixtureRequest) -> ImapServer:
    found: ImapServer = request.getfixturevalue(request.param)
    return found


def test_mail_delivered_by_lmtp_is_read_by_imap_over_tls(server: ImapServer, mailbox: str) -> None:
    server.deliver(mailbox, MESSAGE)

    assert server.count(mailbox) == 1
    assert server.flags(mailbox) == {1: set()}
    (content,) = server.messages(mailbox).values()
    assert all(part in content for part in MESSAGE.split(b"\r\n\r\n"))
    assert {"INBOX", "Junk", "Trash", "Drafts", "Sent"} == server.folders(mailbox)


def test_imap_by_starttls(server: ImapServer, tls: Tls, mailbox: str) -> None:
    server.deliver(mailbox, MESSAGE)

    with imaplib.IMAP4(HOST, server.imap, timeout=20) as imap:
        imap.starttls(tls.client_context())
        imap.login(mailbox, PASSWORD)
        assert imap.select() == ("OK", [b"1"])


def test_append_makes_the_folder_and_keeps_the_flags(server: ImapServer, mailbox: str) -> None:
    server.append(mailbox, MESSAGE, "Old mail/2025", ["\\Seen", "tracked"])

    assert server.flags(mailbox, "Old mail/2025") == {1: {"\\Seen", "tracked"}}
    assert server.messages(mailbox, "Old mail/2025") == {1: MESSAGE}
    assert "Old mail/2025" in server.folders(mailbox)


def test_pop3_in_clear_by_starttls_and_over_tls(dovecot: Dovecot, tls: Tls, mailbox: str) -> None:
    dovecot.deliver(mailbox, MESSAGE)

    def read(pop3: poplib.POP3) -> bytes:
        pop3.user(mailbox)
        pop3.pass_(PASSWORD)
        lines = pop3.retr(1)[1]
        pop3.quit()
        return b"\r\n".join(lines) + b"\r\n"

    starttls = poplib.POP3(HOST, dovecot.pop3, timeout=20)
    starttls.stls(tls.client_context())
    wholes = [
        read(poplib.POP3(HOST, dovecot.pop3, timeout=20)),
        read(starttls),
        read(poplib.POP3_SSL(HOST, dovecot.pop3s, timeout=20, context=tls.client_context())),
    ]
    assert all(whole.endswith(MESSAGE) for whole in wholes)


def test_the_master_user_opens_any_mailbox(dovecot: Dovecot, mailbox: str) -> None:
    dovecot.deliver(mailbox, MESSAGE)

    with dovecot.connect(f"{mailbox}*{MASTER_USER}", MASTER_PASSWORD) as imap:
        assert imap.select(readonly=True) == ("OK", [b"1"])


@pytest.mark.parametrize(("suffix", "password"), [("", "wrong"), (f"*{MASTER_USER}", PASSWORD), ("*else", "wrong")])
def test_a_wrong_password_is_refused(dovecot: Dovecot, mailbox: str, suffix: str, password: str) -> None:
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"), dovecot.connect(mailbox + suffix, password):
        pass


def test_access_tokens_open_their_mailbox_until_they_expire(dovecot: Dovecot, tls: Tls, mailbox: str) -> None:
    def log_in(token: str) -> None:
        with imaplib.IMAP4_SSL(HOST, dovecot.imaps, ssl_context=tls.client_context(), timeout=20) as imap:
            # A refusal comes as a challenge that says why, and wants an empty answer.
            answers = iter([f"user={mailbox}\x01auth=Bearer {token}\x01\x01".encode(), b""])
            imap.authenticate("XOAUTH2", lambda _: next(answers))

    log_in(dovecot.token(mailbox))
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        log_in(dovecot.token(mailbox, lifetime=-60))


def test_cyrus_lets_an_administrator_in_for_any_mailbox(cyrus: Cyrus, tls: Tls, mailbox: str) -> None:
    cyrus.deliver(mailbox, MESSAGE)

    def messages(user: str, password: str) -> Any:
        with imaplib.IMAP4_SSL(HOST, cyrus.imaps, ssl_context=tls.client_context(), timeout=20) as imap:
            imap.authenticate("PLAIN", lambda _: f"{mailbox}\0{user}\0{password}".encode())
            return imap.select(readonly=True)

    assert messages(MASTER_USER, MASTER_PASSWORD) == ("OK", [b"1"])
    for user, password in ((MASTER_USER, PASSWORD), ("somebody@in.test", PASSWORD), (mailbox, "wrong")):
        with pytest.raises(imaplib.IMAP4.error):
            messages(user, password)
    with cyrus.connect(MASTER_USER, MASTER_PASSWORD) as imap:
        assert imap.create(f"user/{mailbox.replace('@', '/Made@')}")[0] == "OK"
    assert "Made" in cyrus.folders(mailbox)


def test_cyrus_wants_no_password_in_clear(cyrus: Cyrus, mailbox: str) -> None:
    with imaplib.IMAP4(HOST, cyrus.imap, timeout=20) as imap, pytest.raises(imaplib.IMAP4.error):
        imap.login(mailbox, PASSWORD)


def test_cyrus_tells_of_new_mail_at_once(cyrus: Cyrus, mailbox: str) -> None:
    with cyrus.connect(mailbox) as imap:
        imap.select()
        imap.send(b"A1 IDLE\r\n")
        assert imap.readline().startswith(b"+")
        cyrus.deliver(mailbox, MESSAGE)
        # Without idled this would take a minute, and the time of the connection is 20 seconds.
        assert imap.readline() == b"* 1 EXISTS\r\n"
        imap.send(b"DONE\r\n")
        while not imap.readline().startswith(b"A1 OK"):
            pass


@pytest.mark.parametrize("kind", [Dovecot, Cyrus])
def test_a_server_killed_comes_back_with_its_mail(kind: type[Dovecot | Cyrus], tls: Tls, mailbox: str) -> None:
    server = kind(tls)
    try:
        server.deliver(mailbox, MESSAGE)
        with server.connect(mailbox) as imap:
            server.kill()
            with pytest.raises(imaplib.IMAP4.abort):
                imap.noop()
        server.start()
        assert server.count(mailbox) == 1
        server.restart()
        assert server.count(mailbox) == 1
    finally:
        server.close()


@contextmanager
def submission(postfix: Postfix, tls: Tls, user: str) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(HOST, postfix.submission, timeout=20) as smtp:
        smtp.starttls(context=tls.client_context())
        smtp.login(user, PASSWORD)
        yield smtp


def test_mail_submitted_with_starttls_and_auth_is_received(postfix: Postfix, tls: Tls, mailbox: str) -> None:
    with submission(postfix, tls, mailbox) as smtp:
        smtp.sendmail(mailbox, ["one@example.com", "two@example.com"], MESSAGE, ["BODY=8BITMIME"])

    (delivered,) = postfix.wait_for(1, mailbox)
    assert delivered.sender == mailbox
    assert delivered.recipients == ("one@example.com", "two@example.com")
    assert delivered.message.endswith(MESSAGE)
    assert b"with ESMTPSA" in delivered.message


def test_mail_over_tls_from_the_start(postfix: Postfix, tls: Tls, mailbox: str) -> None:
    with smtplib.SMTP_SSL(HOST, postfix.smtps, timeout=20, context=tls.client_context()) as smtp:
        smtp.login(mailbox, PASSWORD)
        smtp.sendmail(mailbox, ["one@example.com"], MESSAGE)

    assert len(postfix.wait_for(1, mailbox)) == 1


def test_mail_in_clear_goes_into_the_mailbox_of_its_recipient(
    postfix: Postfix, dovecot: Dovecot, new_mailbox: Callable[[str], str]
) -> None:
    alice, bob = new_mailbox("alice"), new_mailbox("bob")
    with dovecot.connect(bob) as imap, smtplib.SMTP(HOST, postfix.smtp, timeout=20) as smtp:
        imap.select()
        smtp.sendmail(alice, [bob], MESSAGE)
        dovecot.wait_for(bob, 1)

    assert dovecot.messages(bob)[1].endswith(MESSAGE)
    assert postfix.received(alice) == []


def test_submission_wants_auth(postfix: Postfix, tls: Tls, mailbox: str) -> None:
    with smtplib.SMTP(HOST, postfix.submission, timeout=20) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("auth")  # a password in clear is not invited
        smtp.starttls(context=tls.client_context())
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="554"):
            smtp.sendmail(mailbox, ["one@example.com"], MESSAGE)
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login(mailbox, "wrong")


def test_refused_and_deferred_recipients_are_told_the_words(postfix: Postfix, mailbox: str) -> None:
    with smtplib.SMTP(HOST, postfix.smtp, timeout=20) as smtp:
        not_taken = smtp.sendmail(
            mailbox, ["refused@example.com", "deferred-1@crm.test", "one@example.com", "x@elsewhere.invalid"], MESSAGE
        )

    words = {address: f"{code} {text.decode()}" for address, (code, text) in not_taken.items()}
    assert words.keys() == {"refused@example.com", "deferred-1@crm.test", "x@elsewhere.invalid"}
    assert words["refused@example.com"].endswith(REFUSED.partition(" ")[2].partition(" ")[2])
    assert words["refused@example.com"].startswith("550 5.1.1 ")
    assert words["deferred-1@crm.test"].endswith(DEFERRED.partition(" ")[2].partition(" ")[2])
    assert words["deferred-1@crm.test"].startswith("450 4.2.1 ")
    assert "Relay access denied" in words["x@elsewhere.invalid"]
    (delivered,) = postfix.wait_for(1, mailbox)
    assert delivered.recipients == ("one@example.com",)


def test_mail_goes_to_a_listener_named_by_its_domain(
    postfix: Postfix, dovecot: Dovecot, new_mailbox: Callable[[str], str]
) -> None:
    recipient = new_mailbox("alice").partition("@")[0] + "@" + postfix.domain_for(dovecot.lmtp, "lmtp")
    with smtplib.SMTP(HOST, postfix.smtp, timeout=20) as smtp:
        smtp.sendmail("a@out.test", [recipient], MESSAGE)

    dovecot.wait_for(recipient, 1)


def test_postfix_killed_comes_back_with_its_queue(tls: Tls, dovecot: Dovecot, mailbox: str) -> None:
    recipient = mailbox.replace("@in.test", "@branch.test")
    postfix = Postfix(tls, dovecot)
    try:
        postfix.route("branch.test", free_port())
        with smtplib.SMTP(HOST, postfix.smtp, timeout=20) as smtp:
            smtp.sendmail("a@out.test", [recipient], MESSAGE)
        postfix.kill()
        with pytest.raises(ConnectionRefusedError):
            smtplib.SMTP(HOST, postfix.smtp, timeout=20)
        postfix.route("branch.test", dovecot.lmtp, "lmtp")
        postfix.start()
        dovecot.wait_for(recipient, 1)
    finally:
        postfix.close()
