"""The only place that knows ComfyUI's insides: a host update breaks here or nowhere."""
