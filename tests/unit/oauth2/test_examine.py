"""What is found out about a token server, step by step."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.servers.tls import make_tls
from tests.support.token_server import error
from tests.unit.oauth2.conftest import Office
from transports import OAuth2
from transports.base import Finding

ANN = "ann@example.com"


async def found(office: Office, profile: OAuth2) -> list[Finding]:
    async with office.keeper() as keeper:
        return [finding async for finding in keeper.examine(profile, ANN)]


def states(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(one.step, one.state) for one in findings]


def jwt(**claims: Any) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}.c2ln"


async def test_all_is_well(office: Office) -> None:
    findings = await found(office, office.application())
    assert states(findings) == [("token server", "ok"), ("grant", "ok"), ("scope", "ok")]
    port = office.server.url.split(":")[2].partition("/")[0]
    assert f"at 127.0.0.1:{port}" in findings[0].words
    assert "good for" in findings[1].words
    assert "mail" in findings[2].words


async def test_a_server_that_is_not_there(office: Office) -> None:
    [finding] = await found(office, office.application(token_url="http://localhost:9/token"))
    assert (finding.step, finding.state) == ("token server", "failed")
    assert "Connection refused" in finding.words
    assert finding.advice


async def test_a_refusal_has_cause_and_cure(office: Office) -> None:
    office.server.answer = error("invalid_client", "AADSTS7000222: The provided client secret keys are expired.")
    findings = await found(office, office.application())
    assert states(findings) == [("token server", "ok"), ("grant", "failed")]
    assert "the client secret has expired: invalid_client: AADSTS7000222" in findings[1].words
    assert "make a new client secret" in findings[1].advice


async def test_a_pause_is_not_kept_and_many_that_ask_are_told_the_same(office: Office) -> None:
    office.server.answer = error("invalid_client")
    profile = office.application()
    async with office.keeper() as keeper:
        for mailbox in (ANN, "ben@example.com"):
            assert [one.state async for one in keeper.examine(profile, mailbox)] == ["ok", "failed"]
    assert len(office.server.forms) == 1
    office.server.answer = None  # an admin has put it right at the provider, and tries at once
    assert states(await found(office, profile))[1] == ("grant", "ok")


async def test_a_login_that_is_good_is_not_renewed(office: Office) -> None:
    profile = office.login()
    async with office.keeper() as keeper:
        await keeper.get(profile, ANN)
    assert states(await found(office, profile))[1] == ("grant", "ok")
    assert len(office.server.forms) == 1


async def test_a_scope_that_was_not_granted(office: Office) -> None:
    async def partly(_: object) -> Any:
        return office.server.give(scope="Mail extra")

    office.server.answer = partly
    [*_, finding] = await found(office, office.application(scope="mail send offline_access"))
    assert (finding.step, finding.state) == ("scope", "warning")
    assert "not granted: send;" in finding.words


async def test_a_token_of_microsoft_that_names_no_permission_for_mail(office: Office) -> None:
    profile = office.application(
        provider="microsoft", tenant="t", token_url=None, scope="https://outlook.office365.com/.default"
    )
    told: dict[str, Any] = {}

    async def give(_: object) -> Any:
        return office.server.give(access_token=jwt(aud="https://outlook.office365.com", **told))

    office.server.answer = give
    async with office.keeper() as keeper:
        # The provider's own address, so to speak.
        endpoints = await keeper.servers.endpoints(office.application())
        for known in ((profile.issuer, profile.token_url, profile.provider, profile.tenant),):
            keeper.servers._endpoints[known] = (float("inf"), endpoints)
        [*_, finding] = [one async for one in keeper.examine(profile, ANN)]
        # RBAC for Applications can let it send all the same, and only the login tells.
        assert (finding.step, finding.state) == ("scope", "warning")
        assert "names no permission for mail (aud https://outlook.office365.com)" in finding.words
        assert "IMAP.AccessAsApp" in finding.advice
        assert "Application SMTP.SendAsApp" in finding.advice
        told["roles"] = ["IMAP.AccessAsApp"]
        keeper._examined.clear()
        [*_, finding] = [one async for one in keeper.examine(profile, ANN)]
        assert finding.state == "ok"
        assert "roles IMAP.AccessAsApp" in finding.words


async def test_what_ends_soon_is_told_before(office: Office, tmp_path: Path) -> None:
    soon = datetime.now(UTC).date() + timedelta(days=29)
    findings = await found(office, office.application(client_secret_expires=soon))
    assert ("grant", "warning") in states(findings)
    later = soon + timedelta(days=2)
    assert ("grant", "warning") not in states(await found(office, office.application(client_secret_expires=later)))
    tls = make_tls(tmp_path, days=10)
    certificate = {"file": tls.certificate, "key": tls.key}
    findings = await found(office, office.application(client_secret=None, client_certificate=certificate))
    assert any("certificate ends on" in one.words for one in findings)
    assert "client_assertion" in office.server.forms[-1]
