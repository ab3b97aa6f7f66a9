"""What runs inside somebody's sampler: a persona in a prompt, and in the picture."""
