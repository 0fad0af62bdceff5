"""Fine-tunes the text encoder on a site's own events: texts of items that users consume in sequence move closer.

pairs > contrastive training (LoRA or all weights) > a transformers folder > evaluation like any model > registration.
"""
