"""Code shared by Word, PowerPoint and Excel: drawings, symbol fonts, numbering and number formats."""
