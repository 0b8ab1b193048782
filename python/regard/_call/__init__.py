"""From the arguments of a public function to a call of the core.

The options of attention are described in ``options``, once. What else spells them out is the
signature of `attention`, for editors and type checkers, and the stub of the core. What may import
this, and what this may import, is drawn in docs/design.md.
"""
