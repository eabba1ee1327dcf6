"""Whether an email lies in its owner's Sent folder, as a person asks before an unknown one is sent again."""

from router.outgoing.sent_folder import sent_folder_has

__all__ = ["sent_folder_has"]
