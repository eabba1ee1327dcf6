"""`email-router demo`: the whole router on one screen, with nothing installed and nothing set.

A PostgreSQL of its own, a small CRM (crm.sql), a listener for mail, and a capture server in place of a relay. Between
them works the router as `run` starts it. The samples (messages/*.eml) are handed in by SMTP, the CRM's own mail is
queued by SQL (send.sql), and what became of each is read from the database: nothing of the account is written here.

stage       database, profiles, capture server; the router beside the play; an orderly stop
play        what happens, in order
sample      a sample message, and how it is handed in
capture     the SMTP server that takes what the CRM sends
show        the account in print
farewell    how to go on: commands to copy, and the scripts that they run
hand_in     one of these: hands one email to the router
scripts     SQL that fills a database with sample data, and whether it may
"""

from router.demo.stage import run

__all__ = ["run"]
