"""POP3, below its settings: what only `pop3.py` uses."""
