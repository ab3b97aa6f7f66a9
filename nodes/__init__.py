"""ComfyUI's face: each node validates, calls the core and returns."""
