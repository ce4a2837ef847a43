"""`memgpt load`: finds files and web pages, sends them, and follows them until they are loaded."""
