"""How answers are measured: one module for each kind of measure."""
