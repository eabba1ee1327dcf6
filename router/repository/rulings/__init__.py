"""What persons ruled on senders and threads, and the mail that is brought into line with it.

rulings        who a sender is, as persons ruled
subjects       what rulings are on
ruling_walks   brings the mail that waits into line with that, a piece at a time
ruling_pieces  one such piece: locked, and given what is in force
unresolved     senders who wait for a person to say who they are
splits         emails that a person splits off their threads
"""
