"""Marian's small translation models: an encoder of attention, a decoder of recurrent cells."""
