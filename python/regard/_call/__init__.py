"""From the arguments of a public function to a call of the core.

Every part of the package imports from the lines above its own only::

    _core, _bfloat16, _openmp          compiled; a type that NumPy lacks; before the core is loaded
    masks/, bias/, _alibi, _progress   on their own: NumPy alone
    positions/, plot, reference/       likewise; they know _bfloat16
    _arrays, _isa, _config, _quantize, _merge
    _call/                             options and arguments, as the core takes them
    _attention, _varlen, _weights, _summary, _explain, gradients/
                                       public functions: signature, documentation, a line of work
    _adapters, cache/                  what is built of those
    regard                             all of it under one name
    torch, jax, cli/                   what uses it by that name

The options of attention are described in ``options``, once. What else spells them out is the
signature of `attention`, for editors and type checkers, and the stub of the core.
"""
