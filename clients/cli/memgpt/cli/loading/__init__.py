"""`memgpt load`: files and web pages are found, sent, and watched until they are passages."""
