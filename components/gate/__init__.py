"""Decide whether the challenger beats the champion."""
