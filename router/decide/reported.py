"""Which email of the CRM a mail system reports on: by Message-ID, else by our token."""

from router.decide.state import State
from router.model import Disposition, Facts, Report, Rule, ThreadEmail


def reported(state: State, facts: Facts) -> State:
    """Attach a report to the email it is on. What reports on mail that the CRM never sent is ignored (backscatter).

    A report belongs to the CRM whichever rule the owner has, but for `none`. A token can be read over somebody's
    shoulder, so it counts only where the report is on a recipient of the email it names.
    """
    report = state.copy.classification.report
    if report is None or state.copy.sent or state.rule is Rule.NONE:
        return state
    email = _email_of(report, facts)
    if email is not None:
        return state.answering(email, "report", f"a report on a CRM email: {report.kind}")
    if report.kind == "complaint":
        return state  # it may be on mail that we know by nothing but its recipient: a person may want to see it
    return state.decide(Disposition.IGNORED, f"a report on mail that the CRM never sent: {report.kind}")


def _email_of(report: Report, facts: Facts) -> ThreadEmail | None:
    for message_id in report.message_ids:
        if email := facts.emails.of_message_id(message_id):
            return email
    addresses = {address for one in report.recipients for address in (one.address, one.final)}
    for token in report.tokens:
        if (email := facts.emails.of_token(token)) and not email.participants.isdisjoint(addresses):
            return email
    return None
