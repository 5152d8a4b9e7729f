# Managed by Salt. What Python runs first in Salt's services; see the units.
"""
Leave out of the path what does not exist: the archive of the standard library that nobody has.

Salt loads modules in threads and calls importlib.invalidate_caches() after each. That drops the
entries without a finder, this one alone, and raises KeyError when two threads do so at once; Salt
takes the KeyError for a module that is missing, and a job ends before it has begun.
"""

import importlib
import os
import sys

sys.path[:] = [entry for entry in sys.path if not entry or os.path.exists(entry)]
importlib.invalidate_caches()
