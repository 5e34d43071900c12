"""How the losses of several tasks are weighed against each other.

Each loss is first multiplied by its task's own weight wᵢ from the config, whatever the balance: where a paper says Lᵢ,
read wᵢLᵢ. Losses and gradients are passed to a balance without wᵢ.
"""
