"""What comes in and goes out as JSON; a field's rule is declared once, in `fields.py`."""
