"""Makes a host that lacks what CHANGED_HOST names, before anything of it runs: "module:object.attribute"."""

import os
import pkgutil

place, _, attribute = os.environ["CHANGED_HOST"].rpartition(".")
delattr(pkgutil.resolve_name(place), attribute)
