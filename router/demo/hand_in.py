"""Hands one email to the demo's router, as a mail server would. Change what you like and run it again."""

import argparse
import smtplib
from email.message import EmailMessage
from email.utils import localtime, make_msgid

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, required=True, help="where the demo listens")
parser.add_argument("--from", dest="sender", default="lena@kestrel.example", help="a contact of the sample CRM")
parser.add_argument("--to", dest="recipient", default="anna@velo.example", help="a user of the sample CRM")
arguments = parser.parse_args()

message = EmailMessage()
message["From"] = arguments.sender
message["To"] = arguments.recipient
message["Subject"] = "Hello"
message["Date"] = localtime()
message["Message-ID"] = make_msgid(domain="kestrel.example")
message.set_content("Mail of my own")

with smtplib.SMTP("127.0.0.1", arguments.port) as server:
    server.send_message(message)
