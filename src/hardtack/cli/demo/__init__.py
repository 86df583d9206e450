"""The demo: a small shop, and a page that takes the visitor's own session apart. `hardtack demo` starts it."""

from hardtack._extras import explain

try:
    import jinja2
    import python_multipart
    import starlette
    import ua_parser
    import uvicorn
except ImportError as error:
    message = explain("the demo", "demo", error)
    raise ImportError(message) from error

__all__ = ["jinja2", "python_multipart", "starlette", "ua_parser", "uvicorn"]
