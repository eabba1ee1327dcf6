"""promtool, Prometheus' own look at metrics and rules."""

import subprocess
from pathlib import Path

from tests.servers.installed import require_file

PROMTOOL = Path("/var/cache/email-router-tests/promtool")
"""Where tests/install-servers unpacks it, alone: the package's server is not needed."""


def promtool(*arguments: str, stdin: str = "") -> str:
    """Run it and return what it says; it must find nothing wrong."""
    require_file(PROMTOOL)
    done = subprocess.run([PROMTOOL, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
