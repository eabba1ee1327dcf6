"""HTML: read leniently (`markup`), as plain text (`text`), made safe (`sanitize`), and as its frame has it (`frame`).

`picture` tells what of mail is a picture that a page may show.
"""
