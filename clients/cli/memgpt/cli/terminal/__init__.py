"""Terminal output and input: styled text, tables, questions and progress, or plain lines without a terminal."""
