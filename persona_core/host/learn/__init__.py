"""What runs under autograd: learning a persona with the host's frozen models."""
