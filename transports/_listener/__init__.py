"""Doors that mail servers hand mail to, whatever they speak: what `smtp.py` and `lmtp.py` share."""
