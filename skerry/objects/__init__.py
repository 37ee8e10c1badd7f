"""Objects as data: JSON, metadata, scheme, selectors, patches, quantities, twins. Pure."""
