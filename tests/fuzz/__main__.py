"""Mutate messages for as long as is asked, guided by which code they reach: make fuzz ARGS='--seconds 600'

Every message goes through `parse`, `find_marks`, `sanitise` and `unwrap`. Whatever raises, takes longer than a second
of processor time, or gives a text that PostgreSQL cannot hold, is written to the folder .fuzz and ends the run with an
exit status that is not 0.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["router.pipeline", "router.markup", "router.sanitise"]):
    from router.pipeline.marks import find_marks
    from router.pipeline.parse import parse
    from router.pipeline.unwrap import Trust, unwrap
    from router.sanitise import sanitise

from router.model import Message
from tests.fuzz.seeds import seeds

SLOWEST = 1.0
FINDINGS = Path(".fuzz")


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
        return f"{self.tried} messages tried, the slowest {self.slowest * 1000:.0f} ms, {peak} MB at most"


def read(raw: bytes) -> Message:
    """Read a message, and all that is read of it later."""
    message = parse(raw)
    assert len(message.key) == 32
    for text in texts(message):
        text.encode()  # no lone surrogates
        assert "\0" not in text
    unread = [defect for defect in message.defects if "could not be read (" in defect]
    assert not unread, unread  # a guard caught what should not have been raised
    find_marks(message.text or "")
    if message.html is not None:
        sanitise(message.html)
    for original in unwrap(raw, Trust(("*@*",), None)).originals:
        for text in texts(original.message):
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    chosen = parser.parse_args()
    FINDINGS.mkdir(exist_ok=True)
    watch = Watch(report_every=20_000)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for number, seed in enumerate(seeds()):
            watch.try_one(seed)
            (Path(folder) / f"{number:04}").write_bytes(seed)
        options = [f"-max_total_time={chosen.seconds}", f"-seed={chosen.seed}", "-max_len=16384", "-timeout=20"]
        options += [f"-artifact_prefix={FINDINGS}/", "-print_final_stats=1", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, folder], watch.try_one)
        print(f"{watch} before the mutations", flush=True)
        atheris.Fuzz()


main()
