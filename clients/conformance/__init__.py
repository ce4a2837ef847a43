"""One scenario that every client must pass: `python -m clients.conformance`, described in README.md."""
