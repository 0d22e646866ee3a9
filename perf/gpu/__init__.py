"""Networks on a GPU: built, timed and checked on the device."""
