"""The Python API: what `import opencharacter` offers to notebooks and scripts. Import the names from there."""
