"""What Word, PowerPoint and Excel files share: drawings, equations, symbol fonts, numbering and number formats."""
