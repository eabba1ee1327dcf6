"""What the commands do; router/cli says how they are called, and imports what one needs when it is run.

service     run, demo, migrate
profiles    check, profile example, profile schema
status      status
status_sources  what status tells of mailboxes
audit       audit
backfill    backfill
owners      owners list, approve, set
settings    settings list, set, reset
never_track  never-track list, add, remove
sending     sending stop, start
outbox      outbox list, show, retry, cancel, release
sql         sql
test        test
explain     explain FILE..., explain --email
explain_message  explain MESSAGE-ID
simulate    simulate
trace       trace
sought      what trace is asked for
traced      what trace tells
original    original
split       split
letters     dead-letters list, show, replay, drop; held list, show, release, drop
unresolved  unresolved list, show, resolve, ignore, never-track, undo, rulings
take_back   take-back
erase       erase
records     records merge
creation_rules  records rules
templates   template list, preview
oauth       oauth login, list, forget
staff       staff token, list, end
webhooks    webhooks add, list, pause, resume, replay, remove
people      staff add, grant, reset, disable, sign-out, link
doctor      doctor
healthz     healthz
terminal    how they read the environment, print and fail
words       how they put moments, and what may be answered
"""
