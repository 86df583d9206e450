"""The demo: a small shop, and a page that takes the visitor's own session apart. `hardtack demo` starts it."""

try:
    import jinja2
    import python_multipart
    import starlette
    import uvicorn
except ImportError as error:
    raise ImportError("the demo needs a few more packages: pip install 'hardtack[demo]'") from error

__all__ = ["jinja2", "python_multipart", "starlette", "uvicorn"]
