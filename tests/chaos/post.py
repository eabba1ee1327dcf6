"""Delivering the mail of a chaos run as mail servers do: what was not taken is handed over again, until it is."""

import asyncio
import smtplib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from tests.chaos.mail import STRANGER, Letter
from tests.chaos.mailboxes import ON_DISK, PROFILE
from tests.support import maildirs

_PAUSE = 0.3  # seconds between two tries
_PATIENCE = 10  # seconds for which an answer is waited for


class Post:
    """Hands letters over in tasks of their own, to the ports of the mail server and of the router's own listener."""

    def __init__(self, mail_server: int, listener: int, folder: Path) -> None:
        self._ports = {"dropped": listener}
        self._mail_server = mail_server
        self._folder = folder
        self._tasks: set[asyncio.Task[None]] = set()
        # Many wait for one server that hangs.
        self._threads = ThreadPoolExecutor(100)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def send(self, letter: Letter) -> None:
        """Deliver a letter to all its mailboxes."""
        for mailbox in letter.becomes:
            task = asyncio.create_task(self._deliver(letter, mailbox), name=f"{letter.message_id} to {mailbox}")
            self._tasks.add(task)

    @property
    def under_way(self) -> list[str]:
        """What is not delivered yet; raises what went wrong in a way that no mail server would try again."""
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.remove(task)
            task.result()
        return [task.get_name() for task in self._tasks]

    def maildir(self, mailbox: str) -> Path:
        return self._folder / mailbox

    async def _deliver(self, letter: Letter, mailbox: str) -> None:
        if PROFILE[mailbox] in ON_DISK:
            letter.tries[mailbox] = 1
            maildirs.deliver(self.maildir(mailbox), letter.content)
            return
        port = self._ports.get(PROFILE[mailbox], self._mail_server)
        loop = asyncio.get_running_loop()
        while True:
            letter.tries[mailbox] = letter.tries.get(mailbox, 0) + 1
            try:
                await loop.run_in_executor(self._threads, _hand_over, port, mailbox, letter.content)
            except smtplib.SMTPResponseException as error:
                if error.smtp_code >= 500:
                    raise
            except smtplib.SMTPRecipientsRefused as error:
                if any(code >= 500 for code, _ in error.recipients.values()):
                    raise
            except OSError:
                pass  # smtplib's own errors of a lost connection are such, too
            else:
                return
            await asyncio.sleep(_PAUSE)


def _hand_over(port: int, mailbox: str, content: bytes) -> None:
    with smtplib.LMTP("127.0.0.1", port, timeout=_PATIENCE) as lmtp:
        lmtp.sendmail(STRANGER, [mailbox], content)
