"""What the driver does: stages, ask, report, tell, budget, finalists. Optuna lives here; Keras never does."""
