"""Sessions bound to a device (DBSC): a copied cookie is worth nothing without the key that the browser cannot hand out."""

from hardtack.binding.settings import DeviceBinding

__all__ = ["DeviceBinding"]
