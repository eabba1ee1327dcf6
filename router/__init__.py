"""CRM email router: mail into the CRM, on the right record, exactly once; and the CRM's mail out.

In. `incoming.mailboxes` finds which mailboxes this process follows; `incoming.follow` keeps one connection to each and
looks into its folders. `incoming.reader` lists what is new, fetches it, has `workers` read it (`read`) and hands it, a
batch at a time, to `repository.inbox.promote`: one transaction that locks the threads' ids, reads the facts, has
`decide` judge every copy (its `STEPS`: arrive, dedupe … promote), writes what they became, and moves the cursor. Only
then is the copy settled on the mail server. `incoming.listener` does the same for mail that is handed to us, before it
answers 250. Mail of a forward mailbox is read by `unwrap`, and `incoming.forward` finds whose the originals are: each
is judged as if it lay in its owner's mailbox. An answer that comes before its question is linked by `upkeep`
(`repository.waiting`), or decided again by `incoming.reader` (`repository.again`). What persons ruled on senders is
among the facts, and carried out by `upkeep` for the mail that waits (`repository.ruling_walks`), as merges of records
are (`repository.merges`). `incoming.audit` compares what each mail server holds with what the database knows of it.

Out. The CRM sets an email to `pending_send`, and a trigger queues it. `outgoing.sender` claims a batch
(`repository.outbox`). Each email of it is an `outgoing.attempt`: it waits for a slot at its relay (`outgoing.relays`),
is composed (`outgoing.compose`), the attempt's start is committed, the email is handed over, and what became of each
recipient is recorded; `outgoing.outcome` judges what that comes to, and when to try again.

`operations` is what a person may ask or do, from values to values: `audit`, `trace`, `status` and others.

`app` puts it together; `cli` and `commands` are what an admin types; `demo` plays it on sample mail. `transports`
knows mail and nothing of all this; `repository` alone knows SQL. docs/architecture.md draws it.
"""

__version__ = "0.1.0"
