"""The account in print: tables that fit in 100 columns, and one line for what comes later."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from router.demo.sample import Sample
from router.repository.account import CopyAccount, NamedRecord, SentAccount

WIDTH = 100
_STYLES = {
    "promoted": "bold green",
    "duplicate": "cyan",
    "ignored": "yellow",
    "held": "bold magenta",
    "dead": "bold red",
    "sent": "bold green",
    "failed": "bold red",
    "unknown": "bold magenta",
}


def console() -> Console:
    """Make the console: as wide as the terminal, but no wider than reads well; 100 columns into a file."""
    out = Console(highlight=False, markup=False, emoji=False)
    out.width = min(out.width, WIDTH) if out.is_terminal else WIDTH
    return out


def table_in(told: Iterable[tuple[Sample, Sequence[CopyAccount], bool]]) -> Table:
    """Show each sample with what became of its copies; the bool says that an earlier start had handed it in."""
    table = _table("Mail that came in", "Message", "What became of it, and why", "In the CRM")
    for sample, copies, earlier in told:
        message = _message(sample.message.sender or "", sample.recipients, sample.message.subject)
        became, crm = Text(), Text()
        for copy in copies:
            whose = f" for {copy.mailbox}" if len(copies) > 1 else ""
            _line(became, copy.disposition, f"{whose}: {'; '.join(copy.reasons)}")
        if not copies:
            _line(became, "not handed in", ": the email that it answers was not sent yet")
        if earlier:
            _line(became, "", "already there from an earlier start")
        for line in dict.fromkeys(line for copy in copies for line in _in_crm(copy)):
            _line(crm, "", line)
        table.add_row(message, became, crm)
    return table


def table_out(emails: Iterable[tuple[SentAccount, bool]]) -> Table:
    """Show each email that the CRM sent with what became of it."""
    table = _table("Mail that the CRM sent", "Email", "What became of it, in the server's words", "In the CRM")
    for email, earlier in emails:
        became = Text()
        _line(became, email.status, f": {_words(email)}" if _words(email) else "")
        if earlier:
            _line(became, "", "already there from an earlier start")
        crm = Text()
        if email.regarding:
            _line(crm, "", f"regarding {_record(email.regarding)}")
        if email.token:
            _line(crm, "", f"token CRM:{email.token}")
        table.add_row(_message(email.sender, [one.address for one in email.deliveries], email.subject), became, crm)
    return table


def line_in(copy: CopyAccount, at: datetime) -> Text:
    """Tell in one line what became of a copy that came in later. Of what was ignored, there is no more to tell."""
    line = Text(f"{at:%H:%M:%S}  ", style="dim")
    known = f"{copy.sender or 'nobody'} → {copy.mailbox}  {copy.subject}" if copy.email_id else f"→ {copy.mailbox}"
    line.append(known, style="default not dim")
    line.append("  ")
    line.append(str(copy.disposition), style=_style(copy.disposition))
    why = "; ".join((*copy.reasons, *_in_crm(copy)))
    line.append(f": {why}", style="default not dim")
    return line


def line_out(email: SentAccount, at: datetime) -> Text:
    """Tell in one line what became of an email that the CRM sent later."""
    line = Text(f"{at:%H:%M:%S}  ", style="dim")
    recipients = ", ".join(one.address for one in email.deliveries)
    line.append(f"{email.sender} → {recipients}  {email.subject}  ", style="default not dim")
    line.append(email.status, style=_style(email.status))
    words = _words(email)
    line.append(f": {words}" if words else "", style="default not dim")
    return line


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.HORIZONTALS, show_lines=True)
    for heading, ratio in zip(headings, (35, 36, 29), strict=True):
        table.add_column(heading, ratio=ratio, overflow="fold")
    table.expand = True
    return table


def _message(sender: str, recipients: Iterable[str], subject: str) -> Text:
    text = Text(subject, style="bold")
    text.append(f"\n{sender}", style="not bold")
    for recipient in recipients:
        text.append(f"\n→ {recipient}", style="not bold")
    return text


def _line(text: Text, word: str, rest: str) -> None:
    if text:
        text.append("\n")
    text.append(str(word), style=_style(word))
    text.append(rest)


def _style(word: str) -> str:
    return f"not dim {_STYLES.get(str(word), 'default')}"


def _in_crm(copy: CopyAccount) -> list[str]:
    if copy.email_id is None:
        return ["not in the CRM"]
    lines = [f"from {_record(copy.sender_record)}" if copy.sender_record else "sender unresolved"]
    if copy.regarding:
        lines.append(f"regarding {_record(copy.regarding)}")
    if copy.attachments:
        lines.append("1 attachment" if copy.attachments == 1 else f"{copy.attachments} attachments")
    return [*lines, *(f"defect: {defect}" for defect in copy.defects)]


def _record(record: NamedRecord) -> str:
    return f"{record.name} ({record.kind})"


def _words(email: SentAccount) -> str:
    if email.reason:
        return email.reason
    return "; ".join(f"{one.state} for {one.address}: {one.words}" for one in email.deliveries if one.state)
