"""Adapts the encoder to a shop: texts that people take up one after the other come to lie close together.

pairs > training (LoRA or all weights) > a folder that transformers loads > judged like any model > registered.
"""
