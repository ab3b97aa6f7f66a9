"""What is said of a scene: facts that can be seen, captions that string them together, and names of some."""
