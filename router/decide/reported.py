"""Which email of the CRM a bounce, delay or complaint reports on.

By the return path that it came to, else by the envelope id that the relay was told, by the Message-ID of the mail that
it returns, by our private header, or by our token.
"""

from dataclasses import replace

from router.decide.state import State
from router.model import Disposition, Facts, Report, Rule, ThreadEmail


def reported(state: State, facts: Facts) -> State:
    """Link a report to the email it is on. A report on mail that the CRM never sent is ignored (backscatter).

    A report belongs to the CRM whatever the owner's rule is, except `none`. A token can be overheard, and the CRM may
    have chosen an email's id, so that both count only if the report is on a recipient of the email that they name. Only
    the return path proves that whoever reports had the email.
    """
    report = state.copy.classification.report
    if report is None or state.copy.sent or state.rule is Rule.NONE:
        return state
    for return_id in report.return_ids:
        if email := facts.emails.of_attempt(return_id):
            state = state.answering(email, "report", f"a report on a CRM email, by its return path: {report.kind}")
            return replace(state, report=replace(report, proven=True))
    if email := _email_of(report, facts):
        state = state.answering(email, "report", f"a report on a CRM email: {report.kind}")
        return replace(state, report=report)
    if report.kind == "complaint":
        return state  # it may name nothing but the recipient: the owner's rule decides whether people see it
    reason = f"a report on mail that the CRM never sent: {report.kind}"
    return state.decide(
        Disposition.IGNORED, reason, waits_for=tuple(("report", message_id) for message_id in report.message_ids)
    )


def _email_of(report: Report, facts: Facts) -> ThreadEmail | None:
    addresses = {address for one in report.recipients for address in (one.address, one.final)}
    for email_id in report.envelope_ids:
        if (email := facts.emails.of_envelope_id(email_id)) and not email.participants.isdisjoint(addresses):
            return email
    for message_id in report.message_ids:
        if email := facts.emails.of_message_id(message_id):
            return email
    for token in report.tokens:
        if (email := facts.emails.of_token(token)) and not email.participants.isdisjoint(addresses):
            return email
    return None
