"""The tables of the papers: arms, cells and what they are compared by."""
