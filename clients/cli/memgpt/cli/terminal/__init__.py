"""The terminal: text, tables, questions and progress on one, plain lines elsewhere."""
