"""The account in print: tables that fit in 100 columns, and what comes later."""

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import TextIOWrapper

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from router.demo.sample import Sample
from router.errors import RouterError
from router.repository.trace.history import CopyAccount, NamedRecord, SentAccount

WIDTH = 100
_EARLIER = "already there from an earlier start"
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


@dataclass(frozen=True, slots=True)
class Later:
    """What became of a message after the account was printed."""

    way: str
    subject: str
    became: str
    why: str


class Out(Console):
    """A console that is as wide as the terminal, but no wider than reads well; 100 columns into a file."""

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)
        self.limit = self.width if self.is_terminal else None
        """Columns of the terminal; None for a file, whose lines may be of any length."""
        self.width = min(self.width, WIDTH) if self.is_terminal else WIDTH

    def tell(self, later: Later, at: datetime) -> None:
        """Print what came later: in one line into a file, in lines as wide as the table's on a terminal."""
        time, became = Text(f"{at:%H:%M:%S}", style="dim"), _word(later.became)
        if self.limit is None:
            message = "  ".join(filter(None, (later.way, later.subject)))
            why = f": {later.why}" if later.why else ""
            self.print(time, Text(f" {message} "), Text.assemble(became, why), soft_wrap=True)
            return
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        grid.add_column(width=8)
        grid.add_column(width=9)
        grid.add_column(ratio=1, overflow="fold")
        grid.add_row(time, became, "\n".join(filter(None, (later.subject, later.way, later.why))))
        self.print(grid)

    def on_broken_pipe(self) -> None:
        """End in order when whoever read us is gone (`… demo | head`). Rich would leave in the middle of it all."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        raise RouterError("nobody reads any more what the demo tells")


def console() -> Out:
    """Make the console. What its encoding does not have is replaced."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Out()


def table_in(told: Iterable[tuple[Sample, Sequence[CopyAccount], bool]]) -> Table:
    """Show what became of each sample's copies; the bool says that an earlier start had handed it in."""
    told = list(told)
    known = all(earlier for *_, earlier in told)
    table = _table("Mail that came in", known=known)
    for sample, copies, earlier in told:
        sender = sample.message.sender or "nobody"
        first = Text(f"{sample.message.subject}\n", style="bold")
        for copy in copies:
            # The messages are ours to show; of what was ignored, the database could not say a word.
            whole = first.append(f"{sender} → {copy.mailbox}", style="not bold")
            lines = ["; ".join(copy.reasons)]
            if copy is copies[0]:
                lines += [*_in_crm(copy), *([_EARLIER] if earlier and not known else [])]
            table.add_row(_word(copy.disposition), whole, "\n".join(lines))
            first = Text("the same message\n")
        if not copies:
            first.append(f"{sender} → {', '.join(sample.recipients)}", style="not bold")
            table.add_row("-", first, "not handed in: the email that it answers was not sent")
        table.add_section()
    return table


def table_out(emails: Iterable[tuple[SentAccount, bool]]) -> Table:
    """Show what became of each email that the CRM sent; the bool says that an earlier start had queued it."""
    emails = list(emails)
    known = all(earlier for _, earlier in emails)
    table = _table("Mail that the CRM sent", known=known)
    for email, earlier in emails:
        recipients = ", ".join(one.address for one in email.deliveries)
        message = Text(f"{email.subject}\n", style="bold").append(f"{email.sender} → {recipients}", style="not bold")
        lines = [_words(email)] if _words(email) else []
        if email.regarding:
            lines.append(f"regarding {_record(email.regarding)}")
        if email.token:
            lines.append(f"its answers are known by CRM:{email.token}")
        if earlier and not known:
            lines.append(_EARLIER)
        table.add_row(_word(email.status), message, "\n".join(lines))
        table.add_section()
    return table


def later_in(copy: CopyAccount) -> Later:
    """Tell what became of a copy that came in later. Of what was ignored, there is no more to tell."""
    way = f"{copy.sender or 'nobody'} → {copy.mailbox}" if copy.email_id else f"→ {copy.mailbox}"
    why = "; ".join((*copy.reasons, *_in_crm(copy)))
    return Later(way, (copy.subject or "") if copy.email_id else "", str(copy.disposition), why)


def later_out(email: SentAccount) -> Later:
    """Tell what became of an email that the CRM sent later."""
    way = f"{email.sender} → {', '.join(one.address for one in email.deliveries)}"
    return Later(way, email.subject, email.status, _words(email))


def _table(title: str, *, known: bool) -> Table:
    if known:
        title += f": {_EARLIER}"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.HORIZONTALS, expand=True)
    table.add_column("Became", width=9)
    table.add_column("Message", ratio=1, overflow="fold")
    table.add_column("Why, and what the CRM has of it", ratio=1, overflow="fold")
    return table


def _word(word: str) -> Text:
    return Text(str(word), style=_style(word))


def _style(word: str) -> str:
    return f"not dim {_STYLES.get(str(word), 'default')}"


def _in_crm(copy: CopyAccount) -> list[str]:
    if copy.email_id is None:
        return ["not in the CRM"] if copy.disposition != "held" else ["not in the CRM before an admin has looked"]
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
