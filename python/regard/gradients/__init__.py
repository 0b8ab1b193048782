"""Derivatives of attention: backwards from a loss to its inputs, and forwards along a direction."""
