"""The way in: from a mail server, or a listener of ours, to decided copies in the database.

mailboxes ─▶ follow (one connection) ─▶ reader (one folder: list, fetch, promote, settle)
                            listener (what is handed to us) ─▶ copies, forward ─▶ lanes ─▶ promote

Reading mailboxes:
    mailboxes    which mailboxes this process follows: its fair share
    follow       one connection for all folders of a mailbox, opened again whenever it is lost
    reader       one folder: list, fetch, promote, settle
    start        from when on a folder's mail is judged
    turns        whose turn it is to have a connection, and when a mailbox is tried again
    budget       how many bytes of messages this process holds in memory at once

Mail that is handed to us:
    listener     what mail servers hand over is promoted, and only then answered
    lanes        what is committed together; who needs what is locked waits apart

From messages to decided copies:
    copies       messages are read and become copies, one for each owner
    forward      originals in a forward mailbox become copies in the mailbox that they were forwarded from
    promote      batches of a source, whatever is wrong with one message
    trial        messages in which nothing can be wrong: by these is found out who is at fault

Beside the readers, over connections that only fetch:
    fetch        messages, a few at a time
    original     the bytes of a received email, from where it lies
    replay       dead and held mail that a person has decided on again, read anew
    backfill     the past of a mailbox, judged as new mail is
    simulate     what other rules would have made of the mail of a mailbox
    rounds       each mailbox is audited once in a while, one after the other
    audit        what the server really holds of a mailbox, compared with what is known
    accounting   the same for one folder, by places, and by headers where that is needed
    audited      what an audit found

What follows from mail that is in:
    records      makes the records that rules want of it
    senders      keeps the queue of unresolved senders as pages show it
"""
