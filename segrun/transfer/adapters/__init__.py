"""Parameter-efficient fine-tuning: small modules that are trained in place of the backbone's own weights.

LoRA and SSF act on weights and are merged into them for the checkpoint that is kept. Convolution adapters and
AdaptFormer add a branch, which cannot be merged because it is not linear, so the kept checkpoint contains it.
"""
