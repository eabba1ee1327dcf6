"""`email-router explain`: what is read, what would become of it; nothing is stored."""

import json
import smtplib
from datetime import timedelta
from pathlib import Path

from tests.servers.ports import free_port
from tests.support.build import mail
from tests.support.command import Said, type_command
from tests.support.correlating import SALES, Correlating
from tests.support.crm import Crm
from tests.support.forwards import AUTHSERV, forwarding, vouched
from tests.support.letters import letter
from tests.support.router_process import NewRouter

KARL, ANN = "karl@kunde.test", "ann@in.test"


async def explain(
    *arguments: str, database: str = "postgresql:///none", given: bytes = b"", profiles: str = "/nowhere"
) -> Said:
    return await type_command(database, "explain", *arguments, answer=given, profiles=profiles)


async def test_a_file_that_is_no_mail_is_told(tmp_path: Path) -> None:
    file = tmp_path / "passwd"
    file.write_text("root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/bin/sh\n")
    status, _, err = await explain(str(file))
    assert (status, err) == (
        1,
        f"{file}: this does not look like mail: it has none of From, To, Date, Subject and Message-ID\n",
    )


async def test_it_shows_what_is_read_and_needs_no_database(tmp_path: Path) -> None:
    file = tmp_path / "größe.eml"
    file.write_bytes(letter("Karl Größe <karl@kunde.test>", ANN, "Grüße CRM:k3m9x2p7", "Liebe Ann\n", html="<p>x</p>"))
    status, out, err = await explain(
        str(file), "-", given=b"Subject: broken\nContent-Type: text/plain; charset=x-y\n\n\xff"
    )
    assert (status, err) == (0, "")
    for words in ("größe.eml", "Karl Größe <karl@kunde.test>", "Grüße", "k3m9x2p7", "Liebe Ann", "broken", "x-y"):
        assert words in out
    assert "decision" not in out


async def test_of_mail_that_was_decided_before_it_tells_why(
    crm: Crm, new_router: NewRouter, database: str, tmp_path: Path
) -> None:
    await crm.owner(ANN, "known")
    port = free_port()
    listens = f'transport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\ncopy = true\n'
    await new_router(f"[incoming.door]\n{listens}", says=("listening",))
    private = letter("friend@home.test", ANN, "private")
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        smtp.sendmail("friend@home.test", [ANN], private)
    first = await crm.admin.fetchval("SELECT reasons FROM router.decision WHERE disposition = 'ignored'")
    (tmp_path / "private.eml").write_bytes(private)
    status, out, err = await explain(str(tmp_path / "private.eml"), "--owner", ANN, "--json", database=database)
    assert (status, err) == (0, "")
    reasons = json.loads(out)[0]["decision"]["reasons"]
    assert "the same message was ignored in this mailbox before, and stays so" in reasons
    assert reasons[-len(first) :] == [f"then: {reason}" for reason in first]


async def test_it_decides_as_if_the_files_arrived_one_after_the_other_and_stores_nothing(
    crm: Crm, database: str, tmp_path: Path
) -> None:
    await crm.owner(ANN, "replies")
    await crm.record("contact", "Karl", KARL)
    question = letter(KARL, ANN, "question", Message_ID="<q@kunde.test>")
    files = {
        "question": question,
        "again": question,
        "answer": letter("other@kunde.test", ANN, "Re: question", In_Reply_To="<q@kunde.test>"),
        "private": letter("friend@home.test", ANN, "private"),
    }
    paths = []
    for name, content in files.items():
        path = tmp_path / f"{name}.eml"
        path.write_bytes(content)
        paths.append(str(path))
    status, out, err = await explain(*paths, "--owner", "Ann@IN.test", "--rule", "known", "--json", database=database)
    assert (status, err) == (0, "")
    decisions = {Path(one["file"]).stem: one["decision"] for one in json.loads(out)}
    assert {name: one["disposition"] for name, one in decisions.items()} == {
        "question": "promoted",
        "again": "duplicate",
        "answer": "promoted",
        "private": "ignored",
    }
    assert decisions["private"]["reasons"] == ["the sender is no contact, lead or account"]
    status, out, _ = await explain(paths[0], "--owner", ANN, database=database)
    assert (status, "ignored (rule replies): answers no CRM email" in out) == (0, True)
    for table in ("crm.email", "router.message", "router.message_id", "router.decision", "router.source"):
        assert await crm.admin.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_of_forwarded_mail_it_shows_the_originals_or_why_they_are_not_believed(
    crm: Crm, database: str, tmp_path: Path
) -> None:
    await crm.owner(ANN, "known")
    await crm.record("contact", "Karl", KARL)
    (tmp_path / "a.toml").write_text(
        '[incoming.sink]\ntransport = "smtp"\nlisten = "127.0.0.1:2525"\nrole = "forward"\naddress = "crm@in.test"\n'
        f'forwarders = ["*@in.test"]\nauthserv = "{AUTHSERV}"\n'
    )
    forged, sound = tmp_path / "forged.eml", tmp_path / "sound.eml"
    mail = forwarding(ANN, [letter(KARL, ANN, "one"), letter("friend@home.test", ANN, "two")])
    forged.write_bytes(mail)
    sound.write_bytes(vouched(mail))
    sink = ("--forward", "sink", str(forged), str(sound))
    status, out, err = await explain(*sink, "--owner", ANN, database=database, profiles=str(tmp_path))
    assert (status, err) == (0, "")
    assert "held        our mail server did not say who sent it" in out
    assert f"forward     attached, by {ANN}: 2 in it" in out
    assert "sound.eml (1 of 2)" in out
    assert "promoted (rule known)" in out
    assert "ignored (rule known)" in out
    status, out, _ = await explain(*sink, "--json", profiles=str(tmp_path))
    first, second, *originals = json.loads(out)
    assert (list(first["forward"]), second["forward"]["forwarder"]) == (
        ["originals", "message_id", "date", "held"],
        ANN,
    )
    assert [one["subject"] for one in originals] == ["one", "two"]
    status, _, err = await explain("--forward", "staff", str(sound), profiles=str(tmp_path))
    assert (status, "there are: sink" in err) == (2, True)


async def test_it_tells_what_our_server_says_of_the_sender(crm: Crm, database: str, tmp_path: Path) -> None:
    await crm.owner(ANN, "known")
    await crm.record("contact", "Karl", KARL)
    file = tmp_path / "denied.eml"
    file.write_bytes(b"Authentication-Results: mail.in.test; spf=pass; dmarc=fail\r\n" + letter(KARL, ANN))
    status, out, _ = await explain(str(file), "--authserv", "mail.in.test")
    assert (status, "verdict of mail.in.test: spf=pass, dmarc=fail" in out) == (0, True)
    status, out, _ = await explain(str(file), "--owner", ANN, database=database)
    assert (status, "promoted (rule known)" in out) == (0, True)
    status, out, _ = await explain(str(file), "--owner", ANN, "--authserv", "mail.in.test", database=database)
    assert (status, "held (rule known)" in out) == (0, True)


async def test_what_it_cannot_do_is_said_in_words(crm: Crm, database: str, tmp_path: Path) -> None:
    there = tmp_path / "there.eml"
    there.write_bytes(letter(KARL, ANN, "still shown"))
    status, out, err = await explain(str(tmp_path / "missing.eml"), str(there))
    assert status == 1
    assert "missing.eml: No such file" in err
    assert "still shown" in out
    status, _, err = await explain(str(there), "--owner", "nobody@in.test", database=database)
    assert status == 1
    assert "no owner has the mailbox nobody@in.test" in err
    await crm.owner("waits@in.test", approved=False)
    status, _, err = await explain(str(there), "--owner", "waits@in.test", database=database)
    assert status == 1
    assert 'waits@in.test is not approved, so nothing of it is read: "email-router owners approve waits@in.test"' in err
    assert (await explain(str(there), "--owner", ANN, "--rule", "some"))[0] == 2


async def test_it_tells_the_form_of_a_message_and_where_its_text_quotes(tmp_path: Path) -> None:
    text = "Yes.\n\nOn 1 Feb 2016, Bob wrote:\n> Hello?\n> Bye.\n\n-- \nAnn\n"
    (tmp_path / "answer.eml").write_bytes(letter(KARL, ANN, "Re: Offer", text))
    encrypted = b"From: a@b.test\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nx"
    (tmp_path / "encrypted.eml").write_bytes(encrypted)
    wrapped = b"From: a@b.test\nContent-Type: application/ms-tnef; name=winmail.dat\n\nx"
    (tmp_path / "wrapped.eml").write_bytes(wrapped)
    (tmp_path / "html.eml").write_bytes(b"From: a@b.test\nContent-Type: text/html\n\n<p>Hello")
    files = [str(tmp_path / f"{name}.eml") for name in ("answer", "encrypted", "wrapped", "html")]
    status, out, err = await explain(*files)
    assert (status, err) == (0, "")
    answer, encrypted_words, wrapped_words, html = out.split("\n\n/")
    assert "lines 3 to 5: quote" in answer
    assert "lines 7 to 8: signature" in answer
    for words in ("encrypted (S/MIME)", "only who has the recipient's key can read it", "(no text)"):
        assert words in encrypted_words
    for words in ("wrapped by Outlook (winmail.dat)", "which only Outlook opens", "(no text)"):
        assert words in wrapped_words
    assert "made of the HTML" in html
    status, out, err = await explain(*files, "--json")
    documents = json.loads(out)
    assert [mark["kind"] for mark in documents[0]["text_marks"]] == ["quote", "signature"]
    assert text[documents[0]["text_marks"][0]["start"] :].startswith("On 1 Feb")
    assert [document["flags"] for document in documents[1:3]] == [["smime-encrypted"], ["tnef"]]


async def test_it_tells_every_email_that_may_be_answered_its_score_and_why_it_was_not_taken(
    correlating: Correlating, database: str, tmp_path: Path
) -> None:
    near = await correlating.past("Offer", age=timedelta(days=1))
    far = await correlating.past("Offer", age=timedelta(days=20))
    await correlating.set("smart_matching", "link")
    (tmp_path / "answer.eml").write_bytes(mail(subject="Re: Offer"))
    arguments = (str(tmp_path / "answer.eml"), "--owner", SALES)
    status, out, _ = await explain(*arguments, database=database)
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("  candidate")] == [
        f"  candidate   email {near}, by smart-matching, score 90 of 100: taken",
        f"  candidate   email {far}, by smart-matching, score 80 of 100: not taken: another one is nearer",
    ]
    _, out, _ = await explain(*arguments, "--json", database=database)
    assert json.loads(out)[0]["decision"]["candidates"] == [
        {"email_id": str(near), "method": "smart-matching", "score": 90, "why_not": ""},
        {"email_id": str(far), "method": "smart-matching", "score": 80, "why_not": "another one is nearer"},
    ]
