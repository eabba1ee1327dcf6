"""Bytes to a `Message`: headers, addresses, bodies, attachments, and where a text quotes or signs. Knows no CRM.

    message ─┬▶ headers ─▶ addresses
             └▶ structure (the tree of MIME parts) ─▶ bodies ─▶ transfer, charset, body (what a reader is shown)
    subject, marks   what a subject says, and which parts of a text are quotes or signatures
    reading          what is worked out of a message once, for all its copies

Nothing here raises for what a message holds: what could not be read is said in `defects`.
"""
