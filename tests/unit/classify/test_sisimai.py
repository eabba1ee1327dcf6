"""Reports of many mail systems (../shared/corpora/sisimai): kind, recipients and status, as a person reads them.

`sisimai.tsv` was made from what `classify` says, and then checked in two ways: for 104 files the standard fields, read
by another program, say the same; the 9 that differ, and the 96 without such fields, were read by a person.
"""

from pathlib import Path

import pytest

from router.classify import classify
from router.parse.message import parse
from tests.support.paths import CORPORA

CORPUS = CORPORA / "sisimai"
TABLE = Path(__file__).with_name("sisimai.tsv")


def expected() -> dict[str, tuple[str, str]]:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return {name: (kind, "" if recipients == "-" else recipients) for name, kind, recipients in rows}


def read(name: str) -> tuple[str, str]:
    classification = classify(parse((CORPUS / f"{name}.eml").read_bytes()))
    report = classification.report
    if report is None:
        return "automatic" if classification.automatic else "none", ""
    return report.kind, " ".join(f"{one.address}={one.code}" for one in report.recipients)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpora of real mail are not here (../shared/corpora)")
def test_t71_t74_every_report_of_the_corpus_is_read_as_a_person_reads_it() -> None:
    table = expected()
    assert set(table) == {path.stem for path in CORPUS.glob("*.eml")}
    missed = {name: (read(name), row) for name, row in table.items() if read(name) != row}
    assert missed == {}
