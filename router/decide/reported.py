"""Which email of the CRM a bounce, delay or complaint reports on: by Message-ID, else by our token."""

from router.decide.state import State
from router.model import Disposition, Facts, Report, Rule, ThreadEmail


def reported(state: State, facts: Facts) -> State:
    """Link a report to the email it is on. A report on mail that the CRM never sent is ignored (backscatter).

    A report belongs to the CRM whatever the owner's rule is, except `none`. A token can be overheard, so it counts only
    if the report is on a recipient of the email that the token names.
    """
    report = state.copy.classification.report
    if report is None or state.copy.sent or state.rule is Rule.NONE:
        return state
    email = _email_of(report, facts)
    if email is not None:
        return state.answering(email, "report", f"a report on a CRM email: {report.kind}")
    if report.kind == "complaint":
        return state  # it may name nothing but the recipient: the owner's rule decides whether people see it
    reason = f"a report on mail that the CRM never sent: {report.kind}"
    return state.decide(
        Disposition.IGNORED, reason, waits_for=tuple(("report", message_id) for message_id in report.message_ids)
    )


def _email_of(report: Report, facts: Facts) -> ThreadEmail | None:
    for message_id in report.message_ids:
        if email := facts.emails.of_message_id(message_id):
            return email
    addresses = {address for one in report.recipients for address in (one.address, one.final)}
    for token in report.tokens:
        if (email := facts.emails.of_token(token)) and not email.participants.isdisjoint(addresses):
            return email
    return None
