"""How values are shown: words for people, shapes for machines, progress for both."""
