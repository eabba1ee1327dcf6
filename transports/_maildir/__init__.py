"""Maildir, below its settings: what only `maildir.py` uses."""
