"""PersonaMagic in plain torch: nothing here knows ComfyUI, except `persona_core.host`."""
