"""Mail that comes in: what is read, up to where, and what became of each copy.

registry         which row is which source, whatever its profile is called
sources          what is read, by which process, up to where
accounts         in which account a source's cursor means something
facts            what is known of a batch of messages, in a fixed number of queries
decided_before   what messages of the batch became before
thread_load      how many automatic emails a thread has of late
matching         what may be answered beside what Message-IDs and our tokens name
batch            what is committed together
inbox            promote: one batch, one transaction
write_batch      all that became of a batch, in one statement
write_emails     of its emails: parties, attachments, and what they are known by
write_decisions  of what was decided on its copies, and what is kept of them
write_receipts   of who received its emails, and what follows from that
attachments      attachments, and each content once
message_ids      by which Message-IDs an email is found
waiting          answers that came before the email that they answer
again            copies that are decided once more
settle           what is still to be settled on the mail server
letters          dead and held copies, which wait for a person
trial            whether a copy gets in
audit            what is known of the messages that lie on a server, and what the last audits found
backfill         what is known of the past of a mailbox, and how far it was brought in
"""
