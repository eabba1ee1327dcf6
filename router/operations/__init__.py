"""What a person may ask or do: values in, values out. The command line, the API and the pages are its faces."""
