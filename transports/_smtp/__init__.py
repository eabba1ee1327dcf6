"""Sending by SMTP, below its settings: what only `smtp.py` uses."""
