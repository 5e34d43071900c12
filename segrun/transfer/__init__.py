"""How pretrained weights are moved to the target: strategies and freeze schedules make a plan, which is
printed, checked and carried out. Names in, phases out; only apply.py touches a model."""
