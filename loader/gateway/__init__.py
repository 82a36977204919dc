"""HTTP faces over `loader.v1`: routes that speak other protocols to engines of one loader, or of many."""
