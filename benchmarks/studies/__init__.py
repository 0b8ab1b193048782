"""Studies: whether something would pay, measured before it is built."""
