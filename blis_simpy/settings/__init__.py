"""How settings work: declared once, read from YAML, from Python and from the command line. No setting lives here."""
