"""Perl's two serialisers, Sereal and Storable, for plain data only: no object, code or class ever comes out of them."""
