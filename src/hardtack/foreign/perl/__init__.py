"""The serialisations of Perl, for plain data only: Sereal and Storable."""
