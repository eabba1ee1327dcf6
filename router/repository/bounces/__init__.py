"""What mail systems report on the email that was sent.

reports         what bounces and delays say, written onto the email that they are about
bounced         emails of which every recipient bounced later
address_states  addresses to which email bounced
"""
