"""HTML: read leniently (`markup`), as plain text (`text`), and made safe for a page (`sanitize`)."""
