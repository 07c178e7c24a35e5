"""What every pytest process does first: it loads nbval without a package that takes two seconds to import."""

import sys

# jsonschema imports rfc3987_syntax where it is installed, to check formats that notebooks do not use.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

pytest_plugins = ["nbval.plugin"]
