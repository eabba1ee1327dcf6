"""Where the project lies, and the mail that tests read but the project does not hold."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
CORPORA = ROOT.parent / "shared" / "corpora"
