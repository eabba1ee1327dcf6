"""How to go on from the demo: commands that work as they are pasted, in a shell that knows nothing of the demo."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Final

from router.settings import PREFIX, Settings

SCRIPTS: Final = ("hand_in.py", "queue-email.sql", "look.sql")
"""What the commands run, and the demo lays into its folder."""

_FROM_TO: Final = ("--from lena@kestrel.example", "--to anna@velo.example")

Command = tuple[str, Sequence[str]]
"""What it does, and its parts, between which a line may end."""


def commands(settings: Settings, port: int) -> Iterator[Command]:
    """Yield the commands of a demo whose data folder and database `settings` names."""
    home = settings.data
    # The password of a database that was named is not printed: whoever named it has it in the environment.
    data = [f"{PREFIX}DATA={quote(str(home))}"] if settings.database_url is None else []
    profiles = f"{PREFIX}PROFILES={quote(str(home / 'profiles'))}"

    def script(name: str) -> str:
        return quote(str(home / name))

    yield "send it mail", [f"{quote(sys.executable)} {script('hand_in.py')}", f"--port {port}", *_FROM_TO]
    yield "or with swaks", [f"swaks --server 127.0.0.1:{port}", *_FROM_TO]
    yield "queue an email", [*data, f"{_program()} sql", f"< {script('queue-email.sql')}"]
    yield "look at its data", [*data, f"{_program()} sql", f"< {script('look.sql')}"]
    yield "see how it is", [*data, f"{_program()} status"]
    yield "see who is served", [*data, profiles, f"{_program()} owners list"]
    yield "any other command", ["export", *data, profiles]
    yield "what was sent", [f"ls {quote(str(home / 'sent'))}"]


def listing(told: Sequence[Command], width: int | None) -> str:
    """Lay the commands out; with a `width`, each is cut between its parts into lines that a shell takes for one."""
    return "\n".join(f"  {label}\n{_cut(parts, width)}" for label, parts in told)


def _cut(parts: Sequence[str], width: int | None) -> str:
    lines = [""]
    for part in parts:
        longer = f"{lines[-1]} {part}".lstrip()
        if width is None or not lines[-1] or len(longer) + len("      ") + len(" \\") <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return "    " + " \\\n      ".join(lines)


def _program() -> str:
    """How this program was called, so that it can be called so again from any folder."""
    called = Path(sys.argv[0])
    if called.name == "email-router" and (found := shutil.which(called)):
        return quote(str(Path(found).absolute()))
    return f"{quote(sys.executable)} -m router"
