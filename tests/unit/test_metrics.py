"""The metrics: their names and types, the page that lists them, and that they are gone with their profile."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from router import metrics
from router.health import Health, Part, parts, parts_at_fault
from router.model import Copy, Decision, Disposition, Result, Rule, Unreadable
from router.model.failure import CLASSES
from tests.servers.promtool import promtool
from tests.support.console import Series, parse, value
from tests.support.paths import ROOT
from transports.base import Outcome, Place

PAGE = ROOT / "docs/metrics.md"
SERVED: list[Part] = [("mailbox", "staff"), ("listener", "copies"), ("relay", "mx")]
LABELS = {
    "profile", "disposition", "outcome", "kind", "le", "version", "python", "lane", "cause", "state", "reason", "what",
}  # fmt: skip
SERIES = {
    'up{job="email-router"}': "0x40",
    'email_router_faults{kind="relay",profile="mx"}': "1x40",
    'email_router_faults{kind="mailbox",profile="staff"}': "0x40",
    "email_router_outbox_oldest_due_seconds": "0+60x40",
    'email_router_relay_state{profile="mx",state="login_refused"}': "1x40",
    'email_router_relay_state{profile="other",state="login_refused"}': "0x40",
    'email_router_outbox{profile="",lane="normal",cause="profile"}': "3x40",
    'email_router_outbox{profile="mx",lane="normal",cause="turn"}': "3x40",
    'email_router_failed_total{profile="mx",reason="mailbox unknown"}': "0x35 30x5",
    'email_router_failed_total{profile="other",reason="mailbox unknown"}': "30x40",
    'email_router_sent_copies_waiting{state="waiting"}': "2x40",
    'email_router_sent_copies_waiting{state="given_up"}': "2x40",
    'email_router_attempts_total{profile="mx",outcome="sent"}': "0+1x40",
    'email_router_attempts_total{profile="mx",outcome="unknown"}': "0x35 1x5",
    'email_router_copies_total{profile="staff",disposition="dead"}': "0x35 1x5",
    'email_router_copies_total{profile="copies",disposition="dead"}': "1x40",
    'email_router_missing_messages{profile="staff"}': "2x40",
    'email_router_missing_messages{profile="copies"}': "0x40",
    'email_router_brought_in_messages_total{profile="staff"}': "0x35 3x5",
    'email_router_brought_in_messages_total{profile="copies"}': "3x40",
    'email_router_overdue_audits{profile="staff"}': "1x40",
    'email_router_overdue_audits{profile="copies"}': "0x40",
    'email_router_login_end_timestamp_seconds{profile="staff",what="login"}': "1000000x40",
    'email_router_login_end_timestamp_seconds{profile="mx",what="client secret"}': "5000000x40",
    'email_router_login_faults{profile="staff"}': "1x40",
    'email_router_login_faults{profile="mx"}': "0x40",
    'email_router_arrival_to_commit_seconds_bucket{profile="staff",le="60"}': "0x40",
    'email_router_arrival_to_commit_seconds_bucket{profile="staff",le="300"}': "0+10x40",
    'email_router_arrival_to_commit_seconds_bucket{profile="staff",le="+Inf"}': "0+10x40",
    'email_router_database_connection_wait_seconds_bucket{le="1"}': "0x40",
    'email_router_database_connection_wait_seconds_bucket{le="10"}': "0+10x40",
    'email_router_database_connection_wait_seconds_bucket{le="+Inf"}': "0+10x40",
}
FIRED = {
    "EmailRouterDown": "{job: email-router}",
    "EmailRouterFault": "{kind: relay, profile: mx}",
    "EmailRouterMailDoesNotLeave": "{}",
    "EmailRouterLoginRefused": "{profile: mx}",
    "EmailRouterNobodyCarries": "{}",
    "EmailRouterManyFail": "{profile: mx}",
    "EmailRouterSentCopiesWait": "{}",
    "EmailRouterOutcomeUnknown": "{profile: mx}",
    "EmailRouterDeadLetter": "{profile: staff}",
    "EmailRouterMessagesMissing": "{profile: staff}",
    "EmailRouterMessagesBroughtIn": "{profile: staff}",
    "EmailRouterAuditOverdue": "{profile: staff}",
    "EmailRouterLoginEnds": "{profile: staff, what: login}",
    "EmailRouterNoNewToken": "{profile: staff}",
    "EmailRouterSlow": "{}",
    "EmailRouterDatabaseBusy": "{}",
}
PROCESS = re.compile(r"process_\w+")


@pytest.fixture(autouse=True)
def served() -> Iterator[None]:
    metrics.serve(SERVED)
    metrics.relay_opened("mx", 4)
    metrics.outbox_sampled({("mx", "normal", "turn"): 3}, 3, 0.5, 2)
    metrics.tokens.logins_sampled({("staff", "login"): 1.8e9}, {"staff": 0})
    yield
    metrics.tokens.logins_sampled({}, {})
    metrics.serve([])


def numbers() -> Series:
    return parse(metrics.exposition().decode())


def families() -> list[Metric]:
    return list(text_string_to_metric_families(metrics.exposition().decode()))


def copy(number: int, age: timedelta = timedelta(seconds=2)) -> Copy:
    return Copy(
        id=uuid4(),
        source_id=1,
        place=Place("1", str(number)),
        owner_id=uuid4(),
        default_rule=Rule.ALL,
        received_at=datetime.now(UTC) - age,
        reading=Unreadable("it could not be read"),
        content=b"x" * 100,
    )


def decision(disposition: Disposition) -> Decision:
    return Decision(disposition, Rule.ALL, ())


def result(status: str, *states: str) -> Result:
    outcomes = tuple(Outcome(f"{number}@in.test", state, "", "") for number, state in enumerate(states))  # type: ignore[arg-type]  # words
    return Result(uuid4(), uuid4(), status, None, outcomes)  # type: ignore[arg-type]  # likewise


# --- Names -----------------------------------------------------------------------------------------------------------


def test_prometheus_own_tool_finds_nothing_to_complain_about() -> None:
    assert promtool("check", "metrics", stdin=metrics.exposition().decode()) == ""


def test_names_and_labels_follow_the_conventions() -> None:
    for family in families():
        assert family.documentation, family.name
        assert re.fullmatch(r"email_router_[a-z_]+|process_[a-z_]+", family.name)
        assert not re.search(r"_(milliseconds|minutes|hours|kilobytes|ms|kb)\b", family.name)
        for sample in family.samples:
            assert set(sample.labels) <= LABELS, sample
            if family.type == "counter":
                assert sample.name == f"{family.name}_total"
            elif family.type == "histogram":
                assert sample.name.removeprefix(family.name) in ("_bucket", "_count", "_sum")


def test_the_page_lists_them_all_and_no_other() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = []
    for family in families():
        if PROCESS.fullmatch(family.name):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        shown = ", ".join(f"`{label}`" for label in sorted(labels))
        rows.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
    assert "\n".join(rows) == "\n".join(re.findall(r"^\| `email_router_.*\|$", page, re.MULTILINE))


def test_the_page_names_what_the_process_has() -> None:
    named = {sample.name for family in families() for sample in family.samples if PROCESS.fullmatch(sample.name)}
    assert named
    assert set(PROCESS.findall(PAGE.read_text(encoding="utf-8"))) == named


def test_the_rules_of_the_page_speak_of_metrics_that_there_are_and_fire(tmp_path: Path) -> None:
    *_, rules = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert rules.count("alert:") == 16
    named = set(re.findall(r"email_router_\w+", rules))
    assert named <= {name for name, _ in numbers()}
    (tmp_path / "rules.yml").write_text(rules)
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules.yml"))
    assert "16 rules found" in said
    fired = "".join(
        f"      - {{alertname: {name}, eval_time: 40m, exp_alerts: [{{exp_labels: {labels}}}]}}\n"
        for name, labels in FIRED.items()
    )
    (tmp_path / "test.yml").write_text(
        "rule_files: [rules.yml]\ntests:\n  - interval: 1m\n    input_series:\n"
        + "".join(f"      - {{series: '{series}', values: '{values}'}}\n" for series, values in SERIES.items())
        + f"    alert_rule_test:\n{fired}"
    )
    # Their words are not compared.
    rules = re.sub(r"^        annotations:\n.*\n", "", rules, flags=re.MULTILINE)
    (tmp_path / "rules.yml").write_text(rules)
    promtool("test", "rules", str(tmp_path / "test.yml"))


# --- What becomes of a batch and of an attempt -----------------------------------------------------------------------


def test_a_batch_is_counted_by_what_became_of_its_copies() -> None:
    before = numbers()
    copies = [copy(1), copy(2), copy(3, timedelta(days=400)), copy(4, timedelta(seconds=-5))]
    became = [Disposition.PROMOTED, Disposition.IGNORED, Disposition.DUPLICATE, Disposition.PROMOTED]
    metrics.batch_ended("staff", list(zip(copies, map(decision, became), strict=True)), 0.02)
    after = numbers()

    def more(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert [
        more("email_router_copies_total", profile="staff", disposition=one)
        for one in ("promoted", "duplicate", "ignored", "held", "dead")
    ] == [2, 1, 1, 0, 0]
    assert more("email_router_copy_bytes_total", profile="staff") == 400
    # A duplicate may have been read years ago; a mail server's clock may be ahead of ours.
    assert more("email_router_arrival_to_commit_seconds_count", profile="staff") == 3
    assert more("email_router_arrival_to_commit_seconds_bucket", profile="staff", le="0.05") == 1
    assert more("email_router_arrival_to_commit_seconds_bucket", profile="staff", le="5.0") == 3
    assert more("email_router_batch_copies_bucket", le="2.0") == 0
    assert more("email_router_batch_copies_bucket", le="5.0") == 1
    assert more("email_router_batch_seconds_count") == 1


def test_an_attempt_is_counted_with_its_recipients() -> None:
    metrics.attempt_ended("mx", result("sent", "accepted", "accepted", "refused"))
    metrics.attempt_ended("mx", result("pending_send", "deferred"))
    metrics.attempt_ended("mx", result("failed"))
    after = numbers()
    assert {
        outcome: value(after, "email_router_attempts_total", profile="mx", outcome=outcome)
        for outcome in ("sent", "deferred", "failed", "unknown")
    } == {"sent": 1, "deferred": 1, "failed": 1, "unknown": 0}
    assert {
        outcome: value(after, "email_router_recipients_total", profile="mx", outcome=outcome)
        for outcome in ("accepted", "deferred", "refused", "unknown")
    } == {"accepted": 2, "deferred": 1, "refused": 1, "unknown": 0}
    assert value(after, "email_router_failed_total", profile="mx", reason="not composed") == 1


def test_a_failed_email_is_counted_once_by_the_class_of_most_recipients() -> None:
    codes = ("5.1.1", "5.7.1", "5.7.1")
    outcomes = tuple(Outcome(f"{n}@in.test", "refused", code, "") for n, code in enumerate(codes))
    metrics.attempt_ended("mx", Result(uuid4(), uuid4(), "failed", None, outcomes))
    after = numbers()
    told = {reason: value(after, "email_router_failed_total", profile="mx", reason=reason) for reason in CLASSES}
    assert {reason: number for reason, number in told.items() if number} == {"policy": 1}


# --- What is looked up in the database -------------------------------------------------------------------------------


def test_what_waits_is_told_by_profile_lane_and_cause_and_what_is_gone_is_not() -> None:
    metrics.outbox_sampled({("mx", "bulk", "retry"): 7, ("", "normal", "approval"): 2}, 0, 0, 4)
    waiting = {tuple(labels): number for (name, labels), number in numbers().items() if name == "email_router_outbox"}
    assert sorted(waiting.values()) == [2, 7]
    assert value(numbers(), "email_router_outbox", profile="mx", lane="bulk", cause="retry") == 7
    assert value(numbers(), "email_router_outbox_unknown") == 4


def test_a_relay_is_in_one_state() -> None:
    for told, expected in (({}, "working"), ({"mx": "login_refused"}, "login_refused"), ({"mx": "paused"}, "paused")):
        metrics.relays_sampled(told)
        after = numbers()
        states = {
            state: value(after, "email_router_relay_state", profile="mx", state=state) for state in metrics.RELAY_STATES
        }
        assert [state for state, number in states.items() if number] == [expected]


def test_copies_are_told_that_wait_or_were_given_up() -> None:
    metrics.sent_copies_sampled(3, 1)
    told = {
        state: value(numbers(), "email_router_sent_copies_waiting", state=state) for state in ("waiting", "given_up")
    }
    assert told == {"waiting": 3, "given_up": 1}


# --- Profiles come and go --------------------------------------------------------------------------------------------


def of_profile(series: Series, profile: str) -> set[str]:
    return {name for name, labels in series if ("profile", profile) in labels}


def test_what_is_counted_by_profile_is_there_at_once_and_gone_with_it() -> None:
    metrics.batch_ended("staff", [(copy(1), decision(Disposition.PROMOTED))], 0.1)
    assert of_profile(numbers(), "staff") == {
        "email_router_audited_messages_total",
        "email_router_audits_total",
        "email_router_brought_in_messages_total",
        "email_router_missing_messages",
        "email_router_overdue_audits",
        "email_router_copies_total",
        "email_router_copy_bytes_total",
        "email_router_arrival_to_commit_seconds_bucket",
        "email_router_arrival_to_commit_seconds_count",
        "email_router_arrival_to_commit_seconds_sum",
        "email_router_mailboxes",
        "email_router_faults",
        "email_router_login_end_timestamp_seconds",
        "email_router_login_faults",
    }
    assert len(of_profile(numbers(), "mx")) == 8
    metrics.serve([part for part in SERVED if part[1] == "copies"])
    metrics.tokens.logins_sampled({}, {})
    with metrics.relay_in_use("mx"):
        # The last of them end after their profile has gone: nothing may come back.
        metrics.attempt_ended("mx", result("sent", "accepted"))
        metrics.relay_opened("mx", 4)
        metrics.batch_ended("staff", [(copy(2), decision(Disposition.PROMOTED))], 0.1)
    assert {profile for profile in ("staff", "copies", "mx") if of_profile(numbers(), profile)} == {"copies"}
    metrics.serve(SERVED)
    assert value(numbers(), "email_router_copies_total", profile="staff", disposition="promoted") == 0


def test_a_connection_that_outlives_its_profile_takes_nothing_from_the_next_of_that_name() -> None:
    with metrics.relay_in_use("mx"):
        assert value(numbers(), "email_router_relay_connections_in_use", profile="mx") == 1
        metrics.serve([])
        metrics.serve(SERVED)
    assert value(numbers(), "email_router_relay_connections_in_use", profile="mx") == 0


# --- Faults ----------------------------------------------------------------------------------------------------------


def test_a_broken_profile_is_a_fault_whether_it_is_served_or_not() -> None:
    def faults() -> dict[str, float]:
        series = numbers()
        names = ("staff", "copies", "mx", "sales", "a.toml")
        return {
            name: value(series, "email_router_faults", kind="profile", profile=name)
            for name in names
            if ("email_router_faults", frozenset({("kind", "profile"), ("profile", name)})) in series
        }

    assert faults() == {"staff": 0, "copies": 0, "mx": 0}
    metrics.serve(SERVED, ["staff", "sales", "a.toml"])
    assert faults() == {"staff": 1, "copies": 0, "mx": 0, "sales": 1, "a.toml": 1}
    metrics.serve(SERVED)
    assert faults() == {"staff": 0, "copies": 0, "mx": 0}


async def test_faults_are_counted_by_kind_and_profile_until_they_are_over_or_let_go() -> None:
    async def note(*_: object) -> None:
        pass

    async def faults() -> float:
        return value(numbers(), "email_router_faults", kind="mailbox", profile="staff")

    def mailbox() -> Health:
        return Health("at fault", note, structlog.get_logger(), kind="mailbox", profile="staff")

    one, other = mailbox(), mailbox()
    await other.fails("refused before it counts")
    assert value(numbers(), "email_router_mailboxes", profile="staff") == 0
    for _ in range(2):
        one.__enter__()
    assert await faults() == 0
    other.__enter__()
    assert await faults() == 1
    await other.works()
    assert value(numbers(), "email_router_mailboxes", profile="staff") == 2
    assert await faults() == 0
    await one.fails("refused")
    await one.fails("still refused")
    await other.fails("refused")
    assert await faults() == 2
    await one.works()
    await one.works()
    assert await faults() == 1
    assert value(numbers(), "email_router_faults", kind="folder", profile="staff") == 0
    for _ in range(2):
        other.close()
    await other.fails("a word that comes late")
    await other.works()
    assert await faults() == 0
    assert value(numbers(), "email_router_mailboxes", profile="staff") == 1
    one.close()
    assert (parts()["mailbox", "staff"], parts_at_fault()["mailbox", "staff"]) == (0, 0)


def test_audits_are_counted_by_what_they_found() -> None:
    metrics.audit_ended("staff", 120, missing=0, failed=False)
    metrics.audit_ended("staff", 20, missing=2, failed=True, brought_in=3)
    metrics.audit_ended("staff", 0, missing=0, failed=True)
    metrics.audit_ended("unknown", 9, missing=9, failed=False)
    metrics.audits_sampled({"staff": 2, "unknown": 9}, {"staff": 1, "unknown": 9})
    series = numbers()
    assert {
        outcome: value(series, "email_router_audits_total", profile="staff", outcome=outcome)
        for outcome in ("well", "missing", "failed")
    } == {"well": 1, "missing": 1, "failed": 1}
    assert value(series, "email_router_audited_messages_total", profile="staff") == 140
    assert value(series, "email_router_brought_in_messages_total", profile="staff") == 3
    assert value(series, "email_router_missing_messages", profile="staff") == 2
    assert value(series, "email_router_overdue_audits", profile="staff") == 1
    metrics.audits_sampled({}, {})
    assert value(numbers(), "email_router_missing_messages", profile="staff") == 0
    assert value(numbers(), "email_router_overdue_audits", profile="staff") == 0


# --- Logins by access token ------------------------------------------------------------------------------------------


def test_what_ends_is_told_by_profile_and_what_is_gone_is_not() -> None:
    metrics.tokens.logins_sampled({("staff", "client secret"): 1.9e9, ("mx", "login"): 1.7e9}, {"staff": 2, "mx": 0})
    series = numbers()
    assert value(series, "email_router_login_end_timestamp_seconds", profile="staff", what="client secret") == 1.9e9
    assert value(series, "email_router_login_end_timestamp_seconds", profile="mx", what="login") == 1.7e9
    assert value(series, "email_router_login_faults", profile="staff") == 2
    metrics.tokens.logins_sampled({("mx", "login"): 1.7e9}, {"mx": 0})
    assert not {one for one in of_profile(numbers(), "staff") if "login" in one}
    assert value(numbers(), "email_router_login_faults", profile="mx") == 0
