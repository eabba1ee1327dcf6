"""Email that is to be sent: who carries it, that it is sent once, and what became of it.

routes          which outgoing profile carries what an owner sends
claim           what a relay takes that its free connections can start now
outgoing        what a claimed email says
outbox          start, record: how an email is sent once
outbox_entries  what is not sent yet, as a person looks at it and rules on it
unrecorded      outcomes that crm.email refuses to be told
recovery        what processes that died had claimed
relays          the state of the relays, which all processes share
sent_copies     copies of what was sent, for the owners' Sent folders
sending         whether the router may send at all
queue           what waits in the outbox, by cause
"""
