"""How everything was trained: python -m miniworld.training.train_all. Painting needs nothing of it."""
