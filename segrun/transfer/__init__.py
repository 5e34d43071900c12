"""How pretrained weights are transferred: strategies and freeze schedules make a plan, which is printed, checked and
carried out. Strategies and plans work on names only; apply.py changes the model."""
