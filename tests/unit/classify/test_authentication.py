import pytest

from router.classify import classify
from router.model import Verdict
from router.parse.message import parse
from tests.support.build import mail

OURS = "Authentication-Results: mail.example.com; dmarc=fail (p=none) header.from=client.example; spf=pass\r\n"
FORGED = "Authentication-Results: mail.example.com; dmarc=pass header.from=client.example\r\n"
OTHER = "Authentication-Results: mx.other.example; dmarc=pass\r\n"


def verdict(headers: str, authserv: str | None = "mail.example.com") -> Verdict | None:
    return classify(parse(headers.encode() + mail()), authserv).verdict


def test_t77_the_verdict_of_the_trusted_server_is_read() -> None:
    found = verdict(OURS)
    assert found is not None
    assert (found.of("dmarc"), found.of("spf"), found.of("dkim")) == ("fail", "pass", None)


def test_t78_what_the_sender_wrote_below_our_servers_own_does_not_count() -> None:
    found = verdict(OURS + FORGED)
    assert found is not None
    assert found.of("dmarc") == "fail"


@pytest.mark.parametrize("headers", [OTHER, OTHER + FORGED, "", "Authentication-Results: ;\r\n"])
def test_t78_where_the_topmost_is_not_our_servers_there_is_no_verdict(headers: str) -> None:
    assert verdict(headers) is None


def test_t78_without_a_trusted_server_nobody_is_believed() -> None:
    assert verdict(OURS, None) is None


def test_rfc_8601_comments_quotes_versions_and_several_signatures_are_read() -> None:
    found = verdict(
        'Authentication-Results: "Mail.Example.com" 1 (a (nested; dmarc=pass) comment);\r\n'
        '\tdkim=fail reason="bad; dmarc=pass" header.d=a.example;\r\n\tdkim/1=PASS header.d=b.example\r\n'
    )
    assert found == Verdict("mail.example.com", (("dkim", "fail"), ("dkim", "pass")))
    assert (found.of("dkim"), found.of("dmarc")) == ("pass", None)


def test_rfc_8601_a_server_may_write_a_header_for_each_method() -> None:
    server = "Authentication-Results: mail.example.com"
    found = verdict(f"{server}; dmarc=pass\r\n{server} 1; spf=fail\r\n{server}; dkim=fail; dkim=none\r\n{OTHER}")
    assert found is not None
    assert found.results == (("dmarc", "pass"), ("spf", "fail"), ("dkim", "fail"), ("dkim", "none"))


def test_t78_a_forged_header_right_below_ours_can_add_no_pass_and_change_no_result() -> None:
    ours = "Authentication-Results: mail.example.com; spf=fail\r\n"
    found = verdict(ours + "Authentication-Results: mail.example.com; dmarc=pass; dkim=pass; spf=none\r\n")
    assert found is not None
    assert found.results == (("spf", "fail"),)


def test_t78_what_stands_below_another_servers_header_does_not_count() -> None:
    ours = "Authentication-Results: mail.example.com; spf=pass\r\n"
    found = verdict(ours + OTHER + "Authentication-Results: mail.example.com; dmarc=fail\r\n")
    assert found == Verdict("mail.example.com", (("spf", "pass"),))


def test_rfc_8601_no_results_are_a_verdict_without_results() -> None:
    assert verdict("Authentication-Results: mail.example.com; none\r\n") == Verdict("mail.example.com", ())


@pytest.mark.parametrize("local", ['"', 'ann"', '"\\"', '"a\\'])
def test_a_quote_that_a_sender_leaves_open_hides_no_result(local: str) -> None:
    found = verdict(
        f"Authentication-Results: mail.example.com; spf=pass smtp.mailfrom={local}@x.example; dkim=none; dmarc=fail\r\n"
    )
    assert found is not None
    assert (found.of("spf"), found.of("dkim"), found.of("dmarc")) == ("pass", "none", "fail")


@pytest.mark.parametrize(
    "results",
    [
        'spf=pass smtp.mailfrom="x("@x.example; dmarc=fail (p=none); dkim=pass header.i=")"@x.example',
        'spf=pass smtp.mailfrom="x\\"("@x.example; dmarc=fail; dkim=none (no) reason="a ) b"',
        'dkim=none (a "(" b); dmarc=fail (c)',
        # What is quoted begins a value; within one, neither a quote nor a bracket opens anything.
        'spf=pass smtp.mailfrom=a"(@x.example; dmarc=fail; dkim=pass header.d="x',
        'spf=pass smtp.mailfrom=a"@x.example; dmarc=fail; dkim=pass header.d="x',
        'spf=pass smtp.mailfrom=a"@x.example; dmarc=fail; dkim=pass header.d=x"',
        'spf=pass smtp.mailfrom="a@x.example; dmarc=fail; dkim=pass header.d="x',
        "spf=pass smtp.mailfrom=a(@x.example; dmarc=fail; dkim=pass header.d=)x",
        "spf=pass smtp.mailfrom=(@x.example; dmarc=fail; dkim=pass header.d=)x",
        'spf=pass (of a(@x.example) smtp.mailfrom="a("@x.example; dmarc=fail; dkim=pass header.i=")"@x.example',
    ],
)
def test_brackets_and_quotes_of_a_sender_hide_no_result(results: str) -> None:
    found = verdict(f"Authentication-Results: mail.example.com; {results}\r\n")
    assert found is not None
    assert found.of("dmarc") == "fail"


@pytest.mark.parametrize(
    "result",
    [
        "dmarc=fail(p=none)",
        "dmarc=(why)fail",
        "dmarc = (why) fail",
        'dkim=none reason= (a) "b; dmarc=pass"; dmarc=fail',
    ],
)
def test_rfc_8601_comments_may_stand_close_to_a_result(result: str) -> None:
    found = verdict(f"Authentication-Results: mail.example.com; {result}\r\n")
    assert found is not None
    assert found.of("dmarc") == "fail"


MICROSOFT = (
    "Authentication-Results: spf=pass (sender IP is 192.0.2.1)\r\n smtp.mailfrom=client.example; dkim=none\r\n"
    " (message not signed) header.d=none;dmarc=fail action=none\r\n"
    " header.from=client.example;compauth=fail reason=001\r\n"
)


def test_t77_microsoft_365_writes_no_name() -> None:
    assert verdict(MICROSOFT, "microsoft365") == Verdict(
        "microsoft365", (("spf", "pass"), ("dkim", "none"), ("dmarc", "fail"), ("compauth", "fail"))
    )
    assert verdict(MICROSOFT, "Microsoft365") == verdict(MICROSOFT, "microsoft365")
    assert verdict(MICROSOFT) is None  # a profile that names a server believes no header without a name
    assert verdict(MICROSOFT.replace("spf=pass", "spf"), "spf") is not None


@pytest.mark.parametrize(
    "above",
    [
        OTHER,
        OURS,
        "Authentication-Results: microsoft365; dmarc=pass\r\n",  # a name that anybody can write
        "Authentication-Results: none\r\n",
        "Authentication-Results: ;\r\n",
    ],
)
def test_t78_of_microsoft_365_only_the_topmost_header_counts(above: str) -> None:
    assert verdict(above + MICROSOFT, "microsoft365") is None
    forged = MICROSOFT.replace("dmarc=fail", "dmarc=pass").replace("dkim=none", "arc=pass")
    assert verdict(MICROSOFT + forged, "microsoft365") == verdict(MICROSOFT, "microsoft365")
