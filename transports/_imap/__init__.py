"""IMAP, below its settings: what only `imap.py` uses."""
