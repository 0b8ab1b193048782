"""Layers, training and evaluation."""
