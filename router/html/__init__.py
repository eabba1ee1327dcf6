"""HTML: read leniently (`markup`), as plain text (`text`), made safe (`sanitize`), and as it stands in a frame (`frame`).

`picture` tells what of mail is a picture that a page may show.
"""
