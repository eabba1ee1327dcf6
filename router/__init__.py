"""CRM email router: mail into the CRM, on the right record, exactly once; and the CRM's mail out.

In. `share` finds which mailboxes this process follows; `follow` keeps one connection to each and looks into its
folders; `receive` lists what is new, fetches it, has it read by `workers` (`pipeline.read`) and hands it, a batch at a
time, to `repository.inbox.promote`: one transaction that locks the thread's ids, reads the facts, lets
`pipeline.decide` judge every copy (arrive → dedupe → correlate → resolve → track → trust → promote), writes what they
became, and moves the cursor. Only then is the copy settled on the mail server. `accept` does the same for what
listeners are handed, before it answers 250. What comes to a forward mailbox is unwrapped as it is read
(`pipeline.unwrap`), and `forward` finds whose the originals are: each is judged as if it lay in its owner's mailbox.

Out. The CRM sets an email to `pending_send`, and a trigger queues it. `outgoing.sender` claims a batch
(`repository.outbox`). Each email of it is an `attempt`: it waits for a slot at its relay (`relays`), is composed
(`compose`), the attempt's start is committed, the email is handed over, and what became of each recipient is recorded;
`outcome` judges what that comes to, and when to try again.

`app` puts it together; `cli` and `commands` are what an admin types; `demo` plays it on sample mail. `transports`
knows mail and nothing of all this; `repository` alone knows SQL. docs/architecture.md draws it.
"""

__version__ = "0.1.0"
