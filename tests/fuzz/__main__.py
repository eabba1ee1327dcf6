"""Mutate messages for as long as is asked, guided by which code they reach: make fuzz ARGS='--seconds 600'

Every message goes through `parse`, `classify`, `find_marks`, `sanitize` and `unwrap`, on every core. Whatever raises,
takes longer than a second of processor time, or gives a text that PostgreSQL cannot hold, is written to the folder
.fuzz and ends the run with an exit status that is not 0.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["router.parse", "router.classify", "router.unwrap", "router.html"]):
    from router.classify import classify
    from router.html.markup import tokens
    from router.html.sanitize import sanitize
    from router.parse.marks import find_marks
    from router.parse.message import parse
    from router.unwrap import Trust, unwrap

from router.model import Message
from tests.fuzz.seeds import AUTHSERV, LONGEST, seeds

SLOWEST = 1.0
FINDINGS = Path(".fuzz")

import_module("router.classify").__dict__["_guarded"] = lambda look: look()  # what it catches, we want to see


class Watch:
    """What was tried so far."""

    def __init__(self, report_every: int) -> None:
        self.tried = 0
        self.slowest = 0.0
        self._report_every = report_every

    def try_one(self, raw: bytes) -> None:
        began = time.process_time()
        read(raw)
        seconds = time.process_time() - began
        self.tried += 1
        self.slowest = max(self.slowest, seconds)
        if seconds > SLOWEST:
            raise TimeoutError(f"{seconds:.1f} s")
        if self.tried % self._report_every == 0:
            print(self, flush=True)

    def __str__(self) -> str:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return (
            f"process {os.getpid()}: {self.tried} messages tried, the slowest {self.slowest * 1000:.0f} ms,"
            f" {peak} MB at most"
        )


def read(raw: bytes) -> Message:
    """Read a message, and all that is read of it later."""
    message = parse(raw)
    assert len(message.key) == 32
    for text in texts(message):
        text.encode()  # no lone surrogates
        assert "\0" not in text
    unread = [defect for defect in message.defects if "could not be read (" in defect]
    assert not unread, unread  # a guard caught what should not have been raised
    classify(message, AUTHSERV)
    marks = find_marks(message.text or "")
    assert all(one.end <= other.start for one, other in pairwise(marks))
    if message.html is not None:
        shown = [token for token in tokens(sanitize(message.html).html) if not isinstance(token, str)]
        assert not {"script", "form", "base"} & {tag.name for tag in shown}
    for original in unwrap(raw, Trust(("*@*",), None)).originals:
        for text in texts(original.reading.message):
            text.encode()
            assert "\0" not in text
    return message


def texts(message: Message) -> list[str]:
    found = [message.subject, message.text or "", message.html or "", message.message_id or "", *message.defects]
    found += [*message.in_reply_to, *message.references, *message.tokens, *message.flags]
    found += [text for mention in message.mentions for text in (mention.address, mention.name)]
    found += [text for pair in message.raw_headers for text in pair]
    for attachment in message.attachments:
        found += [attachment.filename, attachment.media_type, attachment.content_id or ""]
        found.append(attachment.original_filename or "")
    return found


def mutate(folder: str, seed: int, limits: list[str]) -> None:
    """Mutate what is in a folder, and add to it what reaches new code; never returns."""
    watch = Watch(report_every=10_000)
    for path in sorted(Path(folder).iterdir()):
        watch.try_one(path.read_bytes())
    options = [*limits, f"-seed={seed}", f"-max_len={LONGEST}", "-timeout=20", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={FINDINGS}/", folder], watch.try_one)
    print(f"{watch} before the mutations", flush=True)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="0: until all messages are tried")
    parser.add_argument("--messages", type=int, default=0, help="how many to try, on all cores together; 0: no limit")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; one for each core")
    chosen = parser.parse_args()
    FINDINGS.mkdir(exist_ok=True)
    limits = [f"-max_total_time={chosen.seconds}"]
    if chosen.messages:
        limits.append(f"-runs={-(-chosen.messages // chosen.jobs)}")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for number, seed in enumerate(seeds()):
            (Path(folder) / f"{number:04}").write_bytes(seed)
        processes = [
            multiprocessing.Process(target=mutate, args=(folder, chosen.seed and chosen.seed + number, limits))
            for number in range(chosen.jobs)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    sys.exit(max(process.exitcode or 0 for process in processes))


main()
