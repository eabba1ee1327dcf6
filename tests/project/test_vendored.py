"""What is copied from others is what was looked at."""

import hashlib
import re

from tests.support.paths import ROOT


def test_htmx_is_the_file_whose_hash_the_makefile_has() -> None:
    (expected,) = re.findall(r"^HTMX := \S+ ([0-9a-f]{64})$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    content = (ROOT / "router/web/console/static/htmx.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == expected
